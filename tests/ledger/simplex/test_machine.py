"""The machine by hand: one member of four, fed votes and proposals that the test makes. One test a rule."""

from __future__ import annotations

from energo_simulator.street import fake_scheme
from ledger.base.crypto import ZERO_HASH
from ledger.base.intents import Transfer
from ledger.base.votes import Certificate, Kind, Vote, certificate_of, proposal_message, vote_message
from ledger.simplex.effects import Now, ProposalToSign, ReadyToSign, ToSign, VoteToSign
from ledger.simplex.elector import leader_of
from ledger.simplex.machine import Machine
from ledger.simplex.messages import CertificateRequest, Proposal
from ledger.state.chain import Chain
from ledger.state.mempool import Mempool
from ledger.state.origin import genesis_block
from ledger.state.transition import Context, Draft, Executed, build_block
from tests.ledger.streets import MATCHERS, ORIGIN_MS, Ledger, seed_of, street

SCHEME = fake_scheme()
TIMEOUT_MS = 300


class Bench:
    """A machine, its clock, and the other members' keys."""

    def __init__(self, me: int | None = 0) -> None:
        self.genesis = street(4, scheme=SCHEME)
        self.context = Context(self.genesis, MATCHERS, SCHEME)
        self.seeds = {SCHEME.public(seed_of(f"home{i} node")): seed_of(f"home{i} node") for i in range(1, 5)}
        self.mono_ms = 0
        self.first = genesis_block(self.genesis)
        self.chain = Chain(self.context, self.first)
        self.mempool = Mempool(self.context)
        self.machine = Machine(
            self.genesis,
            self.chain,
            self.mempool,
            committee=self.genesis.committee,
            me=me,
            final_certificate=None,
            now=self.now,
            scheme=SCHEME,
        )
        self.driver = Ledger(self.genesis, scheme=SCHEME)
        self.sent: list[object] = []
        self.records: list[bytes] = []

    @property
    def now(self) -> Now:
        return Now(self.mono_ms, ORIGIN_MS - 9_000 + self.mono_ms)

    def work(self) -> None:
        """A transaction waits: there is work."""
        raw = self.driver.ask("home1", Transfer(self.genesis.accounts["home2"], "CASH", 5))
        self.mempool.add(raw, self.chain.final)

    def pass_ms(self, elapsed_ms: int) -> list[ToSign]:
        self.mono_ms += elapsed_ms
        self.machine.on_timer(self.now)
        return self.take()

    def take(self) -> list[ToSign]:
        """What the machine wants signed; everything is signed and fed back."""
        asked: list[ToSign] = []
        effects = self.machine.effects
        while effects:
            to_sign = effects.to_sign
            self.sent += [message for _, message in effects.sends]
            self.records += effects.records
            effects.to_sign, effects.sends, effects.records, effects.commits, effects.notes = [], [], [], [], []
            asked += to_sign
            for request in to_sign:
                me = self.machine.me
                assert me is not None
                if isinstance(request, ProposalToSign):
                    message = proposal_message(self.genesis.chain_id, 0, request.view, request.block_hash)
                    self.machine.signed_proposal(request, self.sign(me, message), self.now)
                elif isinstance(request, VoteToSign):
                    self.machine.signed_vote(
                        self.vote(me, request.kind, request.view, request.block_hash, request.time_ms), self.now
                    )
        return asked

    def sign(self, member: int, message: bytes) -> bytes:
        return SCHEME.sign(self.seeds[self.genesis.committee.keys[member]], message)

    def vote(self, member: int, kind: Kind, view: int, block: bytes = ZERO_HASH, time_ms: int = 0) -> Vote:
        message = vote_message(self.genesis.chain_id, kind, 0, view, block, time_ms, member)
        return Vote(kind, 0, view, block, time_ms, member, self.sign(member, message))

    def others(self, kind: Kind, view: int, block: bytes = ZERO_HASH, count: int = 3) -> list[Vote]:
        time_ms = 0 if kind == Kind.NULLIFY else ORIGIN_MS - 9_000 + self.mono_ms
        return [self.vote(member, kind, view, block, time_ms) for member in range(1, count + 1)]

    def block(self, view: int, parent: Executed, certificate: Certificate | None = None, salt: int = 0) -> Executed:
        raw = [self.driver.ask("home1", Transfer(self.genesis.accounts["home2"], "CASH", 1 + salt))] if salt else []
        from ledger.base.intents import decode_transaction
        from ledger.base.votes import block_time_ms

        return build_block(
            self.context,
            parent,
            [decode_transaction(r) for r in raw],
            Draft(
                0,
                view,
                leader_of(view, 0, 4),
                block_time_ms(parent.header.time_ms, certificate, self.genesis.committee),
                b"" if certificate is None else certificate.encoded,
            ),
            bytes_max=60_000,
        )

    def proposal(self, executed: Executed, nullifications: tuple[Certificate, ...] = ()) -> Proposal:
        assert executed.block is not None
        view = executed.header.view
        message = proposal_message(self.genesis.chain_id, 0, view, executed.hash)
        return Proposal(executed.block, nullifications, self.sign(leader_of(view, 0, 4), message))


def kinds(asked: list[ToSign]) -> list[tuple[object, int]]:
    return [
        (r.kind.name if isinstance(r, VoteToSign) else "PROPOSE", r.view)
        for r in asked
        if not isinstance(r, ReadyToSign)
    ]


def test_an_idle_street_makes_no_votes_and_no_blocks() -> None:
    bench = Bench()
    for _ in range(20):
        assert bench.pass_ms(400) == []


def test_the_first_valid_proposal_is_notarized_and_recorded_with_its_body() -> None:
    bench = Bench()
    block = bench.block(1, bench.first)
    bench.machine.on_proposal(bench.proposal(block), bench.now)
    assert kinds(bench.take()) == [("NOTARIZE", 1)]
    assert block.block is not None
    assert any(block.block.encoded in record for record in bench.records)


def test_a_second_proposal_of_a_leader_is_not_notarized_and_its_view_not_finalized() -> None:
    bench = Bench()
    first, second = bench.block(1, bench.first), bench.block(1, bench.first, salt=1)
    bench.machine.on_proposal(bench.proposal(first), bench.now)
    bench.take()
    bench.machine.on_proposal(bench.proposal(second), bench.now)
    for vote in bench.others(Kind.NOTARIZE, 1, first.hash):
        bench.machine.on_vote(vote, bench.now)
    assert ("FINALIZE", 1) not in kinds(bench.take())
    assert bench.machine.view == 2


def test_a_notarization_in_the_current_view_is_finalized_and_the_next_view_entered() -> None:
    bench = Bench()
    block = bench.block(1, bench.first)
    bench.machine.on_proposal(bench.proposal(block), bench.now)
    bench.take()
    for vote in bench.others(Kind.NOTARIZE, 1, block.hash, 2):
        bench.machine.on_vote(vote, bench.now)
    assert kinds(bench.take()) == [("FINALIZE", 1)]
    assert bench.machine.view == 2
    for vote in bench.others(Kind.FINALIZE, 1, block.hash, 2):
        bench.machine.on_vote(vote, bench.now)
    bench.take()
    assert bench.chain.final.hash == block.hash


def test_nullify_when_no_proposal_came_two_timeouts_after_work_began() -> None:
    bench = Bench()
    bench.work()
    assert bench.pass_ms(1) == []
    assert bench.pass_ms(2 * TIMEOUT_MS - 2) == []
    assert kinds(bench.pass_ms(2)) == [("NULLIFY", 1)]


def test_nullify_three_timeouts_after_work_began_although_a_proposal_came_and_never_finalize_after() -> None:
    bench = Bench()
    block = bench.block(1, bench.first)
    bench.machine.on_proposal(bench.proposal(block), bench.now)
    bench.take()
    assert kinds(bench.pass_ms(3 * TIMEOUT_MS)) == [("NULLIFY", 1)]
    for vote in bench.others(Kind.NOTARIZE, 1, block.hash):
        bench.machine.on_vote(vote, bench.now)
    assert ("FINALIZE", 1) not in kinds(bench.take())
    assert bench.machine.view == 2


def test_never_notarize_after_nullify() -> None:
    bench = Bench()
    bench.work()
    bench.pass_ms(1)
    bench.pass_ms(2 * TIMEOUT_MS)
    bench.machine.on_proposal(bench.proposal(bench.block(1, bench.first)), bench.now)
    assert bench.take() == []


def test_f_plus_one_nullifies_are_joined_at_once_and_one_alone_is_not_work() -> None:
    bench = Bench()
    votes = bench.others(Kind.NULLIFY, 1, count=3)
    leader = leader_of(1, 0, 4)
    strangers = [vote for vote in votes if vote.signer != leader]
    bench.machine.on_vote(strangers[0], bench.now)
    assert bench.take() == []
    assert bench.pass_ms(10 * TIMEOUT_MS) == []
    bench.machine.on_vote(strangers[1], bench.now)
    assert kinds(bench.take()) == [("NULLIFY", 1)]


def test_an_invalid_block_is_nullified_at_once() -> None:
    bench = Bench()
    good = bench.block(1, bench.first)
    assert good.block is not None
    bad = type(good.block)(good.block.header._replace(state_root=bytes(32)), good.block.transactions, b"")
    message = proposal_message(bench.genesis.chain_id, 0, 1, bad.hash)
    bench.machine.on_proposal(Proposal(bad, (), bench.sign(leader_of(1, 0, 4), message)), bench.now)
    assert kinds(bench.take()) == [("NULLIFY", 1)]


def test_a_block_with_another_time_than_its_certificate_gives_is_invalid() -> None:
    bench = Bench()
    late = build_block(
        bench.context,
        bench.first,
        [],
        Draft(0, 1, leader_of(1, 0, 4), bench.first.header.time_ms + 2),
        bytes_max=60_000,
    )
    bench.machine.on_proposal(bench.proposal(late), bench.now)
    assert kinds(bench.take()) == [("NULLIFY", 1)]


def test_a_proposal_over_a_view_without_nullification_waits_and_asks_for_it() -> None:
    bench = Bench()
    for vote in bench.others(Kind.NULLIFY, 1):
        bench.machine.on_vote(vote, bench.now)
    bench.take()
    nullified = bench.machine._view(1).nullification
    assert nullified is not None
    assert bench.machine.view == 2

    fresh = Bench()
    fresh.machine.on_certificate(
        certificate_of(fresh.others(Kind.NULLIFY, 2)), fresh.now
    )  # entered 3? no: view 1 is open
    assert fresh.machine.view == 1
    proposal = fresh.proposal(fresh.block(2, fresh.first))
    fresh.machine.on_proposal(proposal, fresh.now)
    assert ("NOTARIZE", 2) not in kinds(fresh.take())
    fresh.machine.on_certificate(nullified, fresh.now)
    fresh.take()
    assert fresh.machine.view == 3  # both are nullified now


def test_a_missing_nullification_is_asked_for() -> None:
    bench = Bench()
    block = bench.block(1, bench.first)
    final = certificate_of(bench.others(Kind.FINALIZE, 3, block.hash))
    bench.machine.on_certificate(final, bench.now)
    bench.take()
    assert bench.machine.view == 4  # a finalization moves on without its body
    other = Bench()
    third = certificate_of(other.others(Kind.NOTARIZE, 1, other.block(1, other.first).hash))
    other.machine.on_certificate(third, other.now)
    other.take()
    assert other.machine.view == 1  # a notarization does not: the body must be executed first
    assert not any(isinstance(message, CertificateRequest) for message in other.sent)


def test_the_leader_proposes_once_and_proves_what_it_skipped() -> None:
    me = leader_of(2, 0, 4)
    bench = Bench(me)
    bench.work()
    bench.pass_ms(1)
    for member in range(4):
        if member != me:
            bench.machine.on_vote(bench.vote(member, Kind.NULLIFY, 1), bench.now)
    asked = kinds(bench.take())
    assert asked.count(("PROPOSE", 2)) == 1
    (proposal,) = [message for message in bench.sent if isinstance(message, Proposal)]
    assert [certificate.view for certificate in proposal.nullifications] == [1]
    assert kinds(bench.pass_ms(100)) == []


def test_after_a_quiet_hour_the_leader_first_proposes_an_empty_tick() -> None:
    me = leader_of(1, 0, 4)
    bench = Bench(me)
    bench.mono_ms = 60_000  # within the heartbeat; the last stamp is a minute old
    bench.work()
    bench.pass_ms(1)
    assert {p.block.transactions for p in bench.sent if isinstance(p, Proposal)} == {()}


def test_votes_far_ahead_forged_or_of_other_epochs_are_dropped() -> None:
    bench = Bench()
    bench.machine.on_vote(bench.vote(1, Kind.NULLIFY, 9), bench.now)
    forged = bench.vote(1, Kind.NULLIFY, 1)._replace(signer=2)
    bench.machine.on_vote(forged, bench.now)
    bench.machine.on_vote(bench.vote(1, Kind.NULLIFY, 1)._replace(epoch=1), bench.now)
    assert not any(bench.machine._view(v).votes[Kind.NULLIFY] for v in (1, 9))


def test_timeouts_stretch_with_every_nullified_view_and_are_capped() -> None:
    bench = Bench()
    seen = []
    for view in range(1, 12):
        seen.append(bench.machine.timeout_ms)
        for vote in bench.others(Kind.NULLIFY, view):
            bench.machine.on_vote(vote, bench.now)
        bench.take()
    assert seen[:4] == [300, 450, 675, 1012]
    assert seen[-1] == 8 * 300


def test_what_the_journal_holds_binds_the_member_after_a_restart() -> None:
    bench = Bench()
    block = bench.block(1, bench.first)
    bench.machine.on_proposal(bench.proposal(block), bench.now)
    bench.take()
    again = Bench()
    again.machine.recover(bench.records, again.now)
    assert kinds(again.take()) == [("NOTARIZE", 1)]  # the same vote, to be signed again
    again.machine.on_proposal(again.proposal(again.block(1, again.first, salt=3)), again.now)
    assert kinds(again.take()) == []
    assert again.machine._view(1).own.notarized == block.hash


def test_a_follower_commits_and_never_votes() -> None:
    bench = Bench(None)
    block = bench.block(1, bench.first)
    bench.machine.on_proposal(bench.proposal(block), bench.now)
    for kind in (Kind.NOTARIZE, Kind.FINALIZE):
        for vote in bench.others(kind, 1, block.hash):
            bench.machine.on_vote(vote, bench.now)
    bench.mono_ms += 10_000
    bench.machine.on_timer(bench.now)
    assert bench.machine.effects.to_sign == []
    assert bench.chain.final.hash == block.hash
