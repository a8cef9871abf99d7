"""Links on the loopback interface: who gets in, who is turned away, and that a relay in the middle is found out."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from ledger.base import codec
from ledger.base.crypto import ED25519, link_message, sha256
from ledger.base.errors import DecodeError
from ledger.node import transport
from ledger.node.transport import Itself, Link, LinkFailed, Outbox, Transport, read_frames

CHAIN = sha256(b"chain")


class Keys:
    """Stands where the wallet's socket is: signs link proofs with a seed of the test."""

    def __init__(self, name: str, chain_id: bytes = CHAIN) -> None:
        self.seed = sha256(name.encode())
        self.own = ED25519.public(self.seed)
        self.chain_id = chain_id

    async def prove_link(
        self, *, dialed: bool, client_nonce: bytes, server_nonce: bytes, peer: bytes, certificate_hash: bytes
    ) -> bytes:
        message = link_message(self.chain_id, int(dialed), client_nonce, server_nonce, self.own, peer, certificate_hash)
        return ED25519.sign(self.seed, message)


class Members:
    """Who belongs to the street of a test, by transport key."""

    def __init__(self, peers: dict[bytes, int]) -> None:
        self.peers = peers

    def peer_of(self, transport_key: bytes) -> int | None:
        return self.peers.get(transport_key)

    def name_of(self, peer: int) -> str:
        return f"member {peer}"


class End:
    """One node's transport, and the links that it got."""

    def __init__(self, name: str, members: dict[bytes, int], chain_id: bytes = CHAIN, full: str = "") -> None:
        self.keys = Keys(name, chain_id)
        self.links: asyncio.Queue[Link] = asyncio.Queue()
        self.notes: list[str] = []
        self.clones: list[str] = []
        self.transport = Transport(
            chain_id=chain_id,
            own_id=self.keys.own,
            directory=Members(members),
            signer=self.keys,  # type: ignore[arg-type]
            on_link=self.links.put,
            may_link=lambda peer, key, dialed: full,
            on_clone=self.clones.append,
            note=self.notes.append,
            now_ms=lambda: 0,
        )


def members(*names: str) -> dict[bytes, int]:
    return {Keys(name).own: number for number, name in enumerate(names)}


def run(scene: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(20):
            await scene()

    asyncio.run(bounded())


def test_two_members_link_and_frames_arrive_whole() -> None:
    async def scene() -> None:
        a, b = End("a", members("a", "b")), End("b", members("a", "b"))
        port = await b.transport.listen("127.0.0.1", 0)
        assert await a.transport.dial("127.0.0.1", port) == 1
        out, back = await a.links.get(), await b.links.get()
        assert (out.peer, out.dialed, back.peer, back.dialed) == (1, True, 0, False)
        out.send((3).to_bytes(4, "big") + b"abc")
        out.send((90_000).to_bytes(4, "big") + bytes(90_000))
        writing = asyncio.create_task(out.write())
        got: list[bytes] = []

        def take(frame: bytes) -> int:
            got.append(frame)
            if len(got) == 2:
                out.close()
            return 0

        with pytest.raises(asyncio.IncompleteReadError):
            await read_frames(back, take)
        assert [len(frame) for frame in got] == [3, 90_000]
        writing.cancel()
        back.close()
        await b.transport.close()

    run(scene)


@pytest.mark.parametrize(
    ("dialer", "words"),
    [
        (End("a", members("a", "b"), sha256(b"another street")), "another street"),
        (End("stranger", members("stranger", "b")), "not one of this street"),
    ],
    ids=["wrong chain", "stranger"],
)
def test_who_does_not_belong_is_turned_away_with_a_reason(dialer: End, words: str) -> None:
    async def scene() -> None:
        b = End("b", members("a", "b"))
        port = await b.transport.listen("127.0.0.1", 0)
        with pytest.raises(LinkFailed):
            await dialer.transport.dial("127.0.0.1", port)
        while not b.notes:
            await asyncio.sleep(0)
        assert words in b.notes[0]
        assert b.links.empty()
        await b.transport.close()

    run(scene)


def test_a_refusal_is_said_in_words_and_names_the_member() -> None:
    async def scene() -> None:
        a, b = End("a", members("a", "b")), End("b", members("a", "b"), full="there is a link already")
        port = await b.transport.listen("127.0.0.1", 0)
        with pytest.raises(LinkFailed, match="there is a link already") as caught:
            await a.transport.dial("127.0.0.1", port)
        assert caught.value.key == b.keys.own
        await b.transport.close()

    run(scene)


def test_a_proof_without_the_key_does_not_pass() -> None:
    async def scene() -> None:
        a, b = End("a", members("a", "b")), End("b", members("a", "b"))
        a.keys.seed = sha256(b"another key")
        port = await b.transport.listen("127.0.0.1", 0)
        with pytest.raises(LinkFailed):
            await a.transport.dial("127.0.0.1", port)
        while not b.notes:
            await asyncio.sleep(0)
        assert "could not prove" in b.notes[0]
        await b.transport.close()

    run(scene)


def test_a_relay_in_the_middle_has_another_certificate_and_is_found_out() -> None:
    async def scene() -> None:
        a, b, relay = (End(name, members("a", "b")) for name in ("a", "b", "relay"))
        port = await b.transport.listen("127.0.0.1", 0)

        async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            up_reader, up_writer = await asyncio.open_connection("127.0.0.1", port, ssl=relay.transport._client_context)

            async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
                while data := await source.read(4_096):
                    sink.write(data)
                sink.close()

            await asyncio.gather(pump(reader, up_writer), pump(up_reader, writer), return_exceptions=True)

        middle = await asyncio.start_server(pass_on, "127.0.0.1", 0, ssl=relay.transport._server_context)
        with pytest.raises(LinkFailed):
            await a.transport.dial("127.0.0.1", middle.sockets[0].getsockname()[1])
        assert a.links.empty()
        assert b.links.empty()
        middle.close()
        await b.transport.close()

    run(scene)


def test_noise_and_slow_strangers_cost_no_more_than_the_introduction(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "HANDSHAKE_S", 0.3)

    async def scene() -> None:
        b = End("b", members("a", "b"))
        port = await b.transport.listen("127.0.0.1", 0)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        for payload in (b"", b"\xff\xff\xff\xff", b"\0\0\0\5" + b"\x81" * 5, b"\0\0\0\1\xff"):
            reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
            writer.write(payload)
            while await reader.read(4_096):
                continue
            writer.close()
        assert len(b.notes) == 4
        assert b.transport._half_open == {}
        assert b.links.empty()
        await b.transport.close()

    run(scene)


@pytest.mark.parametrize("host", ["a" * 70, ".."])
def test_a_host_that_is_no_name_is_a_failed_link(host: str) -> None:
    a = End("a", members("a", "b"))
    with pytest.raises(LinkFailed, match="does not answer"):
        asyncio.run(a.transport.dial(host, 4_711))


def test_a_port_in_use_is_a_clear_error() -> None:
    async def scene() -> None:
        a, b = End("a", members("a", "b")), End("b", members("a", "b"))
        port = await a.transport.listen("127.0.0.1", 0)
        with pytest.raises(LinkFailed, match=f"port {port} .*stop what uses it"):
            await b.transport.listen("127.0.0.1", port)
        await a.transport.close()

    run(scene)


def test_a_frame_beyond_the_bound_ends_the_link() -> None:
    async def scene() -> None:
        reader = asyncio.StreamReader()
        reader.feed_data((10**6).to_bytes(4, "big"))
        writer: Any = None
        with pytest.raises(DecodeError, match="at most"):
            await read_frames(Link(0, b"", False, ("", 0), 0, reader, writer), lambda frame: 0)

    run(scene)


def test_a_hello_has_one_canonical_form(tmp_path: Path) -> None:
    hello = codec.encode((1, CHAIN, bytes(32), bytes(32)))
    assert len(hello) <= transport.HELLO_BYTES_MAX
    with pytest.raises(DecodeError):
        codec.decode(hello + b"\0", bytes_max=transport.HELLO_BYTES_MAX)


def test_ones_own_address_is_known_by_its_certificate_and_said_to_nobody() -> None:
    async def scene() -> None:
        a = End("a", members("a", "b"))
        port = await a.transport.listen("127.0.0.1", 0)
        with pytest.raises(Itself):
            await a.transport.dial("127.0.0.1", port)
        while a.transport._half_open:
            await asyncio.sleep(0)
        assert (a.clones, a.notes) == ([], [])
        await a.transport.close()

    run(scene)


def test_a_copied_card_is_found_out_at_both_ends_when_it_proves_the_same_key() -> None:
    async def scene() -> None:
        one, other = End("a", members("a", "b")), End("a", members("a", "b"))
        port = await one.transport.listen("127.0.0.1", 0)
        with pytest.raises(LinkFailed, match="the card was copied"):
            await other.transport.dial("127.0.0.1", port)
        while not one.notes:
            await asyncio.sleep(0)
        assert one.clones == other.clones == ["127.0.0.1"]
        assert one.links.empty()
        assert other.links.empty()
        await one.transport.close()

    run(scene)


def test_who_only_says_that_it_has_our_key_is_no_clone() -> None:
    async def scene() -> None:
        one, liar = End("a", members("a", "b")), End("a", members("a", "b"))
        liar.keys.seed = sha256(b"another key")
        port = await one.transport.listen("127.0.0.1", 0)
        with pytest.raises(LinkFailed):
            await liar.transport.dial("127.0.0.1", port)
        while not one.notes:
            await asyncio.sleep(0)
        assert "could not prove" in one.notes[0]
        assert one.clones == []
        await one.transport.close()

    run(scene)


def test_strangers_of_one_address_hold_few_places_from_their_first_byte_on() -> None:
    async def scene() -> None:
        a, b = End("a", members("a", "b")), End("b", members("a", "b"))
        port = await b.transport.listen("127.0.0.1", 0)
        silent = [await asyncio.open_connection("127.0.0.1", port) for _ in range(transport.HALF_OPEN_PER_ADDRESS_MAX)]
        while sum(b.transport._half_open.values()) < transport.HALF_OPEN_PER_ADDRESS_MAX:
            await asyncio.sleep(0)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        assert await reader.read() == b"", "no place is left, and nothing was spent on it"
        writer.close()
        with pytest.raises(LinkFailed):
            await a.transport.dial("127.0.0.1", port)
        for _, held in silent:
            held.close()
        while b.transport._half_open:
            await asyncio.sleep(0)
        assert await a.transport.dial("127.0.0.1", port) == 1
        await b.transport.close()

    run(scene)


def test_who_dials_too_often_is_turned_away_before_anything_is_spent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "INTRODUCTIONS_BURST", 2)
    monkeypatch.setattr(transport, "mono_ms", lambda: 1_000)

    async def scene() -> None:
        a, b = End("a", members("a", "b")), End("b", members("a", "b"))
        port = await b.transport.listen("127.0.0.1", 0)
        for _ in range(2):
            assert await a.transport.dial("127.0.0.1", port) == 1
        with pytest.raises(LinkFailed):
            await a.transport.dial("127.0.0.1", port)
        assert b.notes == ["somebody at 127.0.0.1 dials too often; some attempts were turned away"]
        await b.transport.close()

    run(scene)


def test_the_places_of_all_addresses_together_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "HALF_OPEN_MAX", 3)

    async def scene() -> None:
        b = End("b", members("a", "b"))
        port = await b.transport.listen("127.0.0.1", 0)
        held = [
            await asyncio.open_connection("127.0.0.1", port, local_addr=(f"127.0.0.{number}", 0))
            for number in (2, 3, 4)
        ]
        while sum(b.transport._half_open.values()) < 3:
            await asyncio.sleep(0)
        reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=("127.0.0.5", 0))
        assert await reader.read() == b""
        assert set(b.transport._half_open) == {"127.0.0.2", "127.0.0.3", "127.0.0.4"}
        for _, each in [*held, (reader, writer)]:
            each.close()
        await b.transport.close()

    run(scene)


def test_every_address_of_both_families_is_listened_at_and_named_as_it_can_be_dialed() -> None:
    async def scene() -> None:
        a, b = End("a", members("a", "b")), End("b", members("a", "b"))
        port = await b.transport.listen("::", 0)
        for host in ("127.0.0.1", "::1"):
            await a.transport.dial(host, port)
            out, back = await a.links.get(), await b.links.get()
            assert out.at == (host, port)
            assert out.address == (f"[{host}]:{port}" if ":" in host else f"{host}:{port}")
            assert (back.at[0], back.listens, out.listens) == (host, 0, port)
            for each in (out, back):
                taken = each.writer.get_extra_info("socket")
                assert taken.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY), "a vote waits for no acknowledgment"
            out.close()
            back.close()
        await b.transport.close()

    run(scene)


def test_urgent_frames_overtake_bodies_and_each_kind_keeps_its_order() -> None:
    outbox = Outbox()
    body = bytes(transport.WRITE_BYTES_MAX)
    for frame, urgent in ((body, False), (b"1", False), (b"vote 1", True), (b"vote 2", True)):
        assert outbox.put(frame, urgent=urgent)
    assert outbox.take() == b"vote 1vote 2" + body
    assert outbox.take() == b"1"
    assert outbox.take() == b""
    assert outbox.size == 0


def test_an_outbox_is_bounded_in_bytes() -> None:
    outbox, frame = Outbox(), bytes(64 * 1024)
    while outbox.put(frame, urgent=False):
        assert outbox.size <= transport.OUTBOX_BYTES_MAX
    assert not outbox.put(frame, urgent=True)
    taken = 0
    while piece := outbox.take():
        taken += len(piece)
    assert taken == transport.OUTBOX_BYTES_MAX
    assert outbox.put(frame, urgent=False)


def test_a_peer_that_reads_nothing_costs_one_outbox_and_then_its_link() -> None:
    async def scene() -> None:
        a, b = End("a", members("a", "b")), End("b", members("a", "b"))
        port = await b.transport.listen("127.0.0.1", 0)
        await a.transport.dial("127.0.0.1", port)
        out, back = await a.links.get(), await b.links.get()
        back.reader._transport.pause_reading()  # type: ignore[attr-defined]
        writing = asyncio.create_task(out.write())
        frame = (90_000).to_bytes(4, "big") + bytes(90_000)
        sent = 0
        while out.send(frame):
            sent += len(frame)
            await asyncio.sleep(0)
            assert sent < 64 * 1024 * 1024
        assert out.writer.transport.is_closing()
        assert out.send(frame), "what has ended takes all, and says nothing twice"
        writing.cancel()
        back.abort()
        await b.transport.close()

    run(scene)
