"""A hundred worlds from their seeds. That the same checks find planted bugs is shown in tests/sim_mutants."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from energo_simulator.faults import SCENARIOS
from energo_simulator.runs import replay_command, run_seeds

SEEDS = 100
ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.parametrize("first", range(1, SEEDS + 1, 10))
def test_ten_seeds_of_the_swarm(first: int) -> None:
    result = run_seeds(first, first + 9)
    assert result["violations"] == []


@pytest.mark.parametrize("scenario", sorted(set(SCENARIOS) - {"swarm"}))
def test_each_fault_alone(scenario: str) -> None:
    assert run_seeds(1, 2, nodes=4, scenario=scenario)["violations"] == []


def test_the_same_seed_gives_the_same_world() -> None:
    assert run_seeds(7, 8)["trace"] == run_seeds(7, 8)["trace"]
    assert run_seeds(7, 8)["trace"] != run_seeds(9, 10)["trace"]


def test_the_replay_command_names_seed_and_world() -> None:
    assert replay_command(9, 4, 1, "loss") == "energoctl sim --seeds 9..9 --scenario loss --nodes 4 --byzantine 1"


def test_the_trace_does_not_depend_on_how_many_processes_share_the_seeds() -> None:
    assert run_seeds(3, 8, jobs=2)["trace"] == run_seeds(3, 8)["trace"]


def test_a_swarm_leaves_the_same_trace_under_three_hash_seeds() -> None:
    script = "from energo_simulator.runs import run_seeds; print(run_seeds(41, 44)['trace'])"
    path = os.pathsep.join(str(ROOT / part) for part in (".", "tools"))
    traces = {
        subprocess.run(
            [sys.executable, "-c", script],
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": path},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert len(traces) == 1
