"""Worked clearings: 42 of a prototype that was checked against a solver, ten of GridLAB-D's own market tests.

`settled` in the first file is the sharing of the gain, which comes later; `in` and `out` are compared whole.
"""

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

import matcher_c
from matcher_c import reference
from matcher_c.documents import clear_document

VECTORS = Path(__file__).resolve().parent.parent / "vectors"
CLEARINGS: list[dict[str, Any]] = json.loads((VECTORS / "clearing_vectors.json").read_text(encoding="utf-8"))
AUCTIONS: list[dict[str, Any]] = json.loads((VECTORS / "gridlabd_auction.json").read_text(encoding="utf-8"))["cases"]


def test_no_vector_is_missing() -> None:
    assert len(CLEARINGS) == 42
    assert len(AUCTIONS) == 10


@pytest.mark.parametrize("clear", [matcher_c.clear, reference.clear], ids=["c", "reference"])
@pytest.mark.parametrize("vector", CLEARINGS, ids=lambda vector: str(vector["name"]).replace(" ", "-"))
def test_worked_clearing(vector: dict[str, Any], clear: Any) -> None:
    assert clear_document(vector["in"], clear) == vector["out"]


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
