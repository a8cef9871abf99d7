"""Votes, certificates and evidence: their bytes, what is signed, and what proves that a member lied.

A vote is fixed-width, not CBOR: 118 bytes with its signature. A certificate is q distinct votes of one kind for one view (and
block), as a bitmap of signers, their times and their signatures in order of signer. Evidence is two signatures of one key that no
honest member gives for one view. The state, the wallet and the agreement all read them here.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property
from typing import Final, NamedTuple

from . import codec
from .codec import in_range, of_length, want, want_list
from .crypto import DOMAIN_PROPOSAL, DOMAIN_VOTE, HASH_BYTES, SIGNATURE_BYTES, ZERO_HASH, Scheme
from .errors import DecodeError
from .limits import AMOUNT_MAX, COMMITTEE_MAX, TIME_MAX_MS
from .units import Millis

PROPOSE: Final = (
    0  # a leader's signature on its block; beside the kinds of votes in evidence and in the signer's record
)


class Kind(IntEnum):
    """What a vote says of its view."""

    NOTARIZE = 1  # this block is valid and the first I saw
    NULLIFY = 2  # nothing will be finalized in this view by me
    FINALIZE = 3  # I saw it notarized and did not nullify


KINDS: Final = frozenset(int(kind) for kind in Kind)  # membership only
_KIND_OF: Final = {int(kind): kind for kind in Kind}
_VOTE: Final = struct.Struct(">BIQ32sQB")
VOTE_BYTES: Final = _VOTE.size + SIGNATURE_BYTES
CERTIFICATE_BYTES_MAX: Final = 4_096  # 31 signatures, times and a header


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
    if kind not in KINDS:
        raise DecodeError(f"no vote has kind {kind}")
    in_range(view, 1, AMOUNT_MAX, "view")
    in_range(time_ms, 0, TIME_MAX_MS, "vote's time")
    if kind == Kind.NULLIFY and (block_hash != ZERO_HASH or time_ms):
        raise DecodeError("a NULLIFY names no block and no time")
    return Vote(_KIND_OF[kind], epoch, view, block_hash, time_ms, signer, raw[_VOTE.size :])


@dataclass(frozen=True)
class Committee:
    """Who votes in an epoch: node keys in rising order, one vote each. A signer is named by its place in `keys`.

    `trusted` is a household of two or three nodes that fail but do not lie, where a majority is enough; the panel says so.
    """

    epoch: int
    keys: tuple[bytes, ...]
    trusted: bool = False

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def quorum(self) -> int:
        """Votes that make a certificate."""
        if self.trusted and len(self.keys) in (2, 3):
            return len(self.keys) // 2 + 1
        return quorum(len(self.keys))

    @property
    def faulty_max(self) -> int:
        """How many of them may lie."""
        return faulty_max(len(self.keys))

    def seat(self, key: bytes) -> int | None:
        """The place of a key, None where it has no vote."""
        return self.keys.index(key) if key in self.keys else None


def signers_of_certificate(raw: bytes) -> tuple[int, ...]:
    """Whose votes are in a certificate. Raises `DecodeError`."""
    return decode_certificate(raw).signers


def quorum(members: int) -> int:
    """Votes that make a certificate: floor(2n/3) + 1."""
    return 2 * members // 3 + 1


def faulty_max(members: int) -> int:
    """How many members may lie: floor((n-1)/3)."""
    return (members - 1) // 3


def vote_is_valid(vote: Vote, chain_id: bytes, committee: Committee, scheme: Scheme) -> bool:
    """Whether a member of the committee signed exactly this, in its epoch."""
    if vote.epoch != committee.epoch or not 0 <= vote.signer < len(committee):
        return False
    return scheme.verify(committee.keys[vote.signer], vote.signature, vote_message(chain_id, *vote[:6]))


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
    if kind not in KINDS:
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
    certificate = Certificate(_KIND_OF[kind], epoch, view, block_hash, signers, tuple(times), parts)
    if kind == Kind.NULLIFY and (block_hash != ZERO_HASH or any(times)):
        raise DecodeError("a NULLIFY names no block and no time")
    return certificate


def certificate_is_valid(
    certificate: Certificate,
    chain_id: bytes,
    committee: Committee,
    scheme: Scheme,
    known: frozenset[bytes] = frozenset(),
) -> bool:
    """A quorum of distinct members signed it in their epoch. Votes whose bytes are in `known` were verified before."""
    if len(certificate.signers) < committee.quorum or certificate.epoch != committee.epoch:
        return False
    return all(
        encode_vote(vote) in known or vote_is_valid(vote, chain_id, committee, scheme) for vote in certificate.votes()
    )


def median_time_ms(certificate: Certificate) -> tuple[Millis | None, int]:
    """(the lower middle of the non-zero times, how many there are)."""
    times = sorted(time_ms for time_ms in certificate.times_ms if time_ms)
    return (times[(len(times) - 1) // 2] if times else None), len(times)


def knows_time(certificate: Certificate | None, committee: Committee) -> bool:
    """Whether so many votes of a certificate name a time (2f+1) that liars do not own their median."""
    return certificate is None or median_time_ms(certificate)[1] >= 2 * committee.faulty_max + 1


def block_time_ms(parent_time_ms: Millis, certificate: Certificate | None, committee: Committee) -> Millis:
    """The one time that a child of a block with this time and certificate may carry.

    max(parent + 1 ms, median); with fewer than 2f+1 non-zero times at most a second more than the parent's, because f liars
    would own the median; without any, parent + 1 ms (CometBFT's BFT time, with a lower bound on honest sources).
    """
    median = None if certificate is None else median_time_ms(certificate)[0]
    if median is None:
        return parent_time_ms + 1
    if not knows_time(certificate, committee):
        median = min(median, parent_time_ms + 1_000)
    return max(parent_time_ms + 1, median)


class Claim(NamedTuple):
    """One signature in evidence: PROPOSE or a kind of vote, for a block (zero in a NULLIFY) at a time (0 where none is signed)."""

    kind: int
    block_hash: bytes
    time_ms: Millis
    signature: bytes


class Evidence(NamedTuple):
    """Two signatures of one member in one view of an epoch, in order of (kind, hash): whoever they are made of has lied."""

    epoch: int
    view: int
    signer: int
    first: Claim
    second: Claim

    def item(self) -> tuple[object, ...]:
        """The positional form that blocks and frames carry."""
        return (self.epoch, self.view, self.signer, tuple(self.first), tuple(self.second))


EVIDENCE_BYTES_MAX: Final = 512


def conflict(first: Claim, second: Claim) -> bool:
    """Whether no honest member signs both in one view (rule R12)."""
    if first.kind == second.kind:
        return first.kind != Kind.NULLIFY and first.block_hash != second.block_hash
    return {first.kind, second.kind} == {int(Kind.NULLIFY), int(Kind.FINALIZE)}


def claim_of(vote: Vote) -> Claim:
    """A vote as a side of evidence."""
    return Claim(int(vote.kind), vote.block_hash, vote.time_ms, vote.signature)


def evidence_of(epoch: int, view: int, signer: int, one: Claim, other: Claim) -> Evidence:
    """Evidence in its one order."""
    first, second = sorted((one, other))
    return Evidence(epoch, view, signer, first, second)


def culprits(one: Certificate, other: Certificate) -> list[Evidence]:
    """Evidence against everybody who signed both of two certificates of one view that contradict each other.

    Two quorums share more than f members: where the street was forked, more than f keys are named (accountable safety).
    """
    if (one.epoch, one.view) != (other.epoch, other.view):
        return []
    theirs = {vote.signer: claim_of(vote) for vote in other.votes()}
    return [
        evidence_of(vote.epoch, vote.view, vote.signer, claim_of(vote), theirs[vote.signer])
        for vote in one.votes()
        if vote.signer in theirs and conflict(claim_of(vote), theirs[vote.signer])
    ]


def decode_evidence(item: object) -> Evidence:
    """Form only, and that its two sides contradict each other. Raises `DecodeError`."""
    epoch, view, signer, *sides = want(item, int, int, int, list, list)
    in_range(epoch, 0, 2**32 - 1, "epoch")
    in_range(view, 1, AMOUNT_MAX, "view")
    in_range(signer, 0, COMMITTEE_MAX - 1, "signer")
    claims = [Claim(*want(side, int, bytes, int, bytes)) for side in sides]
    for claim in claims:
        in_range(claim.kind, PROPOSE, Kind.FINALIZE, "kind of vote")
        of_length(claim.block_hash, HASH_BYTES, "block hash")
        in_range(claim.time_ms, 0, TIME_MAX_MS, "vote's time")
        of_length(claim.signature, SIGNATURE_BYTES, "signature")
        if claim.kind in (PROPOSE, Kind.NULLIFY) and claim.time_ms:
            raise DecodeError("a proposal and a NULLIFY name no time")
        if claim.kind == Kind.NULLIFY and claim.block_hash != ZERO_HASH:
            raise DecodeError("a NULLIFY names no block")
    first, second = claims
    if first >= second or not conflict(first, second):
        raise DecodeError("evidence is two signatures that contradict each other, in order")
    return Evidence(epoch, view, signer, first, second)


def evidence_is_valid(evidence: Evidence, chain_id: bytes, keys: Sequence[bytes], scheme: Scheme) -> bool:
    """Whether the member of that epoch's committee, whose keys these are, signed both sides."""
    if evidence.signer >= len(keys):
        return False

    def holds(claim: Claim) -> bool:
        place = (evidence.epoch, evidence.view, claim.block_hash)
        message = (
            proposal_message(chain_id, *place)
            if claim.kind == PROPOSE
            else vote_message(chain_id, claim.kind, *place, claim.time_ms, evidence.signer)
        )
        return scheme.verify(keys[evidence.signer], claim.signature, message)

    return holds(evidence.first) and holds(evidence.second)
