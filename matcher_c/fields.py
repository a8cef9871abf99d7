"""Fields of the matchers' JSON: decimals that become whole units by moving the point, and values of one type each.

No floats, no rounding. Everything raises DocumentRefused with a sentence that begins with whose field it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from .errors import DocumentRefused
from .network import BUY, PRICE_MAX, SELL

Json: TypeAlias = dict[str, object]

PRICE_DECIMALS = 5  # a price is money units per Wh, shown per kWh: 10^-8 x 1000
MONEY_DECIMALS = 8
_DIGITS_MAX = 40  # of a decimal: far more than any that is in range, few enough to be cheap
_SIDES = {"buy": BUY, "sell": SELL}


def decimal_to_units(text: object, decimals: int) -> int:
    """A decimal string such as "-0.28" as a whole number of units of 10^-decimals.

    Raises DocumentRefused for anything else, finer decimals included.
    """
    whole, fraction, negative = split_decimal(text)
    if len(fraction) > decimals:
        raise DocumentRefused(f"give at most {decimals} decimals, not {text!r}")
    value = int(whole + fraction.ljust(decimals, "0"))
    return -value if negative else value


def units_to_decimal(value: int, decimals: int) -> str:
    """The inverse of decimal_to_units, with all decimals written out."""
    digits = str(abs(value)).rjust(decimals + 1, "0")
    return f"{'-' if value < 0 else ''}{digits[:-decimals]}.{digits[-decimals:]}"


def split_decimal(text: object) -> tuple[str, str, bool]:
    """The digits before and behind the point, and whether it is negative."""
    sentence = f'write it as a decimal string such as "0.28", not {str(text)[:_DIGITS_MAX]!r}'
    if not isinstance(text, str) or not text.isascii() or len(text) > _DIGITS_MAX:
        raise DocumentRefused(sentence)
    negative = text.startswith("-")
    whole, point, fraction = text.removeprefix("-").partition(".")
    if not whole.isdigit() or (point and not fraction.isdigit()):
        raise DocumentRefused(sentence)
    return whole, fraction, negative


def object_of(value: object, whose: str) -> Json:
    """An object."""
    if not isinstance(value, dict):
        raise DocumentRefused(f"{whose}: make it an object, with its keys in braces")
    return value


def objects_of(document: Json, key: str) -> list[object]:
    """A list under a key."""
    values = document.get(key)
    if not isinstance(values, list):
        raise DocumentRefused(f'give "{key}" as a list')
    return values


def only(value: Json, allowed: Sequence[str], whose: str) -> None:
    """Refuses a key that is not allowed."""
    for key in value:
        if key not in allowed:
            raise DocumentRefused(f"{whose}: take out the unknown key {key!r}; it has {', '.join(allowed)}")


def text_of(value: Json, key: str, whose: str) -> str:
    """A string that is not empty."""
    text = value.get(key)
    if not isinstance(text, str) or not text:
        raise DocumentRefused(f'{whose}: give "{key}" as a string that is not empty')
    return text


def price_of(value: Json, key: str, whose: str) -> int:
    """A decimal per kWh as money units per Wh, of magnitude below 2^31."""
    try:
        units = decimal_to_units(value.get(key), PRICE_DECIMALS)
    except DocumentRefused as refused:
        raise DocumentRefused(f"{whose}: {key}: {refused}") from None
    if abs(units) > PRICE_MAX:
        raise DocumentRefused(f"{whose}: {key}: give a decimal between -21474.83647 and 21474.83647 per kWh")
    return units


def whole_of(value: Json, key: str, whose: str) -> int:
    """A whole number of any size."""
    number = value.get(key)
    if not isinstance(number, int) or isinstance(number, bool):
        raise DocumentRefused(f'{whose}: give "{key}" as a whole number')
    return number


def whole_or_none(value: Json, key: str, whose: str) -> int | None:
    """A whole number, or None for null or a missing key."""
    return None if value.get(key) is None else whole_of(value, key, whose)


def side_of(value: Json, whose: str) -> int:
    """BUY or SELL."""
    side = value.get("side")
    if not isinstance(side, str) or side not in _SIDES:
        raise DocumentRefused(f'{whose}: give "side" as "buy" or "sell"')
    return _SIDES[side]
