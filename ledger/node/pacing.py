"""How fast, how often, how long: the arithmetic of limits, of redialing and of heartbeats, in whole milliseconds. Pure.

A limit never drops anything: `Bucket.take` says how long to wait before more is read, and the sender's TCP does the rest. The
limits belong to a key, not to a link, so that dialing again does not refill them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from ledger.base.units import Millis
from ledger.gossip import frames, presence

MILLI: Final = 1_000

PING_AFTER_MS: Final = 5_000  # of silence: a third of what ends a link, so two pings may be lost
SILENT_MS: Final = (
    15_000  # a Wi-Fi that roams is away for some seconds; a street that waits longer stands still for a home
)
MEASURE_MS: Final = 60_000  # a link that is never silent is measured so often
PROBE_MS: Final = (
    5_000  # what a link is given after the cable came back: TCP's own patience may be half a minute by then
)


class Bucket:
    """So much a second, and so much at once. Amounts are whole; a debt is waited off."""

    def __init__(self, rate_per_s: int, burst: int, now_ms: Millis) -> None:
        self._rate, self._most = rate_per_s, burst * MILLI
        self._level, self._at_ms = self._most, now_ms

    def take(self, amount: int, now_ms: Millis) -> Millis:
        """Take an amount out; for how long to take no more."""
        self._level = min(self._most, self._level + max(0, now_ms - self._at_ms) * self._rate) - amount * MILLI
        self._at_ms = max(now_ms, self._at_ms)
        return 0 if self._level >= 0 else -(self._level // self._rate)

    def has(self, amount: int) -> bool:
        """Whether so much was in it when something was taken last."""
        return self._level >= amount * MILLI


class Doors:
    """How often somebody may begin something, by where he is: one bucket for each address, the oldest forgotten."""

    def __init__(self, rate_per_s: int, burst: int, places_max: int) -> None:
        self._rate, self._burst, self._places_max = rate_per_s, burst, places_max
        self._buckets: dict[str, Bucket] = {}

    def may(self, where: str, now_ms: Millis) -> bool:
        """Whether he may now; who may not is not charged for it."""
        bucket = self._buckets.pop(where, None) or Bucket(self._rate, self._burst, now_ms)
        while len(self._buckets) >= self._places_max:
            del self._buckets[next(iter(self._buckets))]
        self._buckets[where] = bucket
        if bucket.take(0, now_ms) or not bucket.has(1):
            return False
        return bucket.take(1, now_ms) == 0


@dataclass(frozen=True)
class Limit:
    """Of one type of frame: frames and bytes, a second and at once."""

    frames_per_s: int
    frames_burst: int
    bytes_per_s: int
    bytes_burst: int


KIB: Final = 1_024
MIB: Final = 1_024 * KIB

# What honest neighbors send at the most, with room: ten views a second, 500 transactions a second from one home.
LIMITS: Final[dict[int, Limit]] = {
    presence.PING: Limit(4, 20, 256, 4 * KIB),  # one in 5 s, and a few where links are looked after
    presence.PONG: Limit(4, 20, 256, 4 * KIB),
    presence.PEERS_REQUEST: Limit(1, 4, 64, KIB),  # once a minute; each costs an answer of up to 6 KiB
    presence.PEERS: Limit(1, 4, 8 * KIB, 32 * KIB),
    frames.VOTE: Limit(200, 1_000, 32 * KIB, 256 * KIB),  # three a view; a verification each
    frames.CERTIFICATE: Limit(200, 1_000, 512 * KIB, 4 * MIB),  # two a view, 4 KiB; a quorum of verifications each
    frames.PROPOSAL: Limit(40, 100, 2 * MIB, 8 * MIB),  # a body each, at most ten a second
    frames.STATUS: Limit(40, 200, 8 * KIB, 64 * KIB),
    frames.CERTIFICATE_REQUEST: Limit(40, 200, 8 * KIB, 64 * KIB),  # small questions with large answers
    frames.BODY_REQUEST: Limit(40, 200, 8 * KIB, 64 * KIB),
    frames.BODY: Limit(100, 400, 4 * MIB, 16 * MIB),  # answers
    frames.EVIDENCE: Limit(2, 62, 32 * KIB, 512 * KIB),  # one for each home that cheats, once; two verifications
    frames.ECHO: Limit(4, 32, 32 * KIB, 512 * KIB),  # once a link; up to 64 verifications
    frames.CLONE_SEEN: Limit(2, 16, KIB, 8 * KIB),  # to a home whose card was copied, once in a while
    frames.RECOVERY: Limit(
        1, 4, 64 * KIB, 256 * KIB
    ),  # when a street begins again by hand; a signature for each household
    frames.RANGE_REQUEST: Limit(40, 100, 8 * KIB, 64 * KIB),  # each costs a read of 96 KiB from the card
    frames.RANGE: Limit(200, 400, 16 * MIB, 32 * MIB),  # a day of a street within a minute
    frames.SEALS_REQUEST: Limit(2, 20, KIB, 4 * KIB),  # a survey a minute; each costs an answer of up to 80 KiB
    frames.SEALS: Limit(4, 20, 512 * KIB, 2 * MIB),  # answers; up to 64 quorums of verifications
    frames.SNAPSHOT_REQUEST: Limit(40, 100, 2 * KIB, 8 * KIB),  # each costs a read of 64 KiB from the card
    frames.MANIFEST: Limit(2, 10, 256 * KIB, MIB),
    frames.SNAPSHOT_CHUNK: Limit(80, 200, 8 * MIB, 16 * MIB),  # answers: 64 MiB within seconds
    frames.FEED_CLOCK: Limit(2, 10, 128 * KIB, 512 * KIB),  # once a link, then twice a minute
    frames.TRANSACTION: Limit(2_000, 8_000, 2 * MIB, 8 * MIB),  # a verification each
    frames.HAVE: Limit(20, 100, 512 * KIB, 2 * MIB),
    frames.WANT: Limit(20, 100, 512 * KIB, 2 * MIB),
}
# Of types that this table does not name, one bucket together: a type that nobody knows ends the link anyway.
OTHER: Final = Limit(100, 400, 4 * MIB, 16 * MIB)


class Meter:
    """What one key has sent lately, by type of frame."""

    def __init__(self) -> None:
        self._buckets: dict[int, tuple[Bucket, Bucket]] = {}

    def take(self, kind: int, size: int, now_ms: Millis) -> Millis:
        """A frame of this type and size came; for how long to read no more from its sender."""
        kind = kind if kind in LIMITS else 0
        found = self._buckets.get(kind)
        if found is None:
            limit = LIMITS.get(kind, OTHER)
            found = self._buckets[kind] = (
                Bucket(limit.frames_per_s, limit.frames_burst, now_ms),
                Bucket(limit.bytes_per_s, limit.bytes_burst, now_ms),
            )
        return max(found[0].take(1, now_ms), found[1].take(size, now_ms))


class Backoff:
    """Twice as long after each attempt that failed, up to a most."""

    def __init__(self, first_ms: Millis, most_ms: Millis) -> None:
        self._first_ms, self._most_ms = first_ms, most_ms
        self._next_ms = first_ms

    def next_ms(self) -> Millis:
        """How long to wait now."""
        wait_ms = min(self._next_ms, self._most_ms)
        self._next_ms = min(2 * wait_ms, self._most_ms)
        return wait_ms

    def reset(self) -> None:
        """It worked."""
        self._next_ms = self._first_ms


class Pulse:
    """When a link was heard last, when it is to be pinged, when it is given up, and how long an answer takes."""

    def __init__(self, now_ms: Millis) -> None:
        self.rtt_ms: Millis | None = None
        self._heard_ms, self._end_ms = now_ms, now_ms + SILENT_MS
        self._pinged_ms: Millis | None = None
        self._number = 0

    def heard(self, now_ms: Millis) -> None:
        """A frame came."""
        self._heard_ms, self._end_ms = now_ms, now_ms + SILENT_MS

    def answered(self, number: int, now_ms: Millis) -> None:
        """A `Pong` came; one to an earlier ping than the last measures nothing."""
        if number == self._number and self._pinged_ms is not None:
            self.rtt_ms = max(0, now_ms - self._pinged_ms)

    def doubt(self, now_ms: Millis) -> None:
        """The cable was out, or the peer dials anew: the link has to show that it lives, soon."""
        self._end_ms = min(self._end_ms, now_ms + PROBE_MS)
        self._pinged_ms = None

    def ping(self, now_ms: Millis) -> int | None:
        """The number of a ping that is due now: the first at once, then after silence, and rarely for the figure."""
        if self._pinged_ms is not None:
            since_ping_ms = now_ms - self._pinged_ms
            silent = now_ms - self._heard_ms >= PING_AFTER_MS
            if since_ping_ms < (PING_AFTER_MS if silent else MEASURE_MS):
                return None
        self._number += 1
        self._pinged_ms = now_ms
        return self._number

    def over(self, now_ms: Millis) -> bool:
        """Whether the link has been silent for too long."""
        return now_ms >= self._end_ms
