"""A street of one home on disk, as the demo leaves it, and its real processes; and a stand-in node for what goes wrong."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingUnixStreamServer
from typing import Any

from ledger.base.files import create_key
from ledger.wallet.keystore import create_keys

GENESIS = """
[street]
name = "Teststreet"
currency = "EUR"
day = "2021-03-24"
[time]
created_ms = {created_ms}
origin_ms = {origin_ms}
slot_ms = {slot_ms}
slot_count = 4
grace_ms = {slot_ms}
stale_ms = 500
[consensus]
timeout_ms = 300
timeout_factor_max = 8
min_interval_orders_ms = 20
min_interval_readings_ms = 20
heartbeat_ms = 600000
expiry_max = 10000
[tariff]
retail = "0.30"
feed_in = "0.08"
[market]
grid_cash = "1000"
[[bus]]
id = "root"
[[bus]]
id = "home1"
parent = "root"
fee = "0.005"
[[home]]
name = "home1"
owner_key = "{owner}"
node_key = "{node}"
transport_key = "{transport}"
bus = "home1"
cash = "100"
[[device]]
name = "home1"
key = "{meter}"
role = "connection"
owner = "home1"
bus = "home1"
[[device]]
name = "school"
key = "{school}"
role = "generator"
owner = "gen:school"
bus = "root"
[[device]]
name = "pool"
key = "{pool}"
role = "pool"
owner = "pool:pool"
bus = "root"
[[generator]]
name = "school"
device = "school"
[generator.shares]
home1 = 10000
[[pool]]
name = "pool"
device = "pool"
capacity_wh = 20000
power_w = 5000
efficiency = "0.90"
cash = "50"
[pool.shares]
home1 = 10000
[pool.tsl_wh]
home1 = 20000
"""
WALLET = """
[wallet]
name = "home1"
genesis = "../genesis.toml"
keys = "../wallet"
[sockets]
node = "../run/wallet/node.sock"
agent = "../run/wallet/agent.sock"
owner = "../run/wallet/owner.sock"
"""
NODE = """
[node]
name = "home1"
genesis = "../genesis.toml"
data = "../node"
[api]
operators = "../run/node.sock"
view = "../run/view.sock"
[wallet]
socket = "../run/wallet/node.sock"
[network]
listen = "127.0.0.1"
port = 0
zeroconf = false
[clock]
trusted = true
"""


def write_home(folder: Path, *, origin_ms: int, slot_ms: int = 200) -> Path:
    """A home's data folder with keys, genesis and configuration. Its four slots begin at `origin_ms`."""
    owner, node, transport = create_keys(folder / "wallet")
    (folder / "meter").mkdir()
    devices = {name: create_key(folder / "meter" / f"{name}.key").hex() for name in ("meter", "school", "pool")}
    genesis = GENESIS.format(
        created_ms=origin_ms - 1_000,
        origin_ms=origin_ms,
        slot_ms=slot_ms,
        owner=owner.hex(),
        node=node.hex(),
        transport=transport.hex(),
        **devices,
    )
    (folder / "genesis.toml").write_text(genesis)
    (folder / "config").mkdir()
    (folder / "config" / "wallet.toml").write_text(WALLET)
    (folder / "config" / "node.toml").write_text(NODE)
    return folder


def environment() -> dict[str, str]:
    """For processes of this source tree."""
    return os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}


@contextmanager
def running(folder: Path) -> Iterator[Path]:
    """Wallet and node of a home's folder as real processes; the node's socket."""
    processes = []
    try:
        for name in ("wallet", "node"):
            command = [sys.executable, "-m", f"ledger.{name}", "--config", str(folder / "config" / f"{name}.toml")]
            process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment())
            processes.append(process)
            assert process.stderr
            said = process.stderr.readline()
            assert "ready" in said, said
        yield folder / "run" / "node.sock"
    finally:
        for process in reversed(processes):
            process.terminate()
        statuses = [process.wait(20) for process in processes]
        for process in processes:
            assert process.stderr
            process.stderr.close()
    assert statuses == [0, 0]


def until(condition: Callable[[], bool], what: str, timeout_s: float = 30.0) -> None:
    """Look again and again until it holds. Fails at the deadline."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not come within {timeout_s} s"
        time.sleep(0.01)


class StandIn:
    """A node that answers what it is told to. `answers` maps a target (without its query) to (status, document)."""

    def __init__(self, path: Path, answers: dict[str, tuple[int, Any]]) -> None:
        self.path, self.answers, self.posted = path, answers, list[Any]()


@contextmanager
def stand_in(path: Path, answers: dict[str, tuple[int, Any]]) -> Iterator[StandIn]:
    """HTTP/JSON over a Unix socket, as the node speaks it, for answers that a healthy node does not give."""
    node = StandIn(path, answers)

    class Handler(BaseHTTPRequestHandler):
        def address_string(self) -> str:
            return "unix"

        def log_message(self, *_: object) -> None:
            pass

        def _answer(self) -> None:
            length = int(self.headers.get("content-length") or 0)
            if length:
                node.posted.append(json.loads(self.rfile.read(length)))
            status, document = node.answers.get(
                self.path.partition("?")[0], (404, {"error": {"code": "not_found", "message": "nothing here"}})
            )
            body = document if isinstance(document, bytes) else json.dumps(document).encode()
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = _answer  # noqa: N815

    with ThreadingUnixStreamServer(str(path), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield node
        finally:
            server.shutdown()
            thread.join()
