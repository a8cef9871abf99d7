"""A node whose ledger was damaged while it was off says so once, begins anew, and soon has the same chain as its neighbors."""

from __future__ import annotations

import signal
import time
from pathlib import Path

from energo_bench.node import Home, Street, sign_all
from energo_demo.processes import Signals, stop_all

DEADLINE_S = 30.0


def submit(home: Home, first: int, count: int) -> None:
    for raw in home.raws[first : first + count]:
        home.client.submit(raw)
        time.sleep(0.02)


def settled(homes: list[Home], nonce: int) -> list[str]:
    """Every node's last block, once all have the same and the sender's number is reached."""
    until_s = time.monotonic() + DEADLINE_S
    while True:
        heads = [home.client.get("/v1/status")["head"] for home in homes]
        reached = [int(home.client.get(f"/v1/balance?account={homes[0].name}")["nonce"]) for home in homes]
        if len(set(heads)) == 1 and set(reached) == {nonce}:
            return heads
        assert time.monotonic() < until_s, (heads, reached)
        time.sleep(0.1)


def test_a_damaged_node_is_back_by_itself(tmp_path: Path) -> None:
    street = Street(tmp_path / "street", 4, 50)
    homes = street.homes
    with Signals() as signals:
        try:
            street.start(signals)
            sign_all(street, 160, lambda done, of: None)
            submit(homes[0], 0, 30)
            settled(homes, 30)
            hurt = homes[3]
            stop_all([hurt.node], signal.SIGKILL)
            submit(homes[0], 30, 5)
            ledger = hurt.folder.node / "ledger.sqlite"
            for path in (ledger, ledger.with_name("ledger.sqlite-wal")):
                raw = bytearray(path.read_bytes())
                raw[100:20_000] = bytes(len(raw[100:20_000]))
                path.write_bytes(bytes(raw))
            hurt.node.start()
            until_s = time.monotonic() + DEADLINE_S
            while street._peers(hurt) < 3:
                hurt.node.check()
                assert time.monotonic() < until_s
                time.sleep(0.1)
            settled(homes, 35)
            said = hurt.folder.log("node").read_text()
            assert said.count("kept as ledger.damaged-1") == 1
            submit(homes[0], 35, 5)
            settled(homes, 40)
        finally:
            street.stop()
