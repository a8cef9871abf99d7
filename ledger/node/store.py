"""What is final, in SQLite: one transaction a block, WAL and synchronous=FULL, one writer that owns the file.

`state_row` holds every row of the state, `block` every final block with its events; the other tables only find things
in those. Nothing here is believed blindly: on opening, the rows' root must be the one in the last header.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from ledger.base import codec
from ledger.base.errors import ConfigError, DecodeError, DiskFailed, EnergoError
from ledger.base.genesis import Genesis
from ledger.base.intents import Reading, decode_transaction
from ledger.base.limits import CBOR_ARRAY_MAX
from ledger.gossip.sync import RANGE_BLOCKS_MAX, RANGE_BYTES_MAX, RANGE_HEADERS_MAX, Range, make_range
from ledger.simplex.effects import Committed
from ledger.simplex.messages import Certificate, decode_certificate
from ledger.state.blocks import HEADER_BYTES_MAX, Block, Header, block_from_item, decode_block, header_from_item
from ledger.state.events import Event, SlotClosed, Trade, from_item, to_item
from ledger.state.history import Peaks
from ledger.state.origin import from_final, genesis_block
from ledger.state.state import load
from ledger.state.transition import Executed

SCHEMA_VERSION: Final = 1
FILE_NAME: Final = "ledger.sqlite"
EVENTS_BYTES_MAX: Final = 64 * 1024 * 1024  # of one block: 96 slots closed at once by 31 homes are below 2 MB

_SCHEMA: Final = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE block (
    height INTEGER PRIMARY KEY, prefix INTEGER NOT NULL, header BLOB NOT NULL, body BLOB NOT NULL, certificate BLOB,
    events BLOB NOT NULL
);
CREATE INDEX block_prefix ON block (prefix);
CREATE TABLE state_row (key BLOB PRIMARY KEY, row BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE tx (prefix INTEGER NOT NULL, height INTEGER NOT NULL);
CREATE INDEX tx_prefix ON tx (prefix);
CREATE TABLE slot (slot INTEGER PRIMARY KEY, height INTEGER NOT NULL);
CREATE TABLE trade (height INTEGER NOT NULL, place INTEGER NOT NULL, PRIMARY KEY (height, place)) WITHOUT ROWID;
CREATE TABLE reading (
    device TEXT NOT NULL, seq INTEGER NOT NULL, slot INTEGER NOT NULL, import_wh INTEGER NOT NULL, export_wh INTEGER NOT NULL,
    stored_wh INTEGER, flags INTEGER NOT NULL, height INTEGER NOT NULL, PRIMARY KEY (device, seq)
) WITHOUT ROWID;
"""


class DamagedStore(EnergoError):
    """The ledger's file is not what this software wrote."""

    code = "damaged_ledger"


class ReadingRow(NamedTuple):
    """A final reading."""

    device: str
    seq: int
    slot: int
    import_wh: int
    export_wh: int
    stored_wh: int | None
    flags: int
    height: int


def _prefix(digest: bytes) -> int:
    return int.from_bytes(digest[:7], "big")


class Store:
    """The file of one data folder. All methods but `open` raise `DiskFailed` when the disk does not do its part."""

    def __init__(self, path: Path, connection: sqlite3.Connection, genesis: Genesis) -> None:
        self.path, self._connection, self.genesis = path, connection, genesis

    @classmethod
    def open(cls, folder: Path, genesis: Genesis, *, read_only: bool = False) -> Store:
        """The store of a data folder, made from the genesis if it is new.

        Raises `DamagedStore`, `DiskFailed`, and `ConfigError` where the file belongs to another street or version.
        """
        path = folder / FILE_NAME
        if read_only and not path.exists():
            raise ConfigError(
                f"{path}: there is no ledger here; name the data folder of a home, such as DIR/home1/node"
            )
        try:
            mode = "ro" if read_only else "rwc"
            connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode={mode}", uri=True, isolation_level=None)
            connection.execute("PRAGMA busy_timeout = 5000")
            connection.execute("PRAGMA trusted_schema = OFF")
            connection.execute("PRAGMA cell_size_check = ON")
            if not read_only:
                connection.execute("PRAGMA journal_mode = WAL")
                connection.execute("PRAGMA synchronous = FULL")
            else:
                connection.execute("BEGIN")  # one snapshot to the end, however far the node that writes has come
            store = cls(path, connection, genesis)
            store._prepare(read_only)
        except sqlite3.DatabaseError as error:
            raise _failed(path, error) from None
        return store

    def _prepare(self, read_only: bool) -> None:
        tables = {name for (name,) in self._connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        if not tables and not read_only:
            self._create()
        elif "meta" not in tables:
            raise DamagedStore(f"{self.path}: is not a ledger; move it away and start again to fetch it from neighbors")
        found = self.meta("version")
        if found != str(SCHEMA_VERSION).encode():
            raise ConfigError(
                f"{self.path}: was written by another version ({found!r}); this one reads {SCHEMA_VERSION}"
            )
        if self.meta("chain_id") != self.genesis.chain_id:
            raise ConfigError(f"{self.path}: belongs to another street than the genesis names; give it its own folder")

    def _create(self) -> None:
        rows = genesis_block(self.genesis).state.rows()
        self._connection.execute("BEGIN IMMEDIATE")
        for statement in _SCHEMA.split(";"):
            if statement.strip():
                self._connection.execute(statement)
        self._connection.executemany("INSERT INTO state_row VALUES (?, ?)", rows)
        self._set_meta("version", str(SCHEMA_VERSION).encode())
        self._set_meta("chain_id", self.genesis.chain_id)
        self._connection.execute("COMMIT")

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def meta(self, key: str) -> bytes | None:
        """A value of the file itself."""
        row = self._one("SELECT value FROM meta WHERE key = ?", key)
        return None if row is None else _bytes(row[0])

    def _set_meta(self, key: str, value: bytes) -> None:
        self._connection.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))

    def _one(self, query: str, *values: object) -> tuple[object, ...] | None:
        try:
            row: tuple[object, ...] | None = self._connection.execute(query, values).fetchone()
        except sqlite3.DatabaseError as error:
            raise _failed(self.path, error) from None
        return row

    def _all(self, query: str, *values: object) -> list[tuple[object, ...]]:
        try:
            return self._connection.execute(query, values).fetchall()
        except sqlite3.DatabaseError as error:
            raise _failed(self.path, error) from None

    # ---- writing

    def commit(self, committed: Committed) -> None:
        """One final block with everything that it changed, whole or not at all."""
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            self._write(committed)
            self._connection.execute("COMMIT")
        except sqlite3.DatabaseError as error:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise _failed(self.path, error) from None

    def _write(self, committed: Committed) -> None:
        executed = committed.executed
        block = executed.block
        assert block is not None, "block 0 is never committed"
        run = self._connection.execute
        certificate = committed.certificate.encoded if committed.certificate else None
        events = codec.encode(tuple(to_item(event) for event in executed.events))
        header = codec.encode(tuple(block.header))
        run(
            "INSERT INTO block VALUES (?, ?, ?, ?, ?, ?)",
            (block.height, _prefix(block.hash), header, block.encoded, certificate, events),
        )
        for key, row in committed.changes:
            if row is None:
                run("DELETE FROM state_row WHERE key = ?", (key,))
            else:
                run("INSERT OR REPLACE INTO state_row VALUES (?, ?)", (key, row))
        for raw in block.transactions:
            envelope = decode_transaction(raw)
            run("INSERT INTO tx VALUES (?, ?)", (_prefix(envelope.transaction_id), block.height))
            if isinstance(envelope.intent, Reading):
                r = envelope.intent
                run(
                    "INSERT INTO reading VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                    (r.device, envelope.nonce, r.slot, r.import_wh, r.export_wh, r.stored_wh, r.flags, block.height),
                )
        for place, event in enumerate(executed.events):
            if isinstance(event, SlotClosed):
                run("INSERT INTO slot VALUES (?, ?)", (event.slot, block.height))
            elif isinstance(event, Trade):
                run("INSERT INTO trade VALUES (?, ?)", (block.height, place))
        self._set_meta("peaks", codec.encode(executed.peaks))

    # ---- reading

    def final(self) -> tuple[Executed, Certificate | None]:
        """The last final block with its state. Raises `DamagedStore` where the rows are not those of its header."""
        try:
            rows = [(bytes(key), bytes(row)) for key, row in self._connection.execute("SELECT * FROM state_row")]
        except sqlite3.DatabaseError as error:
            raise _failed(self.path, error) from None
        last = self._one("SELECT header, certificate FROM block ORDER BY height DESC LIMIT 1")
        try:
            state = load(rows)
            if last is None:
                first = genesis_block(self.genesis)
                if state.root() != first.state.root():
                    raise DecodeError("the rows are not those of the genesis")
                return first, None
            header = header_from_item(codec.decode(_bytes(last[0]), bytes_max=HEADER_BYTES_MAX))
            if state.root() != header.state_root:
                raise DecodeError("the rows are not those of the last block")
            peaks: Peaks = codec.freeze(codec.decode(self.meta("peaks") or b"", bytes_max=8_192))
            certificate = None if last[1] is None else decode_certificate(_bytes(last[1]))
        except (DecodeError, KeyError, TypeError) as error:
            raise DamagedStore(
                f"{self.path}: is damaged ({error}); move it away and start again to fetch it from neighbors"
            ) from None
        return from_final(self.genesis, header, header.hash(), state, peaks), certificate

    def height(self) -> int:
        """Of the last final block."""
        row = self._one("SELECT max(height) FROM block")
        return int(str(row[0])) if row is not None and row[0] is not None else 0

    def block(self, block_hash: bytes) -> Block | None:
        """A final block by its hash."""
        for (body,) in self._all("SELECT body FROM block WHERE prefix = ?", _prefix(block_hash)):
            block = decode_block(_bytes(body))
            if block.hash == block_hash:
                return block
        return None

    def raw_blocks(self) -> Iterator[tuple[int, bytes, bytes | None, bytes]]:
        """(height, body, certificate, events) of every block, lowest first."""
        for height, body, certificate, events in self._connection.execute(
            "SELECT height, body, certificate, events FROM block ORDER BY height"
        ):
            yield int(height), bytes(body), None if certificate is None else bytes(certificate), bytes(events)

    def state_rows(self) -> list[tuple[bytes, bytes]]:
        """Every stored row of the state, in order."""
        return [(_bytes(k), _bytes(v)) for k, v in self._all("SELECT key, row FROM state_row ORDER BY key")]

    def recent_blocks(self, count: int) -> list[tuple[Block, int]]:
        """The newest blocks with their size in bytes, newest first."""
        rows = self._all("SELECT body FROM block ORDER BY height DESC LIMIT ?", count)
        return [(decode_block(_bytes(body)), len(_bytes(body))) for (body,) in rows]

    def events(self, height: int) -> list[Event]:
        """What happened in a block."""
        row = self._one("SELECT events FROM block WHERE height = ?", height)
        return [] if row is None else decode_events(_bytes(row[0]))

    def slots(self, count: int) -> list[tuple[int, SlotClosed]]:
        """(height, record) of the newest closed slots, newest first."""
        found: list[tuple[int, SlotClosed]] = []
        for slot, height in self._all("SELECT slot, height FROM slot ORDER BY slot DESC LIMIT ?", count):
            at = int(str(height))
            closed = next(e for e in self.events(at) if isinstance(e, SlotClosed) and e.slot == slot)
            found.append((at, closed))
        return found

    def trades(self, count: int) -> list[tuple[int, int, Trade]]:
        """(height, block time, trade), newest first."""
        found: list[tuple[int, int, Trade]] = []
        rows = self._all("SELECT height, place FROM trade ORDER BY height DESC, place DESC LIMIT ?", count)
        for height, place in rows:
            at = int(str(height))
            event = self.events(at)[int(str(place))]
            assert isinstance(event, Trade), "the index names trades"
            found.append((at, self.header(at).time_ms, event))
        return found

    def header(self, height: int) -> Header:
        """The header of a final block."""
        row = self._one("SELECT header FROM block WHERE height = ?", height)
        assert row is not None, f"block {height} is final"
        return header_from_item(codec.decode(_bytes(row[0]), bytes_max=HEADER_BYTES_MAX))

    def readings(self, count: int) -> list[ReadingRow]:
        """The newest final readings, newest first."""
        query = (
            "SELECT device, seq, slot, import_wh, export_wh, stored_wh, flags, height FROM reading "
            "ORDER BY height DESC, device, seq DESC LIMIT ?"
        )
        return [ReadingRow(*row) for row in self._all(query, count)]  # type: ignore[arg-type]

    def height_of_transaction(self, transaction_id: bytes) -> int | None:
        """The height of the block that carries a transaction."""
        for (height,) in self._all("SELECT height FROM tx WHERE prefix = ?", _prefix(transaction_id)):
            at = int(str(height))
            row = self._one("SELECT body FROM block WHERE height = ?", at)
            assert row is not None, "the index names blocks"
            block = decode_block(_bytes(row[0]))
            if any(decode_transaction(raw).transaction_id == transaction_id for raw in block.transactions):
                return at
        return None

    # ---- the archive that the core reads

    def range(self, from_height: int) -> Range | None:
        """Blocks from a height on, and the finalization that covers them; None if there is none to give."""
        rows = self._all(
            "SELECT body, certificate FROM block WHERE height >= ? ORDER BY height LIMIT ?",
            from_height,
            RANGE_BLOCKS_MAX + RANGE_HEADERS_MAX,
        )
        blocks: list[bytes] = []
        size = 0
        for body, _ in rows[:RANGE_BLOCKS_MAX]:
            raw = _bytes(body)
            if blocks and size + len(raw) > RANGE_BYTES_MAX:
                break
            blocks.append(raw)
            size += len(raw)
        if not blocks:
            return None
        headers: list[Header] = []
        for place in range(len(blocks) - 1, len(rows)):
            body, certificate = rows[place]
            if place >= len(blocks):
                headers.append(block_from_item(codec.decode(_bytes(body), bytes_max=1 << 20)).header)
            if certificate is not None:
                return make_range(blocks, headers, _bytes(certificate))
        return None


def decode_events(raw: bytes) -> list[Event]:
    """The events of a block as the store keeps them. Raises `DecodeError`."""
    items = codec.want_list(codec.decode(raw, bytes_max=EVENTS_BYTES_MAX), list, length_max=CBOR_ARRAY_MAX)
    return [from_item(item) for item in codec.freeze(items)]


def _bytes(value: object) -> bytes:
    if not isinstance(value, bytes):
        raise DamagedStore("the ledger's file holds something else where bytes must be")
    return value


def _failed(path: Path, error: sqlite3.DatabaseError) -> EnergoError:
    """Our error for SQLite's: the disk's fault, or the file's."""
    code = getattr(error, "sqlite_errorname", "")
    if isinstance(error, sqlite3.OperationalError):
        if code == "SQLITE_FULL":
            return DiskFailed(f"{path}: the disk is full; free space, then start again. Nothing final was lost")
        return DiskFailed(f"{path}: {error}; check the card and the folder's rights, then start again")
    return DamagedStore(f"{path}: is damaged ({error}); move it away and start again to fetch it from neighbors")
