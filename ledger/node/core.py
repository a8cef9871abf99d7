"""The node without its drivers: the consensus machine of each epoch, the mempool and gossip behind one set of events. Pure.

The simulator runs this very class over a fake disk, network and clock; the process runs it over real ones.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Protocol

from ledger.base.crypto import ED25519, Scheme, sha256
from ledger.base.errors import DecodeError, InvalidBlock, InvalidTransaction
from ledger.base.genesis import Genesis
from ledger.base.intents import Envelope
from ledger.base.recovery import Recovery, decode_recovery
from ledger.base.units import Millis
from ledger.base.votes import Certificate, Committee, Evidence, Vote
from ledger.gossip.flood import FeedClock, Flood, Have, Transaction, Want
from ledger.gossip.frames import AnyMessage
from ledger.gossip.seals import Seals, SealsRequest, make_seals
from ledger.gossip.sync import NOTHING, Range, RangeRequest, SnapshotChunk, SnapshotRequest
from ledger.simplex.effects import Committed, Effects, Now, ReadyToSign, ToSign
from ledger.simplex.machine import Machine
from ledger.simplex.messages import BOOT_ID_BYTES, BodyRequest, CertificateRequest, CloneSeen, Echo, Proposal, Status
from ledger.state.blocks import Block
from ledger.state.chain import Chain
from ledger.state.mempool import SHORT_ID_BYTES, Mempool
from ledger.state.rules.membership import committee_hash, committee_of, epoch_of, member_of_key
from ledger.state.snapshot import Manifest
from ledger.state.tables import Status as MemberStatus
from ledger.state.transition import Context, Executed, Matchers, check_recovery

from .catchup import SNAPSHOT_BEHIND, Arrived, CatchUp, Trusted
from .directory import Directory

READY_RETRY_MS: Final = 5_000  # a word that no block carries is given again after so long


class Archive(Protocol):
    """Final blocks on disk, and snapshots. It gives what is sound; its writing is the driver's."""

    def block(self, block_hash: bytes) -> Block | None:
        """A final block by its hash."""

    def range(self, from_height: int) -> Range | None:
        """An answer to a range request; None if there is nothing from that height on."""

    def seals(self, from_epoch: int) -> list[bytes]:
        """The encoded seals of that epoch and of those that follow it in a row; of 65 or more the first 65."""

    def head(self) -> bytes | None:
        """The newest header that is proven final by what stands here, encoded with its proof."""

    def snapshot_manifest(self) -> Manifest | None:
        """Of the newest snapshot."""

    def snapshot_chunk(self, height: int, index: int) -> bytes | None:
        """A piece of the snapshot of a height; None where there is none."""

    def damaged(self) -> list[int]:
        """Heights of blocks that were found damaged, in the order in which to repair them."""

    def expected_hash(self, height: int) -> bytes | None:
        """The hash that the block of a height has; None where that is not known."""


@dataclass
class Work:
    """What the driver is to do, in the order of the fields. A send to None goes to every link.

    `repairs` are (height, block) for the archive; a `snapshot` is installed there last of all, and then `Core.begin_at` is called.
    """

    records: list[bytes] = field(default_factory=list)
    own_votes: list[Vote] = field(default_factory=list)
    cloned: bool = False  # another card with this key is on: the wallet is told
    to_sign: list[ToSign] = field(default_factory=list)
    sends: list[tuple[int | None, AnyMessage]] = field(default_factory=list)
    commits: list[Committed] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    repairs: list[tuple[int, bytes]] = field(default_factory=list)
    snapshot: Arrived | None = None

    def __bool__(self) -> bool:
        return bool(
            self.records
            or self.own_votes
            or self.cloned
            or self.to_sign
            or self.sends
            or self.commits
            or self.notes
            or self.repairs
            or self.snapshot
        )


class Core:
    """One node's whole behavior, from epoch to epoch; `node_key` is the key that it votes with where it has a seat.

    More than `snapshot_behind` blocks behind it begins anew at a neighbor's snapshot; `trusted` is a block that must be below it.
    """

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
        snapshot_behind: int = SNAPSHOT_BEHIND,
        trusted: Trusted | None = None,
    ) -> None:
        self.genesis, self.archive, self.node_key, self._scheme = genesis, archive, node_key, scheme
        self._boot_id = boot_id
        self._boots: dict[int, tuple[bytes, ...]] = {}  # of each peer, the last two
        self._twins: dict[int, tuple[bytes, bytes]] = {}  # two starts of one peer that spoke in turn
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
        self._flood = Flood(self.mempool, now.mono_ms)
        self.catchup = CatchUp(self, snapshot_behind, trusted)
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

    def begin_at(self, final: Executed | None, certificate: Certificate | None, now: Now) -> None:
        """Go on from a snapshot that was installed; None: it could not be, and all stays as it was.

        What was under way on the old state is void. The node hears what others hold of its votes before it gives new ones.
        """
        if final is not None:
            self.chain = Chain(self.context, final)
            self._effects.commits.clear()
            self._effects.records.clear()
            self._effects.to_sign.clear()
            self.mempool.prune(final)
            self.directory.update(final.state)
            self.machine = self._machine(certificate, now, fresh=True)
            self._sends.append((None, self.machine.status()))
            self._notes.append(f"this node goes on from block {final.header.height}, epoch {self.machine.epoch}")
        self.catchup.restarted()
        self.machine.progress(now)
        self._after(now)

    def follow_epoch(self, now: Now) -> None:
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
        if boot_id in boots and boot_id != boots[-1] and peer not in self._twins:
            self._twins[peer] = (boots[0], boots[1])
            self._notes.append(f"two cards speak with the key of {self.directory.name_of(peer)}; both are told to stop")
        twins = self._twins.get(peer)
        if twins is not None and boot_id in twins:
            self._sends.append((peer, CloneSeen(twins)))  # each time: either may be the one that hears it
            return
        if boot_id in boots[1:]:
            return  # the present one
        self._twins.pop(peer, None)  # a third start: somebody did something about it
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
            self._flood.took(envelope, None, now.mono_ms)
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
        self._sends += self._flood.linked(peer, self.chain.final.state)

    def unlinked(self, peer: int) -> None:
        """A link to a peer is down."""
        self.peer_status.pop(peer, None)
        self.catchup.unlinked(peer)
        self._flood.unlinked(peer)
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
                if not self.catchup.take_body(message):
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
                self._sends.append((peer, self.archive.range(message.from_height) or NOTHING))
            case SealsRequest():
                answer = make_seals(self.archive.seals(message.from_epoch), self.archive.head())
                self._sends.append((peer, answer))
            case SnapshotRequest():
                self._sends.append((peer, self._snapshot_answer(message)))
            case Seals():
                self.catchup.on_seals(peer, message, now)
            case Manifest():
                self.catchup.on_manifest(peer, message, now)
            case SnapshotChunk():
                self.catchup.on_chunk(peer, message, now)
            case Recovery():
                self._take_recovery(message, now)
            case Range():
                self.catchup.on_range(peer, message, now)
            case Transaction():
                self._take_transaction(peer, message.raw, now)
            case Have():
                self._sends += self._flood.on_have(peer, message)
            case Want():
                self._sends += self._flood.on_want(peer, message, now.mono_ms)
            case FeedClock():
                self._sends += self._flood.on_clock(peer, message, self.chain.final.state, now.mono_ms)
        self._after(now)

    def _after(self, now: Now) -> None:
        self._await_recovery(now)
        self.follow_epoch(now)
        self._say_ready(now)
        self.catchup.run(now)

    def tick(self, now: Now) -> None:
        """Time passed: see `deadline_ms`."""
        self.machine.on_timer(now)
        self._sends += self._flood.tick(self.chain.final.state, now.mono_ms)
        self._after(now)

    def deadline_ms(self, now: Now) -> Millis:
        """The monotonic time at which `tick` is wanted next."""
        times = [self.machine.deadline_ms(now)]
        for due_ms in (self._flood.deadline_ms(now.mono_ms), self.catchup.deadline_ms(now)):
            if due_ms is not None:
                times.append(due_ms)
        if self.notice is not None:
            times.append(self._noticed_ms + self._notice_ms)
        if self._ready_due_ms > now.mono_ms:
            times.append(self._ready_due_ms)
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
            self.catchup.repairs,
            self.catchup.arrived,
        )
        effects.records, effects.own_votes, effects.to_sign, effects.sends = [], [], [], []
        effects.commits, effects.notes = [], []
        self._sends, self._notes, self._cloned = [], [], False
        self.catchup.repairs, self.catchup.arrived = [], None
        if work.commits:
            self.directory.update(self.chain.final.state)
        return work

    # ---- what the catching up uses

    @property
    def syncing(self) -> bool:
        """Whether blocks are being fetched because others are ahead."""
        return self.catchup.active

    @property
    def commits(self) -> int:
        """How many final blocks the driver has not taken yet."""
        return len(self._effects.commits)

    def send(self, peer: int, message: AnyMessage) -> None:
        """Send to a peer."""
        self._sends.append((peer, message))

    def note(self, text: str) -> None:
        """For the log."""
        self._notes.append(text)

    def _snapshot_answer(self, request: SnapshotRequest) -> Manifest | SnapshotChunk:
        if request.height == 0:
            return self.archive.snapshot_manifest() or SnapshotChunk(0, 0, b"")
        chunk = self.archive.snapshot_chunk(request.height, request.part)
        return SnapshotChunk(request.height, request.part, chunk or b"")

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
            elif error.code in ("known", "expired"):
                self._flood.done(raw)
            return
        self._flood.came(peer, sha256(raw)[:SHORT_ID_BYTES])
        if envelope is not None:
            self._flood.took(envelope, peer, now.mono_ms)
            self.machine.progress(now)
