"""`energo-panel` as a process: keys, rotation and redrawing in a terminal, lines in a log, and a node that comes and goes."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from firmware.panel.__main__ import Config, Printed, Source, keys_of, load_config, main
from firmware.panel.screens import Screen
from ledger.base.errors import ConfigError, NodeUnavailable
from tests.energoctl.homes import environment, stand_in
from tests.firmware.panel.test_screens import BALANCE, STATUS, record

ANSWERS: dict[str, tuple[int, Any]] = {
    "/v1/status": (200, STATUS),
    "/v1/balance": (200, BALANCE),
    "/v1/slots": (200, [record(3)]),
}
COMMAND = [sys.executable, "-m", "firmware.panel"]
WAIT_S = 20


class FakeNode:
    """Documents by target; remembers what was asked."""

    def __init__(self, answers: dict[str, Any]) -> None:
        self.answers, self.asked = answers, list[str]()

    def get(self, target: str) -> Any:
        self.asked.append(target)
        answer = self.answers[target.partition("?")[0]]
        if isinstance(answer, Exception):
            raise answer
        return answer


def fake() -> FakeNode:
    return FakeNode({target: document for target, (_, document) in ANSWERS.items()})


def test_slots_are_fetched_once() -> None:
    node = fake()
    source = Source(node)
    assert [screen.name for screen in source.look()] == ["now", "today", "balance", "price"]
    node.answers["/v1/status"] = STATUS | {"closed_slot": 4}
    node.answers["/v1/slots"] = [record(4)]
    assert source.look()[1].lines == ("Today made   0.6", "kWh   used   0.2")
    source.look()
    assert [target for target in node.asked if target.startswith("/v1/slots")] == [
        "/v1/slots?count=4",
        "/v1/slots?count=1",
    ]


def test_a_day_of_slots_at_most_is_asked_for() -> None:
    node = fake()
    node.answers["/v1/status"] = STATUS | {"closed_slot": 5_000}
    Source(node).look()
    assert node.asked[-1] == "/v1/slots?count=96"


def test_another_street_on_the_same_socket_starts_afresh() -> None:
    node = fake()
    source = Source(node)
    source.look()
    node.answers["/v1/status"] = STATUS | {"closed_slot": -1}
    assert source.look()[0].lines == ("Waiting for the ", "first slot      ")


@pytest.mark.parametrize("trouble", [NodeUnavailable("gone"), {}, [], {"name": None}, "text"])
def test_a_node_that_is_away_or_strange_is_shown(trouble: object) -> None:
    node = fake()
    node.answers["/v1/status"] = trouble
    assert Source(node).look()[0].name == "no node"


def test_a_log_gets_what_changes(capsys: pytest.CaptureFixture[str]) -> None:
    view = Printed()
    one, two = Screen("now", ("a", "b")), Screen("price", ("c", "d"))
    view.show([one, two], 0)
    view.show([one, two], 1)
    view.show([one, Screen("price", ("c", "e"))], 0)
    assert capsys.readouterr().out == "|a|b|\n|c|d|\n|c|e|\n"


def test_keys_are_bytes_or_arrows() -> None:
    assert keys_of(b"n\x1b[Cq") == [b"n", b"\x1b[C", b"q"]


def test_configuration(tmp_path: Path) -> None:
    file = tmp_path / "panel.toml"
    file.write_text('[panel]\nnode = "run/node.sock"\nrotate_ms = 2000\n')
    assert load_config(file) == Config((tmp_path / "run/node.sock").resolve(), 2_000, 1_000)
    file.write_text('[panel]\nnode = "run/node.sock"\nrotat_ms = 2000\n')
    with pytest.raises(ConfigError, match="rotat_ms: is not known here"):
        load_config(file)


def test_a_wrong_configuration_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--config", str(tmp_path / "none.toml")]) == 1
    assert capsys.readouterr().err.count("\n") == 1


def test_without_a_terminal_screens_are_printed_and_a_stop_is_clean(tmp_path: Path) -> None:
    with (
        stand_in(tmp_path / "node.sock", ANSWERS),
        subprocess.Popen(
            [*COMMAND, "--node", str(tmp_path / "node.sock")],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment(),
        ) as process,
    ):
        assert process.stdout and process.stderr
        lines = [process.stdout.readline() for _ in range(4)]
        process.send_signal(signal.SIGTERM)
        assert process.wait(WAIT_S) == 0
        assert process.stderr.read() == ""
    assert lines[0] == "|Making   1.20 kW|Using      400 W|\n"
    assert lines[3] == "|Price  0.185/kWh|no limits set   |\n"


def test_it_tells_systemd(tmp_path: Path) -> None:
    import socket

    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notified:
        notified.bind(str(tmp_path / "notify"))
        notified.settimeout(WAIT_S)
        process = subprocess.Popen(
            [*COMMAND, "--node", str(tmp_path / "no.sock")],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            env=environment() | {"NOTIFY_SOCKET": str(tmp_path / "notify")},
        )
        try:
            assert [notified.recv(64) for _ in range(2)] == [b"READY=1", b"WATCHDOG=1"]
        finally:
            process.terminate()
            assert process.wait(WAIT_S) == 0


def read_until(terminal: int, wanted: bytes) -> bytes:
    """What a terminal shows, up to and including some bytes."""
    seen = b""
    while wanted not in seen:
        ready, _, _ = select.select([terminal], [], [], WAIT_S)
        assert ready, f"{wanted!r} never came; there is {seen!r}"
        seen += os.read(terminal, 4_096)
    return seen


def test_in_a_terminal_keys_turn_the_pages(tmp_path: Path) -> None:
    config = tmp_path / "panel.toml"
    config.write_text('[panel]\nnode = "node.sock"\nrotate_ms = 600000\n')
    ours, theirs = pty.openpty()
    with stand_in(tmp_path / "node.sock", ANSWERS):
        process = subprocess.Popen(
            [*COMMAND, "--config", str(config)], stdin=theirs, stdout=theirs, stderr=theirs, env=environment()
        )
        try:
            assert b"|Making   1.20 kW|" in read_until(ours, b"q quit")
            for key, wanted in ((b"n", b"|Today made   0.3|"), (b"\x1b[C", b"|EUR       101.51|")):
                os.write(ours, key)
                read_until(ours, wanted)
            for key, wanted in ((b"p", b"|Today made   0.3|"), (b"\x1b[D", b"|Making   1.20 kW|")):
                os.write(ours, key)
                read_until(ours, wanted)
            os.write(ours, b"q")
            assert b"\x1b[?25h" in read_until(ours, b"\x1b[?25h"), "the cursor comes back"
            assert process.wait(WAIT_S) == 0
        finally:
            process.kill()
            process.wait()
            os.close(ours)
            os.close(theirs)


def test_in_a_terminal_pages_turn_by_themselves_and_a_lost_node_is_shown(tmp_path: Path) -> None:
    config = tmp_path / "panel.toml"
    config.write_text('[panel]\nnode = "node.sock"\nrotate_ms = 500\nrefresh_ms = 100\n')
    ours, theirs = pty.openpty()
    process = None
    try:
        with stand_in(tmp_path / "node.sock", ANSWERS):
            process = subprocess.Popen(
                [*COMMAND, "--config", str(config)], stdin=theirs, stdout=theirs, stderr=theirs, env=environment()
            )
            read_until(ours, b"|Price  0.185/kWh|")
        seen = read_until(ours, b"|No node answers |")
        assert not re.search(rb"Traceback", seen)
        process.send_signal(signal.SIGINT)
        assert process.wait(WAIT_S) == 0
    finally:
        if process is not None:
            process.kill()
            process.wait()
        os.close(ours)
        os.close(theirs)
