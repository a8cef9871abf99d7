"""The machine by hand: one member of four, fed votes and proposals that a test makes. The rules' tests are in test_protocol."""

from __future__ import annotations

from collections.abc import Sequence

from energo_simulator.street import fake_scheme
from ledger.base.crypto import ZERO_HASH
from ledger.base.genesis import Genesis
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

    def __init__(self, me: int | None = 0, genesis: Genesis | None = None, *, fresh: bool = False) -> None:
        self.genesis = street(4, scheme=SCHEME) if genesis is None else genesis
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
            fresh=fresh,
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
            effects.own_votes = []
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

    def block(
        self,
        view: int,
        parent: Executed,
        certificate: Certificate | None = None,
        salt: int = 0,
        raws: Sequence[bytes] = (),
    ) -> Executed:
        raw = list(raws)
        if salt:
            raw.append(self.driver.ask("home1", Transfer(self.genesis.accounts["home2"], "CASH", 1 + salt)))
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
