"""`energoctl trades`: the newest trades of the exchange."""

from __future__ import annotations

import click

from . import answers
from .commands import NodeCommand, show_list


@click.command(cls=NodeCommand)
@answers.count_argument
@click.pass_context
def trades(ctx: click.Context, count: int) -> None:
    """List the newest N trades of the exchange (10 without N)."""
    show_list(
        ctx,
        f"/v1/trades?count={count}",
        ["time", "instrument", ">Wh", ">price per kWh", "buyer", "seller", ">cost", ">fee", ">height"],
        ["time", "instrument", "quantity_wh", "price", "buyer", "seller", "cost", "fee", "height"],
        empty="nothing has been traded on the exchange yet",
    )
