"""An order stream's JSON, line by line: every kind of command, what comes back, and errors that name the line."""

from typing import Any

import pytest

import matcher_c
from matcher_c import reference
from matcher_c.streams import band_around_zero, match_operations, operation_of

BOTH = pytest.mark.parametrize("make", [matcher_c.OrderBook, reference.OrderBook], ids=["c", "reference"])


def limit(order_id: int, side: str, price: str, quantity: int, owner: int = 1) -> dict[str, object]:
    return {"op": "limit", "id": order_id, "owner": owner, "side": side, "price": price, "quantity_wh": quantity}


@BOTH
def test_a_stream(make: type[matcher_c.Book]) -> None:
    book = make(capacity=9, tick=1000, lowest=-100_000, highest=100_000)
    lines: list[dict[str, object]] = [
        limit(1, "buy", "0.16", 25000, owner=7) | {"tif": "gtc"},
        limit(2, "sell", "0.15", 5000, owner=8),
        limit(1, "sell", "0.20", 5000, owner=8),
        limit(3, "sell", "0.155", 5000),
        limit(4, "sell", "0.123456", 5000),
        limit(5, "sell", "1.01", 5000),
        limit(6, "sell", "0.20", 0),
        limit(6, "sell", "0.123456", -1),
        {"op": "reduce", "id": 1, "quantity_wh": 5000},
        {"op": "market", "id": 7, "owner": 9, "side": "sell", "quantity_wh": 30000},
        {"op": "cancel", "id": 1},
        limit(8, "sell", "-0.20", 10),
        {"op": "cancel", "id": 8},
    ]
    assert list(match_operations([operation_of(line, i) for i, line in enumerate(lines)], book)) == [
        {"rest": {"id": 1, "quantity_wh": 25000}},
        {"fill": {"maker": 1, "taker": 2, "price": "0.16000", "quantity_wh": 5000}},
        {"rejected": {"id": 1, "code": "duplicate_id"}},
        {"rejected": {"id": 3, "code": "price_off_tick"}},
        {"rejected": {"id": 4, "code": "price_off_tick"}},
        {"rejected": {"id": 5, "code": "price_outside_band"}},
        {"rejected": {"id": 6, "code": "bad_quantity"}},
        {"rejected": {"id": 6, "code": "bad_quantity"}},
        {"canceled": {"id": 1, "quantity_wh": 5000, "reason": "reduced"}},
        {"fill": {"maker": 1, "taker": 7, "price": "0.16000", "quantity_wh": 15000}},
        {"canceled": {"id": 7, "quantity_wh": 15000, "reason": "unmatched"}},
        {"rejected": {"id": 1, "code": "unknown_id"}},
        {"rest": {"id": 8, "quantity_wh": 10}},
        {"canceled": {"id": 8, "quantity_wh": 10, "reason": "asked"}},
    ]


def run(book: matcher_c.Book, *lines: dict[str, Any]) -> list[dict[str, object]]:
    return list(match_operations([operation_of(line, i) for i, line in enumerate(lines)], book))


@BOTH
def test_orders_without_an_owner_trade_with_each_other(make: type[matcher_c.Book]) -> None:
    book = make(capacity=9, tick=1000, lowest=-100_000, highest=100_000)
    anonymous = {"op": "limit", "price": "0.10", "quantity_wh": 5}
    assert run(book, anonymous | {"id": 1, "side": "buy"}, anonymous | {"id": 2, "side": "sell"}) == [
        {"rest": {"id": 1, "quantity_wh": 5}},
        {"fill": {"maker": 1, "taker": 2, "price": "0.10000", "quantity_wh": 5}},
    ]


@BOTH
def test_time_in_force(make: type[matcher_c.Book]) -> None:
    book = make(capacity=9, tick=1000, lowest=-100_000, highest=100_000)
    run(book, limit(1, "sell", "0.20", 100), limit(2, "sell", "0.21", 100))
    assert run(
        book,
        limit(3, "buy", "0.20", 150, owner=2) | {"tif": "fok"},
        limit(4, "buy", "0.20", 10, owner=2) | {"tif": "post-only"},
        limit(5, "buy", "0.20", 150, owner=2) | {"tif": "ioc"},
        limit(6, "buy", "0.20", 10, owner=2) | {"tif": "post-only"},
        limit(7, "buy", "0.21", 100, owner=2) | {"tif": "fok"},
        limit(8, "buy", "0.21", 1, owner=2) | {"tif": "ioc", "lifetime": 3},
    ) == [
        {"rejected": {"id": 3, "code": "not_fillable"}},
        {"rejected": {"id": 4, "code": "would_trade"}},
        {"fill": {"maker": 1, "taker": 5, "price": "0.20000", "quantity_wh": 100}},
        {"canceled": {"id": 5, "quantity_wh": 50, "reason": "unmatched"}},
        {"rest": {"id": 6, "quantity_wh": 10}},
        {"fill": {"maker": 2, "taker": 7, "price": "0.21000", "quantity_wh": 100}},
        {"rejected": {"id": 8, "code": "bad_flags"}},
    ]


@BOTH
def test_lifetimes_end_at_their_height_and_a_replacement_begins_anew(make: type[matcher_c.Book]) -> None:
    book = make(capacity=9, tick=1000, lowest=-100_000, highest=100_000)
    assert run(
        book,
        {"op": "height", "height": 10},
        limit(1, "sell", "0.20", 100) | {"lifetime": 5},
        limit(2, "buy", "0.10", 50, owner=2) | {"lifetime": 2, "tif": "post-only"},
        {"op": "height", "height": 12},
        {"op": "replace", "id": 1, "price": "0.15", "quantity_wh": 60, "lifetime": 9, "owner": 77, "side": "buy"},
        {"op": "height", "height": 15},
        {"op": "replace", "id": 1, "price": "0.123456", "quantity_wh": 60},
        {"op": "height", "height": 21},
        {"op": "height", "height": 20},
        {"op": "height", "height": 2**70},
    ) == [
        {"rest": {"id": 1, "quantity_wh": 100}},
        {"rest": {"id": 2, "quantity_wh": 50}},
        {"canceled": {"id": 2, "quantity_wh": 50, "reason": "expired"}},
        {"canceled": {"id": 1, "quantity_wh": 100, "reason": "replaced"}},
        {"rest": {"id": 1, "quantity_wh": 60}},
        {"rejected": {"id": 1, "code": "price_off_tick"}},
        {"canceled": {"id": 1, "quantity_wh": 60, "reason": "expired"}},
        {"rejected": {"id": 0, "code": "bad_height"}},
        {"rejected": {"id": 0, "code": "bad_height"}},
    ]


@BOTH
def test_ones_own_order_is_canceled_with_its_reason(make: type[matcher_c.Book]) -> None:
    book = make(capacity=9, tick=1000, lowest=-100_000, highest=100_000)
    assert run(book, limit(1, "sell", "0.20", 100), limit(2, "buy", "0.20", 100))[1:] == [
        {"canceled": {"id": 1, "quantity_wh": 100, "reason": "self_trade"}},
        {"rest": {"id": 2, "quantity_wh": 100}},
    ]


@BOTH
@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"price": "0.1234561"}, "price_off_tick"),
        ({"price": "-0.1234561"}, "price_off_tick"),
        ({"price": "0.1200000"}, "rest"),
        ({"price": "-0.999999"}, "price_off_tick"),
        ({"price": "-1.000001"}, "price_outside_band"),
        ({"price": "1.000001"}, "price_outside_band"),
        ({"price": "99999999999.000001"}, "price_outside_band"),
        ({"price": "0.000001", "quantity_wh": 2**70}, "bad_quantity"),
        ({"price": "0.000001", "lifetime": 2**16}, "bad_flags"),
        ({"price": "0.000001", "lifetime": 1, "tif": "fok"}, "bad_flags"),
        ({"lifetime": -1}, "bad_flags"),
        ({"quantity_wh": -(2**80)}, "bad_quantity"),
        ({"price": "99999999999"}, "price_outside_band"),
    ],
)
def test_numbers_that_no_book_can_take(make: type[matcher_c.Book], changes: dict[str, Any], code: str) -> None:
    book = make(capacity=9, tick=1000, lowest=-100_000, highest=100_000)
    (result,) = run(book, limit(1, "buy", "0.10", 5) | changes)
    assert code == "rest" in result or result == {"rejected": {"id": 1, "code": code}}
    assert len(book) == (code == "rest")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ([], "line 3: make it an object"),
        ({"op": "buy"}, 'line 3: give "op" as one of limit, market, cancel, reduce, replace, height'),
        ({"op": []}, 'line 3: give "op"'),
        ({"op": "cancel"}, 'line 3: give "id" as a whole number'),
        ({"op": "cancel", "id": -1}, 'line 3: give "id" from 0 to 18446744073709551615'),
        ({"op": "cancel", "id": 1, "why": 2}, "line 3: take out the unknown key 'why'"),
        (limit(1, "buy", "0.1", 1, owner=2**32), 'line 3: give "owner" from 0 to 4294967295'),
        (limit(1, "up", "0.1", 1), 'line 3: give "side"'),
        (limit(1, "buy", "x", 1), "line 3: price: write it as a decimal string"),
        (limit(1, "buy", "0.1", 1) | {"quantity_wh": "1"}, 'line 3: give "quantity_wh" as a whole number'),
        (limit(1, "buy", "0.1", 1) | {"tif": "day"}, 'line 3: give "tif" as one of gtc, ioc, fok, post-only'),
        (limit(1, "buy", "0.1", 1) | {"tif": []}, 'line 3: give "tif" as one of gtc, ioc, fok, post-only'),
        ({"op": "height", "id": 1}, 'line 3: give "height" as a whole number'),
        ({"op": "reduce", "id": 1}, 'line 3: give "quantity_wh" as a whole number'),
        ({"op": "replace", "id": 1, "quantity_wh": 1}, "line 3: price: write it as a decimal string"),
        (limit(1, "buy", "0.1", 1) | {"lifetime": "3"}, 'line 3: give "lifetime" as a whole number'),
        ({"op": "market", "id": 1, "owner": "me", "side": "buy", "quantity_wh": 1}, 'line 3: give "owner" as a whole'),
    ],
)
def test_a_line_that_is_no_order_is_named(value: object, expected: str) -> None:
    with pytest.raises(matcher_c.DocumentRefused, match=expected):
        operation_of(value, 3)


@pytest.mark.parametrize("tick", [1, 7, 1000, 2**31 - 1])
def test_the_band_of_a_stream_that_names_none(tick: int) -> None:
    lowest, highest = band_around_zero(tick)
    matcher_c.OrderBook(capacity=1, tick=tick, lowest=lowest, highest=highest)
    assert lowest == -highest
