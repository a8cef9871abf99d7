"""`energo-meter` as a process: a wrong configuration is one line, a folder has one owner, a stop is clean."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from firmware.meter import __main__ as program
from ledger.base.crypto import ED25519
from ledger.base.files import FolderLock, write_private

SEED = bytes(range(32))
KEY = ED25519.public(SEED).hex()
GENESIS = f"""
[street]
name = "Teststreet"
currency = "EUR"
day = "2021-03-24"
[time]
created_ms = 1000
origin_ms = 2000
slot_ms = 1500
slot_count = 96
grace_ms = 1500
stale_ms = 500
[consensus]
timeout_ms = 300
timeout_factor_max = 8
min_interval_orders_ms = 100
min_interval_readings_ms = 100
heartbeat_ms = 600000
expiry_max = 10000
[tariff]
retail = "0.30"
feed_in = "0.08"
[market]
grid_cash = "1000"
[[bus]]
id = "root"
[[home]]
name = "home1"
owner_key = "{1:064x}"
node_key = "{2:064x}"
transport_key = "{3:064x}"
bus = "root"
[[device]]
name = "home1"
key = "{KEY}"
role = "connection"
owner = "home1"
bus = "root"
"""
CONFIG = """
[meter]
name = "home1"
genesis = "genesis.toml"
data = "data"
node = "node.sock"
poll_ms = 100

[[device]]
name = "home1"
key = "home1.key"
model = "iem3155"
host = "127.0.0.1"
port = 1
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "genesis.toml").write_text(GENESIS)
    (tmp_path / "meter.toml").write_text(CONFIG)
    write_private(tmp_path / "home1.key", SEED.hex() + "\n")
    return tmp_path


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('model = "iem3155"', 'model = "iem9999"', "no meter model 'iem9999'"),
        ('name = "home1"\nkey', 'name = "home7"\nkey', "knows no such device"),
        ("port = 1", "port = 70000", "port"),
        ("port = 1", "prot = 1", "prot"),
        ("poll_ms = 100", "poll_ms = 1", "poll_ms"),
        ("poll_ms = 100", 'poll_ms = "100"', "type int"),
        ('key = "home1.key"', 'key = "nonesuch.key"', "cannot be read"),
        ('host = "127.0.0.1"', "", "host"),
        ('genesis = "genesis.toml"', 'genesis = "no.toml"', "cannot be read"),
        ('host = "127.0.0.1"\nport = 1', 'serial = "/dev/null"\nparity = "X"', "N, E or O"),
        ("[[device]]", "[[devices]]", "1 to 64"),
    ],
)
def test_a_wrong_configuration_is_one_line(
    folder: Path, capsys: pytest.CaptureFixture[str], old: str, new: str, says: str
) -> None:
    assert old in CONFIG
    (folder / "meter.toml").write_text(CONFIG.replace(old, new))
    assert program.main(["--config", str(folder / "meter.toml")]) == 1
    error = capsys.readouterr().err
    assert says in error
    assert error.count("\n") == 1


def test_a_foreign_key_is_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "home1.key").unlink()
    write_private(folder / "home1.key", bytes(32).hex())
    assert program.main(["--config", str(folder / "meter.toml")]) == 1
    assert "is not the key that the genesis has for home1" in capsys.readouterr().err


def test_a_second_reader_on_the_folder_is_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lock = FolderLock(folder / "data")
    try:
        assert program.main(["--config", str(folder / "meter.toml")]) == 1
    finally:
        lock.close()
    assert f"in use by process {os.getpid()}" in capsys.readouterr().err


def test_the_process_runs_without_meter_and_node_and_stops_on_sigterm(folder: Path) -> None:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    environment.pop("NOTIFY_SOCKET", None)
    command = [sys.executable, "-m", "firmware.meter", "--config", str(folder / "meter.toml")]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stderr
        assert "ready: 1 devices, 0 readings wait" in process.stderr.readline()
        assert "meter home1: 127.0.0.1:1: cannot be reached" in process.stderr.readline()
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
        assert process.stderr.read() == ""
