"""`energoctl orders` and `energoctl order buy|sell|cancel`: the books of the exchange, and this home's place in them."""

from __future__ import annotations

import click

from ledger.base.limits import AMOUNT_MAX

from .commands import NodeCommand, SignedCommand, help_alone, show_list
from .signing import carry_out
from .values import ENERGY_WH
from .values import price as price_option


@click.command(cls=NodeCommand)
@click.pass_context
def orders(ctx: click.Context) -> None:
    """List the orders at rest on the exchange."""
    show_list(
        ctx,
        "/v1/orders",
        [">id", "instrument", "side", ">price per kWh", ">Wh", "account", "mine"],
        ["id", "instrument", "side", "price", "quantity_wh", "name", "mine"],
        empty="no order is at rest",
    )


@click.group(invoke_without_command=True)
@click.pass_context
def order(ctx: click.Context) -> None:
    """Buy, sell or cancel on the exchange."""
    help_alone(ctx)


def _place(
    ctx: click.Context, side: str, instrument: str, quantity_wh: int, price: int, ioc: bool, fok: bool, post_only: bool
) -> None:
    from ledger.base import intents
    from ledger.base.units import format_price

    asked = ((ioc, intents.IMMEDIATE_OR_CANCEL), (fok, intents.FILL_OR_KILL), (post_only, intents.POST_ONLY))
    given = [tif for flag, tif in asked if flag]
    if len(given) > 1:
        raise click.UsageError("give one of --ioc, --fok and --post-only", ctx)
    tif = given[0] if given else intents.GOOD_TIL_CANCELED
    number = intents.BUY if side == "buy" else intents.SELL
    words = f"{side} {quantity_wh} Wh of {instrument} at {format_price(price)} per kWh"
    carry_out(ctx, intents.PlaceOrder(instrument, number, price, quantity_wh, tif), words)


_instrument = click.argument("instrument")
_quantity = click.argument("quantity_wh", metavar="QTY", type=ENERGY_WH)
_price = click.option("--price", type=price_option, required=True, metavar="P", help="Per kWh, such as 0.16.")
_ioc = click.option("--ioc", is_flag=True, help="Take what is there up to the price; nothing rests in the book.")
_fok = click.option("--fok", is_flag=True, help="All at once or not at all.")
_post_only = click.option("--post-only", is_flag=True, help="Rest, or be refused where it would trade at once.")


@order.command(cls=SignedCommand)
@_instrument
@_quantity
@_price
@_ioc
@_fok
@_post_only
@click.pass_context
def buy(
    ctx: click.Context, instrument: str, quantity_wh: int, price: int, ioc: bool, fok: bool, post_only: bool
) -> None:
    """Buy QTY Wh of an INSTRUMENT such as WATT:pool, at most at the price."""
    _place(ctx, "buy", instrument, quantity_wh, price, ioc, fok, post_only)


@order.command(cls=SignedCommand)
@_instrument
@_quantity
@_price
@_ioc
@_fok
@_post_only
@click.pass_context
def sell(
    ctx: click.Context, instrument: str, quantity_wh: int, price: int, ioc: bool, fok: bool, post_only: bool
) -> None:
    """Sell QTY Wh of an INSTRUMENT such as WATT:pool, at least at the price."""
    _place(ctx, "sell", instrument, quantity_wh, price, ioc, fok, post_only)


@order.command(cls=SignedCommand)
@click.argument("order_id", metavar="ID", type=click.IntRange(1, AMOUNT_MAX))
@click.pass_context
def cancel(ctx: click.Context, order_id: int) -> None:
    """Take an own order out of its book, by its ID (see energoctl orders)."""
    from ledger.base.intents import CancelOrder

    carry_out(ctx, CancelOrder(order_id), f"cancel order {order_id}")
