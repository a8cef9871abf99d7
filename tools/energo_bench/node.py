"""A street of real processes on this machine under a steady load: finality, bytes written, memory and CPU.

Each home has an `energo-node` and an `energo-wallet` of its own, no meters. Transfers are signed beforehand with the owners'
keys and handed to the operators' sockets as their time comes; the moment of finality is asked for at the same sockets, by
long polling for every few of them. Bytes come from `/proc/PID/io`: `write_bytes` is what the kernel is to bring to the disk,
`wchar` what write calls carried (links included). What did not become final in time is counted as not final.
"""

from __future__ import annotations

import asyncio
import json
import os
import tempfile
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from energo_demo import folders
from energo_demo.folders import HomeFolder
from energo_demo.processes import Process, Signals, stop_all
from energo_demo.street import expand
from ledger.base.crypto import ED25519, sha256
from ledger.base.errors import EnergoError, NodeUnavailable
from ledger.base.files import load_genesis, load_key
from ledger.base.genesis import Genesis
from ledger.base.intents import Transfer, transaction_bytes
from ledger.client import NodeClient, socket_path

NODES_MAX: Final = 21
RATE_MAX: Final = 5_000
SECONDS_MAX: Final = 3_600
READY_S: Final = 60.0
DRAIN_S: Final = 30.0
WINDOW: Final = 56  # of one home on their way: a mempool takes 64 of a sender
POLLS_PER_S: Final = 3  # of one home, about: what asking costs is not what is measured
SLOT_MS: Final = 900_000
_TICK: Final = os.sysconf("SC_CLK_TCK")

# A day of a street with 25 homes: 96 slots with four blocks (25 readings, the closing), a heartbeat every ten minutes.
DAY_BLOCKS: Final = 96 * 4 + 144

Tell = Callable[[int, int], None]


class BenchFailed(EnergoError):
    """The street could not be measured."""

    code = "bench_failed"


@dataclass
class Cost:
    """What processes have used since their start."""

    write_bytes: int = 0
    written_chars: int = 0
    cpu_s: float = 0.0

    def __sub__(self, other: Cost) -> Cost:
        return Cost(
            self.write_bytes - other.write_bytes,
            self.written_chars - other.written_chars,
            self.cpu_s - other.cpu_s,
        )


def cost_of(pids: list[int]) -> Cost:
    """Summed over processes. Raises `BenchFailed` where one is gone."""
    total = Cost()
    for pid in pids:
        try:
            lines = Path(f"/proc/{pid}/io").read_text().splitlines()
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError as error:
            raise BenchFailed(
                f"process {pid} cannot be looked at ({error.strerror}); run as the user who started it"
            ) from None
        counted = {name: int(value) for name, _, value in (line.partition(":") for line in lines)}
        total.write_bytes += counted["write_bytes"] - counted["cancelled_write_bytes"]
        total.written_chars += counted["wchar"]
        total.cpu_s += (int(fields[11]) + int(fields[12])) / _TICK
    return total


def peak_kib(pid: int) -> int:
    """The most memory that a process has had at once."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1])
    return 0


@dataclass
class Home:
    """One home of the street and its share of the load."""

    name: str
    folder: HomeFolder
    node: Process
    wallet: Process
    client: NodeClient
    raws: list[bytes] = field(default_factory=list)
    final: int = 0  # transactions known to be final, from outside
    refused: dict[str, int] = field(default_factory=dict)
    sent_s: dict[int, float] = field(default_factory=dict)
    finality_ms: list[float] = field(default_factory=list)


class Street:
    """The processes, from the making of their folders to their end."""

    def __init__(self, root: Path, nodes: int, interval_ms: int, profile: Path | None = None) -> None:
        street = expand(homes=nodes)
        place = {home.name: HomeFolder(root / home.name) for home in street.homes}
        keys, devices = folders.make_keys(street, lambda name: place[name])
        now_ms = time.time_ns() // 1_000_000
        genesis = folders.genesis_text(
            street, keys, devices, created_ms=now_ms - 1_000, origin_ms=now_ms, slot_ms=SLOT_MS, slot_count=0
        ).replace(f"min_interval_orders_ms = {folders.MIN_INTERVAL_MS}", f"min_interval_orders_ms = {interval_ms}")
        ports = folders.free_ports(nodes)
        self.homes: list[Home] = []
        for number, home in enumerate(street.homes):
            folder = place[home.name]
            folders.write(folder.genesis, genesis)
            folders.write(folder.config("wallet"), folders.wallet_text(home, days=1))
            others = ports[:number] + ports[number + 1 :]
            text = folders.node_text(home, port=ports[number], peers=others)
            folders.write(folder.config("node"), text)
            under = () if profile is None or number else ("-m", "cProfile", "-o", os.fspath(profile.resolve()))
            node, wallet = (
                Process(f"{home.name}'s {kind}", f"ledger.{kind}", folder.config(kind), folder.log(kind), under=runner)
                for kind, runner in (("node", under), ("wallet", ()))
            )
            self.homes.append(Home(home.name, folder, node, wallet, NodeClient(folder.socket, 10.0)))
        self.genesis: Genesis = load_genesis(self.homes[0].folder.genesis)

    def start(self, signals: Signals) -> None:
        """Until every node is linked with every other. Raises `BenchFailed`."""
        for home in self.homes:
            home.wallet.start()
        for home in self.homes:
            home.node.start()
        until_s = time.monotonic() + READY_S
        for home in self.homes:
            while self._peers(home) < len(self.homes) - 1:
                home.node.check()
                home.wallet.check()
                if time.monotonic() > until_s:
                    raise BenchFailed(f"{home.name} is not linked with everybody: {home.node.last_words()}")
                signals.pause(0.1)

    def _peers(self, home: Home) -> int:
        try:
            return int(home.client.get("/v1/status")["peers"])
        except NodeUnavailable:
            return -1

    def stop(self) -> None:
        """End every process."""
        stop_all([process for home in self.homes for process in (home.node, home.wallet)])

    def statuses(self) -> list[dict[str, Any]]:
        """Of every node."""
        return [home.client.get("/v1/status") for home in self.homes]

    def pids(self, kind: str) -> list[int]:
        """Of every home's node or wallet."""
        return [(home.node if kind == "node" else home.wallet).pid for home in self.homes]


def sign_all(street: Street, count: int, tell: Tell) -> None:
    """Transfers from each home to the next, numbered without gaps, `count` in all."""
    genesis = street.genesis
    homes = street.homes
    for place, home in enumerate(homes):
        seed = load_key(home.folder.wallet / "owner.key")
        to = genesis.accounts[homes[(place + 1) % len(homes)].name]
        sender = ED25519.public(seed)
        for nonce in range(1, count // len(homes) + (place < count % len(homes)) + 1):
            home.raws.append(
                transaction_bytes(
                    Transfer(to, "CASH", 1),
                    chain_id=genesis.chain_id,
                    sender=sender,
                    nonce=nonce,
                    valid_until_height=genesis.consensus.expiry_max,
                    sign=lambda message, seed=seed: ED25519.sign(seed, message),  # type: ignore[misc]
                )
            )
        tell(place + 1, len(homes))


class _Http:
    """A socket on which requests follow one another without waiting for answers (HTTP/1.1 pipelining)."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    @classmethod
    async def open(cls, path: Path) -> _Http:
        address, folder = socket_path(path)
        try:
            return cls(*await asyncio.open_unix_connection(address))
        finally:
            if folder is not None:
                os.close(folder)

    def ask(self, method: str, target: str, body: bytes = b"") -> None:
        kind = b"content-type: application/json\r\n" if body else b""
        head = f"{method} {target} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {len(body)}\r\n"
        self._writer.write(head.encode() + kind + b"\r\n" + body)

    async def answer(self) -> tuple[int, Any]:
        head = await self._reader.readuntil(b"\r\n\r\n")
        size = 0
        for line in head.split(b"\r\n"):
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                size = int(value)
        return int(head[9:12]), json.loads(await self._reader.readexactly(size))

    def close(self) -> None:
        self._writer.close()


async def _load(home: Home, begin_s: float, gap_s: float, every: int) -> None:
    """Hand over a home's transactions, each in its time and never more than a window beyond what is final."""
    posts, polls = await _Http.open(home.folder.socket), await _Http.open(home.folder.socket)
    polled: deque[int] = deque()
    moved = asyncio.Event()
    outstanding = asyncio.Semaphore(0)

    async def take_answers() -> None:
        for _ in home.raws:
            status, document = await posts.answer()
            if status >= 400:
                code = str(document.get("error", {}).get("code", status))
                home.refused[code] = home.refused.get(code, 0) + 1

    async def take_finals() -> None:
        while True:
            await outstanding.acquire()
            place = polled.popleft()  # answers come in the order of the questions
            _, document = await polls.answer()
            if document.get("status") in ("final", "refused"):
                home.final = max(home.final, place + 1)
                home.finality_ms.append((time.monotonic() - home.sent_s.pop(place)) * 1000)
                moved.set()
                if home.final == len(home.raws):
                    return
            else:
                ask_for(place)

    def ask_for(place: int) -> None:
        polled.append(place)
        polls.ask("GET", f"/v1/transactions/{sha256(home.raws[place]).hex()}?wait_ms=8000")
        outstanding.release()

    answers = asyncio.create_task(take_answers())
    finals = asyncio.create_task(take_finals())
    try:
        for place, raw in enumerate(home.raws):
            wait_s = begin_s + place * gap_s - time.monotonic()
            if wait_s > 0:
                await asyncio.sleep(wait_s)
            while place - home.final >= WINDOW:
                moved.clear()
                await moved.wait()
            home.sent_s[place] = time.monotonic()
            posts.ask("POST", "/v1/transactions", b'{"transaction":"' + raw.hex().encode() + b'"}')
            if (place + 1) % every == 0 or place + 1 == len(home.raws):
                ask_for(place)
        await asyncio.gather(answers, finals)
    finally:
        answers.cancel()
        finals.cancel()
        posts.close()
        polls.close()


async def _drive(street: Street, rate: float, seconds: float, tell: Tell) -> bool:
    """Whether all of it ran to its end in time."""
    begin_s = time.monotonic() + 0.2
    count = len(street.homes)
    gap_s = count / rate
    every = max(1, min(WINDOW // 3, round(rate / count / POLLS_PER_S)))
    loads = [
        asyncio.create_task(_load(home, begin_s + place * gap_s / count, gap_s, every))
        for place, home in enumerate(street.homes)
        if home.raws
    ]
    until_s = begin_s + seconds + DRAIN_S
    pending = set(loads)
    while pending and time.monotonic() < until_s:
        done, pending = await asyncio.wait(pending, timeout=0.5)
        for task in done:
            task.result()
        tell(min(int(time.monotonic() - begin_s), int(seconds)), int(seconds))
    for task in pending:
        task.cancel()
    await asyncio.gather(*pending, return_exceptions=True)
    return not pending


def percentiles(samples: list[float]) -> dict[str, float | None]:
    """p50, p95 and the largest, in ms."""
    ordered = sorted(samples)
    if not ordered:
        return {"p50": None, "p95": None, "max": None}
    return {
        name: round(ordered[min(len(ordered) - 1, int(len(ordered) * part))], 1)
        for name, part in (("p50", 0.5), ("p95", 0.95), ("max", 1.0))
    }


def measure(
    nodes: int,
    rate: float,
    seconds: float,
    *,
    interval_ms: int,
    tell: Tell,
    keep: Path | None = None,
    profile: Path | None = None,
) -> dict[str, Any]:
    """Run it; see `energoctl bench node`. Raises `BenchFailed`, `ProcessFailed`, `Stopped`.

    `profile`: a file for what cProfile finds in the first home's node, which is slower under it; leave its figures out.
    """
    with tempfile.TemporaryDirectory(prefix="energo-bench-") as made, Signals() as signals:
        root = keep or Path(made)
        folders.make_folder(root)
        street = Street(root, nodes, interval_ms, profile)
        try:
            street.start(signals)
            sign_all(street, round(rate * seconds), lambda done, of: None)
            signals.pause(2.0)  # the first blocks of a young street are not of the load
            return _measured(street, rate, seconds, interval_ms, tell, signals)
        finally:
            street.stop()


def _measured(
    street: Street, rate: float, seconds: float, interval_ms: int, tell: Tell, signals: Signals
) -> dict[str, Any]:
    before = street.statuses()
    cost_before = {kind: cost_of(street.pids(kind)) for kind in ("node", "wallet")}
    own_before = time.process_time()
    begin_s = time.monotonic()
    whole = True
    if rate:
        whole = asyncio.run(_drive(street, rate, seconds, tell))
        signals.check()
    else:
        for second in range(int(seconds)):
            signals.pause(1.0)
            tell(second + 1, int(seconds))
    took_s = time.monotonic() - begin_s
    cost = {kind: cost_of(street.pids(kind)) - cost_before[kind] for kind in ("node", "wallet")}
    own_s = time.process_time() - own_before
    after = street.statuses()
    nodes = len(street.homes)
    offered = sum(len(home.raws) for home in street.homes)
    final = _finalized(street)
    blocks = max(status["height"] for status in after) - max(status["height"] for status in before)
    written = sum(each.write_bytes for each in cost.values())
    chars = sum(each.written_chars for each in cost.values())
    per_block = None if blocks <= 0 else round(written / nodes / blocks)
    refused: dict[str, int] = {}
    for home in street.homes:
        for code, count in home.refused.items():
            refused[code] = refused.get(code, 0) + count
    busy_s = max(took_s, 0.001)
    return {
        "nodes": nodes,
        "rate": rate,
        "seconds": round(took_s, 2),
        "interval_ms": interval_ms,
        "offered": offered,
        "finalized": final,
        "finalized_per_s": round(final / took_s, 1),
        "refused": refused,
        "in_time": whole,
        "blocks": blocks,
        "finality_ms": percentiles([sample for home in street.homes for sample in home.finality_ms]),
        "finality_samples": sum(len(home.finality_ms) for home in street.homes),
        "bytes_written_per_block": per_block,
        "bytes_written_per_transaction": None if not final else round(written / nodes / final),
        "write_call_bytes_per_transaction": None if not final else round(chars / nodes / final),
        "bytes_written_node": round(cost["node"].write_bytes / nodes),
        "bytes_written_wallet": round(cost["wallet"].write_bytes / nodes),
        "bytes_per_day_25_homes": None if per_block is None else per_block * DAY_BLOCKS,
        "rss_kib": max(peak_kib(pid) for pid in street.pids("node")),
        "wallet_rss_kib": max(peak_kib(pid) for pid in street.pids("wallet")),
        "cpu_s_node": round(cost["node"].cpu_s / nodes, 3),
        "cpu_s_wallet": round(cost["wallet"].cpu_s / nodes, 3),
        "core_share_node": round(cost["node"].cpu_s / nodes / busy_s, 4),
        "core_share_all": round(sum(each.cpu_s for each in cost.values()) / busy_s, 3),
        "core_share_load": round(own_s / busy_s, 3),
    }


def _finalized(street: Street) -> int:
    """How many transactions the ledger has taken, by the senders' numbers."""
    return sum(int(home.client.get("/v1/balance?account=self")["nonce"]) for home in street.homes)
