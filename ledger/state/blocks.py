"""Blocks: a header that commits to everything, and the body behind it.

`hash` = SHA-256 of the header's canonical bytes. The header's `link_hash` covers the parent's certificate, evidence and a
recovery, so that a body is determined by its header's hash and its block time can be checked for ever.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Final, NamedTuple

from ledger.base import codec
from ledger.base.codec import in_range, of_length, want, want_list
from ledger.base.crypto import HASH_BYTES, merkle_root, sha256
from ledger.base.errors import DecodeError
from ledger.base.intents import CHAIN_PREFIX_BYTES
from ledger.base.limits import AMOUNT_MAX, BLOCK_BYTES_MAX, BLOCK_TRANSACTIONS_MAX, COMMITTEE_MAX, TIME_MAX_MS
from ledger.base.units import Millis
from ledger.base.votes import Evidence, decode_evidence

BLOCK_VERSION: Final = 1
HEADER_BYTES_MAX: Final = 512
EVIDENCE_MAX: Final = 10  # in one block: more liars than a committee of 31 survives


class Header(NamedTuple):
    """Positional, as it is hashed."""

    version: int
    chain_prefix: bytes
    epoch: int
    view: int
    height: int
    parent_hash: bytes
    parent_view: int
    time_ms: Millis
    leader: int  # the signer's number in the committee
    tx_root: bytes
    state_root: bytes  # after this block
    receipts_root: bytes
    history_root: bytes  # over the headers' hashes below this one
    committee_hash: bytes  # of the next block's committee
    link_hash: bytes

    def hash(self) -> bytes:
        """The block's hash."""
        return sha256(codec.encode(tuple(self)))


_HASHES: Final = (5, 9, 10, 11, 12, 13, 14)


def header_from_item(item: object) -> Header:
    """Raises `DecodeError`."""
    header = Header(
        *want(item, int, bytes, int, int, int, bytes, int, int, int, bytes, bytes, bytes, bytes, bytes, bytes)
    )
    if header.version != BLOCK_VERSION:
        raise DecodeError(f"block version {header.version}; this software knows {BLOCK_VERSION}")
    of_length(header.chain_prefix, CHAIN_PREFIX_BYTES, "chain prefix")
    for number in _HASHES:
        value = header[number]
        assert isinstance(value, bytes), "the schema made these bytes"
        of_length(value, HASH_BYTES, "a hash in a header")
    for number in (header.epoch, header.view, header.height, header.parent_view):
        in_range(number, 0, AMOUNT_MAX, "a number in a header")
    in_range(header.time_ms, 0, TIME_MAX_MS, "block time")
    in_range(header.leader, 0, COMMITTEE_MAX - 1, "leader")
    return header


@dataclass(frozen=True)
class Block:
    """A header with its body.

    The transactions' bytes; the parent's certificate (empty in the first block of an epoch); evidence against members; and, in
    the first block of a recovery epoch, what the households signed.
    """

    header: Header
    transactions: tuple[bytes, ...]
    parent_certificate: bytes
    evidence: tuple[Evidence, ...] = ()
    recovery: bytes = b""

    @cached_property
    def hash(self) -> bytes:
        """The header's hash."""
        return self.header.hash()

    @property
    def height(self) -> int:
        """Its place in the chain."""
        return self.header.height

    @property
    def view(self) -> int:
        """The view in which it was proposed."""
        return self.header.view

    @cached_property
    def encoded(self) -> bytes:
        """Canonical bytes: `[header, [transactions], parent certificate, [evidence], recovery]`."""
        items = tuple(each.item() for each in self.evidence)
        return codec.encode((tuple(self.header), self.transactions, self.parent_certificate, items, self.recovery))


def link_hash(parent_certificate: bytes, evidence: tuple[Evidence, ...] = (), recovery: bytes = b"") -> bytes:
    """What a header commits to beside the transactions: the parent's certificate, evidence and a recovery."""
    return sha256(codec.encode((parent_certificate, tuple(each.item() for each in evidence), recovery)))


def tx_root(transactions: tuple[bytes, ...]) -> bytes:
    """RFC 6962-style root over the transactions' bytes."""
    return merkle_root(list(transactions))


def decode_block(raw: bytes) -> Block:
    """A block from outside, whose body is the one that its header commits to. Raises `DecodeError`."""
    return block_from_item(codec.decode(raw, bytes_max=BLOCK_BYTES_MAX + HEADER_BYTES_MAX), raw)


def block_from_item(item: object, raw: bytes | None = None) -> Block:
    """The same from a decoded item. Raises `DecodeError`."""
    header_item, transactions, certificate, items, recovery = want(item, list, list, bytes, list, bytes)
    want_list(items, list, length_max=EVIDENCE_MAX)
    want_list(transactions, bytes, length_max=BLOCK_TRANSACTIONS_MAX)
    evidence = tuple(decode_evidence(each) for each in items)
    block = Block(header_from_item(header_item), tuple(transactions), certificate, evidence, recovery)
    linked = link_hash(certificate, evidence, recovery)
    if block.header.tx_root != tx_root(block.transactions) or block.header.link_hash != linked:
        raise DecodeError("the body is not the one that the header commits to")
    if len(block.encoded if raw is None else raw) > BLOCK_BYTES_MAX + HEADER_BYTES_MAX:
        raise DecodeError(f"a block has at most {BLOCK_BYTES_MAX} bytes")
    return block
