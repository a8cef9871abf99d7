"""A home with a new node joins a street that is 200 blocks and an epoch ahead: real processes, a snapshot between them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ledger.base.crypto import ED25519
from ledger.base.files import load_genesis
from ledger.base.intents import Transfer, transaction_bytes
from ledger.node import upkeep
from ledger.node.store import Store
from ledger.node.verify import verify
from ledger.simplex.effects import Committed
from tests.ledger.finals import FinalChain
from tests.ledger.streets import MATCHERS, seed_of

from .test_process import Home

BLOCKS = 200


@pytest.fixture
def homes(tmp_path: Path) -> Iterator[list[Home]]:
    made = [Home(tmp_path / name, name) for name in ("home1", "home2")]
    yield made
    for home in made:
        home.kill()


def test_a_new_node_begins_at_a_neighbors_snapshot_and_takes_part(homes: list[Home]) -> None:
    old, new = homes
    genesis = load_genesis(old.folder / "genesis.toml")
    store = Store.open(old.folder / "node", genesis)

    def keep(committed: Committed) -> None:
        upkeep.commit(store, [committed], 100)

    chain = FinalChain(genesis, keep, scheme=ED25519)
    chain.grow(30)
    chain.seal("home2", 1)  # the new home is off: the other goes on alone
    chain.grow(BLOCKS - chain.height)
    store.close()
    port = old.up()
    new.network = f'zeroconf = false\npeers = ["127.0.0.1:{port}"]\nredial_ms_max = 200'
    new.configure("node", f"{new.node_toml()}[storage]\nsnapshot_behind = 50\n")
    new.until(new.start("wallet"), "ready")
    node = new.start("node")
    assert "block 200" in new.until(node, "this node goes on from block")
    seed = seed_of("home2 owner")
    paid = transaction_bytes(
        Transfer(genesis.accounts["home1"], "CASH", 7),
        chain_id=genesis.chain_id,
        sender=ED25519.public(seed),
        nonce=chain.nonce("home2") + 1,
        valid_until_height=BLOCKS + 500,
        sign=lambda message: ED25519.sign(seed, message),
    )
    transaction_id = new.client.submit(paid)
    for home in homes:
        status = home.client.get(f"/v1/transactions/{transaction_id}?wait_ms=20000")
        assert status["status"] == "final"
        assert status["height"] > BLOCKS
    assert new.client.get("/v1/status")["epoch"] == 1
    new.stop(node)
    result = verify(new.folder / "node", genesis, MATCHERS)
    assert (result["ok"], result["from_height"], result["replayed"]) == (True, BLOCKS, False)
