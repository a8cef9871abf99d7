"""Links between neighbors: TLS 1.3 tunnels in which both ends prove who they are, and frames on them.

The TLS certificate is made at each start and means nothing by itself: no name, date or chain is checked (Pis have no
clock). Inside the tunnel both ends exchange nonces and sign both nonces, both ids and the hash of the server's certificate with
their transport keys; a relay in the middle has another certificate, so its proof fails. Then the server welcomes the client or
refuses in words. Before that a stranger costs one TLS handshake and one small message, counted from the first byte on.

A peer that proves this node's own key and is not this node is a clone of its card: it is never linked, and told of.
"""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final, NamedTuple, Protocol

from ledger.base import codec
from ledger.base.crypto import ED25519, HASH_BYTES, LINK_VERSION, SIGNATURE_BYTES, link_message, sha256
from ledger.base.errors import DecodeError, EnergoError
from ledger.base.limits import FRAME_BYTES_MAX
from ledger.base.units import Millis
from ledger.gossip.frames import LENGTH_BYTES
from ledger.gossip.joining import is_ask

from .certificate import make_certificate
from .clock import mono_ms, random_bytes
from .pacing import Doors, Pulse
from .signer import Signer

HANDSHAKE_S: Final = 5.0  # a slow stranger holds one of few places for no longer
HELLO_BYTES_MAX: Final = 256
HALF_OPEN_MAX: Final = 32
HALF_OPEN_PER_ADDRESS_MAX: Final = 4
INTRODUCTIONS_PER_S: Final = 20  # from one address: at 2 ms each, 4 % of a core; a whole demo street shares one address
INTRODUCTIONS_BURST: Final = 64
ADDRESSES_WATCHED_MAX: Final = 256
BACKLOG: Final = 64  # twice what may be half-open: the kernel holds what comes in one turn of the loop
OUTBOX_BYTES_MAX: Final = 4 * 1024 * 1024  # a peer that reads slower than this is let go; it catches up when it returns
WRITE_BYTES_MAX: Final = 64 * 1024  # what is handed to TLS at once: urgent frames wait behind no more than this
OWN_NONCES_MAX: Final = 512  # by which this node knows itself at the other end; twice the addresses that it may dial
PORT_MAX: Final = 65_535
ACCEPT_RETRY_S: Final = 1.0  # where the system has no more descriptors


class LinkFailed(EnergoError):
    """A link that did not come to be, in words; `key` is the transport key of the other end where that was proved."""

    code = "link_failed"

    def __init__(self, message: str, key: bytes | None = None) -> None:
        super().__init__(message)
        self.key = key


class Itself(LinkFailed):
    """The other end is this very node: the address is to be forgotten."""


class Hello(NamedTuple):
    """What each end says first. `port` is where it listens, 0 where it does not: a hint for the others."""

    version: int
    chain_id: bytes
    nonce: bytes
    key: bytes
    port: int


def decode_hello(raw: bytes) -> Hello:
    """What a stranger says first. Raises `DecodeError`."""
    fields = codec.want(codec.decode(raw, bytes_max=HELLO_BYTES_MAX), int, bytes, bytes, bytes, int)
    hello = Hello(*fields)
    for part in (hello.chain_id, hello.nonce, hello.key):
        codec.of_length(part, HASH_BYTES, "a part of a hello")
    codec.in_range(hello.port, 0, PORT_MAX, "port of a hello")
    return hello


def decode_welcome(raw: bytes) -> tuple[bool, str]:
    """Whether a peer takes the link, and else why not, in words that can be shown. Raises `DecodeError`."""
    welcome, words = codec.want(codec.decode(raw, bytes_max=HELLO_BYTES_MAX), bool, str)
    if welcome != (words == "") or not words.isprintable():  # a log takes one line from a peer, not what it likes
        raise DecodeError("a welcome has no words, and a refusal one printable line")
    return welcome, words


def _in_memory(data: bytes) -> int:
    """A descriptor of an anonymous file with these bytes: ssl loads only files, and keys do not belong on a disk."""
    descriptor = os.memfd_create("energo-tls", os.MFD_CLOEXEC)
    os.write(descriptor, data)
    return descriptor


def _contexts() -> tuple[ssl.SSLContext, ssl.SSLContext, bytes]:
    """(server's, client's, SHA-256 of the server's certificate)."""
    made = make_certificate()
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.minimum_version = ssl.TLSVersion.TLSv1_3
    server.num_tickets = 0
    files = _in_memory(made.pem), _in_memory(made.key_pem)
    try:
        server.load_cert_chain(f"/proc/self/fd/{files[0]}", f"/proc/self/fd/{files[1]}")
    finally:
        for descriptor in files:
            os.close(descriptor)
    return server, client_context(), sha256(made.der)


def client_context() -> ssl.SSLContext:
    """TLS 1.3 as a client; no certificate is checked here, the proofs inside the tunnel bind the one that was shown."""
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.minimum_version = ssl.TLSVersion.TLSv1_3
    client.check_hostname = False
    client.verify_mode = ssl.CERT_NONE
    return client


class Visit(NamedTuple):
    """Somebody who is no member and wants to join: the tunnel, what was said first by both, and where he is."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    own: Hello
    first: bytes
    certificate_hash: bytes
    where: str


class Directory(Protocol):
    """Who belongs to this street; its answers may change while the node runs."""

    def peer_of(self, transport_key: bytes) -> int | None:
        """The number of the home with this transport key; None: no link with it."""

    def name_of(self, peer: int) -> str:
        """What a person calls that home."""


class Outbox:
    """What waits to be sent to one peer: urgent frames before the others, each kind in its order, bounded in bytes."""

    def __init__(self) -> None:
        self._urgent: deque[bytes] = deque()
        self._other: deque[bytes] = deque()
        self.size = 0

    def put(self, frame: bytes, *, urgent: bool) -> bool:
        """Queue a frame; False where there is no room, and nothing is queued."""
        if self.size + len(frame) > OUTBOX_BYTES_MAX:
            return False
        (self._urgent if urgent else self._other).append(frame)
        self.size += len(frame)
        return True

    def take(self) -> bytes:
        """The next frames in one piece of about `WRITE_BYTES_MAX`; empty where none waits."""
        taken: list[bytes] = []
        room = WRITE_BYTES_MAX
        while room > 0 and (queue := self._urgent or self._other):
            taken.append(queue.popleft())
            room -= len(taken[-1])
        piece = b"".join(taken)
        self.size -= len(piece)
        return piece


class Link:
    """An authenticated link to a member, whose transport key is `key`. `dialed`: this node opened it."""

    def __init__(
        self,
        peer: int,
        key: bytes,
        dialed: bool,
        at: tuple[str, int],
        since_ms: int,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        *,
        listens: int = 0,
    ) -> None:
        self.peer, self.key, self.dialed, self.at, self.since_ms = peer, key, dialed, at, since_ms
        self.reader, self.writer, self.listens = reader, writer, listens
        self._outbox, self._filled = Outbox(), asyncio.Event()
        self.pulse = Pulse(mono_ms())

    @property
    def address(self) -> str:
        """Where the other end is, for a person."""
        host, port = self.at
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    def send(self, frame: bytes, *, urgent: bool = False) -> bool:
        """Queue a frame; False where the peer reads too slowly and the link is given up. One that has ended takes all."""
        if self.writer.transport.is_closing():
            return True
        if not self._outbox.put(frame, urgent=urgent):
            self.writer.transport.abort()
            return False
        self._filled.set()
        return True

    async def write(self) -> None:
        """Send what is queued until the link ends. Raises `OSError`."""
        self.writer.transport.set_write_buffer_limits(high=WRITE_BYTES_MAX)
        while True:
            while piece := self._outbox.take():
                self.writer.write(piece)
                await self.writer.drain()
            self._filled.clear()
            await self._filled.wait()

    def close(self) -> None:
        """End the link: what was handed to TLS is still sent, if the peer reads it."""
        self.writer.close()

    def abort(self) -> None:
        """End the link now: nobody is there."""
        self.writer.transport.abort()


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
        on_clone: Callable[[str], None],
        note: Callable[[str], None],
        now_ms: Callable[[], int],
        on_visit: Callable[[Visit], Awaitable[None]] | None = None,
    ) -> None:
        self._chain_id, self._own_id, self._directory, self._signer = chain_id, own_id, directory, signer
        self._on_link, self._may_link, self._note, self._now_ms = on_link, may_link, note, now_ms
        self._on_clone, self._on_visit = on_clone, on_visit
        self._server_context, self._client_context, self._certificate_hash = _contexts()
        self._half_open: dict[str, int] = {}
        self._doors = Doors(INTRODUCTIONS_PER_S, INTRODUCTIONS_BURST, ADDRESSES_WATCHED_MAX)
        self._dialed_with: deque[bytes] = deque(maxlen=OWN_NONCES_MAX)
        self._listener: socket.socket | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.port = 0

    async def listen(self, host: str, port: int) -> int:
        """Listen; the port. `::` is every address of both families. Raises `LinkFailed` where the port is taken."""
        try:
            self._listener = _listener(host, port)
        except OSError as error:
            words = os.strerror(error.errno) if error.errno else str(error)
            raise LinkFailed(
                f"cannot listen on {host} port {port} ({words}); stop what uses it or set [network] port"
            ) from None
        self.port = self._listener.getsockname()[1]
        self._spawn(self._accept_all(self._listener))
        return self.port

    async def close(self) -> None:
        """Stop listening, and end what is being introduced."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._listener is not None:
            self._listener.close()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def dial(self, host: str, port: int, *, linked: Callable[[bytes], None] = lambda key: None) -> int:
        """Open a link, and run it to its end; the member it led to. Raises `LinkFailed`.

        `host` is a number, with %interface where it is link-local. `linked` is told of the member's key when he is proved.
        """
        where = f"{host} port {port}"
        try:
            async with asyncio.timeout(HANDSHAKE_S):
                reader, writer = await asyncio.open_connection(
                    host, port, ssl=self._client_context, server_hostname="", ssl_handshake_timeout=HANDSHAKE_S
                )
        except (OSError, TimeoutError, UnicodeError) as error:  # the last: a host of the configuration that is no name
            raise LinkFailed(f"{where} does not answer: {words_of(error)}") from None
        try:
            async with asyncio.timeout(HANDSHAKE_S):
                own, raw = await self._greet(reader, writer, dialed=True)
                certificate_hash = peer_certificate(writer)
                peer, hello = await self._prove(
                    reader, writer, own, decode_hello(raw), dialed=True, certificate_hash=certificate_hash
                )
                welcome, words = decode_welcome(await receive(reader, HELLO_BYTES_MAX))
            if not welcome:
                raise LinkFailed(f"it refused the link: {words}", hello.key)
        except Itself:
            writer.close()
            raise
        except LinkFailed as error:
            writer.close()
            raise LinkFailed(f"{where}: {error}", error.key) from None
        except (OSError, TimeoutError, asyncio.IncompleteReadError, DecodeError, EnergoError) as error:
            writer.close()
            raise LinkFailed(f"{where}: the introduction failed: {words_of(error)}") from None
        linked(hello.key)
        await self._on_link(Link(peer, hello.key, True, (host, port), self._now_ms(), reader, writer, listens=port))
        return peer

    async def _accept_all(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                accepted, address = await loop.sock_accept(listener)
            except OSError as error:
                self._note(f"no link can be accepted now ({error.strerror}); tried again in {ACCEPT_RETRY_S:.0f} s")
                await asyncio.sleep(ACCEPT_RETRY_S)
                continue
            host = _host(address)
            if (
                sum(self._half_open.values()) >= HALF_OPEN_MAX
                or self._half_open.get(host, 0) >= HALF_OPEN_PER_ADDRESS_MAX
            ):
                accepted.close()
                self._note(f"strangers at {host} keep too many introductions open; some were turned away")
                continue
            if not self._doors.may(host, mono_ms()):
                accepted.close()
                self._note(f"somebody at {host} dials too often; some attempts were turned away")
                continue
            self._half_open[host] = self._half_open.get(host, 0) + 1
            self._spawn(self._accept(accepted, host, address[1]))

    async def _accept(self, accepted: socket.socket, host: str, port: int) -> None:
        writer: asyncio.StreamWriter | None = None
        try:
            async with asyncio.timeout(HANDSHAKE_S):
                reader, writer = await _served(accepted, self._server_context)
                own, raw = await self._greet(reader, writer, dialed=False)
                joins = is_ask(raw)
                if not joins:
                    certificate_hash = self._certificate_hash
                    peer, hello = await self._prove(
                        reader, writer, own, decode_hello(raw), dialed=False, certificate_hash=certificate_hash
                    )
                    words = self._may_link(peer, hello.key, False)
                    await send(writer, codec.encode((words == "", words)))
            if joins:
                if self._on_visit is None:
                    raise LinkFailed("it wants to join, and this node takes nobody in")
                await self._on_visit(Visit(reader, writer, own, raw, self._certificate_hash, host))
                writer.close()
                return
        except (OSError, TimeoutError, asyncio.IncompleteReadError, DecodeError, EnergoError) as error:
            if not isinstance(error, Itself):
                self._note(f"a stranger at {host} was turned away: {words_of(error)}")
            if writer is None:
                accepted.close()
            else:
                writer.close()
            return
        finally:
            self._half_open[host] -= 1
            if not self._half_open[host]:
                del self._half_open[host]
        if words:
            writer.close()
            return
        await self._on_link(
            Link(peer, hello.key, False, (host, port), self._now_ms(), reader, writer, listens=hello.port)
        )

    async def _greet(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, dialed: bool
    ) -> tuple[Hello, bytes]:
        """The own hello, and what the other end says first. Raises `DecodeError`, `OSError`."""
        own = Hello(LINK_VERSION, self._chain_id, random_bytes(HASH_BYTES), self._own_id, self.port)
        if dialed:
            self._dialed_with.append(own.nonce)
        await send(writer, codec.encode(tuple(own)))
        return own, await receive(reader, HELLO_BYTES_MAX)

    async def _prove(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        own: Hello,
        hello: Hello,
        *,
        dialed: bool,
        certificate_hash: bytes,
    ) -> tuple[int, Hello]:
        """Exchange proofs; the peer's number and hello. Raises `LinkFailed`, `DecodeError`, a signer's error."""
        if hello.nonce in self._dialed_with or (dialed and certificate_hash == self._certificate_hash):
            raise Itself("it is this node itself")
        peer = self._peer_of(hello)
        nonces = (own.nonce, hello.nonce) if dialed else (hello.nonce, own.nonce)
        signature = await self._signer.prove_link(
            dialed=dialed,
            client_nonce=nonces[0],
            server_nonce=nonces[1],
            peer=hello.key,
            certificate_hash=certificate_hash,
        )
        await send(writer, signature)
        proof = await receive(reader, SIGNATURE_BYTES)
        message = link_message(
            self._chain_id, int(not dialed), nonces[0], nonces[1], hello.key, self._own_id, certificate_hash
        )
        if not ED25519.verify(hello.key, proof, message):
            raise LinkFailed("it could not prove that it has the key of the member that it says it is")
        if peer is None:
            # This node signs as the one end or the other, with its own certificate or for a stranger's: never both. So
            # somebody else holds the key.
            where = _host(writer.get_extra_info("peername"))
            self._on_clone(where)
            raise LinkFailed(
                f"{where} has this home's own keys: the card was copied; switch one of the two off for good"
            )
        return peer, hello

    def _peer_of(self, hello: Hello) -> int | None:
        """The member that a stranger says it is; None where it says that it is this home. Raises `LinkFailed`."""
        if hello.version != LINK_VERSION:
            raise LinkFailed(
                f"it speaks version {hello.version} of the link, this node {LINK_VERSION}; update the older one"
            )
        if hello.chain_id != self._chain_id:
            raise LinkFailed("it belongs to another street (another chain id); check its genesis file")
        if hello.key == self._own_id:
            return None
        peer = self._directory.peer_of(hello.key)
        if peer is None:
            raise LinkFailed("its key is not one of this street's; admit its home first")
        return peer


def _listener(host: str, port: int) -> socket.socket:
    """A listening socket. Raises `OSError`."""
    if host == "::" and not socket.has_dualstack_ipv6():
        host = "0.0.0.0"
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.create_server((host, port), family=family, backlog=BACKLOG, dualstack_ipv6=host == "::")
    listener.setblocking(False)
    return listener


def _host(address: Any) -> str:
    """Of an address that a socket gives: the host, as it can be dialed; an IPv4 address also where it came over IPv6."""
    host: str = address[0]
    if host.startswith("::ffff:") and "." in host:
        return host.removeprefix("::ffff:")
    if host.startswith("fe80:") and "%" not in host and len(address) == 4 and address[3]:
        try:
            return f"{host}%{socket.if_indextoname(address[3])}"
        except OSError:
            return host  # the interface went away meanwhile
    return host


async def _served(
    accepted: socket.socket, context: ssl.SSLContext
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """The server's side of a TLS tunnel on a connection that was accepted. Raises `OSError`."""
    loop = asyncio.get_running_loop()
    accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # else small frames wait for acknowledgments
    reader = asyncio.StreamReader(limit=WRITE_BYTES_MAX)
    protocol = asyncio.StreamReaderProtocol(reader)
    tunnel, _ = await loop.connect_accepted_socket(
        lambda: protocol, accepted, ssl=context, ssl_handshake_timeout=HANDSHAKE_S
    )
    return reader, asyncio.StreamWriter(tunnel, protocol, reader, loop)


def words_of(error: BaseException) -> str:
    """What went wrong in an introduction, for a person."""
    if isinstance(error, asyncio.IncompleteReadError):
        return "it hung up in the middle of the introduction"
    if isinstance(error, TimeoutError):
        return f"it did not finish the introduction in {HANDSHAKE_S:.0f} s"
    return str(error)


def peer_certificate(writer: asyncio.StreamWriter) -> bytes:
    """SHA-256 of the certificate at the other end. Raises `LinkFailed`."""
    der = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    if der is None:
        raise LinkFailed("it showed no certificate")
    return sha256(der)


async def send(writer: asyncio.StreamWriter, payload: bytes) -> None:
    """One message with its length. Raises `OSError`."""
    writer.write(len(payload).to_bytes(LENGTH_BYTES, "big") + payload)
    await writer.drain()


async def receive(reader: asyncio.StreamReader, bytes_max: int) -> bytes:
    """One message without its length. Raises `DecodeError` where it is too long, `asyncio.IncompleteReadError`, `OSError`."""
    size = int.from_bytes(await reader.readexactly(LENGTH_BYTES), "big")
    if size > bytes_max:
        raise DecodeError(f"a message of {size} bytes where at most {bytes_max} are allowed")
    return await reader.readexactly(size)


async def read_frames(link: Link, take: Callable[[bytes], Millis]) -> None:
    """Hand every frame of a link to `take` until it ends; read no more for as many ms as it says.

    Raises `DecodeError` for a bad length, `OSError` and `asyncio.IncompleteReadError` where the link ends.
    """
    while True:
        wait_ms = take(await receive(link.reader, FRAME_BYTES_MAX))
        if wait_ms:
            await asyncio.sleep(wait_ms / 1000)
