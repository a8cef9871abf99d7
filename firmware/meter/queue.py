"""The reader's queue on disk: signed readings that wait until the ledger has them, and where each feed stands.

Promises that a reading is durable before anybody sees it, so that a feed never forks over a power cut: each number is
signed once, each reading names the hash of the one before. One SQLite file, WAL, `synchronous=FULL`, one process.
Refuses a file that belongs to another street.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ledger.base.crypto import ZERO_HASH
from ledger.base.errors import ConfigError, DiskFailed

from .registers import Track

VERSION: Final = 1
FILE_NAME: Final = "queue.sqlite"

_SCHEMA: Final = """
CREATE TABLE meta (version INTEGER NOT NULL, chain_id BLOB NOT NULL);
CREATE TABLE device (
    name TEXT PRIMARY KEY, seq INTEGER NOT NULL, hash BLOB NOT NULL,
    zero_import_mwh INTEGER NOT NULL, zero_export_mwh INTEGER NOT NULL,
    import_mwh INTEGER NOT NULL, export_mwh INTEGER NOT NULL, stored_mwh INTEGER,
    epoch INTEGER NOT NULL, slot INTEGER NOT NULL, seen_slot INTEGER NOT NULL, moved_slot INTEGER NOT NULL
) STRICT;
CREATE TABLE reading (
    device TEXT NOT NULL, seq INTEGER NOT NULL, raw BLOB NOT NULL, PRIMARY KEY (device, seq)
) STRICT, WITHOUT ROWID;
"""


@dataclass(frozen=True)
class Position:
    """Where a device's feed stands: its last number and that reading's hash, and its registers."""

    seq: int
    hash: bytes
    track: Track | None


@dataclass(frozen=True)
class Entry:
    """A signed reading, its number in the device's feed, its hash, and the registers that it was taken from."""

    device: str
    seq: int
    hash: bytes
    raw: bytes
    track: Track


class Queue:
    """The queue of one data folder. Every method raises `DiskFailed` when the disk does not do its part."""

    def __init__(self, folder: Path, chain_id: bytes) -> None:
        self.path = folder / FILE_NAME
        try:
            self._db = sqlite3.connect(self.path, isolation_level=None)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=FULL")
            fresh = not self._db.execute("SELECT 1 FROM sqlite_master WHERE name = 'meta'").fetchone()
            if fresh:
                self._db.executescript(f"BEGIN IMMEDIATE; {_SCHEMA}")
                self._db.execute("INSERT INTO meta VALUES (?, ?)", (VERSION, chain_id))
                self._db.execute("COMMIT")
            version, chain = self._db.execute("SELECT version, chain_id FROM meta").fetchone()
        except sqlite3.DatabaseError as error:
            raise self._failed(error) from None
        if version != VERSION:
            raise ConfigError(f"{self.path}: was written by version {version}, this software knows {VERSION}")
        if chain != chain_id:
            raise ConfigError(f"{self.path}: belongs to another street; move it away, or use that street's genesis")

    def _failed(self, error: Exception) -> DiskFailed:
        return DiskFailed(f"{self.path}: {error}; free space or check the card, nothing is lost until power is")

    @contextmanager
    def _atomic(self) -> Iterator[sqlite3.Connection]:
        try:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise
        except sqlite3.Error as error:
            raise self._failed(error) from None

    def position(self, device: str) -> Position:
        """Where the feed of a device stands; number 0 before its first reading."""
        try:
            row = self._db.execute(
                "SELECT seq, hash, zero_import_mwh, zero_export_mwh, import_mwh, export_mwh, stored_mwh, epoch, slot, "
                "seen_slot, moved_slot FROM device WHERE name = ?",
                (device,),
            ).fetchone()
        except sqlite3.Error as error:
            raise self._failed(error) from None
        return Position(row[0], row[1], Track(*row[2:])) if row else Position(0, ZERO_HASH, None)

    def commission(self, device: str, track: Track) -> None:
        """Keep what a device's registers showed when it was first read: the zero of its feed."""
        with self._atomic() as db:
            _keep(db, device, 0, ZERO_HASH, track)

    def append(self, entries: list[Entry]) -> None:
        """Make readings durable, all or none; each must follow the last of its feed."""
        with self._atomic() as db:
            for entry in entries:
                last = db.execute("SELECT seq FROM device WHERE name = ?", (entry.device,)).fetchone()
                assert last, "a device is commissioned before it is read"
                assert last[0] + 1 == entry.seq, "a feed has no gaps"
                db.execute("INSERT INTO reading VALUES (?, ?, ?)", (entry.device, entry.seq, entry.raw))
                _keep(db, entry.device, entry.seq, entry.hash, entry.track)

    def waiting(self, device: str, *, after: int, count: int) -> list[tuple[int, bytes]]:
        """Up to `count` (number, bytes) of readings after a number, oldest first."""
        try:
            return self._db.execute(
                "SELECT seq, raw FROM reading WHERE device = ? AND seq > ? ORDER BY seq LIMIT ?", (device, after, count)
            ).fetchall()
        except sqlite3.Error as error:
            raise self._failed(error) from None

    def length(self) -> int:
        """Readings that wait, of all devices."""
        try:
            return int(self._db.execute("SELECT count(*) FROM reading").fetchone()[0])
        except sqlite3.Error as error:
            raise self._failed(error) from None

    def forget(self, finals: dict[str, int]) -> None:
        """Let go of what the ledger has: by device, the last number that is final."""
        with self._atomic() as db:
            db.executemany("DELETE FROM reading WHERE device = ? AND seq <= ?", list(finals.items()))

    def close(self) -> None:
        """Close the file."""
        self._db.close()


def _keep(db: sqlite3.Connection, device: str, seq: int, digest: bytes, track: Track) -> None:
    db.execute(
        "INSERT OR REPLACE INTO device VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            device,
            seq,
            digest,
            track.zero_import_mwh,
            track.zero_export_mwh,
            track.import_mwh,
            track.export_mwh,
            track.stored_mwh,
            track.epoch,
            track.slot,
            track.seen_slot,
            track.moved_slot,
        ),
    )
