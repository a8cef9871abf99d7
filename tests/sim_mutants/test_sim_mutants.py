"""Every planted bug is noticed, by what the table names and within its bound: a check that cannot fail is none."""

from __future__ import annotations

import pytest

from .planted import NOT_THERE_YET, PLANTED, Planted, traces


@pytest.mark.parametrize("planted", PLANTED, ids=lambda planted: planted.name)
def test_a_planted_bug_is_noticed(planted: Planted) -> None:
    found = planted.find()
    assert found is not None, f"nothing noticed within {planted.seeds} seeds: {planted.change}"
    assert planted.noticed in found.what
    assert found.seeds <= planted.seeds


def test_nothing_is_noticed_where_nothing_is_planted() -> None:
    """The worlds without a bug are those of tests/test_simulator.py; here the trace under three hash seeds."""
    assert len(traces("", 1)) == 1


def test_names_are_unique() -> None:
    names = [planted.name for planted in PLANTED] + [name for name, _ in NOT_THERE_YET]
    assert len(set(names)) == len(names)
