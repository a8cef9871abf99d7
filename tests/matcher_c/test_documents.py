"""A clearing's JSON: decimals without floats, errors that name what is wrong, settling where it is asked for."""

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import matcher_c
from matcher_c import reference
from matcher_c.documents import clear_document
from matcher_c.fields import decimal_to_units, units_to_decimal
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
    assert clear_document(GOOD, matcher_c.clear_arrays) == {
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
    }
    result = clear_document(document, matcher_c.clear_arrays)
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
    assert clear_document(document, matcher_c.clear_arrays)["traded"] == {"sx": 10, "sy": 0, "b": 10}
    document["buses"][1]["rank"] = 5
    assert clear_document(document, matcher_c.clear_arrays)["traded"] == {"sx": 0, "sy": 10, "b": 10}


def changed(path: tuple[str | int, ...], value: object) -> Any:
    document = deepcopy(GOOD)
    at: Any = document
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = value
    return document


@pytest.mark.parametrize("clear_arrays", [matcher_c.clear_arrays, reference.clear_arrays], ids=["c", "reference"])
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
def test_a_bad_document_is_refused_whole(document: object, expected: str, clear_arrays: Callable[..., Any]) -> None:
    with pytest.raises(matcher_c.MatcherRefused, match=expected):
        clear_document(document, clear_arrays)


def test_an_order_without_quantity_is_not_the_grid_by_accident() -> None:
    document = deepcopy(GOOD)
    del document["orders"][1]["quantity_wh"]
    with pytest.raises(matcher_c.DocumentRefused, match="order 'b': give \"quantity_wh\" in Wh, or null"):
        clear_document(document, matcher_c.clear_arrays)


def test_feed_in_above_retail_is_refused() -> None:
    orders = [
        {"id": "feed", "bus": "root", "side": "buy", "price": "0.31", "quantity_wh": None},
        {"id": "retail", "bus": "root", "side": "sell", "price": "0.30", "quantity_wh": None},
    ]
    with pytest.raises(matcher_c.OrderRefused, match="order 'retail': lower the grid's feed-in price"):
        clear_document(changed(("orders",), orders), matcher_c.clear_arrays)


# ---- settling ----

SLOT: dict[str, Any] = {
    "buses": [{"id": "root"}, {"id": "f1", "parent": "root", "fee": "0.02"}],
    "orders": [
        {"id": "roof", "bus": "f1", "side": "sell", "price": "0.06", "quantity_wh": 10000},
        {"id": "flat", "bus": "f1", "side": "buy", "price": "0.32", "quantity_wh": 1000},
        {"id": "low", "bus": "f1", "side": "buy", "price": "0.05", "quantity_wh": 500},
        {"id": "grid buys", "bus": "root", "side": "buy", "price": "0.08", "quantity_wh": None},
        {"id": "grid sells", "bus": "root", "side": "sell", "price": "0.30", "quantity_wh": None},
    ],
    "sharing": "1.0",
}


def slot(**changes: object) -> dict[str, Any]:
    document = deepcopy(SLOT)
    document.update(changes)
    return {key: value for key, value in document.items() if value is not None}


def test_the_grid_and_the_fees_on_the_way_give_the_outside_options() -> None:
    result = clear_document(SLOT, matcher_c.clear_arrays)
    # outside: the roof 0.08 - 0.02, the flats 0.30 + 0.02; the price at f1 is 0.06, so the flat gains 0.26 and gives half
    assert result["prices"] == {"root": "0.08000", "f1": "0.06000"}
    assert result["shared"] == {"roof": "0.13000000", "flat": "-0.13000000", "low": "0.00000000"}
    assert result["net"] == {"roof": "0.73000000", "flat": "-0.19000000", "low": "-0.16000000"}
    # the grid: 9 kWh bought at 0.08, half a kWh sold at 0.30; the operator: the fee on both
    assert (result["grid_net"], result["operator_net"]) == ("-0.57000000", "0.19000000")
    assert (result["gain_buyers"], result["gain_sellers"]) == ("0.26000000", "0.00000000")
    assert (result["rounds"], result["dropped"]) == (1, [])
    assert result["attribution"] == {
        "roof": {"local_wh": 1000, "grid_wh": 9000},
        "flat": {"local_wh": 1000, "grid_wh": 0},
        "low": {"local_wh": 0, "grid_wh": 500},
    }


def test_an_order_that_sharing_would_take_past_its_limit_is_named() -> None:
    document = slot()
    document["orders"][1]["price"] = "0.12"
    result = clear_document(document, matcher_c.clear_arrays)
    assert (result["rounds"], result["dropped"]) == (2, ["flat"])
    assert result["net"]["flat"] == "-0.32000000"  # type: ignore[index]


def test_an_outside_option_of_ones_own_goes_before_the_grids_and_bounds_the_limit() -> None:
    document = slot(sharing="0")
    document["orders"][2] |= {"price": "9", "outside": "0.07"}
    result = clear_document(document, matcher_c.clear_arrays)
    assert result["traded"]["low"] == 500  # type: ignore[index]
    assert result["objective"] == "0.26500000", "its 0.07 counts, not its 9.00"


@pytest.mark.parametrize(
    ("pricing", "net", "operator"),
    [
        ("uniform", {"a": "0.22000000", "b": "-0.11000000", "c": "-0.11000000"}, "0.00000000"),
        ("pay-as-bid", {"a": "0.16000000", "b": "-0.30000000", "c": "-0.14000000"}, "0.28000000"),
        ("midpoint", {"a": "0.30000000", "b": "-0.19000000", "c": "-0.11000000"}, "0.00000000"),
    ],
)
def test_three_rules_of_pricing(pricing: str, net: dict[str, str], operator: str) -> None:
    orders = [
        {"id": "a", "bus": "root", "side": "sell", "price": "0.08", "quantity_wh": 2000, "outside": "0.05"},
        {"id": "b", "bus": "root", "side": "buy", "price": "0.30", "quantity_wh": 1000, "outside": "0.30"},
        {"id": "c", "bus": "root", "side": "buy", "price": "0.14", "quantity_wh": 1000, "outside": "0.30"},
    ]
    document = {"buses": [{"id": "root"}], "orders": orders, "pricing": pricing}
    result = clear_document(document, matcher_c.clear_arrays)
    assert (result["net"], result["operator_net"]) == (net, operator)
    assert result["traded"] == {"a": 2000, "b": 1000, "c": 1000}


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        (slot(sharing=1), "sharing: write it as a decimal string"),
        (slot(sharing=True), "sharing: write it as a decimal string"),
        (slot(sharing="0.00001"), "sharing: give at most 4 decimals"),
        (slot(sharing="1.0001"), 'sharing: give a decimal from "0" to "1"'),
        (slot(sharing="-0.5"), 'sharing: give a decimal from "0" to "1"'),
        (slot(pricing="vickrey"), 'give "pricing" as one of uniform, pay-as-bid, midpoint'),
        (slot(pricing=["uniform"]), 'give "pricing" as one of uniform, pay-as-bid, midpoint'),
        (slot(pricing="midpoint"), 'sharing: leave it out, or set it to "0"; midpoint prices share in their own way'),
        (slot(pricing="midpoint", sharing=None), "use uniform prices on a network of 2 buses; midpoint is for one bus"),
        (slot(orders=SLOT["orders"][:4]), "order 'flat': give \"outside\", .* no public grid sells to it"),
        (slot(orders=SLOT["orders"][:3] + SLOT["orders"][4:]), "order 'roof': give \"outside\".* buys from it"),
        (slot(orders=[SLOT["orders"][0] | {"quantity_wh": 2**32}, *SLOT["orders"][3:]]), "order 'roof': give a quantity"),
        (slot(buses=[{"id": "root"}, SLOT["buses"][1] | {"fee": "-1"}]), "bus 'f1': give a fee from 0"),
    ],
)  # fmt: skip
def test_what_cannot_be_settled_is_refused(document: object, expected: str) -> None:
    with pytest.raises(matcher_c.MatcherRefused, match=expected):
        clear_document(document, matcher_c.clear_arrays)
