"""Votes and certificates, and their bytes.

A vote is fixed-width, not CBOR: 118 bytes with its signature. A certificate is q distinct votes of one kind for one view (and
block), as a bitmap of signers, their times and their signatures in order of signer.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property
from typing import Final, NamedTuple

from ledger.base import codec
from ledger.base.codec import in_range, of_length, want, want_list
from ledger.base.crypto import DOMAIN_PROPOSAL, DOMAIN_VOTE, HASH_BYTES, SIGNATURE_BYTES, ZERO_HASH, Scheme
from ledger.base.errors import DecodeError
from ledger.base.limits import AMOUNT_MAX, BLOCK_BYTES_MAX, COMMITTEE_MAX, FRAME_BYTES_MAX, TIME_MAX_MS
from ledger.base.units import Millis
from ledger.state.blocks import HEADER_BYTES_MAX, Block, decode_block


class Kind(IntEnum):
    """What a vote says of its view."""

    NOTARIZE = 1  # this block is valid and the first I saw
    NULLIFY = 2  # nothing will be finalized in this view by me
    FINALIZE = 3  # I saw it notarized and did not nullify


_VOTE: Final = struct.Struct(">BIQ32sQB")
VOTE_BYTES: Final = _VOTE.size + SIGNATURE_BYTES
CERTIFICATE_BYTES_MAX: Final = 4_096  # 31 signatures, times and a header
NULLIFICATIONS_MAX: Final = 8  # in a proposal; longer gaps are asked for


class Vote(NamedTuple):
    """`block_hash` is zero in a NULLIFY; `time_ms` is the voter's clock, 0 where it has none or in a NULLIFY."""

    kind: Kind
    epoch: int
    view: int
    block_hash: bytes
    time_ms: Millis
    signer: int
    signature: bytes


def vote_message(
    chain_id: bytes, kind: int, epoch: int, view: int, block_hash: bytes, time_ms: Millis, signer: int
) -> bytes:
    """What a voter signs."""
    return DOMAIN_VOTE + chain_id + _VOTE.pack(kind, epoch, view, block_hash, time_ms, signer)


def proposal_message(chain_id: bytes, epoch: int, view: int, block_hash: bytes) -> bytes:
    """What a leader signs."""
    return DOMAIN_PROPOSAL + chain_id + struct.pack(">IQ32s", epoch, view, block_hash)


def encode_vote(vote: Vote) -> bytes:
    """118 bytes."""
    packed = _VOTE.pack(vote.kind, vote.epoch, vote.view, vote.block_hash, vote.time_ms, vote.signer)
    return packed + vote.signature


def decode_vote(raw: bytes) -> Vote:
    """Raises `DecodeError`."""
    if len(raw) != VOTE_BYTES:
        raise DecodeError(f"a vote has {VOTE_BYTES} bytes, not {len(raw)}")
    kind, epoch, view, block_hash, time_ms, signer = _VOTE.unpack_from(raw)
    if kind not in tuple(Kind):
        raise DecodeError(f"no vote has kind {kind}")
    in_range(view, 1, AMOUNT_MAX, "view")
    in_range(time_ms, 0, TIME_MAX_MS, "vote's time")
    if kind == Kind.NULLIFY and (block_hash != ZERO_HASH or time_ms):
        raise DecodeError("a NULLIFY names no block and no time")
    return Vote(Kind(kind), epoch, view, block_hash, time_ms, signer, raw[_VOTE.size :])


def vote_is_valid(vote: Vote, chain_id: bytes, committee: Sequence[bytes], scheme: Scheme) -> bool:
    """Whether a member of the committee signed exactly this."""
    if not 0 <= vote.signer < len(committee):
        return False
    return scheme.verify(committee[vote.signer], vote.signature, vote_message(chain_id, *vote[:6]))


@dataclass(frozen=True)
class Certificate:
    """q votes: a notarization, nullification or finalization. `signers` rises; `times_ms` and `signatures` go with it."""

    kind: Kind
    epoch: int
    view: int
    block_hash: bytes
    signers: tuple[int, ...]
    times_ms: tuple[Millis, ...]
    signatures: tuple[bytes, ...]

    @cached_property
    def encoded(self) -> bytes:
        """Canonical bytes `[kind, epoch, view, hash, bitmap, [times], signatures]`."""
        bitmap = sum(1 << signer for signer in self.signers)
        return codec.encode(
            (
                int(self.kind),
                self.epoch,
                self.view,
                self.block_hash,
                bitmap,
                self.times_ms,
                b"".join(self.signatures),
            )
        )

    def votes(self) -> list[Vote]:
        """The votes in it."""
        return [
            Vote(self.kind, self.epoch, self.view, self.block_hash, time_ms, signer, signature)
            for signer, time_ms, signature in zip(self.signers, self.times_ms, self.signatures, strict=True)
        ]


def certificate_of(votes: Sequence[Vote]) -> Certificate:
    """The certificate that these votes of one kind, view and block make."""
    ordered = sorted(votes, key=lambda vote: vote.signer)
    first = ordered[0]
    return Certificate(
        first.kind,
        first.epoch,
        first.view,
        first.block_hash,
        tuple(vote.signer for vote in ordered),
        tuple(vote.time_ms for vote in ordered),
        tuple(vote.signature for vote in ordered),
    )


def decode_certificate(raw: bytes) -> Certificate:
    """Form only; signatures and quorum are checked by `certificate_is_valid`. Raises `DecodeError`."""
    kind, epoch, view, block_hash, bitmap, times, signatures = want(
        codec.decode(raw, bytes_max=CERTIFICATE_BYTES_MAX), int, int, int, bytes, int, list, bytes
    )
    if kind not in tuple(Kind):
        raise DecodeError(f"no certificate has kind {kind}")
    in_range(epoch, 0, 2**32 - 1, "epoch")
    in_range(view, 1, AMOUNT_MAX, "view")
    of_length(block_hash, HASH_BYTES, "block hash")
    in_range(bitmap, 1, (1 << COMMITTEE_MAX) - 1, "signers")
    signers = tuple(number for number in range(COMMITTEE_MAX) if bitmap >> number & 1)
    want_list(times, int, length_max=COMMITTEE_MAX)
    for time_ms in times:
        in_range(time_ms, 0, TIME_MAX_MS, "vote's time")
    if len(times) != len(signers) or len(signatures) != SIGNATURE_BYTES * len(signers):
        raise DecodeError("signers, times and signatures are not equally many")
    parts = tuple(signatures[i : i + SIGNATURE_BYTES] for i in range(0, len(signatures), SIGNATURE_BYTES))
    certificate = Certificate(Kind(kind), epoch, view, block_hash, signers, tuple(times), parts)
    for vote in certificate.votes():
        decode_vote(encode_vote(vote))
    return certificate


def quorum(members: int) -> int:
    """Votes that make a certificate: floor(2n/3) + 1."""
    return 2 * members // 3 + 1


def faulty_max(members: int) -> int:
    """How many members may lie: floor((n-1)/3)."""
    return (members - 1) // 3


def certificate_is_valid(
    certificate: Certificate,
    chain_id: bytes,
    committee: Sequence[bytes],
    scheme: Scheme,
    known: frozenset[bytes] = frozenset(),
) -> bool:
    """q distinct members signed it. Votes whose bytes are in `known` were verified before."""
    if len(certificate.signers) < quorum(len(committee)) or certificate.epoch != 0:
        return False
    return all(
        encode_vote(vote) in known or vote_is_valid(vote, chain_id, committee, scheme) for vote in certificate.votes()
    )


def median_time_ms(certificate: Certificate) -> tuple[Millis | None, int]:
    """(the lower middle of the non-zero times, how many there are)."""
    times = sorted(time_ms for time_ms in certificate.times_ms if time_ms)
    return (times[(len(times) - 1) // 2] if times else None), len(times)


def block_time_ms(parent_time_ms: Millis, certificate: Certificate | None, members: int) -> Millis:
    """The one time that a child of a block with this time and certificate may carry.

    max(parent + 1 ms, median); with fewer than 2f+1 non-zero times at most a second more than the parent's, because f liars
    would own the median; without any, parent + 1 ms (CometBFT's BFT time, with a lower bound on honest sources).
    """
    median, count = (None, 0) if certificate is None else median_time_ms(certificate)
    if median is None:
        return parent_time_ms + 1
    if count < 2 * faulty_max(members) + 1:
        median = min(median, parent_time_ms + 1_000)
    return max(parent_time_ms + 1, median)


@dataclass(frozen=True)
class Proposal:
    """A leader's block, its signature on it, and nullifications of the views between the parent's and this one."""

    block: Block
    nullifications: tuple[Certificate, ...]
    signature: bytes

    @cached_property
    def encoded(self) -> bytes:
        """Canonical bytes `[block, [nullifications], signature]`."""
        return codec.encode((self.block.encoded, tuple(c.encoded for c in self.nullifications), self.signature))


def decode_proposal(raw: bytes) -> Proposal:
    """Raises `DecodeError`."""
    block, nullifications, signature = want(codec.decode(raw, bytes_max=FRAME_BYTES_MAX), bytes, list, bytes)
    if len(block) > BLOCK_BYTES_MAX + HEADER_BYTES_MAX:
        raise DecodeError("a block that is too large")
    want_list(nullifications, bytes, length_max=NULLIFICATIONS_MAX)
    of_length(signature, SIGNATURE_BYTES, "leader's signature")
    return Proposal(decode_block(block), tuple(decode_certificate(c) for c in nullifications), signature)


class Status(NamedTuple):
    """Where a node stands."""

    epoch: int
    final_height: int
    final_view: int
    final_hash: bytes
    view: int


def decode_status(raw: bytes) -> Status:
    """Raises `DecodeError`."""
    status = Status(*want(codec.decode(raw, bytes_max=128), int, int, int, bytes, int))
    of_length(status.final_hash, HASH_BYTES, "final hash")
    for number in (status.epoch, status.final_height, status.final_view, status.view):
        in_range(number, 0, AMOUNT_MAX, "a number in a status")
    return status


class CertificateRequest(NamedTuple):
    """Certificates wanted for these views."""

    views: tuple[int, ...]


class BodyRequest(NamedTuple):
    """A block wanted by its hash."""

    block_hash: bytes


REQUEST_VIEWS_MAX: Final = 16


def decode_certificate_request(raw: bytes) -> CertificateRequest:
    """Raises `DecodeError`."""
    (views,) = want(codec.decode(raw, bytes_max=256), list)
    want_list(views, int, length_max=REQUEST_VIEWS_MAX)
    return CertificateRequest(tuple(in_range(view, 1, AMOUNT_MAX, "view") for view in views))


def decode_body_request(raw: bytes) -> BodyRequest:
    """Raises `DecodeError`."""
    (block_hash,) = want(codec.decode(raw, bytes_max=64), bytes)
    return BodyRequest(of_length(block_hash, HASH_BYTES, "block hash"))


Message = Vote | Certificate | Proposal | Status | CertificateRequest | BodyRequest | Block
