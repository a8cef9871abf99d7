"""The forger: blocks that no block may be, and false answers to who catches up."""

from __future__ import annotations

from dataclasses import replace

from ledger.base.crypto import SIGNATURE_BYTES, ZERO_HASH, sha256
from ledger.base.errors import DecodeError
from ledger.base.intents import Envelope, Reading, Transfer, decode_transaction, transaction_bytes
from ledger.base.votes import block_time_ms, proposal_message
from ledger.gossip import frames
from ledger.gossip.sync import Range, RangeRequest
from ledger.simplex.bodies import parent_certificate
from ledger.simplex.effects import Now, ProposalToSign, ToSign
from ledger.simplex.messages import Proposal
from ledger.state.blocks import Block
from ledger.state.origin import genesis_block
from ledger.state.tables import ACCOUNT, CASH
from ledger.state.transition import Executed, _Run, _transact, apply_block, build_block, draft_of, ordering_key

from ..node import Node

OLD_CHAIN = sha256(b"the ledger that this street had before")


class Forger(Node):
    """Leads with blocks that no block may be, correct but for one thing, and sends blocks of its own to who catches up.

    Every third time that it leads it is honest; else its block carries a transaction that was used, has expired by one
    height, is of another chain or has no signature of its sender, or states a height or a state root that is not its own,
    or it passes over the notarized block that it had to extend.
    """

    owner_seed = b""
    tricks = ("used", "gap", "", "expired", "root", "", "foreign", "height", "", "unsigned", "gap", "")

    def receive(self, peer: int, frame: bytes, now: Now) -> None:
        """Answers a question for blocks with one that nobody agreed on, under a finalization of another."""
        assert self.core is not None, "a node that is off receives nothing"
        try:
            message = frames.decode(frame[frames.LENGTH_BYTES :])
        except DecodeError:
            return
        answer = self._false_range(message.from_height) if isinstance(message, RangeRequest) else None
        if answer is None:
            super().receive(peer, frame, now)
        else:
            self.post(self.number, peer, frames.encode(answer))

    def _false_range(self, from_height: int) -> Range | None:
        assert self.core is not None, "only a running node lies"
        blocks = self.disk.blocks
        certificate = next((c for _, c, _ in reversed(blocks) if c is not None), None)
        if certificate is None or self.disk.base or not 0 < from_height <= len(blocks):
            return None
        parent = genesis_block(self.genesis)
        for block, _, _ in blocks[: from_height - 1]:
            parent = apply_block(self.core.context, parent, block)
        real = blocks[from_height - 1][0]
        draft = replace(draft_of(real), leader=real.header.leader + 1)
        built = build_block(self.core.context, parent, [], draft, bytes_max=0)
        assert built.block is not None, "a built block has a body"
        return Range((built.block.encoded,), (), certificate.encoded)

    def _sign(self, request: ToSign, now: Now) -> None:
        assert self.core is not None, "only a running node signs"
        machine = self.core.machine
        block = machine.block(request.block_hash) if isinstance(request, ProposalToSign) else None
        parent = None if block is None else self.core.chain.get(block.header.parent_hash)
        forged = None if block is None or parent is None else self._forged(block, parent)
        if forged is None or not isinstance(request, ProposalToSign):
            super()._sign(request, now)
            return
        message = proposal_message(self.genesis.chain_id, request.epoch, request.view, forged.hash)
        between = range(forged.header.parent_view + 1, forged.view)
        nullifications = tuple(c for u in between[-8:] if (c := machine._view(u).nullification))
        proposal = Proposal(forged, nullifications, self.scheme.sign(self._seed, message))
        self.send(None, proposal)
        machine.on_proposal(proposal, now)

    def _forged(self, block: Block, parent: Executed) -> Block | None:
        assert self.core is not None, "only a running node lies"
        turn = block.view // len(self.places.peer_of) + self._seed[0]  # each world begins elsewhere
        trick = self.tricks[turn % len(self.tricks)]
        if trick == "height":
            return replace(block, header=block.header._replace(height=block.height + 1))
        if trick == "root":
            return replace(block, header=block.header._replace(state_root=ZERO_HASH))
        if trick == "gap":
            return self._beside(block, parent)
        smuggled = self._contraband(trick, block, parent)
        if smuggled is None:
            return None
        honest = [decode_transaction(raw) for raw in block.transactions]
        carried = [envelope for envelope in honest if envelope.sender != smuggled.sender] + [smuggled]
        carried.sort(key=lambda envelope: ordering_key(envelope, parent.hash))
        run = _Run(self.core.context, parent, draft_of(block))
        for envelope in carried:
            events, late = _transact(run.state, envelope, run.books, run.height)
            run.events += events
            run.late += [] if late is None else [late]
        run.finish()
        raws = tuple(envelope.raw for envelope in carried)
        return replace(block, header=run.header(raws), transactions=raws)

    def _beside(self, block: Block, parent: Executed) -> Block | None:
        """A block on the parent's parent, with no proof that the parent's view was nullified."""
        assert self.core is not None, "only a running node lies"
        passed = parent.block
        below = None if passed is None else self.core.chain.get(passed.header.parent_hash)
        if passed is None or below is None:
            return None
        committee = self.core.machine.committee
        time_ms = block_time_ms(below.header.time_ms, parent_certificate(passed), committee)
        draft = replace(draft_of(passed), view=block.view, leader=block.header.leader, time_ms=time_ms)
        candidates = self.core.mempool.candidates(below)
        return build_block(self.core.context, below, candidates, draft, bytes_max=60_000).block

    def _contraband(self, trick: str, block: Block, parent: Executed) -> Envelope | None:
        if trick == "used":
            final = (decode_transaction(raw) for body, _, _ in reversed(self.disk.blocks) for raw in body.transactions)
            return next((envelope for envelope in final if not isinstance(envelope.intent, Reading)), None)
        if not trick:
            return None
        homes = self.genesis.homes
        me, other = homes[self.number], homes[self.number - 1]
        payer, payee = (other, me) if trick == "unsigned" else (me, other)
        accounts = self.genesis.accounts
        raw = transaction_bytes(
            Transfer(accounts[payee.name], CASH, 7),
            chain_id=OLD_CHAIN if trick == "foreign" else self.genesis.chain_id,
            sender=payer.owner_key,
            nonce=parent.state.need(ACCOUNT, (accounts[payer.name],)).nonce + 1,
            valid_until_height=block.height - (1 if trick == "expired" else -50),
            sign=lambda message: (
                bytes(SIGNATURE_BYTES) if trick == "unsigned" else self.scheme.sign(self.owner_seed, message)
            ),
        )
        return decode_transaction(raw)
