"""A durable log: CRC-framed records appended to one file, each batch synced before anything depends on it.

A torn batch at the very end is cut off when the file is opened: its write never finished, so nothing was built on it; a
disk may bring its sectors in any order. Damage before the end is `DamagedLog`: what stood there may have been signed, so the
caller must not go on as if it had not.
A log that is `witnessed` also tells a lost end from a torn one: two places at its beginning, written by turns with each
batch, say how long the log was before and repeat the batch. So one damage, wherever it is, loses nothing without a word.
What is done to files goes through `Files`, so that a test or the simulator can put a disk of its own below this very class.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from ledger.base.errors import DiskFailed, EnergoError

MAGIC: Final = b"energo log 1\n"
_HEAD_BYTES: Final = 8  # length and CRC-32 of the payload, big-endian
_FOLLOWS: Final = 1 << 31
RECORD_BYTES_MAX: Final = 256 * 1024  # a block with its certificate, twice over
LOG_BYTES_MAX: Final = 64 * 1024 * 1024  # sixty times what either journal grows to; a longer file is not ours
WITNESSED_MAGIC: Final = b"energo log 2\n"
_PLACES: Final = (1_024, 2_048)  # a place lies in sectors of its own
_PLACE_BYTES: Final = 1_024
_RECORDS_AT: Final = 4_096  # where a witnessed log's records begin: beyond the page of the places
_PLACE_HEAD: Final = b"here"
SEARCH_BYTES_MAX: Final = (
    16 * 1024 * 1024
)  # summed behind a damaged record: bytes made to look like lengths cost no more


class DamagedLog(EnergoError):
    """A log with damage that is not a torn end."""

    code = "damaged_log"


class Files:
    """What a log needs of a file system; every method may raise `OSError`. This one is the machine's."""

    def size(self, path: Path) -> int | None:
        """Bytes of a file; None where there is none."""
        try:
            return os.stat(path).st_size
        except FileNotFoundError:
            return None

    def read(self, path: Path) -> bytes:
        """A whole file."""
        return path.read_bytes()

    def open(self, path: Path, *, empty: bool = False) -> int:
        """A handle for writing to a file that is made if it is not there; `empty` drops what it held."""
        flags = os.O_RDWR | os.O_CREAT | (os.O_TRUNC if empty else 0)
        return os.open(path, flags, 0o600)

    def write(self, file: int, data: bytes, at: int) -> int:
        """Put bytes at a place; how many were taken."""
        return os.pwrite(file, data, at)

    def truncate(self, file: int, size: int) -> None:
        """Cut the end off."""
        os.ftruncate(file, size)

    def sync(self, file: int) -> None:
        """Return when what was written is on the medium."""
        os.fdatasync(file)

    def close(self, file: int) -> None:
        """Let go of a handle."""
        os.close(file)

    def replace(self, source: Path, target: Path) -> None:
        """Put one file in the place of another, at once."""
        os.replace(source, target)

    def sync_folder(self, folder: Path) -> None:
        """Return when the names in a folder are on the medium."""
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


MACHINE: Final = Files()


def _frame(payload: bytes, *, follows: bool = False) -> bytes:
    """A record; `follows`: it was written with the one before it, so that it may be whole where that one is torn."""
    assert 0 < len(payload) <= RECORD_BYTES_MAX, "a record is bounded"
    return (len(payload) | follows * _FOLLOWS).to_bytes(4, "big") + _sum(payload, follows) + payload


def _sum(payload: bytes, follows: bool) -> bytes:
    """Of the mark too: it may lie in a sector that was lost while the rest was not."""
    return zlib.crc32(payload, int(follows)).to_bytes(4, "big")


def _batch(payloads: Iterable[bytes]) -> bytes:
    return b"".join(_frame(payload, follows=bool(place)) for place, payload in enumerate(payloads))


def parse_log(data: bytes) -> tuple[list[bytes], int]:
    """(records, length of the sound part). Raises `DamagedLog`. Takes time in proportion to the length, whatever it holds."""
    if not data.startswith(MAGIC):
        if MAGIC.startswith(data):
            return [], 0  # cut while it was created
        raise DamagedLog("the log does not begin as one")
    return _parse_records(data, len(MAGIC))


def _parse_records(data: bytes, at: int) -> tuple[list[bytes], int]:
    records: list[bytes] = []
    while at + _HEAD_BYTES <= len(data):
        head = int.from_bytes(data[at : at + 4], "big")
        size, follows = head & ~_FOLLOWS, bool(head & _FOLLOWS)
        payload = data[at + _HEAD_BYTES : at + _HEAD_BYTES + size] if size <= RECORD_BYTES_MAX else b""
        whole = 0 < size == len(payload)
        if not whole or _sum(payload, follows) != data[at + 4 : at + 8]:
            if _sound_record_behind(data, at + 1):
                raise DamagedLog(f"record at byte {at} is damaged and others follow it")
            break
        records.append(payload)
        at += _HEAD_BYTES + size
    return records, at


def _sound_record_behind(data: bytes, start: int) -> bool:
    """Whether a whole record that begins a batch stands anywhere behind: then the damage is not a torn end.

    Gives up with "yes" where finding out would take too long: no torn write of ours looks like that.
    """
    view = memoryview(data)
    summed = 0
    for at in range(start, len(data) - _HEAD_BYTES):
        if data[at]:
            continue  # the length of a record that begins a batch has its first byte zero
        size = int.from_bytes(data[at : at + 4], "big")
        if 0 < size <= RECORD_BYTES_MAX and at + _HEAD_BYTES + size <= len(data):
            if zlib.crc32(view[at + _HEAD_BYTES : at + _HEAD_BYTES + size]) == int.from_bytes(
                data[at + 4 : at + 8], "big"
            ):
                return True
            summed += size
            if summed > SEARCH_BYTES_MAX:
                return True
    return False


def _place(length: int, batch: bytes) -> bytes:
    """What a place says: the log's length before a batch, and the batch itself where it fits."""
    copy = batch if len(batch) <= _PLACE_BYTES - 20 else b""
    said = _PLACE_HEAD + length.to_bytes(8, "big") + len(copy).to_bytes(4, "big") + copy
    return said + zlib.crc32(said).to_bytes(4, "big")


def _said(data: bytes, at: int) -> tuple[int, bytes] | None:
    """What a place says, if it is whole."""
    size = int.from_bytes(data[at + 12 : at + 16], "big")
    end = at + 16 + size
    if data[at : at + 4] != _PLACE_HEAD or size > _PLACE_BYTES - 20:
        return None
    if zlib.crc32(data[at:end]).to_bytes(4, "big") != data[end : end + 4]:
        return None
    return int.from_bytes(data[at + 4 : at + 12], "big"), data[at + 16 : end]


def _last_turn(data: bytes) -> int:
    """Which place said the newest: the other one is next."""
    said = [_said(data, at) or (-1, b"") for at in _PLACES]
    return said.index(max(said))


def parse_witnessed_log(data: bytes) -> tuple[list[bytes], int, bytes]:
    """(records, length of the sound part, a batch that is to be put behind it again). Raises `DamagedLog`."""
    said = [found for at in _PLACES if (found := _said(data, at)) is not None]
    if len(data) <= _RECORDS_AT and all(each == (_RECORDS_AT, b"") for each in said):
        if data[: len(WITNESSED_MAGIC)].strip(b"\0") in (b"", WITNESSED_MAGIC) or WITNESSED_MAGIC.startswith(data):
            return [], 0, b""  # cut while it was created
        raise DamagedLog("the log does not begin as one")
    if not data.startswith(WITNESSED_MAGIC):
        raise DamagedLog("the log does not begin as one")
    if not said:
        raise DamagedLog("nothing says how long the log was")
    length, batch = max(said)
    records, sound = _parse_records(data, _RECORDS_AT)
    sound = max(sound, _RECORDS_AT)
    if sound < length:
        raise DamagedLog(f"the log was {length} bytes long and only {sound} are sound")
    if sound >= length + len(batch):
        return records, sound, b""
    kept, at = _parse_records(data[:length].ljust(_RECORDS_AT, b"\0"), _RECORDS_AT)
    if max(at, _RECORDS_AT) != length:
        raise DamagedLog("the log's length is not at the end of a record")
    again, _ = _parse_records(batch, 0)
    return kept + again, length, batch


class DurableLog:
    """The file. `records` are what it held when it was opened; `begun` says that there was none, or none that was ever synced."""

    def __init__(self, path: Path, files: Files = MACHINE, *, witnessed: bool = False) -> None:
        self.path, self._files, self._witnessed = path, files, witnessed
        self._turn = 0
        try:
            length = files.size(path)
            if length is not None and length > LOG_BYTES_MAX:
                raise DamagedLog(f"a log of {length} bytes is none of ours")
            data = b"" if length is None else files.read(path)
            batch = b""
            if witnessed:
                self.records, sound, batch = parse_witnessed_log(data)
                self._turn = _last_turn(data) + 1
            else:
                self.records, sound = parse_log(data)
            self.begun = sound == 0
            self._file = files.open(path)
            if sound < len(data):
                files.truncate(self._file, sound)
            self.size = sound
            if sound == 0:
                self._begin()
            self._write(batch)
            self._sync()
            files.sync_folder(path.parent)
        except OSError as error:
            raise self._failed(error) from None

    def _begin(self) -> None:
        """What stands in a log before its first record."""
        if not self._witnessed:
            self._write(MAGIC)
            return
        places = _place(_RECORDS_AT, b"").ljust(_PLACE_BYTES, b"\0")
        self._write(WITNESSED_MAGIC.ljust(_PLACES[0], b"\0") + places.ljust(_RECORDS_AT - _PLACES[0], b"\0"))
        self._turn = 1

    def _failed(self, error: OSError) -> DiskFailed:
        return DiskFailed(f"{self.path}: {error.strerror}; free space or check the card, then start again")

    def _write(self, data: bytes) -> None:
        while data:
            written = self._files.write(self._file, data, self.size)
            self.size += written
            data = data[written:]

    def _sync(self) -> None:
        self._files.sync(self._file)

    def append(self, payloads: Sequence[bytes]) -> None:
        """Append and sync. Raises `DiskFailed`; the process must then stop, because what is on disk is unknown."""
        if not payloads:
            return
        try:
            batch = _batch(payloads)
            if self._witnessed:
                self._witness(batch)
            self._write(batch)
            self._sync()
        except OSError as error:
            raise self._failed(error) from None

    def _witness(self, batch: bytes) -> None:
        said, at = _place(self.size, batch), _PLACES[self._turn % 2]
        self._turn += 1
        while said:
            written = self._files.write(self._file, said, at)
            said, at = said[written:], at + written

    def rewrite(self, payloads: Iterable[bytes]) -> None:
        """Put a new file with these records in the place of the old one. Raises `DiskFailed`."""
        fresh = self.path.with_suffix(".new")
        try:
            file = self._files.open(fresh, empty=True)
            self._files.close(self._file)
            self._file, self.size = file, 0
            self._begin()
            self._write(b"".join(_frame(payload) for payload in payloads))
            if self._witnessed:
                self._witness(b"")
            self._sync()
            self._files.replace(fresh, self.path)
            self._files.sync_folder(self.path.parent)
        except OSError as error:
            raise self._failed(error) from None

    def close(self) -> None:
        """Close the file."""
        self._files.close(self._file)
