"""Homes of real processes (a wallet and a node each) on the LAN, the load on them, and the judge of what they kept.

What a home's operator was told is final is written down here, and has to be final everywhere, with its money where it belongs,
after whatever was done to the street.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from ledger.base.crypto import sha256
from ledger.base.errors import NodeRefused, NodeUnavailable, SignerRefused, SignerUnavailable
from ledger.base.files import load_genesis, write_private
from ledger.base.intents import Transfer
from ledger.base.units import parse_money
from ledger.client import NodeClient, WalletClient
from ledger.node.verify import verify
from tests.ledger.genesis_text import genesis_toml
from tests.ledger.streets import MATCHERS, seed_of

from .lan import Lan

PORT: Final = 4711  # the same everywhere: each home has addresses of its own
SLOTS: Final = 4
REDIAL_MS_MAX: Final = 2_000  # the product waits up to 30 s; nothing would be learned from waiting here
POLL_S: Final = 0.1
FINAL_S: Final = 2.0
AGREE_S: Final = 90.0
UNAVAILABLE: Final = (NodeUnavailable, NodeRefused, SignerUnavailable, SignerRefused)


class Failed(Exception):
    """The street did not do what it promises, in words."""


def until(what: str, condition: Callable[[], object], seconds: float) -> float:
    """Poll until `condition` holds; how long it took. Raises `Failed` with what it returned last, if that is text."""
    begin = time.monotonic()
    said: object = None
    while time.monotonic() - begin < seconds:
        try:
            said = condition()
        except UNAVAILABLE as error:
            said = str(error)
        if said is True:
            return time.monotonic() - begin
        threading.Event().wait(POLL_S)
    raise Failed(f"not within {seconds:.0f} s: {what}" + (f" ({said})" if isinstance(said, str) else ""))


@dataclass(frozen=True)
class Payment:
    """A transfer that was handed to a node."""

    payer: str
    payee: str
    amount: int


@dataclass
class Told:
    """What operators handed in, and what they were told is final."""

    payments: dict[str, Payment] = field(default_factory=dict)
    final: dict[str, int] = field(default_factory=dict)

    def wrong(self, name: str, statuses: dict[str, dict[str, Any]], start: dict[str, int], now: dict[str, int]) -> str:
        """Empty, or what a node (`name`) lost or invented: its statuses by id, balances at the start and now."""
        for identity, height in self.final.items():
            found = statuses[identity]
            if found["status"] != "final" or found["height"] != height:
                return f"{name} says {found['status']} at {found['height']} of {identity}, reported final at {height}"
        expected = dict(start)
        for identity, payment in self.payments.items():
            if statuses[identity]["status"] == "final":
                expected[payment.payer] -= payment.amount
                expected[payment.payee] += payment.amount
        if expected != now:
            return f"{name} has balances {now} where its final transfers make {expected}"
        return ""


class Home:
    """One home: its folder, its two processes."""

    def __init__(self, lan: Lan, folder: Path, number: int, homes: int, created_ms: int) -> None:
        self.lan, self.number, self.name = lan, number, f"home{number}"
        self.folder = folder / self.name
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.module = {"wallet": ["-m", "ledger.wallet"], "node": ["-m", "ledger.node"]}
        self.before: list[str] = []
        for each in ("config", "wallet", "node", "run", "log"):
            (self.folder / each).mkdir(parents=True)
        text = genesis_toml(homes, created_ms=created_ms, origin_ms=created_ms + 1, slot_count=SLOTS)
        (self.folder / "genesis.toml").write_text(text)
        for kind in ("owner", "node", "transport"):
            write_private(self.folder / "wallet" / f"{kind}.key", seed_of(f"{self.name} {kind}").hex() + "\n")
        self._write("wallet", f'[wallet]\nname = "{self.name}"\ngenesis = "../genesis.toml"\nkeys = "../wallet"\n'
                    '[sockets]\nnode = "../run/w/node.sock"\nagent = "../run/w/agent.sock"\n'
                    'owner = "../run/w/owner.sock"\n')  # fmt: skip
        self._write("node", f'[node]\nname = "{self.name}"\ngenesis = "../genesis.toml"\ndata = "../node"\n'
                    '[api]\noperators = "../run/node.sock"\nview = "../run/view.sock"\n'
                    '[wallet]\nsocket = "../run/w/node.sock"\n'
                    f"[network]\nport = {PORT}\nredial_ms_max = {REDIAL_MS_MAX}\n[clock]\ntrusted = true\n")  # fmt: skip
        self.client = NodeClient(self.folder / "run" / "node.sock", FINAL_S + 3)
        self.wallet = WalletClient(self.folder / "run" / "w" / "owner.sock", FINAL_S + 3)

    def _write(self, process: str, text: str) -> None:
        (self.folder / "config" / f"{process}.toml").write_text(text)

    def start(self, *which: str) -> None:
        """Start the wallet and the node, or one of them."""
        for process in which or ("wallet", "node"):
            config = str(self.folder / "config" / f"{process}.toml")
            command = [*self.before, sys.executable, *self.module[process], "--config", config]
            with open(self.folder.parent / f"{self.name}.{process}.log", "ab") as log:
                self.processes[process] = subprocess.Popen(
                    self.lan.command(self.number, command), stderr=log, start_new_session=True
                )

    def kill(self, *which: str) -> None:
        """As a power cut does: at once, without a word."""
        for process in which or ("wallet", "node"):
            if (running := self.processes.pop(process, None)) is not None:
                running.kill()
                running.wait()

    def revive(self) -> list[str]:
        """Start again what ended by itself, as systemd does; what that was."""
        ended = [process for process, running in self.processes.items() if running.poll() is not None]
        for process in ended:
            self.start(process)
        return ended

    def status(self) -> dict[str, Any]:
        """The node's status. Raises `NodeUnavailable`."""
        found: dict[str, Any] = self.client.get("/v1/status")
        return found

    def said(self, process: str = "node") -> str:
        """All that a process said to its log."""
        return (self.folder.parent / f"{self.name}.{process}.log").read_text(errors="replace")


class Street:
    """All homes, and what was told to their operators."""

    def __init__(self, lan: Lan, folder: Path, homes: int) -> None:
        self.lan, self.folder = lan, folder
        created_ms = time.time_ns() // 1_000_000
        self.homes = [Home(lan, folder, number, homes, created_ms) for number in range(1, homes + 1)]
        self.accounts = load_genesis(self.homes[0].folder / "genesis.toml").accounts
        self.told = Told()
        self.balances: dict[str, int] = {}
        self._stop = threading.Event()
        self._payers: list[threading.Thread] = []
        self._amount = 0
        self._lock = threading.Lock()

    # ---- processes

    def start(self) -> None:
        """Start everything."""
        for home in self.homes:
            home.start()

    def kill(self) -> None:
        """Kill everything, in the order in which the processes are found."""
        for home in self.homes:
            for running in home.processes.values():
                running.kill()
        for home in self.homes:
            home.kill()

    def restart(self) -> None:
        """All homes anew, and nothing left that they learned of each other's addresses."""
        self.kill()
        for home in self.homes:
            (home.folder / "node" / "peers.json").unlink(missing_ok=True)
        self.start()

    def linked(self, homes: Collection[Home] | None = None) -> bool | str:
        """True, or which of these homes has how few links to the others of them."""
        wanted = self.homes if homes is None else homes
        few = {home.name: home.status()["peers"] for home in wanted}
        return all(count >= len(wanted) - 1 for count in few.values()) or f"peers: {few}"

    def until_linked(self, seconds: float = 45.0) -> float:
        """Everybody is linked to everybody; how long that took."""
        return until("everybody is linked to everybody", self.linked, seconds)

    # ---- load

    @contextmanager
    def load(self, payers: Sequence[Home] | None = None) -> Iterator[None]:
        """Each of these homes pays the next one, one transfer after another, while the block runs."""
        self._stop = threading.Event()
        threads = [
            threading.Thread(target=self._pay, args=(home, self._stop), daemon=True) for home in payers or self.homes
        ]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._stop.set()
            for thread in threads:
                thread.join()

    def _pay(self, home: Home, stop: threading.Event) -> None:
        payee = self.homes[home.number % len(self.homes)].name
        while not stop.is_set():
            try:
                self._transfer(home, payee)
            except UNAVAILABLE:
                stop.wait(POLL_S)  # this home is being mistreated, or holds a transfer that cannot be final yet

    def _transfer(self, home: Home, payee: str) -> None:
        with self._lock:
            self._amount += 1
            amount = self._amount
        nonce = int(home.client.get("/v1/balance?account=self")["nonce_next"])
        raw = home.wallet.sign_transaction(
            Transfer(self.accounts[payee], "CASH", amount),
            nonce=nonce,
            valid_until_height=home.status()["expiry_height"],
        )
        identity = sha256(raw).hex()
        self.told.payments[identity] = Payment(home.name, payee, amount)
        home.client.submit(raw)
        found = home.client.wait(identity, FINAL_S)
        if found["status"] == "final":
            self.told.final[identity] = found["height"]

    def until_final(self, count: int, seconds: float = 60.0) -> float:
        """So many more transfers are reported final; how long that took."""
        goal = len(self.told.final) + count
        words = f"{count} more transfers are final"
        return until(words, lambda: len(self.told.final) >= goal or f"{goal - len(self.told.final)} are not", seconds)

    # ---- the judge

    def _cash(self, home: Home) -> dict[str, int]:
        found = {}
        for each in self.homes:
            rows = home.client.get(f"/v1/balance?account={each.name}")["balances"]
            found[each.name] = next(parse_money(row["free"]) for row in rows if row["asset"] == "CASH")
        return found

    def begin(self) -> None:
        """Wait until the last slot is closed: from then on only transfers move money."""
        closed = lambda: all(home.status()["closed_slot"] == SLOTS - 1 for home in self.homes)  # noqa: E731
        until("every slot is closed", closed, 60)
        self.until_same()
        self.balances = self._cash(self.homes[0])

    def same(self) -> bool | str:
        """True where all homes have the same head and state, and nothing waits."""
        found = {
            home.name: (status["height"], status["head"][:8], status["state_root"][:8], status["mempool"])
            for home in self.homes
            for status in (home.status(),)
        }
        return (len(set(found.values())) == 1 and not any(row[3] for row in found.values())) or str(found)

    def until_same(self, seconds: float = AGREE_S) -> float:
        """All homes agree; how long that took."""
        return until("equal heads and state roots, empty mempools", self.same, seconds)

    def until_same_height(self, home: Home) -> float:
        """A home has come as far as the others were when this was asked."""
        goal = max(each.status()["height"] for each in self.homes if each is not home)
        return until(f"{home.name} has height {goal}", lambda: bool(home.status()["height"] >= goal), AGREE_S)

    def judge(self) -> None:
        """Everything that was reported final is final everywhere. Raises `Failed`."""
        for home in self.homes:
            statuses = {identity: home.client.get(f"/v1/transactions/{identity}") for identity in self.told.payments}
            words = self.told.wrong(home.name, statuses, self.balances, self._cash(home))
            if words:
                raise Failed(words)

    def verify(self) -> str:
        """Replay what every home has on its disk, with all processes ended. Raises `Failed`."""
        heights = []
        for home in self.homes:
            found = verify(home.folder / "node", load_genesis(home.folder / "genesis.toml"), MATCHERS)
            if not found["ok"]:
                raise Failed(f"{home.name}'s ledger does not verify: {found['first_bad']}")
            heights.append(found["height"])
        return f"replayed up to heights {', '.join(map(str, heights))}"

    @staticmethod
    def cores() -> int:
        """How many cores this machine gives."""
        return len(os.sched_getaffinity(0))
