"""Villains, one class each: they run the honest core and lie on the wire, with no guard and no shame."""

from __future__ import annotations

from ledger.base.crypto import ZERO_HASH
from ledger.gossip import frames
from ledger.simplex.bodies import parent_certificate
from ledger.simplex.effects import Now, ProposalToSign, VoteToSign
from ledger.simplex.messages import Kind, Proposal, Vote, block_time_ms, proposal_message, vote_message
from ledger.state.transition import build_block

from .node import BOOT_ID, Node


class Equivocator(Node):
    """Votes for one block to half of its peers and for another, or for none, to the rest; proposes two blocks as leader."""

    def drain(self, now: Now) -> None:
        """Do what the core wants, and the opposite."""
        assert self.core is not None, "only a running node has work"
        while True:
            work = self.core.take_work()
            if not (work.records or work.to_sign or work.sends or work.commits):
                return
            for request in work.to_sign:
                self._lie(request, now)
            for to, message in work.sends:
                if not isinstance(message, Vote | Proposal):
                    self.post(self.number, to, frames.encode(message, BOOT_ID))
            for committed in work.commits:
                self.disk.commit(committed)

    def _vote(self, kind: Kind, view: int, block_hash: bytes, time_ms: int) -> Vote:
        message = vote_message(self.genesis.chain_id, kind, 0, view, block_hash, time_ms, self.number)
        return Vote(kind, 0, view, block_hash, time_ms, self.number, self.scheme.sign(self._seed, message))

    def _to_half(self, half: int, message: frames.AnyMessage) -> None:
        for peer in range(len(self.genesis.committee)):
            if peer != self.number and peer % 2 == half:
                self.post(self.number, peer, frames.encode(message, BOOT_ID))

    def _lie(self, request: VoteToSign | ProposalToSign, now: Now) -> None:
        assert self.core is not None, "only a running node lies"
        if isinstance(request, ProposalToSign):
            self._propose_twice(request, now)
            return
        vote = self._vote(request.kind, request.view, request.block_hash, request.time_ms)
        self.core.machine.signed_vote(vote, now)
        self._to_half(0, vote)
        other = self._vote(Kind.NULLIFY, request.view, ZERO_HASH, 0)
        if request.kind == Kind.NULLIFY:
            view = self.core.machine._view(request.view)
            if view.proposal is not None:
                block_hash = view.proposal.block.hash
                other = self._vote(Kind.NOTARIZE, request.view, block_hash, now.wall_ms or 1)
                self._to_half(1, self._vote(Kind.FINALIZE, request.view, block_hash, now.wall_ms or 1))
        self.checker.sends_vote(self.number, vote, None)
        self.checker.sends_vote(self.number, other, None)
        self._to_half(1, other)

    def _propose_twice(self, request: ProposalToSign, now: Now) -> None:
        assert self.core is not None, "only a running node lies"
        machine = self.core.machine
        block = machine.block(request.block_hash)
        parent = None if block is None else self.core.chain.get(block.header.parent_hash)
        if block is None or parent is None:
            return
        chain_id = self.genesis.chain_id
        machine.signed_proposal(
            request,
            self.scheme.sign(self._seed, proposal_message(chain_id, 0, request.view, request.block_hash)),
            now,
        )
        honest = machine._view(request.view).proposal
        if honest is None:
            return
        self._to_half(0, honest)
        candidates = [] if block.transactions else self.core.mempool.candidates(parent)
        certificate = parent_certificate(block)
        twin = build_block(
            self.core.context,
            parent,
            candidates,
            view=request.view,
            leader=self.number,
            time_ms=block_time_ms(parent.header.time_ms, certificate, len(self.genesis.committee)),
            certificate=block.parent_certificate,
            bytes_max=60_000,
        )
        if twin.block is None or twin.hash == block.hash:
            return
        signature = self.scheme.sign(self._seed, proposal_message(chain_id, 0, request.view, twin.hash))
        self._to_half(1, Proposal(twin.block, honest.nullifications, signature))
        second = self._vote(Kind.NOTARIZE, request.view, twin.hash, now.wall_ms or 1)
        self.checker.sends_vote(self.number, second, None)
        self._to_half(1, second)
