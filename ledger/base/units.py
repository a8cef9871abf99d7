"""Units of energy and money, and the only place where decimal text becomes integers and back.

Energy is in Wh. One money unit is 10^-8 of the currency. A price is money units per Wh, so that
quantity x price is exact; 0.00001 of the currency per kWh is the finest price. No floats anywhere.
"""

from __future__ import annotations

from .errors import UnitError
from .limits import AMOUNT_MAX, PRICE_MAX

Wh = int
Money = int
Price = int
Millis = int

MONEY_DECIMALS = 8
MONEY_UNIT: Money = 10**MONEY_DECIMALS
PRICE_DECIMALS = 5
PRICE_UNIT: Price = 10**PRICE_DECIMALS  # money units per Wh that are 1.00 currency per kWh
SHARE_DECIMALS = 4
SHARE_UNIT = 10**SHARE_DECIMALS  # a fraction of 1 in ten-thousandths
SHARES_TOTAL = 10_000  # shares of one generator
SLOT_PROFILE_S = 900  # a slot always stands for 15 minutes of the profile


def _parse(text: str, decimals: int, what: str) -> int:
    """Decimal text as an integer of 10^-decimals. Raises `UnitError` for anything that is not exactly that."""
    body = text[1:] if text[:1] == "-" else text
    whole, dot, fraction = body.partition(".")
    digits_ok = whole.isascii() and whole.isdigit() and (not dot or (fraction.isascii() and fraction.isdigit()))
    if not digits_ok or len(whole) > 12:
        raise UnitError(f"{what} {text!r} is not a decimal number such as 0.28")
    if len(fraction.rstrip("0")) > decimals:
        raise UnitError(f"{what} {text!r} has more than {decimals} decimals; the finest step is 10^-{decimals}")
    value: int = int(whole) * 10**decimals + int((fraction + "0" * decimals)[:decimals])
    return -value if text[:1] == "-" else value


def _format(value: int, decimals: int) -> str:
    sign = "-" if value < 0 else ""
    whole, fraction = divmod(abs(value), 10**decimals)
    return f"{sign}{whole}.{fraction:0{decimals}d}"


def parse_money(text: str) -> Money:
    """`"101.5"` of the currency as money units. Raises `UnitError`."""
    value = _parse(text, MONEY_DECIMALS, "amount")
    if abs(value) > AMOUNT_MAX:
        raise UnitError(f"amount {text!r} is larger than the ledger can hold")
    return value


def format_money(value: Money) -> str:
    """Money units as the currency with eight decimals, the form of every JSON document."""
    return _format(value, MONEY_DECIMALS)


def parse_price(text: str) -> Price:
    """`"0.28"` per kWh as money units per Wh. Raises `UnitError`."""
    value = _parse(text, PRICE_DECIMALS, "price")
    if abs(value) > PRICE_MAX:
        raise UnitError(f"price {text!r} per kWh is out of range; its magnitude is below 21474.83648")
    return value


def format_price(value: Price) -> str:
    """Money units per Wh as the currency per kWh, with as many decimals as it needs and at least two."""
    text = _format(value, PRICE_DECIMALS)
    while text.endswith("0") and len(text.partition(".")[2]) > 2:
        text = text[:-1]
    return text


def parse_share(text: str) -> int:
    """A fraction such as `"0.05"` in ten-thousandths, between 0 and 1. Raises `UnitError`."""
    value = _parse(text, SHARE_DECIMALS, "fraction")
    if not 0 <= value <= SHARE_UNIT:
        raise UnitError(f"fraction {text!r} is not between 0 and 1")
    return value


def format_share(value: int) -> str:
    """Ten-thousandths as a decimal fraction of four places."""
    return _format(value, SHARE_DECIMALS)


def format_ratio(numerator: int, denominator: int) -> str | None:
    """numerator / denominator to four places, rounded down towards minus infinity; None over zero."""
    return None if denominator == 0 else format_share(numerator * SHARE_UNIT // denominator)
