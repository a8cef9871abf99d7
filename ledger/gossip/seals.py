"""Final without executing: what proves a block final, and the committees of epoch after epoch by their sealing blocks. Pure.

A sealing block names the hash of the committee that follows it, and is final by a quorum of its own epoch's committee. So whoever
knows one committee can walk to the present one seal by seal, and then judge any final header by its epoch's committee: that is
how a node that was away trusts a head, blocks of later epochs and a snapshot before it has executed anything. A recovery epoch
has no seal; what the households signed is judged by the state alone, so the walk ends before it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from ledger.base import codec
from ledger.base.codec import in_range, of_length, want, want_list
from ledger.base.crypto import KEY_BYTES, Scheme
from ledger.base.errors import DecodeError
from ledger.base.limits import COMMITTEE_MAX, FRAME_BYTES_MAX
from ledger.base.votes import (
    CERTIFICATE_BYTES_MAX,
    Certificate,
    Committee,
    Kind,
    certificate_is_valid,
    decode_certificate,
)
from ledger.simplex.effects import Committed
from ledger.state.blocks import HEADER_BYTES_MAX, Header, header_from_item
from ledger.state.events import EpochSealed
from ledger.state.rules.membership import committee_hash, committee_of

SEALS_MAX: Final = 64  # in an answer
SEALS_BYTES_MAX: Final = 64 * 1024  # of them; with the head it stays within a frame
TAIL_MAX: Final = 32  # headers from a block to the one whose finalization made it final: honest chains need one or two
PROOF_BYTES_MAX: Final = TAIL_MAX * HEADER_BYTES_MAX + CERTIFICATE_BYTES_MAX + 64
SEAL_BYTES_MAX: Final = PROOF_BYTES_MAX + 2 * HEADER_BYTES_MAX + COMMITTEE_MAX * (KEY_BYTES + 2) + 64
HEAD_BYTES_MAX: Final = PROOF_BYTES_MAX + HEADER_BYTES_MAX + 64
EPOCH_MAX: Final = 2**32 - 1
TRAIL_MAX: Final = 10_000  # epochs that a walk remembers: decades of changes, some MB


class Proof(NamedTuple):
    """What makes a block final: the headers from its child to the certificate's block (often none), and that finalization."""

    tail: tuple[Header, ...]
    certificate: Certificate

    def item(self) -> tuple[object, ...]:
        """The positional form."""
        return (tuple(tuple(header) for header in self.tail), self.certificate.encoded)

    def encoded(self) -> bytes:
        """Canonical bytes."""
        return codec.encode(self.item())


class Seal(NamedTuple):
    """A sealing block: its header and its parent's (None above block 0), its proof, and the committee that follows it."""

    header: Header
    parent: Header | None
    proof: Proof
    keys: tuple[bytes, ...]

    def encoded(self) -> bytes:
        """Canonical bytes."""
        parent = () if self.parent is None else tuple(self.parent)
        return codec.encode((tuple(self.header), parent, *self.proof.item(), self.keys))


class Head(NamedTuple):
    """A final header with its proof."""

    header: Header
    proof: Proof

    def encoded(self) -> bytes:
        """Canonical bytes."""
        return codec.encode((tuple(self.header), *self.proof.item()))


class SealsRequest(NamedTuple):
    """The seals of this epoch and of those that follow it are wanted, and the newest final header."""

    from_epoch: int


class Seals(NamedTuple):
    """Encoded seals of epochs in a row, and the encoded head; empty where more seals stand before it."""

    seals: tuple[bytes, ...]
    head: bytes


def _proof(tail: codec.Item, certificate: codec.Item) -> Proof:
    headers = tuple(header_from_item(item) for item in want_list(tail, list, length_max=TAIL_MAX))
    return Proof(headers, decode_certificate(certificate))


def decode_proof(raw: bytes) -> Proof:
    """Form only. Raises `DecodeError`."""
    return _proof(*want(codec.decode(raw, bytes_max=PROOF_BYTES_MAX), list, bytes))


def decode_seal(raw: bytes) -> Seal:
    """Form only. Raises `DecodeError`."""
    header, parent, tail, certificate, keys = want(
        codec.decode(raw, bytes_max=SEAL_BYTES_MAX), list, list, list, bytes, list
    )
    for key in want_list(keys, bytes, length_max=COMMITTEE_MAX):
        of_length(key, KEY_BYTES, "key")
    if not keys or keys != sorted(set(keys)):
        raise DecodeError("a committee is some keys in rising order, each once")
    below = header_from_item(parent) if parent else None
    return Seal(header_from_item(header), below, _proof(tail, certificate), tuple(keys))


def decode_head(raw: bytes) -> Head:
    """Form only. Raises `DecodeError`."""
    header, tail, certificate = want(codec.decode(raw, bytes_max=HEAD_BYTES_MAX), list, list, bytes)
    return Head(header_from_item(header), _proof(tail, certificate))


def decode_seals_request(raw: bytes) -> SealsRequest:
    """Raises `DecodeError`."""
    (epoch,) = want(codec.decode(raw, bytes_max=32), int)
    return SealsRequest(in_range(epoch, 0, EPOCH_MAX, "epoch"))


def decode_seals(raw: bytes) -> Seals:
    """Form of the answer; of what is in it, `Trail` judges. Raises `DecodeError`."""
    seals, head = want(codec.decode(raw, bytes_max=FRAME_BYTES_MAX), list, bytes)
    want_list(seals, bytes, length_max=SEALS_MAX)
    if len(head) > HEAD_BYTES_MAX:
        raise DecodeError("a head that is too large")
    return Seals(tuple(seals), head)


def make_seals(seals: Sequence[bytes], head: bytes | None) -> Seals:
    """The answer to a request, from all seals that follow: as many as fit, and the head where none is left out."""
    taken: list[bytes] = []
    size = 0
    for raw in seals[:SEALS_MAX]:
        size += len(raw) + 4
        if size > SEALS_BYTES_MAX:
            break
        taken.append(raw)
    return Seals(tuple(taken), head if head is not None and len(taken) == len(seals) else b"")


def proof_of(committed: Committed) -> Proof | None:
    """What proves a committed block final by itself, if it says so."""
    return None if committed.certificate is None else Proof(committed.tail, committed.certificate)


def seal_of(committed: Committed, parent: Header | None) -> Seal | None:
    """The seal that a committed block is; None for every other block."""
    executed, proof = committed.executed, proof_of(committed)
    if proof is None or not any(isinstance(event, EpochSealed) for event in executed.events):
        return None
    return Seal(executed.header, parent, proof, committee_of(executed.state).keys)


class Trail:
    """The committees of epochs from one on that this node knows by its own state, and the highest head that was proven."""

    def __init__(self, chain_id: bytes, committee: Committee, scheme: Scheme) -> None:
        self._chain_id, self._scheme = chain_id, scheme
        self.committees: dict[int, Committee] = {committee.epoch: committee}
        self.seals: dict[int, Seal] = {}
        self.head: Header | None = None

    @property
    def epoch(self) -> int:
        """The last whose committee is known."""
        return max(self.committees)

    def certifies(self, certificate: Certificate) -> bool:
        """Whether it is a finalization by the committee of its epoch, as far as that is known."""
        committee = self.committees.get(certificate.epoch)
        return (
            committee is not None
            and certificate.kind == Kind.FINALIZE
            and certificate_is_valid(certificate, self._chain_id, committee, self._scheme)
        )

    def _proves(self, header: Header, proof: Proof) -> bool:
        at, below = header.hash(), header
        for above in proof.tail:
            if above.parent_hash != at or (above.epoch, above.height) != (header.epoch, below.height + 1):
                return False
            at, below = above.hash(), above
        certificate = proof.certificate
        named = (certificate.epoch, certificate.view, certificate.block_hash)
        return named == (header.epoch, below.view, at) and self.certifies(certificate)

    def follow(self, seal: Seal) -> None:
        """One step: the seal of the last epoch that is known. Raises `DecodeError` where it is not one.

        A block above the sealing block in its own epoch names the same committee and may be final in votes, and is discarded
        all the same: so the parent has to show that nothing was sealed before.
        """
        header, epoch = seal.header, self.epoch
        if header.epoch != epoch or len(self.committees) >= TRAIL_MAX:
            raise DecodeError(f"a seal of epoch {header.epoch} where that of {epoch} comes next")
        present = committee_hash(self.committees[epoch].keys)
        if committee_hash(seal.keys) != header.committee_hash or header.committee_hash == present:
            raise DecodeError("a seal whose next committee is another one")
        if seal.parent is None:
            first = header.height == 1 and header.parent_hash == self._chain_id
        else:
            first = header.parent_hash == seal.parent.hash() and seal.parent.committee_hash == present
        if not first:
            raise DecodeError("a seal whose parent is not of an open epoch")
        if not self._proves(header, seal.proof):
            raise DecodeError("a seal whose finalization does not hold")
        trusted = self.committees[epoch].trusted
        self.committees[epoch + 1] = Committee(epoch + 1, seal.keys, trusted)
        self.seals[epoch] = seal
        if self.head is None or header.height > self.head.height:
            self.head = header

    def is_final(self, header: Header, proof: Proof) -> bool:
        """Whether a header is final, and of a block that stays in the chain."""
        seal = self.seals.get(header.epoch)
        if seal is not None and seal.header == header:
            return True
        committee = self.committees.get(header.epoch)
        open_ = committee is not None and header.committee_hash == committee_hash(committee.keys)
        return open_ and self._proves(header, proof)

    def take_head(self, head: Head) -> None:
        """A newest final header. Raises `DecodeError` where it is not proven."""
        if not self.is_final(head.header, head.proof):
            raise DecodeError("a head whose finalization does not hold")
        if self.head is None or head.header.height > self.head.height:
            self.head = head.header

    def committee_after(self, height: int) -> bytes:
        """The hash of the committee that makes the block above this height, as far as the walk says."""
        for epoch in sorted(self.seals):
            if height < self.seals[epoch].header.height:
                return committee_hash(self.committees[epoch].keys)
        return committee_hash(self.committees[self.epoch].keys)
