"""Situations that a swarm meets too rarely, each brought about on purpose."""

from __future__ import annotations

import pytest

from energo_simulator.faults import SCENARIOS, YEARS_MS, Faults
from ledger.base.errors import InvalidBlock
from ledger.base.intents import Nominate, Park, Transfer
from ledger.base.recovery import Recovery
from ledger.base.votes import Certificate, Committee, Kind, Vote
from ledger.gossip import frames
from ledger.gossip.flood import Have, Transaction
from ledger.simplex import machine as machines
from ledger.simplex.messages import Proposal
from tests.energo_simulator.directed import Directed, nobody

HOUR_MS = 3_600_000


def pay(world: Directed, home: int, *nodes: int):  # type: ignore[no-untyped-def]
    payee = world.genesis.accounts[world.homes[(home + 1) % len(world.homes)].name]
    return world.ask(home, Transfer(payee, "CASH", 7), *nodes)


def ready(nodes: int, seed: int = 1) -> Directed:
    """A street whose nodes have started, heard one another, and made a first block."""
    world = Directed(nodes, seed)
    world.pass_ms(30_000)  # the last slot is over: nothing wakes the street but what a test asks for
    first = pay(world, 0)
    assert world.until(lambda: world.final(first), 10_000)
    return world


# ---- R6: f+1 NULLIFY are joined


def known_to_two() -> bool:
    """A transaction that exactly f+1 of four know: whether it becomes final."""
    world = ready(4)
    leader = world.nodes[0].core.machine.leader  # type: ignore[union-attr]
    knowing = [(leader + 2) % 4, (leader + 3) % 4]  # the next two leaders have never heard of it

    def lost(sender: int, target: int, message: frames.AnyMessage) -> bool:
        return isinstance(message, Transaction | Have)

    world.lost = lost
    wanted = pay(world, knowing[0], *knowing)
    return world.until(lambda: world.final(wanted), 20_000)


def test_a_transaction_that_exactly_f_plus_one_know_becomes_final() -> None:
    assert known_to_two()


def test_without_the_joining_of_f_plus_one_it_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    time_out = machines.Machine._time_out

    def alone(self, view, now):  # type: ignore[no-untyped-def]
        held, view.votes[Kind.NULLIFY] = view.votes[Kind.NULLIFY], {}
        time_out(self, view, now)
        view.votes[Kind.NULLIFY] = held | view.votes[Kind.NULLIFY]

    monkeypatch.setattr(machines.Machine, "_time_out", alone)
    has_work = machines.Machine._has_work

    def asleep(self, now):  # type: ignore[no-untyped-def]
        view = self._view(self.view)
        held, view.votes[Kind.NULLIFY] = view.votes[Kind.NULLIFY], {}
        found = has_work(self, now)
        view.votes[Kind.NULLIFY] = held | view.votes[Kind.NULLIFY]
        return found

    monkeypatch.setattr(machines.Machine, "_has_work", asleep)
    assert not known_to_two()


# ---- a view that is notarized on one node and nullified on the others


@pytest.mark.parametrize("lonely", range(4))
def test_a_certified_split_heals(lonely: int) -> None:
    world = ready(4)
    view = world.nodes[0].core.machine.view  # type: ignore[union-attr]
    split = True

    def lost(sender: int, target: int, message: frames.AnyMessage) -> bool:
        if not split:
            return False
        if isinstance(message, Vote) and message.view == view and message.kind != Kind.NULLIFY:
            return target != lonely
        if isinstance(message, Certificate) and message.view == view and message.kind == Kind.NOTARIZE:
            return True
        if isinstance(message, Certificate | Vote) and message.kind == Kind.NULLIFY:
            return lonely in (sender, target)
        return isinstance(message, Proposal) and message.block.view > view

    world.lost = lost
    wanted = pay(world, 1, 0, 1, 2, 3)

    def is_split() -> bool:
        held = [node.core.machine.register.views.get(view) for node in world.nodes if node.core is not None]
        notarized = [each is not None and each.notarization is not None for each in held]
        nullified = [each is not None and each.nullification is not None for each in held]
        others = [n for n in range(4) if n != lonely]
        return notarized[lonely] and not nullified[lonely] and all(nullified[n] and not notarized[n] for n in others)

    assert world.until(is_split, 20_000)
    split = False
    assert world.until(lambda: world.final(wanted), 20_000)
    world.pass_ms(2_000)
    world.agree()


# ---- power cuts of the whole street


@pytest.mark.parametrize("after_ms", range(1, 40, 3))
def test_a_blackout_at_any_moment_of_a_view_loses_nothing_and_forks_nothing(after_ms: int) -> None:
    world = ready(4)
    wanted = pay(world, 2)
    world.pass_ms(after_ms)
    known = [node.core.chain.final.header.height for node in world.nodes if node.core is not None]
    world.cut()
    world.pass_ms(500)
    world.start()
    assert [node.core.chain.final.header.height for node in world.nodes if node.core is not None] >= known
    world.ask_again()
    assert world.until(lambda: world.final(wanted), 30_000)
    world.pass_ms(2_000)
    world.agree()


@pytest.mark.parametrize("after_ms", range(0, 400, 40))
def test_a_blackout_while_the_committee_changes(after_ms: int) -> None:
    world = ready(5)
    world.ask(4, Park(1))
    for home in range(4):
        pay(world, home)
    world.pass_ms(after_ms)
    world.cut()
    world.pass_ms(300)
    world.start()
    for home in (0, 1, 2, 3, 0, 1, 2, 3):  # an epoch has a least length in blocks
        world.ask_again()
        if world.until(lambda: all(n.core.machine.epoch == 1 for n in world.nodes if n.core), 4_000):
            break
        pay(world, home)
    assert [len(node.core.machine.committee) for node in world.nodes if node.core] == [4] * 5
    wanted = pay(world, 0)
    assert world.until(lambda: world.final(wanted), 20_000)
    world.agree()


# ---- seats that change while the street is split


def test_a_member_that_was_cut_off_learns_of_the_epochs_without_it() -> None:
    world = ready(5)
    world.lost = lambda sender, target, message: 4 in (sender, target)
    flag = 1
    for number in range(1, 4):
        world.ask(3, Park(flag))
        flag ^= 1
        for home in range(4):
            pay(world, home % 3)
            world.pass_ms(800)
        assert world.until(lambda number=number: world.nodes[0].core.machine.epoch >= number, 30_000)  # type: ignore[misc,union-attr]
    assert world.nodes[4].core.machine.epoch == 0  # type: ignore[union-attr]
    world.lost = nobody
    assert world.until(lambda: world.nodes[4].core.machine.epoch >= 3, 60_000)  # type: ignore[union-attr]
    world.pass_ms(5_000)
    world.agree()


def test_a_committee_that_is_not_there_cannot_be_switched_in() -> None:
    """Of the five that are to vote two are cut off and one more follows nobody: the four that vote now go on."""
    world = ready(5)
    away = {3, 4}
    world.lost = lambda sender, target, message: sender in away or target in away
    world.ask(2, Park(1))
    world.pass_ms(10_000)  # three of five are no quorum: nothing becomes final, so nothing changes
    assert {node.core.machine.epoch for node in world.nodes if node.core} == {0}
    away.remove(3)
    world.start()
    for number in range(4):
        for peer in range(4):
            if number != peer:
                world._link(world.nodes[number], world.nodes[peer])
    world.ask_again()
    four = pay(world, 0)
    assert world.until(lambda: world.final(four, 0, 1, 2, 3), 60_000)
    world.lost = nobody
    wanted = pay(world, 0)
    assert world.until(lambda: world.final(wanted), 60_000)


def test_nominations_move_a_seat_to_a_follower_that_is_level(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SCENARIOS, "calm", lambda rng, homes, f: Faults(seats=4))
    world = ready(5)
    follower = next(n.number for n in world.nodes if n.core is not None and n.core.machine.me is None)
    account = world.genesis.accounts[world.homes[follower].name]
    world.ask(0, Nominate((account,)))
    for home in (1, 2, 3, 1, 2, 3):
        wanted = pay(world, home)
        assert world.until(lambda wanted=wanted: world.final(wanted), 20_000)  # type: ignore[misc]
    assert [n.core.machine.epoch for n in world.nodes if n.core is not None] == [1] * 5
    assert world.nodes[follower].core.machine.me is not None  # type: ignore[union-attr]
    assert len(world.nodes[0].core.machine.committee) == 4  # type: ignore[union-attr]
    world.agree()


# ---- a night without a quorum


def test_eight_hours_without_a_quorum_cost_little_and_end_within_ten_seconds() -> None:
    world = ready(4)
    world.cut(2, 3)
    wanted = pay(world, 0)
    before = world.frames
    world.pass_ms(8 * HOUR_MS)
    assert world.frames - before < 6_500  # at a fixed rate it would be more than a hundred thousand
    for node in world.nodes[:2]:
        assert node.core is not None
        assert len(node.core.machine.register.views) < 20
        assert len(list(node.core.machine.bodies)) < 5
        assert node.disk.journal.size < 100_000
    world.start(2, 3)
    assert world.until(lambda: world.final(wanted), 10_000)


@pytest.mark.parametrize("skew_ms", YEARS_MS)
@pytest.mark.parametrize("odd", range(4))
def test_a_clock_in_1970_or_2106_moves_no_block_time(odd: int, skew_ms: int) -> None:
    world = ready(4)
    world.skews[odd] = skew_ms
    world.odd_clocks = {odd}
    for home in range(4):
        wanted = pay(world, home)
        assert world.until(lambda wanted=wanted: world.final(wanted), 20_000)  # type: ignore[misc]
        world.pass_ms(1_500)
    final = world.nodes[0].core.chain.final.header  # type: ignore[union-attr]
    assert abs(final.time_ms - world.now_ms) < 5_000


# ---- a quorum that is lost for good


def signed_recovery(world: Directed, goes_on: tuple[int, ...], signers: tuple[int, ...]) -> Recovery:
    core = world.nodes[goes_on[0]].core
    assert core is not None
    keys = tuple(sorted(world.homes[home].node_key for home in goes_on))
    final = core.chain.final
    plain = Recovery(core.machine.epoch + 1, final.header.height, final.hash, keys, ())
    message = plain.message(world.genesis.chain_id)
    seeds = [world.street.seed(f"{world.homes[home].name} owner") for home in signers]
    pairs = sorted((world.scheme.public(seed), world.scheme.sign(seed, message)) for seed in seeds)
    return plain._replace(signatures=tuple(pairs))


def test_a_street_that_lost_its_quorum_begins_again_by_hand_after_a_day() -> None:
    world = ready(5)
    world.cut(2, 3, 4)
    wanted = pay(world, 0)
    one, two = world.nodes[0], world.nodes[1]
    assert one.core is not None
    assert two.core is not None
    agreed = signed_recovery(world, (0, 1), (0, 1, 4))
    world.checker.committees[1] = Committee(1, agreed.committee)  # which no block before it names
    one.core.announce_recovery(agreed, world._now(0))
    world._guarded(one, lambda: one.drain(world._now(0)))
    assert world.until(lambda: two.core is not None and two.core.notice is not None, 1_000), "neighbors are told"
    world.pass_ms(23 * HOUR_MS)
    assert not world.final(wanted, 0, 1)
    assert world.until(lambda: world.final(wanted, 0, 1), 2 * HOUR_MS)
    assert one.core.machine.epoch == 1
    assert len(one.core.machine.committee) == 2
    world.start(2, 3, 4)
    assert world.until(lambda: all(n.core is not None and n.core.machine.epoch >= 1 for n in world.nodes), 120_000)
    for home in (0, 1, 0, 1, 0, 1):
        last = pay(world, home)
        assert world.until(lambda last=last: world.final(last), 60_000)  # type: ignore[misc]
    world.agree()
    assert len(world.nodes[0].core.machine.committee) == 5, "their nodes said that they are back"  # type: ignore[union-attr]


def test_a_recovery_is_void_once_the_street_has_gone_on() -> None:
    world = ready(4)
    core = world.nodes[0].core
    assert core is not None
    core.announce_recovery(signed_recovery(world, (0, 1), (0, 1, 2)), world._now(0))
    wanted = pay(world, 1)
    assert world.until(lambda: world.final(wanted), 10_000)
    world.pass_ms(1_000)
    assert core.notice is None
    with pytest.raises(InvalidBlock, match="more than half"):
        core.announce_recovery(signed_recovery(world, (0, 1), (0, 1)), world._now(0))
