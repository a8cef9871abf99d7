"""A hundred worlds from their seeds. That the same checks find planted bugs is shown in tests/sim_mutants."""

from __future__ import annotations

import pytest

from energo_simulator.faults import SCENARIOS
from energo_simulator.runs import replay_command, run_seeds

SEEDS = 100


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
