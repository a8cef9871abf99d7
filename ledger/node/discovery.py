"""Finding neighbors by zeroconf. What it hears is a hint, nothing more: identity comes from the proof in the tunnel.

A node announces a nonce and a tag that only those who know the chain id can recognize, on every interface, over IPv4 and IPv6. When
a cable or an address comes back it announces and asks anew, with a new nonce: multicast was not heard meanwhile, and its queries
would by then be an hour apart. Where the machine has no multicast, discovery says so once and the static peers must do.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import struct
from collections.abc import Callable, Sequence
from typing import Any, Final

import ifaddr
import zeroconf
from zeroconf import InterfaceChoice, IPVersion, ServiceStateChange, Zeroconf
from zeroconf.asyncio import AsyncServiceBrowser, AsyncServiceInfo, AsyncZeroconf

from ledger.base.crypto import DOMAIN_ANNOUNCE, sha256

from .clock import random_bytes

SERVICE: Final = "_energo._tcp.local."
NONCE_BYTES: Final = 8
RESOLVE_MS: Final = 3_000
RESOLVING_MAX: Final = 32  # at a time; a flood of announcements costs no more than this
SETTLE_S: Final = 0.3  # a cable that comes back brings several changes at once

# rtnetlink(7)
_GROUPS: Final = 0x1 | 0x10 | 0x100  # links, IPv4 addresses, IPv6 addresses
_HEADER: Final = struct.Struct("=IHHII")  # length, type, flags, sequence, process
_LINK: Final = struct.Struct("=BxHiII")  # family, type, index, flags, change
_NEW_LINK: Final = 16
_NEW_ADDRESS: Final = 20
_LOWER_UP: Final = 0x10000  # the carrier is there
_LOOPBACK: Final = 0x8


def tag_of(chain_id: bytes, nonce: bytes) -> bytes:
    """What an announcement carries beside its nonce."""
    return sha256(DOMAIN_ANNOUNCE, chain_id, nonce)[:NONCE_BYTES]


def changes(raw: bytes) -> tuple[dict[int, bool], bool]:
    """Of the kernel's messages: (whether each interface, by index, has a carrier now; whether an address is new)."""
    carriers: dict[int, bool] = {}
    new_address = False
    offset = 0
    while offset + _HEADER.size <= len(raw):
        size, kind, _, _, _ = _HEADER.unpack_from(raw, offset)
        if size < _HEADER.size or offset + size > len(raw):
            break
        if kind == _NEW_ADDRESS:
            new_address = True
        elif kind == _NEW_LINK and size >= _HEADER.size + _LINK.size:
            _, _, index, flags, _ = _LINK.unpack_from(raw, offset + _HEADER.size)
            if not flags & _LOOPBACK:
                carriers[index] = bool(flags & _LOWER_UP)
        offset += (size + 3) & ~3
    return carriers, new_address


class LinkWatch:
    """Tells when a cable or an address of this machine came (back): `on_return()`. Costs nothing while nothing happens."""

    def __init__(self, on_return: Callable[[], None], note: Callable[[str], None]) -> None:
        self._on_return, self._note = on_return, note
        self._carriers: dict[int, bool] = {}
        self._socket: socket.socket | None = None
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Watch, in the running loop. A system that does not let it is noted."""
        try:
            self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0)
            self._socket.setblocking(False)
            self._socket.bind((0, _GROUPS))
        except OSError as error:
            self._note(f"cables cannot be watched ({error.strerror}); neighbors are dialed again at the usual pace")
            self.close()
            return
        asyncio.get_running_loop().add_reader(self._socket.fileno(), self._readable)

    def _readable(self) -> None:
        assert self._socket is not None, "read only while it is open"
        try:
            carriers, came_back = changes(self._socket.recv(65_536))
        except BlockingIOError:
            return
        except OSError:
            carriers, came_back = {}, True  # messages were lost: something changed
        for index, carrier in carriers.items():
            came_back = came_back or (carrier and not self._carriers.get(index, True))
        self._carriers |= carriers
        if came_back and self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(SETTLE_S, self._settled)

    def _settled(self) -> None:
        self._timer = None
        self._on_return()

    def close(self) -> None:
        """Watch no more."""
        if self._timer is not None:
            self._timer.cancel()
        if self._socket is not None:
            if self._socket.fileno() >= 0:
                asyncio.get_running_loop().remove_reader(self._socket.fileno())
            self._socket.close()
        self._socket = self._timer = None


def own_addresses(listen: str, interfaces: Sequence[str]) -> list[str]:
    """The addresses to announce: the one that is listened at, or all of this machine's (of these interfaces)."""
    if not ipaddress.ip_address(listen).is_unspecified:
        return [listen]
    found = []
    for adapter in ifaddr.get_adapters():
        for address in adapter.ips:
            host = address.ip if isinstance(address.ip, str) else address.ip[0]
            if listen == "0.0.0.0" and ":" in host:
                continue
            if interfaces and not {host, adapter.name, str(adapter.index)} & set(interfaces):
                continue
            if not ipaddress.ip_address(host).is_loopback or host in interfaces:
                found.append(host)
    return sorted(set(found))


def _choice(interfaces: Sequence[str]) -> list[str | int] | InterfaceChoice:
    """The configuration's interfaces (addresses or names) in zeroconf's own form: addresses and indexes."""
    if not interfaces:
        return InterfaceChoice.All
    found: list[str | int] = []
    by_name = {adapter.name: adapter for adapter in ifaddr.get_adapters()}
    for text in interfaces:
        adapter = by_name.get(text)
        if adapter is None:
            found.append(text)
            continue
        found += [address.ip for address in adapter.ips if isinstance(address.ip, str)]
        if adapter.index is not None:
            found.append(adapter.index)
    return found


class Discovery:
    """Announces this node and tells of others: `on_peer(host, port)`."""

    def __init__(
        self,
        *,
        chain_id: bytes,
        interfaces: Sequence[str],
        on_peer: Callable[[str, int], None],
        note: Callable[[str], None],
    ) -> None:
        self._chain_id, self._interfaces, self._on_peer, self._note = chain_id, list(interfaces), on_peer, note
        self._nonces: set[bytes] = set()
        self._at: tuple[str, int] | None = None
        self._zeroconf: AsyncZeroconf | None = None
        self._browser: AsyncServiceBrowser | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._renewing = asyncio.Lock()

    async def start(self, host: str, port: int) -> bool:
        """Announce `port` at `host` (unspecified: at all addresses), and listen. False, with a note, where it cannot."""
        self._at = (host, port)
        async with self._renewing:
            return await self._announce(host, port)

    async def renew(self) -> None:
        """Announce and ask anew, at the addresses that this machine has now."""
        if self._at is None or self._renewing.locked():
            return
        async with self._renewing:
            await self._take_back()
            await self._announce(*self._at)

    async def _announce(self, host: str, port: int) -> bool:
        nonce = random_bytes(NONCE_BYTES)
        self._nonces = {*list(self._nonces)[-8:], nonce}  # announcements of before are heard for a while
        try:
            addresses = own_addresses(host, self._interfaces)
            if not addresses:
                self._note("no network yet; this node announces itself when there is one")
                return False
            family = IPVersion.All if any(":" in each for each in addresses) else IPVersion.V4Only
            if all(":" in each for each in addresses):
                family = IPVersion.V6Only
            choice: Any = _choice(self._interfaces)
            self._zeroconf = AsyncZeroconf(
                interfaces=choice, ip_version=family if choice is InterfaceChoice.All else None
            )
            await self._tell(self._zeroconf, addresses, port, nonce)
            self._browser = AsyncServiceBrowser(self._zeroconf.zeroconf, SERVICE, handlers=[self._changed])
        except (
            OSError,
            RuntimeError,
            zeroconf.Error,
        ) as error:  # the second: no interface has an address of the family
            words = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            self._note(f"no multicast on this machine ({words}); neighbors are found by [network] peers only")
            await self._take_back()
            return False
        return True

    async def _tell(self, carrier: AsyncZeroconf, addresses: list[str], port: int, nonce: bytes) -> None:
        info = AsyncServiceInfo(
            SERVICE,
            f"{nonce.hex()}.{SERVICE}",
            parsed_addresses=addresses,
            port=port,
            properties={"n": nonce.hex(), "t": tag_of(self._chain_id, nonce).hex()},
            server=f"energo-{nonce.hex()}.local.",
        )
        await carrier.async_register_service(info, cooperating_responders=True)

    def _is_wanted(self, nonce: bytes, tag: bytes) -> bool:
        return nonce not in self._nonces and tag == tag_of(self._chain_id, nonce)

    def _changed(self, zeroconf: Zeroconf, service_type: str, name: str, state_change: ServiceStateChange) -> None:
        if state_change is not ServiceStateChange.Removed and len(self._tasks) < RESOLVING_MAX:
            task = asyncio.ensure_future(self._resolve(zeroconf, service_type, name))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _resolve(self, carrier: Zeroconf, service_type: str, name: str) -> None:
        try:
            info = AsyncServiceInfo(service_type, name)
            if not await info.async_request(carrier, RESOLVE_MS):
                return
        except zeroconf.Error:
            return  # a name that is none, or the announcement is being taken back
        try:
            nonce = bytes.fromhex((info.properties.get(b"n") or b"").decode())
            tag = bytes.fromhex((info.properties.get(b"t") or b"").decode())
        except ValueError:
            return  # somebody else's idea of this service
        if len(nonce) != NONCE_BYTES or not self._is_wanted(nonce, tag):
            return
        for host in info.parsed_scoped_addresses():
            if info.port:
                self._on_peer(_named_scope(host), info.port)

    async def _take_back(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        if self._browser is not None:
            await self._browser.async_cancel()
        if self._zeroconf is not None:
            await self._zeroconf.async_close()
        self._browser = self._zeroconf = None

    async def close(self) -> None:
        """Take the announcement back."""
        self._at = None
        async with self._renewing:
            await self._take_back()


class Search(Discovery):
    """Only listens, for the nodes of whatever street: a newcomer belongs to none yet."""

    def __init__(
        self, *, interfaces: Sequence[str], on_peer: Callable[[str, int], None], note: Callable[[str], None]
    ) -> None:
        super().__init__(chain_id=b"", interfaces=interfaces, on_peer=on_peer, note=note)

    async def _tell(self, carrier: AsyncZeroconf, addresses: list[str], port: int, nonce: bytes) -> None:
        return  # there is nothing to dial here

    def _is_wanted(self, nonce: bytes, tag: bytes) -> bool:
        return True


def _named_scope(host: str) -> str:
    """A link-local address with its interface's name where it has the index."""
    address, _, scope = host.partition("%")
    if not scope.isdigit():
        return host
    try:
        return f"{address}%{socket.if_indextoname(int(scope))}"
    except OSError:
        return host
