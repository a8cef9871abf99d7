"""What a member's journal holds above the last final block: bodies, own votes, certificates, own proposals; and their bytes."""

from __future__ import annotations

from typing import Final, NamedTuple

from ledger.base import codec
from ledger.base.codec import in_range, of_length, want
from ledger.base.crypto import HASH_BYTES
from ledger.base.errors import DecodeError
from ledger.base.limits import AMOUNT_MAX, BLOCK_BYTES_MAX, TIME_MAX_MS
from ledger.state.blocks import Block, decode_block

from .effects import ProposalToSign, VoteToSign
from .messages import Certificate, Kind, decode_certificate

RECORD_BYTES_MAX: Final = 2 * BLOCK_BYTES_MAX

_BODY: Final = 1
_VOTE: Final = 2
_CERTIFICATE: Final = 3
_PROPOSED: Final = 4


class Body(NamedTuple):
    """A block that was proposed, voted for or fetched."""

    block: Block


class Held(NamedTuple):
    """A certificate that was formed or received."""

    certificate: Certificate


Record = Body | Held | VoteToSign | ProposalToSign


def encode_record(record: Record) -> bytes:
    """The bytes that go into the journal."""
    match record:
        case Body(block):
            return codec.encode((_BODY, block.encoded))
        case Held(certificate):
            return codec.encode((_CERTIFICATE, certificate.encoded))
        case VoteToSign(kind, view, block_hash, time_ms):
            return codec.encode((_VOTE, int(kind), view, block_hash, time_ms))
        case ProposalToSign(view, block_hash):
            return codec.encode((_PROPOSED, view, block_hash))


def decode_record(raw: bytes) -> Record:
    """A record of this node's own journal. Raises `DecodeError`."""
    item = codec.decode(raw, bytes_max=RECORD_BYTES_MAX)
    if isinstance(item, list) and item and type(item[0]) is not int:
        raise DecodeError("a record of the consensus journal begins with its kind")  # true would pass for 1 below
    match item:
        case [1, bytes(block)]:
            return Body(decode_block(block))
        case [2, *vote]:
            kind, view, block_hash, time_ms = want(vote, int, int, bytes, int)
            if kind in tuple(Kind):
                return VoteToSign(
                    Kind(kind),
                    in_range(view, 1, AMOUNT_MAX, "view"),
                    of_length(block_hash, HASH_BYTES, "block hash"),
                    in_range(time_ms, 0, TIME_MAX_MS, "vote's time"),
                )
        case [3, bytes(certificate)]:
            return Held(decode_certificate(certificate))
        case [4, *proposed]:
            view, block_hash = want(proposed, int, bytes)
            return ProposalToSign(
                in_range(view, 1, AMOUNT_MAX, "view"), of_length(block_hash, HASH_BYTES, "block hash")
            )
    raise DecodeError("a record of the consensus journal that is none")
