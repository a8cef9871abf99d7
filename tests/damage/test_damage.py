"""Some hundred damages of every kind; `python -m tests.damage` does thousands."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from .campaign import LOST_END, REFUSED, REPAIRED, SET_ASIDE, UNHARMED, build, one_case

CASES = 120


def test_no_damage_is_answered_wrongly(tmp_path: Path) -> None:
    street = build(tmp_path / "street")
    found = Counter(one_case(street, seed, tmp_path / "case")[1] for seed in range(CASES))
    assert sum(found.values()) == CASES
    assert set(found) <= {UNHARMED, LOST_END, SET_ASIDE, REPAIRED, REFUSED}
    assert found[SET_ASIDE] > 10
    assert found[REPAIRED] > 10
