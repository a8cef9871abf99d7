"""What one voter does in the current view: work, propose, notarize, nullify, finalize (R2 to R6), and what it keeps for that.

`Machine` stands on it and feeds it: messages, certificates, time. Nothing here sends by itself: effects are collected.
"""

from __future__ import annotations

from typing import Final

from ledger.base.crypto import ED25519, ZERO_HASH, Scheme
from ledger.base.errors import InvalidBlock
from ledger.base.genesis import Genesis
from ledger.base.limits import BLOCK_BYTES_MAX
from ledger.base.units import Millis
from ledger.base.votes import (
    Certificate,
    Committee,
    Evidence,
    Kind,
    Vote,
    block_time_ms,
    culprits,
    knows_time,
)
from ledger.state.blocks import Block
from ledger.state.chain import Chain
from ledger.state.mempool import Mempool
from ledger.state.rules import membership
from ledger.state.transition import Draft, Executed, build_block

from . import answers
from .bodies import Bodies, Missing, Rejected, parent_certificate
from .effects import Effects, Now, ProposalToSign, VoteToSign
from .elector import leader_of
from .evidence import EvidencePool
from .messages import BOOT_ID_BYTES, Message, Status
from .records import Body, Found, Held, Record, encode_record
from .register import Register
from .requests import Requests
from .timekeeping import TRUST_STALE, Timekeeper
from .view import View
from .work import Situation, has_work

FRESH_TIMEOUTS: Final = 10  # D that a started node waits: a second card with its key shows itself within some redials


class Voter:
    """`me` is this node's seat in the committee, or None for a follower, which never votes.

    `fresh` says that the node has just started: it votes once it has heard what others hold of its own votes, and not before a
    second card with its key would have shown itself.
    """

    def __init__(
        self,
        genesis: Genesis,
        chain: Chain,
        mempool: Mempool,
        *,
        committee: Committee,
        me: int | None,
        final_certificate: Certificate | None,
        now: Now,
        scheme: Scheme = ED25519,
        effects: Effects | None = None,
        evidence: EvidencePool | None = None,
        clock_agrees: bool = True,
        boot_id: bytes = bytes(BOOT_ID_BYTES),
        fresh: bool = False,
        recovery: bytes = b"",
    ) -> None:
        self.genesis, self.chain, self.mempool, self.me, self._scheme = genesis, chain, mempool, me, scheme
        self.committee, self.epoch = committee, committee.epoch
        self.register = Register(genesis.chain_id, committee, scheme)
        self.final_certificate = final_certificate
        self.evidence = EvidencePool() if evidence is None else evidence
        self.bodies = Bodies(chain, committee)
        self.view = self.final_view + 1
        self.requests = Requests()
        self.time = Timekeeper(
            stale_ms=genesis.timing.stale_ms,
            faulty_max=committee.faulty_max,
            final_time_ms=chain.final.header.time_ms,
            now=now,
            agrees=clock_agrees,
        )
        self._recovery = recovery
        self._boot_id = boot_id
        self._unheard = committee.quorum - 1 if fresh and me is not None else 0
        self._heard: set[int] = set()  # seats; membership only
        self._votes_from_ms = (
            now.mono_ms + FRESH_TIMEOUTS * genesis.consensus.timeout_ms if self._unheard else now.mono_ms
        )
        self._entered_ms = now.mono_ms
        self._nullified_in_a_row = 0
        self._nonempty_notarized_ms = now.mono_ms - 3_600_000
        self._nonempty_at = (0, 0)  # epoch and view of that block
        self._certified_at, self._certified_ms = (
            (0, 0),
            now.mono_ms - 3_600_000,
        )  # of the newest block that was certified here
        self._retransmit_ms = now.mono_ms
        self._retransmit_after = self.timeout_ms * 2
        self.effects = Effects() if effects is None else effects

    # ---- what others may ask

    @property
    def final_view(self) -> int:
        """The view of the last final block in this epoch; 0 for the block that the epoch stands on."""
        header = self.chain.final.header
        return header.view if header.epoch == self.epoch else 0

    @property
    def timeout_ms(self) -> Millis:
        """D: half again as long for every view nullified in a row, up to a cap."""
        agree = self.genesis.consensus
        stretched: Millis = agree.timeout_ms * 3**self._nullified_in_a_row // 2**self._nullified_in_a_row
        return min(stretched, agree.timeout_ms * agree.timeout_factor_max)

    @property
    def sealed(self) -> bool:
        """Whether the sealing block of this epoch is final."""
        return membership.epoch_of(self.chain.final.state).number > self.epoch

    @property
    def leader(self) -> int:
        """The seat that leads the current view."""
        return leader_of(self.view, self.epoch, len(self.committee))

    @property
    def votes(self) -> bool:
        """Whether this node votes now: it has a seat and knows what it signed before."""
        return self.me is not None and not self._unheard

    def status(self) -> Status:
        """Where this node stands, for its peers."""
        final = self.chain.final
        asks = int(self.me is not None and not self.votes)
        return Status(self.epoch, final.header.height, self.final_view, final.hash, self.view, asks, self._boot_id)

    def estimate_ms(self, now: Now) -> Millis:
        """The present in ledger time: the wall clock if trusted, else the last final time and what has passed since."""
        return self.time.estimate_ms(now)

    def block(self, block_hash: bytes) -> Block | None:
        """An unfinal block that is held here."""
        return self.bodies.get(block_hash)

    @property
    def behind(self) -> bool:
        """Whether a finalization is held whose block could not be executed here yet."""
        final = self.register.highest_final
        return final is not None and final.view > self.final_view

    # ---- what is kept

    def _view(self, number: int) -> View:
        return self.register.view(number)

    def _take_certificate(self, certificate: Certificate) -> bool:
        """Keep a certificate from outside if it is new, useful and valid."""
        if certificate.epoch != self.epoch or certificate.view <= self.final_view:
            return False
        held = self.register.certificates(certificate.view)
        if any((each.kind, each.block_hash) == (certificate.kind, certificate.block_hash) for each in held):
            return False
        if not self.register.holds(certificate):
            self.effects.notes.append(f"a certificate for view {certificate.view} that does not hold was dropped")
            return False
        self.register.found += [evidence for each in held for evidence in culprits(each, certificate)]
        self._take_found()
        if any(each.kind == certificate.kind for each in held):
            return False  # two of one kind: more than f have lied; the first counts here
        self._look_for_own(certificate)
        self._keep_certificate(certificate)
        return True

    def _keep_certificate(self, certificate: Certificate) -> None:
        self.register.keep(certificate)
        self.requests.certified(certificate.view)
        self._record(Held(certificate))
        self.send(certificate)

    # ---- the rules

    def _execute(self, block_hash: bytes, now: Now) -> Executed | None:
        """The executed block of a certificate; asks for a body that is missing, says what is invalid."""
        known = self.chain.get(block_hash)
        if known is not None:
            self._note_certified(known, now)
            return known
        match self.bodies.execute(block_hash):
            case Missing(missing):
                wanted = self.requests.body(missing, now.mono_ms, 2 * self.timeout_ms)
                if wanted is not None:
                    self.send(wanted[1], wanted[0])
            case Rejected(block, why):
                self._say_rejected(block, why)
            case Executed() as executed:
                self._note_certified(executed, now)
                return executed
        return None

    def _is_young(self, parent: Executed, now: Now) -> bool:
        """Whether a block was certified here lately: an old stamp on its child is then no quiet hour's."""
        young_ms = TRUST_STALE * self.genesis.timing.stale_ms
        at = (parent.header.epoch, parent.header.view)
        return at == self._certified_at and now.mono_ms - self._certified_ms <= young_ms

    def _note_certified(self, executed: Executed, now: Now) -> None:
        """From the first certificate of a block with transactions on, the intervals of R2 run; of any block, it is young."""
        at = (executed.header.epoch, executed.header.view)
        if at > self._certified_at:
            self._certified_at, self._certified_ms = at, now.mono_ms
        if executed.block is not None and executed.block.transactions and at > self._nonempty_at:
            self._nonempty_at, self._nonempty_notarized_ms = at, now.mono_ms

    def _say_rejected(self, block: Block, why: str) -> None:
        self.effects.notes.append(f"block {block.hash.hex()[:16]} of view {block.view} is invalid: {why}")

    def _tip(self, now: Now) -> tuple[Executed, Certificate | None] | None:
        """The block that the current view would extend and the certificate that proves it; None while something is missing."""
        for number in range(self.view - 1, self.final_view, -1):
            view = self.register.views.get(number)
            certificate = view.parent_certificate() if view else None
            if certificate is not None:
                executed = self._execute(certificate.block_hash, now)
                return None if executed is None else (executed, certificate)
            if view is None or view.nullification is None:
                self._want_view(number, now)
                return None
        if self.final_view == 0:
            return self.chain.final, None  # an epoch's first block needs no proof of the one that it stands on
        if self.final_certificate is None:
            return None  # caught up in part only: what proves the last final block is still to come
        return self.chain.final, self.final_certificate

    def _has_work(self, now: Now) -> bool:
        view = self._view(self.view)
        lone = len(view.votes[Kind.NULLIFY]) <= self.committee.faulty_max
        if view.proposal is not None or view.votes[Kind.NOTARIZE] or not lone:
            return True
        tip = self._tip(now)
        return tip is not None and has_work(self._situation(tip[0], now))

    def _situation(self, tip: Executed, now: Now) -> Situation:
        return Situation(
            consensus=self.genesis.consensus,
            mempool=self.mempool,
            tip=tip,
            tip_is_final=tip.hash == self.chain.final.hash,
            tip_seals=self._seals(tip),
            accuses=bool(self.evidence.against(tip.state)),
            now_ms=now.mono_ms,
            estimate_ms=self.estimate_ms(now),
            entered_ms=self._entered_ms,
            nonempty_notarized_ms=self._nonempty_notarized_ms,
            timeout_ms=self.timeout_ms,
            recovers=bool(self._recovery) and tip.header.epoch != self.epoch,
        )

    def _seals(self, tip: Executed) -> bool:
        """Whether a block, or one that it stands on in this epoch, is the sealing block: what follows is discarded."""
        return membership.epoch_of(tip.state).number > self.epoch

    def _propose(self, view: View, now: Now) -> None:
        if self.leader != self.me or view.work_since_ms is None or view.own.proposed is not None or view.own.nullified:
            return
        tip = self._tip(now)
        if tip is None:
            return
        parent, certificate = tip
        certificate = None if certificate is None else self.register.fullest(certificate)
        time_ms = block_time_ms(parent.header.time_ms, certificate, self.committee)
        lags = self.estimate_ms(now) - time_ms > self.genesis.timing.stale_ms
        # where too few know the time, one tick shows that the street is awake, and more of them would not help
        tick = lags and (knows_time(certificate, self.committee) or not self._is_young(parent, now))
        draft = Draft(
            self.epoch,
            self.view,
            self.me,
            time_ms,
            certificate.encoded if certificate is not None else b"",
            () if self._seals(parent) else self.evidence.against(parent.state),
            self._recovery if parent.header.epoch != self.epoch else b"",
        )
        room = BLOCK_BYTES_MAX - answers.bytes_beside_transactions(draft)
        candidates = [] if tick or self._seals(parent) else self.mempool.candidates(parent)
        built = build_block(self.chain.context, parent, candidates, draft, bytes_max=room)
        assert built.block is not None, "a built block has a body"
        self.chain.add(built)
        self.bodies.keep(built.block)
        view.own.proposed = built.hash
        request = ProposalToSign(self.epoch, self.view, built.hash)
        self._record(Body(built.block))
        self._record(request)
        self.effects.to_sign.append(request)

    def _notarize(self, view: View, now: Now) -> None:
        proposal = view.proposal
        if proposal is None or view.rejected or view.own.notarized is not None or view.own.nullified:
            return
        block = proposal.block
        try:
            if not self._may_notarize(block, now):
                return
        except InvalidBlock as error:
            self.bodies.reject(block, str(error))
            self._say_rejected(block, str(error))
            view.rejected = True
            self._nullify(view)
            return
        self.bodies.keep(block)
        if view.own.proposed != block.hash:
            self._record(Body(block))
        self._vote(view, Kind.NOTARIZE, block.hash, now)

    def _may_notarize(self, block: Block, now: Now) -> bool:
        """False while something is missing that was asked for. Raises `InvalidBlock`."""
        header = block.header
        certificate = parent_certificate(block)
        if certificate is not None and certificate.view > self.final_view:
            held = self._view(certificate.view).certificates.get(certificate.kind)
            if held is None or held.encoded != certificate.encoded:
                self._must_hold(certificate)
                self._take_certificate(certificate)
        elif header.parent_hash != self.chain.final.hash:
            raise InvalidBlock("parent", header.parent_hash, self.chain.final.hash)
        elif certificate is not None:
            self._must_hold(certificate)
        for number in range(max(header.parent_view, self.final_view) + 1, header.view):
            if self._view(number).nullification is None:
                self._want_view(number, now)
                return False
        if self._execute(header.parent_hash, now) is None:
            return False
        self.bodies.check_time(block, certificate)
        self.chain.execute(block)
        parent = self.chain.get(header.parent_hash)
        lagging = parent is not None and self._is_young(parent, now) and not knows_time(certificate, self.committee)
        earliest_ms = None if lagging else self.time.earliest_ms(now)
        if block.transactions and earliest_ms is not None and header.time_ms < earliest_ms:
            raise InvalidBlock("block time", header.time_ms, f"at least {earliest_ms}")
        return True

    def _must_hold(self, certificate: Certificate) -> None:
        if not self.register.holds(certificate):
            raise InvalidBlock("parent's certificate", "one that does not hold", "a quorum's signatures")

    def _time_out(self, view: View, now: Now) -> None:
        nullifies = view.votes[Kind.NULLIFY]
        if len(nullifies) > self.committee.faulty_max or self.leader in nullifies:
            self._nullify(view)
        if view.work_since_ms is None:
            return
        waited_ms = now.mono_ms - view.work_since_ms
        if waited_ms >= 3 * self.timeout_ms or (view.proposal is None and waited_ms >= 2 * self.timeout_ms):
            self._nullify(view)

    def _nullify(self, view: View) -> None:
        if view.own.nullified or view.own.finalized is not None:
            return
        self._vote(view, Kind.NULLIFY, ZERO_HASH, None)

    def _finalize(self, view: View, notarization: Certificate, now: Now) -> None:
        if not self.votes or view.own.nullified or view.equivocated or view.own.finalized is not None:
            return
        self._vote(view, Kind.FINALIZE, notarization.block_hash, now)

    def _vote(self, view: View, kind: Kind, block_hash: bytes, now: Now | None) -> None:
        time_ms = 0 if now is None else self.time.vote_ms(self.final_certificate, now)
        assert self.me is not None, "a follower never votes"
        vote = Vote(kind, self.epoch, self.view, block_hash, time_ms, self.me, b"")
        view.own.remember(vote)
        request = self._request(self.view, vote)
        self._record(request)
        self.effects.to_sign.append(request)

    def _request(self, view: int, vote: Vote) -> VoteToSign:
        return VoteToSign(vote.kind, self.epoch, view, vote.block_hash, vote.time_ms, vote.signer)

    def _record(self, record: Record) -> None:
        self.effects.records.append(encode_record(record))

    # ---- evidence, and our own votes in others' hands

    def _take_found(self) -> bool:
        """Keep the evidence that came up; whether any was new."""
        before = len(self.effects.notes)
        for evidence in self.register.found:
            if (
                membership.check_evidence(self.chain.final.state, evidence) is not None
                and evidence not in self.evidence
            ):
                self._keep_evidence(evidence)
        self.register.found.clear()
        return len(self.effects.notes) > before

    def _keep_evidence(self, evidence: Evidence) -> None:
        self.evidence.add(evidence)
        self._record(Found(evidence))
        self.send(evidence)
        self.effects.notes.append(
            f"member {evidence.signer} signed what no honest member signs in view {evidence.view} of epoch {evidence.epoch}"
        )

    def _look_for_own(self, certificate: Certificate) -> None:
        if self.me is not None and self.me in certificate.signers:
            self._saw_own(certificate.votes()[certificate.signers.index(self.me)])

    def _saw_own(self, vote: Vote) -> None:
        """A vote of ours came from outside: where no record here has it, the wallet must know it."""
        view = self.register.views.get(vote.view)
        own = None if view is None else view.own.signed.get(vote.kind)
        if own is None or own.block_hash != vote.block_hash:
            self.effects.own_votes.append(vote)

    # ---- asking and sending

    def send(self, message: Message, to: int | None = None) -> None:
        """Send to a peer, or to all."""
        self.effects.sends.append((to, message))

    def _want_view(self, number: int, now: Now) -> None:
        wanted = self.requests.certificates(number, now.mono_ms, 2 * self.timeout_ms)
        if wanted is not None:
            self.send(wanted[1], wanted[0])

    def sign_again(self, request: VoteToSign | ProposalToSign) -> None:
        """Ask for a signature that did not come."""
        if request not in self.effects.to_sign:
            self.effects.to_sign.append(request)
