"""What a healthy node never does: numbers taken by others, answers that do not come, transactions that vanish."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from energoctl import signing
from ledger.base import codec
from ledger.base.address import format_address
from ledger.base.crypto import account_of_key
from ledger.client import receive_message, send_message
from tests.energoctl.calls import Caller
from tests.energoctl.homes import StandIn, stand_in

OWNER = bytes(range(32))
ACCOUNT = format_address(account_of_key(OWNER))
ID = "cd" * 32
STATUS = {"expiry_height": 100, "waiting_for": 2, "name": "home1"}
BALANCE = {"account": ACCOUNT, "nonce_next": 4, "limits": {"buy_below": None, "sell_above": None}}
FINAL = {"id": ID, "status": "final", "height": 9, "code": "", "message": "", "events": []}


class FakeWallet:
    """Signs everything with nonsense and remembers it."""

    def __init__(self, path: Path) -> None:
        self.asked: list[Any] = []
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            link, _ = self._listener.accept()
            with link:
                request = codec.decode(receive_message(link), bytes_max=65_536)
                if request == ["stop"]:
                    return
                self.asked.append(request)
                keys = (OWNER, OWNER, OWNER)
                send_message(link, codec.encode((True, keys if request == ["keys"] else b"signed")))

    def close(self, path: Path) -> None:
        with socket.socket(socket.AF_UNIX) as link:
            link.connect(str(path))
            send_message(link, codec.encode(("stop",)))
        self._thread.join()
        self._listener.close()


@contextmanager
def street(folder: Path, **answers: tuple[int, Any]) -> Iterator[tuple[StandIn, FakeWallet]]:
    (folder / "run" / "wallet").mkdir(parents=True)
    wallet_path = folder / "run" / "wallet" / "owner.sock"
    wallet = FakeWallet(wallet_path)
    served = {
        "/v1/status": (200, STATUS),
        "/v1/balance": (200, BALANCE),
        "/v1/transactions": (200, {"id": ID, "status": "pending"}),
        f"/v1/transactions/{ID}": (200, FINAL),
    } | {f"/v1/{name}" if not name.startswith("tx") else f"/v1/transactions/{ID}": a for name, a in answers.items()}
    try:
        with stand_in(folder / "run" / "node.sock", served) as node:
            yield node, wallet
    finally:
        wallet.close(wallet_path)


@pytest.fixture
def call(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Caller:
    return Caller(capsys, "--node", str(tmp_path / "run" / "node.sock"), "--json")


def error(code: str, message: str = "words") -> dict[str, Any]:
    return {"error": {"code": code, "message": message}}


def test_the_wallet_signs_the_next_number_and_expiry_of_its_own_account(call: Caller, tmp_path: Path) -> None:
    with street(tmp_path) as (node, wallet):
        assert call("deposit", "pool", "--up-to", "5").json == FINAL
    assert wallet.asked == [["keys"], ["transaction", 5, ["pool", 5], 4, 100]]
    assert node.posted == [{"transaction": b"signed".hex()}]


@pytest.mark.parametrize("code", ["known", "gap"])
def test_a_number_that_others_take_is_tried_a_few_times(code: str, call: Caller, tmp_path: Path) -> None:
    with street(tmp_path, transactions=(409, error(code, "another one waits"))) as (node, _):
        refused = call("deposit", "pool", "--up-to", "5")
    assert (refused.status, refused.json["error"]["code"]) == (1, code)
    assert len(node.posted) == signing.NUMBER_TRIES


def test_another_refusal_of_the_node_is_final(call: Caller, tmp_path: Path) -> None:
    with street(tmp_path, transactions=(409, error("full", "too much waits already"))) as (node, _):
        refused = call("transfer", ACCOUNT, "1")
    assert (refused.status, refused.err) == (1, "energoctl transfer: too much waits already\n")
    assert len(node.posted) == 1


def test_an_answer_that_never_came_is_not_sent_twice(call: Caller, tmp_path: Path) -> None:
    with street(tmp_path, transactions=(200, b"half an ans")) as (node, _):
        lost = call("deposit", "pool", "--up-to", "5")
    assert lost.status == 3
    assert "ask it later: energoctl receipt " in lost.err
    assert len(node.posted) == 1


def test_a_street_without_quorum_is_named(call: Caller, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signing, "FINAL_S", 0.05)
    with street(tmp_path, tx=(200, FINAL | {"status": "pending", "height": None})):
        waiting = call("deposit", "pool", "--up-to", "5")
    assert (waiting.status, waiting.json["error"]["code"], waiting.json["id"]) == (1, "not_final", ID)
    assert "the street waits for 2 more homes" in waiting.err
    assert f"energoctl receipt {ID}" in waiting.err


def test_a_dropped_transaction_is_said(call: Caller, tmp_path: Path) -> None:
    with street(tmp_path, tx=(200, FINAL | {"status": "unknown", "height": None})):
        dropped = call("deposit", "pool", "--up-to", "5")
    assert (dropped.status, dropped.json["error"]["code"]) == (1, "dropped")


def test_what_is_no_node_is_said(call: Caller, tmp_path: Path) -> None:
    with street(tmp_path, status=(200, b"<html>")):
        strange = call("status")
    assert (strange.status, strange.json["error"]["code"]) == (3, "no_node")
    assert "is not a node; check --node" in strange.err


def test_a_view_socket_does_not_take_transactions(call: Caller, tmp_path: Path) -> None:
    with street(tmp_path, transactions=(405, error("not_found", "there is no POST /v1/transactions"))):
        refused = call("deposit", "pool", "--up-to", "5")
    assert refused.status == 1
    assert "there is no POST /v1/transactions" in refused.err


def test_control_characters_do_not_reach_the_terminal(call: Caller, tmp_path: Path) -> None:
    peer = {
        "name": "home2\x1b[2J", "address": "a", "direction": "in", "connected_since": "", "height": 1, "rtt_ms": None
    }  # fmt: skip
    with street(tmp_path, peers=(200, [peer])):
        call._globals = call._globals[:-1]  # a table
        shown = call("peers")
    assert "\x1b" not in shown.out
    assert "home2?[2J" in shown.out
