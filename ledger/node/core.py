"""The node without its drivers: the consensus machine, the mempool and gossip behind one set of events. Pure.

The simulator runs this very class over a fake disk, network and clock; the process runs it over real ones.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Protocol

from ledger.base.crypto import ED25519, Scheme
from ledger.base.errors import DecodeError, InvalidBlock, InvalidTransaction
from ledger.base.genesis import Genesis
from ledger.base.intents import Envelope
from ledger.base.units import Millis
from ledger.gossip.flood import HAVE_IDS_MAX, Announcer, Have, Seen, Transaction, Want
from ledger.gossip.frames import AnyMessage
from ledger.gossip.sync import Range, RangeRequest, check_range
from ledger.simplex.effects import Committed, Now, ProposalToSign, VoteToSign
from ledger.simplex.machine import Machine
from ledger.simplex.messages import BodyRequest, Certificate, CertificateRequest, Proposal, Status, Vote
from ledger.state.blocks import Block
from ledger.state.chain import Chain
from ledger.state.mempool import Mempool
from ledger.state.transition import Context, Executed, Matchers

SYNC_RETRY_TIMEOUTS: Final = 4  # an unanswered range request goes to another peer after so many D


class Archive(Protocol):
    """Final blocks on disk."""

    def block(self, block_hash: bytes) -> Block | None:
        """A final block by its hash."""

    def range(self, from_height: int) -> Range | None:
        """An answer to a range request; None if there is nothing from that height on."""


@dataclass
class Work:
    """What the driver is to do, in the order of the fields. A send to None goes to every link."""

    records: list[bytes] = field(default_factory=list)
    to_sign: list[VoteToSign | ProposalToSign] = field(default_factory=list)
    sends: list[tuple[int | None, AnyMessage]] = field(default_factory=list)
    commits: list[Committed] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


class Core:
    """One node's whole behavior; `me` is its number in the committee."""

    def __init__(
        self,
        genesis: Genesis,
        matchers: Matchers,
        archive: Archive,
        final: Executed,
        *,
        me: int | None,
        final_certificate: Certificate | None,
        now: Now,
        scheme: Scheme = ED25519,
    ) -> None:
        self.genesis, self.archive = genesis, archive
        self.context = Context(genesis, matchers, scheme)
        self.chain = Chain(self.context, final)
        self.mempool = Mempool(self.context)
        self.machine = Machine(
            genesis, self.chain, self.mempool, me=me, final_certificate=final_certificate, now=now, scheme=scheme
        )
        self.me = me
        self.peer_status: dict[int, Status] = {}
        self._seen = Seen()
        self._announcer = Announcer(now.mono_ms)
        self._sync_asked_ms: Millis | None = None
        self._sync_asked_from = 0
        self._sends: list[tuple[int | None, AnyMessage]] = []
        self._notes: list[str] = []

    # ---- events

    def submit(self, raw: bytes, now: Now) -> Envelope | None:
        """A transaction from this home. None if it waits already. Raises `DecodeError`, `InvalidTransaction`."""
        envelope = self.mempool.add(raw, self.chain.final)
        if envelope is not None:
            self._seen.add(envelope.transaction_id)
            self._sends.append((None, Transaction(raw)))
            self.machine.progress(now)
        return envelope

    def linked(self, peer: int) -> None:
        """A link to a member is up."""
        self._sends.append((peer, self.machine.status()))
        waiting = tuple(self.mempool.short_ids()[:HAVE_IDS_MAX])
        if waiting:
            self._sends.append((peer, Have(waiting)))

    def unlinked(self, peer: int) -> None:
        """A link to a member is down."""
        self.peer_status.pop(peer, None)

    def receive(self, peer: int, message: AnyMessage, now: Now) -> None:
        """A decoded message from a member. Never raises: what does not hold is noted and dropped."""
        match message:
            case Vote():
                if message.signer == peer:  # votes travel from their signer; others learn them by certificates
                    self.machine.on_vote(message, now)
            case Certificate():
                self.machine.on_certificate(message, now)
            case Proposal():
                self.machine.on_proposal(message, now)
            case Block():
                self.machine.on_body(message, now)
            case Status():
                self.peer_status[peer] = message
                self.machine.on_status(peer, message, now)
            case CertificateRequest():
                self.machine.on_certificate_request(peer, message)
            case BodyRequest():
                block = self.machine.block(message.block_hash) or self.archive.block(message.block_hash)
                if block is not None:
                    self._sends.append((peer, block))
            case RangeRequest():
                answer = self.archive.range(message.from_height)
                if answer is not None:
                    self._sends.append((peer, answer))
            case Range():
                self._take_range(peer, message, now)
            case Transaction():
                self._take_transaction(peer, message.raw, now)
            case Have():
                wanted = self._seen.missing(message.short_ids)
                if wanted:
                    self._sends.append((peer, Want(wanted)))
            case Want():
                for short_id in message.short_ids:
                    envelope = self.mempool.get(short_id)
                    if envelope is not None:
                        self._sends.append((peer, Transaction(envelope.raw)))
        self._catch_up(now)

    def tick(self, now: Now) -> None:
        """Time passed: see `deadline_ms`."""
        self.machine.on_timer(now)
        have = self._announcer.take(self.mempool.short_ids(), now.mono_ms)
        if have is not None:
            self._sends.append((None, have))
        self._catch_up(now)

    def deadline_ms(self, now: Now) -> Millis:
        """The monotonic time at which `tick` is wanted next."""
        times = [self.machine.deadline_ms(now)]
        announce = self._announcer.deadline_ms(len(self.mempool))
        if announce is not None:
            times.append(announce)
        if self._sync_asked_ms is not None:
            times.append(self._sync_asked_ms + SYNC_RETRY_TIMEOUTS * self.machine.timeout_ms)
        return max(now.mono_ms + 1, min(times))

    def take_work(self) -> Work:
        """What came of the events since the last call."""
        effects = self.machine.effects
        work = Work(
            effects.records,
            effects.to_sign,
            [*effects.sends, *self._sends],
            effects.commits,
            effects.notes + self._notes,
        )
        effects.records, effects.to_sign, effects.sends, effects.commits, effects.notes = [], [], [], [], []
        self._sends, self._notes = [], []
        return work

    # ---- catching up

    @property
    def syncing(self) -> bool:
        """Whether blocks are being fetched because others are ahead."""
        return self._sync_asked_ms is not None

    def _ahead(self) -> list[int]:
        height = self.chain.final.header.height
        lead = 0 if self.machine.behind else 1  # one height ahead is usually on its way by votes
        return sorted(p for p, status in self.peer_status.items() if status.final_height > height + lead)

    def _catch_up(self, now: Now) -> None:
        ahead = self._ahead()
        if not ahead:
            self._sync_asked_ms = None
            return
        waited = None if self._sync_asked_ms is None else now.mono_ms - self._sync_asked_ms
        if waited is not None and waited < SYNC_RETRY_TIMEOUTS * self.machine.timeout_ms:
            return
        self._sync_asked_ms = now.mono_ms
        self._sync_asked_from += 1
        peer = ahead[self._sync_asked_from % len(ahead)]
        self._sends.append((peer, RangeRequest(self.chain.final.header.height + 1)))

    def _take_range(self, peer: int, answer: Range, now: Now) -> None:
        final = self.chain.final
        try:
            blocks, certificate = check_range(answer, final.hash)
        except DecodeError as error:
            self._notes.append(f"a range from member {peer} was dropped: {error}")
            return
        if not self.machine.is_final_proof(certificate):
            self._notes.append(f"a range from member {peer} was dropped: its finalization does not hold")
            return
        try:
            self.machine.import_final(blocks, certificate, now)
        except InvalidBlock as error:
            self._notes.append(
                f"final block above height {self.chain.final.header.height} does not apply here: {error}"
            )
            return
        self._sync_asked_ms = None

    def _take_transaction(self, peer: int, raw: bytes, now: Now) -> None:
        try:
            envelope = self.mempool.add(raw, self.chain.final)
        except (DecodeError, InvalidTransaction) as error:
            if isinstance(error, DecodeError) or error.code in ("bad_signature", "wrong_chain", "conflict"):
                self._notes.append(f"a transaction from member {peer} was dropped: {error}")
            return
        if envelope is not None:
            self._seen.add(envelope.transaction_id)
            self.machine.progress(now)
