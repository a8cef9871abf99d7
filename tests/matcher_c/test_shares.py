"""Largest remainder: the parts add up, nobody is a unit from the exact share, and the design's own examples."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from matcher_c.shares import split, split_capped

weights = st.lists(st.integers(0, 2**40), min_size=1, max_size=12)


@given(st.integers(0, 2**62), weights)
def test_parts_add_up_and_are_within_one_of_exact(total: int, parts: list[int]) -> None:
    if sum(parts) == 0:
        return
    got = split(total, parts)
    assert sum(got) == total
    for part, weight in zip(got, parts, strict=True):
        assert 0 <= part * sum(parts) - total * weight + sum(parts) <= 2 * sum(parts)


@given(st.integers(0, 2**62), weights)
def test_no_part_exceeds_its_cap(total: int, caps: list[int]) -> None:
    got = split_capped(total, caps)
    assert sum(got) == min(total, sum(caps))
    assert all(part <= cap for part, cap in zip(got, caps, strict=True))


@pytest.mark.parametrize(
    ("total", "contributions", "shares"),
    [
        (10_000, [1, 1, 1], [3334, 3333, 3333]),
        (10_000, [700, 200, 99, 1], [7000, 2000, 990, 10]),
        (2, [1, 1, 1], [1, 1, 0]),
    ],
)
def test_worked_examples(total: int, contributions: list[int], shares: list[int]) -> None:
    assert split(total, contributions) == shares


def test_ties_go_by_rank() -> None:
    assert split(1, [1, 1, 1], rank=[2, 0, 1]) == [0, 1, 0]
