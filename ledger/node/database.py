"""One SQLite file as the store uses it: a connection that writes, explicit checkpoints, seals on rows, and errors in two kinds.

`DiskFailed` is a disk that did not do its part: the file is as it was before. `DamagedStore` is a file that is not what was
written; nothing else leaves this module, whatever stands in the file. How a file is opened goes through `Opener`, so that
tests can put a disk that fails or forgets below it. SQLite's own checkpoints are off: they write when nobody expects it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Protocol

from ledger.base import codec
from ledger.base.crypto import sha256
from ledger.base.errors import DiskFailed, EnergoError

PAGE_BYTES: Final = 1_024  # a commit changes a few rows on each of a dozen pages: with 4 KiB the log is twice as long
CHECKPOINT_BYTES: Final = (
    4 * 1024 * 1024
)  # of the write-ahead log: a page that every block changes goes to the file once
TRUNCATE_BYTES: Final = 16 * 1024 * 1024  # beyond this the log is cut back, as soon as no reader holds it
BUSY_MS: Final = 5_000
FREE_PAGES_KEPT: Final = 4_096  # what is freed is used again first; only more than this goes back to the file system
VACUUM_PAGES: Final = 1_024  # given back at a time: 1 MiB, some milliseconds
# The bug that sqlite.org/wal.html calls the WAL-reset bug; it needs two connections that write, and here there is one.
FIXED_VERSIONS: Final = ((3, 51, 3), (3, 53, 0))

ASIDE_WORDS: Final = "start again: it is set aside then and fetched anew from neighbors"
_OF_THE_DISK: Final = (
    "FULL",
    "IOERR",
    "READONLY",
    "CANTOPEN",
    "BUSY",
    "LOCKED",
    "PERM",
    "NOLFS",
    "PROTOCOL",
    "INTERRUPT",
)
_OF_THE_FILE: Final = ("IOERR_SHORT_READ", "IOERR_DATA", "IOERR_CORRUPTFS")
# What the library raises for a damaged file: lengths that are not, and words of its own that quote bytes of the file.
_FAILURES: Final = (sqlite3.Error, MemoryError, OverflowError, UnicodeDecodeError)


class DamagedStore(EnergoError):
    """The ledger's file is not what this software wrote."""

    code = "damaged_ledger"


class DamagedRow(DamagedStore):
    """One block's row is not what was written; the rest of the file may be sound."""

    def __init__(self, height: int, message: str) -> None:
        super().__init__(message)
        self.height = height


class Rows(Protocol):
    """What a statement gives."""

    def fetchone(self) -> Any:
        """The next row, or None."""

    def fetchall(self) -> list[Any]:
        """The rows that are left."""

    def __iter__(self) -> Iterator[Any]: ...


class Connection(Protocol):
    """What is used of `sqlite3.Connection`; errors are those of `sqlite3`."""

    @property
    def in_transaction(self) -> bool:
        """Whether BEGIN has been and no COMMIT."""

    def execute(self, sql: str, parameters: Any = ..., /) -> Rows:
        """One statement."""

    def executemany(self, sql: str, parameters: Any, /) -> Rows:
        """One statement for each of some parameters."""

    def close(self) -> None:
        """Let go of the file."""


class Opener:
    """How a ledger's file is opened. This one takes the machine's files."""

    def connect(self, path: Path, *, read_only: bool) -> Connection:
        """Without transactions of its own, text as bytes."""
        mode = "ro" if read_only else "rwc"
        connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode={mode}", uri=True, isolation_level=None)
        connection.text_factory = bytes
        return connection

    def exists(self, path: Path) -> bool:
        """Whether there is such a file."""
        return path.exists()

    def log_bytes(self, path: Path) -> int:
        """Of the write-ahead log."""
        try:
            return path.with_name(f"{path.name}-wal").stat().st_size
        except OSError:
            return 0

    def condemn(self, path: Path) -> None:
        """Leave word that the file is damaged, so that the next start sets it aside. Never raises."""
        try:
            _condemned(path).touch()
        except OSError:
            pass  # the damage will be found again

    def is_condemned(self, path: Path) -> bool:
        """Whether word was left."""
        return _condemned(path).exists()


def _condemned(path: Path) -> Path:
    return path.with_name(f"{path.name}-condemned")


MACHINE: Final = Opener()


def seal(*parts: object) -> int:
    """What a row's other columns must hash to: 64 bits of SHA-256 over their canonical form, as SQLite's signed integer."""
    return int.from_bytes(sha256(b"energo row", codec.encode(parts))[:8], "big", signed=True)


def wants_bytes(value: object) -> bytes:
    """Raises `DamagedStore` where a column holds something else."""
    if not isinstance(value, bytes):
        raise DamagedStore("the ledger's file holds something else where bytes must be")
    return value


def wants_int(value: object) -> int:
    """Raises `DamagedStore` where a column holds something else."""
    if not isinstance(value, int):
        raise DamagedStore("the ledger's file holds something else where a number must be")
    return value


def version_words() -> str:
    """SQLite's version, and whether it is one with the WAL-reset bug."""
    numbers = sqlite3.sqlite_version_info
    fixed = any(numbers[:2] == good[:2] and numbers >= good for good in FIXED_VERSIONS) or numbers >= FIXED_VERSIONS[-1]
    return f"SQLite {sqlite3.sqlite_version}" + (
        ""
        if fixed
        else ", which has the WAL-reset bug: harmless here, one connection writes and makes every checkpoint"
    )


class Database:
    """An open file."""

    def __init__(self, path: Path, *, read_only: bool, opener: Opener = MACHINE) -> None:
        self.path, self._opener, self.read_only = path, opener, read_only
        self._since_checkpoint = 0
        try:
            self.connection = opener.connect(path, read_only=read_only)
        except _FAILURES as error:
            raise failed(path, error) from None
        try:
            self._prepare()
        except EnergoError:
            self._let_go()
            raise

    def _prepare(self) -> None:
        settings = [f"busy_timeout = {BUSY_MS}", "trusted_schema = OFF", "cell_size_check = ON"]
        if not self.read_only:
            settings += [
                f"page_size = {PAGE_BYTES}",
                "auto_vacuum = INCREMENTAL",  # of a new file: before it has a page
                "journal_mode = WAL",
                "synchronous = FULL",
                "wal_autocheckpoint = 0",
                "foreign_keys = ON",
            ]
        for setting in settings:
            self.all(f"PRAGMA {setting}")
        if self.read_only:
            self.run("BEGIN")  # one snapshot to the end, however far the node that writes has come

    def condemn(self) -> None:
        """Leave word that the file is damaged."""
        if not self.read_only:
            self._opener.condemn(self.path)

    def _failed(self, error: BaseException) -> EnergoError:
        ours = failed(self.path, error)
        if isinstance(ours, DamagedStore) and not isinstance(error, MemoryError):
            self.condemn()
        return ours

    def one(self, sql: str, *values: object) -> Any:
        """The first row, or None."""
        try:
            return self.connection.execute(sql, values).fetchone()
        except _FAILURES as error:
            raise self._failed(error) from None

    def all(self, sql: str, *values: object) -> list[Any]:
        """Every row."""
        try:
            return self.connection.execute(sql, values).fetchall()
        except _FAILURES as error:
            raise self._failed(error) from None

    def each(self, sql: str, *values: object) -> Iterator[Any]:
        """Row after row."""
        try:
            yield from self.connection.execute(sql, values)
        except _FAILURES as error:
            raise self._failed(error) from None

    def run(self, sql: str, *values: object) -> None:
        """A statement without rows."""
        self.all(sql, *values)

    def many(self, sql: str, rows: Iterable[Sequence[object]]) -> None:
        """A statement for each of some rows."""
        try:
            self.connection.executemany(sql, rows)
        except _FAILURES as error:
            raise self._failed(error) from None

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Whole and durable at its end, or not at all."""
        self.run("BEGIN IMMEDIATE")
        try:
            yield
            self.run("COMMIT")
        except BaseException:
            if self.connection.in_transaction:
                try:
                    self.connection.execute("ROLLBACK")
                except sqlite3.Error:
                    pass  # what made it fail is raised, and nothing of it is in the file either way
            raise

    def wrote(self, pages_max: int) -> None:
        """Say how many pages a transaction can have changed at most; the log goes to the file when there are enough."""
        self._since_checkpoint += pages_max * PAGE_BYTES
        if self._since_checkpoint >= CHECKPOINT_BYTES:
            self.checkpoint()

    def checkpoint(self) -> None:
        """Bring the log's pages to the file. The log is used from its start again, which spares the card its growing."""
        busy, logged, moved = self.one("PRAGMA wal_checkpoint(PASSIVE)")
        if not busy and logged == moved:
            self._since_checkpoint = 0
            if self._opener.log_bytes(self.path) > TRUNCATE_BYTES:
                self.all("PRAGMA busy_timeout = 0")
                self.one("PRAGMA wal_checkpoint(TRUNCATE)")
                self.all(f"PRAGMA busy_timeout = {BUSY_MS}")

    def give_back(self) -> None:
        """Give pages back to the file system, some at a time, where more are free than will soon be used again."""
        (free,) = self.one("PRAGMA freelist_count")
        if free > FREE_PAGES_KEPT:
            self.all(f"PRAGMA incremental_vacuum({min(VACUUM_PAGES, free - FREE_PAGES_KEPT)})")
            self.wrote(VACUUM_PAGES)

    def close(self) -> None:
        """Everything into the file, the log cut to nothing, and let go. Never raises: what was committed is durable anyway."""
        try:
            if not self.read_only:
                self.all("PRAGMA busy_timeout = 0")
                self.one("PRAGMA wal_checkpoint(TRUNCATE)")
        except EnergoError:
            pass  # the next opening reads the log
        self._let_go()

    def _let_go(self) -> None:
        try:
            self.connection.close()
        except sqlite3.Error:
            pass  # what was committed is in the log


def failed(path: Path, error: BaseException) -> EnergoError:
    """Our error for SQLite's: the disk's fault, or the file's."""
    assert not isinstance(error, sqlite3.ProgrammingError), f"{path}: {error}"
    name = str(getattr(error, "sqlite_errorname", "")).removeprefix("SQLITE_")
    if name.startswith(_OF_THE_DISK) and not name.startswith(_OF_THE_FILE):
        if name == "FULL":
            return DiskFailed(f"{path}: the disk is full; free space, then start again. Nothing final was lost")
        return DiskFailed(f"{path}: {error} ({name}); check the card and the folder's rights, then start again")
    return DamagedStore(f"{path}: is damaged ({error}); {ASIDE_WORDS}")
