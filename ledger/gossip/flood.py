"""How transactions spread: whoever takes one in sends it to every peer; what a link lost is found by comparing what each holds.

In a full mesh a receiver need not forward. A feed's readings have no gaps, so one number tells which of them a node holds:
both ends of a new link tell their clocks at once, every node again every half minute, and who holds more sends what is
missing. Of other transactions the short ids are told every ten seconds, to whom they are not known to be there already.
Each peer's memory keeps anything from being sent to it twice for long.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

from ledger.base import codec
from ledger.base.codec import in_range, want_list
from ledger.base.crypto import sha256
from ledger.base.errors import DecodeError
from ledger.base.intents import Envelope, Reading
from ledger.base.limits import AMOUNT_MAX, FRAME_BYTES_MAX
from ledger.base.units import Millis
from ledger.state.mempool import SHORT_ID_BYTES, Mempool
from ledger.state.state import State
from ledger.state.tables import DEVICE, FEED

HAVE_IDS_MAX: Final = 1_024  # in one announcement: 9 KB
SEEN_MAX: Final = 8_192  # ids remembered, twice what waits at the most: 1 MB; forgetting one costs asking for it again
ANNOUNCE_MS: Final = 10_000  # a lost transaction is found by its peers after so long
CLOCK_MS: Final = 30_000  # a lost reading is
FEEDS_MAX: Final = 8_000  # in one clock: at up to 12 bytes they fill a frame
GAP_MAX: Final = 400  # readings sent for one clock: what a block takes
MEMORY_MAX: Final = 4_096  # ids remembered of each peer: as many as wait at the most; 0.9 MB
RESEND_MS: Final = 5_000  # what was sent may still be on its way; each further time is twice as late
RESEND_TIMES_MAX: Final = 8  # up to twenty minutes


class Transaction(NamedTuple):
    """A signed transaction's bytes."""

    raw: bytes


class Have(NamedTuple):
    """Short ids of what waits at the sender."""

    short_ids: tuple[bytes, ...]


class Want(NamedTuple):
    """Short ids of what the sender would like to have."""

    short_ids: tuple[bytes, ...]


class FeedClock(NamedTuple):
    """(a device's position in the state, the highest number of its readings that is held with all before it), rising."""

    held: tuple[tuple[int, int], ...]


Sent = tuple[int, Transaction | Have | Want | FeedClock]


def encode_clock(clock: FeedClock) -> bytes:
    """Canonical bytes `[position, number, position, number, ...]`."""
    return codec.encode([part for pair in clock.held for part in pair])


def decode_clock(raw: bytes) -> FeedClock:
    """Raises `DecodeError`."""
    flat = want_list(codec.decode(raw, bytes_max=FRAME_BYTES_MAX), int, length_max=2 * FEEDS_MAX)
    if len(flat) % 2:
        raise DecodeError("a clock of pairs that are not whole")
    held = tuple(zip(flat[::2], flat[1::2], strict=True))
    before = -1
    for position, number in held:
        in_range(position, before + 1, AMOUNT_MAX, "position of a device")
        in_range(number, 0, AMOUNT_MAX, "number of a reading")
        before = position
    return FeedClock(held)


class Seen:
    """The ids that passed through here, the oldest forgotten first."""

    def __init__(self) -> None:
        self._ids: dict[bytes, None] = {}

    def add(self, transaction_id: bytes) -> bool:
        """Remember an id by its first bytes; False if it was known."""
        short = transaction_id[:SHORT_ID_BYTES]
        if short in self._ids:
            return False
        if len(self._ids) >= SEEN_MAX:
            self._ids.pop(next(iter(self._ids)))
        self._ids[short] = None
        return True

    def missing(self, short_ids: tuple[bytes, ...]) -> tuple[bytes, ...]:
        """Those that never passed through here."""
        return tuple(short for short in short_ids if short not in self._ids)


class Memory:
    """What one peer has, or was sent, of what waits, while its link is up; the oldest forgotten first."""

    def __init__(self) -> None:
        self._sent: dict[bytes, tuple[int, Millis]] = {}  # how often, and until when it is not sent again
        self._has: dict[bytes, None] = {}

    def has(self, short: bytes) -> bool:
        """Whether the peer said or showed that it has it."""
        return short in self._has

    def note(self, short: bytes) -> None:
        """The peer has it."""
        if len(self._has) >= MEMORY_MAX and short not in self._has:
            self._has.pop(next(iter(self._has)))
        self._has[short] = None

    def may_send(self, short: bytes, now_ms: Millis) -> bool:
        """Whether it is to be sent now; if so it counts as sent."""
        times, until_ms = self._sent.pop(short, (0, now_ms))
        may = now_ms >= until_ms
        if may:
            times, until_ms = min(times + 1, RESEND_TIMES_MAX), now_ms + (RESEND_MS << times)
        while len(self._sent) >= MEMORY_MAX:
            self._sent.pop(next(iter(self._sent)))
        self._sent[short] = (times, until_ms)
        return may

    def forget(self, waiting: Mempool) -> None:
        """Keep only what still waits here: nothing else is ever announced or sent."""
        self._has = {short: None for short in self._has if waiting.get(short) is not None}
        self._sent = {short: sent for short, sent in self._sent.items() if waiting.get(short) is not None}


class Flood:
    """What of a node's waiting transactions goes to whom, and when."""

    def __init__(self, mempool: Mempool, now_ms: Millis) -> None:
        self._mempool = mempool
        self._seen = Seen()
        self._peers: dict[int, Memory] = {}
        self._announce_ms, self._clock_ms = now_ms + ANNOUNCE_MS, now_ms + CLOCK_MS

    def linked(self, peer: int, state: State) -> list[Sent]:
        """A link is up: what was sent before may be lost, so both ends tell what they hold."""
        memory = self._peers[peer] = Memory()
        return [(peer, self.clock(state)), *self._announcement(peer, memory)]

    def unlinked(self, peer: int) -> None:
        """A link is down."""
        self._peers.pop(peer, None)

    def took(self, envelope: Envelope, source: int | None, now_ms: Millis) -> None:
        """A transaction was taken in; one of our own goes to everybody at once."""
        self._seen.add(envelope.transaction_id)
        if source is None:
            for memory in self._peers.values():
                memory.may_send(envelope.transaction_id[:SHORT_ID_BYTES], now_ms)

    def done(self, raw: bytes) -> None:
        """A transaction came that is of no use any more: it is not asked for again."""
        self._seen.add(sha256(raw))

    def came(self, peer: int, short: bytes) -> None:
        """A peer sent a transaction, so it has it."""
        if peer in self._peers:
            self._peers[peer].note(short)

    def clock(self, state: State) -> FeedClock:
        """What is held of every feed: what is final, and what waits behind it without a gap."""
        held: list[tuple[int, int]] = []
        for (device,), row in state.scan(DEVICE):
            feed = state.get(FEED, (device,))
            held.append((row.position, self._mempool.pending_nonce(row.key, 0 if feed is None else feed.seq)))
        return FeedClock(tuple(sorted(held)[:FEEDS_MAX]))

    def on_clock(self, peer: int, clock: FeedClock, state: State, now_ms: Millis) -> list[Sent]:
        """The readings that a peer lacks; of a device that it does not name it knows nothing yet."""
        waiting = self._mempool.readings()
        memory = self._peers.get(peer)
        if not waiting or memory is None:
            return []
        theirs = dict(clock.held)
        found: list[Sent] = []
        for envelope, reading in sorted(waiting, key=lambda each: (each[1].device, each[0].nonce)):
            row = state.get(DEVICE, (reading.device,))
            if row is None or row.position not in theirs:
                continue
            short = envelope.transaction_id[:SHORT_ID_BYTES]
            if envelope.nonce <= theirs[row.position]:
                memory.note(short)
            elif len(found) < GAP_MAX and memory.may_send(short, now_ms):
                found.append((peer, Transaction(envelope.raw)))
        return found

    def on_have(self, peer: int, have: Have) -> list[Sent]:
        """What a peer announces and never passed through here is asked for."""
        for short in have.short_ids:
            self.came(peer, short)
        wanted = self._seen.missing(have.short_ids)
        return [(peer, Want(wanted))] if wanted else []

    def on_want(self, peer: int, want: Want, now_ms: Millis) -> list[Sent]:
        """What a peer asks for; what is on its way to it is not sent again."""
        memory = self._peers.get(peer)
        found: list[Sent] = []
        for short in want.short_ids:
            envelope = self._mempool.get(short)
            if envelope is not None and memory is not None and memory.may_send(short, now_ms):
                found.append((peer, Transaction(envelope.raw)))
        return found

    def _others(self) -> Iterable[bytes]:
        for short in self._mempool.short_ids():
            envelope = self._mempool.get(short)
            if envelope is not None and not isinstance(envelope.intent, Reading):
                yield short

    def _announcement(self, peer: int, memory: Memory) -> list[Sent]:
        ids = tuple(short for short in self._others() if not memory.has(short))[:HAVE_IDS_MAX]
        return [(peer, Have(ids))] if ids else []

    def tick(self, state: State, now_ms: Millis) -> list[Sent]:
        """What is due now."""
        found: list[Sent] = []
        if now_ms >= self._announce_ms:
            self._announce_ms = now_ms + ANNOUNCE_MS
            for peer, memory in self._peers.items():
                memory.forget(self._mempool)
                found += self._announcement(peer, memory)
        if now_ms >= self._clock_ms:
            self._clock_ms = now_ms + CLOCK_MS
            clock = self.clock(state) if self._peers else FeedClock(())
            found += [(peer, clock) for peer in self._peers]
        return found

    def deadline_ms(self, now_ms: Millis) -> Millis | None:
        """When `tick` is wanted next; None while nobody is there."""
        if not self._peers:
            return None
        due_ms = min(self._announce_ms, self._clock_ms) if len(self._mempool) else self._clock_ms
        return max(now_ms + 1, due_ms)
