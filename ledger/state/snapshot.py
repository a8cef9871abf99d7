"""A snapshot: the state at a final block, in pieces that each name their hash, and a manifest that a final header vouches for.

The rows stand in order of their keys, each as a length and canonical `[key, row]`; that row of bytes is cut every 64 KiB. What
somebody else sends is taken only if the bucket root over the rows is the header's `state_root` and the history's peaks give its
`history_root`. Whether the header is final is judged by its `proof`, which is opaque here. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from ledger.base import codec
from ledger.base.codec import in_range, of_length, want, want_list
from ledger.base.crypto import HASH_BYTES, sha256
from ledger.base.errors import DecodeError
from ledger.base.limits import AMOUNT_MAX

from . import history
from .blocks import HEADER_BYTES_MAX, Header, header_from_item
from .state import BUCKETS, State, load

CHUNK_BYTES: Final = 64 * 1024
CHUNKS_MAX: Final = 1_024  # 64 MiB: the state of ten thousand homes is a quarter of that
PROOF_BYTES_MAX: Final = 32 * 1024
PEAKS_MAX: Final = 64
MANIFEST_BYTES_MAX: Final = HEADER_BYTES_MAX + PROOF_BYTES_MAX + PEAKS_MAX * 48 + CHUNKS_MAX * 36 + 64  # within a frame
_LENGTH_BYTES: Final = 4

RowBytes = tuple[bytes, bytes]


class Manifest(NamedTuple):
    """What a snapshot is of: a final header, its proof, the history's peaks below that block, and the hash of each piece."""

    header: Header
    proof: bytes
    peaks: history.Peaks
    hashes: tuple[bytes, ...]

    @property
    def height(self) -> int:
        """Of the block whose state this is."""
        return self.header.height

    def encoded(self) -> bytes:
        """Canonical bytes."""
        return codec.encode((tuple(self.header), self.proof, self.peaks, self.hashes))


def decode_manifest(raw: bytes) -> Manifest:
    """Form and history only: whether its header is final, the proof says. Raises `DecodeError`."""
    header, proof, peaks, hashes = want(codec.decode(raw, bytes_max=MANIFEST_BYTES_MAX), list, bytes, list, list)
    if len(proof) > PROOF_BYTES_MAX:
        raise DecodeError("a proof that is too long")
    found: list[tuple[int, bytes]] = []
    for peak in want_list(peaks, list, length_max=PEAKS_MAX):
        leaves, digest = want(peak, int, bytes)
        found.append((in_range(leaves, 1, AMOUNT_MAX, "leaves"), of_length(digest, HASH_BYTES, "peak")))
    for digest in want_list(hashes, bytes, length_max=CHUNKS_MAX):
        of_length(digest, HASH_BYTES, "hash of a piece")
    manifest = Manifest(header_from_item(header), proof, tuple(found), tuple(hashes))
    if not hashes:
        raise DecodeError("a snapshot without pieces")
    check_peaks(manifest.header, manifest.peaks)
    return manifest


def check_peaks(header: Header, peaks: history.Peaks) -> None:
    """That these are the history below a block. Raises `DecodeError`."""
    if sum(leaves for leaves, _ in peaks) != header.height or history.root(peaks) != header.history_root:
        raise DecodeError("the history is not the one that the header commits to")


def root_of(rows: Iterable[RowBytes]) -> bytes:
    """The state's root over row bytes in order of their keys, without looking into them."""
    buckets: list[list[bytes]] = [[] for _ in range(BUCKETS)]
    for key, row in rows:
        buckets[sha256(key)[0]] += (key, row)
    return sha256(*(sha256(*parts) for parts in buckets))


def cut(rows: Iterable[RowBytes]) -> list[bytes]:
    """The pieces of rows that stand in order of their keys."""
    encoded = (codec.encode(pair) for pair in rows)
    whole = b"".join(len(raw).to_bytes(_LENGTH_BYTES, "big") + raw for raw in encoded)
    return [whole[at : at + CHUNK_BYTES] for at in range(0, len(whole), CHUNK_BYTES)]


def make_manifest(header: Header, proof: bytes, peaks: history.Peaks, chunks: Sequence[bytes]) -> Manifest:
    """The manifest of pieces that `cut` made. Raises `DecodeError` where the history is not the header's."""
    assert 0 < len(chunks) <= CHUNKS_MAX, "a state fits into a snapshot"
    check_peaks(header, peaks)
    return Manifest(header, proof, peaks, tuple(sha256(chunk) for chunk in chunks))


class Assembly:
    """A snapshot on its way in: pieces in any order, each taken once and only if it is the one that the manifest names."""

    def __init__(self, manifest: Manifest) -> None:
        self.manifest = manifest
        self._chunks: dict[int, bytes] = {}

    def add(self, index: int, chunk: bytes) -> None:
        """Raises `DecodeError` for a piece that is none of this snapshot."""
        if not 0 <= index < len(self.manifest.hashes) or sha256(chunk) != self.manifest.hashes[index]:
            raise DecodeError("a piece that is not of this snapshot")
        self._chunks[index] = chunk

    def missing(self) -> list[int]:
        """The pieces still to come, in order."""
        return [index for index in range(len(self.manifest.hashes)) if index not in self._chunks]

    def rows(self) -> list[RowBytes]:
        """All rows, once nothing is missing, checked against the header. Raises `DecodeError`."""
        assert not self.missing(), "a snapshot is put together when it is complete"
        return check_rows(self.manifest, [self._chunks[index] for index in range(len(self.manifest.hashes))])


def check_rows(manifest: Manifest, chunks: Sequence[bytes]) -> list[RowBytes]:
    """The rows that pieces hold, in order, if they are those of the manifest's header. Raises `DecodeError`."""
    whole = b"".join(chunks)
    rows: list[RowBytes] = []
    at = 0
    while at < len(whole):
        end = at + _LENGTH_BYTES + int.from_bytes(whole[at : at + _LENGTH_BYTES], "big")
        if end > len(whole):
            raise DecodeError("a snapshot that ends inside a row")
        key, row = want(codec.decode(whole[at + _LENGTH_BYTES : end], bytes_max=len(whole)), bytes, bytes)
        if rows and key <= rows[-1][0]:
            raise DecodeError("rows of a snapshot that are out of order")
        rows.append((key, row))
        at = end
    if root_of(rows) != manifest.header.state_root:
        raise DecodeError("the rows are not those that the header commits to")
    return rows


def state_of(manifest: Manifest, rows: Iterable[RowBytes]) -> State:
    """The bottom layer that the rows make. Raises `DecodeError` where they are not the header's or not of our form."""
    state = load(rows)
    if state.root() != manifest.header.state_root:
        raise DecodeError("the rows are not those that the header commits to")
    return state
