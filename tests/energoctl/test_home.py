"""Every command against a real street of one home: a wallet and a node as processes, which agree with themselves."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ledger.base.crypto import ED25519
from ledger.base.files import load_genesis, load_key
from ledger.base.intents import Reading, transaction_bytes
from ledger.client import NodeClient
from tests.energoctl.calls import Caller
from tests.energoctl.homes import environment, running, until, write_home

DAY = "2021-03-24"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A running home whose four slots are over and settled."""
    folder = write_home(tmp_path_factory.mktemp("street") / "home1", origin_ms=time.time_ns() // 1_000_000 - 5_000)
    with running(folder) as socket:
        node = NodeClient(socket)
        until(lambda: node.get("/v1/status")["closed_slot"] == 3, "the last slot's end")
        yield folder


@pytest.fixture
def call(home: Path, capsys: pytest.CaptureFixture[str]) -> Caller:
    return Caller(capsys, "--node", str(home / "run" / "node.sock"))


def test_status(call: Caller) -> None:
    found = call("status", "--json")
    assert found.status == 0
    assert found.err == ""
    assert {"name": "home1", "street": "Teststreet", "committee": 1, "quorum": 1, "waiting_for": 0}.items() <= (
        found.json.items()
    )
    table = call("status")
    assert "home                  home1\n" in table.out
    assert "in step" in table.out
    assert "the last (3) is over, 3 is the last that is settled" in table.out


def test_lists_that_are_empty_say_so(call: Caller) -> None:
    assert call("peers").out == "no neighbor is linked now\n"
    assert call("peers", "--json").json == []
    assert call("orders").out == "no order is at rest\n"
    assert call("trades").out == "nothing has been traded on the exchange yet\n"
    assert call("trades", "3", "--json").json == []


def test_slots_and_blocks(call: Caller) -> None:
    slots = call("slots", "2", "--json").json
    assert [slot["slot"] for slot in slots] == [3, 2]
    assert (slots[0]["sharing"], slots[0]["pricing"], slots[0]["rounds"]) == ("1.0000", "uniform", 1)
    table = call("slots", "2")
    assert f"{DAY}T00:45:00Z" in table.out
    assert "home1 receives" in table.out
    assert "shared" in table.out
    blocks = call("--json", "blocks", "3").json
    assert [block["height"] for block in blocks] == [blocks[0]["height"] - step for step in range(3)]
    assert blocks[0]["hash"] in call("blocks").out


def test_generators_and_pools(call: Caller) -> None:
    assert call("generators", "--json").json[0]["shares"] == {"home1": 10_000}
    assert "home1 10000" in call("generators").out
    assert call("pools", "--json").json[0]["capacity_wh"] == 20_000
    assert "pool" in call("pools").out


def test_balance_of_this_home_and_of_others(call: Caller) -> None:
    own = call("balance", "--json").json
    assert own["name"] == "home1"
    assert call("balance", own["account"], "--json").json == own
    assert call("balance", "pool:pool", "--json").json["name"] == "pool:pool"
    table = call("balance")
    assert "GEN:school" in table.out
    assert "buys below" in table.out
    unknown = call("balance", "nobody")
    assert (unknown.status, unknown.err) == (1, "energoctl balance: no account of this street is called nobody\n")


def test_readings(call: Caller, home: Path) -> None:
    genesis = load_genesis(home / "genesis.toml")
    seed = load_key(home / "meter" / "meter.key")
    raw = transaction_bytes(
        Reading("home1", bytes(32), 3, 0, 1_000, 200, None, 0),
        chain_id=genesis.chain_id,
        sender=ED25519.public(seed),
        nonce=1,
        valid_until_height=0,
        sign=lambda message: ED25519.sign(seed, message),
    )
    node = NodeClient(home / "run" / "node.sock")
    assert node.wait(node.submit(raw))["status"] == "final"
    found = call("readings", "1", "--json").json
    assert [(r["device"], r["seq"], r["import_wh"], r["status"]) for r in found] == [("home1", 1, 1_000, "final")]
    assert "connection" in call("readings").out


def test_a_transfer_is_signed_final_and_receipted(call: Caller) -> None:
    before = call("balance", "treasury", "--json").json["balances"]
    done = call("transfer", "treasury", "2.5", "--json")
    assert done.status == 0
    assert (done.json["status"], done.json["code"]) == ("final", "")
    assert done.json["height"] > 0
    after = call("balance", "treasury", "--json").json["balances"]
    assert before == []
    assert after == [{"asset": "CASH", "free": "2.50000000", "escrowed": "0.00000000"}]
    address = call("balance", "operator", "--json").json["account"]
    table = call("transfer", address, "7", "GEN:school")
    assert table.status == 0
    assert f"done    7 GEN:school to {address}\n" in table.out
    receipt = call("receipt", done.json["id"], "--json").json
    assert receipt == done.json
    assert "status  final" in call("receipt", done.json["id"]).out


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("transfer", "grid", "1000"), "insufficient_funds", "are less than"),
        (("transfer", "home1", "1"), "same_account", "payer and payee are the same account"),
        (("transfer", "grid", "1", "SHELLS"), "no_such_asset", "this street has no asset SHELLS"),
        (("order", "sell", "WATT:lake", "1", "--price", "0.1"), "no_such_instrument", "there is no book for WATT:lake"),
        (("order", "buy", "WATT:pool", "30000", "--price", "0.1"), "no_room", "TSL"),
        (("order", "cancel", "999"), "no_such_order", "the account has no resting order 999"),
        (("deposit", "lake", "--up-to", "5"), "no_such_pool", "this street has no pool called lake"),
        (("redeem", "pool", "5"), "insufficient_watt", "the account holds 0 Wh free in pool"),
    ],
)
def test_what_the_ledger_refuses_is_status_1_in_its_own_words(
    arguments: tuple[str, ...], code: str, words: str, call: Caller
) -> None:
    refused = call(*arguments, "--json")
    assert refused.status == 1
    assert refused.err.count("\n") == 1
    error = refused.json["error"]
    assert error["code"] == code
    assert words in error["message"]
    assert error["message"].startswith("refused: ")
    assert refused.json["receipt"]["status"] == "refused"


def test_orders_rest_are_listed_and_canceled(call: Caller) -> None:
    placed = call("order", "buy", "WATT:pool", "1000", "--price", "0.16", "--json").json
    order_id = placed["events"][0]["rests"]["id"]
    listed = call("orders", "--json").json
    assert [(o["id"], o["side"], o["price"], o["quantity_wh"], o["mine"]) for o in listed] == [
        (order_id, "buy", "0.16", 1_000, True)
    ]
    assert "WATT:pool" in call("orders").out
    taken = call("order", "cancel", str(order_id))
    assert taken.status == 0
    assert f"canceled  id {order_id}, quantity_wh 1000" in taken.out
    assert call("orders", "--json").json == []


def test_an_immediate_order_never_rests(call: Caller) -> None:
    done = call("order", "buy", "WATT:pool", "500", "--price", "0.10", "--ioc", "--json").json
    assert done["events"][0]["canceled"]["quantity_wh"] == 500
    assert call("orders", "--json").json == []


def test_limits_change_one_by_one(call: Caller) -> None:
    def limits() -> object:
        return call("balance", "--json").json["limits"]

    assert call("limits", "set", "--buy-below", "0.25", "--sell-above", "0.10").status == 0
    assert limits() == {"buy_below": "0.25", "sell_above": "0.10"}
    assert "buy below 0.21, sell above 0.10" in call("limits", "set", "--buy-below", "0.21").out
    assert call("limits", "set", "--sell-above", "none", "--json").json["status"] == "final"
    assert limits() == {"buy_below": "0.21", "sell_above": None}
    assert "0.21" in call("balance").out


def test_commitments_stand_until_ended(call: Caller) -> None:
    assert call("deposit", "pool", "--up-to", "750").status == 0
    assert call("pools", "--json").json[0]["commitments"] == {"home1": 750}
    assert call("deposit", "pool", "--up-to", "0").status == 0
    assert call("pools", "--json").json[0]["commitments"] == {}
    assert call("redeem", "pool", "0", "--json").json["status"] == "final"


def test_without_waiting_the_receipt_is_asked_for_later(call: Caller) -> None:
    sent = call("transfer", "grid", "0.01", "--no-wait", "--json").json
    assert sent["status"] == "pending"
    until(lambda: call("receipt", sent["id"], "--json").json["status"] == "final", "the receipt")
    unknown = call("receipt", "00" * 32, "--json")
    assert (unknown.status, unknown.json["error"]["code"]) == (1, "unknown")


def test_the_wallet_can_be_named_and_a_missing_one_is_an_error(
    call: Caller, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ENERGO_WALLET", str(home / "run" / "wallet" / "agent.sock"))
    refused = call("transfer", "grid", "1", "--json")
    assert (refused.status, refused.json["error"]["code"]) == (1, "not_allowed")
    owner = str(home / "run" / "wallet" / "owner.sock")
    assert call("transfer", "grid", "0.01", "--wallet", owner).status == 0
    missing = call("transfer", "grid", "1", "--wallet", str(home / "none.sock"), "--json")
    assert (missing.status, missing.json["error"]["code"]) == (1, "no_wallet")


def test_the_ledger_verifies_from_its_files_while_the_node_runs(call: Caller, home: Path) -> None:
    height = call("status", "--json").json["height"]
    plain = call("ledger", "verify", "--json")
    assert plain.status == 0
    assert plain.json["ok"] is True
    assert plain.json["height"] >= height
    assert plain.json["first_bad"] is None
    for data in (home, home / "node"):
        again = call("ledger", "verify", "--data", str(data), "--reference", "--json")
        assert again.json["state_root"] == plain.json["state_root"]
    assert call("ledger", "verify", "--data", str(home)).out.startswith("ok: ")


def test_the_panel_prints_its_screens(home: Path) -> None:
    command = [sys.executable, "-m", "energoctl.main", "panel"]
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        env=environment() | {"ENERGO_NODE": str(home / "run" / "view.sock")},
    )
    assert process.stdout
    lines = [process.stdout.readline() for _ in range(4)]
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == 0
    process.stdout.close()
    assert lines[0].endswith("|at 00:45 - 01:00|\n")
    assert lines[2].startswith("|EUR ")
