"""Bytes to messages and back: a frame is a 4-byte length, a type byte and a payload in canonical form.

This is the one door for bytes from peers: `decode` returns a message or raises `DecodeError`, and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from ledger.base import codec
from ledger.base.codec import of_length, want, want_list
from ledger.base.errors import DecodeError
from ledger.base.limits import FRAME_BYTES_MAX, TRANSACTION_BYTES_MAX
from ledger.base.recovery import Recovery, decode_recovery
from ledger.base.votes import (
    EVIDENCE_BYTES_MAX,
    Certificate,
    Evidence,
    Vote,
    decode_certificate,
    decode_evidence,
    decode_vote,
    encode_vote,
)
from ledger.simplex.messages import (
    BodyRequest,
    CertificateRequest,
    CloneSeen,
    Echo,
    Message,
    Proposal,
    Status,
    decode_body_request,
    decode_certificate_request,
    decode_clone_seen,
    decode_echo,
    decode_proposal,
    decode_status,
    encode_echo,
)
from ledger.state.blocks import Block, decode_block
from ledger.state.mempool import SHORT_ID_BYTES
from ledger.state.snapshot import Manifest, decode_manifest

from .flood import HAVE_IDS_MAX, FeedClock, Have, Transaction, Want, decode_clock, encode_clock
from .seals import Seals, SealsRequest, decode_seals, decode_seals_request
from .sync import (
    Range,
    RangeRequest,
    SnapshotChunk,
    SnapshotRequest,
    decode_range,
    decode_range_request,
    decode_snapshot_chunk,
    decode_snapshot_request,
)

LENGTH_BYTES: Final = 4

AnyMessage = (
    Message
    | Transaction
    | Have
    | Want
    | FeedClock
    | RangeRequest
    | Range
    | Recovery
    | SealsRequest
    | Seals
    | SnapshotRequest
    | Manifest
    | SnapshotChunk
)

VOTE: Final = 10
CERTIFICATE: Final = 11
PROPOSAL: Final = 12
STATUS: Final = 13
CERTIFICATE_REQUEST: Final = 14
BODY_REQUEST: Final = 15
BODY: Final = 16
EVIDENCE: Final = 17
ECHO: Final = 18
CLONE_SEEN: Final = 19
RANGE_REQUEST: Final = 20
RANGE: Final = 21
RECOVERY: Final = 22
SEALS_REQUEST: Final = 23
SEALS: Final = 24
SNAPSHOT_REQUEST: Final = 25
MANIFEST: Final = 26
SNAPSHOT_CHUNK: Final = 27
FEED_CLOCK: Final = 28
TRANSACTION: Final = 30
HAVE: Final = 31
WANT: Final = 32


def encode(message: AnyMessage) -> bytes:
    """A whole frame."""
    match message:
        case Vote():
            kind, payload = VOTE, encode_vote(message)
        case Certificate():
            kind, payload = CERTIFICATE, message.encoded
        case Proposal():
            kind, payload = PROPOSAL, message.encoded
        case Block():
            kind, payload = BODY, message.encoded
        case Status():
            kind, payload = STATUS, codec.encode(tuple(message))
        case CertificateRequest():
            kind, payload = CERTIFICATE_REQUEST, codec.encode(tuple(message))
        case Evidence():
            kind, payload = EVIDENCE, codec.encode(message.item())
        case Echo():
            kind, payload = ECHO, encode_echo(message)
        case CloneSeen():
            kind, payload = CLONE_SEEN, codec.encode(message.boot_ids)
        case BodyRequest():
            kind, payload = BODY_REQUEST, codec.encode(tuple(message))
        case RangeRequest():
            kind, payload = RANGE_REQUEST, codec.encode(tuple(message))
        case Range():
            kind, payload = RANGE, codec.encode(tuple(message))
        case Recovery():
            kind, payload = RECOVERY, message.encoded()
        case SealsRequest():
            kind, payload = SEALS_REQUEST, codec.encode(tuple(message))
        case Seals():
            kind, payload = SEALS, codec.encode(tuple(message))
        case SnapshotRequest():
            kind, payload = SNAPSHOT_REQUEST, codec.encode(tuple(message))
        case Manifest():
            kind, payload = MANIFEST, message.encoded()
        case SnapshotChunk():
            kind, payload = SNAPSHOT_CHUNK, codec.encode(tuple(message))
        case FeedClock():
            kind, payload = FEED_CLOCK, encode_clock(message)
        case Transaction():
            kind, payload = TRANSACTION, message.raw
        case Have():
            kind, payload = HAVE, codec.encode(tuple(message))
        case Want():
            kind, payload = WANT, codec.encode(tuple(message))
    assert len(payload) + 1 <= FRAME_BYTES_MAX, "our own frames keep the bound that peers hold us to"
    return (len(payload) + 1).to_bytes(LENGTH_BYTES, "big") + bytes((kind,)) + payload


def _transaction(raw: bytes) -> Transaction:
    if not 0 < len(raw) <= TRANSACTION_BYTES_MAX:
        raise DecodeError(f"a transaction of {len(raw)} bytes")
    return Transaction(raw)


def _short_ids(raw: bytes) -> tuple[bytes, ...]:
    (ids,) = want(codec.decode(raw, bytes_max=FRAME_BYTES_MAX), list)
    want_list(ids, bytes, length_max=HAVE_IDS_MAX)
    return tuple(of_length(short, SHORT_ID_BYTES, "short id") for short in ids)


_DECODERS: Final[dict[int, Callable[[bytes], Any]]] = {
    VOTE: decode_vote,
    CERTIFICATE: decode_certificate,
    PROPOSAL: decode_proposal,
    STATUS: decode_status,
    CERTIFICATE_REQUEST: decode_certificate_request,
    BODY_REQUEST: decode_body_request,
    BODY: decode_block,
    EVIDENCE: lambda raw: decode_evidence(codec.decode(raw, bytes_max=EVIDENCE_BYTES_MAX)),
    ECHO: decode_echo,
    CLONE_SEEN: decode_clone_seen,
    RANGE_REQUEST: decode_range_request,
    RANGE: decode_range,
    RECOVERY: decode_recovery,
    SEALS_REQUEST: decode_seals_request,
    SEALS: decode_seals,
    SNAPSHOT_REQUEST: decode_snapshot_request,
    MANIFEST: decode_manifest,
    SNAPSHOT_CHUNK: decode_snapshot_chunk,
    FEED_CLOCK: decode_clock,
    TRANSACTION: _transaction,
    HAVE: lambda raw: Have(_short_ids(raw)),
    WANT: lambda raw: Want(_short_ids(raw)),
}


def decode(frame: bytes) -> AnyMessage:
    """The message of a frame without its length. Raises `DecodeError`."""
    if not frame:
        raise DecodeError("an empty frame")
    decoder = _DECODERS.get(frame[0])
    if decoder is None:
        raise DecodeError(f"no frame has type {frame[0]}")
    message: AnyMessage = decoder(frame[1:])
    return message
