"""Real processes of one home, mistreated: each mistake is one clear line, nothing is lost, and the node goes on."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from ledger.base.crypto import ED25519
from ledger.base.errors import NodeRefused, NodeUnavailable, SignerRefused, SignerUnavailable
from ledger.base.files import load_genesis, write_private
from ledger.base.intents import Commit, Reading, SetLimits, Transfer, transaction_bytes
from ledger.client import NodeClient, WalletClient
from ledger.gossip import frames
from ledger.node import discovery
from ledger.node.transport import LinkFailed
from tests.ledger.genesis_text import genesis_toml
from tests.ledger.node.test_transport import End, Members
from tests.ledger.streets import seed_of

DEADLINE_S = 20.0


class Home:
    """A home of a street of two; where there is only one, the test plays the other."""

    def __init__(self, folder: Path, name: str = "home1", network: str = "zeroconf = false") -> None:
        self.folder, self.name, self.network = folder, name, network
        self.processes: list[subprocess.Popen[str]] = []
        for each in ("config", "wallet", "node", "run"):
            (folder / each).mkdir(parents=True)
        (folder / "genesis.toml").write_text(genesis_toml(2))
        for kind in ("owner", "node", "transport"):
            write_private(folder / "wallet" / f"{kind}.key", seed_of(f"{name} {kind}").hex() + "\n")
        self.configure("wallet", f'[wallet]\nname = "{name}"\ngenesis = "../genesis.toml"\nkeys = "../wallet"\n'
                       '[sockets]\nnode = "../run/w/node.sock"\nagent = "../run/w/agent.sock"\nowner = "../run/w/owner.sock"\n'
                       "[agent]\ncommits_per_day = 2\n")  # fmt: skip
        self.configure("node", self.node_toml())
        self.client = NodeClient(folder / "run" / "node.sock")
        self.view = NodeClient(folder / "run" / "view.sock")

    def node_toml(self, port: int = 0) -> str:
        return (
            f'[node]\nname = "{self.name}"\ngenesis = "../genesis.toml"\ndata = "../node"\n'
            '[api]\noperators = "../run/node.sock"\nview = "../run/view.sock"\n[wallet]\nsocket = "../run/w/node.sock"\n'
            f'[network]\nlisten = "127.0.0.1"\nport = {port}\n{self.network}\n[clock]\ntrusted = true\n'
        )

    def configure(self, name: str, text: str) -> None:
        (self.folder / "config" / f"{name}.toml").write_text(text)

    def start(self, name: str, *, file_kib_max: int | None = None) -> subprocess.Popen[str]:
        """A process of this home; a limit on the size of its files stands for a full disk."""
        command = [sys.executable, "-m", f"ledger.{name}", "--config", str(self.folder / "config" / f"{name}.toml")]
        if file_kib_max is not None:
            command = ["bash", "-c", f'ulimit -f {file_kib_max} && exec "$@"', "bash", *command]
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": "."})
        self.processes.append(process)
        return process

    def refuse(self, name: str) -> str:
        """Start a process that must refuse; what it said."""
        process = self.start(name)
        _, said = process.communicate(timeout=DEADLINE_S)
        assert process.returncode == 1, said
        assert "Traceback" not in said
        assert said.count("\n") == 1, said
        return said

    @staticmethod
    def until(process: subprocess.Popen[str], words: str) -> str:
        """Read what a process says until it says these words."""
        assert process.stderr is not None
        ends = threading.Timer(DEADLINE_S, process.kill)  # one that never says it fails its test, and soon
        ends.start()
        try:
            for line in process.stderr:
                if words in line:
                    return line
        finally:
            ends.cancel()
        raise AssertionError(f"it ended without saying {words!r}")

    def up(self) -> int:
        """Wallet and node are up; the node's port."""
        self.until(self.start("wallet"), "ready")
        self.node = self.start("node")
        line = self.until(self.node, "ready on port")
        return int(line.split("ready on port ")[1].split(",")[0])

    def kill(self) -> None:
        for process in self.processes:
            process.kill()
            process.communicate()

    def stop(self, process: subprocess.Popen[str]) -> str:
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=DEADLINE_S)
        assert process.returncode == 0, said
        return said


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    one = Home(tmp_path)
    yield one
    one.kill()


def test_a_peer_that_sends_a_bomb_is_dropped_said_once_and_kept_out(home: Home) -> None:
    port = home.up()

    async def scene() -> None:
        async with asyncio.timeout(DEADLINE_S):
            for bomb in (bytes((frames.STATUS,)) + b"\x81" * 5_000,):
                peer = End("home2 transport", {})
                peer.keys.seed = seed_of("home2 transport")
                peer.keys.own = ED25519.public(peer.keys.seed)
                genesis = load_genesis(home.folder / "genesis.toml")
                peer.keys.chain_id = peer.transport._chain_id = genesis.chain_id
                peer.transport._own_id = peer.keys.own
                peer.transport._directory = Members({ED25519.public(seed_of("home1 transport")): 0})
                await peer.transport.dial("127.0.0.1", port)
                link = await peer.links.get()
                link.writer.write(len(bomb).to_bytes(4, "big") + bomb)
                while await link.reader.read(4_096):
                    continue
                with pytest.raises(LinkFailed, match="let in again in an hour"):
                    await peer.transport.dial("127.0.0.1", port)

    asyncio.run(scene())
    assert home.client.get("/v1/status")["height"] >= 0
    said = home.stop(home.node)
    assert said.count("what no honest node sends") == 1
    assert "Traceback" not in said


def test_malformed_forged_and_foreign_transactions_are_refused_with_their_reason(home: Home) -> None:
    home.up()
    genesis = load_genesis(home.folder / "genesis.toml")
    seed = seed_of("home1 owner")

    def made(intent: Transfer, **changes: object) -> bytes:
        fields: dict[str, object] = {"chain_id": genesis.chain_id, "nonce": 1, "valid_until_height": 50, **changes}
        return transaction_bytes(
            intent,
            sender=ED25519.public(seed),
            sign=lambda message: ED25519.sign(seed, message),
            **fields,  # type: ignore[arg-type]
        )

    pay = Transfer(genesis.accounts["home2"], "CASH", 5)
    good = made(pay)
    for raw, code in (
        (b"\x81" * 100, "malformed"),
        (good[:-1] + bytes([good[-1] ^ 1]), "bad_signature"),
        (made(pay, chain_id=bytes(32)), "wrong_chain"),
        (made(pay, valid_until_height=99_999), "too_far"),
    ):
        with pytest.raises(NodeRefused) as caught:
            home.client.submit(raw)
        assert caught.value.code == code
    with pytest.raises(NodeRefused, match="at most 65536 bytes"):
        home.client.submit(bytes(40_000))
    reading = Reading("home1", bytes(32), 0, 0, 5, 5, None, 0)
    stranger = seed_of("somebody")
    forged = transaction_bytes(
        reading,
        chain_id=genesis.chain_id,
        sender=ED25519.public(stranger),
        nonce=1,
        valid_until_height=0,
        sign=lambda message: ED25519.sign(stranger, message),
    )
    with pytest.raises(NodeRefused, match="not signed with the key of device home1"):
        home.client.submit(forged)
    assert home.client.get(f"/v1/transactions/{home.client.submit(good)}")["status"] == "pending"
    with pytest.raises(NodeRefused):
        home.view.submit(made(pay, nonce=2))  # the view's socket only reads
    for target in (
        "/v1/nothing",
        "/v1/balance?account=nobody",
        "/v1/slots?count=x",
        "/v1/transactions/zz",
        "/v1/feeds/x",
    ):
        with pytest.raises(NodeRefused) as caught:
            home.client.get(target)
        assert "Traceback" not in str(caught.value)


def test_one_folder_one_process_and_one_port_one_node(home: Home) -> None:
    home.up()
    assert "is in use by process" in home.refuse("node")
    assert "is in use by process" in home.refuse("wallet")
    home.stop(home.node)
    taken = socket.socket()
    taken.bind(("127.0.0.1", 0))
    taken.listen()
    home.configure("node", home.node_toml(taken.getsockname()[1]))
    assert "set [network] port" in home.refuse("node")
    taken.close()


def test_configuration_mistakes_are_one_line_with_the_fix(home: Home) -> None:
    home.configure("node", home.node_toml().replace("zeroconf = false", "zeroconf = 3"))
    assert "[network] zeroconf: is 3; it must be of type bool" in home.refuse("node")
    home.configure("node", home.node_toml().replace('name = "home1"', 'name = "home9"'))
    assert "no home of the genesis is called home9" in home.refuse("node")
    (home.folder / "wallet" / "node.key").chmod(0o644)
    assert "chmod 600" in home.refuse("wallet")


def test_each_role_may_ask_the_wallet_for_its_own_things_only(home: Home) -> None:
    home.up()
    sockets = {role: WalletClient(home.folder / "run" / "w" / f"{role}.sock") for role in ("node", "agent", "owner")}
    pay = Transfer(bytes(20), "CASH", 1)
    with pytest.raises(SignerRefused, match="the agent may not ask"):
        sockets["agent"].sign_transaction(pay, nonce=1, valid_until_height=5)
    with pytest.raises(SignerRefused, match="the node may not ask"):
        sockets["node"].sign_transaction(pay, nonce=1, valid_until_height=5)
    assert sockets["owner"].sign_transaction(SetLimits(None, 5), nonce=1, valid_until_height=5)
    for role in ("agent", "owner"):
        with pytest.raises(SignerRefused, match="may not ask for votes"):
            sockets[role].call(("vote", 1, 0, 1, bytes(32), 0, 0))
    for nonce in (1, 2):
        sockets["agent"].sign_transaction(Commit("pool", 5), nonce=nonce, valid_until_height=5)
    with pytest.raises(SignerRefused, match="daily limit"):
        sockets["agent"].sign_transaction(Commit("pool", 5), nonce=3, valid_until_height=5)
    requests: list[tuple[object, ...]] = [
        (),
        ("sign", b"anything"),
        ("vote", "1"),
        ("transaction", 1, [], 1, 5),
        ("keys", 1),
    ]
    for nonsense in requests:
        with pytest.raises(SignerRefused):
            sockets["owner"].call(nonsense)
    assert (home.folder / "run" / "w" / "owner.sock").stat().st_mode & 0o777 == 0o660


def test_a_wallet_without_its_journal_serves_links_and_never_votes_again(home: Home) -> None:
    self = home
    self.up()
    WalletClient(self.folder / "run" / "w" / "node.sock").call(("vote", 1, 0, 1, bytes(32), 0, 0))
    for process in list(self.processes):
        self.stop(process)
    (self.folder / "wallet" / "votes.journal").unlink()
    wallet = self.start("wallet")
    assert "will not vote again" in self.until(wallet, "votes.journal")
    self.until(wallet, "ready")
    with pytest.raises(SignerRefused, match="is gone"):
        WalletClient(self.folder / "run" / "w" / "node.sock").call(("vote", 1, 0, 1, bytes(32), 0, 0))


def test_a_full_disk_ends_the_wallet_in_words_and_a_new_start_remembers_every_vote(home: Home) -> None:
    wallet = home.start("wallet", file_kib_max=5)
    home.until(wallet, "ready")
    client = WalletClient(home.folder / "run" / "w" / "node.sock")
    given = {}

    def vote_on() -> None:
        for view in range(1, 40):
            given[view] = client.call(("vote", 1, 0, view, bytes([view]) * 32, 77, 0))

    with pytest.raises(SignerUnavailable):
        vote_on()
    assert wallet.wait(DEADLINE_S) == 1
    assert wallet.stderr is not None
    said = wallet.stderr.read()
    assert "free space" in said
    assert said.count("\n") == 1
    assert given
    home.until(home.start("wallet"), "ready")
    last = max(given)
    assert client.call(("vote", 1, 0, last, bytes([last]) * 32, 99, 0)) == given[last]
    with pytest.raises(SignerRefused, match="another block"):
        client.call(("vote", 1, 0, last, bytes(32), 99, 0))
    assert client.call(("vote", 1, 0, last + 2, bytes(32), 99, 0))  # what it said in last + 1 may stand beside the log


def test_who_is_not_there_is_said_in_words(home: Home) -> None:
    with pytest.raises(NodeUnavailable, match="is energo-node running"):
        home.client.get("/v1/status")
    with pytest.raises(SignerUnavailable, match="is energo-wallet running"):
        WalletClient(home.folder / "run" / "w" / "owner.sock").public_keys()


def test_socket_paths_of_any_length_work(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 90) / ("e" * 90)
    deep.mkdir(parents=True)
    home = Home(deep)
    try:
        home.up()
        assert home.client.get("/v1/status")["name"] == "home1"
    finally:
        home.kill()


@pytest.mark.parametrize("how", ["zeroconf", "static peers"])
def test_two_homes_find_each_other_and_agree(tmp_path: Path, how: str) -> None:
    found = 'zeroconf = true\ninterfaces = ["127.0.0.1"]\nredial_ms_max = 500'
    first = Home(tmp_path / "home1", "home1", found if how == "zeroconf" else "zeroconf = false")
    homes = [first]
    try:
        port = first.up()
        static = f'zeroconf = false\npeers = ["127.0.0.1:{port}"]'
        homes.append(Home(tmp_path / "home2", "home2", found if how == "zeroconf" else static))
        homes[1].up()
        wallet = WalletClient(first.folder / "run" / "w" / "owner.sock")
        payee = load_genesis(first.folder / "genesis.toml").accounts["home2"]
        raw = wallet.sign_transaction(Transfer(payee, "CASH", 5), nonce=1, valid_until_height=50)
        outcome = first.client.wait(first.client.submit(raw), 9.0)
        assert (outcome["status"], outcome["code"]) == ("final", "")  # both had to vote
        assert [peer["name"] for peer in homes[1].client.get("/v1/peers")] == ["home1"]
    finally:
        for home in homes:
            home.kill()


def test_without_multicast_discovery_says_so_once_and_static_peers_must_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_device(**wanted: object) -> None:
        raise OSError(19, "No such device")

    monkeypatch.setattr(discovery, "AsyncZeroconf", no_device)
    notes: list[str] = []

    async def scene() -> bool:
        found = discovery.Discovery(
            chain_id=bytes(32), interfaces=["127.0.0.1"], on_peer=lambda host, port: None, note=notes.append
        )
        return await found.start("127.0.0.1", 4_711)

    assert asyncio.run(scene()) is False
    assert notes == ["no multicast on this machine (No such device); neighbors are found by [network] peers only"]
