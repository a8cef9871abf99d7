"""Splitting whole numbers: largest remainder, so that the parts add up exactly and nobody is a unit from the exact share."""

from __future__ import annotations

from collections.abc import Sequence


def split(total: int, weights: Sequence[int], rank: Sequence[int] | None = None) -> list[int]:
    """`total` in proportion to `weights` by largest remainder; ties by `rank`, then by place.

    Shapes: as many parts as weights; none of them negative; all 0 when every weight is 0 (then `total` must be 0).
    """
    whole = sum(weights)
    if whole == 0:
        assert total == 0, "there is nobody to give it to"
        return [0] * len(weights)
    parts = [total * weight // whole for weight in weights]
    places = range(len(weights))
    order = sorted(places, key=lambda i: (-(total * weights[i] % whole), rank[i] if rank else 0, i))
    for i in order[: total - sum(parts)]:
        parts[i] += 1
    return parts


def split_capped(total: int, caps: Sequence[int], rank: Sequence[int] | None = None) -> list[int]:
    """min(total, sum of caps) in proportion to the caps, so that no part exceeds its cap."""
    return split(min(total, sum(caps)), caps, rank)
