"""Snapshot files of a data folder: `snapshot-HEIGHT`, the last two, each written whole before it gets its name.

A file is a manifest with its length and checksum, then the pieces. What is read is checked; a file that is not sound is removed,
because the next one comes by itself. Refuses nothing that is sound: whose state it is, the manifest's proof says.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from ledger.base.crypto import HASH_BYTES, sha256
from ledger.base.errors import DecodeError, DiskFailed
from ledger.state import history
from ledger.state.blocks import Header
from ledger.state.snapshot import (
    CHUNK_BYTES,
    MANIFEST_BYTES_MAX,
    Manifest,
    RowBytes,
    check_rows,
    cut,
    decode_manifest,
    make_manifest,
)

PREFIX: Final = "snapshot-"
KEPT: Final = 2  # the newest, and the one that somebody may be fetching
MAGIC: Final = b"energo snapshot 1\n"
_LENGTH_BYTES: Final = 4


class Snapshots:
    """The files of one folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._known: dict[int, tuple[Manifest, int]] = {}  # with the place where the pieces begin

    def heights(self) -> list[int]:
        """Of the files that are there, newest first."""
        names = [path.name.removeprefix(PREFIX) for path in self._folder.glob(f"{PREFIX}*")]
        return sorted((int(name) for name in names if name.isdecimal() and len(name) < 20), reverse=True)

    def _path(self, height: int) -> Path:
        return self._folder / f"{PREFIX}{height}"

    def write(self, header: Header, proof: bytes, peaks: history.Peaks, rows: Sequence[RowBytes]) -> int:
        """Write one file and let older ones go; its height. Raises `DiskFailed`, `DecodeError`."""
        chunks = cut(rows)
        manifest = make_manifest(header, proof, peaks, chunks)
        check_rows(manifest, chunks)
        raw = manifest.encoded()
        path = self._path(header.height)
        fresh = self._folder / "snapshot.new"
        try:
            with fresh.open("wb") as file:
                file.write(MAGIC + len(raw).to_bytes(_LENGTH_BYTES, "big") + sha256(raw) + raw)
                file.writelines(chunks)
                file.flush()
                os.fsync(file.fileno())
            fresh.replace(path)
            descriptor = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        except OSError as error:
            fresh.unlink(missing_ok=True)
            raise DiskFailed(f"{path}: {error.strerror}; free space or check the card") from None
        for height in self.heights()[KEPT:]:
            self._drop(height)
        return header.height

    def _drop(self, height: int) -> None:
        self._known.pop(height, None)
        try:
            self._path(height).unlink(missing_ok=True)
        except OSError:
            pass  # it is tried again with the next snapshot

    def _manifest_of(self, height: int) -> tuple[Manifest, int] | None:
        known = self._known.get(height)
        if known is not None:
            return known
        try:
            with self._path(height).open("rb") as file:
                head = file.read(len(MAGIC) + _LENGTH_BYTES + HASH_BYTES)
                size = int.from_bytes(head[len(MAGIC) : len(MAGIC) + _LENGTH_BYTES], "big")
                if not head.startswith(MAGIC) or size > MANIFEST_BYTES_MAX:
                    raise DecodeError("no snapshot")
                raw = file.read(size)
            if sha256(raw) != head[-HASH_BYTES:]:
                raise DecodeError("the manifest is damaged")
            manifest = decode_manifest(raw)
            if manifest.height != height:
                raise DecodeError("a snapshot of another height")
        except (OSError, DecodeError):
            self._drop(height)
            return None
        self._known = {old: each for old, each in self._known.items() if old in self.heights()}
        self._known[height] = (manifest, len(head) + size)
        return self._known[height]

    def manifest(self) -> Manifest | None:
        """Of the newest file that is sound so far."""
        for height in self.heights():
            found = self._manifest_of(height)
            if found is not None:
                return found[0]
        return None

    def chunk(self, height: int, index: int) -> bytes | None:
        """A piece; None where there is none, or not the one that was written."""
        found = self._manifest_of(height)
        if found is None or not 0 <= index < len(found[0].hashes):
            return None
        try:
            with self._path(height).open("rb") as file:
                file.seek(found[1] + index * CHUNK_BYTES)
                chunk = file.read(CHUNK_BYTES)
        except OSError:
            chunk = b""
        if sha256(chunk) != found[0].hashes[index]:
            self._drop(height)
            return None
        return chunk

    def newest(self) -> tuple[Manifest, list[RowBytes]] | None:
        """The newest snapshot that is sound as a whole."""
        for height in self.heights():
            found = self._manifest_of(height)
            if found is None:
                continue
            chunks = [self.chunk(height, index) for index in range(len(found[0].hashes))]
            try:
                return found[0], check_rows(found[0], [chunk for chunk in chunks if chunk is not None])
            except DecodeError:
                self._drop(height)
        return None
