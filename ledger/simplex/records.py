"""What a member's journal holds above the last final block, bodies to evidence, and the bytes of each record."""

from __future__ import annotations

from typing import Final, NamedTuple

from ledger.base import codec
from ledger.base.codec import in_range, of_length, want
from ledger.base.crypto import HASH_BYTES
from ledger.base.errors import DecodeError
from ledger.base.limits import AMOUNT_MAX, BLOCK_BYTES_MAX, COMMITTEE_MAX, TIME_MAX_MS
from ledger.base.votes import Certificate, Evidence, Kind, decode_certificate, decode_evidence
from ledger.state.blocks import Block, decode_block

from .effects import ProposalToSign, VoteToSign

RECORD_BYTES_MAX: Final = 2 * BLOCK_BYTES_MAX

_BODY: Final = 1
_VOTE: Final = 2
_CERTIFICATE: Final = 3
_PROPOSED: Final = 4
_EVIDENCE: Final = 5


class Body(NamedTuple):
    """A block that was proposed, voted for or fetched."""

    block: Block


class Held(NamedTuple):
    """A certificate that was formed or received."""

    certificate: Certificate


class Found(NamedTuple):
    """Evidence that no final block carries yet."""

    evidence: Evidence


Record = Body | Held | Found | VoteToSign | ProposalToSign


def encode_record(record: Record) -> bytes:
    """The bytes that go into the journal."""
    match record:
        case Body(block):
            return codec.encode((_BODY, block.encoded))
        case Held(certificate):
            return codec.encode((_CERTIFICATE, certificate.encoded))
        case Found(evidence):
            return codec.encode((_EVIDENCE, evidence.item()))
        case VoteToSign():
            return codec.encode((_VOTE, int(record.kind), *record[1:]))
        case ProposalToSign():
            return codec.encode((_PROPOSED, *record))


def decode_record(raw: bytes) -> Record:
    """A record of this node's own journal. Raises `DecodeError`."""
    item = codec.decode(raw, bytes_max=RECORD_BYTES_MAX)
    if isinstance(item, list) and item and type(item[0]) is not int:
        raise DecodeError("a record of the consensus journal begins with its kind")  # true would pass for 1 below
    match item:
        case [1, bytes(block)]:
            return Body(decode_block(block))
        case [2, *vote]:
            kind, epoch, view, block_hash, time_ms, seat = want(vote, int, int, int, bytes, int, int)
            if kind in tuple(Kind):
                return VoteToSign(
                    Kind(kind),
                    in_range(epoch, 0, 2**32 - 1, "epoch"),
                    in_range(view, 1, AMOUNT_MAX, "view"),
                    of_length(block_hash, HASH_BYTES, "block hash"),
                    in_range(time_ms, 0, TIME_MAX_MS, "vote's time"),
                    in_range(seat, 0, COMMITTEE_MAX - 1, "seat"),
                )
        case [3, bytes(certificate)]:
            return Held(decode_certificate(certificate))
        case [4, *proposed]:
            epoch, view, block_hash = want(proposed, int, int, bytes)
            return ProposalToSign(
                in_range(epoch, 0, 2**32 - 1, "epoch"),
                in_range(view, 1, AMOUNT_MAX, "view"),
                of_length(block_hash, HASH_BYTES, "block hash"),
            )
        case [5, list(evidence)]:
            return Found(decode_evidence(evidence))
    raise DecodeError("a record of the consensus journal that is none")
