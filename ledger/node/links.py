"""The links to the other homes: who is linked, who is dialed again, who is not let in.

One link for each transport key. Addresses are hints, from wherever they come: who is at one is known only when he has proved it.
Loses nothing that matters when a link ends: what agreement needs is asked for again over the next one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass
from typing import Any, Final

from ledger.base.errors import DecodeError

from . import clock
from .discovery import Discovery
from .signer import Signer
from .transport import Directory, Link, LinkFailed, Transport, read_frames

REDIAL_FIRST_MS: Final = 200
SILENT_MS: Final = 10_000  # a neighbor that starts or restarts is no news; one that is away for longer is said
REFUSAL_MS: Final = 3_600_000  # a member that sent what no honest one sends is not linked again for an hour
ADDRESSES_MAX: Final = 256  # remembered hints of discovery; anybody on the LAN can announce anything


@dataclass(frozen=True)
class Network:
    """The [network] table of a node's configuration, checked."""

    listen: str
    port: int
    zeroconf: bool
    interfaces: tuple[str, ...]
    peers: tuple[tuple[str, int], ...]
    redial_ms_max: int


@dataclass(frozen=True)
class Events:
    """What the links tell the node. `frame` raises `DecodeError` for a frame that no honest node sends."""

    up: Callable[[int], None]
    down: Callable[[int], None]
    frame: Callable[[int, bytes], None]
    broken: Callable[[BaseException], None]  # a bug, not a fault of the network


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
        self._refused_until_ms: dict[int, int] = {}
        self._addresses: dict[tuple[str, int], int | None] = {}
        self._dialing: set[tuple[str, int]] = set()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._discovery: Discovery | None = None
        self._transport = Transport(
            chain_id=chain_id,
            own_id=own_key,
            directory=directory,
            signer=signer,
            on_link=self._run_link,
            may_link=self._may_link,
            note=note,
            now_ms=clock.wall_ms,
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
            self.seen(host, peer_port)
        if self._network.zeroconf:
            self._discovery = Discovery(
                chain_id=self._chain_id,
                interfaces=self._network.interfaces,
                on_peer=self.seen,
                note=self._note,
            )
            self._spawn(self._discovery.start(self._network.listen, port))
        return port

    async def close(self) -> None:
        """End every link, and look for no more."""
        await self._transport.close()
        for link in list(self._links.values()):
            link.close()
        if self._discovery is not None:
            await self._discovery.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def send(self, peer: int | None, frame: bytes) -> None:
        """A whole frame to a peer, or to all that are linked (None). Who is not linked learns by asking, later."""
        if peer is None:
            for link in list(self._links.values()):
                link.send(frame)
        elif (link_to := self._links.get(peer)) is not None:
            link_to.send(frame)

    def seen(self, host: str, port: int) -> None:
        """An address where a neighbor may be."""
        at = (host, port)
        if at in self._dialing or (at not in self._addresses and len(self._addresses) >= ADDRESSES_MAX):
            return
        self._addresses.setdefault(at, None)
        self._dialing.add(at)
        self._spawn(self._keep_dialing(host, port))

    # ---- inside

    def _spawn(self, work: Coroutine[Any, Any, Any]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        broken = None if task.cancelled() else task.exception()
        if broken is not None:
            self._events.broken(broken)

    def _may_link(self, peer: int, key: bytes, dialed: bool) -> str:
        """Empty, or in words why a link to this member is not wanted now."""
        if clock.mono_ms() < self._refused_until_ms.get(peer, 0):
            return "this member sent what no honest one sends; it is let in again in an hour"
        known = self._links.get(peer)
        if known is None or known.dialed == dialed:
            return ""
        opened_by_lower = dialed == (self._own_key < key)
        return "" if opened_by_lower else "there is a link already"

    async def _run_link(self, link: Link) -> None:
        words = self._may_link(link.peer, link.key, link.dialed)
        if words:
            link.close()
            return
        old = self._links.get(link.peer)
        self._links[link.peer] = link
        if old is not None:
            old.close()
        self._events.up(link.peer)
        try:
            await read_frames(link, lambda frame: self._events.frame(link.peer, frame))
        except DecodeError as error:
            self._refused_until_ms[link.peer] = clock.mono_ms() + REFUSAL_MS
            name = self._directory.name_of(link.peer)
            self._note(f"{name} sent what no honest node sends ({error}); not linked for an hour")
        except (OSError, asyncio.IncompleteReadError):
            pass  # the link ended; it is dialed again
        except AssertionError as broken:
            self._events.broken(broken)
        finally:
            link.close()
            if self._links.get(link.peer) is link:
                del self._links[link.peer]
                self._events.down(link.peer)

    async def _keep_dialing(self, host: str, port: int) -> None:
        at = (host, port)
        wait_ms, silent_since_ms = REDIAL_FIRST_MS, clock.mono_ms()
        while True:
            member = self._addresses[at]
            if member is not None and member in self._links:
                wait_ms, silent_since_ms = REDIAL_FIRST_MS, clock.mono_ms()
                await asyncio.sleep(self._network.redial_ms_max / 1000)
                continue
            try:
                self._addresses[at] = await self._transport.dial(host, port)
                wait_ms, silent_since_ms = REDIAL_FIRST_MS, clock.mono_ms()
            except LinkFailed as error:
                if "itself" in str(error):
                    return
                if error.peer is not None:
                    self._addresses[at] = error.peer
                linked = error.peer is not None and error.peer in self._links
                if not linked and clock.mono_ms() - silent_since_ms >= SILENT_MS:
                    self._note(f"no link: {error}")
            await asyncio.sleep(wait_ms / 1000)
            wait_ms = min(2 * wait_ms, self._network.redial_ms_max)
