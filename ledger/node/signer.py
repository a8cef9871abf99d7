"""The node's line to its wallet: typed requests, one after another, on one Unix socket that is opened again when it breaks."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any, Final

from ledger.base import codec
from ledger.base.errors import DecodeError, SignerUnavailable
from ledger.base.limits import LOCAL_REQUEST_BYTES_MAX
from ledger.client import LENGTH_BYTES, socket_path, unpack_answer

ANSWER_S: Final = 3.0  # a card may take a tenth of a second to sync; beyond this the wallet hangs


class Signer:
    """Asks the wallet. Raises `SignerUnavailable` when it does not answer, `SignerRefused` when it will not."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = asyncio.Lock()
        self._link: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def keys(self) -> tuple[bytes, bytes, bytes]:
        """Public keys: owner's, node's, transport's."""
        owner, node, transport = await self._call(("keys",))
        return owner, node, transport

    async def vote(
        self, kind: int, epoch: int, view: int, block_hash: bytes, time_ms: int, seat: int
    ) -> tuple[bytes, int]:
        """(signature, the time it covers) of a vote, or of a proposal (kind 0)."""
        signature, signed_time_ms = await self._call(("vote", kind, epoch, view, block_hash, time_ms, seat))
        return signature, signed_time_ms

    async def knows(self, vote: bytes) -> bool:
        """Whether the record of votes has one that came from outside; where not, this key never votes again."""
        known: bool = await self._call(("own", vote))
        return known

    async def clone(self) -> None:
        """Another card with this key is on: this one never votes again."""
        await self._call(("clone",))

    async def ready(self, epoch: int, committee_hash: bytes) -> bytes:
        """The transaction by which this node says that it is ready for an epoch's committee."""
        raw: bytes = await self._call(("ready", epoch, committee_hash))
        return raw

    async def prove_link(
        self, *, dialed: bool, client_nonce: bytes, server_nonce: bytes, peer: bytes, certificate_hash: bytes
    ) -> bytes:
        """The signature by which this end of a link proves who it is."""
        request = ("link", int(dialed), client_nonce, server_nonce, peer, certificate_hash)
        signature: bytes = await self._call(request)
        return signature

    async def _call(self, request: tuple[object, ...]) -> Any:
        async with self._lock:
            try:
                async with asyncio.timeout(ANSWER_S):
                    raw = await self._exchange(codec.encode(request))
                answer = codec.decode(raw, bytes_max=LOCAL_REQUEST_BYTES_MAX)
            except (OSError, TimeoutError, asyncio.IncompleteReadError, DecodeError) as error:
                await self.close()
                why = str(error) or type(error).__name__
                raise SignerUnavailable(
                    f"no wallet answers at {self._path} ({why}); is energo-wallet running?"
                ) from None
        return unpack_answer(answer)

    async def _exchange(self, payload: bytes) -> bytes:
        if self._link is None:
            address, folder = socket_path(self._path)
            try:
                self._link = await asyncio.open_unix_connection(address)
            finally:
                if folder is not None:
                    os.close(folder)
        reader, writer = self._link
        writer.write(len(payload).to_bytes(LENGTH_BYTES, "big") + payload)
        await writer.drain()
        size = int.from_bytes(await reader.readexactly(LENGTH_BYTES), "big")
        if size > LOCAL_REQUEST_BYTES_MAX:
            raise DecodeError("an answer that is too long")
        return await reader.readexactly(size)

    async def close(self) -> None:
        """Let go of the socket."""
        if self._link is not None:
            self._link[1].close()
            self._link = None
