"""Decimal text to integers and back: exact, or refused in words."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.base import units
from ledger.base.errors import UnitError


@pytest.mark.parametrize(
    ("text", "value"),
    [("0.28", 28_000), ("0.00001", 1), ("-0.05", -5_000), ("0", 0), ("21474.83647", 2**31 - 1), ("0.300", 30_000)],
)
def test_a_price_per_kwh_is_whole_money_units_per_wh(text: str, value: int) -> None:
    assert units.parse_price(text) == value


@pytest.mark.parametrize("text", ["0.000001", "", ".", "1e3", "1,5", "٣", " 1", "nan", "--1", "21474.83648", "0x1"])
def test_what_is_no_price_is_refused(text: str) -> None:
    with pytest.raises(UnitError):
        units.parse_price(text)


def test_the_largest_amount_is_accepted_and_one_more_is_not() -> None:
    assert units.parse_money("92233720368.54775807") == 2**63 - 1
    with pytest.raises(UnitError, match="larger"):
        units.parse_money("92233720368.54775808")


@given(st.integers(-(2**63) + 1, 2**63 - 1))
def test_money_survives_the_way_to_text_and_back(value: int) -> None:
    assert units.parse_money(units.format_money(value)) == value


@given(st.integers(-(2**31) + 1, 2**31 - 1))
def test_prices_survive_the_way_to_text_and_back(value: int) -> None:
    assert units.parse_price(units.format_price(value)) == value


def test_ratios_have_four_places_and_none_over_zero() -> None:
    assert units.format_ratio(1, 3) == "0.3333"
    assert units.format_ratio(-1, 3) == "-0.3334"
    assert units.format_ratio(1, 0) is None
