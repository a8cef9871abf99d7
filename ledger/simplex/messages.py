"""What members say to one another beside votes: proposals, where they stand, and what they miss; and their bytes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Final, NamedTuple

from ledger.base import codec
from ledger.base.codec import in_range, of_length, want, want_list
from ledger.base.crypto import HASH_BYTES, SIGNATURE_BYTES
from ledger.base.errors import DecodeError
from ledger.base.limits import AMOUNT_MAX, BLOCK_BYTES_MAX, FRAME_BYTES_MAX
from ledger.base.votes import Certificate, Evidence, Vote, decode_certificate, decode_vote, encode_vote
from ledger.state.blocks import HEADER_BYTES_MAX, Block, decode_block

BOOT_ID_BYTES: Final = 8
NULLIFICATIONS_MAX: Final = 8  # in a proposal; longer gaps are asked for


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
    """Where a node stands.

    `asks` is 1 from its start until it has heard what others hold of its own votes; `boot_id` was drawn at its start, so that
    two cards with one key betray themselves.
    """

    epoch: int
    final_height: int
    final_view: int
    final_hash: bytes
    view: int
    asks: int
    boot_id: bytes


def decode_status(raw: bytes) -> Status:
    """Raises `DecodeError`."""
    status = Status(*want(codec.decode(raw, bytes_max=128), int, int, int, bytes, int, int, bytes))
    of_length(status.boot_id, BOOT_ID_BYTES, "boot id")
    in_range(status.asks, 0, 1, "asks")
    of_length(status.final_hash, HASH_BYTES, "final hash")
    for number in (status.epoch, status.final_height, status.final_view, status.view):
        in_range(number, 0, AMOUNT_MAX, "a number in a status")
    return status


class CloneSeen(NamedTuple):
    """To a node: two cards speak to the sender with its key, in turn."""

    boot_ids: tuple[bytes, bytes]


def decode_clone_seen(raw: bytes) -> CloneSeen:
    """Raises `DecodeError`."""
    first, second = want(codec.decode(raw, bytes_max=64), bytes, bytes)
    for boot_id in (first, second):
        of_length(boot_id, BOOT_ID_BYTES, "boot id")
    return CloneSeen((first, second))


class Echo(NamedTuple):
    """To a node that has just started: its own votes, above the last final view, as the sender holds them."""

    epoch: int
    votes: tuple[Vote, ...]


ECHO_VOTES_MAX: Final = 64  # three a view: more views than honest voters ever have open


def encode_echo(echo: Echo) -> bytes:
    """Canonical bytes `[epoch, [votes]]`."""
    return codec.encode((echo.epoch, tuple(encode_vote(vote) for vote in echo.votes)))


def decode_echo(raw: bytes) -> Echo:
    """Raises `DecodeError`."""
    epoch, votes = want(codec.decode(raw, bytes_max=16_384), int, list)
    want_list(votes, bytes, length_max=ECHO_VOTES_MAX)
    return Echo(in_range(epoch, 0, 2**32 - 1, "epoch"), tuple(decode_vote(vote) for vote in votes))


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


Message = (
    Vote | Certificate | Proposal | Status | CertificateRequest | BodyRequest | Block | Evidence | Echo | CloneSeen
)
