"""The machine of one node in one epoch: events in, effects out. Pure: time, votes' signatures and messages come from its driver.

A driver calls an `on_...` method with the present `Now`, then takes the effects and carries them out in this order: append
`records` durably, ask the wallet whether it knows `own_votes`, sign what is in `to_sign` (and hand the results to `signed_vote` /
`signed_proposal`), send `sends`, apply `commits`. Nothing may be sent before the records that stand beside it are durable.

When a sealing block is final the machine is `sealed` and does nothing more; its owner begins the next epoch with a new one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from ledger.base.errors import InvalidBlock
from ledger.base.units import Millis
from ledger.base.votes import (
    Certificate,
    Evidence,
    Kind,
    Vote,
    evidence_is_valid,
)
from ledger.state.blocks import Block
from ledger.state.rules import membership
from ledger.state.transition import Executed

from . import answers
from .bodies import parent_certificate
from .effects import Committed, Now, ProposalToSign, VoteToSign
from .elector import leader_of
from .messages import NULLIFICATIONS_MAX, CertificateRequest, Echo, Proposal, Status
from .records import Body, Found, Held, Record, decode_record, encode_record
from .voter import Voter
from .work import work_times

VIEWS_AHEAD: Final = 2  # votes and proposals further ahead are dropped: they will be sent again
RETRANSMIT_MAX_MS: Final = 60_000  # while nothing changes; a street without quorum for a night sends little


class Machine(Voter):
    """Events in, effects out: see `Voter` for what it is made with, and for what it does in a view."""

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

    def _retransmit(self, now: Now) -> None:
        answers.retransmit(self)
        self._retransmit_after = min(2 * self._retransmit_after, RETRANSMIT_MAX_MS)
        self._retransmit_ms = now.mono_ms + self._retransmit_after
