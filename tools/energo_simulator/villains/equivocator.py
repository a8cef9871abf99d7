"""The equivocator: another vote to each half of the street, and two blocks as leader."""

from __future__ import annotations

from ledger.base.crypto import ZERO_HASH
from ledger.base.votes import Kind, Vote, proposal_message, vote_message
from ledger.gossip import frames
from ledger.simplex.effects import Now, ProposalToSign, ReadyToSign, ToSign, VoteToSign
from ledger.simplex.messages import Proposal
from ledger.state.transition import build_block, draft_of

from ..node import Node


class Equivocator(Node):
    """Votes for one block to half of its peers and for another, or for none, to the rest; proposes two blocks as leader."""

    def drain(self, now: Now) -> None:
        """Do what the core wants, and the opposite."""
        assert self.core is not None, "only a running node has work"
        while True:
            work = self.core.take_work()
            if not work:
                return
            for request in work.to_sign:
                self._lie(request, now)
            for to, message in work.sends:
                if not isinstance(message, Vote | Proposal):
                    self.send(to, message)
            for committed in work.commits:
                self.disk.commit(committed)

    def _vote(self, like: VoteToSign | ProposalToSign, kind: Kind, block_hash: bytes, time_ms: int) -> Vote:
        assert self.core is not None, "only a running node lies"
        seat = self.core.machine.committee.seat(self.scheme.public(self._seed))
        assert seat is not None, "only members are asked"
        message = vote_message(self.genesis.chain_id, kind, like.epoch, like.view, block_hash, time_ms, seat)
        signature = self.scheme.sign(self._seed, message)
        return Vote(kind, like.epoch, like.view, block_hash, time_ms, seat, signature)

    def _to_half(self, half: int, message: frames.AnyMessage) -> None:
        for peer in self.places.peer_of:
            if peer != self.number and peer % 2 == half:
                self.post(self.number, peer, frames.encode(message))

    def _lie(self, request: ToSign, now: Now) -> None:
        assert self.core is not None, "only a running node lies"
        if isinstance(request, ReadyToSign):
            self._sign(request, now)
            return
        if isinstance(request, ProposalToSign):
            self._propose_twice(request, now)
            return
        vote = self._vote(request, request.kind, request.block_hash, request.time_ms)
        self.core.machine.signed_vote(vote, now)
        self._to_half(0, vote)
        other = self._vote(request, Kind.NULLIFY, ZERO_HASH, 0)
        if request.kind == Kind.NULLIFY:
            view = self.core.machine._view(request.view)
            if view.proposal is not None:
                block_hash = view.proposal.block.hash
                other = self._vote(request, Kind.NOTARIZE, block_hash, now.wall_ms or 1)
                self._to_half(1, self._vote(request, Kind.FINALIZE, block_hash, now.wall_ms or 1))
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
            self.scheme.sign(self._seed, proposal_message(chain_id, request.epoch, request.view, request.block_hash)),
            now,
        )
        honest = machine._view(request.view).proposal
        if honest is None:
            return
        self._to_half(0, honest)
        candidates = [] if block.transactions else self.core.mempool.candidates(parent)
        twin = build_block(self.core.context, parent, candidates, draft_of(block), bytes_max=60_000)
        if twin.block is None or twin.hash == block.hash:
            return
        signature = self.scheme.sign(self._seed, proposal_message(chain_id, request.epoch, request.view, twin.hash))
        self._to_half(1, Proposal(twin.block, honest.nullifications, signature))
        second = self._vote(request, Kind.NOTARIZE, twin.hash, now.wall_ms or 1)
        self.checker.sends_vote(self.number, second, None)
        self._to_half(1, second)
