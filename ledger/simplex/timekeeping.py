"""Ledger time for one node: which clock it goes by, what its votes say, and when it stops trusting its own.

The wall clock counts only where the configuration trusts it and where the others' votes agree; the age of a certificate is never
evidence, because a node that was away sees old ones.
"""

from __future__ import annotations

from typing import Final

from ledger.base.units import Millis
from ledger.base.votes import Certificate, median_time_ms

from .effects import Now

TRUST_STALE: Final = 4  # a clock so many times `stale` away from the others' median is not trusted


class Timekeeper:
    """`final_time_ms` is the time of the last final block, seen at the monotonic time `final_seen_ms`."""

    def __init__(
        self, *, stale_ms: Millis, faulty_max: int, final_time_ms: Millis, now: Now, agrees: bool = True
    ) -> None:
        self._tolerance_ms = TRUST_STALE * stale_ms
        self._faulty_max = faulty_max
        self._final_time_ms, self._final_seen_ms = final_time_ms, now.mono_ms
        self._agrees = agrees  # whether the others' clocks agreed with ours when last compared

    @property
    def agrees(self) -> bool:
        """Whether our clock agreed with the others' when last compared."""
        return self._agrees

    def finalized(self, time_ms: Millis, now: Now) -> None:
        """A block with this time became final."""
        self._final_time_ms, self._final_seen_ms = time_ms, now.mono_ms

    def wall_ms(self, now: Now) -> Millis | None:
        """The wall clock, if it is trusted."""
        return now.wall_ms if self._agrees else None

    def estimate_ms(self, now: Now) -> Millis:
        """The present in ledger time: the trusted wall clock, else the last final time and what has passed since."""
        wall_ms = self.wall_ms(now)
        return self._final_time_ms + now.mono_ms - self._final_seen_ms if wall_ms is None else wall_ms

    def vote_ms(self, last: Certificate | None, now: Now) -> Millis:
        """What a vote says: the trusted wall clock; else 0 while others know the time; when too few do, the doubted clock or the
        estimate: where all doubt theirs, their agreement is what makes them trusted again.
        """
        wall_ms = self.wall_ms(now)
        if wall_ms is not None:
            return wall_ms
        known = 0 if last is None else median_time_ms(last)[1]
        if known > self._faulty_max:
            return 0
        return self.estimate_ms(now) if now.wall_ms is None else now.wall_ms

    def earliest_ms(self, now: Now) -> Millis | None:
        """An older stamp on a block with transactions is invalid for us; None where we cannot tell."""
        wall_ms = self.wall_ms(now)
        return None if wall_ms is None else wall_ms - self._tolerance_ms

    def judge(self, certificate: Certificate, me: int, now: Now) -> None:
        """Compare our clock in a certificate that formed live in the current view with the others'.

        More of them than may lie must differ from it before it is doubted, and as many agree before it is trusted again: with
        two others, one liar is half of them, and their median would be his.
        """
        if me not in certificate.signers:
            return
        mine = (
            certificate.times_ms[certificate.signers.index(me)] or now.wall_ms
        )  # a doubted clock says nothing in votes
        pairs = zip(certificate.signers, certificate.times_ms, strict=True)
        if mine is None:
            return
        near = [abs(mine - time_ms) <= self._tolerance_ms for signer, time_ms in pairs if time_ms and signer != me]
        if near.count(False) > self._faulty_max:
            self._agrees = False
        elif near.count(True) > self._faulty_max or not near:
            self._agrees = True  # also where nobody says a time: all would wait for one another for ever
