"""`energoctl member invite` and `member join` on real processes: two homes take in a third by a code."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ledger.base.errors import NodeRefused
from ledger.base.files import load_genesis
from ledger.client import NodeClient
from ledger.node import pointer
from tests.energoctl.calls import Caller
from tests.energoctl.homes import environment
from tests.ledger.node.test_process import Home

DEADLINE_S = 40.0


def until(what: str, condition: Callable[[], object]) -> None:
    end = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < end, f"not within {DEADLINE_S:.0f} s: {what}"
        time.sleep(0.05)


def command(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "energoctl.main", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    )


def at(home: Home) -> tuple[str, ...]:
    """The options that name a home's sockets."""
    run = home.folder / "run"
    return ("--node", str(run / "node.sock"), "--wallet", str(run / "w" / "owner.sock"))


def code_of(invite: subprocess.Popen[str]) -> str:
    """What a member's screen shows."""
    assert invite.stdout
    invite.stdout.readline()
    return invite.stdout.readline().split(" join ")[1].split()[0]


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Caller:
    return Caller(capsys)


@pytest.fixture
def street(tmp_path: Path) -> Iterator[tuple[Home, Home, int]]:
    """Two homes that run, and the port of the first one's node."""
    one = Home(tmp_path / "home1")
    port = one.up()
    two = Home(tmp_path / "home2", "home2", f'zeroconf = false\npeers = ["127.0.0.1:{port}"]')
    two.up()
    yield one, two, port
    for home in (one, two):
        home.kill()


def test_a_third_home_joins_by_a_code_and_its_node_catches_up(
    street: tuple[Home, Home, int], tmp_path: Path, call: Caller
) -> None:
    one, two, port = street
    new, card = tmp_path / "home3", tmp_path / "home3.json"
    invite = command("member", "invite", "--yes", "--save", str(card), *at(one))
    where = ("--dir", str(new), "--name", "home3", "--at", f"127.0.0.1:{port}", "--listen", "127.0.0.1")
    joined = call("member", "join", code_of(invite), *where, "--json")
    assert joined.status == 0, joined.err
    assert joined.json["name"] == "home3"
    assert (new / "genesis.toml").read_bytes() == (one.folder / "genesis.toml").read_bytes()
    assert json.loads((new / "card.json").read_text())["name"] == "home3"
    out, err = invite.communicate(timeout=DEADLINE_S)
    assert invite.returncode == 0, err
    assert "approved that home3 takes part" in out
    assert json.loads(card.read_text()) == json.loads((new / "card.json").read_text())
    assert call("member", "admit", str(card), *at(two)).status == 0
    again = call("member", "join", "123456", *where)
    assert again.status == 1
    assert "belongs to a street already" in again.err

    node = command("--json", "node", "start", str(new))
    try:
        client = NodeClient(new / "run" / "node.sock")
        until("the node is up", (new / "run" / "node.sock").exists)
        goal = one.client.get("/v1/status")["height"]
        until("it caught up", lambda: client.get("/v1/status")["height"] >= goal)
        until("it is linked", lambda: client.get("/v1/status")["peers"] >= 1)
        names = [member["name"] for member in client.get("/v1/members")["members"]]
        assert names == ["home1", "home2", "home3"]
        assert client.post("/v1/invitations", {})["codes_left"] == 2, "it may invite now, on its own bus"
    finally:
        node.terminate()
        node.communicate(timeout=DEADLINE_S)

    chain_id = load_genesis(new / "genesis.toml").chain_id
    told = pointer.load(new / "node", chain_id)
    assert told is not None
    assert told.height <= goal
    pointer.save(new / "node", told._replace(height=goal, block_hash=chain_id))
    refused = command("node", "start", str(new))
    _, err = refused.communicate(timeout=DEADLINE_S)
    assert refused.returncode == 1
    assert "one of the two ledgers is forged" in err


def test_what_goes_wrong_is_one_line_at_both_ends(street: tuple[Home, Home, int], tmp_path: Path, call: Caller) -> None:
    one, _, port = street
    new = tmp_path / "home3"
    where = ("--dir", str(new), "--name", "home3", "--at", f"127.0.0.1:{port}")
    for body, words in (({"long": 1}, "the body must be"), ([], "the body must be"), ({"bus": "x"}, "is called x")):
        with pytest.raises(NodeRefused, match=words):
            one.client.post("/v1/invitations", body)
    early = call("member", "join", "123456", *where)
    assert (early.status, "nobody is invited here now" in early.err) == (1, True)
    keys = (new / "wallet" / "owner.key").read_text()
    invite = command("member", "invite", *at(one))
    code = code_of(invite)
    mistyped = call("member", "join", f"{(int(code) + 1) % 1_000_000:06}", *where)
    assert (mistyped.status, "the code is wrong; it is used up" in mistyped.err) == (1, True)
    _, err = invite.communicate(timeout=DEADLINE_S)
    assert invite.returncode == 1
    assert "nobody joined: the code is wrong" in err
    invite = command("member", "invite", *at(one))
    taken = call("member", "join", code_of(invite), "--dir", str(new), "--name", "home2", "--at", f"127.0.0.1:{port}")
    assert (taken.status, "is called home2 already" in taken.err) == (1, True)
    invite.communicate(timeout=DEADLINE_S)
    invite = command("member", "invite", *at(one))
    assert call("member", "join", code_of(invite), *where).status == 0
    invite.communicate(timeout=DEADLINE_S)  # nobody is there to say yes
    assert invite.returncode == 1
    assert (new / "wallet" / "owner.key").read_text() == keys, "the first attempt's keys"
    fourth = call("member", "invite", *at(one))
    assert (fourth.status, "3 codes were made within an hour" in fourth.err) == (1, True)
    assert call("member", "join", "12345", *where).status == 1
    view = NodeClient(one.folder / "run" / "view.sock")
    assert "card" in one.client.get("/v1/invitations")
    with pytest.raises(NodeRefused, match="there is no GET"):
        view.get("/v1/invitations")
