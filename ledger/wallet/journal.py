"""A durable log: CRC-framed records appended to one file, each batch synced before anything depends on it.

A torn record at the very end is cut off when the file is opened: its write never finished, so nothing was built on it.
Damage before the end is `DamagedLog`: what stood there may have been signed, so the caller must not go on as if it had not.
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
RECORD_BYTES_MAX: Final = 256 * 1024  # a block with its certificate, twice over


class DamagedLog(EnergoError):
    """A log with damage that is not a torn end."""

    code = "damaged_log"


def _frame(payload: bytes) -> bytes:
    assert 0 < len(payload) <= RECORD_BYTES_MAX, "a record is bounded"
    return len(payload).to_bytes(4, "big") + zlib.crc32(payload).to_bytes(4, "big") + payload


def parse_log(data: bytes) -> tuple[list[bytes], int]:
    """(records, length of the sound part). Raises `DamagedLog`."""
    if not data.startswith(MAGIC):
        if MAGIC.startswith(data):
            return [], 0  # cut while it was created
        raise DamagedLog("the log does not begin as one")
    records: list[bytes] = []
    at = len(MAGIC)
    while at + _HEAD_BYTES <= len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        payload = data[at + _HEAD_BYTES : at + _HEAD_BYTES + size]
        whole = 0 < size <= RECORD_BYTES_MAX and len(payload) == size
        if not whole or zlib.crc32(payload) != int.from_bytes(data[at + 4 : at + 8], "big"):
            if _sound_record_behind(data, at + 1):
                raise DamagedLog(f"record at byte {at} is damaged and others follow it")
            break
        records.append(payload)
        at += _HEAD_BYTES + size
    return records, at


def _sound_record_behind(data: bytes, start: int) -> bool:
    """Whether a whole record stands anywhere behind: then the damage is not a torn end."""
    for at in range(start, len(data) - _HEAD_BYTES):
        size = int.from_bytes(data[at : at + 4], "big")
        if 0 < size <= RECORD_BYTES_MAX and at + _HEAD_BYTES + size <= len(data):
            payload = data[at + _HEAD_BYTES : at + _HEAD_BYTES + size]
            if zlib.crc32(payload) == int.from_bytes(data[at + 4 : at + 8], "big"):
                return True
    return False


class DurableLog:
    """The file. `records` are what it held when it was opened; `created` says that it was not there."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self.created = not path.exists()
            data = b"" if self.created else path.read_bytes()
            self.records, sound = parse_log(data)
            self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
            if sound < len(data):
                os.ftruncate(self._file, sound)
            os.lseek(self._file, 0, os.SEEK_END)
            self.size = sound
            if sound == 0:
                self._write(MAGIC)
            self._sync()
            _sync_folder(path.parent)
        except OSError as error:
            raise self._failed(error) from None

    def _failed(self, error: OSError) -> DiskFailed:
        return DiskFailed(f"{self.path}: {error.strerror}; free space or check the card, then start again")

    def _write(self, data: bytes) -> None:
        while data:
            written = os.write(self._file, data)
            self.size += written
            data = data[written:]

    def _sync(self) -> None:
        os.fdatasync(self._file)

    def append(self, payloads: Sequence[bytes]) -> None:
        """Append and sync. Raises `DiskFailed`; the process must then stop, because what is on disk is unknown."""
        if not payloads:
            return
        try:
            self._write(b"".join(_frame(payload) for payload in payloads))
            self._sync()
        except OSError as error:
            raise self._failed(error) from None

    def rewrite(self, payloads: Iterable[bytes]) -> None:
        """Put a new file with these records in the place of the old one. Raises `DiskFailed`."""
        fresh = self.path.with_suffix(".new")
        try:
            file = os.open(fresh, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
            os.close(self._file)
            self._file, self.size = file, 0
            self._write(MAGIC + b"".join(_frame(payload) for payload in payloads))
            self._sync()
            os.replace(fresh, self.path)
            _sync_folder(self.path.parent)
        except OSError as error:
            raise self._failed(error) from None

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
