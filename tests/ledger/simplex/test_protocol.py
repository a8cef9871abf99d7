"""One test a sentence: the numbers are those of the protocol in `ledger/simplex/__init__.py`."""

from __future__ import annotations

import ast
import re
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

import ledger.simplex
from ledger.base.crypto import ZERO_HASH
from ledger.base.intents import decode_transaction
from ledger.base.votes import Certificate, Kind, Vote, block_time_ms, certificate_of, proposal_message
from ledger.simplex.effects import ProposalToSign, VoteToSign
from ledger.simplex.elector import leader_of
from ledger.simplex.machine import Machine
from ledger.simplex.messages import CertificateRequest, Echo, Proposal, Status
from ledger.simplex.records import Found, Held, decode_record
from ledger.state.transition import Draft, Executed, build_block
from tests.ledger.simplex.test_machine import SCHEME, TIMEOUT_MS, Bench, kinds
from tests.ledger.streets import ORIGIN_MS

HERE = Path(__file__).parent
LEADER = leader_of(1, 0, 4)


def test_every_sentence_of_the_protocol_has_a_test() -> None:
    sentences = set(re.findall(r"^(\d+\.\d+) ", ledger.simplex.__doc__ or "", re.MULTILINE))
    assert len(sentences) > 40
    tested: set[str] = set()
    for path in HERE.glob("test_*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef) and (found := re.match(r"test_r(\d+)_(\d+)_", node.name)):
                tested.add(f"{found[1]}.{found[2]}")
    assert tested == sentences


def notarized(bench: Bench, view: int, block: Executed) -> Certificate:
    return certificate_of(bench.others(Kind.NOTARIZE, view, block.hash))


def nullified(bench: Bench, view: int) -> Certificate:
    return certificate_of(bench.others(Kind.NULLIFY, view))


def finalized(bench: Bench, view: int, block: Executed) -> Certificate:
    return certificate_of(bench.others(Kind.FINALIZE, view, block.hash))


def propose(bench: Bench, block: Executed) -> None:
    bench.machine.on_proposal(bench.proposal(block), bench.now)


# ---- R1


def test_r1_1_a_notarization_is_entered_on_when_its_block_was_executed() -> None:
    bench = Bench()
    block = bench.block(1, bench.first)
    bench.machine.on_certificate(notarized(bench, 1, block), bench.now)
    assert bench.machine.view == 1
    propose(bench, block)
    assert bench.machine.view == 2


def test_r1_2_a_nullification_is_entered_on() -> None:
    bench = Bench()
    bench.machine.on_certificate(nullified(bench, 1), bench.now)
    assert bench.machine.view == 2


def test_r1_3_a_finalization_is_entered_on_without_its_block() -> None:
    bench = Bench()
    bench.machine.on_certificate(finalized(bench, 5, bench.block(1, bench.first)), bench.now)
    assert bench.machine.view == 6
    assert bench.machine.behind


# ---- R2


def awake(bench: Bench) -> bool:
    return bench.machine._view(bench.machine.view).work_since_ms is not None


def test_r2_1_a_transaction_is_work_once_the_interval_has_passed() -> None:
    bench = Bench()
    block = bench.block(1, bench.first, salt=1)
    propose(bench, block)
    bench.machine.on_certificate(finalized(bench, 1, block), bench.now)
    bench.take()
    bench.work()
    bench.pass_ms(50)
    assert not awake(bench), "the last non-empty block is 50 ms old, the interval is 100"
    bench.pass_ms(60)
    assert awake(bench)


def test_r2_2_a_proposal_or_a_notarize_is_work() -> None:
    for first in (True, False):
        bench = Bench()
        block = bench.block(1, bench.first)
        if first:
            propose(bench, block)
        else:
            bench.machine.on_vote(bench.vote(1, Kind.NOTARIZE, 1, block.hash, 5), bench.now)
        assert awake(bench)


def test_r2_3_nullify_of_more_than_f_is_work_and_of_f_is_not() -> None:
    bench = Bench()
    strangers = [member for member in (1, 2, 3) if member != LEADER]
    bench.machine.on_vote(bench.vote(strangers[0], Kind.NULLIFY, 1), bench.now)
    bench.pass_ms(20 * TIMEOUT_MS)
    assert not awake(bench)
    bench.machine.on_vote(bench.vote(strangers[1], Kind.NULLIFY, 1), bench.now)
    assert awake(bench)


def test_r2_4_an_ancestor_that_is_not_final_is_work_after_a_while() -> None:
    bench = Bench()
    block = bench.block(1, bench.first)
    propose(bench, block)
    bench.machine.on_certificate(notarized(bench, 1, block), bench.now)
    assert bench.machine.view == 2
    bench.pass_ms(2 * TIMEOUT_MS - 1)
    assert not awake(bench)
    bench.pass_ms(1)
    assert awake(bench)


def test_r2_5_a_boundary_behind_our_estimate_is_work() -> None:
    bench = Bench()
    bench.mono_ms = 8_999  # the first slot starts at the origin, nine seconds from here
    bench.machine.on_timer(bench.now)
    woken = awake(bench)
    bench.pass_ms(5)
    assert (woken, awake(bench)) == (False, True)


def test_r2_6_evidence_is_work() -> None:
    bench = Bench()
    for block in (b"a" * 32, b"b" * 32):
        bench.machine.on_vote(bench.vote(3, Kind.FINALIZE, 1, block, 5), bench.now)
    bench.take()
    assert awake(bench)


def test_r2_7_the_heartbeat_is_work() -> None:
    bench = Bench()
    after_ms = bench.genesis.consensus.heartbeat_ms
    assert bench.machine.deadline_ms(bench.now) <= after_ms
    idle = replace_slots(bench)
    idle.mono_ms = after_ms - 1_001
    idle.machine.on_timer(idle.now)
    assert not awake(idle)
    idle.mono_ms = after_ms + 1
    idle.machine.on_timer(idle.now)
    assert awake(idle)


def replace_slots(bench: Bench) -> Bench:
    """The same with no boundary of a slot before the heartbeat."""
    late = Bench(genesis=bench.genesis._replace(timing=bench.genesis.timing._replace(origin_ms=ORIGIN_MS + 10**9)))
    return late


# ---- R3


def leading(view: int = 1) -> Bench:
    bench = Bench(leader_of(view, 0, 4))
    bench.work()
    return bench


def test_r3_1_the_leader_proposes_once_and_records_first() -> None:
    bench = leading()
    bench.machine.on_timer(bench.now)
    requests = [r for r in bench.machine.effects.to_sign if isinstance(r, ProposalToSign)]
    assert len(requests) == 1
    assert any(decode_record(raw) == requests[0] for raw in bench.machine.effects.records)
    bench.take()
    assert [r for r in bench.pass_ms(50) if isinstance(r, ProposalToSign)] == []


def test_r3_2_it_extends_the_highest_notarized_block_and_proves_the_views_between() -> None:
    me = leader_of(3, 0, 4)
    bench = Bench(me)
    block = bench.block(1, bench.first)
    propose(bench, block)
    bench.machine.on_certificate(notarized(bench, 1, block), bench.now)
    bench.machine.on_certificate(nullified(bench, 2), bench.now)
    bench.take()
    bench.pass_ms(3 * TIMEOUT_MS)  # D is half again as long after a nullified view
    (proposal,) = [m for m in bench.sent if isinstance(m, Proposal)]
    assert proposal.block.header.parent_hash == block.hash
    assert [c.view for c in proposal.nullifications] == [2]


def test_r3_3_after_a_quiet_while_an_empty_tick_comes_first() -> None:
    bench = leading()
    bench.mono_ms = 60_000
    bench.machine.on_timer(bench.now)
    bench.take()
    (proposal,) = [m for m in bench.sent if isinstance(m, Proposal)]
    assert proposal.block.transactions == ()


# ---- R4


def test_r4_1_body_and_vote_are_recorded_together_before_the_vote_is_signed() -> None:
    bench = Bench()
    block = bench.block(1, bench.first)
    propose(bench, block)
    effects = bench.machine.effects
    assert block.block is not None
    (request,) = effects.to_sign
    assert isinstance(request, VoteToSign)
    kept = [decode_record(raw) for raw in effects.records]
    assert request in kept
    assert any(block.block.encoded in raw for raw in effects.records)
    assert not any(isinstance(m, Vote) for _, m in effects.sends)


def test_r4_2_a_second_proposal_is_never_notarized() -> None:
    bench = Bench()
    propose(bench, bench.block(1, bench.first))
    bench.take()
    propose(bench, bench.block(1, bench.first, salt=1))
    assert ("NOTARIZE", 1) not in kinds(bench.take())


def test_r4_3_nothing_is_notarized_in_a_view_that_we_nullified() -> None:
    bench = Bench()
    bench.work()
    bench.pass_ms(1)
    bench.pass_ms(2 * TIMEOUT_MS)
    propose(bench, bench.block(1, bench.first))
    assert bench.take() == []


def test_r4_4_a_parent_that_is_not_proven_or_below_the_final_block_is_refused() -> None:
    bench = Bench()
    one = bench.block(1, bench.first)
    propose(bench, one)
    bench.machine.on_certificate(finalized(bench, 1, one), bench.now)
    bench.take()
    propose(bench, bench.block(2, bench.first, salt=2))
    assert kinds(bench.take()) == [("NULLIFY", 2)]
    forged = Bench()
    block = forged.block(1, forged.first)
    propose(forged, block)
    forged.machine.on_certificate(notarized(forged, 1, block), forged.now)
    forged.take()
    empty = certificate_of([v._replace(signature=bytes(64)) for v in forged.others(Kind.NOTARIZE, 1, block.hash)])
    child = forged.block(2, block, empty)
    propose(forged, child)
    assert ("NOTARIZE", 2) not in kinds(forged.take())


def test_r4_5_a_view_between_without_nullification_is_asked_for_and_the_vote_waits() -> None:
    bench = Bench()
    bench.machine.requests.others = [1, 2, 3]
    proof = nullified(bench, 1)
    bench.machine.on_certificate(finalized(bench, 0 + 1, bench.first), bench.now)  # none: view 1 stays open
    other = Bench()
    other.machine.requests.others = [1, 2, 3]
    other.machine.view = 2  # as if it had come here by a finalization whose block is still to come
    block = other.block(2, other.first)
    propose(other, block)
    assert ("NOTARIZE", 2) not in kinds(other.take())
    assert CertificateRequest((1,)) in other.sent
    other.machine.on_certificate(proof, other.now)
    assert ("NOTARIZE", 2) in kinds(other.take())


def test_r4_6_a_block_whose_root_or_time_disagrees_is_nullified_at_once() -> None:
    for field in ("state_root", "time_ms"):
        bench = Bench()
        good = bench.block(1, bench.first).block
        assert good is not None
        header = good.header
        header = (
            header._replace(state_root=bytes(32))
            if field == "state_root"
            else header._replace(time_ms=header.time_ms + 1)
        )
        bad = replace(good, header=header)
        message = proposal_message(bench.genesis.chain_id, 0, 1, bad.hash)
        bench.machine.on_proposal(Proposal(bad, (), bench.sign(LEADER, message)), bench.now)
        assert kinds(bench.take()) == [("NULLIFY", 1)]


def test_r4_7_an_old_stamp_on_transactions_is_invalid_for_a_trusted_clock() -> None:
    for late_ms, voted in ((900, "NOTARIZE"), (1_100, "NULLIFY")):
        bench = Bench()
        bench.mono_ms = late_ms
        propose(bench, bench.block(1, bench.first, salt=1))
        assert kinds(bench.take()) == [(voted, 1)]


# ---- R5


def test_r5_1_a_notarization_in_the_current_view_is_finalized_unless_nullified() -> None:
    for nullify_first in (False, True):
        bench = Bench()
        block = bench.block(1, bench.first)
        propose(bench, block)
        bench.take()
        if nullify_first:
            bench.pass_ms(3 * TIMEOUT_MS)
        bench.machine.on_certificate(notarized(bench, 1, block), bench.now)
        assert (("FINALIZE", 1) in kinds(bench.take())) != nullify_first
        assert bench.machine.view == 2


def test_r5_2_a_view_whose_leader_proposed_two_blocks_is_not_finalized() -> None:
    bench = Bench()
    block = bench.block(1, bench.first)
    propose(bench, block)
    propose(bench, bench.block(1, bench.first, salt=1))
    bench.machine.on_certificate(notarized(bench, 1, block), bench.now)
    assert ("FINALIZE", 1) not in kinds(bench.take())


def test_r5_3_certificates_are_recorded_and_forwarded_once() -> None:
    bench = Bench()
    certificate = nullified(bench, 1)
    for _ in range(3):
        bench.machine.on_certificate(certificate, bench.now)
    bench.take()
    assert bench.sent.count(certificate) == 1
    assert [decode_record(raw) for raw in bench.records].count(Held(certificate)) == 1


# ---- R6


def test_r6_1_no_proposal_for_two_timeouts() -> None:
    bench = Bench()
    bench.work()
    bench.pass_ms(1)
    assert bench.pass_ms(2 * TIMEOUT_MS - 1) == []
    assert kinds(bench.pass_ms(1)) == [("NULLIFY", 1)]


def test_r6_2_a_view_that_is_not_left_for_three_timeouts() -> None:
    bench = Bench()
    propose(bench, bench.block(1, bench.first))
    bench.take()
    assert bench.pass_ms(3 * TIMEOUT_MS - 1) == []
    assert kinds(bench.pass_ms(1)) == [("NULLIFY", 1)]


def test_r6_3_the_leaders_own_nullify_is_joined() -> None:
    bench = Bench()
    bench.machine.on_vote(bench.vote(LEADER, Kind.NULLIFY, 1), bench.now)
    assert kinds(bench.take()) == [("NULLIFY", 1)]


def test_r6_4_more_than_f_are_joined() -> None:
    bench = Bench()
    for member in [m for m in (1, 2, 3) if m != LEADER]:
        assert bench.take() == []
        bench.machine.on_vote(bench.vote(member, Kind.NULLIFY, 1), bench.now)
    assert kinds(bench.take()) == [("NULLIFY", 1)]


def test_r6_5_a_finalized_view_is_never_nullified_by_us() -> None:
    bench = Bench()
    block = bench.block(1, bench.first)
    propose(bench, block)
    bench.machine.on_certificate(notarized(bench, 1, block), bench.now)
    assert ("FINALIZE", 1) in kinds(bench.take())
    for vote in bench.others(Kind.NULLIFY, 1):
        bench.machine.on_vote(vote, bench.now)
    bench.pass_ms(10 * TIMEOUT_MS)
    assert not bench.machine._view(1).own.nullified


# ---- R8


def chain_of_two(bench: Bench) -> tuple[Executed, Executed]:
    one = bench.block(1, bench.first)
    propose(bench, one)
    certificate = notarized(bench, 1, one)
    bench.machine.on_certificate(certificate, bench.now)
    bench.take()
    two = bench.block(2, one, certificate)
    propose(bench, two)
    return one, two


def test_r8_1_a_finalization_commits_all_ancestors_in_order() -> None:
    bench = Bench()
    one, two = chain_of_two(bench)
    bench.machine.on_certificate(finalized(bench, 2, two), bench.now)
    assert [c.executed.hash for c in bench.machine.effects.commits] == [one.hash, two.hash]


def test_r8_2_finalize_votes_for_an_older_view_still_count() -> None:
    bench = Bench()
    one, _ = chain_of_two(bench)
    assert bench.machine.view == 2
    for vote in bench.others(Kind.FINALIZE, 1, one.hash):
        bench.machine.on_vote(vote, bench.now)
    assert bench.chain.final.hash == one.hash


# ---- R9, R10, R11


def test_r9_1_timeouts_stretch_and_are_themselves_again_after_a_finalization() -> None:
    bench = Bench()
    seen = []
    for view in range(1, 12):
        seen.append(bench.machine.timeout_ms)
        bench.machine.on_certificate(nullified(bench, view), bench.now)
    assert seen[:4] == [300, 450, 675, 1012]
    assert seen[-1] == 8 * 300
    block = bench.block(12, bench.first)
    propose(bench, block)
    bench.machine.on_certificate(finalized(bench, 12, block), bench.now)
    assert bench.machine.timeout_ms == 300


def test_r10_1_what_is_ours_is_sent_again_ever_more_rarely() -> None:
    bench = Bench()
    propose(bench, bench.block(1, bench.first))
    bench.take()
    times = []
    for _ in range(400):
        bench.sent.clear()
        bench.pass_ms(500)
        if any(isinstance(m, Status) for m in bench.sent):
            times.append(bench.mono_ms)
            assert any(isinstance(m, Vote) and m.kind == Kind.NOTARIZE for m in bench.sent)
    gaps = [b - a for a, b in pairwise(times)]
    assert gaps == sorted(gaps)
    assert gaps[0] <= 2_000
    assert gaps[-1] == 60_000


def test_r10_2_a_status_is_answered_with_what_its_sender_lacks() -> None:
    bench = Bench()
    certificates = [nullified(bench, view) for view in (1, 2)]
    for certificate in certificates:
        bench.machine.on_certificate(certificate, bench.now)
    bench.take()
    bench.sent.clear()
    bench.machine.on_status(7, 1, Status(0, 0, 0, bench.first.hash, 1, 0, bytes(8)), bench.now)
    sent = [(to, m) for to, m in bench.machine.effects.sends]
    assert [(7, c) for c in certificates] == [pair for pair in sent if isinstance(pair[1], Certificate)]


def test_r11_1_votes_are_taken_up_to_two_views_ahead_and_certificates_at_any() -> None:
    bench = Bench()
    for view in (3, 4):
        bench.machine.on_vote(bench.vote(1, Kind.NULLIFY, view), bench.now)
    assert [bool(bench.machine._view(v).votes[Kind.NULLIFY]) for v in (3, 4)] == [True, False]
    bench.machine.on_certificate(nullified(bench, 40), bench.now)
    assert bench.machine._view(40).nullification is not None


def test_r11_2_a_vote_counts_once_and_with_a_signature_that_holds() -> None:
    bench = Bench()
    good = bench.vote(1, Kind.NULLIFY, 1)
    for vote in (good, good, good._replace(signer=2), good._replace(signer=200)):
        bench.machine.on_vote(vote, bench.now)
    assert list(bench.machine._view(1).votes[Kind.NULLIFY]) == [1]


# ---- R12, R13


def test_r12_1_contradictions_are_kept_recorded_sent_and_carried() -> None:
    pairs = [
        (Kind.NOTARIZE, b"a" * 32, Kind.NOTARIZE, b"b" * 32),
        (Kind.FINALIZE, b"a" * 32, Kind.FINALIZE, b"b" * 32),
        (Kind.NULLIFY, ZERO_HASH, Kind.FINALIZE, b"a" * 32),
    ]
    for first, one, second, other in pairs:
        me = leader_of(1, 0, 4)
        bench = Bench(me)
        liar = next(m for m in range(4) if m != me)
        for kind, block in ((first, one), (second, other)):
            time_ms = 0 if kind == Kind.NULLIFY else 5
            bench.machine.on_vote(bench.vote(liar, kind, 2, block, time_ms), bench.now)
        bench.take()
        (evidence,) = list(bench.machine.evidence)
        assert Found(evidence) in [decode_record(raw) for raw in bench.records]
        assert evidence in bench.sent
        bench.pass_ms(1)
        proposal = next(m for m in bench.sent if isinstance(m, Proposal))
        assert proposal.block.evidence == (evidence,)
    bench = Bench()
    propose(bench, bench.block(1, bench.first))
    propose(bench, bench.block(1, bench.first, salt=1))
    assert len(list(bench.machine.evidence)) == 1


def test_r12_2_two_certificates_that_contradict_each_other_name_more_than_f() -> None:
    bench = Bench()
    a, b = bench.block(1, bench.first), bench.block(1, bench.first, salt=1)
    pairs = [
        (finalized(bench, 1, a), nullified(bench, 1)),
        (notarized(bench, 1, a), notarized(bench, 1, b)),
        (finalized(bench, 1, a), finalized(bench, 1, b)),
    ]
    for one, other in pairs:
        again = Bench()
        for certificate in (one, other):
            again.machine.on_certificate(certificate, again.now)
        assert [evidence.signer for evidence in again.machine.evidence] == [1, 2, 3]
    same = Bench()
    for certificate in (pairs[0][0], notarized(bench, 1, a)):
        same.machine.on_certificate(certificate, same.now)
    assert list(same.machine.evidence) == []


def test_r13_1_a_node_without_a_seat_commits_and_never_votes() -> None:
    bench = Bench(None)
    block = bench.block(1, bench.first)
    propose(bench, block)
    bench.machine.on_certificate(notarized(bench, 1, block), bench.now)
    bench.machine.on_certificate(finalized(bench, 1, block), bench.now)
    bench.mono_ms += 100_000
    bench.machine.on_timer(bench.now)
    assert bench.machine.effects.to_sign == []
    assert bench.chain.final.hash == block.hash


# ---- R14


def test_r14_1_the_journal_binds_after_a_restart() -> None:
    bench = Bench()
    block = bench.block(1, bench.first)
    propose(bench, block)
    bench.take()
    again = Bench()
    again.machine.recover(bench.records, again.now)
    assert kinds(again.take()) == [("NOTARIZE", 1)]
    propose(again, again.block(1, again.first, salt=3))
    assert kinds(again.take()) == []
    assert again.machine._view(1).own.notarized == block.hash


def started() -> Bench:
    return Bench(fresh=True)


def test_r14_2_a_started_member_votes_once_a_quorum_told_what_it_holds_and_a_while_has_passed() -> None:
    bench = started()
    propose(bench, bench.block(1, bench.first))
    assert bench.take() == []
    assert bench.machine.status().asks == 1
    bench.machine.on_echo(1, Echo(0, ()), bench.now)
    assert bench.pass_ms(10 * TIMEOUT_MS) == [], "one of the two that a quorum needs"
    bench.machine.on_echo(2, Echo(0, ()), bench.now)
    assert [name for name, _ in kinds(bench.take())] == ["NOTARIZE", "NULLIFY"]
    early = started()
    propose(early, early.block(1, early.first))
    for seat in (1, 2, 3):
        early.machine.on_echo(seat, Echo(0, ()), early.now)
    assert early.take() == []
    assert early.pass_ms(10 * TIMEOUT_MS - 1) == []
    assert early.pass_ms(1) != []


def test_r14_3_an_own_vote_from_outside_is_shown_to_the_wallet() -> None:
    bench = started()
    mine = bench.vote(0, Kind.NOTARIZE, 1, b"x" * 32, 5)
    bench.machine.on_echo(1, Echo(0, (mine,)), bench.now)
    assert bench.machine.effects.own_votes == [mine]
    forged = mine._replace(signature=bytes(64))
    bench.machine.effects.own_votes.clear()
    bench.machine.on_echo(2, Echo(0, (forged,)), bench.now)
    assert bench.machine.effects.own_votes == []
    other = Bench()
    votes = [other.vote(member, Kind.NULLIFY, 1) for member in (0, 1, 2)]
    other.machine.on_certificate(certificate_of(votes), other.now)
    assert other.machine.effects.own_votes == [votes[0]]


# ---- R15


class Sealing(Bench):
    """A street whose next block may seal the epoch."""

    def sealing_block(self, view: int, parent: Executed, certificate: Certificate | None) -> Executed:
        draft = Draft(
            0,
            view,
            leader_of(view, 0, 4),
            block_time_ms(parent.header.time_ms, certificate, self.genesis.committee),
            b"" if certificate is None else certificate.encoded,
        )
        raws = self.ready_words(parent)
        return build_block(self.context, parent, [decode_transaction(r) for r in raws], draft, bytes_max=60_000)

    def ready_words(self, parent: Executed) -> list[bytes]:
        from ledger.base.intents import Ready, transaction_bytes
        from ledger.state.rules.membership import committee_hash, epoch_of

        epoch = epoch_of(parent.state)
        return [
            transaction_bytes(
                Ready(committee_hash(epoch.coming)),
                chain_id=self.genesis.chain_id,
                sender=key,
                nonce=epoch.number + 1,
                valid_until_height=0,
                sign=lambda message, key=key: SCHEME.sign(self.seeds[key], message),  # type: ignore[misc]
            )
            for key in epoch.coming[:3]
        ]


def sealing_bench() -> tuple[Sealing, Executed, Certificate]:
    """A bench at view 3 with the sealing block executed, and what notarizes it."""
    from ledger.base.genesis import Genesis, Membership
    from ledger.base.intents import Park
    from tests.ledger.streets import street

    genesis = Genesis(*street(4, scheme=SCHEME)[:-1], Membership(epoch_blocks_min=1))
    bench = Sealing(genesis=genesis)
    parks = [bench.driver.ask("home4", Park(1))]
    one = bench.block(1, bench.first, raws=parks)
    propose(bench, one)
    bench.machine.on_certificate(notarized(bench, 1, one), bench.now)
    bench.take()
    two = bench.block(2, one, notarized(bench, 1, one))
    propose(bench, two)
    bench.machine.on_certificate(notarized(bench, 2, two), bench.now)
    bench.take()
    seal = bench.sealing_block(3, two, notarized(bench, 2, two))
    assert seal.block is not None
    assert len(seal.block.transactions) == 3
    propose(bench, seal)
    bench.take()
    return bench, seal, notarized(bench, 3, seal)


def test_r15_1_a_final_sealing_block_ends_the_machine() -> None:
    bench, seal, _ = sealing_bench()
    bench.machine.on_certificate(finalized(bench, 3, seal), bench.now)
    bench.take()
    assert bench.machine.sealed
    assert bench.chain.final.hash == seal.hash
    bench.work()
    assert bench.pass_ms(100 * TIMEOUT_MS) == []


def test_r15_2_a_sealing_block_that_a_descendant_made_final_carries_that_proof() -> None:
    bench, seal, certificate = sealing_bench()
    bench.machine.on_certificate(certificate, bench.now)
    bench.take()
    tail = bench.block(4, seal, certificate)
    propose(bench, tail)
    final = finalized(bench, 4, tail)
    bench.machine.on_certificate(final, bench.now)
    committed = bench.machine.effects.commits[-1]
    assert committed.executed.hash == seal.hash
    assert (committed.certificate, committed.tail) == (final, (tail.header,))


def test_r15_3_above_a_sealing_block_only_its_finality_is_work() -> None:
    bench, _, certificate = sealing_bench()
    bench.machine.on_certificate(certificate, bench.now)
    bench.take()
    bench.work()
    bench.pass_ms(2 * TIMEOUT_MS - 1)
    assert not awake(bench)
    bench.pass_ms(1)
    assert awake(bench)


def test_r15_4_the_first_block_of_an_epoch_stands_on_the_sealing_block() -> None:
    bench, seal, _ = sealing_bench()
    bench.machine.on_certificate(finalized(bench, 3, seal), bench.now)
    bench.take()
    from ledger.state.rules.membership import committee_of

    committee = committee_of(bench.chain.final.state)
    assert (committee.epoch, len(committee)) == (1, 3)
    key = committee.keys[leader_of(1, 1, 3)]
    after = Machine(
        bench.genesis,
        bench.chain,
        bench.mempool,
        committee=committee,
        me=committee.seat(key),
        final_certificate=None,
        now=bench.now,
        scheme=SCHEME,
    )
    bench.work()
    after.on_timer(bench.now)
    (request,) = [r for r in after.effects.to_sign if isinstance(r, ProposalToSign)]
    block = after.block(request.block_hash)
    assert block is not None
    header = block.header
    assert (header.epoch, header.view, header.parent_hash, header.parent_view) == (1, 1, seal.hash, 0)
    assert (block.parent_certificate, header.time_ms) == (b"", seal.header.time_ms + 1)


def test_r15_5_votes_and_certificates_of_another_epoch_are_dropped() -> None:
    bench = Bench()
    vote = bench.vote(1, Kind.NULLIFY, 1)._replace(epoch=1)
    bench.machine.on_vote(vote, bench.now)
    bench.machine.on_certificate(replace(nullified(bench, 1), epoch=1), bench.now)
    assert bench.machine.view == 1
    assert not bench.machine._view(1).votes[Kind.NULLIFY]


@pytest.mark.parametrize("value", [0, 7])
def test_the_leader_is_each_member_in_turn(value: int) -> None:
    assert sorted(leader_of(view, value, 4) for view in range(4)) == [0, 1, 2, 3]
