"""Links between neighbors: TLS 1.3 tunnels in which both ends prove who they are, and frames on them.

The TLS certificate is made at each start and means nothing by itself: no name, date or chain is checked (Pis have no
clock). Inside the tunnel both ends exchange nonces and sign both nonces, both ids and the hash of the server's certificate with
their transport keys; a relay in the middle has another certificate, so its proof fails. Then the server welcomes the client or
refuses in words. Before that a stranger costs one TLS handshake and one small message.
"""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, Protocol

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from ledger.base import codec
from ledger.base.crypto import ED25519, HASH_BYTES, LINK_VERSION, SIGNATURE_BYTES, link_message, sha256
from ledger.base.errors import DecodeError, EnergoError
from ledger.base.limits import FRAME_BYTES_MAX
from ledger.gossip.frames import LENGTH_BYTES

from .clock import random_bytes
from .signer import Signer

HANDSHAKE_S: Final = 5.0  # a slow stranger holds one of few places for no longer
HELLO_BYTES_MAX: Final = 256
HALF_OPEN_MAX: Final = 32
HALF_OPEN_PER_ADDRESS_MAX: Final = 8
OUTBOX_BYTES_MAX: Final = 4 * 1024 * 1024  # a peer that reads slower than this is let go; it catches up when it returns
FRAMES_PER_S: Final = 4_000  # of one peer; an honest one of 31 sends some hundreds
BURST_FRAMES: Final = 8_000


class LinkFailed(EnergoError):
    """A link that did not come to be, in words; `peer` is the member at the other end where that was proved."""

    code = "link_failed"

    def __init__(self, message: str, peer: int | None = None) -> None:
        super().__init__(message)
        self.peer = peer


def decode_hello(raw: bytes) -> tuple[int, bytes, bytes, bytes]:
    """A stranger's (version of the link, chain id, nonce, public key). Raises `DecodeError`."""
    version, chain_id, nonce, peer_id = codec.want(
        codec.decode(raw, bytes_max=HELLO_BYTES_MAX), int, bytes, bytes, bytes
    )
    for part in (chain_id, nonce, peer_id):
        codec.of_length(part, HASH_BYTES, "a part of a hello")
    return version, chain_id, nonce, peer_id


def decode_welcome(raw: bytes) -> tuple[bool, str]:
    """Whether a peer takes the link, and else why not, in words that can be shown. Raises `DecodeError`."""
    welcome, words = codec.want(codec.decode(raw, bytes_max=HELLO_BYTES_MAX), bool, str)
    if welcome != (words == "") or not words.isprintable():  # a log takes one line from a peer, not what it likes
        raise DecodeError("a welcome has no words, and a refusal one printable line")
    return welcome, words


def _certificate() -> tuple[bytes, bytes, bytes]:
    """(PEM of the certificate, PEM of its key, DER of the certificate), new."""
    key = Ed25519PrivateKey.generate()
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "energo")])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(x509.random_serial_number())
    epoch = datetime(2020, 1, 1, tzinfo=UTC)
    builder = builder.not_valid_before(epoch).not_valid_after(epoch + timedelta(days=36_500))
    made = builder.sign(key, None)
    key_pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return made.public_bytes(Encoding.PEM), key_pem, made.public_bytes(Encoding.DER)


def _in_memory(data: bytes) -> int:
    """A descriptor of an anonymous file with these bytes: ssl loads only files, and keys do not belong on a disk."""
    descriptor = os.memfd_create("energo-tls", os.MFD_CLOEXEC)
    os.write(descriptor, data)
    return descriptor


def _contexts() -> tuple[ssl.SSLContext, ssl.SSLContext, bytes]:
    """(server's, client's, SHA-256 of the server's certificate)."""
    pem, key_pem, der = _certificate()
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.minimum_version = ssl.TLSVersion.TLSv1_3
    server.num_tickets = 0
    files = _in_memory(pem), _in_memory(key_pem)
    try:
        server.load_cert_chain(f"/proc/self/fd/{files[0]}", f"/proc/self/fd/{files[1]}")
    finally:
        for descriptor in files:
            os.close(descriptor)
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.minimum_version = ssl.TLSVersion.TLSv1_3
    client.check_hostname = False
    client.verify_mode = ssl.CERT_NONE
    return server, client, sha256(der)


class Directory(Protocol):
    """Who belongs to this street; its answers may change while the node runs."""

    def peer_of(self, transport_key: bytes) -> int | None:
        """The number of the home with this transport key; None: no link with it."""

    def name_of(self, peer: int) -> str:
        """What a person calls that home."""


@dataclass
class Link:
    """An authenticated link to a member, whose transport key is `key`. `dialed`: this node opened it."""

    peer: int
    key: bytes
    dialed: bool
    address: str
    since_ms: int
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    def send(self, frame: bytes) -> bool:
        """Queue a frame; False where the peer reads too slowly and the link is given up."""
        transport = self.writer.transport
        if transport.is_closing():
            return False
        if transport.get_write_buffer_size() > OUTBOX_BYTES_MAX:
            transport.abort()
            return False
        self.writer.write(frame)
        return True

    def close(self) -> None:
        """End the link."""
        self.writer.close()


class Transport:
    """Listens, dials, proves; hands authenticated links to `on_link`, which runs them to their end."""

    def __init__(
        self,
        *,
        chain_id: bytes,
        own_id: bytes,
        directory: Directory,
        signer: Signer,
        on_link: Callable[[Link], Awaitable[None]],
        may_link: Callable[[int, bytes, bool], str],
        note: Callable[[str], None],
        now_ms: Callable[[], int],
    ) -> None:
        self._chain_id, self._own_id, self._directory, self._signer = chain_id, own_id, directory, signer
        self._on_link, self._may_link, self._note, self._now_ms = on_link, may_link, note, now_ms
        self._server_context, self._client_context, self._certificate_hash = _contexts()
        self._half_open: dict[str, int] = {}
        self._server: asyncio.Server | None = None

    async def listen(self, host: str, port: int) -> int:
        """Listen; the port. Raises `LinkFailed` where the port is taken."""
        try:
            self._server = await asyncio.start_server(
                self._accept, host, port, ssl=self._server_context, ssl_handshake_timeout=HANDSHAKE_S
            )
        except OSError as error:
            raise LinkFailed(
                f"cannot listen on {host} port {port} ({error.strerror}); stop what uses it or set [network] port"
            ) from None
        listening: int = self._server.sockets[0].getsockname()[1]
        return listening

    async def close(self) -> None:
        """Stop listening."""
        if self._server is not None:
            self._server.close()

    async def dial(self, host: str, port: int) -> int:
        """Open a link, and run it to its end; the member it led to. Raises `LinkFailed`."""
        try:
            async with asyncio.timeout(HANDSHAKE_S):
                reader, writer = await asyncio.open_connection(host, port, ssl=self._client_context)
        except (OSError, TimeoutError, ssl.SSLError) as error:
            raise LinkFailed(f"{host} port {port} does not answer: {_words(error)}") from None
        try:
            async with asyncio.timeout(HANDSHAKE_S):
                peer, key = await self._prove(reader, writer, dialed=True, certificate_hash=_peer_certificate(writer))
                welcome, words = decode_welcome(await _receive(reader, HELLO_BYTES_MAX))
            if not welcome:
                raise LinkFailed(f"{host} port {port} refused the link: {words}", peer)
        except LinkFailed:
            writer.close()
            raise
        except (OSError, TimeoutError, asyncio.IncompleteReadError, DecodeError, EnergoError) as error:
            writer.close()
            raise LinkFailed(f"{host} port {port}: the introduction failed: {_words(error)}") from None
        await self._on_link(Link(peer, key, True, f"{host}:{port}", self._now_ms(), reader, writer))
        return peer

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host, port = writer.get_extra_info("peername")[:2]
        if sum(self._half_open.values()) >= HALF_OPEN_MAX or self._half_open.get(host, 0) >= HALF_OPEN_PER_ADDRESS_MAX:
            writer.transport.abort()
            return
        self._half_open[host] = self._half_open.get(host, 0) + 1
        try:
            async with asyncio.timeout(HANDSHAKE_S):
                peer, key = await self._prove(reader, writer, dialed=False, certificate_hash=self._certificate_hash)
                words = self._may_link(peer, key, False)
                await _send(writer, codec.encode((words == "", words)))
        except (OSError, TimeoutError, asyncio.IncompleteReadError, DecodeError, EnergoError) as error:
            self._note(f"a stranger at {host} was turned away: {_words(error)}")
            writer.close()
            return
        finally:
            self._half_open[host] -= 1
            if not self._half_open[host]:
                del self._half_open[host]
        if words:
            writer.close()
            return
        await self._on_link(Link(peer, key, False, f"{host}:{port}", self._now_ms(), reader, writer))

    async def _prove(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, dialed: bool, certificate_hash: bytes
    ) -> tuple[int, bytes]:
        """Exchange hellos and proofs; the peer's number and key. Raises `LinkFailed`, `DecodeError`, a signer's error."""
        own_nonce = random_bytes(HASH_BYTES)
        await _send(writer, codec.encode((LINK_VERSION, self._chain_id, own_nonce, self._own_id)))
        version, chain_id, nonce, peer_id = decode_hello(await _receive(reader, HELLO_BYTES_MAX))
        if version != LINK_VERSION:
            raise LinkFailed(f"it speaks version {version} of the link, this node {LINK_VERSION}; update the older one")
        if chain_id != self._chain_id:
            raise LinkFailed("it belongs to another street (another chain id); check its genesis file")
        if peer_id == self._own_id:
            raise LinkFailed("it is this node itself")
        peer = self._directory.peer_of(peer_id)
        if peer is None:
            raise LinkFailed("its key is not one of this street's; admit its home first")
        nonces = (own_nonce, nonce) if dialed else (nonce, own_nonce)
        signature = await self._signer.prove_link(
            dialed=dialed,
            client_nonce=nonces[0],
            server_nonce=nonces[1],
            peer=peer_id,
            certificate_hash=certificate_hash,
        )
        await _send(writer, signature)
        proof = await _receive(reader, SIGNATURE_BYTES)
        message = link_message(
            self._chain_id, int(not dialed), nonces[0], nonces[1], peer_id, self._own_id, certificate_hash
        )
        if not ED25519.verify(peer_id, proof, message):
            raise LinkFailed("it could not prove that it has the key of the member that it says it is")
        return peer, peer_id


def _words(error: BaseException) -> str:
    """What went wrong in an introduction, for a person."""
    if isinstance(error, asyncio.IncompleteReadError):
        return "it hung up in the middle of the introduction"
    if isinstance(error, TimeoutError):
        return f"it did not finish the introduction in {HANDSHAKE_S:.0f} s"
    return str(error)


def _peer_certificate(writer: asyncio.StreamWriter) -> bytes:
    der = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    if der is None:
        raise LinkFailed("it showed no certificate")
    return sha256(der)


async def _send(writer: asyncio.StreamWriter, payload: bytes) -> None:
    writer.write(len(payload).to_bytes(LENGTH_BYTES, "big") + payload)
    await writer.drain()


async def _receive(reader: asyncio.StreamReader, bytes_max: int) -> bytes:
    size = int.from_bytes(await reader.readexactly(LENGTH_BYTES), "big")
    if size > bytes_max:
        raise DecodeError(f"a message of {size} bytes where at most {bytes_max} are allowed")
    return await reader.readexactly(size)


async def read_frames(link: Link, take: Callable[[bytes], None]) -> None:
    """Hand every frame of a link to `take` until it ends, at a bounded rate. Raises `DecodeError` for a bad length."""
    loop = asyncio.get_running_loop()
    tokens, last_s = float(BURST_FRAMES), loop.time()
    while True:
        frame = await _receive(link.reader, FRAME_BYTES_MAX)
        now_s = loop.time()
        tokens = min(float(BURST_FRAMES), tokens + (now_s - last_s) * FRAMES_PER_S)
        last_s = now_s
        if tokens < 1:
            await asyncio.sleep((1 - tokens) / FRAMES_PER_S)
        tokens -= 1
        take(frame)
