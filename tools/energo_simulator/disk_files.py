"""Files on a fake disk for the durable logs of node and wallet: the very class that runs at home, over writes that may be lost.

What is written lies in a cache until it is synced; so does a file's name, until its folder is. A power cut keeps, of each
write that was not synced, the sectors that `keeps` says: in whatever order, so that a later write may survive an earlier one.
A fault makes an operation fail with the error that a card would give. Pure but for `OSError`, the form in which a disk fails.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from ledger.wallet.journal import Files

SECTOR_BYTES: Final = 512

Keeps = Callable[[], bool]  # whether a sector that was not synced reached the medium


@dataclass
class _Inode:
    durable: bytearray = field(default_factory=bytearray)
    cache: bytearray = field(default_factory=bytearray)
    pending: list[tuple[int, bytes | None]] = field(default_factory=list)  # (place, bytes), or (length, None) of a cut


class DiskFiles(Files):
    """One home's disk. `fail` is asked before each operation that changes something: an errno, or 0."""

    def __init__(self, fail: Callable[[], int] = lambda: 0) -> None:
        self._names: dict[Path, _Inode] = {}
        self._durable_names: dict[Path, _Inode] = {}
        self._name_states: list[dict[Path, _Inode]] = []  # after each change since the folder was synced
        self._open: dict[int, _Inode] = {}
        self._next = 3
        self._fail = fail
        self.syncs = 0

    def _may_fail(self) -> None:
        number = self._fail()
        if number:
            raise OSError(number, errno.errorcode.get(number, "the disk failed"))

    def size(self, path: Path) -> int | None:
        """See `Files`."""
        inode = self._names.get(path)
        return None if inode is None else len(inode.cache)

    def read(self, path: Path) -> bytes:
        """See `Files`."""
        inode = self._names.get(path)
        if inode is None:
            raise FileNotFoundError(errno.ENOENT, "no such file", str(path))
        return bytes(inode.cache)

    def open(self, path: Path, *, empty: bool = False) -> int:
        """See `Files`."""
        inode = self._names.get(path)
        if inode is None:
            self._may_fail()
            inode = self._names[path] = _Inode()
            self._name_states.append(dict(self._names))
        self._next += 1
        self._open[self._next] = inode
        if empty and inode.cache:
            self.truncate(self._next, 0)
        return self._next

    def write(self, file: int, data: bytes, at: int) -> int:
        """See `Files`."""
        self._may_fail()
        inode = self._open[file]
        if len(inode.cache) < at:
            inode.cache += bytes(at - len(inode.cache))
        inode.cache[at : at + len(data)] = data
        inode.pending.append((at, bytes(data)))
        return len(data)

    def truncate(self, file: int, size: int) -> None:
        """See `Files`."""
        self._may_fail()
        inode = self._open[file]
        del inode.cache[size:]
        inode.pending.append((size, None))

    def sync(self, file: int) -> None:
        """See `Files`."""
        self._may_fail()
        inode = self._open[file]
        inode.durable, inode.pending = bytearray(inode.cache), []
        self.syncs += 1

    def close(self, file: int) -> None:
        """See `Files`."""
        del self._open[file]

    def replace(self, source: Path, target: Path) -> None:
        """See `Files`."""
        self._may_fail()
        self._names[target] = self._names.pop(source)
        self._name_states.append(dict(self._names))

    def sync_folder(self, folder: Path) -> None:
        """See `Files`."""
        self._may_fail()
        self._durable_names, self._name_states = dict(self._names), []

    def durable(self, path: Path) -> bytes:
        """What of a file would be there after a power cut now that loses all it may."""
        inode = self._durable_names.get(path)
        return b"" if inode is None else bytes(inode.durable)

    def copy(self) -> DiskFiles:
        """A copy of the card: what is durable now."""
        twin = DiskFiles()
        twin._durable_names = {
            path: _Inode(bytearray(inode.durable), bytearray(inode.durable))
            for path, inode in self._durable_names.items()
        }
        twin._names = dict(twin._durable_names)
        return twin

    def fails(self, fail: Callable[[], int]) -> None:
        """Ask this before each operation from now on."""
        self._fail = fail

    def cut(self, keeps: Keeps) -> None:
        """The power fails, and comes back: what was synced is there, of the rest the sectors that `keeps` says."""
        names = self._durable_names
        for later in self._name_states:  # a file system keeps what is done to names in order
            if not keeps():
                break
            names = later
        for inode in {id(inode): inode for inode in names.values()}.values():
            _settle(inode, keeps)
        self._names, self._durable_names, self._name_states, self._open = dict(names), names, [], {}


def _settle(inode: _Inode, keeps: Keeps) -> None:
    survived = bytearray(inode.durable)
    for at, data in inode.pending:
        if data is None:
            if keeps():
                del survived[at:]
            continue
        start = at
        while start < at + len(data):
            end = min(at + len(data), (start // SECTOR_BYTES + 1) * SECTOR_BYTES)
            if keeps():
                if len(survived) < start:
                    survived += bytes(start - len(survived))
                survived[start:end] = data[start - at : end - at]
            start = end
    inode.durable, inode.cache, inode.pending = survived, bytearray(survived), []
