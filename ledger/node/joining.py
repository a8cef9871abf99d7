"""Joining with a code, as it is carried out: the member's door, the newcomer's call, and the limits kept on disk.

The exchange has a TLS tunnel of its own on the node's port; it begins with first words that no link begins with. While no code is
open a stranger learns nothing but that. An exchange that takes a code has `EXCHANGE_S` and one of the few half-open places.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from ledger.base.crypto import HASH_BYTES, LINK_VERSION
from ledger.base.errors import ConfigError, DecodeError, DiskFailed, EnergoError
from ledger.base.genesis import Genesis
from ledger.base.intents import Admit
from ledger.gossip import joining
from ledger.gossip.joining import (
    CODE_DIGITS,
    CODES_PER_HOUR,
    GENESIS_BYTES_MAX,
    HOUR_MS,
    SECRET_BYTES,
    At,
    Card,
    End,
    Exchange,
    Invitations,
    JoinFailed,
    Member,
    Newcomer,
    Parties,
    Street,
)

from . import clock
from .transport import (
    HANDSHAKE_S,
    HELLO_BYTES_MAX,
    Visit,
    client_context,
    decode_hello,
    peer_certificate,
    receive,
    send,
    words_of,
)

EXCHANGE_S: Final = 30.0  # four messages and a file; SPAKE2 is a second of a Pi Zero's time
FILE_NAME: Final = "invitations.json"
FILE_BYTES_MAX: Final = 1_024


class CodeUsed(JoinFailed):
    """Somebody answered to the code, and it came to nothing: the code is worth no second attempt."""

    code = "code_used"


class _Spake2:
    """The library's SPAKE2 on Ed25519's curve, one end of one exchange."""

    def __init__(self, secret: bytes, newcomer: bytes, member: bytes, *, is_newcomer: bool) -> None:
        import spake2  # a node needs it when somebody joins, and its 0.1 s and 1 MB not before

        side = spake2.SPAKE2_A if is_newcomer else spake2.SPAKE2_B
        self._side = side(secret, idA=newcomer, idB=member)
        self._errors = (spake2.SPAKEError, ValueError, AssertionError, _not_on_curve())

    def start(self) -> bytes:
        """The own element."""
        element: bytes = self._side.start()
        return element

    def finish(self, theirs: bytes) -> bytes:
        """The key. Raises `DecodeError` for what is no element, or the own one."""
        try:
            key: bytes = self._side.finish(theirs)
        except self._errors as error:
            raise DecodeError(f"not an element of the exchange: {error}") from None
        return key


def _not_on_curve() -> type[Exception]:
    from spake2.ed25519_basic import NotOnCurve

    found: type[Exception] = NotOnCurve
    return found


def beginning(secret: bytes, *, is_newcomer: bool) -> joining.Begin:
    """How an end with this secret begins an exchange."""

    def begin(newcomer: bytes, member: bytes) -> Exchange:
        return _Spake2(secret, newcomer, member, is_newcomer=is_newcomer)

    return begin


# ---- the member


class Door:
    """The codes of this node, and who came with one.

    `street` gives what a newcomer may rely on now, without the bus; `unwelcome` says in words why a card cannot be admitted.
    """

    def __init__(
        self,
        folder: Path,
        genesis_file: Path,
        *,
        chain_id: bytes,
        street: Callable[[], tuple[int, bytes, bytes]],
        unwelcome: Callable[[Card], str],
        note: Callable[[str], None],
    ) -> None:
        self._file, self._genesis_file, self._chain_id = folder / FILE_NAME, genesis_file, chain_id
        self._street, self._unwelcome, self._note = street, unwelcome, note
        self._codes = Invitations(_load(self._file, note))
        self._genesis = b""
        self._last: dict[str, Any] = {"state": "none", "words": "", "card": None}

    def invite(self, *, long: bool, bus: str) -> dict[str, Any]:
        """A new code (or a secret for a machine to carry), open now. Raises `JoinFailed`, `DiskFailed`."""
        genesis = self._read_genesis()
        text = clock.random_bytes(SECRET_BYTES).hex() if long else clock.random_digits(CODE_DIGITS)
        now_ms = clock.mono_ms()
        self._codes.invite(joining.secret_of(text), bus, now_ms)
        try:
            _save(self._file, self._codes.made_ms)
        except DiskFailed:
            self._codes.take(now_ms)  # a code that a restart forgets is none
            raise
        self._genesis = genesis
        self._last = {"state": "open", "words": "", "card": None}
        return {"code": text, **self.show()}

    def show(self) -> dict[str, Any]:
        """How the last code fares; never the code."""
        now_ms = clock.mono_ms()
        left_ms = self._codes.left_ms(now_ms)
        if self._last["state"] == "open" and left_ms == 0:
            self._last = {"state": "expired", "words": "nobody came with the code in time", "card": None}
        return {**self._last, "expires_in_ms": left_ms, "codes_left": self._codes.left(now_ms)}

    def _read_genesis(self) -> bytes:
        try:
            with open(self._genesis_file, "rb") as file:
                genesis = file.read(GENESIS_BYTES_MAX + 1)
        except OSError as error:
            raise DiskFailed(f"{self._genesis_file}: cannot be read ({error.strerror}); put it back") from None
        if not 0 < len(genesis) <= GENESIS_BYTES_MAX:
            raise JoinFailed(
                f"{self._genesis_file}: a genesis file that is handed on has 1 to {GENESIS_BYTES_MAX} bytes"
            )
        return genesis

    async def serve(self, visit: Visit) -> None:
        """One newcomer, to the end. Raises `JoinFailed`, `DecodeError`, `OSError`, `TimeoutError`, having said so to it."""
        try:
            ask = joining.decode_ask(visit.first)
            invitation = self._codes.take(clock.mono_ms())
            if invitation is None:
                raise JoinFailed("nobody is invited here now; make a code at the member first: energoctl member invite")
        except EnergoError as error:
            await _say(visit, str(error))
            raise
        last = self._last = {"state": "talking", "words": "", "card": None}
        parties = Parties(
            self._chain_id,
            visit.own.key,
            visit.own.nonce,
            ask.owner_key,
            ask.transport_key,
            ask.nonce,
            visit.certificate_hash,
        )
        height, block_hash, committee_hash = self._street()
        street = Street(height, block_hash, committee_hash, len(self._genesis), invitation.bus)
        try:
            async with asyncio.timeout(EXCHANGE_S):
                begin = beginning(invitation.secret, is_newcomer=False)
                member = Member(parties, ask, begin, street, self._genesis)
                await send(visit.writer, member.first())
                while member.at is not At.DONE:
                    for message in member.receive(await receive(visit.reader, joining.MESSAGE_BYTES_MAX)):
                        await send(visit.writer, message)
                assert member.card is not None, "that is what it is done with"
                why = self._unwelcome(member.card)
                if why:
                    raise JoinFailed(why)
                await send(visit.writer, joining.encode(End("")))
        except (EnergoError, OSError, TimeoutError, asyncio.IncompleteReadError) as error:
            why = _why(error)
            last.update(state="failed", words=f"{why} (from {visit.where})")
            await _say(visit, why)
            raise
        last.update(state="joined", card=_plain(member.card))
        self._note(f"{member.card.name} came with a code from {visit.where}; its card waits for approval")


def _why(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return f"it was not done in {EXCHANGE_S:.0f} s"
    return words_of(error)


async def _say(visit: Visit, words: str) -> None:
    """Tell a newcomer why not, as far as it still listens."""
    try:
        async with asyncio.timeout(HANDSHAKE_S):
            await send(visit.writer, joining.encode(End(_line(words))))
    except (OSError, TimeoutError):
        return  # it has gone


def _line(words: str) -> str:
    printable = "".join(c if c.isprintable() else "?" for c in words)
    return printable.encode()[: joining.WORDS_BYTES_MAX].decode(errors="ignore")


def _plain(card: Card) -> dict[str, str]:
    return {name: part if isinstance(part, str) else part.hex() for name, part in card._asdict().items()}


def _load(file: Path, note: Callable[[str], None]) -> list[int]:
    """When codes were made, on this run's clock; what is damaged or of the future counts as made now."""
    now_ms, wall_ms = clock.mono_ms(), clock.wall_ms()
    try:
        with open(file, "rb") as found:
            made = decode_made(found.read(FILE_BYTES_MAX + 1))
    except FileNotFoundError:
        return []
    except (OSError, DecodeError) as error:
        note(f"{file}: cannot be used ({error}); the next code can be made in an hour")
        return [now_ms] * CODES_PER_HOUR
    return [now_ms - min(max(0, wall_ms - each), HOUR_MS) for each in made[-CODES_PER_HOUR:]]


def decode_made(raw: bytes) -> list[int]:
    """When the last codes were made, Unix time in ms. Raises `DecodeError`."""
    try:
        made = json.loads(raw) if len(raw) <= FILE_BYTES_MAX else None
    except (ValueError, RecursionError) as error:
        raise DecodeError(f"not JSON: {error}") from None
    if not isinstance(made, list) or any(type(each) is not int for each in made):
        raise DecodeError("a list of times was expected")
    return made


def _save(file: Path, made_ms: list[int]) -> None:
    """Raises `DiskFailed`."""
    offset_ms = clock.wall_ms() - clock.mono_ms()
    fresh = file.with_name(f"{file.name}.new")
    try:
        with open(fresh, "w", encoding="ascii") as out:
            json.dump([each + offset_ms for each in made_ms], out)
            out.flush()
            os.fsync(out.fileno())
        os.replace(fresh, file)
    except OSError as error:
        raise DiskFailed(
            f"{file}: cannot be written ({error.strerror}), so no code is made; free space first"
        ) from None


# ---- the newcomer

Describe = Callable[[bytes, bytes, Street], Card]  # of the genesis file, the chain id and the street
Sign = Callable[[bytes], tuple[bytes, ...]]  # by the owner's, node's, transport's and device's key


async def join(
    host: str, port: int, *, secret: bytes, owner_key: bytes, transport_key: bytes, describe: Describe, sign: Sign
) -> tuple[bytes, Street, Card]:
    """Join at a member's node: (chain id, what to rely on, the card that the member has now).

    `describe` says what the home will be once the genesis is there, and may refuse it. Raises `CodeUsed` where the code met
    somebody and came to nothing, `JoinFailed` where it is still good.
    """
    where = f"{host} port {port}"
    try:
        async with asyncio.timeout(HANDSHAKE_S):
            reader, writer = await asyncio.open_connection(
                host, port, ssl=client_context(), server_hostname="", ssl_handshake_timeout=HANDSHAKE_S
            )
    except (OSError, TimeoutError, UnicodeError) as error:
        raise JoinFailed(f"{where} does not answer: {words_of(error)}") from None
    newcomer: Newcomer | None = None
    try:
        async with asyncio.timeout(EXCHANGE_S):
            hello = decode_hello(await receive(reader, HELLO_BYTES_MAX))
            if hello.version != LINK_VERSION:
                raise JoinFailed(f"it speaks version {hello.version} of the link, this software {LINK_VERSION}")
            nonce, certificate_hash = clock.random_bytes(HASH_BYTES), peer_certificate(writer)
            parties = Parties(hello.chain_id, hello.key, hello.nonce, owner_key, transport_key, nonce, certificate_hash)
            newcomer = Newcomer(beginning(secret, is_newcomer=True), parties)
            await send(writer, newcomer.first())
            card: Card | None = None
            while newcomer.at is not At.DONE:
                if newcomer.at is At.OWN_CARD:
                    assert newcomer.street is not None, "the street comes before its genesis"
                    card = describe(newcomer.genesis, hello.chain_id, newcomer.street)
                    await send(writer, newcomer.present(card, sign))
                for message in newcomer.receive(await receive(reader, joining.PIECE_MESSAGE_BYTES_MAX)):
                    await send(writer, message)
    except (EnergoError, OSError, TimeoutError, asyncio.IncompleteReadError) as error:
        used = newcomer is not None and newcomer.answered
        raise (CodeUsed if used else JoinFailed)(f"{where}: {_why(error)}") from None
    finally:
        writer.close()
    assert newcomer.street is not None and card is not None, "a joining that is done had both"
    return hello.chain_id, newcomer.street, card


def check_card(card: Card, genesis: Genesis) -> None:
    """Whether a home may be described so in this street's genesis. Raises `ConfigError`."""
    try:
        Admit.parse([card.name, card.owner_key, card.node_key, card.transport_key, card.bus, card.device_key])
    except DecodeError as error:
        raise ConfigError(f"this home cannot be called {card.name!r} on bus {card.bus!r}: {error}") from None
    buses = [bus.name for bus in genesis.buses]
    if card.bus not in buses:
        raise ConfigError(f"this street has no bus {card.bus!r}; it has {', '.join(buses)}")
