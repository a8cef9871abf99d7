"""Blocks that are not final: held until they are, executed once their parents are, and judged by what anybody can check.

A block is invalid here for ever once execution or its time disagreed; asking again does not execute it again.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from ledger.base.errors import DecodeError, InvalidBlock
from ledger.base.votes import CERTIFICATE_BYTES_MAX, Certificate, Committee, Kind, block_time_ms, decode_certificate
from ledger.state.blocks import Block
from ledger.state.chain import Chain
from ledger.state.transition import Executed

BODIES_MAX: Final = 64  # blocks kept that are not final: far more than honest voters ever have open
INVALID_MAX: Final = 256  # hashes of invalid blocks remembered


class Missing(NamedTuple):
    """The first body on the way down that is not held here."""

    block_hash: bytes


class Rejected(NamedTuple):
    """A block on the way that is invalid, and why."""

    block: Block
    why: str


def parent_certificate(block: Block) -> Certificate | None:
    """The certificate in a block's body, of its parent; None in the first block of an epoch. Raises `InvalidBlock`."""
    header = block.header
    if header.parent_view == 0 and block.parent_certificate == b"":
        return None
    if len(block.parent_certificate) > CERTIFICATE_BYTES_MAX:
        raise InvalidBlock("parent's certificate", len(block.parent_certificate), "a smaller one")
    try:
        certificate = decode_certificate(block.parent_certificate)
    except DecodeError as error:
        raise InvalidBlock("parent's certificate", str(error), "a canonical one") from None
    if certificate.kind == Kind.NULLIFY or certificate.block_hash != header.parent_hash:
        raise InvalidBlock("parent's certificate", certificate.block_hash, header.parent_hash)
    if (certificate.epoch, certificate.view) != (header.epoch, header.parent_view):
        raise InvalidBlock("view of the parent's certificate", certificate.view, header.parent_view)
    return certificate


class Bodies:
    """The bodies above the last final block of `chain`."""

    def __init__(self, chain: Chain, committee: Committee) -> None:
        self._chain, self._committee = chain, committee
        self._held: dict[bytes, Block] = {}
        self._invalid: dict[bytes, str] = {}

    def __iter__(self) -> Iterator[Block]:
        return iter(self._held.values())

    def get(self, block_hash: bytes) -> Block | None:
        """A body that is held."""
        return self._held.get(block_hash)

    def keep(self, block: Block) -> None:
        """Hold a body that is not final; the oldest makes room."""
        if block.height <= self._chain.final.header.height or block.hash in self._held:
            return
        if len(self._held) >= BODIES_MAX:
            self._held.pop(next(iter(self._held)))
        self._held[block.hash] = block

    def prune(self) -> None:
        """Let go of what is not above the last final block."""
        height = self._chain.final.header.height
        self._held = {block_hash: block for block_hash, block in self._held.items() if block.height > height}

    def reject(self, block: Block, why: str) -> None:
        """Remember that a block is invalid."""
        if len(self._invalid) >= INVALID_MAX:
            self._invalid.pop(next(iter(self._invalid)))
        self._invalid[block.hash] = why

    def check_time(self, block: Block, certificate: Certificate | None) -> None:
        """Whether a block whose parent is executed carries the one time that its certificate gives. Raises `InvalidBlock`."""
        parent = self._chain.get(block.header.parent_hash)
        if parent is None:
            raise InvalidBlock("parent", block.header.parent_hash, "a block that was executed here")
        expected = block_time_ms(parent.header.time_ms, certificate, self._committee)
        if block.header.time_ms != expected:
            raise InvalidBlock("block time", block.header.time_ms, expected)

    def execute(self, block_hash: bytes) -> Executed | Missing | Rejected | None:
        """The executed block, executing what is held on the way; None where it is on a branch that died or was rejected."""
        above: list[Block] = []
        at = block_hash
        while (executed := self._chain.get(at)) is None:
            block = self._held.get(at)
            if block is None:
                return Missing(at)
            if at in self._invalid or block.height <= self._chain.final.header.height or len(above) > BODIES_MAX:
                return None
            above.append(block)
            at = block.header.parent_hash
        for block in reversed(above):
            try:
                self.check_time(block, parent_certificate(block))
                executed = self._chain.execute(block)
            except InvalidBlock as error:
                self.reject(block, str(error))
                return Rejected(block, str(error))
        return executed
