"""A simulated node: the real core and guard, driven in the driver's one order, with a crash possible between any two steps."""

from __future__ import annotations

import random
from functools import lru_cache
from typing import NamedTuple, Protocol

import matcher_c
from ledger.base.crypto import Scheme
from ledger.base.errors import DecodeError, InvalidTransaction, SignerRefused
from ledger.base.genesis import Genesis
from ledger.base.intents import Ready, transaction_bytes
from ledger.base.votes import PROPOSE, Certificate, Vote, proposal_message, vote_message
from ledger.gossip import frames
from ledger.node.catchup import SNAPSHOT_BEHIND
from ledger.node.core import Core
from ledger.simplex.effects import Now, ProposalToSign, ReadyToSign, ToSign
from ledger.simplex.messages import BOOT_ID_BYTES, Proposal
from ledger.state.transition import Matchers
from ledger.wallet.guard import Guard, Signed, decode_signed

from .checker import Checker
from .disk import Disk

MATCHERS = Matchers(matcher_c.clear_arrays, matcher_c.OrderBook)


@lru_cache(maxsize=4_096)
def decode(frame: bytes) -> frames.AnyMessage:
    """The message of a whole frame; the same frame reaches many nodes, and messages do not change. Raises `DecodeError`."""
    return frames.decode(frame[frames.LENGTH_BYTES :])


JOURNAL_BYTES_MAX = 12 * 1024  # so that both journals are rewritten some times in a world


class Crash(Exception):
    """The power fails here."""


class Places(NamedTuple):
    """Nodes of a world stand in a row; a peer is named by its home's number on the ledger."""

    peer_of: dict[int, int]
    place_of: dict[int, int]


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
        places: Places,
    ) -> None:
        self.places = places
        self.number, self.genesis, self.scheme, self.checker, self.post = number, genesis, scheme, checker, post
        self._seed, self._rng, self._crash_per_mille = seed, rng, crash_per_mille
        self.disk = Disk(genesis)
        self.snapshot_behind = SNAPSHOT_BEHIND
        self.card = 0  # which of the cards with this key, where there are two
        self.core: Core | None = None
        self._guard = Guard()

    def boot(self, now: Now) -> None:
        """Start from the disk."""
        self.disk.files.fails(self._power)
        self._guard = Guard(decode_signed(raw) for raw in self.disk.votes.open())
        kept = self.disk.journal.open()
        final, certificate = self.disk.final()
        self.core = Core(
            self.genesis,
            MATCHERS,
            self.disk,
            final,
            node_key=self.scheme.public(self._seed),
            boot_id=self._rng.randbytes(BOOT_ID_BYTES),
            final_certificate=certificate,
            now=now,
            scheme=self.scheme,
            snapshot_behind=self.snapshot_behind,
        )
        if self.disk.forgotten:
            self.core.silence("the wallet does not know what this key signed")
        self.core.machine.recover(kept, now)
        self.drain(now)

    def cut(self) -> None:
        """The power fails."""
        self.core = None
        share = self._rng.choice((0, 50, 95))
        self.disk.files.cut(lambda: self._rng.randrange(100) < share)

    def _power(self) -> int:
        """Asked before each operation of the disk: the power may fail there too."""
        self._maybe_crash()
        return 0

    def calm(self) -> None:
        """No more crashes from here on."""
        self._crash_per_mille = 0

    def receive(self, peer: int, frame: bytes, now: Now) -> None:
        """A frame arrives."""
        assert self.core is not None, "a node that is off receives nothing"
        try:
            message = decode(frame)
        except DecodeError:
            return  # the door: counted by the process, dropped here
        self.core.receive(self.places.peer_of[peer], message, now)
        self.drain(now)

    def submit(self, raw: bytes, now: Now) -> None:
        """This home wants a transaction in."""
        self.submit_quietly(raw, now)
        self.drain(now)

    def submit_quietly(self, raw: bytes, now: Now) -> None:
        """The same as one step of several."""
        assert self.core is not None, "a node that is off takes nothing"
        try:
            self.core.submit(raw, now)
        except InvalidTransaction:
            return  # used up, not wanted any more, or its forerunner is not there yet: it is tried again

    def _maybe_crash(self) -> None:
        if self._crash_per_mille and self._rng.randrange(10_000) < self._crash_per_mille:
            raise Crash

    def drain(self, now: Now) -> None:
        """Carry out everything that the core wants, in the driver's order."""
        assert self.core is not None, "only a running node has work"
        trim = False
        while True:
            work = self.core.take_work()
            if not work:
                if trim:  # only now: what a later commit still needs must not leave the journal before it
                    self.disk.journal.rewrite(self.core.machine.live_records(), JOURNAL_BYTES_MAX)
                return
            self.disk.journal.append(work.records)
            self._maybe_crash()
            for vote in work.own_votes:
                self._check_own(vote)
            self.disk.forgotten = self.disk.forgotten or work.cloned
            for request in work.to_sign:
                self._sign(request, now)
            for to, message in work.sends:
                self._observe(message)
                self.send(to, message)
            self._maybe_crash()
            for committed in work.commits:
                self.disk.commit(committed)
                self.checker.commits(self.number, committed, self.card)
            trim = trim or bool(work.commits)
            if work.snapshot is not None:
                final, certificate = self.disk.install(work.snapshot)
                self.checker.put_back(self.number, self.card, final.header.height)
                self.core.begin_at(final, certificate, now)
                self.core.machine.recover(self.disk.journal.open(), now)

    def send(self, to: int | None, message: frames.AnyMessage) -> None:
        """Put a message on the wire, to a peer or to all."""
        self.post(self.number, None if to is None else self.places.place_of.get(to), frames.encode(message))

    def _check_own(self, vote: Vote) -> None:
        assert self.core is not None, "only a running node has votes"
        if not self._guard.knows(vote.kind, vote.epoch, vote.view, vote.block_hash):
            self.disk.forgotten = True
            self.core.silence(f"a vote of this key in view {vote.view} stands in no record here")

    def _observe(self, message: frames.AnyMessage) -> None:
        match message:
            case Vote():
                self.checker.sends_vote(self.number, message, self.disk)
            case Proposal():
                self.checker.sends_proposal(self.number, message)
            case Certificate():
                self.checker.sends_certificate(self.number, message)

    def _sign(self, request: ToSign, now: Now) -> None:
        assert self.core is not None, "only a running node signs"
        if self.core.silent:
            return
        if isinstance(request, ReadyToSign):
            self.submit_quietly(self._ready(request), now)
            return
        machine, chain_id = self.core.machine, self.genesis.chain_id
        place = (request.epoch, request.view, request.block_hash)
        if isinstance(request, ProposalToSign):
            kind, time_ms = PROPOSE, 0
            message = proposal_message(chain_id, *place)
        else:
            kind, time_ms = int(request.kind), request.time_ms
            message = vote_message(chain_id, kind, *place, time_ms, request.seat)
        try:
            given = self._guard.check(kind, *place)
        except SignerRefused:
            return
        if given is None:
            given = Signed(kind, *place, time_ms, self.scheme.sign(self._seed, message))
            self.disk.votes.append([given.encoded()])
            self._guard.note(given)
            self.disk.votes.rewrite([record.encoded() for record in self._guard.live()], JOURNAL_BYTES_MAX)
            self._maybe_crash()
        if isinstance(request, ProposalToSign):
            machine.signed_proposal(request, given.signature, now)
        else:
            vote = Vote(request.kind, *place, given.time_ms, request.seat, given.signature)
            machine.signed_vote(vote, now)

    def _ready(self, request: ReadyToSign) -> bytes:
        return transaction_bytes(
            Ready(request.committee_hash),
            chain_id=self.genesis.chain_id,
            sender=self.scheme.public(self._seed),
            nonce=request.epoch,
            valid_until_height=0,
            sign=lambda message: self.scheme.sign(self._seed, message),
        )
