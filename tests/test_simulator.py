"""A hundred worlds from their seeds, and planted bugs that the same checks must find: a check that cannot fail is none."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from energo_simulator import node as simulated
from energo_simulator import world
from energo_simulator.checker import Violation
from energo_simulator.disk import Log
from energo_simulator.runs import replay_command, run_seeds
from energo_simulator.world import SCENARIOS, World
from ledger.simplex import machine, messages
from ledger.simplex.bodies import Bodies
from ledger.simplex.effects import Now
from ledger.simplex.view import View
from ledger.simplex.work import has_work
from ledger.state.rules import balances
from ledger.wallet.guard import Guard

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


def found(scenario: str, seeds: range, nodes: int = 4, byzantine: int | None = None) -> str:
    """The first violation that these worlds show, in words; empty if none does."""
    for seed in seeds:
        try:
            World(seed, nodes=nodes, byzantine=byzantine, scenario=scenario).run()
        except (Violation, AssertionError) as violation:
            return str(violation)
    return ""


def test_a_quorum_of_two_of_four_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def half(members: int) -> int:
        return members // 2

    monkeypatch.setattr(messages, "quorum", half)
    monkeypatch.setattr(machine, "quorum", half)
    assert found("partition", range(1, 20)) or found("equivocator", range(1, 20))


def test_a_forgetful_signer_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the guard nor the journal remembers: after a crash a member votes again."""

    def forget(self: Guard, kind: int, epoch: int, view: int, block_hash: bytes) -> None:
        return None

    monkeypatch.setattr(Guard, "check", forget)
    monkeypatch.setattr(machine.Machine, "recover", lambda self, records, now: self.progress(now))
    assert "check 4" in found("crash", range(1, 40))


def test_a_vote_that_leaves_before_it_is_durable_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Log, "sync", lambda self: None)
    assert "check 6" in found("calm", range(1, 3))


def test_a_member_that_finalizes_what_it_nullified_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def careless(self: machine.Machine, view: View, notarization: messages.Certificate, now: Now) -> None:
        if view.own.finalized is None:
            self._vote(view, messages.Kind.FINALIZE, notarization.block_hash, now)

    monkeypatch.setattr(machine.Machine, "_finalize", careless)
    monkeypatch.setattr(Guard, "check", lambda self, kind, epoch, view, block_hash: None)
    assert "check 4" in found("loss", range(1, 30))


def test_money_from_nothing_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    honest: Callable[..., None] = balances.credit

    def generous(state: object, account: bytes, asset: str, amount: int) -> None:
        honest(state, account, asset, amount + (1 if amount > 1 else 0))

    # only the block's own credits: the genesis is minted with the honest function
    world = World(1, nodes=4, byzantine=0, scenario="calm")
    monkeypatch.setattr(balances, "credit", generous)
    with pytest.raises((Violation, AssertionError), match="supply"):
        world.run()


def test_a_signature_that_is_not_checked_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def careless(*arguments: object, **named: object) -> bool:
        return True

    original = simulated.Node._sign

    def forge(self: simulated.Node, request: object, now: Now) -> None:
        honest = self.scheme
        self.scheme = type(honest)(honest.public, lambda seed, message: bytes(64), honest.verify)
        original(self, request, now)  # type: ignore[arg-type]
        self.scheme = honest

    monkeypatch.setattr(machine, "vote_is_valid", careless)
    monkeypatch.setattr(machine, "certificate_is_valid", careless)
    monkeypatch.setattr(simulated.Node, "_sign", forge)
    assert "check 5" in found("calm", range(1, 3))


def test_a_street_that_never_sleeps_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each view opens before its predecessor is final: empty blocks follow one another for ever."""
    late_ms = world.FAULTS_MS - 3_000  # the street wakes once more by then, and a short while is enough to see it
    monkeypatch.setattr(world, "QUIET_FROM_MS", 0)
    monkeypatch.setattr(world, "QUIET_MS", 500)
    monkeypatch.setattr(machine, "has_work", lambda at: (at.now_ms > late_ms and not at.tip_is_final) or has_work(at))
    assert "check 13" in found("calm", range(1, 2))


def test_a_leader_that_stamps_the_future_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody compares a block's time with its certificate, and a leader adds an hour."""
    monkeypatch.setattr(Bodies, "check_time", lambda self, block, certificate: None)
    honest = messages.block_time_ms
    monkeypatch.setattr(machine, "block_time_ms", lambda *arguments: honest(*arguments) + 3_600_000)
    assert found("calm", range(1, 3))


def test_the_replay_command_names_seed_and_world() -> None:
    assert replay_command(9, 4, 1, "loss") == "energoctl sim --seeds 9..9 --scenario loss --nodes 4 --byzantine 1"
