"""The node: the pure core between its drivers. One task carries out what the core wants: persist, sign, send, apply.

Links, timers and the API hand events to the core as they come; a single pump takes the work that came of them. Records are
durable before anything that stands beside them is signed or sent. A disk that fails stops the node: what is on it is unknown.
"""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final, Protocol

import sdnotify

import matcher_c
from ledger.base.address import format_address
from ledger.base.crypto import account_of_key
from ledger.base.errors import DecodeError, InvalidBlock, InvalidTransaction, Refused, SignerRefused, SignerUnavailable
from ledger.base.genesis import Genesis
from ledger.base.intents import Admit, decode_transaction
from ledger.base.recovery import Recovery
from ledger.base.votes import Committee, Vote, encode_vote
from ledger.gossip import frames
from ledger.gossip.joining import Card, JoinFailed
from ledger.simplex.effects import Committed, Now, ProposalToSign, ReadyToSign, ToSign, VoteToSign
from ledger.simplex.messages import BOOT_ID_BYTES
from ledger.state.rules import membership
from ledger.state.tables import CLOCK, MEMBER, NO_KEY
from ledger.state.tables import Status as MemberStatus
from ledger.state.transition import Matchers

from . import clock, pointer, views
from .catchup import SNAPSHOT_BEHIND, Arrived, Trusted
from .core import Core
from .database import version_words
from .joining import Door
from .journal import Journal
from .links import Events, Links, Network
from .log import Log
from .notice import SAVE_S, NoticeFile
from .signer import Signer
from .store import KEPT, Retention, Store
from .upkeep import SNAPSHOT_BLOCKS, begin_at, commit, keep_up

MATCHERS: Final = Matchers(matcher_c.clear_arrays, matcher_c.OrderBook)
FINALITY_SAMPLES: Final = 1_000
WAITERS_MAX: Final = 256
WATCHDOG_S: Final = 10.0
SIGNER_RETRY_S: Final = 0.5


@dataclass(frozen=True)
class Settings:
    """A node's configuration, checked."""

    name: str
    genesis: Genesis
    genesis_file: Path
    data: Path
    operators: Path
    view: Path
    wallet: Path
    network: Network
    clock_trusted: bool
    retention: Retention = KEPT
    ballast_bytes: int = 0
    snapshot_blocks: int = SNAPSHOT_BLOCKS
    snapshot_behind: int = SNAPSHOT_BEHIND


class Served(Protocol):
    """The local API, as the node runs it."""

    def start(self) -> None:
        """Serve as tasks of the running loop."""

    async def close(self) -> None:
        """Stop serving."""


class Node:
    """One running node."""

    def __init__(
        self, settings: Settings, store: Store, journal: Journal, log: Log, keys: tuple[bytes, bytes, bytes]
    ) -> None:
        self.settings, self.store, self.log = settings, store, log
        self.genesis = settings.genesis
        self.names = views.Names(self.genesis)
        self._journal = journal
        self._pointer = pointer.load(settings.data, self.genesis.chain_id)
        if self._pointer is not None and (known := store.header(self._pointer.height)) is not None:
            self._pointer.check(known.height, known.hash(), known.committee_hash)
        self._signer = Signer(settings.wallet)
        owner_key, node_key, transport_key = keys
        self.account = account_of_key(owner_key)
        final, certificate = store.final()
        self.core = Core(
            self.genesis,
            MATCHERS,
            store,
            final,
            node_key=node_key,
            boot_id=clock.random_bytes(BOOT_ID_BYTES),
            final_certificate=certificate,
            now=self._now(),
            snapshot_behind=settings.snapshot_behind,
            trusted=None if self._pointer is None else Trusted(*self._pointer[1:]),
        )
        self.names.update(final.state)
        self._peers = dict(self.core.directory.peers)
        self.core.machine.recover(journal.records, self._now())
        self._notice = NoticeFile(settings.data, log.note)
        kept = self._notice.load()
        if kept is not None:
            self._take_notice(*kept)
        self._wake = asyncio.Event()
        self._ticked = asyncio.Event()
        self._stop = asyncio.Event()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._failure: BaseException | None = None
        self._submitted_ms: dict[bytes, int] = {}
        self._finality_ms: deque[int] = deque(maxlen=FINALITY_SAMPLES)
        self._waiters: dict[bytes, list[asyncio.Future[int]]] = {}
        self.door = Door(
            settings.data,
            settings.genesis_file,
            chain_id=self.genesis.chain_id,
            street=self._to_trust,
            unwelcome=self._unwelcome,
            note=log.note,
        )
        self.links = Links(
            settings.network,
            chain_id=self.genesis.chain_id,
            own_key=transport_key,
            directory=self.core.directory,
            signer=self._signer,
            events=Events(
                self._linked, self._unlinked, self._take, self.fail, clone=self._clone_met, visit=self.door.serve
            ),
            note=log.note,
        )

    def _now(self) -> Now:
        return clock.now(trusted=self.settings.clock_trusted)

    # ---- what the API asks

    def submit(self, raw: bytes) -> tuple[bytes, bool]:
        """Take a transaction in: (its id, whether it waited already). Raises `DecodeError`, `InvalidTransaction`."""
        envelope = self.core.submit(raw, self._now())
        transaction_id = (envelope or decode_transaction(raw)).transaction_id
        if envelope is not None:
            while len(self._submitted_ms) >= FINALITY_SAMPLES:
                self._submitted_ms.pop(next(iter(self._submitted_ms)))
            self._submitted_ms[transaction_id] = clock.mono_ms()
        self._wake.set()
        return transaction_id, envelope is None

    async def wait_final(self, transaction_id: bytes, wait_ms: int) -> int | None:
        """The height of the block that made a transaction final, waiting for it up to `wait_ms`."""
        height = self.store.height_of_transaction(transaction_id)
        if height is not None or wait_ms == 0 or len(self._waiters) >= WAITERS_MAX:
            return height
        future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._waiters.setdefault(transaction_id, []).append(future)
        try:
            async with asyncio.timeout(wait_ms / 1000):
                return await future
        except TimeoutError:
            return None
        finally:
            waiting = self._waiters.get(transaction_id, [])
            if future in waiting:
                waiting.remove(future)
            if not waiting:
                self._waiters.pop(transaction_id, None)

    def status(self) -> dict[str, Any]:
        """The node's view of itself and its street."""
        final, machine = self.core.chain.final, self.core.machine
        linked = sum(self.core.seat_of(link.peer) is not None for link in self.links)
        up = linked + (machine.me is not None)
        time_ms = final.header.time_ms
        estimate_ms = machine.estimate_ms(self._now())
        timing = self.genesis.timing
        return {
            "name": self.settings.name,
            "account": format_address(self.account),
            "street": self.genesis.street,
            "currency": self.genesis.currency,
            "chain_id": self.genesis.chain_id.hex(),
            "version": _version(),
            "height": final.header.height,
            "head": final.hash.hex(),
            "state_root": final.header.state_root.hex(),
            "view": machine.view,
            "block_time": self.names.time(time_ms),
            "time": self.names.time(estimate_ms),
            "slot": self.genesis.slot_of(estimate_ms),
            "slot_ms": timing.slot_ms,
            "origin_ms": timing.origin_ms,
            "slot_count": timing.slot_count,
            "closed_slot": final.state.need(CLOCK, NO_KEY).next_close_slot - 1,
            "peers": len(self.links),
            "epoch": machine.epoch,
            "seat": machine.me,
            "committee": len(machine.committee),
            "quorum": machine.committee.quorum,
            "waiting_for": max(0, machine.committee.quorum - up),
            "promise": promise(machine.committee),
            "voting": machine.votes,
            "stopped": self.core.silent,
            "trusted_household": machine.committee.trusted,
            "recovery_in_ms": self.recovery().get("begins_in_ms"),
            "mempool": len(self.core.mempool),
            "time_unsure": not self.settings.clock_trusted,
            "finality_ms": self.finality(),
            "rss_kib": _rss_kib(),
            "syncing": self.core.syncing,
            "expiry_height": final.header.height + self.genesis.consensus.expiry_max // 2 + 1,
        }

    def invite(self, *, long: bool, bus: str) -> dict[str, Any]:
        """A new code for a home on this bus (empty: the own one). Raises `JoinFailed`, `DiskFailed`."""
        member = self.core.chain.final.state.get(MEMBER, (self.account,))
        if member is None or member.status == MemberStatus.REMOVED:
            raise JoinFailed("this home does not take part itself; a member makes the code")
        return self.door.invite(long=long, bus=bus or self._own_bus())

    def _own_bus(self) -> str:
        own = next((home.bus for home in self.genesis.homes if home.name == self.settings.name), "")
        return own or self.names.devices[self.settings.name].bus

    def _to_trust(self) -> tuple[int, bytes, bytes]:
        final = self.core.chain.final
        return final.header.height, final.hash, final.header.committee_hash

    def _unwelcome(self, card: Card) -> str:
        """Empty, or why the ledger would refuse a newcomer's card."""
        intent = Admit(card.name, card.owner_key, card.node_key, card.transport_key, card.bus, card.device_key)
        try:
            membership.check_new_home(self.core.chain.final.state, intent)
        except Refused as error:
            return str(error)
        return ""

    def finality(self) -> dict[str, int | None]:
        """How long transactions of this home took to become final."""
        samples = sorted(self._finality_ms)
        if not samples:
            return {"p50": None, "p95": None, "max": None}
        return {
            "p50": samples[(len(samples) - 1) // 2],
            "p95": samples[(len(samples) - 1) * 95 // 100],
            "max": samples[-1],
        }

    def peers(self) -> list[dict[str, Any]]:
        """The links that are up."""
        found = []
        for link in self.links:
            status = self.core.peer_status.get(link.peer)
            found.append(
                {
                    "name": self.core.directory.name_of(link.peer),
                    "address": link.address,
                    "direction": "out" if link.dialed else "in",
                    "connected_since": views.format_time(link.since_ms // 1000),
                    "height": None if status is None else status.final_height,
                    "rtt_ms": link.pulse.rtt_ms,
                }
            )
        return found

    def announce_recovery(self, recovery: Recovery) -> None:
        """Put a recovery that the households signed on the screens. Raises `InvalidBlock` where it does not fit here."""
        self.core.announce_recovery(recovery, self._now())
        self._wake.set()

    def recovery(self) -> dict[str, Any]:
        """The recovery that is to begin, and when."""
        notice, core = self.core.notice, self.core
        if notice is None:
            return {"recovery": None}
        left_ms = self.genesis.membership.recovery_notice_ms - core.recovery_waited_ms(self._now())
        return {
            "recovery": notice.encoded().hex(),
            "epoch": notice.epoch,
            "height": notice.height,
            "committee": [
                core.directory.name_of(peer)
                for key in notice.committee
                if (peer := core.directory.peer_of_node(key)) is not None
            ],
            "signed": len(notice.signatures),
            "begins_in_ms": max(0, left_ms),
            "begun": core.machine.epoch >= notice.epoch,
        }

    def _take_notice(self, recovery: Recovery, waited_ms: int) -> None:
        try:
            self.core.announce_recovery(recovery, self._now(), waited_ms)
        except InvalidBlock as error:
            self.log.note(f"the recovery that was announced here does not fit any more: {error}")

    async def _keep_notice(self) -> None:
        """Keep on disk how long a recovery has stood on the screens."""
        kept = False
        while True:
            if self.core.notice is not None:
                self._notice.save(self.core.notice, self.core.recovery_waited_ms(self._now()))
                kept = True
            elif kept:
                self._notice.clear()
                kept = False
            await asyncio.sleep(SAVE_S)

    # ---- running

    async def run(self, serve: Callable[[Node], Served]) -> None:
        """Until `stop`; `serve` makes the local API. Raises what stopped it: `DiskFailed`, `LinkFailed`, a broken invariant."""
        port = await self.links.run()
        served = serve(self)
        served.start()
        self._spawn(self._pump())
        self._spawn(self._tick())
        self._spawn(self._watchdog())
        self._spawn(self._keep_notice())
        self._spawn(keep_up(self.store, self.log.note))
        self.log.note(f"ready on port {port}, height {self.core.chain.final.header.height}, {version_words()}")
        sdnotify.SystemdNotifier().notify("READY=1")
        await self._stop.wait()
        await self.links.close()
        await served.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._signer.close()
        if self._failure is not None:
            raise self._failure

    def stop(self) -> None:
        """End `run`."""
        self._stop.set()

    def fail(self, broken: BaseException) -> None:
        """End `run` with what broke: an invariant, or the disk."""
        self._failure = self._failure or broken
        self._stop.set()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        broken = None if task.cancelled() else task.exception()
        if broken is not None:
            self.fail(broken)

    async def _watchdog(self) -> None:
        notifier = sdnotify.SystemdNotifier()
        while True:
            notifier.notify("WATCHDOG=1")
            await asyncio.sleep(WATCHDOG_S)

    async def _tick(self) -> None:
        while True:
            now = self._now()
            due_ms = self.core.deadline_ms(now)
            try:
                async with asyncio.timeout(max(0, due_ms - now.mono_ms) / 1000):
                    await self._ticked.wait()
                    self._ticked.clear()
                    continue
            except TimeoutError:
                self.core.tick(self._now())
                self._wake.set()

    async def _pump(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            await self._carry_out()
            self._ticked.set()

    async def _carry_out(self) -> None:
        while work := self.core.take_work():
            for text in work.notes:
                self.log.note(text)
            self._journal.append(work.records)
            for vote in work.own_votes:
                await self._check_own(vote)
            if work.cloned:
                await self._stop_signing()
            for to, message in work.sends:
                self._send(to, message)
            self._commit(work.commits)
            for height, raw in work.repairs:
                self._repair(height, raw)
            for request in work.to_sign:
                await self._sign(request)
            if work.snapshot is not None:
                self._begin_at(work.snapshot)
        # only now that no commit is outstanding: what it needs must not leave the journal before it
        self._journal.trim(self.core.machine.live_records)

    async def _check_own(self, vote: Vote) -> None:
        """A vote of this node's key came from outside and stands in no record here."""
        try:
            known = await self._signer.knows(encode_vote(vote))
        except (SignerUnavailable, SignerRefused) as error:
            self.log.note(f"the wallet does not say whether it knows a vote of its own: {error}")
            return
        if not known:
            self.core.silence("it does not know what this key signed; `energoctl member rotate` makes a new one")

    async def _stop_signing(self) -> None:
        """Another card with this key is on: the wallet keeps that in mind, and both stop."""
        try:
            await self._signer.clone()
        except (SignerUnavailable, SignerRefused) as error:
            self.log.note(f"the wallet was not told of the other card: {error}")

    async def _sign(self, request: ToSign) -> None:
        if self.core.silent:
            return
        try:
            match request:
                case ProposalToSign():
                    signature, _ = await self._signer.vote(0, request.epoch, request.view, request.block_hash, 0, 0)
                    self.core.machine.signed_proposal(request, signature, self._now())
                case VoteToSign():
                    signature, time_ms = await self._signer.vote(*request)
                    self.core.machine.signed_vote(Vote(*request._replace(time_ms=time_ms), signature), self._now())
                case ReadyToSign():
                    self.core.submit(await self._signer.ready(*request), self._now())
        except SignerRefused as error:
            if error.code == "amnesia":
                self.core.silence(str(error))
            self.log.note(f"the wallet did not sign: {error}")
        except SignerUnavailable as error:
            self.log.note(f"the wallet did not sign: {error}")
        except InvalidTransaction as error:
            self.log.note(f"this node's word for the committee to come is not wanted any more: {error}")

    def _send(self, to: int | None, message: frames.AnyMessage) -> None:
        if len(self.links):
            self.links.send(to, frames.encode(message))

    def _commit(self, commits: Sequence[Committed]) -> None:
        if self._pointer is not None:
            for committed in commits:
                header = committed.executed.header
                self._pointer.check(header.height, committed.executed.hash, header.committee_hash)
        commit(self.store, commits, self.settings.snapshot_blocks)
        for committed in commits:
            block = committed.executed.block
            assert block is not None, "block 0 is never committed"
            for raw in block.transactions:
                transaction_id = decode_transaction(raw).transaction_id
                submitted_ms = self._submitted_ms.pop(transaction_id, None)
                if submitted_ms is not None:
                    self._finality_ms.append(clock.mono_ms() - submitted_ms)
                for future in self._waiters.pop(transaction_id, []):
                    if not future.done():
                        future.set_result(block.height)
        self._follow_members()

    def _follow_members(self) -> None:
        if self._peers != self.core.directory.peers:
            self._peers = dict(self.core.directory.peers)
            self.names.update(self.core.chain.final.state)
            self.links.check_members()

    def _repair(self, height: int, raw: bytes) -> None:
        if self.store.repair(height, raw):
            self.log.note(f"damaged blocks are repaired by neighbors, now block {height}")

    def _begin_at(self, arrived: Arrived) -> None:
        """Replace the ledger by a snapshot, and go on from there with what the journal still holds above it."""
        try:
            final, certificate = begin_at(self.store, arrived)
        except DecodeError as error:
            self.log.note(f"the state of block {arrived.manifest.height} cannot be used: {error}")
            self.core.begin_at(None, None, self._now())
            return
        self.core.begin_at(final, certificate, self._now())
        self.core.machine.recover(self._journal.records, self._now())
        self.names.update(final.state)
        self._follow_members()

    # ---- links

    def _linked(self, peer: int) -> None:
        self.core.linked(peer)
        self._wake.set()

    def _unlinked(self, peer: int) -> None:
        self.core.unlinked(peer)

    def _clone_met(self, where: str) -> None:
        """Somebody at this address proved that he has this home's transport key too."""
        self.core.stop_clone()
        self._wake.set()

    def _take(self, peer: int, frame: bytes) -> None:
        self.core.receive(peer, frames.decode(frame), self._now())
        self._wake.set()


async def ask_keys(wallet: Path, note: Callable[[str], None]) -> tuple[bytes, bytes, bytes]:
    """The public keys of the wallet at that socket (owner's, node's, transport's), once it answers."""
    signer = Signer(wallet)
    while True:
        try:
            return await signer.keys()
        except (SignerUnavailable, SignerRefused) as error:
            note(str(error))
            await asyncio.sleep(SIGNER_RETRY_S)
        finally:
            await signer.close()


def promise(committee: Committee) -> str:
    """What a street of this size promises, in words that the panel shows."""
    members = len(committee)
    if members == 1:
        return "single operator: signed and tamper-evident, nothing survives the loss of this node"
    if committee.trusted and members in (2, 3):
        return "trusted household: a majority must be on, and none may lie"
    if members < 4:
        return f"all {members} nodes must be on; one that lies can stop the street and not cheat it"
    return f"{committee.faulty_max} of {members} nodes may be off or lie"


def _version() -> str:
    try:
        return version("energo")
    except PackageNotFoundError:
        return "unpackaged"


def _rss_kib() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") // 1024
