"""The node without its drivers: the consensus machine of each epoch, the mempool and gossip behind one set of events. Pure.

The simulator runs this very class over a fake disk, network and clock; the process runs it over real ones.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Protocol

from ledger.base.crypto import ED25519, Scheme
from ledger.base.errors import DecodeError, InvalidBlock, InvalidTransaction
from ledger.base.genesis import Genesis
from ledger.base.intents import Envelope
from ledger.base.recovery import Recovery, decode_recovery
from ledger.base.units import Millis
from ledger.base.votes import Certificate, Committee, Evidence, Vote
from ledger.gossip.flood import HAVE_IDS_MAX, Announcer, Have, Seen, Transaction, Want
from ledger.gossip.frames import AnyMessage
from ledger.gossip.sync import Range, RangeRequest, check_range
from ledger.simplex.effects import Committed, Effects, Now, ReadyToSign, ToSign
from ledger.simplex.machine import Machine
from ledger.simplex.messages import BOOT_ID_BYTES, BodyRequest, CertificateRequest, CloneSeen, Echo, Proposal, Status
from ledger.state.blocks import Block
from ledger.state.chain import Chain
from ledger.state.mempool import Mempool
from ledger.state.rules.membership import committee_hash, committee_of, epoch_of, member_of_key
from ledger.state.tables import Status as MemberStatus
from ledger.state.transition import Context, Executed, Matchers, check_recovery

from .directory import Directory

READY_RETRY_MS: Final = 5_000  # a word that no block carries is given again after so long
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
    own_votes: list[Vote] = field(default_factory=list)
    cloned: bool = False  # another card with this key is on: the wallet is told
    to_sign: list[ToSign] = field(default_factory=list)
    sends: list[tuple[int | None, AnyMessage]] = field(default_factory=list)
    commits: list[Committed] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(
            self.records or self.own_votes or self.cloned or self.to_sign or self.sends or self.commits or self.notes
        )


class Core:
    """One node's whole behavior, from epoch to epoch; `node_key` is the key that it votes with where it has a seat."""

    def __init__(
        self,
        genesis: Genesis,
        matchers: Matchers,
        archive: Archive,
        final: Executed,
        *,
        node_key: bytes,
        final_certificate: Certificate | None,
        now: Now,
        boot_id: bytes = bytes(BOOT_ID_BYTES),
        scheme: Scheme = ED25519,
    ) -> None:
        self.genesis, self.archive, self.node_key, self._scheme = genesis, archive, node_key, scheme
        self._boot_id = boot_id
        self._boots: dict[int, tuple[bytes, ...]] = {}  # of each peer, the last two
        self._saw_clone: set[int] = set()  # peers that say that they see this key twice; counted only
        self._cloned = False
        self.context = Context(genesis, matchers, scheme)
        self.chain = Chain(self.context, final)
        self.mempool = Mempool(self.context)
        self.directory = Directory(final.state)
        self.notice: Recovery | None = None
        self._noticed_ms, self._notice_ms = now.mono_ms, genesis.membership.recovery_notice_ms
        self.silent = False  # this key signs nothing any more
        self._effects = Effects()
        self._linked: list[int] = []
        self._word: ReadyToSign | None = None  # the last that was asked for
        self._ready_due_ms = now.mono_ms
        self.machine = self._machine(final_certificate, now, fresh=True)
        self.peer_status: dict[int, Status] = {}
        self._seen = Seen()
        self._announcer = Announcer(now.mono_ms)
        self._sync_asked_ms: Millis | None = None
        self._sync_asked_from = 0
        self._sends: list[tuple[int | None, AnyMessage]] = []
        self._notes: list[str] = []

    # ---- epochs

    def _machine(
        self,
        certificate: Certificate | None,
        now: Now,
        *,
        fresh: bool,
        before: Machine | None = None,
        recovery: bytes = b"",
    ) -> Machine:
        committee = committee_of(self.chain.final.state)
        if recovery:
            agreed = decode_recovery(recovery)
            committee = Committee(agreed.epoch, agreed.committee, committee.trusted)
        machine = Machine(
            self.genesis,
            self.chain,
            self.mempool,
            committee=committee,
            me=None if self.silent else committee.seat(self.node_key),
            final_certificate=certificate,
            now=now,
            scheme=self._scheme,
            effects=self._effects,
            evidence=None if before is None else before.evidence,
            clock_agrees=before is None or before.time.agrees,
            boot_id=self._boot_id,
            fresh=fresh,
            recovery=recovery,
        )
        machine.requests.others = self._linked
        return machine

    def _follow_epoch(self, now: Now) -> None:
        """Where the epoch was sealed, begin the next one."""
        while self.machine.sealed:
            before = self.machine
            fresh = before.me is not None and not before.votes
            self.machine = self._machine(None, now, fresh=fresh, before=before)
            seat = "follows" if self.machine.me is None else f"has seat {self.machine.me}"
            self._notes.append(
                f"epoch {self.machine.epoch} begins with {len(self.machine.committee)} voters; this node {seat}"
            )
            self._sends.append((None, self.machine.status()))
            self.machine.progress(now)

    def announce_recovery(self, recovery: Recovery, now: Now, waited_ms: Millis = 0) -> None:
        """Take in what the households signed; it begins when it has stood on the screens long enough.

        `waited_ms`: how long it stood there before this start. Raises `InvalidBlock` where it does not fit here.
        """
        check_recovery(self.context, self.chain.final, recovery)
        if self.notice is None or self.notice != recovery:
            self.notice, self._noticed_ms = recovery, now.mono_ms - waited_ms
            self._sends.append((None, recovery))
            self._notes.append(
                f"recovery: epoch {recovery.epoch} is to begin above height {recovery.height} with "
                f"{len(recovery.committee)} voters; the nodes left out may hold another history"
            )
        self._await_recovery(now)

    def recovery_waited_ms(self, now: Now) -> Millis:
        """How long the notice has stood."""
        return now.mono_ms - self._noticed_ms

    def _await_recovery(self, now: Now) -> None:
        notice = self.notice
        if notice is None:
            return
        if notice.block_hash != self.chain.final.hash:
            self.notice = None
            self._notes.append("recovery: the street has gone on; what was signed for it is void")
        elif self.machine.epoch < notice.epoch and self.recovery_waited_ms(now) >= self._notice_ms:
            self.begin_recovery(notice.encoded(), now)

    def begin_recovery(self, recovery: bytes, now: Now) -> None:
        """Begin the epoch that the households agreed on. Raises `DecodeError`, `InvalidBlock` where it does not fit here."""
        agreed = decode_recovery(recovery)
        check_recovery(self.context, self.chain.final, agreed)
        if self.machine.epoch != agreed.epoch:
            self.machine = self._machine(None, now, fresh=False, before=self.machine, recovery=recovery)
            self._notes.append(f"recovery: epoch {agreed.epoch} begins above height {agreed.height}")
            self.machine.progress(now)

    def seat_of(self, peer: int) -> int | None:
        """The seat of a peer's node in the present committee."""
        known = self.directory.peers.get(peer)
        return None if known is None else self.machine.committee.seat(known.node_key)

    def silence(self, why: str) -> None:
        """This card may have signed what it does not know of: it follows, and never votes with this key again."""
        if not self.silent:
            self.silent = True
            self._notes.append(f"this node stops voting: {why}")
        self.machine.silence()

    def _note_boot(self, peer: int, boot_id: bytes) -> None:
        """Two starts of one key that speak in turn are two cards; one that follows the other is a restart."""
        boots = self._boots.get(peer, ())
        if boot_id in boots[1:]:
            return  # the present one
        if boot_id in boots:
            self._sends.append((peer, CloneSeen((boots[0], boots[1]))))
            self._notes.append(f"two cards speak with the key of {self.directory.name_of(peer)}; both are told to stop")
        self._boots[peer] = (*boots[-1:], boot_id) if boots else (boot_id, boot_id)

    def _on_clone_seen(self, peer: int, message: CloneSeen) -> None:
        """More members than may lie say that another card with this key is on."""
        if self._boot_id not in message.boot_ids or self.seat_of(peer) is None:
            return
        self._saw_clone.add(peer)
        if len(self._saw_clone) > self.machine.committee.faulty_max:
            self.stop_clone()

    def stop_clone(self) -> None:
        """Another card with this key is on: both stop."""
        self._cloned = self._cloned or not self.silent
        self.silence("another card with this key is on; switch one off, then `energoctl member rotate` on the other")

    def _say_ready(self, now: Now) -> None:
        """Ask for this node's word where the committee to come, or its way back, waits for it."""
        if self.silent:
            return
        state = self.chain.final.state
        found = member_of_key(state, self.node_key)
        if found is None or found[1].node_key != self.node_key:
            return
        epoch = epoch_of(state)
        if found[1].status == MemberStatus.ABSENT:
            wanted = committee_hash(epoch.committee)
        elif self.node_key in epoch.coming and self.node_key not in epoch.ready:
            wanted = committee_hash(epoch.coming)
        else:
            return
        word = ReadyToSign(epoch.number + 1, wanted)
        if word == self._word and now.mono_ms < self._ready_due_ms:
            return
        self._word, self._ready_due_ms = word, now.mono_ms + READY_RETRY_MS
        self._effects.to_sign.append(word)

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
        """A link to a peer is up."""
        if peer not in self._linked:
            self._linked.append(peer)
        self._sends.append((peer, self.machine.status()))
        if self.notice is not None:
            self._sends.append((peer, self.notice))
        waiting = tuple(self.mempool.short_ids()[:HAVE_IDS_MAX])
        if waiting:
            self._sends.append((peer, Have(waiting)))

    def unlinked(self, peer: int) -> None:
        """A link to a peer is down."""
        self.peer_status.pop(peer, None)
        if peer in self._linked:
            self._linked.remove(peer)

    def receive(self, peer: int, message: AnyMessage, now: Now) -> None:
        """A decoded message from a member. Never raises: what does not hold is noted and dropped."""
        match message:
            case Vote():
                if message.signer == self.seat_of(
                    peer
                ):  # votes travel from their signer; others learn them by certificates
                    self.machine.on_vote(message, now)
            case Certificate():
                self.machine.on_certificate(message, now)
            case Proposal():
                self.machine.on_proposal(message, now)
            case Block():
                self.machine.on_body(message, now)
            case Status():
                self.peer_status[peer] = message
                self._note_boot(peer, message.boot_id)
                self.machine.on_status(peer, self.seat_of(peer), message, now)
            case Echo():
                self.machine.on_echo(self.seat_of(peer), message, now)
            case CloneSeen():
                self._on_clone_seen(peer, message)
            case Evidence():
                self.machine.on_evidence(message, now)
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
            case Recovery():
                self._take_recovery(message, now)
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
        self._after(now)

    def _after(self, now: Now) -> None:
        self._await_recovery(now)
        self._follow_epoch(now)
        self._say_ready(now)
        self._catch_up(now)

    def tick(self, now: Now) -> None:
        """Time passed: see `deadline_ms`."""
        self.machine.on_timer(now)
        have = self._announcer.take(self.mempool.short_ids(), now.mono_ms)
        if have is not None:
            self._sends.append((None, have))
        self._after(now)

    def deadline_ms(self, now: Now) -> Millis:
        """The monotonic time at which `tick` is wanted next."""
        times = [self.machine.deadline_ms(now)]
        announce = self._announcer.deadline_ms(len(self.mempool))
        if announce is not None:
            times.append(announce)
        if self.notice is not None:
            times.append(self._noticed_ms + self._notice_ms)
        if self._ready_due_ms > now.mono_ms:
            times.append(self._ready_due_ms)
        if self._sync_asked_ms is not None:
            times.append(self._sync_asked_ms + SYNC_RETRY_TIMEOUTS * self.machine.timeout_ms)
        return max(now.mono_ms + 1, min(t for t in times if t > now.mono_ms))

    def take_work(self) -> Work:
        """What came of the events since the last call."""
        effects = self._effects
        work = Work(
            effects.records,
            effects.own_votes,
            self._cloned,
            effects.to_sign,
            [*effects.sends, *self._sends],
            effects.commits,
            effects.notes + self._notes,
        )
        effects.records, effects.own_votes, effects.to_sign, effects.sends = [], [], [], []
        effects.commits, effects.notes = [], []
        self._sends, self._notes, self._cloned = [], [], False
        if work.commits:
            self.directory.update(self.chain.final.state)
        return work

    # ---- catching up

    @property
    def syncing(self) -> bool:
        """Whether blocks are being fetched because others are ahead."""
        return self._sync_asked_ms is not None

    def _ahead(self) -> list[int]:
        height = self.chain.final.header.height
        lead = 0 if self.machine.behind else 1  # one height ahead is usually on its way by votes
        return sorted(
            peer
            for peer, status in self.peer_status.items()
            if status.final_height > height + (lead if status.epoch == self.machine.epoch else 0)
        )

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
            blocks, tail, certificate = check_range(answer, final.hash)
        except DecodeError as error:
            self._notes.append(f"a range from peer {peer} was dropped: {error}")
            return
        if blocks[0].recovery:
            try:
                self.begin_recovery(blocks[0].recovery, now)
            except (DecodeError, InvalidBlock) as error:
                self._notes.append(f"a recovery from peer {peer} was dropped: {error}")
                return
        if not self.machine.is_final_proof(certificate):
            self._notes.append(f"a range from peer {peer} was dropped: its finalization does not hold")
            return
        try:
            self.machine.import_final(blocks, tail, certificate, now)
        except InvalidBlock as error:
            self._notes.append(
                f"final block above height {self.chain.final.header.height} does not apply here: {error}"
            )
            return
        self._sync_asked_ms = None

    def _take_recovery(self, recovery: Recovery, now: Now) -> None:
        try:
            self.announce_recovery(recovery, now)
        except InvalidBlock as error:
            self._notes.append(f"a recovery that does not fit here was dropped: {error}")

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
