"""The state: tables of rows in layers, and the root over all of them.

A layer holds what changed since its parent; the bottom layer is what is final. A block is executed on a layer of its own,
and each of its transactions on one above that, so that a refused one leaves nothing behind. The root is SHA-256 over 256
bucket hashes; a bucket is SHA-256 over its rows in order of their keys' bytes, and only touched buckets are hashed again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

from ledger.base import codec
from ledger.base.crypto import sha256
from ledger.base.errors import DecodeError

from .tables import TABLES, Key, Row, Table

BUCKETS: Final = 256  # 8 KB of hashes in memory; a bucket of a street's state holds a handful of rows
_EMPTY: Final = sha256()

Change = tuple[bytes, bytes | None]  # a row's key and its bytes, or None where it is gone


class State:
    """One layer. `get`, `put`, `delete` and `scan` see through to the parents."""

    __slots__ = ("_bucket_hashes", "_buckets", "_dirty", "_hashes", "_tables", "parent")

    def __init__(self, parent: State | None = None) -> None:
        self.parent = parent
        self._tables: dict[int, dict[Key, Any]] = {}
        self._dirty: set[tuple[int, Key]] = set()  # membership and sorted iteration only: no set order escapes
        self._buckets: dict[int, dict[bytes, bytes | None]] = {}
        self._bucket_hashes: dict[int, bytes] = {}
        self._hashes: list[bytes] | None = None  # of all buckets, once the root was asked for

    def fork(self) -> State:
        """A new layer above this one."""
        return State(self)

    def get(self, table: Table[Row], key: Key) -> Row | None:
        """The row, or None."""
        layer: State | None = self
        number = table.number
        while layer is not None:
            rows = layer._tables.get(number)
            if rows is not None and key in rows:
                found: Row | None = rows[key]
                return found
            layer = layer.parent
        return None

    def need(self, table: Table[Row], key: Key) -> Row:
        """The row, which must be there by the rules."""
        row = self.get(table, key)
        assert row is not None, f"table {table.number} must have a row {key!r}"
        return row

    def put(self, table: Table[Row], key: Key, row: Row) -> None:
        """Set a row."""
        self._tables.setdefault(table.number, {})[key] = row
        self._dirty.add((table.number, key))

    def delete(self, table: Table[Row], key: Key) -> None:
        """Remove a row; nothing happens if it is not there."""
        self._tables.setdefault(table.number, {})[key] = None
        self._dirty.add((table.number, key))

    def touches(self, table: Table[Row]) -> bool:
        """Whether this layer changed a row of a table."""
        return table.number in self._tables

    def scan(self, table: Table[Row]) -> list[tuple[Key, Row]]:
        """All rows of a table in order of their keys."""
        merged: dict[Key, Row | None] = {}
        layers: list[State] = []
        layer: State | None = self
        while layer is not None:
            layers.append(layer)
            layer = layer.parent
        for each in reversed(layers):
            merged.update(each._tables.get(table.number, {}))
        return [(key, row) for key, row in sorted(merged.items()) if row is not None]

    def absorb(self, child: State) -> None:
        """Take over a child's changes: the transaction or block that made them holds."""
        assert child.parent is self, "only a child of this layer can be absorbed"
        for number, key in child._dirty:
            self._tables.setdefault(number, {})[key] = child._tables[number][key]
        self._dirty |= child._dirty

    def settle(self, child: State) -> list[Change]:
        """Absorb a final block's layer into this bottom layer; the changed rows' bytes, for the store."""
        assert self.parent is None and child.parent is self, "only the bottom layer settles its own child"
        child.root()
        changes: list[Change] = []
        for number, key in child._changed_keys():
            row = child._tables[number][key]
            rows = self._tables.setdefault(number, {})
            if row is None:
                rows.pop(key, None)
            else:
                rows[key] = row
        for bucket in sorted(child._buckets):
            mine = self._buckets.setdefault(bucket, {})
            for key_bytes, row_bytes in sorted(child._buckets[bucket].items()):
                changes.append((key_bytes, row_bytes))
                if row_bytes is None:
                    mine.pop(key_bytes, None)
                else:
                    mine[key_bytes] = row_bytes
            self._bucket_hashes[bucket] = child._bucket_hashes[bucket]
        self._hashes = child._hashes
        return changes

    def rows(self) -> list[tuple[bytes, bytes]]:
        """Every row of a bottom layer as (key bytes, row bytes), in order: what a store begins with."""
        assert self.parent is None, "only the bottom layer has every row"
        self.root()
        found = [(key, row) for bucket in self._buckets.values() for key, row in bucket.items() if row is not None]
        return sorted(found)

    def rebase(self, parent: State) -> None:
        """Stand on another layer that holds the same rows as the old parent (which was settled into it)."""
        self.parent = parent

    def _changed_keys(self) -> Iterator[tuple[int, Key]]:
        for number in sorted(self._tables):
            for key in sorted(self._tables[number]):
                yield number, key

    def _bucket(self, bucket: int) -> dict[bytes, bytes]:
        merged: dict[bytes, bytes | None] = {} if self.parent is None else dict(self.parent._bucket(bucket))
        merged.update(self._buckets.get(bucket, {}))
        return {key: row for key, row in merged.items() if row is not None}

    def _bucket_hash(self, bucket: int) -> bytes:
        layer: State | None = self
        while layer is not None:
            known = layer._bucket_hashes.get(bucket)
            if known is not None:
                return known
            layer = layer.parent
        return _EMPTY

    def root(self) -> bytes:
        """The 32-byte root over every row."""
        touched: set[int] = set()
        for number, key in self._dirty:
            key_bytes = codec.encode((number, key))
            bucket = sha256(key_bytes)[0]
            row = self._tables[number][key]
            self._buckets.setdefault(bucket, {})[key_bytes] = None if row is None else codec.encode(tuple(row))
            touched.add(bucket)
        for bucket in sorted(touched):
            parts = [part for pair in sorted(self._bucket(bucket).items()) for part in pair]
            self._bucket_hashes[bucket] = sha256(*parts)
        self._dirty.clear()
        if self._hashes is None or touched:
            below = None if self.parent is None else self.parent._hashes
            hashes = [self._bucket_hash(bucket) for bucket in range(BUCKETS)] if below is None else list(below)
            for bucket, found in self._bucket_hashes.items():
                hashes[bucket] = found
            self._hashes = hashes
        return sha256(b"".join(self._hashes))


def load(rows: Iterable[tuple[bytes, bytes]]) -> State:
    """The bottom layer made of stored rows (key bytes, row bytes). Raises `DecodeError` where they are damaged."""
    state = State()
    for key_bytes, row_bytes in rows:
        number, key = codec.freeze(codec.want(codec.decode(key_bytes, bytes_max=1 << 16), int, list))
        row = codec.freeze(codec.decode(row_bytes, bytes_max=1 << 22))
        kind: Any = TABLES.get(number)
        if kind is None or not isinstance(row, tuple) or len(row) != len(kind._fields):
            raise DecodeError("a stored row has not the form of its table")
        state._tables.setdefault(number, {})[key] = kind(*row)
        state._dirty.add((number, key))
    state.root()
    return state
