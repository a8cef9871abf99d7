"""What people type as prices and energies, checked by the ledger's own units before anything is asked or signed."""

from __future__ import annotations

import click

from ledger.base import units
from ledger.base.errors import UnitError
from ledger.base.limits import AMOUNT_MAX, QUANTITY_MAX


def price(text: str) -> int:
    """An option's decimal price per kWh as money units per Wh, or the units' own words about it."""
    try:
        return units.parse_price(text)
    except UnitError as error:
        raise click.BadParameter(str(error)) from None


ENERGY_WH = click.IntRange(1, QUANTITY_MAX)
ENERGY_WH_OR_NONE = click.IntRange(0, QUANTITY_MAX)


def amount(asset: str, text: str) -> int:
    """An amount of an asset: CASH in the currency, everything else in whole Wh or shares. Raises `UnitError`."""
    if asset == "CASH":
        value = units.parse_money(text)
    elif text.isascii() and text.isdigit() and int(text) <= AMOUNT_MAX:
        value = int(text)
    else:
        raise UnitError(f"amount {text!r} of {asset} is not a whole number (Wh of stored energy, or shares)")
    if value <= 0:
        raise UnitError(f"amount {text!r} is not above 0")
    return value
