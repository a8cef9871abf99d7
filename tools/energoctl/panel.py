"""`energoctl panel`: what `energo-panel` shows on the glass, in the terminal."""

from __future__ import annotations

import click

from .commands import NodeCommand, node_path


@click.command(cls=NodeCommand)
@click.pass_context
def panel(ctx: click.Context) -> None:
    """Show the homeowner's two-line screens in the terminal: n and p for the next and the previous one, q to quit."""
    from firmware.panel.__main__ import Config, run

    ctx.exit(run(Config(node_path(ctx))))
