"""Every parser of bytes from outside: its corpus, some thousand almost valid inputs in every run, and what a lie about a length
costs; and the proof that a broken parser would be seen."""

from __future__ import annotations

import sys
import tracemalloc
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any

import pytest

from ledger.base import codec
from ledger.base.errors import DecodeError, EnergoError
from ledger.base.limits import CBOR_ARRAY_MAX, CBOR_DEPTH_MAX, FRAME_BYTES_MAX
from ledger.wallet.guard import Signed, decode_signed
from ledger.wallet.rules import Role
from tests.fuzz import mutate, parsers, samples
from tests.fuzz.__main__ import input_failure, replay
from tests.fuzz.parsers import PARSERS, Parser

SEED = 20_210_324
CORPUS_BYTES_MAX = 360_000
EACH = 200  # mutations of each parser's samples

every_parser = pytest.mark.parametrize("parser", PARSERS, ids=lambda parser: parser.name)


@every_parser
def test_the_corpus_is_taken_or_refused_as_its_names_say(parser: Parser) -> None:
    for path in sorted((parsers.CORPUS / parser.name).iterdir()):
        assert parsers.taken(parser, path.read_bytes()) == path.name.startswith("taken"), path.name


@every_parser
def test_almost_valid_bytes_are_taken_or_refused(parser: Parser) -> None:
    first = SEED - SEED % len(PARSERS) + PARSERS.index(parser)
    for seed in range(first, first + EACH * len(PARSERS), len(PARSERS)):
        assert parsers.make_case(seed)[0] is parser
        assert input_failure(seed) is None, f"replay: python -m tests.fuzz --input-seed {seed}"


def test_the_corpus_in_the_repository_is_the_one_that_the_encoders_write() -> None:
    written = samples.corpus()
    assert set(written) == {parser.name for parser in PARSERS}
    for name, files in written.items():
        assert {path.name: path.read_bytes() for path in (parsers.CORPUS / name).iterdir()} == files, name
    assert sum(len(data) for files in written.values() for data in files.values()) < CORPUS_BYTES_MAX


def test_a_seed_gives_the_same_input_again_and_inputs_are_of_both_kinds() -> None:
    seen: Counter[tuple[str, bool]] = Counter()
    for seed in range(SEED, SEED + 100 * len(PARSERS)):
        parser, data = parsers.make_case(seed)
        assert parsers.make_case(seed) == (parser, data)
        seen[parser.name, parsers.taken(parser, data)] += 1
    for parser in PARSERS:
        assert seen[parser.name, False], f"{parser.name} refuses nothing"
        assert seen[parser.name, True], f"{parser.name} takes nothing"


def test_canonical_values_are_taken_and_every_other_form_of_them_is_refused() -> None:
    rng = Random(SEED)
    odd_forms = 0
    for _ in range(3_000):
        item = mutate.some_item(rng, depth=4)
        good = codec.encode(item)
        assert mutate.emit(item, lambda: False, rng) == good, "two encoders of one form"
        assert codec.decode(good, bytes_max=FRAME_BYTES_MAX) == item
        other = mutate.emit(item, lambda: rng.random() < 0.3, rng)
        try:
            value = codec.decode(other, bytes_max=FRAME_BYTES_MAX)
        except DecodeError:
            odd_forms += 1
        else:
            assert codec.encode(value) == other
    assert odd_forms > 500


@pytest.mark.parametrize("levels", [CBOR_DEPTH_MAX, CBOR_DEPTH_MAX + 1, 5_000])
def test_depth_ends_at_its_bound(levels: int) -> None:
    data = b"\x81" * levels + b"\x00"
    assert parsers.taken(parsers.BY_NAME["codec"], data) == (levels <= CBOR_DEPTH_MAX)


LIES = [
    *(
        mutate.head(major, size) + bytes(64)
        for major in (2, 3, 4)
        for size in (2**20, 2**31, 2**32 - 1, 2**63, 2**64 - 1)
    ),
    mutate.head(4, CBOR_ARRAY_MAX) + mutate.head(4, CBOR_ARRAY_MAX) + bytes(64),
    (mutate.head(4, CBOR_ARRAY_MAX) * CBOR_DEPTH_MAX) + bytes(64),
]


@pytest.mark.parametrize("parser", [p for p in PARSERS if p.form is mutate.Form.CBOR], ids=lambda parser: parser.name)
def test_a_claimed_length_is_not_believed(parser: Parser) -> None:
    for lie in LIES:
        for data in (lie, b"\x83" + lie, bytes((mutate.head(4, 1)[0],)) + lie, b"\x1f" + lie):
            parsers.taken(parser, data)  # warm: imports and caches are not what is measured
            tracemalloc.start()
            try:
                assert not parsers.taken(parser, data)
                peak = tracemalloc.get_traced_memory()[1]
            finally:
                tracemalloc.stop()
            assert peak < 256 * 1024, f"{peak} bytes of memory for {len(data)}"


def test_a_log_whose_record_claims_to_be_long_is_a_torn_end() -> None:
    whole = (parsers.CORPUS / "log" / "taken").read_bytes()
    tracemalloc.start()
    try:
        records, sound, _ = parsers.BY_NAME["log"].parse(whole + b"\xff\xff\xff\xff" + bytes(60))
        assert tracemalloc.get_traced_memory()[1] < 64 * 1024
    finally:
        tracemalloc.stop()
    assert (len(records), sound) == (2, len(whole))


@pytest.mark.parametrize("name", ["clearing", "stream", "http-body", "genesis"])
def test_no_depth_of_nesting_is_too_much(name: str) -> None:
    """At some depth a document can still be read but no longer be shown: nothing may try."""
    parser = parsers.BY_NAME[name]
    for levels in range(1, sys.getrecursionlimit() + 50, 7):
        nested = b"[" * levels + b"]" * levels
        for data in (
            b'{"buses": [{"id": "root", "fee": ' + nested + b'}], "orders": [], "sharing": ' + nested + b"}",
            b'{"buses": [], "orders": [], "sharing": ' + nested + b"}",
            b'{"op": "limit", "id": 1, "quantity_wh": 1, "price": ' + nested + b"}",
            b'{"transaction": ' + nested + b"}",
            b"street = " + nested,
        ):
            assert parsers.wrong(parser, data) is None


@pytest.mark.parametrize(
    ("sample", "field", "value"),
    [
        ("taken-vote", 4, bytes(31)),
        ("taken-vote", 4, bytes(33)),  # signed as it is, it would lock the wallet out of its own journal
        ("taken-vote", 3, 0),
        ("taken-vote", 3, 2**64 - 1),
        ("taken-vote", 2, -1),
        ("taken-vote", 2, 2**32),
        ("taken-vote", 5, -1),
        ("taken-vote", 6, 31),
        ("taken-ready", 2, bytes(31)),
        ("taken-link", 1, 2),
        ("taken-link", 2, bytes(31)),
    ],
)
def test_the_wallet_refuses_in_words_what_is_no_vote_and_no_proof(sample: str, field: int, value: Any) -> None:
    data = (parsers.CORPUS / "wallet-request" / sample).read_bytes()
    request = codec.decode(data, bytes_max=4_096)
    place = list(Role).index(Role.NODE)
    assert parsers.BY_NAME["wallet-request"].parse(data)[place][0] is True
    request[field] = value
    try:
        answers = parsers.BY_NAME["wallet-request"].parse(codec.encode(request))
    except EnergoError as error:
        pytest.fail(f"the other roles are refused for another reason: {error}")
    assert answers[place][:2] == [False, DecodeError.code]


def test_what_a_wallet_signs_it_can_read_again() -> None:
    record = Signed(0, 2**32 - 1, 2**63 - 1, bytes(32), 2**53 - 1, bytes(64))
    assert decode_signed(record.encoded()) == record


def _asserts(data: bytes) -> bytes:
    assert b"\x17" not in data, "no input has this"
    raise DecodeError("refused")


@pytest.mark.parametrize(
    "parse",
    [lambda data: (data[3], data)[1], lambda data: data + b"\x00", _asserts],
    ids=["raises", "lengthens", "asserts"],
)
def test_a_broken_parser_is_found_and_its_input_shrunk(parse: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = Parser("vote", parse, (DecodeError,), mutate.Form.RAW, again=lambda value: bytes(value))
    monkeypatch.setattr(parsers, "PARSERS", (broken,))
    monkeypatch.setitem(parsers.BY_NAME, "vote", broken)
    found = next(found for found in map(input_failure, range(SEED, SEED + 2_000)) if found)
    shown = found.partition("--input vote ")[2]
    assert len(bytes.fromhex(shown)) <= 1, found
    assert replay("vote", shown) is not None


def test_a_parser_that_does_not_end_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parsers, "HANG_S", 0.05)

    def endless(data: bytes) -> None:
        while True:
            data = data[::-1]

    assert (parsers.wrong(Parser("endless", endless, (Exception,)), b"x") or "").startswith("Hang")
    monkeypatch.setattr(parsers, "SECONDS_MAX", 0.0)
    assert "of the processor" in (parsers.wrong(parsers.BY_NAME["vote"], b"x") or "")


def test_an_input_replays_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "input").write_bytes(b"\x00")
    assert replay("codec", str(tmp_path / "input")) is None
