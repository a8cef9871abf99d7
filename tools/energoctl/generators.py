"""`energoctl generators`: what the plants that the street owns made, earned and paid."""

from __future__ import annotations

import click

from .commands import NodeCommand, show_list


@click.command(cls=NodeCommand)
@click.pass_context
def generators(ctx: click.Context) -> None:
    """Show what the street's generators made and paid."""
    show_list(
        ctx,
        "/v1/generators",
        ["name", ">made Wh", ">earned", ">carried", "paid", "shares"],
        ["name", "made_wh", "earned", "carried", "paid", "shares"],
        empty="the street owns no generator",
    )
