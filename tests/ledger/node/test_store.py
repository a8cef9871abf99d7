"""What is final on disk: read back as written, damage noticed, and `ledger verify` names the first bad block."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

import matcher_c
from ledger.base.crypto import ED25519
from ledger.base.errors import ConfigError, DiskFailed
from ledger.base.genesis import Genesis
from ledger.base.intents import Commit, PlaceOrder, Transfer, decode_transaction
from ledger.base.votes import Certificate, Kind, Vote, block_time_ms, certificate_of, vote_message
from ledger.node.database import seal
from ledger.node.store import DamagedStore, Store
from ledger.node.verify import verify
from ledger.simplex.effects import Committed
from ledger.state.events import Receipt, SlotClosed
from ledger.state.origin import genesis_block
from ledger.state.transition import Context, Draft, Executed, build_block
from matcher_c import reference
from tests.ledger.streets import MATCHERS, ORIGIN_MS, Ledger, seed_of, street

REFERENCE = type(MATCHERS)(reference.clear_arrays, reference.OrderBook)
HOMES = 2


def certificate(genesis: Genesis, kind: Kind, executed: Executed, time_ms: int) -> Certificate:
    """A real certificate of every member."""
    votes = []
    for home in genesis.homes:
        signer = genesis.committee.keys.index(home.node_key)
        message = vote_message(genesis.chain_id, kind, 0, executed.header.view, executed.hash, time_ms, signer)
        signature = ED25519.sign(seed_of(f"{home.name} node"), message)
        votes.append(Vote(kind, 0, executed.header.view, executed.hash, time_ms, signer, signature))
    return certificate_of(votes)


def fill(store: Store, genesis: Genesis) -> Executed:
    """Two slots of a street with transfers and an order, block by block as a node would commit them."""
    driver = Ledger(genesis)
    tip = genesis_block(genesis)
    context = Context(genesis, MATCHERS)
    driver.ask("home1", Transfer(genesis.accounts["home2"], "CASH", 7))
    driver.ask("home1", Commit("pool", 300))
    driver.ask("home2", PlaceOrder("WATT:pool", 0, 20_000, 100))
    link: Certificate | None = None
    times = [ORIGIN_MS + 10, ORIGIN_MS + 20, driver.end_of(0) + 30, driver.end_of(0) + 60, driver.end_of(1) + 30]
    for number, vote_ms in enumerate([*times, driver.end_of(1) + 90], 1):
        if number == 4:
            for device in ("home1", "home2", "school", "pool"):
                driver.read(device, 0, 400, 900, stored_wh=0 if device == "pool" else None)
        executed = build_block(
            context,
            tip,
            [decode_transaction(raw) for raw in driver._pending],
            Draft(
                0,
                number,
                number % HOMES,
                block_time_ms(tip.header.time_ms, link, genesis.committee),
                b"" if link is None else link.encoded,
            ),
            bytes_max=60_000,
        )
        assert executed.block is not None
        driver._pending = [raw for raw in driver._pending if raw not in executed.block.transactions]
        link = certificate(genesis, Kind.NOTARIZE, executed, vote_ms)
        final = certificate(genesis, Kind.FINALIZE, executed, vote_ms) if number != 3 else None
        changes = tip.state.settle(executed.state)
        tip = Executed(executed.header, executed.hash, tip.state, executed.peaks, executed.events, executed.block)
        store.commit(Committed(tip, changes, final))
    return tip


@pytest.fixture
def genesis() -> Genesis:
    return street(HOMES, slot_count=2)


@pytest.fixture
def folder(tmp_path: Path, genesis: Genesis) -> Path:
    store = Store.open(tmp_path, genesis)
    fill(store, genesis)
    store.close()
    return tmp_path


def test_a_restart_finds_the_same_block_state_and_certificate(folder: Path, genesis: Genesis) -> None:
    store = Store.open(folder, genesis)
    final, certified = store.final()
    assert final.header.height == 6
    assert final.state.root() == final.header.state_root
    assert certified is not None
    assert certified.block_hash == final.hash
    assert store.slots(5)[0][1].slot == 0
    receipts = [event for height in range(1, 7) for event in store.events(height) if isinstance(event, Receipt)]
    assert [store.height_of_transaction(r.transaction_id) for r in receipts if r.code == ""] != []
    assert len(store.readings(10)) == 4
    store.close()


def test_ranges_end_with_a_finalization_that_covers_them(folder: Path, genesis: Genesis) -> None:
    store = Store.open(folder, genesis)
    answer = store.range(2)
    assert answer is not None
    assert len(answer.blocks) == 5
    assert store.range(99) is None
    block = store.recent_blocks(1)[0][0]
    assert store.block(block.hash) == block
    store.close()


@pytest.mark.parametrize("matchers", [MATCHERS, REFERENCE], ids=["C", "reference"])
def test_a_sound_ledger_verifies_with_either_matcher(folder: Path, genesis: Genesis, matchers: type) -> None:
    result = verify(folder, genesis, matchers)  # type: ignore[arg-type]
    assert result["ok"], result
    assert (result["height"], result["first_bad"]) == (6, None)
    assert matcher_c.clear_arrays is not reference.clear_arrays


@pytest.mark.parametrize("height", [1, 2, 4, 6])
@pytest.mark.parametrize("column", ["body", "events", "certificate"])
def test_a_flipped_byte_is_found_at_its_block(folder: Path, genesis: Genesis, height: int, column: str) -> None:
    database = sqlite3.connect(folder / "ledger.sqlite")
    (raw,) = database.execute(f"SELECT {column} FROM block WHERE height = ?", (height,)).fetchone()
    for at in (len(raw) // 3, len(raw) - 1):
        flipped = bytearray(raw)
        flipped[at] ^= 4
        database.execute(f"UPDATE block SET {column} = ? WHERE height = ?", (bytes(flipped), height))
        database.commit()
        result = verify(folder, genesis, MATCHERS)
        assert not result["ok"]
        assert result["first_bad"]["height"] == height
    database.close()


def test_a_changed_balance_is_found_by_verify_and_at_start(folder: Path, genesis: Genesis) -> None:
    database = sqlite3.connect(folder / "ledger.sqlite")
    key, row = database.execute("SELECT key, row FROM state_row WHERE length(row) > 4 LIMIT 1").fetchone()
    database.execute("UPDATE state_row SET row = ? WHERE key = ?", (row[:-1] + bytes([row[-1] ^ 1]), key))
    database.commit()
    database.close()
    assert not verify(folder, genesis, MATCHERS)["ok"]
    store = Store.open(folder, genesis)
    with pytest.raises(DamagedStore, match="set aside"):
        store.final()
    store.close()


def test_a_block_that_is_missing_is_named(folder: Path, genesis: Genesis) -> None:
    database = sqlite3.connect(folder / "ledger.sqlite")
    database.execute("DELETE FROM block WHERE height = 3")
    database.commit()
    database.close()
    assert verify(folder, genesis, MATCHERS)["first_bad"] == {"height": 3, "what": "the block is missing"}


def test_another_streets_or_versions_file_is_refused(folder: Path, genesis: Genesis) -> None:
    with pytest.raises(ConfigError, match="another street"):
        Store.open(folder, street(3))
    database = sqlite3.connect(folder / "ledger.sqlite")
    database.execute("UPDATE meta SET value = X'3939', seal = ? WHERE key = 'version'", (seal("version", b"99"),))
    database.commit()
    database.close()
    with pytest.raises(ConfigError, match="another version"):
        Store.open(folder, genesis)


def test_a_file_that_is_no_ledger_is_refused(tmp_path: Path, genesis: Genesis) -> None:
    (tmp_path / "ledger.sqlite").write_bytes(b"not a database at all, just text" * 50)
    with pytest.raises(DamagedStore, match="fetched anew from neighbors"):
        Store.open(tmp_path, genesis)
    with pytest.raises(ConfigError, match="there is no ledger here"):
        Store.open(tmp_path / "nowhere", genesis, read_only=True)


def test_a_full_disk_keeps_the_last_block_whole(tmp_path: Path, genesis: Genesis) -> None:
    store = Store.open(tmp_path, genesis)
    pages = store._database.one("PRAGMA page_count")[0]
    store._database.run(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(DiskFailed, match="the disk is full"):
        fill(store, genesis)
    height = store.height()
    store.close()
    again = Store.open(tmp_path, genesis)
    final, _ = again.final()
    assert final.header.height == height < 6
    assert not any(isinstance(event, SlotClosed) for event in again.events(height + 1))
    again.close()
