"""`energoctl peers`: the neighbors' nodes."""

from __future__ import annotations

import click

from .commands import NodeCommand, show_list


@click.command(cls=NodeCommand)
@click.pass_context
def peers(ctx: click.Context) -> None:
    """List the neighbors' nodes that are linked now."""
    show_list(
        ctx,
        "/v1/peers",
        ["home", "address", "opened", "since", ">height", ">round trip ms"],
        ["name", "address", "direction", "connected_since", "height", "rtt_ms"],
        empty="no neighbor is linked now",
    )
