"""Joining over real tunnels on the loopback interface: who gets in by a code, who does not, and what a code is worth then."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from ledger.base.crypto import HASH_BYTES, sha256
from ledger.base.errors import ConfigError, DiskFailed
from ledger.base.files import load_genesis
from ledger.gossip import joining as said
from ledger.gossip.joining import CODES_PER_HOUR, HOUR_MS, WINDOW_MS, Card, JoinFailed, Newcomer, Parties, Street
from ledger.node import clock, joining, pointer, transport
from ledger.node.joining import CodeUsed, Door, beginning, check_card, join
from ledger.node.pointer import Contradiction, Pointer
from ledger.node.transport import Transport, decode_hello, peer_certificate, receive, send
from tests.ledger.genesis_text import genesis_toml
from tests.ledger.gossip.test_joining import CARD, GENESIS, KEYS, sign
from tests.ledger.node.test_transport import CHAIN, Keys, Members

HOST = "127.0.0.1"
TO_TRUST = (7, sha256(b"block"), sha256(b"committee"))


def wrong(code: str) -> str:
    return f"{(int(code) + 1) % 1_000_000:06}"


class Home:
    """A member's door behind its listener."""

    def __init__(self, folder: Path, *, unwelcome: str = "") -> None:
        self.keys = Keys("a")
        self.notes: list[str] = []
        (folder / "genesis.toml").write_bytes(GENESIS)
        self.door = Door(
            folder,
            folder / "genesis.toml",
            chain_id=CHAIN,
            street=lambda: TO_TRUST,
            unwelcome=lambda card: unwelcome,
            note=self.notes.append,
        )
        self.transport = Transport(
            chain_id=CHAIN,
            own_id=self.keys.own,
            directory=Members({}),
            signer=self.keys,  # type: ignore[arg-type]
            on_link=self._no_link,
            may_link=lambda peer, key, dialed: "",
            on_clone=self.notes.append,
            note=self.notes.append,
            now_ms=lambda: 0,
            on_visit=self.door.serve,
        )

    async def _no_link(self, link: transport.Link) -> None:
        raise AssertionError("a newcomer has no link")

    def code(self) -> str:
        made: str = self.door.invite(long=False, bus="root")["code"]
        return made

    def state(self) -> str:
        found: str = self.door.show()["state"]
        return found

    async def until(self, state: str) -> None:
        while self.state() != state:
            await asyncio.sleep(0)


def describe(genesis: bytes, chain_id: bytes, street: Street) -> Card:
    assert (genesis, chain_id, street[:3], street.bus) == (GENESIS, CHAIN, TO_TRUST, "root")
    return CARD


def join_at(port: int, code: str) -> Awaitable[tuple[bytes, Street, Card]]:
    return join(
        HOST,
        port,
        secret=said.secret_of(code),
        owner_key=KEYS[0],
        transport_key=KEYS[2],
        describe=describe,
        sign=sign,
    )


Scene = Callable[[Home, int], Awaitable[None]]


def play(folder: Path, scene: Scene, **door: str) -> Home:
    """A scene at a member's listening door; its end leaves no introduction open."""

    async def bounded() -> Home:
        home = Home(folder, **door)
        async with asyncio.timeout(30):
            port = await home.transport.listen(HOST, 0)
            await scene(home, port)
            while home.transport._half_open:
                await asyncio.sleep(0)
            await home.transport.close()
        return home

    return asyncio.run(bounded())


class Stranger:
    """A newcomer by hand, one message at a time."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, code: str, hello: bytes) -> None:
        self.reader, self.writer = reader, writer
        there = decode_hello(hello)
        nonce = clock.random_bytes(HASH_BYTES)
        parties = Parties(there.chain_id, there.key, there.nonce, KEYS[0], KEYS[2], nonce, peer_certificate(writer))
        self.end = Newcomer(beginning(said.secret_of(code), is_newcomer=True), parties)

    @staticmethod
    async def dial(port: int, code: str) -> Stranger:
        reader, writer = await asyncio.open_connection(HOST, port, ssl=transport.client_context(), server_hostname="")
        return Stranger(reader, writer, code, await receive(reader, transport.HELLO_BYTES_MAX))

    async def say(self, message: bytes) -> None:
        await send(self.writer, message)

    async def hear(self) -> bytes:
        return await receive(self.reader, said.PIECE_MESSAGE_BYTES_MAX)


@pytest.mark.parametrize("long", [False, True], ids=["code", "secret"])
def test_a_newcomer_with_the_code_brings_its_card_and_learns_the_street(tmp_path: Path, long: bool) -> None:
    async def scene(home: Home, port: int) -> None:
        made = home.door.invite(long=long, bus="root")
        assert (made["state"], len(made["code"])) == ("open", 32 if long else 6)
        assert 0 < made["expires_in_ms"] <= WINDOW_MS
        assert made["code"] not in json.dumps(home.door.show())
        chain_id, street, card = await join_at(port, made["code"])
        assert (chain_id, street.height, card) == (CHAIN, 7, CARD)
        await home.until("joined")
        shown = home.door.show()["card"]
        assert (shown["name"], shown["owner_key"]) == ("home6", KEYS[0].hex())
        assert "home6 came with a code" in home.notes[-1]

    play(tmp_path, scene)


def test_a_wrong_code_is_the_only_attempt(tmp_path: Path) -> None:
    async def scene(home: Home, port: int) -> None:
        code = home.code()
        with pytest.raises(CodeUsed, match="code is wrong"):
            await join_at(port, wrong(code))
        await home.until("failed")
        with pytest.raises(JoinFailed, match="nobody is invited") as caught:
            await join_at(port, code)
        assert not isinstance(caught.value, CodeUsed)
        assert "code is wrong" in home.door.show()["words"]
        assert home.door.show()["card"] is None

    play(tmp_path, scene)


def test_who_only_begins_has_used_the_code_up_too(tmp_path: Path) -> None:
    async def scene(home: Home, port: int) -> None:
        code = home.code()
        stranger = await Stranger.dial(port, wrong(code))
        await stranger.say(stranger.end.first())
        await stranger.hear()
        stranger.writer.close()
        await home.until("failed")
        with pytest.raises(JoinFailed, match="nobody is invited"):
            await join_at(port, code)

    play(tmp_path, scene)


def test_of_two_joiners_at_once_one_gets_in(tmp_path: Path) -> None:
    async def scene(home: Home, port: int) -> None:
        code = home.code()
        done = await asyncio.gather(*(join_at(port, code) for _ in range(3)), return_exceptions=True)
        joined = [each for each in done if not isinstance(each, BaseException)]
        assert len(joined) == 1
        assert all("nobody is invited" in str(each) for each in done if isinstance(each, JoinFailed))
        assert sum(isinstance(each, JoinFailed) for each in done) == 2
        await home.until("joined")

    play(tmp_path, scene)


def test_while_one_is_talking_another_with_the_code_is_refused_and_disturbs_nothing(tmp_path: Path) -> None:
    async def scene(home: Home, port: int) -> None:
        code = home.code()
        first = await Stranger.dial(port, code)
        await first.say(first.end.first())
        (proof,) = first.end.receive(await first.hear())
        with pytest.raises(JoinFailed, match="nobody is invited"):
            await join_at(port, code)
        assert home.state() == "talking"
        await first.say(proof)
        while first.end.at is not said.At.OWN_CARD:
            first.end.receive(await first.hear())
        await first.say(first.end.present(CARD, sign))
        first.end.receive(await first.hear())
        assert first.end.at.name == "DONE"
        first.writer.close()
        await home.until("joined")

    play(tmp_path, scene)


def test_what_was_recorded_is_worth_nothing_under_the_same_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clock, "random_digits", lambda count: "123456")

    async def scene(home: Home, port: int) -> None:
        recorded: list[bytes] = []

        async def noted(keep: list[bytes], writer: asyncio.StreamWriter, payload: bytes) -> None:
            keep.append(payload)
            await send(writer, payload)

        home.code()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(joining, "send", partial(noted, recorded))
            await join_at(port, "123456")
        await home.until("joined")
        first = next(raw for raw in recorded if said.is_ask(raw))
        proof = next(raw for raw in recorded if not said.is_ask(raw) and raw[1] == 2)
        home.code()
        stranger = await Stranger.dial(port, "123456")
        await stranger.say(first)
        await stranger.hear()
        await stranger.say(proof)
        assert said.decode(await stranger.hear()) == said.End("the code is wrong; it is used up, ask for a new one")
        stranger.writer.close()
        await home.until("failed")

    play(tmp_path, scene)


async def relay(port: int, server: ssl.SSLContext) -> asyncio.Server:
    """Somebody in the middle: a tunnel to each end, and every byte passed on."""

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65_536):
                writer.write(data)
                await writer.drain()
        except OSError:
            pass
        writer.close()

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        up = await asyncio.open_connection(HOST, port, ssl=transport.client_context(), server_hostname="")
        await asyncio.gather(copy(reader, up[1]), copy(up[0], writer))

    return await asyncio.start_server(pass_on, HOST, 0, ssl=server)


def test_somebody_in_the_middle_with_two_tunnels_is_found_out(tmp_path: Path) -> None:
    async def scene(home: Home, port: int) -> None:
        server, _, _ = transport._contexts()
        middle = await relay(port, server)
        with pytest.raises(CodeUsed, match="code is wrong"):
            await join_at(middle.sockets[0].getsockname()[1], home.code())
        await home.until("failed")
        middle.close()

    play(tmp_path, scene)


def test_without_a_code_a_stranger_learns_that_and_holds_no_place(tmp_path: Path) -> None:
    async def scene(home: Home, port: int) -> None:
        for _ in range(2 * transport.HALF_OPEN_PER_ADDRESS_MAX):
            with pytest.raises(JoinFailed, match="nobody is invited"):
                await join_at(port, "123456")

    assert play(tmp_path, scene).state() == "none"


def test_a_code_ends_after_its_window(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene(home: Home, port: int) -> None:
        code, real = home.code(), clock.mono_ms
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(clock, "mono_ms", lambda: real() + WINDOW_MS)
            assert home.state() == "expired"
            with pytest.raises(JoinFailed, match="nobody is invited"):
                await join_at(port, code)

    play(tmp_path, scene)


def test_who_stops_in_the_middle_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(joining, "EXCHANGE_S", 0.05)

    async def scene(home: Home, port: int) -> None:
        stranger = await Stranger.dial(port, home.code())
        await stranger.say(stranger.end.first())
        await stranger.hear()
        words = said.decode(await stranger.hear())
        assert isinstance(words, said.End)
        assert "not done in" in words.words
        stranger.writer.close()
        assert home.state() == "failed"

    play(tmp_path, scene)


@pytest.mark.parametrize(
    "raw",
    [b"\x86\x64join", b"\x86\x64join" + bytes(200), said.encode_ask(said.Ask(*(bytes(32),) * 3, b"A" + bytes(32)))],
    ids=["cut", "nonsense", "no element"],
)
def test_first_words_of_nonsense_are_answered_in_words(tmp_path: Path, raw: bytes) -> None:
    async def scene(home: Home, port: int) -> None:
        home.code()
        stranger = await Stranger.dial(port, "123456")
        await stranger.say(raw)
        words = said.decode(await stranger.hear())
        assert isinstance(words, said.End)
        assert words.words
        stranger.writer.close()

    play(tmp_path, scene)


def test_a_home_that_the_ledger_would_refuse_is_refused_at_the_door(tmp_path: Path) -> None:
    async def scene(home: Home, port: int) -> None:
        with pytest.raises(CodeUsed, match="is called home6 already"):
            await join_at(port, home.code())
        await home.until("failed")

    play(tmp_path, scene, unwelcome="something in this street is called home6 already")


def test_three_codes_an_hour_over_restarts_too(tmp_path: Path) -> None:
    for _ in range(CODES_PER_HOUR):
        Home(tmp_path).code()  # a process each
    with pytest.raises(JoinFailed, match="3 codes were made within an hour"):
        Home(tmp_path).code()
    file = tmp_path / joining.FILE_NAME
    made = json.loads(file.read_text())
    file.write_text(json.dumps([each - HOUR_MS for each in made]))
    assert Home(tmp_path).door.show()["codes_left"] == CODES_PER_HOUR
    file.write_text(json.dumps([each + 400 * 86_400_000 for each in made]))  # a clock that was ahead for a while
    assert Home(tmp_path).door.show()["codes_left"] == 0


@pytest.mark.parametrize("raw", [b"", b"{}", b'["1"]', b"[true]", b"[" * 2_000, b"\xff"])
def test_a_damaged_record_of_codes_is_none_to_guess_by(tmp_path: Path, raw: bytes) -> None:
    (tmp_path / joining.FILE_NAME).write_bytes(raw)
    home = Home(tmp_path)
    assert "in an hour" in home.notes[0]
    with pytest.raises(JoinFailed, match="3 codes"):
        home.code()


def test_a_code_that_cannot_be_recorded_is_not_made(tmp_path: Path) -> None:
    home = Home(tmp_path)
    (tmp_path / f"{joining.FILE_NAME}.new").mkdir()
    with pytest.raises(DiskFailed, match="no code is made"):
        home.code()
    assert home.state() == "none"
    assert home.door._codes.take(clock.mono_ms()) is None


def test_codes_are_six_digits_each_as_likely() -> None:
    found = {clock.random_digits(6) for _ in range(200)}
    assert len(found) > 190
    assert all(len(each) == 6 and each.isdigit() for each in found)


# ---- what a newcomer was told to trust


TRUSTED = Pointer(CHAIN, *TO_TRUST)


def test_a_ledger_with_another_block_there_is_refused(tmp_path: Path) -> None:
    pointer.save(tmp_path, TRUSTED)
    kept = pointer.load(tmp_path, CHAIN)
    assert kept == TRUSTED
    kept.check(*TO_TRUST)
    kept.check(8, sha256(b"any"), sha256(b"any"))
    for height, block, committee in ((7, sha256(b"other"), TO_TRUST[2]), (7, TO_TRUST[1], sha256(b"other"))):
        with pytest.raises(Contradiction, match="forged"):
            kept.check(height, block, committee)


def test_a_node_that_joined_in_no_such_way_needs_no_pointer(tmp_path: Path) -> None:
    assert pointer.load(tmp_path, CHAIN) is None


def _document(**changed: Any) -> bytes:
    hashes = {"chain_id": CHAIN.hex(), "block_hash": CHAIN.hex(), "committee_hash": CHAIN.hex()}
    return json.dumps({**hashes, "height": 7, **changed}).encode()


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"[]",
        b"[" * 5_000,
        b"\xff",
        _document(height=-1),
        _document(height="7"),
        _document(block_hash="xx"),
        _document(block_hash="00"),
        _document(chain_id=sha256(b"another").hex()),
    ],
)
def test_a_damaged_pointer_is_no_reason_to_trust_everybody(tmp_path: Path, raw: bytes) -> None:
    (tmp_path / pointer.FILE_NAME).write_bytes(raw)
    with pytest.raises(ConfigError, match="join anew"):
        pointer.load(tmp_path, CHAIN)


def test_a_card_fits_the_street_before_it_is_shown(tmp_path: Path) -> None:
    (tmp_path / "genesis.toml").write_text(genesis_toml(2))
    genesis = load_genesis(tmp_path / "genesis.toml")
    check_card(CARD._replace(bus=genesis.buses[0].name), genesis)
    with pytest.raises(ConfigError, match="has no bus 'nowhere'; it has"):
        check_card(CARD._replace(bus="nowhere"), genesis)
    with pytest.raises(ConfigError, match="cannot be called"):
        check_card(CARD._replace(name="x" * 100), genesis)
