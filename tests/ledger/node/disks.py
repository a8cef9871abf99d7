"""Disks for the ledger's file that fail or forget, below SQLite itself: an in-memory file system for `apsw`'s VFS.

Writes lie in a cache until they are synced. A power cut keeps a random part of what was not: each 512-byte sector of each
such write may have reached the medium or not, whatever the order. A fault makes the n-th operation fail, once or for good.
"""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import apsw

from ledger.node.database import Connection, Opener

SECTOR: Final = 512
CARD_PAGE: Final = 4_096
_numbers = iter(range(1 << 60))


class PowerCut(Exception):
    """Nothing of this process goes on."""


@dataclass
class Blob:
    """A file: what is on the medium, and the writes (place, bytes) and cuts (length, None) since."""

    durable: bytearray = field(default_factory=bytearray)
    cache: bytearray = field(default_factory=bytearray)
    pending: list[tuple[int, bytes | None]] = field(default_factory=list)


class Medium:
    """All files of a disk. `fail_at` names the operation that fails with `error`, `cut_at` the one before which power goes."""

    def __init__(self, seed: int = 0) -> None:
        self.files: dict[str, Blob] = {}
        self.operations = 0
        self.card_bytes = 0  # whole 4 KiB pages that the syncs brought to the card
        self.is_off = False
        self.cut_at: int | None = None
        self.fail_at: int | None = None
        self.fails_on = False
        self.error = 13  # SQLITE_FULL
        self._chance = random.Random(seed)

    def count(self) -> None:
        """One more operation that changes something."""
        self.operations += 1
        if self.is_off or (self.cut_at is not None and self.operations >= self.cut_at):
            self.is_off = True
            raise PowerCut
        if self.fail_at is not None and (
            self.operations == self.fail_at or (self.fails_on and self.operations >= self.fail_at)
        ):
            raise apsw.exception_for(self.error)

    def cut(self) -> None:
        """The power comes back: a random part of what was not synced is there."""
        for blob in self.files.values():
            survived = bytearray(blob.durable)
            keep_all = self._chance.random() < 0.1
            for at, data in blob.pending:
                if data is None:
                    if keep_all or self._chance.random() < 0.5:
                        del survived[at:]
                    continue
                for start in range(0, len(data), SECTOR):
                    if keep_all or self._chance.random() < 0.5:
                        piece = data[start : start + SECTOR]
                        if len(survived) < at + start:
                            survived += bytes(at + start - len(survived))
                        survived[at + start : at + start + len(piece)] = piece
            blob.durable, blob.cache, blob.pending = survived, bytearray(survived), []
        self.cut_at, self.is_off = None, False


class _File:
    """An open file, as apsw calls it."""

    def __init__(self, medium: Medium, blob: Blob) -> None:
        self._medium, self._blob = medium, blob

    def xRead(self, amount: int, offset: int) -> bytes:  # noqa: N802 - the names are apsw's, here and below
        return bytes(self._blob.cache[offset : offset + amount])

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802
        self._medium.count()
        cache = self._blob.cache
        if len(cache) < offset:
            cache += bytes(offset - len(cache))
        cache[offset : offset + len(data)] = data
        self._blob.pending.append((offset, bytes(data)))

    def xTruncate(self, size: int) -> None:  # noqa: N802
        self._medium.count()
        del self._blob.cache[size:]
        self._blob.pending.append((size, None))

    def xSync(self, flags: int) -> None:  # noqa: N802
        self._medium.count()
        self._medium.card_bytes += CARD_PAGE * len(
            {
                page
                for at, data in self._blob.pending
                if data is not None
                for page in range(at // CARD_PAGE, (at + len(data) - 1) // CARD_PAGE + 1)
            }
        )
        self._blob.durable, self._blob.pending = bytearray(self._blob.cache), []

    def xFileSize(self) -> int:  # noqa: N802
        return len(self._blob.cache)

    def xLock(self, level: int) -> None:  # noqa: N802
        pass

    def xUnlock(self, level: int) -> None:  # noqa: N802
        pass

    def xCheckReservedLock(self) -> bool:  # noqa: N802
        return False

    def xFileControl(self, op: int, pointer: int) -> bool:  # noqa: N802
        return False

    def xSectorSize(self) -> int:  # noqa: N802
        return SECTOR

    def xDeviceCharacteristics(self) -> int:  # noqa: N802
        return 0

    def xClose(self) -> None:  # noqa: N802
        pass


class _Vfs(apsw.VFS):
    def __init__(self, medium: Medium) -> None:
        self.medium = medium
        self.vfs_name = f"energo-test-{next(_numbers)}"
        super().__init__(self.vfs_name, base="")

    def xOpen(self, name: Any, flags: list[int]) -> Any:  # noqa: N802
        text = name.filename() if hasattr(name, "filename") else str(name)
        flags[1] = flags[0]
        return _File(self.medium, self.medium.files.setdefault(text, Blob()))

    def xDelete(self, name: str, sync_folder: bool) -> None:  # noqa: N802
        self.medium.count()
        self.medium.files.pop(name, None)

    def xAccess(self, name: str, flags: int) -> bool:  # noqa: N802
        return name in self.medium.files

    def xFullPathname(self, name: str) -> str:  # noqa: N802
        return name

    def xRandomness(self, count: int) -> bytes:  # noqa: N802
        return random.Random(len(self.medium.files)).randbytes(count)

    def xSleep(self, microseconds: int) -> int:  # noqa: N802
        return microseconds

    def xCurrentTime(self) -> float:  # noqa: N802
        return 2_460_000.0

    def xGetLastError(self) -> tuple[int, str]:  # noqa: N802
        return 0, ""


def _translated(error: apsw.Error) -> sqlite3.Error:
    """The error that the standard library's module raises for the same result."""
    result = getattr(error, "extendedresult", getattr(error, "result", 1))
    name = apsw.mapping_extended_result_codes.get(result) or apsw.mapping_result_codes.get(result & 255, "SQLITE_ERROR")
    ours = sqlite3.OperationalError(str(error))
    ours.sqlite_errorname = str(name)
    return ours


class _Connection:
    """apsw's connection in the form of the standard library's."""

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection

    @property
    def in_transaction(self) -> bool:
        return self._connection.in_transaction

    def execute(self, sql: str, parameters: Any = (), /) -> Any:
        try:
            return _Rows(self._connection.execute(sql, tuple(parameters)).fetchall())
        except apsw.Error as error:
            raise _translated(error) from None

    def executemany(self, sql: str, parameters: Any, /) -> Any:
        try:
            return _Rows(self._connection.executemany(sql, [tuple(each) for each in parameters]).fetchall())
        except apsw.Error as error:
            raise _translated(error) from None

    def close(self) -> None:
        try:
            self._connection.close()
        except apsw.Error as error:
            raise _translated(error) from None


class _Rows:
    def __init__(self, rows: list[Any]) -> None:
        self._rows = rows

    def fetchone(self) -> Any:
        return self._rows.pop(0) if self._rows else None

    def fetchall(self) -> list[Any]:
        return self._rows

    def __iter__(self) -> Iterator[Any]:
        return iter(self._rows)


class TestDisk(Opener):
    """Opens the ledger's file on a `Medium`."""

    __test__ = False

    def __init__(self, medium: Medium) -> None:
        self.medium = medium
        self._vfs = _Vfs(medium)
        self._open: list[apsw.Connection] = []

    def connect(self, path: Path, *, read_only: bool) -> Connection:
        """See `Opener`; without shared memory, so one connection alone."""
        connection = apsw.Connection(str(path), vfs=self._vfs.vfs_name)
        self._open.append(connection)
        ours = _Connection(connection)
        ours.execute("PRAGMA locking_mode = EXCLUSIVE")
        return ours

    def exists(self, path: Path) -> bool:
        """See `Opener`."""
        return str(path) in self.medium.files

    def log_bytes(self, path: Path) -> int:
        """See `Opener`."""
        blob = self.medium.files.get(f"{path}-wal")
        return 0 if blob is None else len(blob.cache)

    def condemn(self, path: Path) -> None:
        """See `Opener`."""
        self.medium.files[f"{path}-condemned"] = Blob()

    def is_condemned(self, path: Path) -> bool:
        """See `Opener`."""
        return f"{path}-condemned" in self.medium.files

    def let_go(self) -> None:
        """Close what a dead process had open, without a trace on the medium."""
        self.medium.is_off = True
        for connection in self._open:
            try:
                connection.close(True)
            except (apsw.Error, PowerCut):
                pass  # nothing that it does arrives
        self._open = []
        self.medium.is_off = False
