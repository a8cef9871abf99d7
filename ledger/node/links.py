"""The links to the other homes: who is linked, who is dialed again, who is not let in.

One link for each transport key; of two that cross, the one that the lower key opened. Addresses are hints, from wherever they come
(the configuration, an earlier run, zeroconf, the neighbors): who is at one is known only when he has proved it. Every link has a
heartbeat of its own, because a partition tells nobody. Loses nothing that matters when a link ends: what agreement needs is asked
for again over the next one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

from ledger.base.errors import DecodeError
from ledger.gossip import frames, presence
from ledger.gossip.presence import Known, Peers, PeersRequest, Ping, Pong

from . import clock
from .discovery import Discovery, LinkWatch
from .pacing import Backoff, Meter
from .peers import ADDRESSES_MAX, Address, AddressBook, is_dialable, is_for_others
from .signer import Signer
from .transport import Directory, Itself, Link, LinkFailed, Transport, Visit, read_frames

REDIAL_FIRST_MS: Final = 200
SILENT_MS: Final = 10_000  # a neighbor that starts or restarts is no news; one that is away for longer is said
REFUSAL_MS: Final = 3_600_000  # a member that sent what no honest one sends is not linked again for an hour
INBOUND_MAX: Final = 48  # links that others opened: the largest committee, and as many as half of it that only follow
LOOK_MS: Final = 1_000  # how often the heartbeats are looked at: a fraction of what they wait for
ASK_PEERS_MS: Final = 60_000
ALONE_MS: Final = 60_000  # without any link: announce and ask anew so often ...
RENEW_MS: Final = (
    600_000  # ... and else so often: whoever was behind a silent partition when he started is heard of by this
)
DIALERS_MAX: Final = 2 * ADDRESSES_MAX  # an address that was forgotten is noticed only when its turn comes
URGENT: Final = frozenset((presence.PING, presence.PONG, frames.VOTE, frames.CERTIFICATE))  # before bodies and ranges


@dataclass(frozen=True)
class Network:
    """The [network] table of a node's configuration, checked. `cache`: the file of the known addresses, if any."""

    listen: str
    port: int
    zeroconf: bool
    interfaces: tuple[str, ...]
    peers: tuple[tuple[str, int], ...]
    redial_ms_max: int
    cache: Path | None = None


@dataclass(frozen=True)
class Events:
    """What the links tell the node. `frame` raises `DecodeError` for a frame that no honest node sends."""

    up: Callable[[int], None]
    down: Callable[[int], None]
    frame: Callable[[int, bytes], None]
    broken: Callable[[BaseException], None]  # a bug, not a fault of the network
    clone: Callable[[str], None] | None = None  # another machine, at this address, has this home's transport key
    visit: Callable[[Visit], Awaitable[None]] | None = None  # somebody who is no member wants to join


class Links:
    """Listens, finds, dials; `send` to one peer or to all."""

    def __init__(
        self,
        network: Network,
        *,
        chain_id: bytes,
        own_key: bytes,
        directory: Directory,
        signer: Signer,
        events: Events,
        note: Callable[[str], None],
    ) -> None:
        self._network, self._chain_id, self._own_key = network, chain_id, own_key
        self._directory, self._events, self._note = directory, events, note
        self._links: dict[int, Link] = {}
        self._refused_until_ms: dict[bytes, int] = {}
        self._meters: dict[bytes, Meter] = {}  # of keys, which are members': dialing again refills nothing
        self._slowed: set[bytes] = set()
        self._asked: set[Link] = set()  # an answer about addresses is read only from those
        self._book = AddressBook(network.cache, note)
        self._dialing: set[bytes] = set()
        self._dialers = 0
        self._hurry = asyncio.Event()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._discovery: Discovery | None = None
        self._watch = LinkWatch(self._returned, note)
        self._transport = Transport(
            chain_id=chain_id,
            own_id=own_key,
            directory=directory,
            signer=signer,
            on_link=self._run_link,
            may_link=self._may_link,
            on_clone=self._cloned,
            note=note,
            now_ms=clock.wall_ms,
            on_visit=events.visit,
        )

    def __len__(self) -> int:
        return len(self._links)

    def __iter__(self) -> Iterator[Link]:
        """The links that are up, in order of peer."""
        return iter([link for _, link in sorted(self._links.items())])

    async def run(self) -> int:
        """Listen, dial and look for others from now on; the port. Raises `LinkFailed` where the port is taken."""
        port = await self._transport.listen(self._network.listen, self._network.port)
        for host, peer_port in self._network.peers:
            self._dial(self._book.add(host, peer_port, fixed=True))
        for at in self._book.load():
            self._dial(at)
        self._watch.start()
        if self._network.zeroconf:
            self._discovery = Discovery(
                chain_id=self._chain_id,
                interfaces=self._network.interfaces,
                on_peer=self.seen,
                note=self._note,
            )
            self._spawn(self._discovery.start(self._network.listen, port))
        self._spawn(self._look_after())
        return port

    async def close(self) -> None:
        """End every link, and look for no more."""
        self._watch.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._discovery is not None:
            await self._discovery.close()
        await self._transport.close()
        for link in list(self._links.values()):
            link.close()

    def send(self, peer: int | None, frame: bytes) -> None:
        """A whole frame to a peer, or to all that are linked (None). Who is not linked learns by asking, later."""
        found = self._links.get(peer) if peer is not None else None
        for link in list(self._links.values()) if peer is None else [found] if found is not None else []:
            self._put(link, frame)

    def seen(self, host: str, port: int) -> None:
        """An address where a neighbor may be."""
        self._dial(self._book.add(host, port))

    def check_members(self) -> None:
        """The directory's answers have changed: end the links of those who are no longer members, or others."""
        for peer, link in list(self._links.items()):
            if self._directory.peer_of(link.key) != peer:
                link.close()

    # ---- inside

    def _put(self, link: Link, frame: bytes) -> None:
        urgent = frame[frames.LENGTH_BYTES] in URGENT
        if not link.send(frame, urgent=urgent):
            self._note(f"{self._directory.name_of(link.peer)} reads too slowly; its link is given up and dialed anew")

    def _spawn(self, work: Coroutine[Any, Any, Any]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        broken = None if task.cancelled() else task.exception()
        if broken is not None:
            self._events.broken(broken)

    def _cloned(self, where: str) -> None:
        self._note(
            f"a machine at {where} has this home's own transport key: this card was copied; switch one off for good"
        )
        if self._events.clone is not None:
            self._events.clone(where)

    def _may_link(self, peer: int, key: bytes, dialed: bool) -> str:
        """Empty, or in words why a link to this member is not wanted now."""
        if clock.mono_ms() < self._refused_until_ms.get(key, 0):
            return "this member sent what no honest one sends; it is let in again in an hour"
        known = self._links.get(peer)
        if known is None:
            inbound = sum(not link.dialed for link in self._links.values())
            return "" if dialed or inbound < INBOUND_MAX else "there are as many links as this node takes"
        if known.dialed == dialed:
            return ""
        if dialed == (self._own_key < key):  # it is the one that the lower key opened
            return ""
        known.pulse.doubt(clock.mono_ms())  # who dials has no link; if that one is dead, it is soon found out
        return "there is a link already"

    async def _run_link(self, link: Link) -> None:
        words = self._may_link(link.peer, link.key, link.dialed)
        if words:
            link.close()
            return
        old = self._links.get(link.peer)
        self._links[link.peer] = link
        if old is not None:
            old.close()
        if not link.dialed and link.listens:
            at = self._book.add(link.at[0], link.listens)
            if at is not None:
                self._book.proved(at, link.key)
                self._dial(at)
        self._events.up(link.peer)
        writing = asyncio.create_task(link.write())
        try:
            await read_frames(link, lambda frame: self._take(link, frame))
        except DecodeError as error:
            self._refused_until_ms[link.key] = clock.mono_ms() + REFUSAL_MS
            name = self._directory.name_of(link.peer)
            self._note(f"{name} sent what no honest node sends ({error}); not linked for an hour")
        except (OSError, asyncio.IncompleteReadError):
            pass  # the link ended; it is dialed again
        except AssertionError as broken:
            self._events.broken(broken)
        finally:
            writing.cancel()
            link.close()
            self._asked.discard(link)
            if self._links.get(link.peer) is link:
                del self._links[link.peer]
                self._events.down(link.peer)
            await asyncio.gather(writing, return_exceptions=True)  # why it could not be written is why it ended

    def _take(self, link: Link, frame: bytes) -> int:
        """A frame of a link; for how long to read no more from it. Raises `DecodeError`."""
        now_ms = clock.mono_ms()
        link.pulse.heard(now_ms)
        kind = frame[0] if frame else 0
        if kind in presence.KINDS:
            self._answer(link, presence.decode(frame), now_ms)
        else:
            self._events.frame(link.peer, frame)
        wait_ms = self._meters.setdefault(link.key, Meter()).take(kind, len(frame), now_ms)
        if wait_ms and link.key not in self._slowed:
            self._slowed.add(link.key)
            name = self._directory.name_of(link.peer)
            self._note(f"{name} sends more frames of type {kind} than an honest home has; it is read more slowly")
        return wait_ms

    def _answer(self, link: Link, message: presence.Presence, now_ms: int) -> None:
        match message:
            case Ping(number):
                self._put(link, presence.encode(Pong(number)))
            case Pong(number):
                link.pulse.answered(number, now_ms)
            case PeersRequest():
                self._put(link, presence.encode(self._known_to(link)))
            case Peers(known) if link in self._asked:
                self._asked.discard(link)
                for each in known:
                    peer = self._directory.peer_of(each.key)
                    if each.key != self._own_key and peer is not None and peer not in self._links:
                        self.seen(each.host, each.port)

    def _known_to(self, asker: Link) -> Peers:
        """Where the others are that this node is linked to."""
        found = [
            Known(link.key, link.at[0], link.listens)
            for link in self
            if link is not asker and link.listens and is_dialable(*link.at) and is_for_others(link.at[0])
        ]
        return Peers(tuple(found[: presence.PEERS_MAX]))

    async def _look_after(self) -> None:
        """Pings, the end of silent links, questions for addresses, and new announcements."""
        renewed_ms = clock.mono_ms()
        asked_ms, asked_of = renewed_ms - ASK_PEERS_MS, 0  # the first question goes out with the first link
        while True:
            now_ms = clock.mono_ms()
            for link in self:
                if link.pulse.over(now_ms):
                    self._note(f"{self._directory.name_of(link.peer)} is silent; its link is given up and dialed anew")
                    link.abort()
                elif (number := link.pulse.ping(now_ms)) is not None:
                    self._put(link, presence.encode(Ping(number)))
            if self._links and now_ms - asked_ms >= ASK_PEERS_MS:
                asked_ms, asked_of = now_ms, asked_of + 1
                link = list(self)[asked_of % len(self._links)]
                self._asked.add(link)
                self._put(link, presence.encode(PeersRequest()))
            if now_ms - renewed_ms >= (RENEW_MS if self._links else ALONE_MS):
                if self._discovery is not None:
                    self._spawn(self._discovery.renew())
                renewed_ms = now_ms
            await asyncio.sleep(LOOK_MS / 1000)

    def _returned(self) -> None:
        """A cable or an address came back: links may be dead, and neighbors may be reached again."""
        now_ms = clock.mono_ms()
        for link in self:
            link.pulse.doubt(now_ms)
        hurried, self._hurry = self._hurry, asyncio.Event()
        hurried.set()
        if self._discovery is not None:
            self._spawn(self._discovery.renew())

    def _dial(self, at: Address | None) -> None:
        if at is None:
            return
        if self._dialers < DIALERS_MAX or at.fixed:
            self._dialers += 1
            self._spawn(self._keep_dialing(at))
        else:
            self._book.forget(at)

    async def _pause(self, wait_ms: int) -> bool:
        """Wait; True where something came back meanwhile, and it is worth an attempt at once."""
        try:
            async with asyncio.timeout(wait_ms / 1000):
                return await self._hurry.wait()
        except TimeoutError:
            return False

    def _is_linked(self, key: bytes | None) -> bool:
        peer = None if key is None else self._directory.peer_of(key)
        return peer is not None and peer in self._links

    async def _keep_dialing(self, at: Address) -> None:
        """Until the address is forgotten."""
        try:
            await self._dial_again(at)
        finally:
            self._dialers -= 1

    async def _dial_again(self, at: Address) -> None:
        wait = Backoff(REDIAL_FIRST_MS, self._network.redial_ms_max)
        alone_since_ms = clock.mono_ms()
        while at in self._book:
            if self._is_linked(at.key) or at.key in self._dialing:
                wait.reset()
                alone_since_ms = clock.mono_ms()
                await self._pause(self._network.redial_ms_max)
                continue
            known = at.key
            if known is not None:
                self._dialing.add(known)
            try:
                reached = partial(self._reached, at, known, wait)
                await self._transport.dial(at.host, at.port, linked=reached)
                alone_since_ms = clock.mono_ms()
            except Itself:
                self._book.forget(at)
                return
            except LinkFailed as error:
                if error.key is not None:
                    self._book.proved(at, error.key)
                elif self._book.failed(at):
                    return
                if not self._is_linked(error.key) and clock.mono_ms() - alone_since_ms >= SILENT_MS:
                    self._note(f"no link: {error}")
            finally:
                if known is not None:
                    self._dialing.discard(known)
            if await self._pause(wait.next_ms()):
                wait.reset()

    def _reached(self, at: Address, known: bytes | None, wait: Backoff, key: bytes) -> None:
        wait.reset()
        if known is not None:
            self._dialing.discard(known)
        self._book.proved(at, key)
