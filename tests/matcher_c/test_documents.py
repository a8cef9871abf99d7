"""The matchers' JSON: decimals without floats, errors that name what is wrong, streams line by line."""

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import matcher_c
from matcher_c import reference
from matcher_c.documents import (
    band_around_zero,
    clear_document,
    decimal_to_units,
    match_operations,
    operation_of,
    units_to_decimal,
)
from tests.matcher_c.instances import fixed

GOOD: dict[str, Any] = {
    "buses": [
        {"id": "root"},
        {"id": "f1", "parent": "root", "fee": "0.02", "capacity_up_wh": 5000, "capacity_down_wh": None},
    ],
    "orders": [
        {"id": "a", "bus": "f1", "side": "sell", "price": "0.08", "quantity_wh": 1500},
        {"id": "b", "bus": "root", "side": "buy", "price": "0.12", "quantity_wh": 1500},
    ],
}


@fixed
@given(st.integers(-(2**70), 2**70), st.integers(1, 8))
def test_decimals_there_and_back(value: int, decimals: int) -> None:
    assert decimal_to_units(units_to_decimal(value, decimals), decimals) == value


@pytest.mark.parametrize(
    ("text", "units"), [("0", 0), ("-0", 0), ("0.28", 28000), ("-21474.83647", -(2**31) + 1), ("007.5", 750000)]
)
def test_decimals_that_are_read(text: str, units: int) -> None:
    assert decimal_to_units(text, 5) == units


@pytest.mark.parametrize(
    "text",
    ["", "-", ".5", "5.", "+1", "1e3", "0x1", " 1", "1 ", "1_0", "--1", "1.2.3", "NaN", "٣", "0.123456", "1" * 41,
     0.28, 1, None, True, [], "1\n"],
)  # fmt: skip
def test_decimals_that_are_refused(text: object) -> None:
    with pytest.raises(matcher_c.DocumentRefused) as caught:
        decimal_to_units(text, 5)
    assert "\n" not in str(caught.value)


def test_the_example() -> None:
    assert clear_document(GOOD, matcher_c.clear) == {
        "traded": {"a": 1500, "b": 1500},
        "prices": {"root": "0.11000", "f1": "0.09000"},
        "flows": {"f1": 1500},
        "payments": {"a": "0.13500000", "b": "-0.16500000"},
        "operator": "0.03000000",
        "objective": "0.03000000",
    }


def test_buses_in_any_order() -> None:
    document = {
        "buses": [{"id": "home", "parent": "f1", "fee": "0.01"}, {"id": "f1", "parent": "root"}, {"id": "root"}],
        "orders": [
            {"id": "s", "bus": "home", "side": "sell", "price": "0.05", "quantity_wh": 10},
            {"id": "g", "bus": "root", "side": "buy", "price": "0.08", "quantity_wh": None, "outside": "0.08"},
        ],
        "sharing": "0.00",
    }
    result = clear_document(document, matcher_c.clear)
    assert result["prices"] == {"home": "0.07000", "f1": "0.08000", "root": "0.08000"}
    assert result["flows"] == {"home": 10, "f1": 10}


def test_ranks_come_from_the_list_or_from_the_bus() -> None:
    document: dict[str, Any] = {
        "buses": [{"id": "root"}, {"id": "x", "parent": "root"}, {"id": "y", "parent": "root"}],
        "orders": [
            {"id": "sx", "bus": "x", "side": "sell", "price": "0.05", "quantity_wh": 10},
            {"id": "sy", "bus": "y", "side": "sell", "price": "0.05", "quantity_wh": 10},
            {"id": "b", "bus": "root", "side": "buy", "price": "0.08", "quantity_wh": 10},
        ],
    }
    assert clear_document(document, matcher_c.clear)["traded"] == {"sx": 10, "sy": 0, "b": 10}
    document["buses"][1]["rank"] = 5
    assert clear_document(document, matcher_c.clear)["traded"] == {"sx": 0, "sy": 10, "b": 10}


def changed(path: tuple[str | int, ...], value: object) -> Any:
    document = deepcopy(GOOD)
    at: Any = document
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = value
    return document


@pytest.mark.parametrize("clear", [matcher_c.clear, reference.clear], ids=["c", "reference"])
@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ([], "the document: make it an object"),
        ({}, 'give "buses" as a list'),
        (changed(("orders",), {}), 'give "orders" as a list'),
        (changed(("order",), []), "the document: take out the unknown key 'order'"),
        (changed(("buses", 0), "root"), "bus 0 of the list: make it an object"),
        (changed(("buses", 0, "id"), 7), 'bus 0 of the list: give "id" as a string'),
        (changed(("buses", 1, "capacity_wh"), 7), "bus 'f1': take out the unknown key 'capacity_wh'"),
        (changed(("buses", 1, "fee"), 0.02), "bus 'f1': fee: write it as a decimal string"),
        (changed(("buses", 1, "fee"), "-0.02"), "bus 'f1': give a fee from 0"),
        (changed(("buses", 1, "capacity_up_wh"), -1), "bus 'f1': give a capacity of 0 Wh or more"),
        (changed(("buses", 1, "capacity_up_wh"), True), "bus 'f1': give \"capacity_up_wh\" as a whole number"),
        (changed(("buses", 1, "parent"), "f9"), "bus 'f1': give a parent that is a bus, not 'f9'"),
        (changed(("buses", 1, "parent"), None), "exactly one bus without a parent, the root, not 2"),
        (changed(("buses", 1, "parent"), "f1"), "bus 'f1': lead its parents to the root"),
        (changed(("buses", 1, "id"), "root"), "bus 'root': give each bus an id of its own"),
        (changed(("buses",), []), "exactly one bus without a parent, the root, not 0"),
        (changed(("orders", 0, "bus"), "nowhere"), "order 'a': place it at a bus of the network, not at 'nowhere'"),
        (changed(("orders", 0, "side"), "sells"), "order 'a': give \"side\" as"),
        (changed(("orders", 0, "side"), []), "order 'a': give \"side\" as"),
        (changed(("orders", 0, "price"), "0.123456"), "order 'a': price: give at most 5 decimals"),
        (changed(("orders", 0, "price"), "21474.83648"), "order 'a': price: give a decimal between"),
        (changed(("orders", 0, "quantity_wh"), 0), "order 'a': give a quantity from 1"),
        (changed(("orders", 0, "quantity_wh"), -1), "order 'a': give a quantity from 1"),
        (changed(("orders", 0, "quantity_wh"), 2**32), "order 'a': give a quantity from 1"),
        (changed(("orders", 0, "quantity_wh"), 1.5), "order 'a': give \"quantity_wh\" as a whole number"),
        (changed(("orders", 0, "quantity_wh"), None), "order 'a': .* only the public grid, at the root"),
        (changed(("orders", 1, "id"), "a"), "order 'a': give each order an id of its own"),
        (changed(("orders", 1, "outside"), "x"), "order 'b': outside: write it"),
    ],
)  # fmt: skip
def test_a_bad_document_is_refused_whole(document: object, expected: str, clear: Callable[..., Any]) -> None:
    with pytest.raises(matcher_c.MatcherRefused, match=expected):
        clear_document(document, clear)


def test_an_order_without_quantity_is_not_the_grid_by_accident() -> None:
    document = deepcopy(GOOD)
    del document["orders"][1]["quantity_wh"]
    with pytest.raises(matcher_c.DocumentRefused, match="order 'b': give \"quantity_wh\" in Wh, or null"):
        clear_document(document, matcher_c.clear)


def test_feed_in_above_retail_is_refused() -> None:
    orders = [
        {"id": "feed", "bus": "root", "side": "buy", "price": "0.31", "quantity_wh": None},
        {"id": "retail", "bus": "root", "side": "sell", "price": "0.30", "quantity_wh": None},
    ]
    with pytest.raises(matcher_c.OrderRefused, match="order 'retail': lower the grid's feed-in price"):
        clear_document(changed(("orders",), orders), matcher_c.clear)


@pytest.mark.parametrize("sharing", ["1.0", "0.5", 1, True, None])
def test_sharing_comes_later(sharing: object) -> None:
    with pytest.raises(matcher_c.NotYet, match="not yet"):
        clear_document(changed(("sharing",), sharing), matcher_c.clear)


@pytest.mark.parametrize("sharing", ["0", "0.0", 0])
def test_no_sharing_may_be_said(sharing: object) -> None:
    assert clear_document(changed(("sharing",), sharing), matcher_c.clear) == clear_document(GOOD, matcher_c.clear)


# ---- streams ----


def limit(order_id: int, side: str, price: str, quantity: int, owner: int = 1) -> dict[str, object]:
    return {"op": "limit", "id": order_id, "owner": owner, "side": side, "price": price, "quantity_wh": quantity}


@pytest.mark.parametrize("make", [matcher_c.OrderBook, reference.OrderBook], ids=["c", "reference"])
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
        limit(6, "sell", "0.20", 10) | {"tif": "ioc"},
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
        {"rejected": {"id": 6, "code": "not_yet"}},
        {"rejected": {"id": 1, "code": "not_yet"}},
        {"fill": {"maker": 1, "taker": 7, "price": "0.16000", "quantity_wh": 20000}},
        {"canceled": {"id": 7, "quantity_wh": 10000}},
        {"rejected": {"id": 1, "code": "unknown_id"}},
        {"rest": {"id": 8, "quantity_wh": 10}},
        {"canceled": {"id": 8, "quantity_wh": 10}},
    ]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ([], "line 3: make it an object"),
        ({"op": "buy"}, 'line 3: give "op" as one of limit, market, cancel, reduce, replace'),
        ({"op": []}, 'line 3: give "op"'),
        ({"op": "cancel"}, 'line 3: give "id" as a whole number'),
        ({"op": "cancel", "id": -1}, 'line 3: give "id" from 0 to 18446744073709551615'),
        ({"op": "cancel", "id": 1, "why": 2}, "line 3: take out the unknown key 'why'"),
        (limit(1, "buy", "0.1", 1, owner=2**32), 'line 3: give "owner" from 0 to 4294967295'),
        (limit(1, "up", "0.1", 1), 'line 3: give "side"'),
        (limit(1, "buy", "x", 1), "line 3: price: write it as a decimal string"),
        (limit(1, "buy", "0.1", 1) | {"quantity_wh": "1"}, 'line 3: give "quantity_wh" as a whole number'),
        (limit(1, "buy", "0.1", 1) | {"tif": "day"}, 'line 3: give "tif" as "gtc"'),
        (limit(1, "buy", "0.1", 1) | {"tif": []}, 'line 3: give "tif" as "gtc"'),
        ({"op": "market", "id": 1, "side": "buy", "quantity_wh": 1}, 'line 3: give "owner" as a whole number'),
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
