"""What a store does over the years: scrub, repair, prune, and begin anew at a snapshot."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

import pytest

from ledger.base.errors import DiskFailed
from ledger.base.genesis import Genesis
from ledger.base.intents import Transfer
from ledger.gossip.seals import Head, Proof, decode_head, decode_proof
from ledger.node import found, upkeep
from ledger.node.database import PAGE_BYTES
from ledger.node.recovery import open_sound
from ledger.node.store import FILE_NAME, DamagedRow, DamagedStore, Retention, Store
from ledger.node.upkeep import Ballast, await_room
from ledger.node.verify import verify
from ledger.simplex.effects import Committed
from ledger.state.snapshot import Assembly
from tests.ledger.chains import Chain, quick_street
from tests.ledger.streets import MATCHERS

DAY_MS = 86_400_000


@pytest.fixture(scope="module")
def genesis() -> Genesis:
    return quick_street(3)


@pytest.fixture(scope="module")
def blocks(genesis: Genesis) -> list[Committed]:
    return list(Chain(genesis).day(12))


@pytest.fixture
def store(tmp_path: Path, genesis: Genesis, blocks: list[Committed]) -> Store:
    made = Store.open(tmp_path, genesis)
    made.commit_all(blocks[:20])
    made.commit_all(blocks[20:])
    return made


def raw_of(committed: Committed) -> bytes:
    assert committed.executed.block is not None
    return committed.executed.block.encoded


def test_a_damaged_block_is_found_by_the_scrub_not_given_and_repaired(store: Store, blocks: list[Committed]) -> None:
    block = blocks[6].executed.block
    assert block is not None
    store._database.run("UPDATE block SET body = zeroblob(200) WHERE height = 7")
    store._database.run("UPDATE block SET header = zeroblob(200) WHERE height = 9")
    assert store.damaged() == []
    assert store.scrub() == len(blocks)
    assert store.damaged() == [9, 7]
    with pytest.raises(DamagedRow, match="block 7 on disk is damaged") as said:
        store.body(7)
    assert said.value.height == 7
    assert store.block(block.hash) is None
    answer = store.range(5)
    assert answer is not None
    assert len(answer.blocks) == 2
    assert store.range(7) is None
    assert not store.repair(7, raw_of(blocks[7]))
    assert not store.repair(7, b"no block at all")
    assert store.repair(9, raw_of(blocks[8]))
    assert store.repair(7, raw_of(blocks[6]))
    assert store.damaged() == []
    assert store.block(block.hash) == block
    assert tuple(store.events(9)) == blocks[8].executed.events
    assert store.scrub() == len(blocks)
    assert store.damaged() == []
    store.close()


def test_a_block_that_is_gone_is_damage_and_lists_of_hashes_are_made_anew(
    store: Store, blocks: list[Committed], monkeypatch: pytest.MonkeyPatch
) -> None:
    store._database.run("DELETE FROM block WHERE height = 12")
    with pytest.raises(DamagedRow):
        store.body(12)
    assert store.repair(12, raw_of(blocks[11]))
    assert store.body(12) == blocks[11].executed.block
    monkeypatch.setattr(found, "LIST_BLOCKS", 5)
    store._mend()
    assert store._database.one("SELECT count(*) FROM found") == (found.PARTS * (len(blocks) // 5),)
    for spoil in ("DELETE FROM found WHERE part = 3", "UPDATE found SET entries = zeroblob(10) WHERE from_height = 11"):
        store._database.run(spoil)
        for committed in blocks:
            block = committed.executed.block
            assert block is not None
            assert store.block(block.hash) == block
        assert store.height_of_transaction(bytes(32)) is None
        assert store._database.one("SELECT count(*) FROM found") == (found.PARTS * (len(blocks) // 5),)
    store.close()


def test_a_damaged_state_stops_the_node_and_the_next_start_sets_the_file_aside(
    store: Store, tmp_path: Path, genesis: Genesis
) -> None:
    store.write_snapshot(b"proof")
    store._database.run("UPDATE state_row SET row = zeroblob(3) WHERE key = (SELECT max(key) FROM state_row)")
    with pytest.raises(DamagedStore, match="set aside"):
        store.scrub()
    store.close()
    notes: list[str] = []
    again = open_sound(tmp_path, genesis, note=notes.append)
    assert "kept as ledger.damaged-1" in notes[0]
    assert "own snapshot of block 49" in notes[1]
    assert again.height() == 49
    assert (tmp_path / "ledger.damaged-1").exists()
    again.close()
    for number in range(2, 6):
        (tmp_path / FILE_NAME).write_bytes(b"x" * 9_000)
        open_sound(tmp_path, genesis, note=notes.append).close()
        assert f"kept as ledger.damaged-{number}" in notes[-2]
    assert sorted(path.name for path in tmp_path.glob("ledger.damaged-?")) == ["ledger.damaged-4", "ledger.damaged-5"]


def test_a_snapshot_begins_another_homes_ledger_and_goes_on(
    store: Store, tmp_path: Path, genesis: Genesis, blocks: list[Committed]
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    first = Store.open(tmp_path / "other", genesis)
    first.commit_all(blocks[:30])
    assert first.write_snapshot(b"early") == 30
    first.commit_all(blocks[30:40])
    certificate = blocks[39].certificate
    assert certificate is not None
    proof = Proof((), certificate).encoded()
    assert first.write_snapshot(proof) == 40
    manifest = first.snapshot_manifest()
    assert manifest is not None
    assert (manifest.height, manifest.proof) == (40, proof)
    assembly = Assembly(manifest)
    for index in assembly.missing():
        chunk = first.snapshot_chunk(40, index)
        assert chunk is not None
        assembly.add(index, chunk)
    third = tmp_path / "third"
    third.mkdir()
    fresh = Store.open(third, genesis)
    fresh.commit_all(blocks[:3])
    final, found_certificate = fresh.install_snapshot(manifest, assembly.rows(), [(0, b"of epoch 0")])
    assert (fresh.seals(0), fresh.seals(1)) == ([b"of epoch 0"], [])
    head = fresh.head()
    assert head is not None
    assert decode_head(head) == Head(manifest.header, Proof((), certificate))
    assert (final.hash, found_certificate) == (blocks[39].executed.hash, certificate)
    fresh.commit_all(blocks[40:])
    for again in (False, True):
        reader = _reopened(fresh, third, genesis) if again else fresh
        assert reader.height() == 49
        assert reader.final()[0].state.root() == blocks[-1].executed.header.state_root
        assert reader.header(39) is None
        assert reader.header(40) == blocks[39].executed.header
        assert reader.range(30) is None
        assert reader.range(41) is not None
        assert reader.body(40) is None
        assert reader.height_of_transaction(bytes(32)) is None
        assert {row.height for row in reader.readings(1_000)} <= set(range(41, 50))
        assert [height for height, _ in reader.slots(100)] == [height for height, _ in store.slots(100) if height > 40]
        assert reader.scrub() == 10
        assert reader.damaged() == []
    reader.close()
    result = verify(third, genesis, MATCHERS)
    assert (result["ok"], result["from_height"], result["replayed"]) == (True, 40, False)
    (other / "snapshot-40").write_bytes((other / "snapshot-40").read_bytes()[:-1])
    assert first.snapshot_chunk(40, len(manifest.hashes) - 1) is None
    older = first.snapshot_manifest()
    assert older is not None
    assert older.height == 30
    first.close()
    store.close()


def _reopened(store: Store, folder: Path, genesis: Genesis) -> Store:
    store.close()
    return Store.open(folder, genesis)


def test_pruning_frees_the_card_and_the_file_stays_flat(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    genesis = quick_street(3, slot_count=1)
    monkeypatch.setattr(found, "LIST_BLOCKS", 20)
    monkeypatch.setattr("ledger.node.database.FREE_PAGES_KEPT", 16)
    chain = Chain(genesis)
    store = Store.open(tmp_path, genesis, retention=Retention(2, 1))
    sizes: list[int] = []
    blocks: list[Committed] = []
    for day in range(12):  # of block time; nothing here waits
        for at in range(40):
            for home in ("home1", "home2", "home3"):
                chain.ask(home, Transfer(genesis.accounts["home2"], "CASH", 1))
            blocks.append(chain.finalize(1_000_000 + day * DAY_MS + at * 1_000))
            store.commit(blocks[-1])
        while store.prune():
            pass
        store._database.checkpoint()
        sizes.append(store._database.one("PRAGMA page_count")[0])
    assert (sizes[-1] - sizes[5]) * PAGE_BYTES < 6 * 40 * 450  # headers are kept for ever, nothing else
    assert store._lines.bodies >= 8 * 40
    assert store._lines.events > store._lines.bodies
    old = blocks[4].executed.block
    assert old is not None
    assert store.body(5) is None
    assert store.block(old.hash) is None
    assert store.events(5) == []
    assert store.header(5) == old.header
    assert store.range(5) is None
    new = blocks[-1].executed.block
    assert new is not None
    assert store.block(new.hash) == new
    assert store.events(480) == list(blocks[-1].executed.events)
    store.scrub()
    assert store.damaged() == []
    full = store._database.one("PRAGMA page_count")[0]
    store.retention = Retention(0, 0)
    while store.prune():
        pass
    for _ in range(20):
        store.prune()
    assert store._database.one("PRAGMA page_count")[0] < full
    again = _reopened(store, tmp_path, genesis)
    assert again.final()[0].hash == new.hash
    again.close()
    result = verify(tmp_path, genesis, MATCHERS)
    assert (result["ok"], result["from_height"], result["replayed"]) == (True, 1, False)


def test_no_reader_keeps_the_log_from_being_cut_back_for_ever(store: Store, tmp_path: Path, genesis: Genesis) -> None:
    reader = Store.open(tmp_path, genesis, read_only=True)
    assert reader.height() == store.height()
    store._database.checkpoint()
    reader.close()
    store.close()
    assert not (tmp_path / f"{FILE_NAME}-wal").exists()


def test_nothing_writes_behind_the_stores_back(tmp_path: Path, genesis: Genesis) -> None:
    store = Store.open(tmp_path, genesis)
    asked = {
        name: store._database.one(f"PRAGMA {name}")[0] for name in ("synchronous", "wal_autocheckpoint", "auto_vacuum")
    }
    assert asked == {"synchronous": 2, "wal_autocheckpoint": 0, "auto_vacuum": 2}
    assert store._database.one("PRAGMA journal_mode")[0] in ("wal", b"wal")
    store.close()
    with sqlite3.connect(tmp_path / FILE_NAME) as file:
        assert file.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    file.close()


def test_ballast_takes_room_once_and_gives_it_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ballast = Ballast(tmp_path, 1 << 20)
    assert ballast.hold()
    assert ballast.hold()
    assert (tmp_path / "ballast").stat().st_blocks * 512 >= 1 << 20
    assert ballast.free()
    assert not ballast.free()
    assert not Ballast(tmp_path, 1 << 60).hold()
    assert not Ballast(tmp_path, 0).hold()
    assert not (tmp_path / "ballast").exists()
    await_room(tmp_path, 1)
    with pytest.raises(DiskFailed, match="goes on by itself"):
        await_room(tmp_path, 1 << 60)


def test_a_snapshot_is_written_with_its_proof_where_the_height_says_so(
    tmp_path: Path, genesis: Genesis, blocks: list[Committed]
) -> None:
    store = Store.open(tmp_path, genesis)
    bare = next(place for place in range(10, 40) if blocks[place].certificate is None)
    upkeep.commit(store, blocks[: bare + 3], bare + 1)  # in the middle of what becomes final at once
    manifest = store.snapshot_manifest()
    assert manifest is not None
    assert (manifest.height, store.height()) == (bare + 1, bare + 3)
    above = blocks[bare + 1]
    assert above.certificate is not None
    assert decode_proof(manifest.proof) == Proof((above.executed.header,), above.certificate)
    upkeep.commit(store, blocks[bare + 3 :], 1_000_000)
    assert store.snapshot_manifest() == manifest
    store.close()


def test_upkeep_says_damage_once(store: Store, monkeypatch: pytest.MonkeyPatch, blocks: list[Committed]) -> None:
    monkeypatch.setattr(upkeep, "SCRUB_S", 0.0)
    monkeypatch.setattr(upkeep, "PRUNE_S", 0.0)
    notes: list[str] = []
    store._database.run("UPDATE block SET body = zeroblob(200) WHERE height = 7")

    async def some_turns() -> None:
        task = asyncio.create_task(upkeep.keep_up(store, notes.append))
        while len(notes) < 1:
            await asyncio.sleep(0)
        for _ in range(10):
            await asyncio.sleep(0)
        task.cancel()

    asyncio.run(asyncio.wait_for(some_turns(), 20))
    assert notes == ["1 blocks on disk are damaged, the newest 7; they are fetched from neighbors"]
    store.close()
