"""`energoctl node start`: both processes come up, nobody starts them twice, and all are gone at the end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ledger.base.files import FolderLock
from ledger.client import NodeClient
from tests.energoctl.calls import Caller
from tests.energoctl.homes import environment, until, write_home


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return write_home(tmp_path / "home1", origin_ms=time.time_ns() // 1_000_000 - 5_000)


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Caller:
    return Caller(capsys)


@pytest.fixture
def start(home: Path) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "energoctl.main", "--json", "node", "start", str(home)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    )
    yield process
    process.kill()
    process.wait()
    assert process.stdout and process.stderr
    process.stdout.close()
    process.stderr.close()


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_it_runs_until_it_is_told_to_stop(number: int, home: Path, start: subprocess.Popen[str], call: Caller) -> None:
    assert start.stdout
    said = json.loads(start.stdout.readline())
    assert said["socket"] == str(home / "run" / "node.sock")
    assert set(said["pids"]) == {"wallet", "node"}
    assert NodeClient(Path(said["socket"])).get("/v1/status")["name"] == "home1"
    if number == signal.SIGINT:
        second = call("node", "start", str(home), "--json")
        assert (second.status, second.json["error"]["code"]) == (1, "folder_in_use")
        assert "is in use by process" in second.err
    start.send_signal(number)
    assert start.wait(30) == 0
    assert not any(alive(pid) for pid in said["pids"].values())
    assert not Path(said["socket"]).exists()
    for part in ("wallet", "node"):
        FolderLock(home / part).close()


def test_when_one_process_ends_the_others_do_too(start: subprocess.Popen[str]) -> None:
    assert start.stdout and start.stderr
    said = json.loads(start.stdout.readline())
    os.kill(said["pids"]["node"], signal.SIGKILL)
    assert start.wait(30) == 1
    assert json.loads(start.stdout.readline())["error"]["code"] == "process_ended"
    assert "node ended by itself (status -9)" in start.stderr.read()
    until(lambda: not alive(said["pids"]["wallet"]), "the wallet's end")


def test_a_folder_that_is_none_is_named(call: Caller, tmp_path: Path, home: Path) -> None:
    nothing = call("node", "start", str(tmp_path / "nothing"))
    assert nothing.status == 1
    assert "there is no config/wallet.toml in it; is it a home's data folder?" in nothing.err
    above = call("node", "start", str(home.parent))
    assert "name one home, such as DIR/home1" in above.err


def test_a_broken_configuration_is_one_line(call: Caller, home: Path) -> None:
    (home / "config" / "node.toml").write_text("[node\n")
    broken = call("node", "start", str(home))
    assert broken.status == 1
    assert "is not TOML" in broken.err


def test_a_process_that_does_not_start_is_named(home: Path, capfd: pytest.CaptureFixture[str]) -> None:
    from energoctl.main import run

    (home / "wallet" / "owner.key").unlink()
    assert run(["node", "start", str(home)]) == 1
    err = capfd.readouterr().err
    assert "owner.key" in err
    assert "wallet ended by itself (status 1)" in err
