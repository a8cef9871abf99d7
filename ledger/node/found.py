"""Where a transaction or block is found by its hash, at little wear: sealed lists of hash beginnings, written once, never changed.

Entries of the newest blocks stand in memory (they follow from the blocks). Some thousands at a time go to the file, sorted and
parted by their first four bits, each part in a row with its seal. A lookup reads one part of every list; that none is missing
follows from the heights, each list beginning where the one before it ended. So a hash that is not found is not there, even on
a damaged file. A b-tree over hashes would write a page for every transaction instead of ten bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from ledger.base.crypto import sha256
from ledger.state.blocks import Block

from .database import DamagedStore, Database, seal, wants_bytes, wants_int

SCHEMA: Final = """
CREATE TABLE found (
    part INTEGER NOT NULL, from_height INTEGER NOT NULL, to_height INTEGER NOT NULL, entries BLOB NOT NULL, seal INTEGER NOT NULL,
    PRIMARY KEY (part, from_height)
) WITHOUT ROWID
"""
PARTS: Final = 16
PREFIX_BYTES: Final = 8
_OFFSET_BYTES: Final = 2
_ENTRY_BYTES: Final = PREFIX_BYTES + _OFFSET_BYTES
LIST_ENTRIES: Final = 4_096  # and what the last block brings: half a megabyte of memory
LIST_BLOCKS: Final = 1_024  # so that a start reads at most so many blocks again
LIST_PAGES_MAX: Final = 6 * PARTS  # of the file, for `Database.wrote`


def hashes_of(block: Block) -> list[bytes]:
    """What a block is found by: its transactions' ids and its own hash, cut to what is stored."""
    return [block.hash[:PREFIX_BYTES], *(sha256(raw)[:PREFIX_BYTES] for raw in block.transactions)]


class Found:
    """The lists of one file, and the entries of the blocks above them."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._recent: dict[bytes, list[int]] = {}
        self._recent_from = 1
        self._entries = 0

    def listed_to(self, base: int) -> int:
        """The height up to which lists stand; blocks above it are to be given to `note` again. Raises `DamagedStore`."""
        at = base
        for first, last, _ in self._lists(0):
            at = last if first == at + 1 or at == base else _gap()
        return at

    def begin(self, above: int) -> None:
        """Forget what stands in memory; the next block that is noted is the one above this height."""
        self._recent, self._recent_from, self._entries = {}, above + 1, 0

    def note(self, block: Block) -> None:
        """Remember a block's entries."""
        for prefix in hashes_of(block):
            self._recent.setdefault(prefix, []).append(block.height)
            self._entries += 1

    def is_full(self, height: int) -> bool:
        """Whether a list should be written up to this height."""
        return self._entries >= LIST_ENTRIES or height - self._recent_from + 1 >= LIST_BLOCKS

    def write(self, height: int) -> None:
        """Write a list up to this height, in the transaction that is open; call `begin` once that has held."""
        first = self._recent_from
        parts: list[list[bytes]] = [[] for _ in range(PARTS)]
        for prefix, heights in self._recent.items():
            for at in heights:
                parts[prefix[0] * PARTS >> 8].append(prefix + (at - first).to_bytes(_OFFSET_BYTES, "big"))
        rows = []
        for part, entries in enumerate(parts):
            packed = b"".join(sorted(entries))
            rows.append((part, first, height, packed, seal(part, first, height, packed)))
        self._database.many("INSERT INTO found VALUES (?, ?, ?, ?, ?)", rows)

    def _lists(self, part: int) -> Iterator[tuple[int, int, bytes]]:
        for row in self._database.each(
            "SELECT part, from_height, to_height, entries, seal FROM found WHERE part = ? ORDER BY from_height", part
        ):
            number, first, last = (wants_int(value) for value in row[:3])
            entries = wants_bytes(row[3])
            if number != part or len(entries) % _ENTRY_BYTES or wants_int(row[4]) != seal(part, first, last, entries):
                raise DamagedStore("a list of hashes is not what was written")
            yield first, last, entries

    def heights(self, digest: bytes, lowest: int) -> list[int]:
        """Heights where it may stand, newest first; `lowest` is the first that lists must cover. Raises `DamagedStore`."""
        prefix = digest[:PREFIX_BYTES]
        found: list[int] = []
        covered = 0
        for first, last, entries in self._lists(prefix[0] * PARTS >> 8):
            if first != covered + 1 and (covered or first > lowest):
                _gap()
            covered = last
            found += [first + offset for offset in _offsets(entries, prefix)]
        if covered + 1 != self._recent_from and (covered or self._recent_from > lowest):
            _gap()
        return [*self._recent.get(prefix, [])[::-1], *found[::-1]]

    def check(self, lowest: int) -> None:
        """Every list, for the scrub. Raises `DamagedStore`."""
        for part in range(PARTS):
            self.heights(bytes([part * 256 // PARTS]) * PREFIX_BYTES, lowest)

    def drop(self, height: int) -> None:
        """Let go of lists that name nothing above this height, in the transaction that is open."""
        self._database.run("DELETE FROM found WHERE to_height <= ?", height)

    def rebuild(self, base: int, blocks: Iterable[Block]) -> None:
        """Write every list anew from the blocks above `base`, in one transaction."""
        with self._database.transaction():
            self._database.run("DELETE FROM found")
            self.begin(base)
            for block in blocks:
                self.note(block)
                if self.is_full(block.height):
                    self.write(block.height)
                    self.begin(block.height)


def _gap() -> int:
    raise DamagedStore("lists of hashes are missing")


def _offsets(entries: bytes, prefix: bytes) -> list[int]:
    """The offsets that stand behind a prefix in a sorted list."""
    low, high = 0, len(entries) // _ENTRY_BYTES
    while low < high:
        middle = (low + high) // 2
        if entries[middle * _ENTRY_BYTES : middle * _ENTRY_BYTES + PREFIX_BYTES] < prefix:
            low = middle + 1
        else:
            high = middle
    found: list[int] = []
    at = low * _ENTRY_BYTES
    while entries[at : at + PREFIX_BYTES] == prefix:
        found.append(int.from_bytes(entries[at + PREFIX_BYTES : at + _ENTRY_BYTES], "big"))
        at += _ENTRY_BYTES
    return found
