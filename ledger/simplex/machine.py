"""The machine of one node in one epoch: events in, effects out. Pure: time, votes' signatures and messages come from its driver.

A driver calls an `on_...` method with the present `Now`, then takes the effects and carries them out in this order: append
`records` durably, ask the wallet whether it knows `own_votes`, sign what is in `to_sign` (and hand the results to `signed_vote` /
`signed_proposal`), send `sends`, apply `commits`. Nothing may be sent before the records that stand beside it are durable.

When a sealing block is final the machine is `sealed` and does nothing more; its owner begins the next epoch with a new one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
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
    evidence_is_valid,
    knows_time,
)
from ledger.state.blocks import Block
from ledger.state.chain import Chain
from ledger.state.mempool import Mempool
from ledger.state.rules import membership
from ledger.state.transition import Draft, Executed, build_block

from . import answers
from .bodies import Bodies, Missing, Rejected, parent_certificate
from .effects import Committed, Effects, Now, ProposalToSign, VoteToSign
from .elector import leader_of
from .evidence import EvidencePool
from .messages import BOOT_ID_BYTES, NULLIFICATIONS_MAX, CertificateRequest, Echo, Message, Proposal, Status
from .records import Body, Found, Held, Record, decode_record, encode_record
from .register import Register
from .requests import Requests
from .timekeeping import TRUST_STALE, Timekeeper
from .view import View
from .work import Situation, has_work, work_times

FRESH_TIMEOUTS: Final = 10  # D that a started node waits: a second card with its key shows itself within some redials
VIEWS_AHEAD: Final = 2  # votes and proposals further ahead are dropped: they will be sent again
RETRANSMIT_MAX_MS: Final = 60_000  # while nothing changes; a street without quorum for a night sends little


class Machine:
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

    # ---- events

    def recover(self, records: Iterable[bytes], now: Now) -> None:
        """Take back what this node's journal holds of this epoch above the last final block."""
        for raw in records:
            record = decode_record(raw)
            match record:
                case Body(block):
                    self.bodies.keep(block)
                case Found(evidence):
                    self.evidence.add(evidence)
                case Held(certificate):
                    if certificate.epoch == self.epoch and certificate.view > self.final_view:
                        self.register.keep(certificate)
                case ProposalToSign():
                    if record.epoch == self.epoch and record.view > self.final_view:
                        self._view(record.view).own.proposed = record.block_hash
                case VoteToSign():
                    if record.epoch == self.epoch and record.view > self.final_view and record.seat == self.me:
                        self._view(record.view).own.remember(Vote(*record, b""))
        for number, held in sorted(
            self.register.views.items()
        ):  # again to the signer, in the order in which they were made
            for vote in held.own.signed.values():
                self.effects.to_sign.append(self._request(number, vote))
        self.progress(now)

    def live_records(self) -> list[bytes]:
        """What the journal must still hold: everything above the last final block."""
        records: list[Record] = [Body(block) for block in self.bodies]
        records += [Found(evidence) for evidence in self.evidence]
        for number, view in sorted(self.register.views.items()):
            if number <= self.final_view:
                continue
            if view.own.proposed is not None:
                records.append(ProposalToSign(self.epoch, number, view.own.proposed))
            records += [self._request(number, vote) for vote in view.own.signed.values()]
            records += [Held(certificate) for certificate in view.certificates.values()]
        return [encode_record(record) for record in records]

    def on_vote(self, vote: Vote, now: Now) -> None:
        """A vote from a peer."""
        late = (
            vote.view == self.final_view and vote.kind == Kind.FINALIZE
        )  # of use in the certificate of the next block
        if vote.epoch != self.epoch or not (late or self.final_view < vote.view <= self.view + VIEWS_AHEAD):
            return
        refused = self.register.add_vote(vote)
        if refused:
            self.effects.notes.append(refused)
        if self._take_found() or refused is None:
            self.progress(now)

    def on_certificate(self, certificate: Certificate, now: Now) -> None:
        """A certificate from a peer."""
        if self._take_certificate(certificate):
            self.progress(now)

    def on_proposal(self, proposal: Proposal, now: Now) -> None:
        """A leader's block."""
        header = proposal.block.header
        if header.epoch != self.epoch or not self.final_view < header.view <= self.view + VIEWS_AHEAD:
            return
        if header.leader != leader_of(header.view, self.epoch, len(self.committee)):
            self.effects.notes.append(f"a proposal for view {header.view} that is not its leader's was dropped")
            return
        refused = self.register.add_proposal(proposal)
        if refused:
            self.effects.notes.append(refused)
        found = self._take_found()
        if refused is not None:
            if found:
                self.progress(now)
            return
        self.bodies.keep(proposal.block)
        try:
            certificates = (parent_certificate(proposal.block), *proposal.nullifications)
        except InvalidBlock:
            certificates = (None, *proposal.nullifications)  # judged, with its reason, when it is to be notarized
        for certificate in certificates:
            if certificate is not None:
                self._take_certificate(certificate)
        self.progress(now)

    def on_body(self, block: Block, now: Now) -> None:
        """A block that was asked for."""
        if self.requests.arrived(block.hash):
            self.bodies.keep(block)
            self.progress(now)

    def on_evidence(self, evidence: Evidence, now: Now) -> None:
        """What a peer says proves that a member lied."""
        keys = membership.check_evidence(self.chain.final.state, evidence)
        if keys is None or evidence in self.evidence:
            return
        if not evidence_is_valid(evidence, self.genesis.chain_id, keys, self._scheme):
            self.effects.notes.append(f"evidence against member {evidence.signer} that does not hold was dropped")
            return
        self._keep_evidence(evidence)
        self.progress(now)

    def on_status(self, peer: int, seat: int | None, status: Status, now: Now) -> None:
        """Where a peer stands: it gets the certificates that it lacks, our votes, and its own where it has just started."""
        if status.epoch == self.epoch:
            answers.answer_status(self, peer, seat, status)

    def on_echo(self, seat: int | None, echo: Echo, now: Now) -> None:
        """What a member holds of our own votes."""
        if seat is None or self.me is None or echo.epoch != self.epoch:
            return
        for vote in echo.votes:
            if vote.signer == self.me and self.register.holds_vote(vote):
                self._saw_own(vote)
        self._heard.add(seat)
        self._hear(now)
        self.progress(now)

    def _hear(self, now: Now) -> None:
        """A node that has just started may vote once enough members told what they hold, and another card would have shown."""
        if len(self._heard) >= self._unheard and now.mono_ms >= self._votes_from_ms:
            self._unheard = 0

    def on_certificate_request(self, peer: int, request: CertificateRequest) -> None:
        """A peer asks for certificates."""
        for number in request.views:
            for certificate in answers.certificates(self, number):
                self.send(certificate, peer)

    def signed_vote(self, vote: Vote, now: Now) -> None:
        """The wallet signed a vote of ours: it goes out, and counts."""
        if vote.epoch != self.epoch or vote.view <= self.final_view:
            return
        view = self._view(vote.view)
        view.own.signed[vote.kind] = vote
        view.votes[vote.kind][vote.signer] = vote
        self.send(vote)
        self.progress(now)

    def signed_proposal(self, request: ProposalToSign, signature: bytes, now: Now) -> None:
        """The wallet signed our block: it goes out."""
        block = self.bodies.get(request.block_hash)
        if block is None or (request.epoch, request.view) != (self.epoch, self.view):
            return
        between = range(block.header.parent_view + 1, block.view)
        nullifications = [c for u in between[-NULLIFICATIONS_MAX:] if (c := self._view(u).nullification)]
        proposal = Proposal(block, tuple(nullifications), signature)
        self._view(block.view).proposal = proposal
        self.send(proposal)
        self.progress(now)

    def silence(self) -> None:
        """This card may have signed what it does not know of: it follows from here on and never votes in this epoch."""
        self.me = None
        self.effects.to_sign.clear()

    def on_timer(self, now: Now) -> None:
        """Time passed: see `deadline_ms`."""
        self._hear(now)
        self.progress(now)
        if now.mono_ms >= self._retransmit_ms:
            self._retransmit(now)

    def import_final(self, blocks: Sequence[Block], tail: answers.Tail, certificate: Certificate, now: Now) -> None:
        """Take over blocks that a verified finalization covers, by way of the headers `tail`. Raises `InvalidBlock`."""
        newest = certificate
        for block in blocks:
            if block.height <= self.chain.final.header.height or self.sealed:
                continue
            if block.header.parent_hash != self.chain.final.hash:
                raise InvalidBlock("parent", block.header.parent_hash, self.chain.final.hash)
            parent = parent_certificate(block)
            self.bodies.check_time(block, parent)
            executed = self.chain.execute(block)
            newest = parent if parent is not None and self.me in parent.signers else newest
            own = certificate if certificate.block_hash == block.hash else None
            if own is None and self._seals(executed):
                self._commit(executed, certificate, now, tail)
            else:
                self._commit(executed, own, now)
        self._look_for_own(newest if self.me not in certificate.signers else certificate)
        self.progress(now)

    def is_final_proof(self, certificate: Certificate) -> bool:
        """Whether it is a valid finalization."""
        return certificate.kind == Kind.FINALIZE and self.register.holds(certificate)

    # ---- deadlines

    def deadline_ms(self, now: Now) -> Millis:
        """The monotonic time at which `on_timer` is wanted next."""
        times = [self._retransmit_ms, self._votes_from_ms]
        view = self._view(self.view)
        timeout = self.timeout_ms
        if view.work_since_ms is not None:
            times += [view.work_since_ms + 2 * timeout, view.work_since_ms + 3 * timeout]
        else:
            times += self._work_times(now)
        times += self.requests.retry_times(2 * timeout)
        return max(now.mono_ms + 1, min((t for t in times if t > now.mono_ms), default=self._retransmit_ms))

    def _work_times(self, now: Now) -> list[Millis]:
        tip = self._tip(now)
        return [] if tip is None else work_times(self._situation(tip[0], now))

    # ---- the rules

    def progress(self, now: Now) -> None:
        """Do everything that the rules ask for now."""
        if self.sealed:
            return
        for certificate in self.register.formed(self.final_view + 1, self.view + VIEWS_AHEAD):
            self._keep_certificate(certificate)
            if certificate.view == self.view and certificate.kind != Kind.NULLIFY and self.me is not None:
                self.time.judge(certificate, self.me, now)
        self._commit_final(now)
        if not self._leave_views(now):
            return
        view = self._view(self.view)
        if view.work_since_ms is None and self._has_work(now):
            view.work_since_ms = now.mono_ms
        if not self.votes:
            return
        self._propose(view, now)
        self._notarize(view, now)
        self._time_out(view, now)

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

    def _commit_final(self, now: Now) -> None:
        certificate = self.register.highest_final
        if certificate is None or certificate.view <= self.final_view:
            return
        if self._execute(certificate.block_hash, now) is None:
            return
        path = self.chain.path(certificate.block_hash)
        assert path is not None, "an executed block stands on the last final one"
        for place, executed in enumerate(path):
            if self.sealed:
                return
            views = self.register.views
            own = views[executed.header.view].finalization if executed.header.view in views else None
            if own is None and membership.epoch_of(executed.state).number != self.epoch:
                tail = tuple(above.header for above in path[place + 1 :])
                self._commit(executed, certificate, now, tail)
            else:
                self._commit(executed, own, now)

    def _commit(self, executed: Executed, certificate: Certificate | None, now: Now, tail: answers.Tail = ()) -> None:
        changes = self.chain.finalize(executed)
        self.effects.commits.append(Committed(self.chain.final, changes, certificate, tail))
        self.final_certificate = certificate
        self.time.finalized(executed.header.time_ms, now)
        self._nullified_in_a_row = 0
        self.mempool.prune(self.chain.final)
        self.evidence.prune(self.chain.final.state)
        self.bodies.prune()
        self.register.prune(self.final_view)
        self.requests.forget()
        if self.view <= self.final_view:
            self._enter(self.final_view + 1, now)

    def _leave_views(self, now: Now) -> bool:
        """Enter what the certificates allow; False once the epoch is sealed."""
        while not self.sealed:
            view, final = self._view(self.view), self.register.highest_final
            if final is not None and final.view >= self.view:
                self._enter(final.view + 1, now)
            elif view.notarization is not None and self._execute(view.notarization.block_hash, now):
                self._finalize(view, view.notarization, now)
                self._nullified_in_a_row = 0 if view.own.finalized else self._nullified_in_a_row
                self._enter(self.view + 1, now)
            elif view.nullification is not None:
                self._nullified_in_a_row = min(self._nullified_in_a_row + 1, 16)
                self._enter(self.view + 1, now)
            else:
                return True
        return False

    def _enter(self, number: int, now: Now) -> None:
        self.view = number
        self._entered_ms = now.mono_ms
        self._retransmit_after = 2 * self.timeout_ms
        self._retransmit_ms = now.mono_ms + self._retransmit_after

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

    def _retransmit(self, now: Now) -> None:
        answers.retransmit(self)
        self._retransmit_after = min(2 * self._retransmit_after, RETRANSMIT_MAX_MS)
        self._retransmit_ms = now.mono_ms + self._retransmit_after
