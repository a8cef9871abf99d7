"""The demo on real processes: a short day with an outage, audited; and that nothing of it outlives a signal.

The street is one whose sun shines at midnight, so that a dozen slots have everything: surplus, stored energy and its trade.
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import ledger
from ledger.base.files import load_genesis

ROOT = Path(ledger.__file__).parents[1]
DAY_S = 1_616_544_000  # 2021-03-24
SUNNY_SLOTS = 8

STREET = """
[street]
name = "Mittnachtsonne"
currency = "EUR"
day = "2021-03-24"
profiles = "profiles"
[tariff]
retail = "0.30"
feed_in = "0.08"
[market]
grid_cash = "1000.00"
[[bus]]
id = "root"
[[bus]]
id = "f1"
parent = "root"
fee = "0.010"
[homes]
feeders = ["f1"]
cash = "100.00"
[[role]]
name = "solar roof"
pv_kwp = 5
[[role]]
name = "solar roof and battery"
pv_kwp = 5
battery_wh = 5000
battery_w = 2500
[[role]]
name = "consumer"
[[generator]]
name = "school"
bus = "f1"
pv_kwp = 10
keeper = 1
[[pool]]
name = "pool"
bus = "f1"
capacity_wh = 3000
power_w = 5000
efficiency = "0.90"
keeper = 2
cash = "50.00"
[feeder]
name = "root"
bus = "root"
keeper = 1
"""


def make_street(folder: Path) -> Path:
    """A street file with profiles of one day beside it."""
    rows = range(96)
    profiles = {
        "load": [f"{200 + 40 * (slot % 5)}" for slot in rows],
        "pv": [f"{0.4 if slot < SUNNY_SLOTS else 0.0}" for slot in rows],
        "ev": [f"1,{2000 if slot == 0 else 0}" for slot in rows],
    }
    for kind, cells in profiles.items():
        (folder / "profiles" / kind).mkdir(parents=True)
        lines = [f"{DAY_S + 900 * slot},{cell}" for slot, cell in enumerate(cells)]
        (folder / "profiles" / kind / "day.csv").write_text("\n".join(["timestamp,value", *lines]) + "\n")
    (folder / "street.toml").write_text(STREET)
    return folder / "street.toml"


def start(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    """The command, with everything temporary below a folder of the test."""
    (folder / "tmp").mkdir()
    environment = dict(os.environ, TMPDIR=str(folder / "tmp"), PYTHONPATH=f"{ROOT}:{ROOT / 'tools'}")
    return subprocess.Popen(
        [sys.executable, "-m", "energoctl.main", "demo", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )


def processes_of(folder: Path) -> list[str]:
    """Command lines of running processes that name the folder."""
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            text = file.read_bytes().decode(errors="replace").replace("\0", " ")
        except OSError:
            continue
        if str(folder) in text:
            found.append(text)
    return found


def test_a_short_day_with_an_outage_holds_every_check(tmp_path: Path) -> None:
    street = make_street(tmp_path)
    demo = start(tmp_path, "--homes", "3", "--slots", "12", "--street", str(street), "--outage", "home3:4:3", "--json")
    out, err = demo.communicate(timeout=120)
    report: dict[str, Any] = json.loads(out)
    assert "error" not in report, report
    assert report["problems"] == {}
    assert all(report["checks"].values())
    assert len(report["checks"]) == 8
    assert demo.returncode == 0
    assert report["totals"]["slots"] == 12
    assert report["generators"][0]["made_wh"] == 10_000 * 4 // 10 // 4 * SUNNY_SLOTS
    assert report["pools"][0]["minted_wh"] > 0
    assert report["exchange"]["trades"] > 0
    assert sum(home["bought_local_wh"] for home in report["homes"]) == report["totals"]["local_wh"] > 0
    assert len({node["head"] for node in report["nodes"]}) == 1
    assert "the street waits for" in err, "three homes need all three to agree"
    assert list((tmp_path / "tmp").iterdir()) == []
    assert processes_of(tmp_path) == []


def test_a_street_without_a_public_grid_holds_every_check(tmp_path: Path) -> None:
    street = make_street(tmp_path)
    tariff = 'island_buy = "0.45"\nisland_sell = "0.04"'
    street.write_text(STREET.replace('retail = "0.30"\nfeed_in = "0.08"', tariff))
    options = ("--homes", "3", "--slots", "4", "--slot-seconds", "1", "--keep", str(tmp_path / "kept"), "--json")
    demo = start(tmp_path, *options, "--street", str(street))
    report: dict[str, Any] = json.loads(demo.communicate(timeout=120)[0])
    assert "error" not in report, report
    assert report["problems"] == {}
    assert all(report["checks"].values())
    assert report["street"]["counterparty"] == "balancing"
    assert report["totals"]["local_wh"] > 0
    assert float(report["totals"]["grid_fees"]) > 0
    genesis = load_genesis(tmp_path / "kept" / "home1" / "genesis.toml")
    assert (genesis.market.islanded, genesis.market.retail, genesis.market.feed_in) == (True, 45_000, 4_000)
    verify = ("ledger", "verify", "--data", str(tmp_path / "kept" / "home1" / "node"), "--json")
    found = subprocess.run(
        [sys.executable, "-m", "energoctl.main", *verify],
        env=dict(os.environ, PYTHONPATH=f"{ROOT}:{ROOT / 'tools'}"),
        capture_output=True,
        text=True,
    )
    assert found.returncode == 0, found.stderr
    assert json.loads(found.stdout)["ok"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_neither_process_nor_folder(tmp_path: Path, number: signal.Signals) -> None:
    demo = start(tmp_path, "--homes", "1")
    until = time.monotonic() + 60
    while len(processes_of(tmp_path / "tmp")) < 5:
        assert demo.poll() is None
        assert time.monotonic() < until
        time.sleep(0.02)
    demo.send_signal(number)
    out, err = demo.communicate(timeout=30)
    assert demo.returncode == 1
    assert f"stopped by {number.name}" in err
    assert "Traceback" not in out + err
    assert "no neighbors to trade with" in out
    assert list((tmp_path / "tmp").iterdir()) == []
    assert processes_of(tmp_path) == []


def test_a_folder_that_holds_something_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "mine").write_text("mine")
    demo = start(tmp_path, "--keep", str(tmp_path / "kept"), "--json")
    out, err = demo.communicate(timeout=30)
    assert demo.returncode == 1
    assert json.loads(out)["error"]["code"] == "bad_config"
    assert "is not empty" in err
    assert [path.name for path in (tmp_path / "kept").iterdir()] == ["mine"]


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("--scenario", "futures"), "not yet"),
        (("--homes", "22"), "1 to 21 homes"),
        (("--homes", "0"), "1 to 21 homes"),
        (("--slots", "97"), "1 to 96 slots"),
        (("--days", "4000"), "take fewer days"),
        (("--slot-seconds", "fast"), "number of seconds"),
        (("--slot-seconds", "0.1"), "0.5 to 900 s"),
        (("--outage", "home3"), "is no outage"),
        (("--outage", "home9:1:1"), "home1 to home5"),
        (("--outage", "home1:96:1"), "slots of this run are 0 to 95"),
        (("--outage", "home1:1:5", "--outage", "home1:6:1"), "two outages meet"),
        (("--street", "nowhere.toml"), "nowhere.toml"),
    ],
)
def test_options_that_cannot_be_are_refused_in_words(tmp_path: Path, arguments: tuple[str, ...], problem: str) -> None:
    demo = start(tmp_path, *arguments)
    out, err = demo.communicate(timeout=30)
    assert demo.returncode == 2
    assert problem in err
    assert "Traceback" not in err
    assert out == ""
