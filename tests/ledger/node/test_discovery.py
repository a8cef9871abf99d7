"""Finding neighbors: what the kernel tells of cables, what is announced, and what of others' announcements is passed on."""

from __future__ import annotations

import asyncio
import socket
import struct
from types import SimpleNamespace
from typing import Any

import ifaddr
import pytest
import zeroconf
from zeroconf import InterfaceChoice, ServiceStateChange

from ledger.node import discovery
from ledger.node.discovery import Discovery, LinkWatch, changes, own_addresses, tag_of

CHAIN = bytes(range(32))
UP, LOOPBACK = 0x10000 | 0x1, 0x8
NEW_LINK, NEW_ADDRESS = 16, 20


def link(index: int, flags: int, *, kind: int = NEW_LINK) -> bytes:
    payload = struct.pack("=BxHiII", 0, 1, index, flags, 0) + b"attributes"
    size = 16 + len(payload)
    return struct.pack("=IHHII", size, kind, 0, 0, 0) + payload + bytes(-size % 4)


def test_the_kernels_messages_tell_of_carriers_and_addresses() -> None:
    assert changes(link(2, UP) + link(3, 0)) == ({2: True, 3: False}, False)
    assert changes(link(2, UP) + link(2, 0)) == ({2: False}, False), "the last one counts"
    assert changes(link(1, UP | LOOPBACK)) == ({}, False)
    assert changes(link(2, UP, kind=NEW_ADDRESS)) == ({}, True)
    for cut in range(16 + 16 + len(b"attributes")):
        assert changes(link(2, UP)[:cut]) == ({}, False)
    assert changes(bytes(64)) == ({}, False), "a length of nothing ends it"


class Kernel:
    """Stands where the socket to the kernel is."""

    def __init__(self, *messages: bytes | OSError) -> None:
        self.messages = list(messages)

    def recv(self, size: int) -> bytes:
        message = self.messages.pop(0)
        if isinstance(message, OSError):
            raise message
        return message


@pytest.mark.parametrize(
    ("messages", "returns"),
    [
        ([link(2, UP)], 0),  # it was there, as far as is known: other flags changed
        ([link(2, 0)], 0),
        ([link(2, 0), link(2, UP)], 1),
        ([link(2, 0) + link(2, UP)], 0),
        ([link(2, 0), link(2, UP), link(2, UP), link(5, UP, kind=NEW_ADDRESS)], 1),  # one return for all of it
        ([OSError(105, "No buffer space available")], 1),
        ([BlockingIOError()], 0),
    ],
)
def test_a_cable_that_comes_back_is_told_once(
    monkeypatch: pytest.MonkeyPatch, messages: list[Any], returns: int
) -> None:
    monkeypatch.setattr(discovery, "SETTLE_S", 0)
    told: list[int] = []

    async def scene() -> None:
        watch = LinkWatch(lambda: told.append(1), lambda text: None)
        watch._socket = Kernel(*messages)  # type: ignore[assignment]
        for _ in messages:
            watch._readable()
        for _ in range(3):
            await asyncio.sleep(0)

    asyncio.run(scene())
    assert len(told) == returns


def test_a_system_that_does_not_let_cables_be_watched_is_a_note(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*wanted: object) -> None:
        raise OSError(97, "Address family not supported by protocol")

    monkeypatch.setattr(socket, "socket", refuse)
    notes: list[str] = []
    watch = LinkWatch(lambda: None, notes.append)
    watch.start()
    watch.close()
    assert len(notes) == 1
    assert "at the usual pace" in notes[0]


def test_the_real_kernel_can_be_watched_and_left() -> None:
    notes: list[str] = []

    async def scene() -> None:
        watch = LinkWatch(lambda: None, notes.append)
        watch.start()
        watch.close()

    asyncio.run(scene())
    assert len(notes) <= 1


def adapters() -> list[Any]:
    def address(ip: Any) -> Any:
        return SimpleNamespace(ip=ip)

    return [
        SimpleNamespace(name="lo", index=1, ips=[address("127.0.0.1"), address(("::1", 0, 0))]),
        SimpleNamespace(name="eth0", index=2, ips=[address("10.0.0.5"), address(("fe80::5", 0, 2))]),
        SimpleNamespace(name="wlan0", index=3, ips=[address(("2001:db8::5", 0, 0))]),
    ]


@pytest.mark.parametrize(
    ("listen", "interfaces", "announced"),
    [
        ("::", [], ["10.0.0.5", "2001:db8::5", "fe80::5"]),
        ("0.0.0.0", [], ["10.0.0.5"]),
        ("::", ["eth0"], ["10.0.0.5", "fe80::5"]),
        ("::", ["127.0.0.1"], ["127.0.0.1"]),
        ("10.0.0.5", [], ["10.0.0.5"]),
        ("::", ["usb0"], []),
    ],
)
def test_what_is_announced_is_where_a_neighbor_can_dial(
    monkeypatch: pytest.MonkeyPatch, listen: str, interfaces: list[str], announced: list[str]
) -> None:
    monkeypatch.setattr(ifaddr, "get_adapters", adapters)
    assert own_addresses(listen, interfaces) == announced


def test_interfaces_are_named_and_zeroconf_gets_addresses_and_indexes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ifaddr, "get_adapters", adapters)
    assert discovery._choice(["eth0", "127.0.0.1"]) == ["10.0.0.5", 2, "127.0.0.1"]
    assert discovery._choice([]) is InterfaceChoice.All


class Multicast:
    """Stands where zeroconf is: what was announced, and what was taken back."""

    made: list[Multicast]

    def __init__(self, **wanted: object) -> None:
        self.wanted, self.closed, self.announced = wanted, False, []  # type: ignore[var-annotated]
        self.zeroconf = self
        type(self).made.append(self)

    async def async_register_service(self, info: Any, **wanted: object) -> None:
        self.announced.append(info)

    async def async_close(self) -> None:
        self.closed = True


class Browser:
    """Stands where zeroconf's browser is."""

    def __init__(self, *wanted: object, **more: object) -> None:
        return

    async def async_cancel(self) -> None:
        return


@pytest.fixture
def multicast(monkeypatch: pytest.MonkeyPatch) -> type[Multicast]:
    class Fresh(Multicast):
        made: list[Multicast] = []  # noqa: RUF012 - of this test

    monkeypatch.setattr(discovery, "AsyncZeroconf", Fresh)
    monkeypatch.setattr(discovery, "AsyncServiceBrowser", Browser)
    monkeypatch.setattr(ifaddr, "get_adapters", adapters)
    return Fresh


def made(heard: list[tuple[str, int]], notes: list[str]) -> Discovery:
    return Discovery(
        chain_id=CHAIN, interfaces=[], on_peer=lambda host, port: heard.append((host, port)), note=notes.append
    )


def test_when_a_cable_comes_back_it_announces_anew_under_another_name(multicast: type[Multicast]) -> None:
    async def scene() -> None:
        notes: list[str] = []
        found = made([], notes)
        assert await found.start("::", 4_711)
        await found.renew()
        first, second = multicast.made
        assert [first.closed, second.closed] == [True, False]
        (before,), (after,) = first.announced, second.announced
        assert before.name != after.name
        assert before.server != after.server
        assert after.port == 4_711
        assert after.parsed_addresses() == ["10.0.0.5", "2001:db8::5", "fe80::5"]
        nonce = bytes.fromhex(after.properties[b"n"].decode())
        assert after.properties[b"t"].decode() == tag_of(CHAIN, nonce).hex()
        assert CHAIN.hex() not in str(after.properties), "a stranger learns nothing of the street"
        await found.close()
        assert [each.closed for each in multicast.made] == [True, True]
        await found.renew()
        assert len(multicast.made) == 2, "closed is closed"
        assert notes == []

    asyncio.run(scene())


def test_without_a_network_it_waits_for_one(multicast: type[Multicast], monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene() -> None:
        notes: list[str] = []
        found = made([], notes)
        monkeypatch.setattr(ifaddr, "get_adapters", list)
        assert not await found.start("::", 4_711)
        assert len(notes) == 1
        monkeypatch.setattr(ifaddr, "get_adapters", adapters)
        await found.renew()
        assert len(multicast.made) == 1
        await found.close()

    asyncio.run(scene())


@pytest.mark.parametrize("error", [zeroconf.NonUniqueNameException, zeroconf.EventLoopBlocked])
def test_whatever_multicast_fails_with_is_a_note_and_no_end(
    multicast: type[Multicast], monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    async def refuse(self: Multicast, info: object, **wanted: object) -> None:
        raise error("somebody has this name")

    monkeypatch.setattr(multicast, "async_register_service", refuse)
    notes: list[str] = []
    assert asyncio.run(made([], notes).start("::", 4_711)) is False
    assert len(notes) == 1
    assert multicast.made[0].closed


def test_a_name_that_is_none_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*wanted: object) -> None:
        raise zeroconf.BadTypeInNameException

    monkeypatch.setattr(discovery, "AsyncServiceInfo", refuse)
    asyncio.run(made([], [])._resolve(None, "", ""))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("properties", "known"),
    [
        ({"n": "00" * 8, "t": tag_of(CHAIN, bytes(8)).hex()}, True),
        ({"n": "00" * 8, "t": tag_of(bytes(32), bytes(8)).hex()}, False),  # another street
        ({"n": "00" * 7, "t": tag_of(CHAIN, bytes(7)).hex()}, False),
        ({"n": "0", "t": "\u00e4"}, False),
        ({}, False),
    ],
)
def test_only_announcements_of_this_street_are_passed_on(
    monkeypatch: pytest.MonkeyPatch, properties: dict[str, str], known: bool
) -> None:
    class Answer:
        def __init__(self, service: str, name: str) -> None:
            self.properties = {key.encode(): text.encode() for key, text in properties.items()}
            self.port = 4_711

        async def async_request(self, zeroconf: object, timeout_ms: int) -> bool:
            return True

        def parsed_scoped_addresses(self) -> list[str]:
            return ["10.0.0.7", "fe80::7%1"]

    monkeypatch.setattr(discovery, "AsyncServiceInfo", Answer)
    heard: list[tuple[str, int]] = []
    asyncio.run(made(heard, [])._resolve(None, "", ""))  # type: ignore[arg-type]
    assert heard == ([("10.0.0.7", 4_711), ("fe80::7%lo", 4_711)] if known else [])


def test_a_flood_of_announcements_is_not_resolved_all_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene() -> None:
        found = made([], [])
        never = asyncio.Event()

        async def resolve(*wanted: object) -> None:
            await never.wait()

        monkeypatch.setattr(found, "_resolve", resolve)
        for number in range(1_000):
            found._changed(None, "", str(number), ServiceStateChange.Added)  # type: ignore[arg-type]
        assert len(found._tasks) == discovery.RESOLVING_MAX
        never.set()
        await found.close()

    asyncio.run(scene())
