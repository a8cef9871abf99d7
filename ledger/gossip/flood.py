"""How transactions spread: whoever takes one in sends it to every peer; what a link lost is found by announcing ids.

In a full mesh a receiver need not forward. Every `announce` interval a node tells the short ids of what has been waiting;
a peer asks for those that it never saw.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from ledger.base.units import Millis
from ledger.state.mempool import SHORT_ID_BYTES

HAVE_IDS_MAX: Final = 1_024  # in one announcement: 9 KB
SEEN_MAX: Final = 20_000  # ids remembered: 160 KB; forgetting one costs asking for a transaction again
ANNOUNCE_MS: Final = 2_000  # a lost transaction is found by its peers after so long


class Transaction(NamedTuple):
    """A signed transaction's bytes."""

    raw: bytes


class Have(NamedTuple):
    """Short ids of what waits at the sender."""

    short_ids: tuple[bytes, ...]


class Want(NamedTuple):
    """Short ids of what the sender would like to have."""

    short_ids: tuple[bytes, ...]


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


class Announcer:
    """When to announce what waits."""

    def __init__(self, now_ms: Millis) -> None:
        self._due_ms = now_ms + ANNOUNCE_MS

    def deadline_ms(self, waiting: int) -> Millis | None:
        """When the next announcement is due; None while nothing waits."""
        return self._due_ms if waiting else None

    def take(self, waiting: list[bytes], now_ms: Millis) -> Have | None:
        """The announcement that is due now, if any."""
        if now_ms < self._due_ms:
            return None
        self._due_ms = now_ms + ANNOUNCE_MS
        return Have(tuple(waiting[:HAVE_IDS_MAX])) if waiting else None
