"""Transactions that wait: bounded, one per sender and nonce, and the same choice for the next block from the same content."""

from __future__ import annotations

from ledger.base.errors import InvalidTransaction
from ledger.base.intents import Envelope, Reading, Ready, decode_transaction
from ledger.base.limits import (
    BLOCK_TRANSACTIONS_MAX,
    MEMPOOL_PER_FEED_MAX,
    MEMPOOL_PER_SENDER_MAX,
    MEMPOOL_TRANSACTIONS_MAX,
)
from ledger.base.units import Millis

from .rules.membership import epoch_of
from .tables import ACCOUNT, FEED
from .transition import Context, Executed, account_of_sender, check_admissible, verify_signature

SHORT_ID_BYTES = 8


class Mempool:
    """Pending transactions by sender's key, then nonce. Senders are served in the order in which they first came."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._senders: dict[bytes, dict[int, Envelope]] = {}
        self._by_short: dict[bytes, Envelope] = {}

    def __len__(self) -> int:
        return len(self._by_short)

    def add(self, raw: bytes, final: Executed) -> Envelope | None:
        """Take a transaction in; None if it waits here already.

        Raises `DecodeError`, or `InvalidTransaction`: among its codes known (used up), conflict (its number is taken by
        another), full. A reading of a slot that has not ended, and a number whose forerunner is missing, may wait.
        """
        envelope = decode_transaction(raw)
        short = envelope.transaction_id[:SHORT_ID_BYTES]
        if short in self._by_short:
            return None
        verify_signature(self._context, envelope)
        try:
            check_admissible(final.state, envelope, height=final.header.height + 1, time_ms=final.header.time_ms)
        except InvalidTransaction as error:
            # forked: its history is judged against the final feed only when it is the next one
            if error.code not in ("gap", "early"):
                raise
        waiting = self._senders.get(envelope.sender, {})
        bound = MEMPOOL_PER_FEED_MAX if isinstance(envelope.intent, Reading) else MEMPOOL_PER_SENDER_MAX
        if len(waiting) >= bound or len(self._by_short) >= MEMPOOL_TRANSACTIONS_MAX:
            raise InvalidTransaction("full", "too much waits already; try again when blocks have taken some")
        if envelope.nonce in waiting:
            raise InvalidTransaction("conflict", f"another transaction with number {envelope.nonce} waits; it counts")
        self._senders.setdefault(envelope.sender, {})[envelope.nonce] = envelope
        self._by_short[short] = envelope
        return envelope

    def get(self, short_id: bytes) -> Envelope | None:
        """A waiting transaction by the first eight bytes of its id."""
        return self._by_short.get(short_id)

    def short_ids(self) -> list[bytes]:
        """The ids of everything that waits, oldest first."""
        return list(self._by_short)

    def readings(self) -> list[tuple[Envelope, Reading]]:
        """The readings that wait."""
        return [(e, e.intent) for e in self._by_short.values() if isinstance(e.intent, Reading)]

    def pending_nonce(self, sender: bytes, after: int) -> int:
        """The highest nonce of the unbroken row that waits after `after`."""
        waiting = self._senders.get(sender, {})
        while after + 1 in waiting:
            after += 1
        return after

    def candidates(self, tip: Executed) -> list[Envelope]:
        """What could go into a block on `tip`, at most a block's number: each sender's unbroken row from its next nonce."""
        found: list[Envelope] = []
        for waiting in self._senders.values():
            nonce = self._next_nonce(tip, next(iter(waiting.values())))
            while nonce in waiting and len(found) < BLOCK_TRANSACTIONS_MAX:
                found.append(waiting[nonce])
                nonce += 1
        return found

    def due(self, tip: Executed, time_ms: Millis) -> tuple[bool, bool]:
        """(a reading, another transaction) that a block on `tip` at `time_ms` could carry."""
        reading = other = False
        for waiting in self._senders.values():
            first = next(iter(waiting.values()))
            is_reading = isinstance(first.intent, Reading)
            if (reading and is_reading) or (other and not is_reading):
                continue
            head = waiting.get(self._next_nonce(tip, first))
            if head is None:
                continue
            try:
                check_admissible(tip.state, head, height=tip.header.height + 1, time_ms=time_ms)
            except InvalidTransaction:
                continue
            reading, other = reading or is_reading, other or not is_reading
        return reading, other

    def _next_nonce(self, tip: Executed, envelope: Envelope) -> int:
        if isinstance(envelope.intent, Reading):
            return tip.state.need(FEED, (envelope.intent.device,)).seq + 1
        if isinstance(envelope.intent, Ready):
            return epoch_of(tip.state).number + 1
        return tip.state.need(ACCOUNT, (account_of_sender(tip.state, envelope),)).nonce + 1

    def prune(self, final: Executed) -> None:
        """Drop what a final block carried, and what can never be carried any more."""
        for sender in list(self._senders):
            waiting = self._senders[sender]
            for nonce in sorted(waiting):
                envelope = waiting[nonce]
                try:
                    check_admissible(
                        final.state, envelope, height=final.header.height + 1, time_ms=final.header.time_ms
                    )
                except InvalidTransaction as error:
                    if error.code not in ("gap", "early"):
                        del waiting[nonce]
                        del self._by_short[envelope.transaction_id[:SHORT_ID_BYTES]]
            if not waiting:
                del self._senders[sender]
