"""A simulated node: the real core and guard, driven in the driver's one order, with a crash possible between any two steps."""

from __future__ import annotations

import random
from typing import Protocol

import matcher_c
from ledger.base.crypto import Scheme
from ledger.base.errors import DecodeError, InvalidTransaction, SignerRefused
from ledger.base.genesis import Genesis
from ledger.gossip import frames
from ledger.node.core import Core
from ledger.simplex.effects import Now, ProposalToSign, VoteToSign
from ledger.simplex.messages import Certificate, Kind, Proposal, Vote, proposal_message, vote_message
from ledger.state.transition import Matchers
from ledger.wallet.guard import PROPOSE, Guard, Signed, decode_signed

from .checker import Checker
from .disk import Disk

MATCHERS = Matchers(matcher_c.clear_arrays, matcher_c.OrderBook)
BOOT_ID = bytes(frames.BOOT_ID_BYTES)


class Crash(Exception):
    """The power fails here."""


class Post(Protocol):
    """How a node sends: to a member or (None) to all."""

    def __call__(self, sender: int, to: int | None, frame: bytes) -> None:
        """Put a frame on the wire."""


class Node:
    """One honest member: what survives is its disk, what it runs on is its core."""

    def __init__(
        self,
        number: int,
        genesis: Genesis,
        scheme: Scheme,
        seed: bytes,
        checker: Checker,
        post: Post,
        rng: random.Random,
        crash_per_mille: int,
    ) -> None:
        self.number, self.genesis, self.scheme, self.checker, self.post = number, genesis, scheme, checker, post
        self._seed, self._rng, self._crash_per_mille = seed, rng, crash_per_mille
        self.disk = Disk(genesis)
        self.core: Core | None = None
        self._guard = Guard()

    def boot(self, now: Now) -> None:
        """Start from the disk."""
        final, certificate = self.disk.final()
        self._guard = Guard(decode_signed(raw) for raw in self.disk.votes.durable)
        self.core = Core(
            self.genesis,
            MATCHERS,
            self.disk,
            final,
            me=self.number,
            final_certificate=certificate,
            now=now,
            scheme=self.scheme,
        )
        self.core.machine.recover(self.disk.journal.durable, now)
        self.drain(now)

    def cut(self) -> None:
        """The power fails."""
        self.core = None
        self.disk.journal.cut(self._rng.randint(0, len(self.disk.journal.pending)))
        self.disk.votes.cut(self._rng.randint(0, len(self.disk.votes.pending)))

    def calm(self) -> None:
        """No more crashes from here on."""
        self._crash_per_mille = 0

    def receive(self, peer: int, frame: bytes, now: Now) -> None:
        """A frame arrives."""
        assert self.core is not None, "a node that is off receives nothing"
        try:
            message = frames.decode(frame[frames.LENGTH_BYTES :])
        except DecodeError:
            return  # the door: counted by the process, dropped here
        self.core.receive(peer, message, now)
        self.drain(now)

    def submit(self, raw: bytes, now: Now) -> None:
        """This home wants a transaction in."""
        assert self.core is not None, "a node that is off takes nothing"
        try:
            self.core.submit(raw, now)
        except InvalidTransaction:
            return  # used up, or its forerunner is not there yet: the home tries again
        self.drain(now)

    def _maybe_crash(self) -> None:
        if self._crash_per_mille and self._rng.randrange(10_000) < self._crash_per_mille:
            raise Crash

    def drain(self, now: Now) -> None:
        """Carry out everything that the core wants, in the driver's order."""
        assert self.core is not None, "only a running node has work"
        trim = False
        while True:
            work = self.core.take_work()
            if not (work.records or work.to_sign or work.sends or work.commits):
                if trim:  # only now: what a later commit still needs must not leave the journal before it
                    self._maybe_crash()
                    self.disk.journal.durable = self.core.machine.live_records()
                return
            self.disk.journal.append(work.records)
            self._maybe_crash()
            self.disk.journal.sync()
            self._maybe_crash()
            for request in work.to_sign:
                self._sign(request, now)
            for to, message in work.sends:
                self._observe(message)
                self.post(self.number, to, frames.encode(message, BOOT_ID))
            self._maybe_crash()
            for committed in work.commits:
                self.disk.commit(committed)
                self.checker.commits(self.number, committed.executed)
            trim = trim or bool(work.commits)

    def _observe(self, message: frames.AnyMessage) -> None:
        match message:
            case Vote():
                self.checker.sends_vote(self.number, message, self.disk)
            case Proposal():
                self.checker.sends_proposal(self.number, message)
            case Certificate():
                self.checker.sends_certificate(self.number, message)

    def _sign(self, request: VoteToSign | ProposalToSign, now: Now) -> None:
        assert self.core is not None, "only a running node signs"
        machine, chain_id = self.core.machine, self.genesis.chain_id
        if isinstance(request, ProposalToSign):
            kind, time_ms = PROPOSE, 0
            message = proposal_message(chain_id, 0, request.view, request.block_hash)
        else:
            kind, time_ms = int(request.kind), request.time_ms
            message = vote_message(chain_id, kind, 0, request.view, request.block_hash, time_ms, self.number)
        try:
            given = self._guard.check(kind, 0, request.view, request.block_hash)
        except SignerRefused:
            return
        if given is None:
            given = Signed(kind, 0, request.view, request.block_hash, time_ms, self.scheme.sign(self._seed, message))
            self.disk.votes.append([given.encoded()])
            self._maybe_crash()
            self.disk.votes.sync()
            self._guard.note(given)
            self._maybe_crash()
        if isinstance(request, ProposalToSign):
            machine.signed_proposal(request, given.signature, now)
        else:
            vote = Vote(Kind(kind), 0, request.view, request.block_hash, given.time_ms, self.number, given.signature)
            machine.signed_vote(vote, now)
