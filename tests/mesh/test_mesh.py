"""The mesh's own parts, without a LAN: its judge sees what is lost, and it says what a machine lacks. `make mesh` is the rest."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from ledger.node import clock
from tests.mesh import jumping, lan
from tests.mesh.scenarios import SCENARIOS
from tests.mesh.street import Failed, Payment, Told, until

START = {"home1": 100, "home2": 100}


def told() -> tuple[Told, dict[str, dict[str, Any]]]:
    """Two payments, one of them reported final; both are on the ledger."""
    found = Told({"aa": Payment("home1", "home2", 7), "bb": Payment("home2", "home1", 2)}, {"aa": 5})
    return found, {"aa": {"status": "final", "height": 5}, "bb": {"status": "final", "height": 6}}


def test_the_judge_takes_a_node_that_kept_everything() -> None:
    found, statuses = told()
    assert found.wrong("home1", statuses, START, {"home1": 95, "home2": 105}) == ""
    statuses["bb"] = {"status": "unknown", "height": None}
    assert found.wrong("home1", statuses, START, {"home1": 93, "home2": 107}) == "", "bb was never reported final"


@pytest.mark.parametrize(
    ("identity", "status", "height", "cash", "words"),
    [
        ("aa", "unknown", None, (102, 98), "says unknown"),
        ("aa", "pending", None, (102, 98), "says pending"),
        ("aa", "final", 6, (95, 105), "final at 6"),
        ("bb", "final", 6, (93, 107), "has balances"),
        ("bb", "refused", 6, (95, 105), "has balances"),
        ("bb", "final", 6, (95, 106), "has balances"),
    ],
)
def test_the_judge_sees_what_was_lost_moved_or_invented(
    identity: str, status: str, height: int | None, cash: tuple[int, int], words: str
) -> None:
    found, statuses = told()
    statuses[identity] = {"status": status, "height": height}
    assert words in found.wrong("home1", statuses, START, dict(zip(START, cash, strict=True)))


@pytest.mark.parametrize("percent", [0, 30, 100])
def test_the_filter_drops_as_many_of_all_numbers_as_it_is_told(percent: int) -> None:
    length, load, jump, drop, keep = lan.loss_program(percent).replace(",", "|").split("|")
    assert length == "4"
    assert load == f"32 0 0 {0xFFFFF000 + 56}", "a word, from where the kernel has a random number"
    code, if_above, otherwise, below = map(int, jump.split())
    assert (code, if_above, otherwise) == (0x25, 1, 0), "above the bound: over the next instruction"
    assert (drop, keep) == ("6 0 0 2", "6 0 0 0")
    assert below * 100 // 2**32 in (percent - 1, percent)


def test_what_a_machine_lacks_is_named_with_the_package_that_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None if name in ("ip", "tc") else f"/usr/bin/{name}")
    assert "apt install iproute2" in lan.lacking()


def test_the_lan_is_never_made_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(lan.INSIDE, raising=False)
    with pytest.raises(lan.Cannot, match="inside namespaces of its own"):
        lan.Lan(4)


def test_a_command_that_fails_is_told_with_its_words() -> None:
    with pytest.raises(lan.Cannot, match="No such file"):
        lan.run("cat", "/nowhere/at/all")


def test_every_scenario_has_a_name_of_its_own_and_says_what_it_does() -> None:
    assert len({scenario.name for scenario in SCENARIOS}) == len(SCENARIOS) >= 8
    assert all(scenario.what for scenario in SCENARIOS)


def test_waiting_ends_with_what_was_seen_last() -> None:
    with pytest.raises(Failed, match="peers: 2"):
        until("all are linked", lambda: "peers: 2", 0.01)


def test_a_clock_jumps_by_what_its_file_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "wall_ms", lambda: 1_000)
    file = tmp_path / "clock"
    jumping.install(file)
    for offset, expected in (("0", 1_000), ("500", 1_500), ("-5000", 0)):
        file.write_text(offset)
        assert clock.wall_ms() == expected
