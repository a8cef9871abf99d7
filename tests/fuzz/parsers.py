"""Every parser of bytes that come from outside, in one table: what it may raise, and what must come back from its result.

A parser is broken where it raises anything but its own refusals, where what it took encodes to other bytes than it was given,
or where one input takes it `SECONDS_MAX` of the processor. `CORPUS` has samples of each: `taken-*` must be taken, `refused-*`
must be refused.
"""

from __future__ import annotations

import json
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path
from random import Random
from types import FrameType
from typing import Any, Final

import matcher_c
from firmware.der import __main__ as der
from firmware.meter import __main__ as meter
from firmware.meter import models
from firmware.panel import __main__ as panel
from ledger.base import address, codec, files, intents, recovery, units, votes
from ledger.base.crypto import sha256
from ledger.base.errors import ConfigError, DecodeError, SignerRefused, SignerUnavailable, UnitError
from ledger.base.limits import FRAME_BYTES_MAX, LOCAL_REQUEST_BYTES_MAX
from ledger.client import unpack_answer
from ledger.gossip import frames, joining, presence, seals, sync
from ledger.node import __main__ as node
from ledger.node import api, peers, pointer, store, transport
from ledger.node.joining import decode_made
from ledger.simplex import messages, records
from ledger.state import blocks, snapshot, state
from ledger.state.events import to_item
from ledger.wallet import guard, journal
from ledger.wallet.__main__ import Wallet
from ledger.wallet.keystore import Amnesia, Keys, VoteJournal
from ledger.wallet.limits import DailyUse, Limits
from ledger.wallet.rules import Role
from matcher_c import reference
from matcher_c.documents import asked_of, cleared
from matcher_c.streams import match_operations, operation_of
from tests.ledger.streets import seed_of, street

from .mutate import Form, mutated

CORPUS: Final = Path(__file__).parent / "corpus"
SECONDS_MAX: Final = 1.0  # of the processor, for one input
HANG_S: Final = 5.0


class NotJson(ValueError):
    """Text that is not JSON; what the command line makes of it is tested there."""


@dataclass(frozen=True)
class Parser:
    """A parser; `refuses` is all that it may raise, `again` the bytes of what it took, `prefix` what stands before CBOR."""

    name: str
    parse: Callable[[bytes], Any]
    refuses: tuple[type[Exception], ...]
    form: Form = Form.CBOR
    again: Callable[[Any], bytes] | None = None
    prefix: int = 0


def _in_a_file(load: Callable[[Path], Any]) -> Callable[[bytes], Any]:
    """A parser of files, handed bytes."""

    def parse(data: bytes) -> Any:
        path = _folder() / "given.toml"
        path.write_bytes(data)
        return load(path)

    return parse


@cache
def _kept() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="energo-fuzz-")


def _folder() -> Path:
    """A folder of this process with a genesis in it, which other files may name."""
    folder = Path(_kept().name)
    genesis = folder / "genesis.toml"
    if not genesis.exists():
        genesis.write_bytes((CORPUS / "genesis" / "taken-street").read_bytes())
    return folder


class _NoDisk(VoteJournal):
    """A wallet's vote journal that forgets when it is let go."""

    def __init__(self) -> None:
        self.guard = guard.Guard()
        self._log = _NoLog()

    def _has_begun(self) -> None:
        """Nothing to mark."""

    def forget(self, why: str) -> Amnesia:
        """Nothing to keep."""
        return Amnesia(why)


class _NoLog(journal.DurableLog):
    """Takes what can be read back, and keeps nothing."""

    def __init__(self) -> None:
        self.size = 0

    def append(self, payloads: Any) -> None:
        for payload in payloads:
            guard.decode_signed(payload)


class _Memory(Wallet):
    """A wallet whose keys and record are in memory."""

    def __init__(self, genesis: Any, keys: Keys) -> None:
        self._given = keys
        super().__init__(genesis, _folder(), DailyUse(Limits(9, 9, 9, 9 * units.MONEY_UNIT)))

    def _open(self) -> None:
        self.keys, self.journal = self._given, _NoDisk()
        self.owner_key, self.node_key, self.transport_key = self.keys.public()

    def _rotate(self) -> tuple[bytes, bytes, bytes]:
        return self.owner_key, self.node_key, self.transport_key


@cache
def _street() -> tuple[Any, Keys]:
    return street(2), Keys(*(seed_of(f"home1 {key}") for key in ("owner", "node", "transport")))


def _wallet(data: bytes) -> list[Any]:
    """One request on each of the wallet's sockets; its answers, which must be of its own form."""
    genesis, keys = _street()
    wallet = _Memory(genesis, keys)
    answers = [codec.decode(wallet.answer(role, data), bytes_max=LOCAL_REQUEST_BYTES_MAX) for role in Role]
    for answer in answers:
        match answer:
            case [True, _] | [False, str(), str()]:
                continue
        raise AssertionError(f"the wallet answers {answer}")
    if all(answer[0] is False and answer[1] == DecodeError.code for answer in answers):
        raise DecodeError("refused on every socket")
    return answers


def _evidence(data: bytes) -> votes.Evidence:
    return votes.decode_evidence(codec.decode(data, bytes_max=votes.EVIDENCE_BYTES_MAX))


def _json(data: bytes) -> object:
    try:
        return json.loads(data.decode())
    except (ValueError, RecursionError) as error:
        raise NotJson(str(error)) from None


def _clearing(data: bytes) -> object:
    return json.dumps(cleared(asked_of(_json(data)), matcher_c.clear_arrays).document())


def _stream(data: bytes) -> object:
    operations = [operation_of(_json(line), number) for number, line in enumerate(data.split(b"\n"), 1) if line.strip()]
    book = matcher_c.OrderBook(capacity=16, tick=1_000, lowest=-100_000, highest=100_000)
    return [json.dumps(result) for result in match_operations(operations, book)]


def _book(data: bytes) -> matcher_c.OrderBook:
    return matcher_c.OrderBook.from_bytes(data)


def _reference_book(data: bytes) -> reference.OrderBook:
    return reference.OrderBook.from_bytes(data)


def _registers(data: bytes) -> list[int | None]:
    """Every register of every meter that there is a table of, read from an endless repetition of these bytes."""
    if len(data) < 2:
        raise DecodeError("no register")
    values = []
    for model in _models():
        words = {
            at: int.from_bytes((data * 9)[2 * (at - start) % len(data) :][:2], "big")
            for start, count in model.blocks()
            for at in range(start, start + count)
        }
        values += [model.decode(quantity, words) for quantity in model.reads]
    return values


@cache
def _models() -> list[models.Model]:
    return [models.load(name) for name in models.names()]


def _address(data: bytes) -> tuple[bytes, str]:
    text = data.decode("utf-8", "surrogateescape")
    return address.parse_address(text), text


def _address_again(taken: tuple[bytes, str]) -> bytes:
    """Capitals are as good."""
    account, text = taken
    shown = address.format_address(account)
    return (shown.upper() if text.isupper() else shown).encode()


def _amounts(data: bytes) -> list[int]:
    """Money, price and fraction of a text that is at least one of them."""
    text = data.decode("utf-8", "surrogateescape")
    values = []
    for parse, shown in (
        (units.parse_money, units.format_money),
        (units.parse_price, units.format_price),
        (units.parse_share, units.format_share),
    ):
        try:
            value = parse(text)
        except UnitError as refused:
            error = refused
            continue
        assert parse(shown(value)) == value, "what is written is read as the same"
        values.append(value)
    if not values:
        raise error
    return values


def _answer(data: bytes) -> object:
    return unpack_answer(codec.decode(data, bytes_max=LOCAL_REQUEST_BYTES_MAX))


def _linked(data: bytes) -> object:
    """A range, linked from whatever its first block extends."""
    answer = sync.decode_range(data)
    first = blocks.decode_block(answer.blocks[0]).header.parent_hash if answer.blocks else bytes(32)
    sync.check_range(answer, first)
    return answer


def _rows(data: bytes) -> object:
    """A state of (key bytes, row bytes) in turn, and its root."""
    parts = codec.want_list(codec.decode(data, bytes_max=FRAME_BYTES_MAX), bytes, length_max=1_000)
    return state.load(zip(parts[::2], parts[1::2], strict=False)).rows()


def _frame_again(taken: frames.AnyMessage) -> bytes:
    return frames.encode(taken)[frames.LENGTH_BYTES :]


def _presence_again(taken: presence.Presence) -> bytes:
    return presence.encode(taken)[frames.LENGTH_BYTES :]


def _positional(row: Any) -> bytes:
    return codec.encode(tuple(row))


def _log_again(taken: tuple[list[bytes], int, bytes]) -> bytes:
    found, sound, data = taken
    written = journal.MAGIC + b"".join(journal._frame(payload) for payload in found) if sound else b""
    return written + data[sound:]


_DECODE = (DecodeError,)
_MATCHER = (matcher_c.MatcherRefused,)
_CONFIG = (ConfigError,)
_TEXT = Form.TEXT

PARSERS: Final = (
    Parser("codec", lambda d: codec.decode(d, bytes_max=FRAME_BYTES_MAX), _DECODE, again=codec.encode),
    Parser("transaction", intents.decode_transaction, _DECODE, again=lambda e: _transaction_bytes(e)),
    Parser("block", blocks.decode_block, _DECODE, again=lambda b: bytes(b.encoded)),
    Parser("vote", votes.decode_vote, _DECODE, Form.RAW, again=votes.encode_vote),
    Parser("certificate", votes.decode_certificate, _DECODE, again=lambda c: bytes(c.encoded)),
    Parser("evidence", _evidence, _DECODE, again=lambda e: codec.encode(e.item())),
    Parser("echo", messages.decode_echo, _DECODE, again=messages.encode_echo),
    Parser("recovery", recovery.decode_recovery, _DECODE, again=lambda r: bytes(r.encoded())),
    Parser("proposal", messages.decode_proposal, _DECODE, again=lambda p: bytes(p.encoded)),
    Parser("record", records.decode_record, _DECODE, again=records.encode_record),
    Parser("range", _linked, _DECODE, again=_positional),
    Parser("seal", seals.decode_seal, _DECODE, again=lambda s: bytes(s.encoded())),
    Parser("head", seals.decode_head, _DECODE, again=lambda h: bytes(h.encoded())),
    Parser("frame", frames.decode, _DECODE, again=_frame_again, prefix=1),
    Parser("hello", transport.decode_hello, _DECODE, again=_positional),
    Parser("welcome", transport.decode_welcome, _DECODE, again=_positional),
    Parser("presence", presence.decode, _DECODE, again=_presence_again, prefix=1),
    Parser("join-ask", joining.decode_ask, _DECODE, again=joining.encode_ask),
    Parser("join", joining.decode, _DECODE, again=joining.encode),
    Parser("trusted-block", pointer.decode, _DECODE, _TEXT),
    Parser("codes-made", decode_made, _DECODE, _TEXT),
    Parser("known-addresses", peers.decode_cache, _DECODE, _TEXT),
    Parser("wallet-request", _wallet, _DECODE),
    Parser("wallet-answer", _answer, (DecodeError, SignerRefused, SignerUnavailable)),
    Parser("signed", guard.decode_signed, _DECODE, again=lambda s: bytes(s.encoded())),
    Parser("log", lambda d: (*journal.parse_log(d), d), (journal.DamagedLog,), Form.RAW, again=_log_again),
    Parser("vote-log", journal.parse_witnessed_log, (journal.DamagedLog,), Form.RAW),
    Parser("manifest", snapshot.decode_manifest, _DECODE, again=lambda m: bytes(m.encoded())),
    Parser("events", store.decode_events, _DECODE, again=lambda events: codec.encode([to_item(e) for e in events])),
    Parser("state-rows", _rows, _DECODE),
    Parser("http-body", api.transaction_of, (api.ApiError,), _TEXT),
    Parser("address", _address, _DECODE, _TEXT, again=_address_again),
    Parser("amount", _amounts, (UnitError,), _TEXT),
    Parser("genesis", _in_a_file(files.load_genesis), _CONFIG, _TEXT),
    Parser("node-config", _in_a_file(node.load_settings), _CONFIG, _TEXT),
    Parser("meter-config", _in_a_file(meter.load_config), _CONFIG, _TEXT),
    Parser("agent-config", _in_a_file(der.load_config), _CONFIG, _TEXT),
    Parser("panel-config", _in_a_file(panel.load_config), _CONFIG, _TEXT),
    Parser("meter-model", _in_a_file(models.load_file), _CONFIG, _TEXT),
    Parser("registers", _registers, _DECODE, Form.RAW),
    Parser("clearing", _clearing, (NotJson, *_MATCHER), _TEXT),
    Parser("stream", _stream, (NotJson, *_MATCHER), _TEXT),
    Parser("book", _book, _MATCHER, Form.RAW, again=lambda book: bytes(book.to_bytes())),
    Parser("reference-book", _reference_book, _MATCHER, Form.RAW, again=lambda book: bytes(book.to_bytes())),
)
BY_NAME: Final = {parser.name: parser for parser in PARSERS}


def _transaction_bytes(envelope: intents.Envelope) -> bytes:
    return codec.encode(
        (
            intents.VERSION,
            envelope.chain_prefix,
            envelope.intent.KIND,
            envelope.sender,
            envelope.nonce,
            envelope.valid_until_height,
            envelope.intent.body(),
            envelope.signature,
        )
    )


class Hang(BaseException):
    """An input that a parser does not come to an end with; no parser can swallow it."""


@contextmanager
def _alarm() -> Iterator[None]:
    def ring(number: int, frame: FrameType | None) -> None:
        raise Hang(f"more than {HANG_S:.0f} s of the processor")

    before = signal.signal(signal.SIGVTALRM, ring)
    signal.setitimer(signal.ITIMER_VIRTUAL, HANG_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


def taken(parser: Parser, data: bytes) -> bool:
    """Whether a parser takes the bytes. Raises what it must not raise, `AssertionError` for what it must not do, `Hang`."""
    with _alarm():
        begun_s = time.process_time()
        try:
            value = parser.parse(data)
        except parser.refuses as refused:
            str(refused).encode("utf-8", "surrogateescape")
            value = refused
        took_s = time.process_time() - begun_s
        assert took_s < SECONDS_MAX, f"{took_s:.1f} s of the processor for {len(data)} bytes"
        if isinstance(value, parser.refuses):
            return False
        if parser.again is not None:
            assert parser.again(value) == data, "takes what it would write in other bytes"
        return True


def wrong(parser: Parser, data: bytes) -> str | None:
    """What a parser does with the bytes that it must not do, or None."""
    try:
        taken(parser, data)
    except (Exception, Hang) as error:  # noqa: BLE001 - whatever it is, it is what is looked for
        return f"{type(error).__name__}: {str(error)[:200]}"
    return None


@cache
def samples(name: str, which: str = "*") -> tuple[bytes, ...]:
    """The corpus of a parser, or of it the files of a pattern, in order of names."""
    return tuple(path.read_bytes() for path in sorted((CORPUS / name).glob(which)))


def mended(data: bytes) -> bytes:
    """The bytes with the hashes in blocks renewed, so that what was changed behind them is reached too."""
    try:
        item = codec.decode(data, bytes_max=FRAME_BYTES_MAX)
    except DecodeError:
        return data
    return bytes(codec.encode(_mended(item))) if isinstance(item, list) else data


def _mended(item: list[Any]) -> list[Any]:
    item = [mended(part) if isinstance(part, bytes) and len(part) > 64 else part for part in item]
    item = [_mended(part) if isinstance(part, list) else part for part in item]
    match item:
        case [[*header], [*transactions], bytes(certificate), []] if len(header) == len(blocks.Header._fields):
            if all(isinstance(raw, bytes) for raw in transactions):
                header[9], header[14] = blocks.tx_root(tuple(transactions)), blocks.link_hash(certificate)
            return [header, transactions, certificate, []]
        case [[*raw_blocks], [*headers], bytes(certificate)]:
            return _linked_up(raw_blocks, headers, certificate)
    return item


def _linked_up(raw_blocks: list[Any], headers: list[Any], certificate: bytes) -> list[Any]:
    """A range whose parts each name the one before them, as far as they are what they should be."""
    try:
        opened = [codec.decode(raw, bytes_max=FRAME_BYTES_MAX) for raw in raw_blocks]
        links = [block[0] for block in opened] + [codec.decode(raw, bytes_max=FRAME_BYTES_MAX) for raw in headers]
        for before, header in pairwise(links):
            header[5] = sha256(codec.encode(before))
        end = codec.decode(certificate, bytes_max=FRAME_BYTES_MAX)
        end[3] = sha256(codec.encode(links[-1]))
    except (DecodeError, TypeError, IndexError):
        return [raw_blocks, headers, certificate]
    count = len(opened)
    return [
        [codec.encode(block) for block in opened],
        [codec.encode(link) for link in links[count:]],
        codec.encode(end),
    ]


def make_case(seed: int) -> tuple[Parser, bytes]:
    """The parser and the input of a seed."""
    rng = Random(seed)
    parser = PARSERS[seed % len(PARSERS)]
    known = samples(parser.name)
    sample = rng.choice(known if rng.random() < 0.2 else samples(parser.name, "taken*"))
    data = mutated(sample, parser.form, rng, known, parser.prefix)
    if parser.form is Form.CBOR and rng.random() < 0.5:
        data = data[: parser.prefix] + mended(data[parser.prefix :])
    return parser, data
