"""Who leads a view."""

from __future__ import annotations


def leader_of(view: int, epoch: int, members: int) -> int:
    """The number, in the committee sorted by key, of the leader of a view: every member in turn."""
    return (view + epoch) % members
