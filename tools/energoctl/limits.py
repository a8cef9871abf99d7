"""`energoctl limits set`: the prices that a home buys below and sells above in the live market."""

from __future__ import annotations

from typing import Any

import click

from ledger.base.units import format_price, parse_price

from .commands import SignedCommand, get, help_alone
from .signing import carry_out
from .values import price

NO_LIMIT = "none"


def limit(text: str) -> int | str:
    """An option's price, or the word that takes the limit away."""
    return text if text == NO_LIMIT else price(text)


@click.group(invoke_without_command=True)
@click.pass_context
def limits(ctx: click.Context) -> None:
    """Set the prices to buy below and to sell above."""
    help_alone(ctx)


@limits.command("set", cls=SignedCommand)
@click.option("--buy-below", type=limit, metavar="P", help='Buy at most at P per kWh, or "none" for no limit.')
@click.option("--sell-above", type=limit, metavar="P", help='Sell at least at P per kWh, or "none" for no limit.')
@click.pass_context
def set_limits(ctx: click.Context, buy_below: Any, sell_above: Any) -> None:
    """Set this home's limits of the live market, from the next slot on; what is not named stays as it is."""
    from ledger.base.intents import SetLimits

    if buy_below is None and sell_above is None:
        raise click.UsageError("give --buy-below P, --sell-above P or both", ctx)
    standing = get(ctx, "/v1/balance")["limits"] if None in (buy_below, sell_above) else {}
    buy, sell = _chosen(buy_below, standing.get("buy_below")), _chosen(sell_above, standing.get("sell_above"))
    words = f"buy below {_words(buy)}, sell above {_words(sell)}"
    carry_out(ctx, SetLimits(buy, sell), words)


def _chosen(given: Any, standing: str | None) -> int | None:
    if given == NO_LIMIT:
        return None
    if given is None:
        return None if standing is None else parse_price(standing)
    assert isinstance(given, int), "the option's type makes it one"
    return given


def _words(price_limit: int | None) -> str:
    return "any price" if price_limit is None else format_price(price_limit)
