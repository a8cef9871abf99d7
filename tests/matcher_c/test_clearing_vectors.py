"""Worked clearings: 42 of a prototype that was checked against a solver, ten of GridLAB-D's own market tests.

`in`, `out` and `settled` are compared whole. The prototype's settling gave what a group of equal orders trades to the first of
them, not to all pro rata as its own clearings do; in two of the 42 that can be seen. So each `settled` is held to the letter
with a clearing that does the same, and with the real one for all orders but those of these two groups.
"""

import json
from array import array
from decimal import Decimal
from pathlib import Path
from typing import Any, cast

import pytest

import matcher_c
from matcher_c import reference
from matcher_c.documents import clear_document

VECTORS = Path(__file__).resolve().parent.parent / "vectors"
CLEARINGS: list[dict[str, Any]] = json.loads((VECTORS / "clearing_vectors.json").read_text(encoding="utf-8"))
AUCTIONS: list[dict[str, Any]] = json.loads((VECTORS / "gridlabd_auction.json").read_text(encoding="utf-8"))["cases"]

BOTH = pytest.mark.parametrize("clear_arrays", [matcher_c.clear_arrays, reference.clear_arrays], ids=["c", "reference"])


def test_no_vector_is_missing() -> None:
    assert len(CLEARINGS) == 42
    assert len(AUCTIONS) == 10


@BOTH
@pytest.mark.parametrize("vector", CLEARINGS, ids=lambda vector: str(vector["name"]).replace(" ", "-"))
def test_worked_clearing(vector: dict[str, Any], clear_arrays: Any) -> None:
    assert clear_document(vector["in"], clear_arrays) == vector["out"]


SETTLED_KEYS = ("net", "rounds", "gain_buyers", "gain_sellers")
TIED = {  # vector: its equal orders that trade in part
    "random 9": ("o8", "o10"),
    "three equal sellers share two buyers' strict demand pro rata": ("o0", "o1", "o2"),
}


def settling_document(vector: dict[str, Any]) -> dict[str, Any]:
    settled = vector["settled"]
    orders = [
        order
        if order["quantity_wh"] is None
        else order | {"price": settled["limits"][order["id"]], "outside": settled["outside"][order["id"]]}
        for order in vector["in"]["orders"]
    ]
    return {"buses": vector["in"]["buses"], "orders": orders, "sharing": settled["sharing"]}


def first_come(*columns: Any) -> tuple[Any, Any, Any]:
    """A clearing in which the first orders of a group trade before the others of it."""
    traded, prices, flows = matcher_c.clear_arrays(*columns)
    bus, side, limit, quantity = (list(column) for column in columns[4:8])
    groups: dict[tuple[int, ...], list[int]] = {}
    for i in range(len(bus)):
        groups.setdefault((bus[i], side[i], limit[i], quantity[i] == -1), []).append(i)
    filled = array("q", traded)
    for orders in groups.values():
        left = sum(traded[i] for i in orders)
        for i in orders:
            filled[i] = left if quantity[i] == -1 else min(left, quantity[i])
            left -= filled[i]
    return filled, prices, flows


@pytest.mark.parametrize("vector", CLEARINGS, ids=lambda vector: str(vector["name"]).replace(" ", "-"))
def test_worked_settling(vector: dict[str, Any]) -> None:
    result = clear_document(settling_document(vector), cast(Any, first_come))
    assert {key: result[key] for key in SETTLED_KEYS} == {key: vector["settled"][key] for key in SETTLED_KEYS}
    if result["rounds"] == 1:
        assert result["prices"] == vector["out"]["prices"]


@BOTH
@pytest.mark.parametrize("vector", CLEARINGS, ids=lambda vector: str(vector["name"]).replace(" ", "-"))
def test_worked_settling_pro_rata(vector: dict[str, Any], clear_arrays: Any) -> None:
    result: dict[str, Any] = clear_document(settling_document(vector), clear_arrays)
    tied = TIED.get(vector["name"], ())
    expected = vector["settled"]["net"]
    assert [key for key in expected if result["net"][key] != expected[key] and key not in tied] == []
    assert sum(Decimal(result["net"][key]) for key in tied) == sum(Decimal(expected[key]) for key in tied)
    for key in SETTLED_KEYS[1:]:
        assert result[key] == vector["settled"][key]
    if result["rounds"] == 1:
        assert {key: result[key] for key in vector["out"]} == vector["out"]


@pytest.mark.parametrize("case", AUCTIONS, ids=lambda case: str(case["name"]))
def test_gridlabd_auction(case: dict[str, Any]) -> None:
    """One bus is the textbook double auction. GridLAB-D nudges one price off the midpoint; its file says which."""
    scale = 10**4
    outcome = matcher_c.clear_arrays(
        [-1],
        [0],
        [-1],
        [-1],
        [0] * len(case["bids"]),
        [0 if side == "buy" else 1 for _, side, _, _ in case["bids"]],
        [int(Decimal(price) * scale) for _, _, price, _ in case["bids"]],
        [int(quantity) for *_, quantity in case["bids"]],
    )
    traded, price, _ = outcome
    sold = sum(energy for energy, bid in zip(traded, case["bids"], strict=True) if bid[1] == "sell")
    assert sold == int(case["expected"]["quantity"])
    expected = case["expected"]["price"] if case["same_price"] else case["clearing_md"]["floor_midpoint"]
    assert price[0] == int(Decimal(str(expected)) * scale)
