"""A node's fake disk: what was synced survives a power cut; of what was not, a seeded part of the last write may be torn."""

from __future__ import annotations

from dataclasses import dataclass, field

from ledger.base.genesis import Genesis
from ledger.base.votes import Certificate
from ledger.gossip.sync import RANGE_BLOCKS_MAX, RANGE_BYTES_MAX, RANGE_HEADERS_MAX, Range, make_range
from ledger.simplex.effects import Committed
from ledger.state import history
from ledger.state.blocks import Block, Header
from ledger.state.origin import from_final, genesis_block
from ledger.state.state import load
from ledger.state.transition import Executed


@dataclass
class Log:
    """Records in order; only those that were synced outlive a cut."""

    durable: list[bytes] = field(default_factory=list)
    pending: list[bytes] = field(default_factory=list)

    def append(self, records: list[bytes]) -> None:
        """Write without syncing."""
        self.pending += records

    def sync(self) -> None:
        """Make what was written durable."""
        self.durable += self.pending
        self.pending = []

    def cut(self, kept: int) -> None:
        """The power fails: of what was not synced a prefix may have reached the disk; a torn record is no record."""
        self.durable += self.pending[:kept]
        self.pending = []


@dataclass
class Disk:
    """The journals of node and signer, and the store of final blocks (each commit of it is atomic)."""

    genesis: Genesis
    journal: Log = field(default_factory=Log)
    votes: Log = field(default_factory=Log)
    rows: dict[bytes, bytes] = field(default_factory=dict)
    blocks: list[tuple[Block, Certificate | None, tuple[Header, ...]]] = field(default_factory=list)
    forgotten: bool = False  # the wallet found a vote of its key that its record lacks
    header: Header | None = None
    peaks: history.Peaks = ()

    def __post_init__(self) -> None:
        if self.header is None:
            self.rows = dict(genesis_block(self.genesis).state.rows())

    def copy(self) -> Disk:
        """What a copy of the card has: everything that is durable now."""
        return Disk(
            self.genesis,
            Log(list(self.journal.durable)),
            Log(list(self.votes.durable)),
            dict(self.rows),
            list(self.blocks),
            self.forgotten,
            self.header,
            self.peaks,
        )

    def commit(self, committed: Committed) -> None:
        """One final block, whole or not at all."""
        executed = committed.executed
        assert executed.block is not None, "block 0 is never committed"
        for key, row in committed.changes:
            if row is None:
                self.rows.pop(key, None)
            else:
                self.rows[key] = row
        self.blocks.append((executed.block, committed.certificate, committed.tail))
        self.header, self.peaks = executed.header, executed.peaks

    def final(self) -> tuple[Executed, Certificate | None]:
        """The last final block and its state, as a restarted node finds it."""
        if self.header is None:
            return genesis_block(self.genesis), None
        state = load(sorted(self.rows.items()))
        block, certificate, tail = self.blocks[-1]
        certificate = None if tail else certificate
        return from_final(self.genesis, self.header, block.hash, state, self.peaks), certificate

    # ---- the archive that a core reads

    def block(self, block_hash: bytes) -> Block | None:
        """A final block by its hash."""
        return next((block for block, _, _ in reversed(self.blocks) if block.hash == block_hash), None)

    def range(self, from_height: int) -> Range | None:
        """An answer to a range request."""
        if not 0 < from_height <= len(self.blocks):
            return None
        taken: list[bytes] = []
        size, at = 0, from_height - 1
        epoch = self.blocks[at][0].header.epoch
        while at < len(self.blocks) and len(taken) < RANGE_BLOCKS_MAX:
            block = self.blocks[at][0]
            if block.header.epoch != epoch or (taken and size + len(block.encoded) > RANGE_BYTES_MAX):
                break
            taken.append(block.encoded)
            size += len(block.encoded)
            at += 1
        headers: list[Header] = []
        while True:
            _, certificate, tail = self.blocks[at - 1]
            if certificate is not None:
                return make_range(taken, [*headers, *tail], certificate.encoded)
            if at >= len(self.blocks) or len(headers) >= RANGE_HEADERS_MAX:
                return None
            headers.append(self.blocks[at][0].header)
            at += 1
