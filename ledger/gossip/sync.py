"""Catching up: a range of final blocks, linked by their hashes up to one finalization that covers them all; pieces of snapshots."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from ledger.base import codec
from ledger.base.codec import in_range, want, want_list
from ledger.base.errors import DecodeError
from ledger.base.limits import AMOUNT_MAX, FRAME_BYTES_MAX
from ledger.base.votes import CERTIFICATE_BYTES_MAX, Certificate, decode_certificate
from ledger.state.blocks import HEADER_BYTES_MAX, Block, Header, decode_block, header_from_item
from ledger.state.snapshot import CHUNK_BYTES, CHUNKS_MAX

RANGE_BLOCKS_MAX: Final = 64
RANGE_BYTES_MAX: Final = 80 * 1024  # of blocks and headers; with the certificate it stays within a frame
RANGE_HEADERS_MAX: Final = 32  # from the last block to the next finalization: honest chains need one or two


class RangeRequest(NamedTuple):
    """Blocks wanted from this height on."""

    from_height: int


class Range(NamedTuple):
    """Encoded blocks, encoded headers that link them to the certificate's block, and that finalization.

    Without blocks it says that there are none to give.
    """

    blocks: tuple[bytes, ...]
    headers: tuple[bytes, ...]
    certificate: bytes


NOTHING: Final = Range((), (), b"")


class SnapshotRequest(NamedTuple):
    """A piece of the snapshot of a height; at height 0 the manifest of the newest one."""

    height: int
    part: int


class SnapshotChunk(NamedTuple):
    """A piece of the snapshot of a height; empty where there is none to give (height 0: no manifest)."""

    height: int
    part: int
    data: bytes


def decode_snapshot_request(raw: bytes) -> SnapshotRequest:
    """Raises `DecodeError`."""
    height, part = want(codec.decode(raw, bytes_max=32), int, int)
    return SnapshotRequest(
        in_range(height, 0, AMOUNT_MAX, "height"), in_range(part, 0, CHUNKS_MAX - 1, "number of a piece")
    )


def decode_snapshot_chunk(raw: bytes) -> SnapshotChunk:
    """Form only: the manifest names its hash. Raises `DecodeError`."""
    height, part, data = want(codec.decode(raw, bytes_max=CHUNK_BYTES + 64), int, int, bytes)
    in_range(height, 0, AMOUNT_MAX, "height")
    in_range(part, 0, CHUNKS_MAX - 1, "number of a piece")
    if len(data) > CHUNK_BYTES:
        raise DecodeError("a piece that is too large")
    return SnapshotChunk(height, part, data)


def decode_range_request(raw: bytes) -> RangeRequest:
    """Raises `DecodeError`."""
    (height,) = want(codec.decode(raw, bytes_max=32), int)
    return RangeRequest(in_range(height, 1, AMOUNT_MAX, "height"))


def decode_range(raw: bytes) -> Range:
    """Form only. Raises `DecodeError`."""
    blocks, headers, certificate = want(codec.decode(raw, bytes_max=FRAME_BYTES_MAX), list, list, bytes)
    want_list(blocks, bytes, length_max=RANGE_BLOCKS_MAX)
    want_list(headers, bytes, length_max=RANGE_HEADERS_MAX)
    if len(certificate) > CERTIFICATE_BYTES_MAX:
        raise DecodeError("a certificate that is too large")
    return Range(tuple(blocks), tuple(headers), certificate)


def make_range(blocks: Sequence[bytes], headers: Sequence[Header], certificate: bytes) -> Range:
    """The answer to a request."""
    return Range(tuple(blocks), tuple(codec.encode(tuple(header)) for header in headers), certificate)


def check_range(answer: Range, parent_hash: bytes | None) -> tuple[list[Block], tuple[Header, ...], Certificate]:
    """The blocks, and the finalization that the headers link them to; its signatures are still to be verified.

    Raises `DecodeError` where the first block does not extend `parent_hash` (None: whatever it is) or a link does not fit.
    """
    blocks = [decode_block(raw) for raw in answer.blocks]
    if not blocks:
        raise DecodeError("a range without blocks")
    expected = blocks[0].header.parent_hash if parent_hash is None else parent_hash
    for block in blocks:
        if block.header.parent_hash != expected:
            raise DecodeError("a block in a range that does not extend the one before it")
        expected = block.hash
    headers: list[Header] = []
    for raw in answer.headers:
        header = header_from_item(codec.decode(raw, bytes_max=HEADER_BYTES_MAX))
        if header.parent_hash != expected:
            raise DecodeError("a header in a range that does not extend the one before it")
        expected = header.hash()
        headers.append(header)
    certificate = decode_certificate(answer.certificate)
    if certificate.block_hash != expected:
        raise DecodeError("a range whose finalization is of another block")
    return blocks, tuple(headers), certificate
