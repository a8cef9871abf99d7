"""The exchange's yardstick: the stream is the one that was described, and a replay says what the book did."""

from __future__ import annotations

import json
import struct
from collections import Counter
from pathlib import Path

import pytest

import matcher_c
from energo_bench import exchange, packages
from energo_bench.stream import CRAFTED, Fnv, bounds_of, commands_of, make_stream, with_ids
from matcher_c import COMMAND, Kind, reference
from tests.energoctl.calls import Caller

KEYS = {"messages", "fills", "volume", "live", "fills_hash", "msgs_per_s"}


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Caller:
    return Caller(capsys)


def test_fnv_is_the_published_one() -> None:
    """From the authors' own test vectors, 64-bit FNV-1a."""
    for text, expected in ((b"", "cbf29ce484222325"), (b"a", "af63dc4c8601ec8c"), (b"foobar", "85944171f73967e8")):
        hashed = Fnv()
        hashed.update(text)
        assert hashed.hexdigest() == expected


def test_the_mix_is_as_described_and_nothing_is_rejected() -> None:
    stream = make_stream(40_000, seed=3, live_max=None)
    kinds = Counter(kind for *_, kind, _, _ in commands_of(stream))
    assert kinds[Kind.CANCEL] / 40_000 == pytest.approx(0.35, abs=0.01)
    assert kinds[Kind.LIMIT] + kinds[Kind.CANCEL] == 40_000
    book = exchange.book_for(bounds_of(stream))
    tally = exchange.tally_of(book, stream)
    assert tally.rejected == 0
    assert len(book) / 40_000 == pytest.approx(0.125, abs=0.02)  # so that a million leave 125,000
    assert make_stream(40_000, seed=3, live_max=None) == stream != make_stream(40_000, seed=4, live_max=None)


def test_a_shallow_book_stays_shallow() -> None:
    stream = make_stream(20_000, seed=3, live_max=300)
    assert exchange.tally_of(exchange.book_for(bounds_of(stream)), stream).rejected == 0
    assert 250 < exchange.peak_of(stream) - exchange.PEAK_STEP < 350


def test_a_deep_start_holds_its_depth() -> None:
    stream = make_stream(2_000, seed=5, live_max=700, resting=700)
    book = exchange.book_for(bounds_of(stream))
    assert exchange.tally_of(book, memoryview(stream)[: 700 * COMMAND.size]).fills == 0
    assert len(book) == 700
    exchange.tally_of(book, memoryview(stream)[700 * COMMAND.size :])
    assert len(book) == pytest.approx(700, abs=80)


@pytest.mark.parametrize("live_max", [None, 200])
def test_a_replay_says_what_the_reference_says(live_max: int | None) -> None:
    stream = make_stream(3_000, seed=11, live_max=live_max)
    found = exchange.replay(stream)
    book = exchange.book_for(bounds_of(stream), book=reference.OrderBook)
    tally = exchange.tally_of(book, stream)
    assert set(found) == KEYS
    assert (found["messages"], found["fills"], found["volume"]) == (3_000, tally.fills, tally.volume)
    assert (found["live"], found["fills_hash"]) == (len(book), tally.hash.hexdigest())
    assert found["msgs_per_s"] > 0


def test_the_hash_is_over_maker_taker_quantity_and_price() -> None:
    rows = [(5, 9, 10, 1, 0, 1, 0), (6, -3, 4, 2, 0, 1, 0), (7, 9, 11, 3, 0, 0, 0)]
    expected = Fnv()
    expected.update(struct.pack("<QQQq", 6, 7, 4, -3) + struct.pack("<QQQq", 5, 7, 7, 9))
    found = exchange.replay(matcher_c.pack_commands(rows))
    assert (found["fills"], found["volume"], found["live"]) == (2, 11, 1)
    assert found["fills_hash"] == expected.hexdigest()


def test_one_order_that_meets_more_than_the_buffer_holds() -> None:
    count = exchange.RESULTS_ROOM + 5
    rows = [(i, 1, 1, i + 1, 0, 1, 0) for i in range(count)] + [(count, 1, count, 2**32 - 1, 0, 0, 0)]
    found = exchange.replay(matcher_c.pack_commands(rows))
    assert (found["fills"], found["live"]) == (count, 0)


def test_crafted_ids_change_nothing_but_the_ids() -> None:
    stream = make_stream(4_000, seed=2, live_max=500)
    plain = exchange.replay(stream)
    for renamed in CRAFTED.values():
        other = with_ids(stream, renamed)
        assert len({row[0] for row in commands_of(other)}) == len({row[0] for row in commands_of(stream)})
        found = exchange.replay(other)
        assert [found[key] for key in ("fills", "volume", "live")] == [
            plain[key] for key in ("fills", "volume", "live")
        ]


def test_every_call_has_a_cost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange, "CALLS", 50)
    monkeypatch.setattr(exchange, "CALL_ROUNDS", 2)
    costs = exchange.one_by_one(seed=1, resting=20)
    assert set(costs) >= {"submit", "cancel", "best", "depth(5)", "an empty call into C"}
    assert all(0 < cost.low <= cost.median <= cost.high for cost in costs.values())
    assert list(exchange.cost_by_depth((10, 100), seed=1, messages=500, rounds=1)) == [10, 100]


@pytest.mark.parametrize("name", packages.PACKAGES)
def test_a_package_makes_the_same_fills(name: str, tmp_path: Path) -> None:
    if packages.installed(name) is None:
        pytest.skip(f"{name} comes with `make bench`")
    stream = make_stream(3_000, seed=6, live_max=400)
    (tmp_path / "stream").write_bytes(stream)
    found = packages.run_package(name, tmp_path / "stream")
    assert isinstance(found, dict), found
    assert found["messages"] == 3_000
    assert (found["fills"], found["fills_hash"]) == exchange.prefix_hash(stream, 3_000)


def test_a_package_that_is_not_there_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "installed", lambda name: None)
    assert packages.run_package("bourse", tmp_path / "stream") == "not installed; `make bench` installs it"


def test_a_file_on_the_command_line(call: Caller, tmp_path: Path) -> None:
    stream = make_stream(1_000, seed=1, live_max=None)
    (tmp_path / "s").write_bytes(stream)
    found = call("bench", "matcher", "--stream", str(tmp_path / "s"), "--json").json
    assert set(found) == KEYS
    crowded = call("bench", "matcher", "--stream", str(tmp_path / "s"), "--max-live", "20", "--json").json
    assert crowded["live"] <= 20 < found["live"]
    (tmp_path / "none").write_bytes(b"")
    assert call("bench", "matcher", "--stream", str(tmp_path / "none"), "--json").json["messages"] == 0


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"x" * 33, "give whole records of 32 bytes; 1 bytes are left over"),
        (matcher_c.pack_commands([(1, 0, 1, 1, 0, 0, 0), (2, 2**21, 1, 2, 0, 0, 0)]), "ticks more"),
        (None, "check that the file is there"),
    ],
)
def test_a_file_that_is_no_stream(call: Caller, tmp_path: Path, data: bytes | None, message: str) -> None:
    if data is not None:
        (tmp_path / "s").write_bytes(data)
    shown = call("bench", "matcher", "--stream", str(tmp_path / "s"), "--json")
    assert shown.status == 1
    assert message in json.loads(shown.out)["error"]["message"]
    assert message in shown.err


def test_options_that_do_not_go_together(call: Caller) -> None:
    assert call("bench", "matcher", "--max-live", "5").status == 2
    assert call("bench", "matcher", "--deep").status == 2
    assert call("bench", "clearing", "--shape", "one").status == 2
    assert call("bench", "clearing", "--orders", "10", "--largest", "10").status == 2
    assert call("bench", "clearing", "--orders", "0").status == 2


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole run in a second: short streams, few calls, one depth."""
    made = {"shallow": make_stream(1_500, seed=1, live_max=100), "deep": make_stream(1_500, seed=1, live_max=None)}
    depths = exchange.cost_by_depth
    monkeypatch.setattr(exchange, "streams", lambda seed, tell: made)
    monkeypatch.setattr(
        exchange, "cost_by_depth", lambda seed, tell: depths((10,), seed=seed, messages=300, rounds=2, tell=tell)
    )
    monkeypatch.setattr(exchange, "CALLS", 50)


def test_the_whole_run_as_tables_and_as_json(
    small: None, call: Caller, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(packages, "PACKAGES", {"bourse": packages.PACKAGES["bourse"]})
    shown = call("bench", "matcher", "--rounds", "2", "--keep", str(tmp_path))
    assert shown.status == 0
    for heading in ("commands a second", "Nanoseconds a command", "Nanoseconds a call", "Packages on PyPI"):
        assert heading in shown.out
    assert sorted(path.name for path in tmp_path.iterdir()) == ["deep.stream", "shallow.stream"]
    found = call("bench", "matcher", "--rounds", "2", "--json").json
    assert len(found["msgs_per_s"]) == 4 + len(CRAFTED)
    assert all(rate["min"] <= rate["median"] <= rate["max"] for rate in found["msgs_per_s"].values())
    assert list(found["ns_by_depth"]) == ["10"]
    if packages.installed("bourse") is not None:
        assert [row["same_fills"] for row in found["packages"]] == [True, True]


def test_a_package_with_other_fills_is_called_out(small: None, call: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    other = {"messages": 1_500, "seconds": 0.5, "fills": 3, "fills_hash": "0" * 16}
    monkeypatch.setattr(packages, "PACKAGES", {"bourse": packages.PACKAGES["bourse"]})
    monkeypatch.setattr(packages, "run_package", lambda name, file: other)
    found = call("bench", "matcher", "--rounds", "1", "--json").json
    assert [row["same_fills"] for row in found["packages"]] == [False, False]
    monkeypatch.setattr(packages, "run_package", lambda name, file: "did not come back")
    assert call("bench", "matcher", "--rounds", "1").out.count("did not come back") == 2


def test_a_stream_is_saved_and_replayed(call: Caller, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("energo_bench.stream.MESSAGES", 2_000)
    file = tmp_path / "s"
    assert call("bench", "matcher", "--save", str(file), "--deep", "--seed", "9").status == 0
    assert file.read_bytes() == make_stream(2_000, seed=9, live_max=None)
    assert call("bench", "matcher", "--save", str(tmp_path / "none" / "s")).status == 1
