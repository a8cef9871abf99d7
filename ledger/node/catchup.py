"""Catching up: how a node that was away gets level with its neighbors, and how damaged blocks come back. Pure.

A node some blocks behind asks one neighbor for them. One that is far behind first makes a survey: it asks three neighbors at
once for the seals of the epochs since its own and for their heads, and from then on knows every committee, so that it can judge
any final header before it has executed anything (`ledger.gossip.seals`). Up to `SNAPSHOT_BEHIND` blocks are then fetched in
ranges from three neighbors at once, kept until their turn and executed in order, at most `WORK_BLOCKS` for one transaction of
the disk.
Further behind, it takes a snapshot whose header is proven final, piece by piece from several neighbors, begins anew there,
and fetches the rest in ranges. Nothing that a neighbor claims is believed: one that does not answer or answers wrongly
loses its turn for a while, longer each time.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING, Final, NamedTuple

from ledger.base.errors import DecodeError, InvalidBlock
from ledger.base.units import Millis
from ledger.base.votes import Certificate
from ledger.gossip.seals import Seals, SealsRequest, Trail, decode_head, decode_proof, decode_seal
from ledger.gossip.sync import (
    RANGE_BLOCKS_MAX,
    Range,
    RangeRequest,
    SnapshotChunk,
    SnapshotRequest,
    check_range,
)
from ledger.simplex.effects import Now
from ledger.simplex.messages import BodyRequest
from ledger.state.blocks import Block, Header
from ledger.state.rules.membership import committee_hash
from ledger.state.snapshot import Assembly, Manifest, RowBytes

if TYPE_CHECKING:
    from .core import Core

RETRY_TIMEOUTS: Final = 4  # an unanswered question goes to another peer after so many D
SNAPSHOT_BEHIND: Final = 5_000  # blocks; fewer are executed within some minutes on the smallest board
FAR_BLOCKS: Final = 2 * RANGE_BLOCKS_MAX  # from here on a survey pays
PEERS_AT_ONCE: Final = 3  # more would take the street's air from those who vote
RANGES_MAX: Final = 6  # held out of order or asked for: at 80 KiB each
WORK_BLOCKS: Final = 100  # in one transaction of the disk
SURVEY_MS: Final = 60_000  # until the next, while the node is still far behind
WRONG_MS: Final = 60_000  # for which whoever answered wrongly is not asked
FAILS_MAX: Final = 4
IDLE_MS_MAX: Final = 10_000  # for which a peer that did not answer is not asked: its link may be as new as ours
REPAIR_MS: Final = 10_000  # until a damaged block is asked for again, of another peer
REPAIRS_MAX: Final = 8  # asked for at a time


class What(Enum):
    """What was asked of a peer."""

    SEALS = auto()
    RANGE = auto()
    MANIFEST = auto()
    CHUNK = auto()


class _Asked(NamedTuple):
    what: What
    number: int  # epoch, height or piece
    at_ms: Millis


@dataclass
class _Peer:
    """How a peer did. `idle_until_ms`: it is not asked before."""

    fails: int = 0
    idle_until_ms: Millis = 0
    turn: int = 0
    late: bool = False  # a range of its may still come


class _Found(NamedTuple):
    """A range that is final and waits for its turn."""

    peer: int
    blocks: tuple[Block, ...]
    tail: tuple[Header, ...]
    certificate: Certificate

    @property
    def first(self) -> int:
        return self.blocks[0].height

    @property
    def last(self) -> int:
        return self.blocks[-1].height


class Arrived(NamedTuple):
    """A whole snapshot of a final block, checked, and the encoded seals that lead to it."""

    manifest: Manifest
    rows: list[RowBytes]
    seals: tuple[tuple[int, bytes], ...]


class Trusted(NamedTuple):
    """A final block that this node was told to trust when it joined, and the hash of the committee after it."""

    height: int
    block_hash: bytes
    committee_hash: bytes


@dataclass
class _Snapshot:
    assembly: Assembly
    peers: list[int]  # who showed its manifest
    sources: set[int]  # of those who may still have it; membership only


class CatchUp:
    """The catching up of one core. `arrived` and `repairs` are for its driver, which takes them with the rest of the work."""

    def __init__(self, core: Core, snapshot_behind: int, trusted: Trusted | None) -> None:
        self._core, self._behind, self._trusted = core, snapshot_behind, trusted
        self._far = min(FAR_BLOCKS, snapshot_behind)
        self._trail: Trail | None = None
        self._peers: dict[int, _Peer] = {}
        self._asked: dict[int, _Asked] = {}
        self._turn = 0
        self._survey_ms: Millis | None = None  # of the last survey
        self._surveyed: set[int] = set()  # who was asked in it; membership only
        self._told = 0  # and how many told something that holds
        self._ranges: dict[int, _Found] = {}
        self._stride = RANGE_BLOCKS_MAX // 4
        self._more = False
        self._hold_ms: Millis = 0
        self._snapshot: _Snapshot | None = None
        self._manifests: dict[int, Manifest] = {}  # that were shown, until one is chosen: at most `PEERS_AT_ONCE`
        self._without: set[int] = set()  # peers that have no snapshot that helps; membership only
        self._false: set[int] = set()  # peers that showed a false one, until this node is level; membership only
        self._handed = False
        self._repair_ms: Millis = 0
        self._repair_turn = 0
        self._wanted: dict[bytes, int] = {}  # hashes of damaged blocks, and their heights
        self.arrived: Arrived | None = None
        self.repairs: list[tuple[int, bytes]] = []

    # ---- what the core tells

    @property
    def active(self) -> bool:
        """Whether blocks are being fetched because others are ahead."""
        return bool(self._asked or self._ranges or self._handed or self._ahead())

    def unlinked(self, peer: int) -> None:
        """A link is down: what was asked there goes to another; what the peer did is remembered."""
        self._asked.pop(peer, None)
        if self._snapshot is not None:
            self._snapshot.sources.discard(peer)
        self._manifests.pop(peer, None)
        self._without.discard(peer)

    def restarted(self) -> None:
        """The core begins anew at a snapshot (or was not able to): forget what was under way."""
        self._trail, self._snapshot, self._handed, self._more = None, None, False, False
        self._manifests.clear()
        self._asked.clear()
        self._ranges.clear()
        self._survey_ms = None

    def refuse(self, peer: int, why: str, now: Now) -> None:
        """A peer answered wrongly: it is not asked for a while."""
        self._core.note(f"an answer of {self._core.directory.name_of(peer)} was dropped: {why}")
        self._asked.pop(peer, None)
        known = self._peer(peer)
        known.fails = min(known.fails + 1, FAILS_MAX)
        known.idle_until_ms = now.mono_ms + WRONG_MS

    # ---- time

    def run(self, now: Now) -> None:
        """Execute what can be, ask for what is missing."""
        self._expire(now)
        self._repair(now)
        self._import(now)
        if self._handed or now.mono_ms < self._hold_ms:
            return
        ahead = self._ahead()
        if not ahead:
            self._asked.clear()
            self._ranges.clear()
            self._snapshot, self._survey_ms = None, None
            self._manifests.clear()
            self._without.clear()
            self._false.clear()
            return
        if self._survey(ahead, now) or self._fetch_snapshot(ahead, now):
            return
        self._fetch_ranges(ahead, now)

    def deadline_ms(self, now: Now) -> Millis | None:
        """When `run` is wanted next, if ever without a message."""
        times = [asked.at_ms + self._retry_ms for asked in self._asked.values()]
        if self._more:
            times.append(now.mono_ms + 1)
        if self._wanted:
            times.append(self._repair_ms)
        if not self._handed and not self._asked and self._ahead():
            times.append(max(self._hold_ms, now.mono_ms + self._core.genesis.consensus.timeout_ms))
        return max(now.mono_ms + 1, min(times)) if times else None

    @property
    def _retry_ms(self) -> Millis:
        return RETRY_TIMEOUTS * self._core.machine.timeout_ms

    @property
    def _final(self) -> Header:
        return self._core.chain.final.header

    def _ahead(self) -> list[int]:
        machine = self._core.machine
        height = self._final.height
        lead = 0 if machine.behind else 1  # one height ahead is usually on its way by votes
        return sorted(
            peer
            for peer, status in self._core.peer_status.items()
            if status.final_height > height + (lead if status.epoch == machine.epoch else 0)
        )

    def _expire(self, now: Now) -> None:
        for peer, asked in list(self._asked.items()):
            if now.mono_ms - asked.at_ms < self._retry_ms:
                continue
            del self._asked[peer]
            known = self._peer(peer)
            known.idle_until_ms = now.mono_ms + min(self._retry_ms << known.fails, IDLE_MS_MAX)
            known.fails = min(known.fails + 1, FAILS_MAX)
            known.late = known.late or asked.what is What.RANGE

    # ---- whom to ask

    def _peer(self, peer: int) -> _Peer:
        return self._peers.setdefault(peer, _Peer())  # members only: bounded by the street

    def _pick(self, peers: list[int], now: Now) -> int | None:
        """Of these, one that is free: first who never failed, then who was asked least lately."""
        ready = [p for p in peers if p not in self._asked and self._peer(p).idle_until_ms <= now.mono_ms]
        if not ready:
            return None
        return min(ready, key=lambda peer: (self._peer(peer).fails, self._peer(peer).turn, peer))

    def _ask(self, peer: int, what: What, number: int, now: Now) -> None:
        self._turn += 1
        self._peer(peer).turn = self._turn
        self._asked[peer] = _Asked(what, number, now.mono_ms)
        match what:
            case What.SEALS:
                self._core.send(peer, SealsRequest(number))
            case What.RANGE:
                self._core.send(peer, RangeRequest(number))
            case What.MANIFEST:
                self._core.send(peer, SnapshotRequest(0, 0))
            case What.CHUNK:
                assert self._snapshot is not None, "pieces are of a snapshot"
                self._core.send(peer, SnapshotRequest(self._snapshot.assembly.manifest.height, number))

    def _answered(self, peer: int, what: What, number: int | None = None) -> bool:
        """Whether this was asked of a peer; the question is closed."""
        asked = self._asked.get(peer)
        if asked is None or asked.what is not what or (number is not None and asked.number != number):
            return False
        del self._asked[peer]
        return True

    def _did_well(self, peer: int) -> None:
        known = self._peer(peer)
        known.fails, known.idle_until_ms, known.late = 0, 0, False

    # ---- seals and heads

    def trail(self) -> Trail:
        """The committees that are known, from the present one on."""
        committee = self._core.machine.committee
        if self._trail is None or self._trail.committees.get(committee.epoch) != committee:
            self._trail = Trail(self._core.genesis.chain_id, committee, self._core.context.scheme)
        return self._trail

    def _survey(self, ahead: list[int], now: Now) -> bool:
        """Whether a survey is under way."""
        asked = sum(each.what is What.SEALS for each in self._asked.values())
        statuses = [self._core.peer_status[peer] for peer in ahead]
        far = any(
            status.final_height - self._final.height > self._far or status.epoch > self._core.machine.epoch + 1
            for status in statuses
        )
        if not far or self._snapshot is not None:
            return asked > 0
        if self._survey_ms is None or now.mono_ms - self._survey_ms >= SURVEY_MS:
            self._survey_ms, self._told = now.mono_ms, 0
            self._surveyed.clear()
            self._without.clear()
        while self._told + asked < PEERS_AT_ONCE:
            peer = self._pick([peer for peer in ahead if peer not in self._surveyed], now)
            if peer is None:
                break
            self._surveyed.add(peer)
            self._ask(peer, What.SEALS, self.trail().epoch, now)
            asked += 1
        return asked > 0

    def on_seals(self, peer: int, answer: Seals, now: Now) -> None:
        """Seals in a row, from the epoch that was asked for or an earlier one that is known by now."""
        if not self._answered(peer, What.SEALS):
            return
        trail = self.trail()
        before = trail.epoch
        try:
            for raw in answer.seals:
                seal = decode_seal(raw)
                if seal.header.epoch == trail.epoch:
                    trail.follow(seal)
            if answer.head:
                head = decode_head(answer.head)
                if head.header.epoch <= trail.epoch:
                    trail.take_head(head)
        except DecodeError as error:
            self.refuse(peer, str(error), now)
            return
        self._did_well(peer)
        if answer.seals and not answer.head and trail.epoch > before:
            self._ask(peer, What.SEALS, trail.epoch, now)
        else:
            self._told += 1

    # ---- snapshots

    def _fetch_snapshot(self, ahead: list[int], now: Now) -> bool:
        """Whether a snapshot is on its way."""
        if self._snapshot is not None and self._fetch_chunks(self._snapshot, now):
            return True
        head = self.trail().head
        if head is None or head.height - self._final.height <= self._behind:
            return False
        asked = sum(each.what is What.MANIFEST for each in self._asked.values())
        while len(self._manifests) + asked < PEERS_AT_ONCE:
            done = self._without | self._false | self._manifests.keys()
            peer = self._pick([peer for peer in ahead if peer not in done], now)
            if peer is None:
                break
            self._without.add(peer)  # until it has shown one
            self._ask(peer, What.MANIFEST, 0, now)
            asked += 1
        if asked:
            return True
        self._choose()
        return self._snapshot is not None and self._fetch_chunks(self._snapshot, now)

    def _choose(self) -> None:
        """Of the snapshots that were shown, the one that most neighbors have; of those the highest.

        The header is proven, what a manifest says of the pieces is not: homes that are honest have the same ones.
        """
        homes: dict[tuple[Header, tuple[bytes, ...]], list[int]] = {}
        for peer, manifest in self._manifests.items():
            homes.setdefault((manifest.header, manifest.hashes), []).append(peer)
        shown, self._manifests = self._manifests, {}
        if homes:
            header, _ = best = max(homes, key=lambda each: (len(homes[each]), each[0].height, each[1]))
            self._ranges.clear()
            self._snapshot = _Snapshot(Assembly(shown[homes[best][0]]), homes[best], set(homes[best]))
            self._core.note(f"this node begins anew at block {header.height}: it fetches the state of that block")

    def on_manifest(self, peer: int, manifest: Manifest, now: Now) -> None:
        """What a peer has a snapshot of: of use if it is final and far enough ahead to be worth it."""
        if not self._answered(peer, What.MANIFEST) or self._snapshot is not None:
            return
        header = manifest.header
        if header.height - self._final.height <= self._behind // 2 or header.epoch > self.trail().epoch:
            self._did_well(peer)  # not worth it, or behind a recovery or a seal that is not known yet
            return
        try:
            if not self.trail().is_final(header, decode_proof(manifest.proof)):
                raise DecodeError("a snapshot of a block that is not proven final")
            self._check_trusted(header)
        except DecodeError as error:
            self._false.add(peer)
            self.refuse(peer, str(error), now)
            return
        self._did_well(peer)
        self._without.discard(peer)
        self._manifests[peer] = manifest

    def _check_trusted(self, header: Header) -> None:
        trusted = self._trusted
        if trusted is None or trusted.height < self._final.height or trusted.height > header.height:
            return
        if trusted.height == header.height and trusted.block_hash != header.hash():
            raise DecodeError("a snapshot of another ledger than the one that this home was told to trust")
        if self.trail().committee_after(trusted.height) != trusted.committee_hash:
            raise DecodeError(
                "a snapshot of a ledger with other committees than the one that this home was told to trust"
            )

    def _fetch_chunks(self, snapshot: _Snapshot, now: Now) -> bool:
        """Whether there is still something to come, or to be installed."""
        missing = snapshot.assembly.missing()
        if not missing:
            self._complete(snapshot, now)
            return self._handed
        if not snapshot.sources:
            self._core.note("no neighbor has the state that was being fetched any more")
            self._snapshot = None
            return False
        asked = {each.number for each in self._asked.values() if each.what is What.CHUNK}
        for index in missing:
            if len(asked) >= PEERS_AT_ONCE:
                break
            if index in asked:
                continue
            peer = self._pick(sorted(snapshot.sources), now)
            if peer is None:
                break
            self._ask(peer, What.CHUNK, index, now)
            asked.add(index)
        return True

    def on_chunk(self, peer: int, chunk: SnapshotChunk, now: Now) -> None:
        """A piece, or that there is none."""
        if chunk.height == 0:
            if self._answered(peer, What.MANIFEST):
                self._did_well(peer)
            return
        snapshot = self._snapshot
        if snapshot is None or chunk.height != snapshot.assembly.manifest.height:
            return
        if not self._answered(peer, What.CHUNK, chunk.part):
            return
        if not chunk.data:
            snapshot.sources.discard(peer)
            return
        try:
            snapshot.assembly.add(chunk.part, chunk.data)
        except DecodeError as error:
            snapshot.sources.discard(peer)
            self.refuse(peer, str(error), now)
            return
        self._did_well(peer)

    def _complete(self, snapshot: _Snapshot, now: Now) -> None:
        self._snapshot = None
        manifest = snapshot.assembly.manifest
        try:
            rows = snapshot.assembly.rows()
        except DecodeError as error:  # the manifest lied about its pieces
            for peer in snapshot.peers:
                self._false.add(peer)
                self.refuse(peer, f"the state of block {manifest.height}: {error}", now)
            return
        if manifest.height <= self._final.height:
            return
        trail = self.trail()
        seals = tuple((epoch, trail.seals[epoch].encoded()) for epoch in sorted(trail.seals))
        self.arrived, self._handed = Arrived(manifest, rows, seals), True
        self._asked.clear()
        self._ranges.clear()

    # ---- ranges

    def _fetch_ranges(self, ahead: list[int], now: Now) -> None:
        position = front = self._final.height + 1
        claimed = {peer: self._core.peer_status[peer].final_height for peer in ahead}
        target = max(claimed.values())
        head = self.trail().head
        outstanding = [asked.number for asked in self._asked.values() if asked.what is What.RANGE]
        while position <= target and len(self._ranges) + len(outstanding) < RANGES_MAX:
            held = next((found for found in self._ranges.values() if found.first <= position <= found.last), None)
            if held is not None:
                position = held.last + 1
                continue
            if any(number <= position < number + self._stride for number in outstanding):
                position += 1
                continue
            if position != front and (head is None or position > head.height):
                return  # what nobody has proven to exist is asked for one by one
            if len(self._asked) >= PEERS_AT_ONCE:
                return
            peer = self._pick([peer for peer in ahead if claimed[peer] >= position], now)
            if peer is None:
                return
            self._ask(peer, What.RANGE, position, now)
            outstanding.append(position)

    def on_range(self, peer: int, answer: Range, now: Now) -> None:
        """Blocks that follow one another under one finalization; kept until it is their turn."""
        late = self._peer(peer).late
        if not self._answered(peer, What.RANGE) and not late:
            return
        self._peer(peer).late = False
        if not answer.blocks:
            self._peer(peer).idle_until_ms = now.mono_ms + self._retry_ms
            return
        if self._handed or len(self._ranges) > RANGES_MAX:
            return
        try:
            found = self._check(peer, answer, now)
        except (DecodeError, InvalidBlock) as error:
            self.refuse(peer, str(error), now)
            return
        self._did_well(peer)
        if found is None:
            self._peer(peer).idle_until_ms = now.mono_ms + self._retry_ms
        else:
            self._stride = max(1, min(RANGE_BLOCKS_MAX, len(found.blocks)))
            self._ranges[found.first] = found
            self._import(now)

    def _check(self, peer: int, answer: Range, now: Now) -> _Found | None:
        """Raises `DecodeError`, `InvalidBlock`; None where it cannot be judged yet."""
        final = self._core.chain.final
        blocks, tail, certificate = check_range(answer, None)
        at_front = blocks[0].height == final.header.height + 1
        if at_front and blocks[0].header.parent_hash != final.hash:
            raise DecodeError("a range that does not extend the last final block")
        epoch = certificate.epoch
        if {header.epoch for header in (*(block.header for block in blocks), *tail)} != {epoch}:
            raise DecodeError("a range of more than one epoch")
        if blocks[0].recovery and at_front:
            self._core.begin_recovery(blocks[0].recovery, now)
        trail = self.trail()
        if epoch not in trail.committees:
            if at_front:
                raise DecodeError("a range of an epoch that does not come next")
            return None  # its committee is known once what stands before it was executed
        if not trail.certifies(certificate):
            raise DecodeError("a range whose finalization does not hold")
        present = committee_hash(trail.committees[epoch].keys)
        if any(block.header.committee_hash != present for block in blocks[:-1]):
            raise DecodeError("a range that goes on above a sealing block")
        return _Found(peer, tuple(blocks), tail, certificate)

    def _import(self, now: Now) -> None:
        """Execute the ranges whose turn it is, so many blocks at a time."""
        core = self._core
        self._more = False
        while not self._handed and self._ranges:
            front = self._final.height + 1
            for first in [first for first, found in self._ranges.items() if found.last < front]:
                del self._ranges[first]
            found = next((found for found in self._ranges.values() if found.first <= front), None)
            if found is None:
                return
            if core.commits and core.commits + found.last - front + 1 > WORK_BLOCKS:
                self._more = True
                return
            del self._ranges[found.first]
            blocks = [block for block in found.blocks if block.height >= front]
            if found.certificate.epoch != core.machine.epoch:
                continue
            try:
                core.machine.import_final(blocks, found.tail, found.certificate, now)
            except InvalidBlock as error:
                core.note(f"final block above height {self._final.height} does not apply here: {error}")
                self._ranges.clear()
                self._hold_ms = now.mono_ms + self._retry_ms
                return
            core.follow_epoch(now)

    # ---- damaged blocks

    def _repair(self, now: Now) -> None:
        """Ask for what the disk has found damaged, by the hash that it must have."""
        if now.mono_ms < self._repair_ms:
            return
        self._repair_ms = now.mono_ms + REPAIR_MS
        self._wanted.clear()
        archive, peers = self._core.archive, sorted(self._core.peer_status)
        for height in archive.damaged()[:REPAIRS_MAX] if peers else []:
            expected = archive.expected_hash(height)
            if expected is not None:
                self._wanted[expected] = height
                self._repair_turn += 1
                self._core.send(peers[self._repair_turn % len(peers)], BodyRequest(expected))

    def take_body(self, block: Block) -> bool:
        """Whether a block that came is one that the disk needs."""
        height = self._wanted.pop(block.hash, None)
        if height is None:
            return False
        self.repairs.append((height, block.encoded))
        return True
