"""One key that runs twice: all partitions of one round, and of two where the twin leads the first view."""

from __future__ import annotations

import pytest

from energo_simulator import twins
from energo_simulator.checker import Checker, Violation
from energo_simulator.disk import Disk
from energo_simulator.twins import MEMBERS, SIDES, Rounds, play, scenes, swapped, the_street
from ledger.base.votes import Vote
from tests.sim_mutants.planted import finalize_after_nullify, quorum_2f

ONE_ROUND = list(scenes(1))
TWO_ROUNDS = [scene for scene in scenes(2) if scene[0] == 1]  # seat 1 leads the first view


def test_scenes_are_all_partitions_but_for_which_twin_is_which() -> None:
    together = SIDES // 2  # partitions that change nothing when the twins change places
    assert len(ONE_ROUND) == MEMBERS * (SIDES + together) // 2
    assert len(TWO_ROUNDS) == (SIDES**2 + together**2) // 2
    for twin in range(MEMBERS):
        every = {(far << 1,) for far in range(SIDES)}
        kept = {rounds for one, rounds in ONE_ROUND if one == twin}
        assert kept | {swapped(rounds, twin) for rounds in kept} == every
        assert all(swapped(swapped(rounds, twin), twin) == rounds for rounds in every)


def test_three_agree_keep_their_rules_and_go_on_whatever_the_twins_do(monkeypatch: pytest.MonkeyPatch) -> None:
    said: dict[tuple[Rounds, int, int, int], set[bytes]] = {}
    watch = Checker.sends_vote
    here: list[tuple[int, Rounds]] = []

    def noted(self: Checker, member: int, vote: Vote, disk: Disk | None) -> None:
        if member not in self.honest:
            said.setdefault((*here, vote.view, int(vote.kind)), set()).add(vote.block_hash)  # type: ignore[arg-type]
        watch(self, member, vote, disk)

    monkeypatch.setattr(Checker, "sends_vote", noted)
    street = the_street()
    for scene in ONE_ROUND:
        here[:] = [scene]
        assert play([scene], street) > 0
    double = {scene for scene, *_ in said if any(len(hashes) > 1 for key, hashes in said.items() if key[0] == scene)}
    assert len(double) >= len(ONE_ROUND) // 4, "in many scenes the twins vote for two blocks in one view"


def test_two_rounds() -> None:
    assert play(TWO_ROUNDS, the_street()) > 2 * len(TWO_ROUNDS)


@pytest.mark.parametrize(
    ("plant", "words"), [(quorum_2f, "check [1-5]"), (finalize_after_nullify, "check 4")], ids=["quorum 2f", "both"]
)
def test_a_bug_is_found(plant: object, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert callable(plant)
    plant(monkeypatch)
    with pytest.raises(Violation, match=rf"{words}.* \(twin \d, rounds [\d,]+\)"):
        play([*ONE_ROUND, *TWO_ROUNDS], the_street())


def test_a_violation_is_replayed_by_its_name(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["twins", "--replay", "1", "10,4"])
    assert twins.main() == 0
    assert "1 scenes" in capsys.readouterr().out
