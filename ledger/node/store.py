"""What is final, in SQLite: one transaction a block, WAL and synchronous=FULL, one writer that owns the file.

`state_row` holds every row of the state, `block` every final block, as long as it is kept: bodies 400 days, events 30,
headers always. Nothing here is believed blindly. On opening, the rows' root must be the one in the last header; a block's
row is sealed, its body and events follow from its header, and each row says where the last block before it with a closed
slot, a trade or a reading stands, so that no index can lie about them. What is damaged is `DamagedStore` (`DamagedRow` for
one block) or, for neighbors that ask, not given; it is never a wrong answer.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from ledger.base import codec
from ledger.base.crypto import merkle_root, sha256
from ledger.base.errors import ConfigError, DecodeError
from ledger.base.genesis import Genesis
from ledger.base.intents import Reading, decode_transaction
from ledger.base.limits import CBOR_ARRAY_MAX
from ledger.base.votes import Certificate, decode_certificate
from ledger.gossip.seals import SEALS_MAX, TAIL_MAX, Head, Proof, decode_proof, seal_of
from ledger.gossip.sync import RANGE_BLOCKS_MAX, RANGE_BYTES_MAX, RANGE_HEADERS_MAX, Range, make_range
from ledger.simplex.effects import Committed
from ledger.state import history
from ledger.state.blocks import HEADER_BYTES_MAX, Block, Header, decode_block, header_from_item
from ledger.state.events import Event, SlotClosed, Trade, from_item, to_item
from ledger.state.history import Peaks
from ledger.state.origin import from_final, genesis_block
from ledger.state.snapshot import Manifest, RowBytes, check_peaks, root_of, state_of
from ledger.state.state import load
from ledger.state.transition import Executed

from . import found
from .database import (
    ASIDE_WORDS,
    MACHINE,
    PAGE_BYTES,
    DamagedRow,
    DamagedStore,
    Database,
    Opener,
    seal,
    wants_bytes,
    wants_int,
)
from .snapshots import Snapshots

__all__ = ["KEPT", "DamagedRow", "DamagedStore", "ReadingRow", "Retention", "Store", "decode_events"]

SCHEMA_VERSION: Final = 2
FILE_NAME: Final = "ledger.sqlite"
EVENTS_BYTES_MAX: Final = 64 * 1024 * 1024  # of one block: 96 slots closed at once by 31 homes are below 2 MB
DAMAGED_MAX: Final = 10_000  # heights remembered; more than a repair by rows could be worth
DAY_MS: Final = 86_400_000
KEPT_BLOCKS_MIN: Final = (
    2 * found.LIST_BLOCKS
)  # bodies that neighbors who were away ask for, however old, and `found` at start
PRUNE_BLOCKS: Final = 64  # at a time: some tens of milliseconds on a card
SCRUB_BLOCKS_MIN: Final = 64  # an hour
SCRUB_HOURS: Final = 168  # in which everything was seen
QUICK_CHECK_BYTES: Final = (
    64 * 1024 * 1024
)  # a file up to this is checked whole at start: half a second on a PC, some on a Pi
_COMMIT_PAGES: Final = 8  # of a block beside its own bytes and the state's rows

_SCHEMA: Final = f"""
CREATE TABLE meta (key TEXT PRIMARY KEY, value BLOB NOT NULL, seal INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE block (
    height INTEGER PRIMARY KEY, seal INTEGER NOT NULL, marks INTEGER NOT NULL, slot_at INTEGER NOT NULL, trade_at INTEGER NOT NULL,
    reading_at INTEGER NOT NULL, header BLOB NOT NULL, certificate BLOB, body BLOB, events BLOB
);
CREATE TABLE pruned (
    height INTEGER PRIMARY KEY, seal INTEGER NOT NULL, marks INTEGER NOT NULL, slot_at INTEGER NOT NULL, trade_at INTEGER NOT NULL,
    reading_at INTEGER NOT NULL, header BLOB NOT NULL, certificate BLOB
);
CREATE TABLE state_row (key BLOB PRIMARY KEY, row BLOB NOT NULL) WITHOUT ROWID;
{found.SCHEMA}
"""
_ROW: Final = "height, seal, marks, slot_at, trade_at, reading_at, header, certificate"
_INSERT: Final = "INSERT OR REPLACE INTO block VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_INSERT_PRUNED: Final = "INSERT OR REPLACE INTO pruned VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
SLOT, TRADE, READING = range(3)  # what `marks` and the places before say


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


class Retention(NamedTuple):
    """How long what is final is kept, in days of block time. Headers are kept for ever."""

    body_days: int = 400
    event_days: int = 30


KEPT: Final = Retention()


class _Row(NamedTuple):
    """A block's row without its body and events, its seal checked."""

    marks: tuple[bool, bool, bool]  # a slot closed in it, a trade, a reading
    before: tuple[int, int, int]  # the newest block below it that has one; 0: none that this file knows
    header: Header
    raw_header: bytes
    certificate: bytes | None

    def newest(self) -> tuple[int, int, int]:
        """The same places for the block above."""
        at, height = self.before, self.header.height
        slot, trade, reading = (height if mark else place for mark, place in zip(self.marks, at, strict=True))
        return slot, trade, reading

    def values(self) -> tuple[object, ...]:
        """The columns as they are stored."""
        marks = sum(1 << place for place, mark in enumerate(self.marks) if mark)
        parts = (self.header.height, marks, *self.before, self.raw_header, self.certificate)
        return (self.header.height, seal(*parts), marks, *self.before, self.raw_header, self.certificate)


class _Lines(NamedTuple):
    """Heights up to which things are not there: anything but one header, bodies, events."""

    base: int = 0
    bodies: int = 0
    events: int = 0


def _parse(values: Sequence[object]) -> _Row:
    """A row from its columns. Raises `DamagedStore`, `DecodeError` where they are not what was written."""
    height = wants_int(values[0])
    if wants_int(values[1]) != seal(height, *values[2:8]):
        raise DamagedStore("its seal does not fit")
    marks = wants_int(values[2])
    slot, trade, reading = (wants_int(value) for value in values[3:6])
    raw = wants_bytes(values[6])
    header = header_from_item(codec.decode(raw, bytes_max=HEADER_BYTES_MAX))
    if header.height != height:
        raise DamagedStore("its header is of another height")
    certificate = None if values[7] is None else wants_bytes(values[7])
    return _Row((bool(marks & 1), bool(marks & 2), bool(marks & 4)), (slot, trade, reading), header, raw, certificate)


class Store:
    """The file of one data folder. All methods raise `DiskFailed` when the disk does not do its part."""

    def __init__(self, database: Database, genesis: Genesis, retention: Retention) -> None:
        self.path, self.genesis, self.retention = database.path, genesis, retention
        self._database = database
        self._found = found.Found(database)
        self._found_ready = False
        self._lines = _Lines()
        self._height = 0
        self._peaks: Peaks | None = None  # with the last block; None until `final` has checked them
        self._newest = (0, 0, 0)
        self._tip_hash = genesis.chain_id
        self._opened: tuple[Executed, Certificate | None] | None = None  # of a check at start, for the first `final`
        self._unsure: set[int] = set()  # heights whose hashes are not among those that are found
        self._snapshots = Snapshots(database.path.parent)
        self._damaged: dict[int, None] = {}
        self._scrubbed = 0

    @classmethod
    def open(
        cls,
        folder: Path,
        genesis: Genesis,
        *,
        read_only: bool = False,
        retention: Retention = KEPT,
        opener: Opener = MACHINE,
    ) -> Store:
        """The store of a data folder, made from the genesis if it is new.

        Raises `DamagedStore`, `DiskFailed`, and `ConfigError` where the file belongs to another street or version.
        """
        path = folder / FILE_NAME
        if read_only and not opener.exists(path):
            raise ConfigError(
                f"{path}: there is no ledger here; name the data folder of a home, such as DIR/home1/node"
            )
        database = Database(path, read_only=read_only, opener=opener)
        store = cls(database, genesis, retention)
        try:
            store._prepare(read_only)
        except BaseException:
            database.close()
            raise
        return store

    def _prepare(self, read_only: bool) -> None:
        rows = self._database.all("SELECT name FROM sqlite_master WHERE type = 'table'")
        tables = {bytes(name) if isinstance(name, bytes) else str(name).encode() for (name,) in rows}
        if not tables and not read_only:
            self._create()
        elif b"meta" not in tables:
            raise DamagedStore(f"{self.path}: is not a ledger; {ASIDE_WORDS}")
        version = self.meta("version")
        if version is None or not version.isdigit():
            raise DamagedStore(f"{self.path}: does not say its version; {ASIDE_WORDS}")
        if version != str(SCHEMA_VERSION).encode():
            raise ConfigError(
                f"{self.path}: was written by another version ({version.decode()}); this one reads {SCHEMA_VERSION}"
            )
        if self.meta("chain_id") != self.genesis.chain_id:
            raise ConfigError(f"{self.path}: belongs to another street than the genesis names; give it its own folder")
        try:
            self._lines = _Lines(*codec.want(codec.decode(self.meta("lines") or b"", bytes_max=64), int, int, int))
        except DecodeError as error:
            raise self._broken(str(error)) from None
        lasts = [self._database.one(f"SELECT max(height) FROM {table}")[0] for table in ("block", "pruned")]
        self._height = max(0 if last is None else wants_int(last) for last in lasts)
        scrubbed = self.meta("scrubbed")
        self._scrubbed = 0 if scrubbed is None else int.from_bytes(scrubbed, "big")

    def _create(self) -> None:
        rows = genesis_block(self.genesis).state.rows()
        with self._database.transaction():
            for statement in _SCHEMA.split(";"):
                if statement.strip():
                    self._database.run(statement)
            self._database.many("INSERT INTO state_row VALUES (?, ?)", rows)
            self._set_meta("version", str(SCHEMA_VERSION).encode())
            self._set_meta("chain_id", self.genesis.chain_id)
            self._set_meta("peaks", codec.encode(()))
            self._set_meta("lines", codec.encode(tuple(_Lines())))

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def meta(self, key: str) -> bytes | None:
        """A value of the file itself. Raises `DamagedStore`."""
        row = self._database.one("SELECT value, seal FROM meta WHERE key = ?", key)
        if row is None:
            return None
        value = wants_bytes(row[0])
        if row[1] != seal(key, value):
            raise DamagedStore(f"{self.path}: is damaged ({key}); {ASIDE_WORDS}")
        return value

    def _set_meta(self, key: str, value: bytes) -> None:
        self._database.run("INSERT OR REPLACE INTO meta VALUES (?, ?, ?)", key, value, seal(key, value))

    # ---- writing

    def _broken(self, why: str) -> DamagedStore:
        """The error of a file that cannot be used any more; the next start sets it aside."""
        self._database.condemn()
        return DamagedStore(f"{self.path}: is damaged ({why}); {ASIDE_WORDS}")

    def _bad(self, height: int, why: object) -> DamagedRow:
        """The error of one block's row, which is remembered for repair."""
        if len(self._damaged) >= DAMAGED_MAX:
            raise self._broken(f"in more than {DAMAGED_MAX} blocks")
        self._damaged[height] = None
        return DamagedRow(height, f"block {height} on disk is damaged ({why}); it is fetched from neighbors")

    # ---- writing

    def commit(self, committed: Committed) -> None:
        """One final block with everything that it changed, whole or not at all."""
        self.commit_all([committed])

    def commit_all(self, blocks: Sequence[Committed]) -> None:
        """Final blocks, one above the other, in one transaction: whole or not at all."""
        if not blocks:
            return
        if self._peaks is None:
            self._opened = self.final()
        self._ready()
        assert self._peaks is not None, "the last final block was read"
        peaks, below, newest, pages = self._peaks, self._peaks, self._newest, _COMMIT_PAGES
        full = False
        try:
            with self._database.transaction():
                for each in blocks:
                    newest, written = self._write(each, newest)
                    pages += written
                    below, peaks = peaks, each.executed.peaks
                last = blocks[-1].executed
                assert history.root(below) == last.header.history_root, "the history is the one that the header names"
                self._set_meta("peaks", codec.encode(below))
                full = self._found.is_full(last.header.height) and not self._unsure
                if full:
                    self._found.write(last.header.height)
                    pages += found.LIST_PAGES_MAX
        except BaseException:
            self._found_ready = False  # it knows blocks that are not there now
            raise
        if full:
            self._found.begin(last.header.height)
        self._height, self._peaks, self._newest = last.header.height, last.peaks, newest
        self._tip_hash, self._opened = last.hash, None
        self._database.wrote(pages)

    def _write(self, committed: Committed, newest: tuple[int, int, int]) -> tuple[tuple[int, int, int], int]:
        """(the places for the block above, pages that may have changed)."""
        executed = committed.executed
        block = executed.block
        assert block is not None, "block 0 is never committed"
        certificate = committed.certificate.encoded if committed.certificate else None
        if committed.tail:  # a sealing block that a descendant in its own epoch made final
            headers = tuple(tuple(header) for header in committed.tail)
            self._set_meta(_tail_key(block.height), codec.encode((certificate or b"", headers)))
            certificate = None
        self._keep_seal(committed)
        events = codec.encode(tuple(to_item(event) for event in executed.events))
        row = _Row(_marks(block, executed.events), newest, block.header, codec.encode(tuple(block.header)), certificate)
        self._database.run(_INSERT, *row.values(), block.encoded, events)
        gone = [(key,) for key, value in committed.changes if value is None]
        put = [(key, value) for key, value in committed.changes if value is not None]
        if gone:
            self._database.many("DELETE FROM state_row WHERE key = ?", gone)
        if put:
            self._database.many("INSERT OR REPLACE INTO state_row VALUES (?, ?)", put)
        self._found.note(block)
        return row.newest(), 1 + len(committed.changes) + (len(block.encoded) + len(events)) // PAGE_BYTES

    def _keep_seal(self, committed: Committed) -> None:
        """Where a block seals its epoch, keep what proves that beside the blocks: it outlives them, and answers in one read."""
        height = committed.executed.header.height
        parent = None
        if height > 1:
            try:
                parent = self._row_at(height - 1).header
            except DamagedRow:
                return  # others have the proof
        seal_block = seal_of(committed, parent)
        if seal_block is not None:
            self._set_meta(_seal_key(seal_block.header.epoch), seal_block.encoded())

    def _ready(self) -> None:
        """Have the hashes of the newest blocks in memory."""
        if self._found_ready:
            return
        try:
            listed = self._found.listed_to(self._lines.base)
        except DamagedStore:
            self._mend()
            return
        self._found.begin(listed)
        self._unsure.clear()
        for block in self._blocks(max(listed, self._lines.bodies)):
            self._found.note(block)
        self._found_ready = True

    def _mend(self) -> None:
        """Make the lists of hashes anew from the blocks."""
        if self._database.read_only:
            raise DamagedStore(f"{self.path}: is damaged (the lists of hashes); the node that writes it mends them")
        self._unsure.clear()
        self._found.rebuild(self._lines.bodies, self._blocks(self._lines.bodies))
        self._found_ready = True

    def _blocks(self, above: int) -> Iterator[Block]:
        """The sound blocks above a height, lowest first; the others are remembered."""
        for height in range(above + 1, self._height + 1):
            try:
                block = self._block_at(height)
            except DamagedRow:
                self._unsure.add(height)
                continue
            if block is not None:
                yield block

    # ---- the last block

    def final(self) -> tuple[Executed, Certificate | None]:
        """The last final block with its state. Raises `DamagedStore` where the rows are not those of its header."""
        if self._opened is not None:
            opened, self._opened = self._opened, None
            return opened
        rows = self.state_rows()
        try:
            return self._final(rows)
        except (DecodeError, DamagedStore, ValueError, KeyError, TypeError, OverflowError) as error:
            raise self._broken(str(error)) from None

    def _final(self, rows: list[RowBytes]) -> tuple[Executed, Certificate | None]:
        state = load(rows)
        peaks_raw = self.meta("peaks")
        if self._height == 0:
            first = genesis_block(self.genesis)
            if state.root() != first.state.root() or self._lines != (0, 0, 0) or peaks_raw != codec.encode(()):
                raise DecodeError("the rows are not those of the genesis")
            self._peaks, self._tip_hash = first.peaks, first.hash
            return first, None
        row = self._row_at(self._height)
        if state.root() != row.header.state_root:
            raise DecodeError("the rows are not those of the last block")
        below: Peaks = codec.freeze(codec.decode(peaks_raw or b"", bytes_max=8_192))
        check_peaks(row.header, below)
        certificate = None if row.certificate is None else decode_certificate(row.certificate)
        block_hash = sha256(row.raw_header)
        peaks = history.append(below, block_hash)
        self._peaks, self._newest, self._tip_hash = peaks, row.newest(), block_hash
        return from_final(self.genesis, row.header, block_hash, state, peaks), certificate

    def height(self) -> int:
        """Of the last final block."""
        return self._height

    def state_rows(self) -> list[RowBytes]:
        """Every stored row of the state, in order."""
        return [
            (wants_bytes(k), wants_bytes(v))
            for k, v in self._database.all("SELECT key, row FROM state_row ORDER BY key")
        ]

    # ---- reading a block

    def _row_at(self, height: int) -> _Row:
        """Raises `DamagedRow`, also where a row is missing that must be there."""
        return self._columns(height, "NULL")[0]

    def _columns(self, height: int, more: str) -> tuple[_Row, tuple[object, ...]]:
        table, more = ("pruned", "NULL, NULL") if height <= self._lines.bodies else ("block", more)
        return self._checked(height, self._database.one(f"SELECT {_ROW}, {more} FROM {table} WHERE height = ?", height))

    def _checked(self, height: int, values: tuple[object, ...] | None) -> tuple[_Row, tuple[object, ...]]:
        if values is None:
            raise self._bad(height, "it is not there")
        try:
            if values[0] != height:
                raise DamagedStore("it is another one")
            return _parse(values), tuple(values[8:])
        except (DamagedStore, DecodeError, ValueError, OverflowError) as error:
            raise self._bad(height, error) from None

    def _has(self, height: int) -> bool:
        return max(1, self._lines.base) <= height <= self._height

    def _block_at(self, height: int) -> Block | None:
        """None where it is pruned, or not there at all."""
        if not self._has(height) or height <= self._lines.bodies:
            return None
        row, (body,) = self._columns(height, "body")
        return self._body(row, body)

    def _body(self, row: _Row, body: object) -> Block:
        try:
            block = decode_block(wants_bytes(body))
            if block.header != row.header:
                raise DamagedStore("the body is of another block")
        except (DamagedStore, DecodeError) as error:
            raise self._bad(row.header.height, error) from None
        return block

    def _events_at(self, height: int) -> list[Event] | None:
        """None where they are pruned or lost."""
        if not self._has(height) or height <= max(self._lines.events, self._lines.bodies):
            return None
        row, (raw,) = self._columns(height, "events")
        try:
            return _events_of(row, raw)
        except (DamagedStore, DecodeError) as error:
            raise self._bad(height, error) from None

    def header(self, height: int) -> Header | None:
        """The header of a final block; None where this file begins above it or ends below."""
        return self._row_at(height).header if self._has(height) else None

    def events(self, height: int) -> list[Event]:
        """What happened in a block; nothing where that is pruned."""
        return self._events_at(height) or []

    def block(self, block_hash: bytes) -> Block | None:
        """A final block by its hash; None also where it is damaged (see `damaged`) or pruned: it cannot be given."""
        for height in self._heights_of(block_hash):
            try:
                block = self._block_at(height)
            except DamagedRow:
                continue
            if block is not None and block.hash == block_hash:
                return block
        return None

    def height_of_transaction(self, transaction_id: bytes) -> int | None:
        """The height of the block that carries a transaction; None where none does, or it is pruned."""
        for height in self._heights_of(transaction_id):
            block = self._block_at(height)
            if block is not None and any(sha256(raw) == transaction_id for raw in block.transactions):
                return height
        if self._unsure:
            height = max(self._unsure)
            raise self._bad(height, "it may carry this transaction")
        return None

    def _heights_of(self, digest: bytes) -> list[int]:
        self._ready()
        lowest = self._lines.bodies + 1
        try:
            return self._found.heights(digest, lowest)
        except DamagedStore:
            self._mend()
            return self._found.heights(digest, lowest)

    def raw_blocks(self) -> Iterator[tuple[int, bytes, bytes | None, bytes | None]]:
        """(height, body, certificate, events) of every block whose body is kept, lowest first, as they stand: unchecked."""
        for height, body, certificate, events in self._database.each(
            "SELECT height, body, certificate, events FROM block WHERE body IS NOT NULL ORDER BY height"
        ):
            yield (
                wants_int(height),
                wants_bytes(body),
                None if certificate is None else wants_bytes(certificate),
                None if not events else wants_bytes(events),
            )

    def body(self, height: int) -> Block | None:
        """A final block; None where it is pruned or not there."""
        return self._block_at(height)

    def first_header(self) -> int:
        """The lowest height that this file knows."""
        return max(1, self._lines.base)

    def first_body(self) -> int:
        """The lowest height whose body is kept; what stands below can be replayed nowhere here."""
        return self._lines.bodies + 1

    def recent_blocks(self, count: int) -> list[tuple[Block, int]]:
        """The newest blocks with their size in bytes, newest first."""
        heights = range(self._height, max(self._height - count, self._lines.bodies), -1)
        blocks = [block for height in heights if (block := self._block_at(height)) is not None]
        return [(block, len(block.encoded)) for block in blocks]

    # ---- lists of what happened, along the places that each row names

    def _walk(self, kind: int) -> Iterator[int]:
        """Heights whose blocks may hold something of a kind, newest first."""
        if self._peaks is None and self._height:
            self._newest = self._row_at(self._height).newest()
        at = self._newest[kind]
        while self._has(at):
            row = self._row_at(at)
            if row.marks[kind]:
                yield at
            if not row.before[kind] < at:
                raise self._bad(at, "it names a later block as an earlier one")
            at = row.before[kind]

    def slots(self, count: int) -> list[tuple[int, SlotClosed]]:
        """(height, record) of the newest closed slots, newest first."""
        listed: list[tuple[int, SlotClosed]] = []
        for height in self._walk(SLOT):
            events = self._events_at(height)
            if len(listed) >= count or (events is None and height <= self._lines.events):
                break
            listed += [(height, event) for event in reversed(events or []) if isinstance(event, SlotClosed)]
        return listed[:count]

    def trades(self, count: int) -> list[tuple[int, int, Trade]]:
        """(height, block time, trade), newest first."""
        listed: list[tuple[int, int, Trade]] = []
        for height in self._walk(TRADE):
            events = self._events_at(height)
            if len(listed) >= count or (events is None and height <= self._lines.events):
                break
            time_ms = self._row_at(height).header.time_ms
            listed += [(height, time_ms, event) for event in reversed(events or []) if isinstance(event, Trade)]
        return listed[:count]

    def readings(self, count: int) -> list[ReadingRow]:
        """The newest final readings, newest first."""
        listed: list[ReadingRow] = []
        for height in self._walk(READING):
            block = self._block_at(height)
            if len(listed) >= count or block is None:
                break
            rows: list[ReadingRow] = []
            for raw in block.transactions:
                envelope = decode_transaction(raw)
                if isinstance(envelope.intent, Reading):
                    r = envelope.intent
                    values = (r.slot, r.import_wh, r.export_wh, r.stored_wh, r.flags)
                    rows.append(ReadingRow(r.device, envelope.nonce, *values, height))
            listed += sorted(rows, key=lambda row: (row.device, -row.seq))
        return listed[:count]

    # ---- the archive that the core reads

    def range(self, from_height: int) -> Range | None:
        """Blocks from a height on, and the finalization that covers them; None if there is none to give."""
        if not self._has(from_height) or from_height <= self._lines.bodies:
            return None
        rows = self._database.all(
            f"SELECT {_ROW}, body FROM block WHERE height >= ? ORDER BY height LIMIT ?",
            from_height,
            RANGE_BLOCKS_MAX + RANGE_HEADERS_MAX,
        )
        blocks: list[bytes] = []
        headers: list[Header] = []
        size = 0
        certificate: bytes | None = None
        tail: tuple[bytes, list[Header]] | None = None
        epoch: int | None = None
        try:
            for place, values in enumerate(rows):
                row, (body,) = self._checked(from_height + place, values)
                if epoch is not None and row.header.epoch != epoch:
                    break  # the committee that signed what follows is known only when this epoch was executed
                epoch = row.header.epoch
                is_header = bool(headers) or place >= RANGE_BLOCKS_MAX
                if not is_header:
                    raw = self._body(row, body).encoded
                    is_header = bool(blocks) and size + len(raw) > RANGE_BYTES_MAX
                if is_header:
                    if certificate is not None:
                        break
                    headers.append(row.header)
                else:
                    blocks.append(raw)
                    size += len(raw)
                certificate, tail = row.certificate, None
                if certificate is None and (tail := self._tail(row.header.height)) is not None:
                    break
                if headers and (certificate is not None or len(headers) >= RANGE_HEADERS_MAX):
                    break
        except DamagedRow:
            pass  # remembered; what stands before it can be given if a finalization covers it
        if tail is not None:
            return make_range(blocks, [*headers, *tail[1]], tail[0])
        if certificate is None:  # the last rows have none: give fewer
            if not blocks:
                return None
            return self._shorter(from_height, blocks)
        return make_range(blocks, headers, certificate)

    def seals(self, from_epoch: int) -> list[bytes]:
        """The encoded seals of that epoch and of those that follow it in a row; the first 65 of more."""
        found: list[bytes] = []
        try:
            while len(found) <= SEALS_MAX and (raw := self.meta(_seal_key(from_epoch + len(found)))) is not None:
                found.append(raw)
        except DamagedStore:
            pass  # the others have it too, and nothing here needs it
        return found

    def head(self) -> bytes | None:
        """The newest header that is proven final by what stands here, encoded with its proof; None where there is none."""
        try:
            for height in range(self._height, max(0, self._height - TAIL_MAX, self._lines.base - 1), -1):
                row = self._row_at(height)
                if row.certificate is not None:
                    return Head(row.header, Proof((), decode_certificate(row.certificate))).encoded()
                if (tail := self._tail(height)) is not None:
                    return Head(row.header, Proof(tuple(tail[1]), decode_certificate(tail[0]))).encoded()
        except (DamagedRow, DecodeError):
            pass  # remembered where it is damage; another neighbor has one
        return None

    def _tail(self, height: int) -> tuple[bytes, list[Header]] | None:
        """What proves a sealing block final that has no finalization of its own: (certificate, headers up to its block)."""
        try:
            raw = self.meta(_tail_key(height))
            if raw is None:
                return None
            certificate, items = codec.want(codec.decode(raw, bytes_max=RANGE_BYTES_MAX), bytes, list)
            return certificate, [header_from_item(item) for item in items]
        except (DamagedStore, DecodeError) as error:
            raise self._bad(height, error) from None

    def _shorter(self, from_height: int, blocks: list[bytes]) -> Range | None:
        """As many of these blocks as one of their own finalizations covers."""
        for place in reversed(range(len(blocks))):
            certificate = self._row_at(from_height + place).certificate
            if certificate is not None:
                return make_range(blocks[: place + 1], [], certificate)
        return None

    # ---- damage

    def damaged(self) -> list[int]:
        """Heights whose rows were found damaged since the start, newest first: the order in which to repair them."""
        return sorted(self._damaged, reverse=True)

    def expected_hash(self, height: int) -> bytes | None:
        """The hash that the final block of a height has, by the header above it; None where that is damaged too."""
        if not self._has(height):
            return None
        if height == self._height:
            return self._tip_hash
        try:
            return self._row_at(height + 1).header.parent_hash
        except DamagedRow:
            return None

    def repair(self, height: int, raw: bytes, certificate: bytes | None = None) -> bool:
        """Put a block from a neighbor in the place of a damaged one; whether it is the very block that belongs there.

        Its finalization is the caller's to check. Events that are damaged too stay unknown: only its execution knew them.
        """
        expected = self.expected_hash(height)
        try:
            block = decode_block(raw)
        except DecodeError:
            return False
        if expected is None or block.hash != expected:
            return False
        if height <= self._lines.bodies:
            pruned = _Row((True,) * 3, (height - 1,) * 3, block.header, codec.encode(tuple(block.header)), certificate)
            with self._database.transaction():
                self._database.run(_INSERT_PRUNED, *pruned.values())
            self._damaged.pop(height, None)
            return True
        values = self._database.one(f"SELECT {_ROW}, events FROM block WHERE height = ?", height)
        marks, before, events = (True, True, True), (height - 1,) * 3, b""
        if values is not None:
            try:
                row = _parse(values)
                marks, before, certificate = row.marks, row.before, certificate or row.certificate
            except (DamagedStore, DecodeError, ValueError, OverflowError):
                pass  # it is made anew
            try:
                fresh = _Row(marks, before, block.header, codec.encode(tuple(block.header)), certificate)
                if _events_of(fresh, values[8]) is not None:
                    events = wants_bytes(values[8])
            except (DamagedStore, DecodeError):
                pass  # they are lost
        fresh = _Row(marks, before, block.header, codec.encode(tuple(block.header)), certificate)
        with self._database.transaction():
            self._database.run(_INSERT, *fresh.values(), raw, events)
            try:
                self._tail(height)
            except DamagedRow:  # another neighbor has what proves it
                self._database.run("DELETE FROM meta WHERE key = ?", _tail_key(height))
        self._damaged.pop(height, None)
        if height in self._unsure:
            self._unsure.discard(height)
            self._found_ready = False
            if height <= self._found.listed_to(self._lines.base):
                self._mend()
        self._database.wrote(_COMMIT_PAGES + len(raw) // PAGE_BYTES)
        return True

    def check_quickly(self) -> None:
        """SQLite's own check, of a large file only where the state stands. Raises `DamagedStore`."""
        (pages,) = self._database.one("PRAGMA page_count")
        small = pages * PAGE_BYTES <= QUICK_CHECK_BYTES
        for table in ("",) if small else ("(meta)", "(state_row)"):
            (answer,) = self._database.one(f"PRAGMA quick_check{table}")
            if answer not in (b"ok", "ok"):
                raise self._broken("SQLite finds its pages out of order")
        self._opened = self.final()

    def scrub(self) -> int:
        """An hour's share of looking at everything once a week; how many blocks were seen.

        Damaged blocks are in `damaged` afterwards. Raises `DamagedStore` where the state is not what the last header says.
        """
        if self._height == 0:
            return 0
        if root_of(self.state_rows()) != self._row_at(self._height).header.state_root:
            raise self._broken("the state's rows are not those of the last block")
        first = max(1, self._lines.base)
        share = max(SCRUB_BLOCKS_MIN, -(-(self._height - first + 1) // SCRUB_HOURS))
        start = self._scrubbed + 1 if first <= self._scrubbed + 1 <= self._height else first
        last = min(self._height, start + share - 1)
        parent: bytes | None = None
        for height in range(start, last + 1):
            try:
                row, (body, events) = self._columns(height, "body, events")
                if parent is not None and row.header.parent_hash != parent:
                    raise self._bad(height - 1, "the block above names another one")
                parent = sha256(row.raw_header)
                if height > self._lines.bodies:
                    self._body(row, body)
                if height > max(self._lines.events, self._lines.bodies):
                    _events_of(row, events)
            except DamagedRow:
                parent = None
            except (DamagedStore, DecodeError) as error:
                self._bad(height, error)
        self._ready()
        try:
            self._found.check(self._lines.bodies + 1)
        except DamagedStore:
            self._mend()
        self._scrubbed = last
        with self._database.transaction():
            self._set_meta("scrubbed", last.to_bytes(8, "big"))
        self._database.wrote(1)
        return last - start + 1

    # ---- letting go of what is old

    def prune(self) -> bool:
        """Let go of some bodies and events that are older than is kept, by block time; whether there are more."""
        if self._height == 0:
            return False
        tip_ms = self._row_at(self._height).header.time_ms
        bodies = self._line(self._lines.bodies, tip_ms - self.retention.body_days * DAY_MS, found.LIST_BLOCKS * 2)
        events = self._line(self._lines.events, tip_ms - self.retention.event_days * DAY_MS, 1)
        lines = _Lines(self._lines.base, bodies, events)
        if lines == self._lines:
            self._database.give_back()
            return False
        with self._database.transaction():
            self._database.run(
                "UPDATE block SET events = NULL WHERE height > ? AND height <= ?", self._lines.events, events
            )
            # rows of their own for headers: what shrinks in place would keep its pages
            rows = [
                self._row_at(height)._replace(certificate=None) for height in range(self._lines.bodies + 1, bodies + 1)
            ]
            self._database.many(_INSERT_PRUNED, [row.values() for row in rows])
            self._database.run("DELETE FROM block WHERE height <= ?", bodies)
            self._found.drop(bodies)
            self._set_meta("lines", codec.encode(tuple(lines)))
        self._lines = lines
        for height in [height for height in self._damaged if height <= bodies]:
            del self._damaged[height]
            self._unsure.discard(height)
        self._database.wrote(4 * PRUNE_BLOCKS)
        self._database.give_back()
        return True

    def _line(self, line: int, cutoff_ms: int, kept: int) -> int:
        """How far a line may move up now."""
        for height in range(max(line + 1, self._lines.base, 1), min(line + PRUNE_BLOCKS, self._height - kept) + 1):
            try:
                if self._row_at(height).header.time_ms >= cutoff_ms:
                    break
            except DamagedRow:
                break  # it is repaired before it goes, so that its header stays
            line = height
        return line

    # ---- snapshots

    def write_snapshot(self, proof: bytes) -> int:
        """Write the state as it stands as a snapshot file; its height. `proof` says that its header is final."""
        row = self._row_at(self._height)
        below: Peaks = codec.freeze(codec.decode(self.meta("peaks") or b"", bytes_max=8_192))
        try:
            return self._snapshots.write(row.header, proof, below, self.state_rows())
        except DecodeError as error:
            raise self._broken(str(error)) from None

    def snapshot_manifest(self) -> Manifest | None:
        """Of the newest sound snapshot file."""
        return self._snapshots.manifest()

    def snapshot_chunk(self, height: int, index: int) -> bytes | None:
        """A piece of the snapshot of a height; None where there is none that is sound."""
        return self._snapshots.chunk(height, index)

    def install_snapshot(
        self, manifest: Manifest, rows: Sequence[RowBytes], seals: Sequence[tuple[int, bytes]] = ()
    ) -> tuple[Executed, Certificate | None]:
        """Begin anew at a snapshot's height, all in one transaction; what the file held is gone. Gives what `final` gives.

        The caller has judged that its header is final, and has walked there by these (epoch, encoded seal). Raises
        `DecodeError` where rows or history are not the header's.
        """
        check_peaks(manifest.header, manifest.peaks)
        state_of(manifest, rows)
        assert manifest.height > self._height, "a snapshot leads forward"
        tail, certificate = _proof_in(manifest)
        row = _Row((False,) * 3, (0, 0, 0), manifest.header, codec.encode(tuple(manifest.header)), certificate)
        lines = _Lines(manifest.height, manifest.height, manifest.height)
        with self._database.transaction():
            for table in ("block", "pruned", "found", "state_row"):
                self._database.run(f"DELETE FROM {table}")
            self._database.many("INSERT INTO state_row VALUES (?, ?)", rows)
            self._database.run(_INSERT_PRUNED, *row.values())
            if tail is not None:
                self._set_meta(_tail_key(manifest.height), tail)
            for epoch, raw in seals:
                self._set_meta(_seal_key(epoch), raw)
            self._set_meta("peaks", codec.encode(manifest.peaks))
            self._set_meta("lines", codec.encode(tuple(lines)))
        self._lines, self._height, self._opened, self._found_ready = lines, manifest.height, None, False
        self._damaged.clear()
        self._unsure.clear()
        final = self.final()
        self._database.checkpoint()
        return final


def _tail_key(height: int) -> str:
    return f"tail {height}"


def _seal_key(epoch: int) -> str:
    return f"seal {epoch}"


def _proof_in(manifest: Manifest) -> tuple[bytes | None, bytes | None]:
    """(the tail as it is kept, the header's own certificate) of a snapshot; of its proof one or the other, or none."""
    try:
        proof = decode_proof(manifest.proof)
    except DecodeError:
        return None, None
    if not proof.tail:
        return None, proof.certificate.encoded
    return codec.encode((proof.certificate.encoded, tuple(tuple(header) for header in proof.tail))), None


def _marks(block: Block, events: Sequence[Event]) -> tuple[bool, bool, bool]:
    return (
        any(isinstance(event, SlotClosed) for event in events),
        any(isinstance(event, Trade) for event in events),
        any(isinstance(decode_transaction(raw).intent, Reading) for raw in block.transactions),
    )


def _events_of(row: _Row, raw: object) -> list[Event] | None:
    """A block's events as they stand; None where they were lost. Raises `DamagedStore`, `DecodeError`."""
    if raw == b"":
        return None
    items = codec.want_list(codec.decode(wants_bytes(raw), bytes_max=EVENTS_BYTES_MAX), list, length_max=CBOR_ARRAY_MAX)
    if merkle_root([codec.encode(item) for item in items]) != row.header.receipts_root:
        raise DamagedStore("the events are of another block")
    return [from_item(item) for item in codec.freeze(items)]


def decode_events(raw: bytes) -> list[Event]:
    """The events of a block as the store keeps them. Raises `DecodeError`."""
    items = codec.want_list(codec.decode(raw, bytes_max=EVENTS_BYTES_MAX), list, length_max=CBOR_ARRAY_MAX)
    return [from_item(item) for item in codec.freeze(items)]
