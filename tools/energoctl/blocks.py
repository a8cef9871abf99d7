"""`energoctl blocks`: the newest final blocks."""

from __future__ import annotations

import click

from . import answers
from .commands import NodeCommand, show_list


@click.command(cls=NodeCommand)
@answers.count_argument
@click.pass_context
def blocks(ctx: click.Context, count: int) -> None:
    """List the newest N final blocks (10 without N)."""
    show_list(
        ctx,
        f"/v1/blocks?count={count}",
        [">height", "hash", "time", ">view", "leader", ">transactions", ">bytes"],
        ["height", "hash", "time", "view", "leader", "transactions", "bytes"],
        empty="there is no block above the genesis yet",
    )
