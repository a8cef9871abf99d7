"""`energoctl ledger verify`: which files a person means, and what is said about files that are not right."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path

import pytest

from energoctl.ledger import folders
from ledger.base.errors import ConfigError
from ledger.client import NodeClient
from tests.energoctl.calls import Caller
from tests.energoctl.homes import running, until, write_home


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Caller:
    return Caller(capsys)


def ledger_file(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "ledger.sqlite").touch()
    return folder


def test_the_folder_a_person_means(tmp_path: Path) -> None:
    home = tmp_path / "home1"
    wanted = (ledger_file(home / "node"), home / "genesis.toml")
    assert folders(home, Path("unused")) == wanted
    assert folders(home / "node", Path("unused")) == wanted
    assert folders(None, home / "run" / "node.sock") == wanted
    assert folders(None, Path("/run/energo/node.sock")) == (
        Path("/var/lib/energo-node"),
        Path("/etc/energo/genesis.toml"),
    )


def test_a_street_of_several_homes_asks_which(tmp_path: Path) -> None:
    for name in ("home1", "home2"):
        ledger_file(tmp_path / name / "node")
    with pytest.raises(ConfigError, match=f"holds 2 homes; name one of them: --data {tmp_path}/home1"):
        folders(tmp_path, Path("unused"))
    with pytest.raises(ConfigError, match="there is no ledger here"):
        folders(tmp_path / "home3", Path("unused"))


def test_files_that_were_changed_are_found_out(tmp_path: Path, call: Caller) -> None:
    home = write_home(tmp_path / "home1", origin_ms=time.time_ns() // 1_000_000 - 5_000)
    with running(home) as socket:
        node = NodeClient(socket)
        until(lambda: node.get("/v1/status")["closed_slot"] == 3, "the last slot's end")
    good = call("ledger", "verify", "--data", str(home), "--json")
    assert (good.status, good.json["ok"]) == (0, True)
    height = good.json["height"]
    with sqlite3.connect(home / "node" / "ledger.sqlite") as file:
        (body,) = file.execute("SELECT body FROM block WHERE height = ?", (height,)).fetchone()
        file.execute("UPDATE block SET body = ? WHERE height = ?", (body[:-1] + bytes([body[-1] ^ 1]), height))
    bad = call("ledger", "verify", "--data", str(home), "--json")
    assert bad.status == 1
    assert bad.json["ok"] is False
    assert bad.json["first_bad"]["height"] == height
    plain = call("ledger", "verify", "--data", str(home))
    assert (plain.status, plain.out) == (1, "")
    assert plain.err.count("\n") == 1
    assert f"at height {height}: " in plain.err


def test_another_streets_genesis_is_an_error(tmp_path: Path, call: Caller) -> None:
    home = write_home(tmp_path / "home1", origin_ms=2_000_000)
    nothing = call("ledger", "verify", "--data", str(home), "--json")
    assert (nothing.status, nothing.json["error"]["code"]) == (1, "bad_config")
    ledger_file(home / "node")
    empty = call("ledger", "verify", "--data", str(home))
    assert empty.status == 1
    assert "Traceback" not in empty.err
