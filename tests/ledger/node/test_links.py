"""The links of some homes on the loopback interface: one for each key, found, kept, given up, refused."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from ledger.base.errors import DecodeError
from ledger.gossip import frames, presence
from ledger.gossip.presence import Known, Peers, PeersRequest
from ledger.node import clock, links, pacing
from ledger.node.links import Events, Links, Network
from ledger.node.pacing import Limit
from ledger.node.transport import LinkFailed
from tests.ledger.node.test_transport import CHAIN, End, Keys, Members, members

NAMES = ("a", "b", "c")
HOST = "127.0.0.1"


def framed(payload: bytes) -> bytes:
    return len(payload).to_bytes(4, "big") + payload


class Home:
    """One home's links, and what they told."""

    def __init__(self, name: str, *peers: int, cache: Path | None = None, names: tuple[str, ...] = NAMES) -> None:
        self.keys = Keys(name)
        self.members = Members(members(*names))
        self.notes: list[str] = []
        self.frames: list[tuple[int, bytes]] = []
        self.told: list[str] = []
        self.broken: list[BaseException] = []
        self.links = Links(
            Network(HOST, 0, False, (), tuple((HOST, port) for port in peers), 100, cache),
            chain_id=CHAIN,
            own_key=self.keys.own,
            directory=self.members,
            signer=self.keys,  # type: ignore[arg-type]
            events=Events(
                up=lambda peer: self.told.append(f"{peer} up"),
                down=lambda peer: self.told.append(f"{peer} down"),
                frame=self._take,
                broken=self.broken.append,
            ),
            note=self.notes.append,
        )

    def _take(self, peer: int, frame: bytes) -> None:
        if frame.startswith(b"\xff"):
            raise DecodeError("nonsense")
        self.frames.append((peer, frame))

    @property
    def peers(self) -> list[int]:
        return [link.peer for link in self.links]


async def until(condition: Callable[[], object]) -> None:
    while not condition():
        await asyncio.sleep(0)


def run(scene: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(20):
            await scene()

    asyncio.run(bounded())


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever waits looks again at once; what is measured in virtual time is left to its own tests."""
    monkeypatch.setattr(links, "LOOK_MS", 1)
    monkeypatch.setattr(links, "REDIAL_FIRST_MS", 1)


def test_two_homes_link_and_frames_go_to_one_or_to_all() -> None:
    async def scene() -> None:
        a = Home("a")
        port = await a.links.run()
        b, c = Home("b", port), Home("c", port)
        await b.links.run()
        await c.links.run()
        await until(lambda: a.peers == [1, 2] and b.peers == c.peers == [0])
        a.links.send(None, framed(b"\x63all"))
        a.links.send(2, framed(b"\x63one"))
        a.links.send(7, framed(b"\x63nobody"))
        await until(lambda: c.frames == [(0, b"\x63all"), (0, b"\x63one")] and b.frames == [(0, b"\x63all")])
        await until(lambda: all(link.pulse.rtt_ms is not None for home in (a, b, c) for link in home.links))
        for home in (a, b, c):
            await home.links.close()
            assert home.broken == []
        assert b.told == ["0 up"] or b.told == ["0 up", "0 down"]

    run(scene)


def test_homes_that_dial_each_other_keep_the_one_link_that_the_lower_key_opened() -> None:
    async def scene() -> None:
        a, b = Home("a"), Home("b")
        ports = {"a": await a.links.run(), "b": await b.links.run()}
        a.links.seen(HOST, ports["b"])
        b.links.seen(HOST, ports["a"])
        lower, higher = sorted((a, b), key=lambda home: home.keys.own)
        await until(lambda: [x.dialed for x in lower.links] == [True] and [x.dialed for x in higher.links] == [False])
        (out,), (back,) = lower.links, higher.links
        for _ in range(500):
            await asyncio.sleep(0)
        assert [list(lower.links), list(higher.links)] == [[out], [back]], "and that is that"
        await a.links.close()
        await b.links.close()

    run(scene)


def test_who_sends_what_no_honest_home_sends_is_out_for_an_hour_with_its_key(monkeypatch: pytest.MonkeyPatch) -> None:
    now_ms = 1_000_000
    monkeypatch.setattr(clock, "mono_ms", lambda: now_ms)

    async def scene() -> None:
        nonlocal now_ms
        a, b = Home("a"), End("b", members(*NAMES))
        port = await a.links.run()

        async def dial() -> LinkFailed | None:
            try:
                await b.transport.dial(HOST, port)
            except LinkFailed as error:
                return error
            return None

        assert await dial() is None
        link = await b.links.get()
        link.writer.write(framed(b"\xffbomb"))
        await until(lambda: a.told == ["1 up", "1 down"])
        assert a.notes == ["member 1 sent what no honest node sends (nonsense); not linked for an hour"]
        now_ms += links.REFUSAL_MS - 1
        refused = await dial()
        assert refused is not None
        assert "let in again in an hour" in str(refused)
        now_ms += 1
        assert await dial() is None
        await a.links.close()

    run(scene)


def test_a_redial_refills_nothing_and_too_much_is_read_slowly_not_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(pacing.LIMITS, frames.STATUS, Limit(1_000, 50, 10**6, 10**6))
    monkeypatch.setattr(clock, "mono_ms", lambda: 1_000_000)

    async def scene() -> None:
        a, b = Home("a"), End("b", members(*NAMES))
        port = await a.links.run()
        for links_before in range(3):
            await b.transport.dial(HOST, port)
            link = await b.links.get()
            for _ in range(20):
                link.writer.write(framed(bytes((frames.STATUS,))))
            await until(lambda: len(a.frames) == 20 * (links_before + 1))  # noqa: B023 - it is awaited here
            link.close()
            await until(lambda: len(a.links) == 0)
        assert len(a.frames) == 60, "none was dropped"
        slow = [note for note in a.notes if "read more slowly" in note]
        assert len(slow) == 1, "said once"
        await a.links.close()

    run(scene)


def test_a_silent_link_is_given_up_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene() -> None:
        a, b = Home("a"), End("b", members(*NAMES))
        port = await a.links.run()
        await b.transport.dial(HOST, port)
        link = await b.links.get()
        await until(lambda: a.peers == [1])
        monkeypatch.setattr(clock, "mono_ms", lambda: 10**12)
        while await link.reader.read(4_096):  # it pings, and nobody answers
            continue
        await until(lambda: a.told == ["1 up", "1 down"])
        assert a.notes == ["member 1 is silent; its link is given up and dialed anew"]
        await a.links.close()

    run(scene)


def test_a_neighbor_tells_where_the_others_are_once_and_only_when_asked() -> None:
    async def scene() -> None:
        a, b = Home("a"), Home("b")
        port = await a.links.run()
        port_b = await b.links.run()
        liar = End("c", members(*NAMES))
        await liar.transport.dial(HOST, port)
        link = await liar.links.get()
        await until(lambda: a.links._asked)  # the first link is asked at once
        received = b""
        while presence.encode(PeersRequest()) not in received:
            received += await link.reader.read(4_096)
        a.links._asked.clear()
        told = presence.encode(Peers((Known(b.keys.own, HOST, port_b), Known(bytes(32), HOST, 1))))
        link.writer.write(told + framed(b"\x63after"))
        await until(lambda: a.frames)
        assert list(a.links._book) == [], "an answer that nobody asked for is not used"
        a.links._asked.update(a.links)
        link.writer.write(told + told)
        await until(lambda: a.peers == [1, 2])
        assert [(at.host, at.port) for at in a.links._book] == [(HOST, port_b)], "a stranger's key leads nowhere"
        assert b.peers == [0]
        await a.links.close()
        await b.links.close()

    run(scene)


def test_the_answer_names_only_addresses_that_mean_something_to_others() -> None:
    async def scene() -> None:
        a = Home("a")
        port = await a.links.run()
        b, c = End("b", members(*NAMES)), End("c", members(*NAMES))
        for other in (b, c):
            other.transport.port = 4_711
            await other.transport.dial(HOST, port)
        await until(lambda: a.peers == [1, 2])
        first, second = a.links
        assert a.links._known_to(second) == Peers(()), "127.0.0.1 is somebody else there"
        first.at = ("10.77.0.12", 50_000)
        assert a.links._known_to(second) == Peers((Known(b.keys.own, "10.77.0.12", 4_711),))
        assert a.links._known_to(first) == Peers(()), "it knows where it is itself"
        await a.links.close()

    run(scene)


def test_a_home_finds_its_neighbors_again_without_being_told(tmp_path: Path) -> None:
    async def scene() -> None:
        cache = tmp_path / "peers.json"
        b = Home("b")
        a = Home("a", await b.links.run(), cache=cache)
        await a.links.run()
        await until(lambda: a.peers == [1])
        await a.links.close()
        again = Home("a", cache=cache)
        await again.links.run()
        await until(lambda: again.peers == [1])
        await again.links.close()
        await b.links.close()

    run(scene)


def test_when_a_cable_comes_back_all_are_dialed_at_once_and_old_links_are_doubted() -> None:
    async def scene() -> None:
        b = Home("b")
        a = Home("a", await b.links.run())
        a.links._network = Network(HOST, 0, False, (), a.links._network.peers, 3_600_000)
        await a.links.run()
        await until(lambda: a.peers == [1] and b.peers == [0])
        (link,) = a.links
        await until(lambda: link.pulse.rtt_ms is not None)
        link.pulse.rtt_ms = None
        a.links._returned()
        await until(lambda: link.pulse.rtt_ms is not None)
        assert list(a.links) == [link], "it lives"
        for each in b.links:
            each.close()
        await until(lambda: not a.peers)
        a.links._returned()
        await until(lambda: a.peers == [1])
        await a.links.close()
        await b.links.close()

    run(scene)


def test_who_is_no_member_any_more_is_let_go() -> None:
    async def scene() -> None:
        a = Home("a")
        port = await a.links.run()
        b = End("b", members(*NAMES))
        await b.transport.dial(HOST, port)
        await until(lambda: a.peers == [1])
        a.links.check_members()
        assert a.peers == [1]
        del a.members.peers[b.keys.own]
        a.links.check_members()
        await until(lambda: a.peers == [])
        with pytest.raises(LinkFailed):
            await b.transport.dial(HOST, port)
        await a.links.close()

    run(scene)


def test_the_links_that_others_open_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(links, "INBOUND_MAX", 1)

    async def scene() -> None:
        a, b, c = Home("a"), End("b", members(*NAMES)), End("c", members(*NAMES))
        port = await a.links.run()
        await b.transport.dial(HOST, port)
        await until(lambda: a.peers == [1])
        with pytest.raises(LinkFailed, match="as many links as this node takes"):
            await c.transport.dial(HOST, port)
        await b.transport.dial(HOST, port)  # the same home anew takes its own place
        await until(lambda: a.told == ["1 up", "1 up"])
        await a.links.close()

    run(scene)


def test_a_member_that_names_another_port_each_time_costs_a_few_dialers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(links, "DIALERS_MAX", 8)

    async def scene() -> None:
        a, b = Home("a"), End("b", members(*NAMES))
        port = await a.links.run()
        for number in range(20):
            b.transport.port = 1_000 + number
            await b.transport.dial(HOST, port)
            await until(lambda: len(a.told) == number + 1)  # noqa: B023 - it is awaited here
        assert a.links._dialers <= 8
        assert len(list(a.links._book)) <= 8
        await a.links.close()

    run(scene)


def test_ones_own_address_is_dialed_once_and_forgotten() -> None:
    async def scene() -> None:
        a = Home("a")
        port = await a.links.run()
        a.links.seen(HOST, port)
        await until(lambda: not list(a.links._book))
        assert a.notes == []
        await a.links.close()

    run(scene)


def test_a_copied_card_is_said_and_told_to_the_node() -> None:
    clones: list[str] = []

    async def scene() -> None:
        a, copy = Home("a"), End("a", members(*NAMES))
        a.links._events = replace(a.links._events, clone=clones.append)
        port = await a.links.run()
        with pytest.raises(LinkFailed):
            await copy.transport.dial(HOST, port)
        await until(lambda: clones)
        assert "this card was copied" in a.notes[0]
        await a.links.close()

    run(scene)
    assert clones == [HOST]
