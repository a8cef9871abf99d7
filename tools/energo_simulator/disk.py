"""A home's card: the real journals over fake files, of which a power cut loses what was not synced; and a store of whole blocks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from ledger.base.genesis import Genesis
from ledger.base.votes import Certificate
from ledger.gossip.seals import Head, Proof, decode_proof, proof_of, seal_of
from ledger.gossip.sync import RANGE_BLOCKS_MAX, RANGE_BYTES_MAX, RANGE_HEADERS_MAX, Range, make_range
from ledger.node.catchup import Arrived
from ledger.simplex.effects import Committed
from ledger.state import history
from ledger.state.blocks import Block, Header
from ledger.state.origin import from_final, genesis_block
from ledger.state.snapshot import Manifest, cut, make_manifest, state_of
from ledger.state.state import load
from ledger.state.transition import Executed
from ledger.wallet.journal import DurableLog

from .disk_files import DiskFiles


class Log:
    """The journal of node or signer: the very class that runs at home, on this card's fake files."""

    def __init__(self, files: DiskFiles, path: Path, *, witnessed: bool) -> None:
        self._files, self._path, self._witnessed = files, path, witnessed
        self._log: DurableLog | None = None

    def open(self) -> list[bytes]:
        """What it holds, after a start. Raises `DamagedLog`, which no power cut of an honest disk may bring about."""
        self._log = DurableLog(self._path, self._files, witnessed=self._witnessed)
        return list(self._log.records)

    def append(self, records: Sequence[bytes]) -> None:
        """Write and sync."""
        assert self._log is not None, "a node that runs has opened its journals"
        self._log.append(records)

    def rewrite(self, records: Sequence[bytes], beyond: int) -> None:
        """Put what still matters into a new file, once the old one is larger than `beyond` bytes."""
        assert self._log is not None, "a node that runs has opened its journals"
        if self._log.size > beyond:
            self._log.rewrite(records)

    @property
    def size(self) -> int:
        """Bytes of the file; 0 before it was opened."""
        return 0 if self._log is None else self._log.size

    def holds(self, record: bytes) -> bool:
        """Whether these bytes would still be there after a power cut now."""
        return record in self._files.durable(self._path)


@dataclass
class Disk:
    """The journals of node and signer, and the store of final blocks (each commit of it is atomic).

    A snapshot is kept of every block that seals an epoch; `base` is the height of the one at which the store began.
    """

    genesis: Genesis
    files: DiskFiles = field(default_factory=DiskFiles)
    rows: dict[bytes, bytes] = field(default_factory=dict)
    blocks: list[tuple[Block, Certificate | None, tuple[Header, ...]]] = field(default_factory=list)
    forgotten: bool = False  # the wallet found a vote of its key that its record lacks
    header: Header | None = None
    peaks: history.Peaks = ()
    base: int = 0
    base_proof: Proof | None = None
    sealed: dict[int, bytes] = field(default_factory=dict)
    snapshot: tuple[Manifest, list[bytes]] | None = None

    def __post_init__(self) -> None:
        self.journal = Log(self.files, Path("node/consensus.journal"), witnessed=False)
        self.votes = Log(self.files, Path("wallet/votes.journal"), witnessed=True)
        if self.header is None:
            self.rows = dict(genesis_block(self.genesis).state.rows())

    @property
    def height(self) -> int:
        """Of the last final block."""
        return self.base + len(self.blocks)

    def copy(self) -> Disk:
        """What a copy of the card has: everything that is durable now."""
        return replace(
            self,
            files=self.files.copy(),
            rows=dict(self.rows),
            blocks=list(self.blocks),
            sealed=dict(self.sealed),
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
        seal, proof = seal_of(committed, self.header), proof_of(committed)
        below, self.header, self.peaks = self.peaks, executed.header, executed.peaks
        if seal is not None and proof is not None:
            self.sealed[seal.header.epoch] = seal.encoded()
            below = below or history.append((), self.genesis.chain_id)
            chunks = cut(sorted(self.rows.items()))
            self.snapshot = (make_manifest(executed.header, proof.encoded(), below, chunks), chunks)

    def install(self, arrived: Arrived) -> tuple[Executed, Certificate | None]:
        """Begin anew at a snapshot."""
        manifest = arrived.manifest
        assert manifest.height > self.height, "a snapshot leads forward"
        state_of(manifest, arrived.rows)
        self.rows, self.blocks = dict(arrived.rows), []
        self.header, self.base = manifest.header, manifest.height
        self.peaks = history.append(manifest.peaks, manifest.header.hash())
        self.base_proof = decode_proof(manifest.proof)
        self.sealed.update(arrived.seals)
        self.snapshot = (manifest, cut(arrived.rows))
        return self.final()

    def final(self) -> tuple[Executed, Certificate | None]:
        """The last final block and its state, as a restarted node finds it."""
        if self.header is None:
            return genesis_block(self.genesis), None
        proof = self._proof(self.height)
        certificate = proof.certificate if proof is not None and not proof.tail else None
        state = load(sorted(self.rows.items()))
        return from_final(self.genesis, self.header, self.header.hash(), state, self.peaks), certificate

    def _proof(self, height: int) -> Proof | None:
        if height == self.base:
            return self.base_proof
        _, certificate, tail = self.blocks[height - self.base - 1]
        return None if certificate is None else Proof(tail, certificate)

    # ---- the archive that a core reads

    def block(self, block_hash: bytes) -> Block | None:
        """A final block by its hash."""
        return next((block for block, _, _ in reversed(self.blocks) if block.hash == block_hash), None)

    def seals(self, from_epoch: int) -> list[bytes]:
        """The seals of that epoch and of those that follow it."""
        found: list[bytes] = []
        while (raw := self.sealed.get(from_epoch + len(found))) is not None:
            found.append(raw)
        return found

    def head(self) -> bytes | None:
        """The newest header that is proven final."""
        for height in range(self.height, self.base, -1):
            proof = self._proof(height)
            if proof is not None:
                return Head(self.blocks[height - self.base - 1][0].header, proof).encoded()
        return None

    def snapshot_manifest(self) -> Manifest | None:
        """Of the last seal."""
        return None if self.snapshot is None else self.snapshot[0]

    def snapshot_chunk(self, height: int, index: int) -> bytes | None:
        """A piece of it."""
        if self.snapshot is None or height != self.snapshot[0].height or index >= len(self.snapshot[1]):
            return None
        return self.snapshot[1][index]

    def damaged(self) -> list[int]:
        """Nothing here is."""
        return []

    def expected_hash(self, height: int) -> bytes | None:
        """Of a block that is here."""
        return self.blocks[height - self.base - 1][0].hash if self.base < height <= self.height else None

    def range(self, from_height: int) -> Range | None:
        """An answer to a range request."""
        if not self.base < from_height <= self.height:
            return None
        taken: list[bytes] = []
        size, at = 0, from_height - self.base - 1
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
