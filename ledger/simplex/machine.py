"""The machine of one node: events in, effects out. Pure: time, votes' signatures and messages come from its driver.

A driver calls an `on_...` method with the present `Now`, then takes the effects and carries them out in this order: append
`records` durably, sign what is in `to_sign` (and hand the results to `signed_vote` / `signed_proposal`), send `sends`, apply
`commits`. Nothing may be sent before the records that stand beside it are durable.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from ledger.base.crypto import ED25519, ZERO_HASH, Scheme
from ledger.base.errors import InvalidBlock
from ledger.base.genesis import Genesis
from ledger.base.limits import BLOCK_BYTES_MAX
from ledger.base.units import Millis
from ledger.state.blocks import Block
from ledger.state.chain import Chain
from ledger.state.mempool import Mempool
from ledger.state.transition import Executed, build_block

from .bodies import Bodies, Missing, Rejected, parent_certificate
from .effects import Committed, Effects, Now, ProposalToSign, VoteToSign
from .elector import leader_of
from .messages import (
    NULLIFICATIONS_MAX,
    REQUEST_VIEWS_MAX,
    Certificate,
    CertificateRequest,
    Kind,
    Message,
    Proposal,
    Status,
    Vote,
    block_time_ms,
    certificate_is_valid,
    certificate_of,
    encode_vote,
    faulty_max,
    proposal_message,
    quorum,
    vote_is_valid,
)
from .records import Body, Held, Record, decode_record, encode_record
from .requests import Requests
from .timekeeping import Timekeeper
from .view import View
from .work import Situation, has_work, work_times

VIEWS_AHEAD: Final = 2  # votes and proposals further ahead are dropped: they will be sent again
RETRANSMIT_MAX_MS: Final = 60_000  # while nothing changes; a street without quorum for a night sends little


class Machine:
    """`me` is this node's number in the committee, or None for a follower, which never votes."""

    def __init__(
        self,
        genesis: Genesis,
        chain: Chain,
        mempool: Mempool,
        *,
        me: int | None,
        final_certificate: Certificate | None,
        now: Now,
        scheme: Scheme = ED25519,
    ) -> None:
        self.genesis, self.chain, self.mempool, self.me, self._scheme = genesis, chain, mempool, me, scheme
        self.committee: Sequence[bytes] = genesis.committee
        self.quorum = quorum(len(self.committee))
        self.faulty_max = faulty_max(len(self.committee))
        self.final_certificate = final_certificate
        self.view = chain.final.header.view + 1
        self._views: dict[int, View] = {}
        self._bodies = Bodies(chain, len(self.committee))
        self._requests = Requests([number for number in range(len(self.committee)) if number != me])
        self._time = Timekeeper(
            stale_ms=genesis.timing.stale_ms,
            faulty_max=self.faulty_max,
            final_time_ms=chain.final.header.time_ms,
            now=now,
        )
        self._entered_ms = now.mono_ms
        self._nullified_in_a_row = 0
        self._nonempty_notarized_ms = now.mono_ms - 3_600_000
        self._retransmit_ms = now.mono_ms
        self._retransmit_after = self.timeout_ms * 2
        self._highest_final: Certificate | None = None
        self.effects = Effects()

    # ---- what others may ask

    @property
    def final_view(self) -> int:
        """The view of the last final block."""
        return self.chain.final.header.view

    @property
    def timeout_ms(self) -> Millis:
        """D: half again as long for every view nullified in a row, up to a cap."""
        agree = self.genesis.consensus
        stretched: Millis = agree.timeout_ms * 3**self._nullified_in_a_row // 2**self._nullified_in_a_row
        return min(stretched, agree.timeout_ms * agree.timeout_factor_max)

    def status(self) -> Status:
        """Where this node stands, for its peers."""
        final = self.chain.final
        return Status(0, final.header.height, self.final_view, final.hash, self.view)

    def estimate_ms(self, now: Now) -> Millis:
        """The present in ledger time: the wall clock if trusted, else the last final time and what has passed since."""
        return self._time.estimate_ms(now)

    def block(self, block_hash: bytes) -> Block | None:
        """An unfinal block that is held here."""
        return self._bodies.get(block_hash)

    @property
    def behind(self) -> bool:
        """Whether a finalization is held whose block could not be executed here yet."""
        return self._highest_final is not None and self._highest_final.view > self.final_view

    # ---- events

    def recover(self, records: Iterable[bytes], now: Now) -> None:
        """Take back what this node's journal holds above the last final block."""
        for raw in records:
            record = decode_record(raw)
            match record:
                case Body(block):
                    self._bodies.keep(block)
                case Held(certificate):
                    if certificate.view > self.final_view:
                        self._view(certificate.view).certificates[certificate.kind] = certificate
                        if certificate.kind == Kind.FINALIZE:
                            self._note_final(certificate)
                case ProposalToSign(view, block_hash):
                    if view > self.final_view:
                        self._view(view).own.proposed = block_hash
                case VoteToSign(kind, view, block_hash, time_ms):
                    if view > self.final_view:
                        vote = Vote(kind, 0, view, block_hash, time_ms, self.me or 0, b"")
                        self._view(view).own.remember(vote)
        for number, held in sorted(self._views.items()):  # again to the signer, in the order in which they were made
            for vote in held.own.signed.values():
                self.effects.to_sign.append(VoteToSign(vote.kind, number, vote.block_hash, vote.time_ms))
        self.progress(now)

    def live_records(self) -> list[bytes]:
        """What the journal must still hold: everything above the last final block."""
        records: list[Record] = [Body(block) for block in self._bodies]
        for number, view in sorted(self._views.items()):
            if view.own.proposed is not None:
                records.append(ProposalToSign(number, view.own.proposed))
            records += [VoteToSign(v.kind, number, v.block_hash, v.time_ms) for v in view.own.signed.values()]
            records += [Held(certificate) for certificate in view.certificates.values()]
        return [encode_record(record) for record in records]

    def on_vote(self, vote: Vote, now: Now) -> None:
        """A vote from a peer."""
        if vote.epoch != 0 or not self.final_view < vote.view <= self.view + VIEWS_AHEAD:
            return
        known = self._view(vote.view).votes[vote.kind].get(vote.signer)
        if known is not None and known.block_hash == vote.block_hash:
            return
        if not vote_is_valid(vote, self.genesis.chain_id, self.committee, self._scheme):
            self.effects.notes.append(f"a vote for view {vote.view} with a bad signature was dropped")
            return
        if known is not None:
            self.effects.notes.append(f"member {vote.signer} voted twice in view {vote.view}; the first vote counts")
            return
        self._view(vote.view).votes[vote.kind][vote.signer] = vote
        self.progress(now)

    def on_certificate(self, certificate: Certificate, now: Now) -> None:
        """A certificate from a peer."""
        if self._take_certificate(certificate):
            self.progress(now)

    def on_proposal(self, proposal: Proposal, now: Now) -> None:
        """A leader's block."""
        header = proposal.block.header
        if header.epoch != 0 or not self.final_view < header.view <= self.view + VIEWS_AHEAD:
            return
        if header.leader != leader_of(header.view, 0, len(self.committee)):
            self.effects.notes.append(f"a proposal for view {header.view} that is not its leader's was dropped")
            return
        view = self._view(header.view)
        block_hash = proposal.block.hash
        if view.proposal is not None and view.proposal.block.hash == block_hash:
            return
        message = proposal_message(self.genesis.chain_id, 0, header.view, block_hash)
        if not self._scheme.verify(self.committee[header.leader], proposal.signature, message):
            self.effects.notes.append(f"a proposal for view {header.view} with a bad signature was dropped")
            return
        if view.proposal is not None:
            view.equivocated = True
            self.effects.notes.append(
                f"the leader of view {header.view} proposed two blocks; it is not finalized by us"
            )
            return
        view.proposal = proposal
        self._bodies.keep(proposal.block)
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
        if self._requests.arrived(block.hash):
            self._bodies.keep(block)
            self.progress(now)

    def on_status(self, peer: int, status: Status, now: Now) -> None:
        """Where a peer stands: it gets the certificates that it lacks, and our votes."""
        if status.final_height < self.chain.final.header.height and self.final_certificate is not None:
            self._send(self.final_certificate, peer)
        lacking = range(max(status.view, self.final_view + 1), self.view)
        for number in lacking[-REQUEST_VIEWS_MAX:]:
            for certificate in self._certificates(number):
                self._send(certificate, peer)
        if status.view <= self.view:
            self._send_own(peer)

    def on_certificate_request(self, peer: int, request: CertificateRequest) -> None:
        """A peer asks for certificates."""
        for number in request.views:
            for certificate in self._certificates(number):
                self._send(certificate, peer)

    def signed_vote(self, vote: Vote, now: Now) -> None:
        """The wallet signed a vote of ours: it goes out, and counts."""
        if vote.view <= self.final_view:
            return
        view = self._view(vote.view)
        view.own.signed[vote.kind] = vote
        view.votes[vote.kind][vote.signer] = vote
        self._send(vote)
        self.progress(now)

    def signed_proposal(self, request: ProposalToSign, signature: bytes, now: Now) -> None:
        """The wallet signed our block: it goes out."""
        block = self._bodies.get(request.block_hash)
        if block is None or request.view != self.view:
            return
        between = range(block.header.parent_view + 1, block.view)
        nullifications = [c for u in between[-NULLIFICATIONS_MAX:] if (c := self._view(u).nullification)]
        proposal = Proposal(block, tuple(nullifications), signature)
        self._view(block.view).proposal = proposal
        self._send(proposal)
        self.progress(now)

    def on_timer(self, now: Now) -> None:
        """Time passed: see `deadline_ms`."""
        self.progress(now)
        if now.mono_ms >= self._retransmit_ms:
            self._retransmit(now)

    def import_final(self, blocks: Sequence[Block], certificate: Certificate, now: Now) -> None:
        """Take over blocks that a verified finalization covers. Raises `InvalidBlock` where one does not fit."""
        for block in blocks:
            if block.height <= self.chain.final.header.height:
                continue
            if block.header.parent_hash != self.chain.final.hash:
                raise InvalidBlock("parent", block.header.parent_hash, self.chain.final.hash)
            self._bodies.check_time(block, parent_certificate(block))
            executed = self.chain.execute(block)
            self._commit(executed, certificate if certificate.block_hash == block.hash else None, now)
        self.progress(now)

    def is_final_proof(self, certificate: Certificate) -> bool:
        """Whether it is a valid finalization."""
        return certificate.kind == Kind.FINALIZE and self._valid(certificate)

    # ---- deadlines

    def deadline_ms(self, now: Now) -> Millis:
        """The monotonic time at which `on_timer` is wanted next."""
        times = [self._retransmit_ms]
        view = self._view(self.view)
        timeout = self.timeout_ms
        if view.work_since_ms is not None:
            times += [view.work_since_ms + 2 * timeout, view.work_since_ms + 3 * timeout]
        else:
            times += self._work_times(now)
        times += self._requests.retry_times(2 * timeout)
        return max(now.mono_ms + 1, min((t for t in times if t > now.mono_ms), default=self._retransmit_ms))

    def _work_times(self, now: Now) -> list[Millis]:
        tip = self._tip(now)
        return [] if tip is None else work_times(self._situation(tip[0], now))

    # ---- the rules

    def progress(self, now: Now) -> None:
        """Do everything that the rules ask for now."""
        self._form_certificates()
        self._commit_final(now)
        self._leave_views(now)
        view = self._view(self.view)
        if view.work_since_ms is None and self._has_work(now):
            view.work_since_ms = now.mono_ms
        if self.me is None:
            return
        self._propose(view, now)
        self._notarize(view, now)
        self._time_out(view, now)

    def _view(self, number: int) -> View:
        return self._views.setdefault(number, View())

    def _form_certificates(self) -> None:
        for number in [n for n in self._views if self.final_view < n <= self.view + VIEWS_AHEAD]:
            view = self._views[number]
            for kind in Kind:
                if kind in view.certificates:
                    continue
                for votes in view.tally(kind).values():
                    if len(votes) >= self.quorum:
                        certificate = certificate_of(votes)
                        self._keep_certificate(certificate)
                        if number == self.view and kind != Kind.NULLIFY and self.me is not None:
                            self._time.judge(certificate, self.me)

    def _take_certificate(self, certificate: Certificate) -> bool:
        """Keep a certificate from outside if it is new, useful and valid."""
        if certificate.view <= self.final_view:
            return False
        view = self._views.get(certificate.view)
        if view is not None and certificate.kind in view.certificates:
            return False
        if not self._valid(certificate):
            self.effects.notes.append(f"a certificate for view {certificate.view} that does not hold was dropped")
            return False
        self._keep_certificate(certificate)
        return True

    def _valid(self, certificate: Certificate) -> bool:
        view = self._views.get(certificate.view)
        known = frozenset(encode_vote(v) for v in view.votes[certificate.kind].values()) if view else frozenset()
        return certificate_is_valid(certificate, self.genesis.chain_id, self.committee, self._scheme, known)

    def _keep_certificate(self, certificate: Certificate) -> None:
        self._view(certificate.view).certificates[certificate.kind] = certificate
        self._requests.certified(certificate.view)
        self._record(Held(certificate))
        self._send(certificate)
        if certificate.kind == Kind.FINALIZE:
            self._note_final(certificate)

    def _note_final(self, certificate: Certificate) -> None:
        if self._highest_final is None or certificate.view > self._highest_final.view:
            self._highest_final = certificate

    def _certificates(self, number: int) -> list[Certificate]:
        if number == self.final_view and self.final_certificate is not None:
            return [self.final_certificate]
        view = self._views.get(number)
        return [] if view is None else list(view.certificates.values())

    def _commit_final(self, now: Now) -> None:
        certificate = self._highest_final
        if certificate is None or certificate.view <= self.final_view:
            return
        if self._execute(certificate.block_hash, now) is None:
            return
        path = self.chain.path(certificate.block_hash)
        assert path is not None, "an executed block stands on the last final one"
        for executed in path:
            own = self._views[executed.header.view].finalization if executed.header.view in self._views else None
            self._commit(executed, own, now)

    def _commit(self, executed: Executed, certificate: Certificate | None, now: Now) -> None:
        changes = self.chain.finalize(executed)
        self.effects.commits.append(Committed(self.chain.final, changes, certificate))
        self.final_certificate = certificate
        self._time.finalized(executed.header.time_ms, now)
        self._nullified_in_a_row = 0
        self.mempool.prune(self.chain.final)
        self._bodies.prune()
        self._views = {n: v for n, v in self._views.items() if n > self.final_view}
        self._requests.forget()
        if self.view <= self.final_view:
            self._enter(self.final_view + 1, now)

    def _leave_views(self, now: Now) -> None:
        while True:
            view = self._view(self.view)
            if self._highest_final is not None and self._highest_final.view >= self.view:
                self._enter(self._highest_final.view + 1, now)
            elif view.notarization is not None and self._execute(view.notarization.block_hash, now):
                self._finalize(view, view.notarization, now)
                self._nullified_in_a_row = 0 if view.own.finalized else self._nullified_in_a_row
                self._enter(self.view + 1, now)
            elif view.nullification is not None:
                self._nullified_in_a_row = min(self._nullified_in_a_row + 1, 16)
                self._enter(self.view + 1, now)
            else:
                return

    def _enter(self, number: int, now: Now) -> None:
        self.view = number
        self._entered_ms = now.mono_ms
        self._changed(now)

    def _changed(self, now: Now) -> None:
        self._retransmit_after = 2 * self.timeout_ms
        self._retransmit_ms = now.mono_ms + self._retransmit_after

    def _execute(self, block_hash: bytes, now: Now) -> Executed | None:
        """The executed block of a certificate; asks for a body that is missing, says what is invalid."""
        known = self.chain.get(block_hash)
        if known is not None:
            return known
        match self._bodies.execute(block_hash):
            case Missing(missing):
                self._want_body(missing, now)
            case Rejected(block, why):
                self._say_rejected(block, why)
            case Executed() as executed:
                if executed.block is not None and executed.block.transactions:
                    self._nonempty_notarized_ms = now.mono_ms
                return executed
        return None

    def _say_rejected(self, block: Block, why: str) -> None:
        self.effects.notes.append(f"block {block.hash.hex()[:16]} of view {block.view} is invalid: {why}")

    def _tip(self, now: Now) -> tuple[Executed, Certificate | None] | None:
        """The block that the current view would extend and the certificate that proves it; None while something is missing."""
        for number in range(self.view - 1, self.final_view, -1):
            view = self._views.get(number)
            certificate = view.parent_certificate() if view else None
            if certificate is not None:
                executed = self._execute(certificate.block_hash, now)
                return None if executed is None else (executed, certificate)
            if view is None or view.nullification is None:
                self._want_view(number, now)
                return None
        if self.final_certificate is None and self.chain.final.header.height > 0:
            return None  # caught up in part only: what proves the last final block is still to come
        return self.chain.final, self.final_certificate

    def _has_work(self, now: Now) -> bool:
        view = self._view(self.view)
        if view.proposal is not None or view.votes[Kind.NOTARIZE] or len(view.votes[Kind.NULLIFY]) > self.faulty_max:
            return True
        tip = self._tip(now)
        if tip is None:
            return False
        return has_work(self._situation(tip[0], now))

    def _situation(self, tip: Executed, now: Now) -> Situation:
        return Situation(
            consensus=self.genesis.consensus,
            mempool=self.mempool,
            tip=tip,
            tip_is_final=tip.hash == self.chain.final.hash,
            now_ms=now.mono_ms,
            estimate_ms=self.estimate_ms(now),
            entered_ms=self._entered_ms,
            nonempty_notarized_ms=self._nonempty_notarized_ms,
            timeout_ms=self.timeout_ms,
        )

    def _propose(self, view: View, now: Now) -> None:
        leads = leader_of(self.view, 0, len(self.committee)) == self.me
        if not leads or view.work_since_ms is None or view.own.proposed is not None or view.own.nullified:
            return
        tip = self._tip(now)
        if tip is None:
            return
        parent, certificate = tip
        time_ms = block_time_ms(parent.header.time_ms, certificate, len(self.committee))
        tick = self.estimate_ms(now) - time_ms > self.genesis.timing.stale_ms
        encoded = certificate.encoded if certificate is not None else b""
        assert self.me is not None, "a follower never proposes"
        built = build_block(
            self.chain.context,
            parent,
            [] if tick else self.mempool.candidates(parent),
            view=self.view,
            leader=self.me,
            time_ms=time_ms,
            certificate=encoded,
            bytes_max=BLOCK_BYTES_MAX - len(encoded),
        )
        assert built.block is not None, "a built block has a body"
        self.chain.add(built)
        self._bodies.keep(built.block)
        view.own.proposed = built.hash
        request = ProposalToSign(self.view, built.hash)
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
            self._bodies.reject(block, str(error))
            self._say_rejected(block, str(error))
            view.rejected = True
            self._nullify(view)
            return
        self._bodies.keep(block)
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
                if not self._valid(certificate):
                    raise InvalidBlock("parent's certificate", "one that does not hold", "q signatures")
                self._take_certificate(certificate)
        elif header.parent_hash != self.chain.final.hash:
            raise InvalidBlock("parent", header.parent_hash, self.chain.final.hash)
        elif certificate is not None and not self._valid(certificate):
            raise InvalidBlock("parent's certificate", "one that does not hold", "q signatures")
        for number in range(max(header.parent_view, self.final_view) + 1, header.view):
            if self._view(number).nullification is None:
                self._want_view(number, now)
                return False
        if self._execute(header.parent_hash, now) is None:
            return False
        self._bodies.check_time(block, certificate)
        self.chain.execute(block)
        earliest_ms = self._time.earliest_ms(now)
        if block.transactions and earliest_ms is not None and header.time_ms < earliest_ms:
            raise InvalidBlock("block time", header.time_ms, f"at least {earliest_ms}")
        return True

    def _time_out(self, view: View, now: Now) -> None:
        nullifies = view.votes[Kind.NULLIFY]
        if len(nullifies) > self.faulty_max or leader_of(self.view, 0, len(self.committee)) in nullifies:
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
        if self.me is None or view.own.nullified or view.equivocated or view.own.finalized is not None:
            return
        self._vote(view, Kind.FINALIZE, notarization.block_hash, now)

    def _vote(self, view: View, kind: Kind, block_hash: bytes, now: Now | None) -> None:
        time_ms = 0 if now is None else self._time.vote_ms(self.final_certificate, now)
        assert self.me is not None, "a follower never votes"
        view.own.remember(Vote(kind, 0, self.view, block_hash, time_ms, self.me, b""))
        request = VoteToSign(kind, self.view, block_hash, time_ms)
        self._record(request)
        self.effects.to_sign.append(request)

    def _record(self, record: Record) -> None:
        self.effects.records.append(encode_record(record))

    # ---- asking and sending

    def _send(self, message: Message, to: int | None = None) -> None:
        self.effects.sends.append((to, message))

    def _want_body(self, block_hash: bytes, now: Now) -> None:
        wanted = self._requests.body(block_hash, now.mono_ms, 2 * self.timeout_ms)
        if wanted is not None:
            self._send(wanted[1], wanted[0])

    def _want_view(self, number: int, now: Now) -> None:
        wanted = self._requests.certificates(number, now.mono_ms, 2 * self.timeout_ms)
        if wanted is not None:
            self._send(wanted[1], wanted[0])

    def _send_own(self, to: int | None) -> None:
        """Own proposal and votes of the current view, and own FINALIZE votes that are not confirmed."""
        for number in range(self.final_view + 1, self.view + 1):
            view = self._views.get(number)
            if view is None or self.me is None:
                continue
            if number == self.view and view.proposal is not None and view.own.proposed is not None:
                self._send(view.proposal, to)
            for kind, vote in view.own.signed.items():
                if number < self.view and kind != Kind.FINALIZE:
                    continue
                if vote.signature:
                    self._send(vote, to)
                else:
                    self._sign_again(VoteToSign(kind, number, vote.block_hash, vote.time_ms))

    def _sign_again(self, request: VoteToSign | ProposalToSign) -> None:
        if request not in self.effects.to_sign:
            self.effects.to_sign.append(request)

    def _retransmit(self, now: Now) -> None:
        view = self._view(self.view)
        if view.own.proposed is not None and view.proposal is None:
            self._sign_again(ProposalToSign(self.view, view.own.proposed))
        self._send_own(None)
        self._send(self.status())
        self._retransmit_after = min(2 * self._retransmit_after, RETRANSMIT_MAX_MS)
        self._retransmit_ms = now.mono_ms + self._retransmit_after
