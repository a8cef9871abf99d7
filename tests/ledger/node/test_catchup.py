"""A node that was away gets level: by ranges, through epochs, by a snapshot, beside neighbors that lie or say nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from energo_simulator.disk import Disk
from ledger.base.errors import DecodeError
from ledger.base.votes import Certificate
from ledger.gossip import frames
from ledger.gossip.seals import Head, Proof, Seal, Seals, SealsRequest, decode_head, decode_seal
from ledger.gossip.sync import Range, RangeRequest, SnapshotChunk, SnapshotRequest
from ledger.node import upkeep
from ledger.node.catchup import WORK_BLOCKS, Arrived, Trusted
from ledger.node.store import Store
from ledger.simplex.effects import Committed
from ledger.simplex.messages import Status
from ledger.state.snapshot import Manifest, check_rows, cut, make_manifest, root_of
from ledger.state.transition import Executed
from tests.ledger.finals import SCHEME, FinalChain, Neighbor, Net, Tamper, far_street
from tests.ledger.streets import ORIGIN_MS, seed_of

BLOCKS = 300


class Past:
    """A street's chain of two seals and a third epoch, and a card that has it all."""

    def __init__(self) -> None:
        self.genesis = far_street()
        self.disk = Disk(self.genesis)
        self.early = Disk(self.genesis)
        self.chain = FinalChain(self.genesis, self.disk.commit)
        self.chain.grow(20)
        self.early = self.disk.copy()
        self.chain.grow(90)
        self.chain.seal("home5", 1)
        self.chain.grow(110)
        self.chain.seal("home5", 0, by_child=True)
        self.chain.grow(BLOCKS - self.chain.height)


@pytest.fixture(scope="module")
def past() -> Past:
    return Past()


def silent(net: Net, sender: int, to: int, message: frames.AnyMessage) -> list[frames.AnyMessage]:
    return [message] if isinstance(message, Status) else []


def world(past: Past, *tampers: Tamper | None, disk: Disk | None = None, **options: object) -> tuple[Net, Neighbor]:
    """Four neighbors that are level (the first ones as given), and home5, which was away."""
    net = Net(past.genesis, past.chain.chain.final.header.time_ms)
    for place, name in enumerate(("home1", "home2", "home3", "home4")):
        node = net.add(Neighbor(net, name, past.disk.copy()))
        node.tamper = tampers[place] if place < len(tampers) else None
    return net, net.add(Neighbor(net, "home5", disk or Disk(past.genesis), **options))


def level(past: Past, node: Neighbor) -> Callable[[], bool]:
    return lambda: node.core.chain.final.hash == past.chain.hashes[-1]


def answers(net: Net, kind: type, to: int) -> set[int]:
    return {sender for _, sender, target, message in net.sent if isinstance(message, kind) and target == to}


@pytest.mark.parametrize("began", [0, 20])
def test_ranges_from_several_neighbors_lead_through_the_epochs(past: Past, began: int) -> None:
    net, node = world(past, disk=past.early.copy() if began else None)
    assert net.run(5_000, level(past, node)), node.notes
    assert node.disk.height == BLOCKS
    assert node.core.machine.epoch == 2
    assert len(answers(net, Range, node.peer)) >= 3
    asked = [message for _, sender, _, message in net.sent if isinstance(message, RangeRequest) and sender == node.peer]
    assert len(asked) <= 3 * (BLOCKS // 64 + 3), "little is asked for twice"
    assert max(node.works) <= WORK_BLOCKS
    assert node.disk.seals(0) == past.disk.seals(0)
    assert not any("dropped" in note for note in node.notes)
    net.run(3_000)
    assert not node.core.syncing


def test_a_neighbor_a_little_ahead_is_asked_for_blocks_and_nothing_else(past: Past) -> None:
    net, node = world(past, disk=None)
    ahead = [message for _, sender, _, message in net.sent if sender == node.peer]
    assert not any(isinstance(message, SealsRequest) for message in ahead)  # the statuses are still on their way
    near = Net(past.genesis, past.chain.chain.final.header.time_ms)
    near.add(Neighbor(near, "home1", past.early.copy()))
    fresh = near.add(Neighbor(near, "home5", Disk(past.genesis)))
    assert near.run(1_000, lambda: fresh.disk.height == 20)
    assert answers(near, Seals, fresh.peer) == set()


def liar(net: Net, sender: int, to: int, message: frames.AnyMessage) -> list[frames.AnyMessage]:
    """Answers everything wrongly, each time in a way that only its proof gives away."""
    disk = net.nodes[sender].disk
    mine = tuple(sorted(SCHEME.public(seed_of(f"liar {seat}")) for seat in range(4)))
    match message:
        case Status():
            return [message._replace(final_height=message.final_height + 1_000)]
        case Range(blocks, headers, certificate):
            other = disk.range(1)
            assert other is not None
            return [
                Range(blocks, headers, other.certificate)
                if certificate != other.certificate
                else Range(blocks[1:], headers, certificate)
            ]
        case Seals(seals, head):
            seal = decode_seal(seals[0]) if seals else None
            forged = () if seal is None else (seal._replace(keys=mine).encoded(),)
            return [Seals(forged, head)]
        case Manifest():
            return [message._replace(hashes=(*message.hashes[::-1], bytes(32)))]
        case SnapshotChunk(height, part, data):
            return [SnapshotChunk(height, part, data[::-1])]
    return [message]


@pytest.mark.parametrize("tampers", [(liar,), (silent,), (liar, silent), (silent, liar)])
@pytest.mark.parametrize("behind", [5_000, 50])
def test_beside_a_liar_and_a_silent_neighbor_the_node_gets_level(
    past: Past, tampers: tuple[Tamper, ...], behind: int
) -> None:
    net, node = world(past, *tampers, snapshot_behind=behind)
    assert net.run(30_000, level(past, node)), node.notes
    assert (node.disk.base > 0) == (behind == 50)
    assert node.core.machine.epoch == 2
    if liar in tampers:
        assert any("of home" in note and "was dropped" in note for note in node.notes), node.notes


def test_far_behind_the_node_begins_anew_at_a_snapshot_and_then_fetches_ranges(past: Past) -> None:
    net, node = world(past, snapshot_behind=50)
    assert net.run(3_000, level(past, node)), node.notes
    seal = decode_seal(past.disk.seals(0)[1]).header
    assert (node.disk.base, node.disk.height) == (seal.height, BLOCKS)
    assert past.disk.rows == node.disk.rows
    assert node.disk.seals(0) == past.disk.seals(0), "it can lead others the same way"
    final, certificate = node.disk.final()
    assert certificate == past.disk.final()[1]
    assert final.state.root() == past.chain.chain.final.state.root()
    chunks = [message for _, _, to, message in net.sent if isinstance(message, SnapshotChunk) and to == node.peer]
    assert len({chunk.part for chunk in chunks}) == len(chunks), "no piece is fetched twice"
    again = Neighbor(net, "home5", node.disk)
    assert again.core.machine.epoch == 2


def test_where_nobody_has_a_snapshot_ranges_do(past: Past) -> None:
    net, node = world(past, snapshot_behind=50)
    for other in net.nodes.values():
        other.disk.snapshot = None
    assert net.run(20_000, level(past, node)), node.notes
    assert node.disk.base == 0


def test_a_snapshot_that_contradicts_the_block_to_trust_is_not_taken(past: Past) -> None:
    real = past.disk.blocks[149][0].header
    good = Trusted(150, real.hash(), real.committee_hash)
    for trusted, taken in ((good, True), (good._replace(committee_hash=bytes(32)), False)):
        net, node = world(past, snapshot_behind=50, trusted=trusted)
        net.run(5_000, level(past, node))
        assert (node.disk.base > 0) == taken


def test_a_final_block_that_was_discarded_above_a_seal_proves_nothing(past: Past) -> None:
    """Votes made it final, and with it the seal below; the chain goes on from the seal."""
    trail = Neighbor(Net(past.genesis, ORIGIN_MS), "home5", Disk(past.genesis)).core.catchup.trail()
    first, second = (decode_seal(raw) for raw in past.disk.seals(0))
    assert second.proof.tail, "the second seal has no finalization of its own"
    child, above = second.proof.tail[0], Proof((), second.proof.certificate)
    trail.follow(first)
    with pytest.raises(DecodeError, match="open epoch"):
        trail.follow(Seal(child, second.header, above, second.keys))
    assert not trail.is_final(child, above)
    with pytest.raises(DecodeError, match="not hold"):
        trail.take_head(Head(child, above))
    trail.follow(second)
    assert not trail.is_final(child, above)
    assert trail.is_final(second.header, second.proof)
    head = past.disk.head()
    assert head is not None
    trail.take_head(decode_head(head))
    assert trail.head is not None
    assert trail.head.height == BLOCKS


def test_a_seal_is_followed_only_in_its_turn_and_with_its_quorum(past: Past) -> None:
    trail = Neighbor(Net(past.genesis, ORIGIN_MS), "home5", Disk(past.genesis)).core.catchup.trail()
    first, second = (decode_seal(raw) for raw in past.disk.seals(0))
    few = past.chain.certificate
    assert few is not None
    for wrong in (
        second,
        first._replace(keys=second.keys),
        first._replace(parent=first.header),
        first._replace(parent=None),
        first._replace(proof=second.proof),
        first._replace(proof=Proof((), few)),
    ):
        with pytest.raises(DecodeError):
            trail.follow(wrong)
    trail.follow(first)
    assert trail.epoch == 1


def test_questions_that_nobody_asked_for_are_not_answered_with_work(past: Past) -> None:
    net, node = world(past)
    assert net.run(5_000, level(past, node))
    before = list(net.sent)
    other = next(peer for peer in net.nodes if peer != node.peer)
    manifest = past.disk.snapshot_manifest()
    answer = past.disk.range(1)
    assert manifest is not None
    assert answer is not None
    for message in (manifest, answer, Seals((), b""), SnapshotChunk(manifest.height, 0, b"x")):
        node.core.receive(other, message, net.now)
    node.drain()
    assert net.sent == before
    node.core.receive(other, SnapshotRequest(7, 3), net.now)
    node.core.receive(other, SnapshotRequest(0, 0), net.now)
    node.core.receive(other, RangeRequest(BLOCKS + 1), net.now)
    node.drain()
    given = [message for _, _, _, message in net.sent[len(before) :]]
    assert given[0] == SnapshotChunk(7, 3, b"")
    assert isinstance(given[1], Manifest)
    assert given[2] == Range((), (), b"")


@pytest.mark.parametrize("behind", [5_000, 50])
def test_over_a_recovery_epoch_ranges_lead(behind: int) -> None:
    """No seal proves it: the state does, so the node executes its way through, and may use a snapshot only before or after."""
    past = Past()
    past.chain.recover("home1", "home2", "home3")
    past.chain.grow(200)
    past.chain.seal("home3", 1)
    past.chain.grow(20)
    net, node = world(past, snapshot_behind=behind)
    assert net.run(20_000, level(past, node)), node.notes
    assert node.core.machine.epoch == 4
    assert not any("dropped" in note for note in node.notes), node.notes
    assert node.disk.base == 0 or behind == 50
    assert sum(isinstance(message, RangeRequest) for _, sender, _, message in net.sent if sender == node.peer) < 60


class Carded(Neighbor):
    """A neighbor with the ledger's real file, driven as the process does it."""

    disk: Store  # type: ignore[assignment]

    def commit(self, commits: list[Committed]) -> None:
        upkeep.commit(self.disk, commits, 100)

    def install(self, arrived: Arrived) -> tuple[Executed, Certificate | None]:
        return upkeep.begin_at(self.disk, arrived)

    def repair(self, height: int, raw: bytes) -> None:
        assert self.disk.repair(height, raw)


def carded(net: Net, past: Past, folder: Path, name: str, **options: object) -> Carded:
    folder.mkdir()
    store = Store.open(folder, past.genesis)
    return Carded(net, name, store, **options)  # type: ignore[arg-type]


def test_the_real_file_gives_and_takes_ranges_seals_and_snapshots(past: Past, tmp_path: Path) -> None:
    net = Net(past.genesis, past.chain.chain.final.header.time_ms)
    net.add(Neighbor(net, "home1", past.disk.copy()))
    first = carded(net, past, tmp_path / "first", "home2")
    net.add(first)
    assert net.run(10_000, level(past, first)), first.notes
    assert first.disk.seals(0) == past.disk.seals(0)
    assert first.disk.head() == past.disk.head()
    manifest = first.disk.snapshot_manifest()
    assert manifest is not None
    assert manifest.height == BLOCKS
    net.unlink(*net.nodes)
    second = carded(net, past, tmp_path / "second", "home5", snapshot_behind=50)
    net.links[second.peer] = set()
    net.nodes[second.peer] = second
    net.link(first.peer, second.peer)
    assert net.run(10_000, level(past, second)), second.notes
    assert second.disk.first_header() == BLOCKS
    third = carded(net, past, tmp_path / "third", "home3", snapshot_behind=50)
    net.links[third.peer] = set()
    net.nodes[third.peer] = third
    net.link(second.peer, third.peer)
    assert net.run(10_000, level(past, third)), third.notes
    assert third.disk.first_header() == BLOCKS, "who began at a snapshot gives it on"
    for each in (first, second, third):
        each.disk.close()
    reopened = Store.open(tmp_path / "second", past.genesis)
    assert reopened.final()[0].hash == past.chain.hashes[-1]
    assert reopened.final()[1] is not None
    assert reopened.seals(0) == past.disk.seals(0)
    reopened._database.run("UPDATE meta SET value = x'00' WHERE key = 'seal 1'")
    assert reopened.seals(0) == past.disk.seals(0)[:1], "what is damaged is not given"
    reopened.close()


def test_damaged_blocks_come_back_from_neighbors(past: Past, tmp_path: Path) -> None:
    net = Net(past.genesis, past.chain.chain.final.header.time_ms)
    net.add(Neighbor(net, "home1", past.disk.copy()))
    node = carded(net, past, tmp_path / "card", "home2")
    net.add(node)
    assert net.run(10_000, level(past, node)), node.notes
    heights = [7, 8, 9, 60, 61, 150]
    for height in heights:
        node.disk._database.run("UPDATE block SET body = zeroblob(200), header = zeroblob(90) WHERE height = ?", height)
    while node.disk._scrubbed < BLOCKS:
        node.disk.scrub()
    assert node.disk.damaged() == heights[::-1]
    assert node.disk.range(7) is None
    assert net.run(120_000, lambda: not node.disk.damaged())
    assert [node.disk.body(height) for height in heights] == [past.disk.blocks[height - 1][0] for height in heights]
    node.disk.close()


def forger(net: Net, sender: int, to: int, message: frames.AnyMessage) -> list[frames.AnyMessage]:
    """Shows a state of its own, whole and sound, under the finalization of a real block."""
    snapshot = net.nodes[sender].disk.snapshot
    assert snapshot is not None
    manifest, chunks = snapshot
    rows = check_rows(manifest, chunks)[1:]
    header = manifest.header._replace(state_root=root_of(rows))
    mine = cut(rows)
    match message:
        case Manifest():
            return [make_manifest(header, manifest.proof, manifest.peaks, mine)]
        case SnapshotChunk(height, part, _) if height:
            return [SnapshotChunk(height, part, mine[part])]
    return [message]


def test_a_state_that_no_quorum_signed_is_never_taken(past: Past) -> None:
    net, node = world(past, forger, forger, forger, forger, snapshot_behind=50)
    assert net.run(180_000, level(past, node)), node.notes
    assert node.disk.base == 0
    assert any("not proven final" in note for note in node.notes)
