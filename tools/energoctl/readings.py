"""`energoctl readings`: the newest meter readings."""

from __future__ import annotations

import click

from . import answers
from .commands import NodeCommand, show_list


@click.command(cls=NodeCommand)
@answers.count_argument
@click.pass_context
def readings(ctx: click.Context, count: int) -> None:
    """List the newest N meter readings, waiting ones first (10 without N)."""
    show_list(
        ctx,
        f"/v1/readings?count={count}",
        ["device", "role", ">number", ">slot", ">import Wh", ">export Wh", ">stored Wh", "flags", "status", ">height"],
        ["device", "role", "seq", "slot", "import_wh", "export_wh", "stored_wh", "flags", "status", "height"],
        empty="no reading has come yet",
    )
