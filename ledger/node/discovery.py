"""Finding neighbors by zeroconf. What it hears is a hint, nothing more: identity comes from the proof in the tunnel.

A node announces a nonce and a tag that only those who know the chain id can recognize. Where the machine has no
multicast, discovery says so once and the static peers of the configuration must do.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Sequence
from typing import Final

from zeroconf import ServiceStateChange, Zeroconf
from zeroconf.asyncio import AsyncServiceBrowser, AsyncServiceInfo, AsyncZeroconf

from ledger.base.crypto import DOMAIN_ANNOUNCE, sha256

from .clock import random_bytes

SERVICE: Final = "_energo._tcp.local."
NONCE_BYTES: Final = 8
RESOLVE_MS: Final = 3_000


def tag_of(chain_id: bytes, nonce: bytes) -> bytes:
    """What an announcement carries beside its nonce."""
    return sha256(DOMAIN_ANNOUNCE, chain_id, nonce)[:NONCE_BYTES]


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
        self._nonce = random_bytes(NONCE_BYTES)
        self._zeroconf: AsyncZeroconf | None = None
        self._browser: AsyncServiceBrowser | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self, host: str, port: int) -> bool:
        """Announce and listen. False, with a note, where this machine has no multicast."""
        try:
            self._zeroconf = AsyncZeroconf(interfaces=self._interfaces or None)  # type: ignore[arg-type]
            info = AsyncServiceInfo(
                SERVICE,
                f"{self._nonce.hex()}.{SERVICE}",
                addresses=[socket.inet_aton(host)],
                port=port,
                properties={"n": self._nonce.hex(), "t": tag_of(self._chain_id, self._nonce).hex()},
                server=f"energo-{self._nonce.hex()}.local.",
            )
            await self._zeroconf.async_register_service(info, cooperating_responders=True)
            self._browser = AsyncServiceBrowser(self._zeroconf.zeroconf, SERVICE, handlers=[self._changed])
        except OSError as error:
            self._note(
                f"no multicast on this machine ({error.strerror or error}); neighbors are found by [network] peers only"
            )
            await self.close()
            return False
        return True

    def _changed(self, zeroconf: Zeroconf, service_type: str, name: str, state_change: ServiceStateChange) -> None:
        if state_change is not ServiceStateChange.Removed:
            task = asyncio.ensure_future(self._resolve(zeroconf, service_type, name))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _resolve(self, zeroconf: Zeroconf, service_type: str, name: str) -> None:
        info = AsyncServiceInfo(service_type, name)
        if not await info.async_request(zeroconf, RESOLVE_MS):
            return
        try:
            nonce = bytes.fromhex((info.properties.get(b"n") or b"").decode())
            tag = bytes.fromhex((info.properties.get(b"t") or b"").decode())
        except ValueError:
            return  # somebody else's idea of this service
        if nonce == self._nonce or len(nonce) != NONCE_BYTES or tag != tag_of(self._chain_id, nonce):
            return
        for host in info.parsed_addresses():
            if info.port and "." in host:
                self._on_peer(host, info.port)

    async def close(self) -> None:
        """Take the announcement back."""
        for task in list(self._tasks):
            task.cancel()
        if self._browser is not None:
            await self._browser.async_cancel()
        if self._zeroconf is not None:
            await self._zeroconf.async_close()
        self._browser = self._zeroconf = None
