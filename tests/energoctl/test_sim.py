"""`energoctl sim`: many seeds in one call, and a broken promise with the command that replays it."""

from __future__ import annotations

import pytest

import energo_simulator.runs
from energo_simulator.checker import Violation
from tests.energoctl.calls import Caller


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Caller:
    return Caller(capsys)


def test_seeds_leave_the_same_trace_each_time(call: Caller) -> None:
    options = ("--nodes", "1", "--scenario", "calm")
    first = call("sim", "--seeds", "3..4", *options, "--json")
    assert first.status == 0
    assert (first.json["seeds"], first.json["violations"]) == (2, [])
    assert len(first.json["trace"]) == 64
    plain = call("sim", "--seeds", "3..4", *options)
    assert plain.out.startswith(f"2 streets: no promise was broken; trace {first.json['trace']}\n")
    assert "a minute; " in plain.out
    assert plain.err == ""
    assert call("sim", "--seeds", "3", *options, "--json").json["seeds"] == 1


def test_a_violation_is_status_1_with_its_replay(call: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken:
        now_ms = begin_ms = 0

        def __init__(self, seed: int, **options: object) -> None:
            self.seed = seed

        def run(self) -> str:
            if self.seed == 8:
                raise Violation("two blocks of one height are final")
            return "trace"

    monkeypatch.setattr(energo_simulator.runs, "World", Broken)
    found = call("sim", "--seeds", "7..9", "--nodes", "4", "--byzantine", "1", "--json")
    replay = "energoctl sim --seeds 8..8 --scenario swarm --nodes 4 --byzantine 1"
    assert found.status == 1
    assert found.json["violations"] == [{"seed": 8, "what": "two blocks of one height are final", "replay": replay}]
    plain = call("sim", "--seeds", "7..9", "--nodes", "4", "--byzantine", "1")
    assert plain.status == 1
    assert plain.out.startswith("3 streets: 1 broke a promise; trace ")
    assert plain.err == f"energoctl sim: seed 8: two blocks of one height are final; replay: {replay}\n"
