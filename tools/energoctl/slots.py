"""`energoctl slots`: the newest settled slots."""

from __future__ import annotations

from typing import Any

import click

from ledger.base.units import format_money, parse_money

from . import answers
from .commands import NodeCommand, get


@click.command(cls=NodeCommand)
@answers.count_argument
@click.pass_context
def slots(ctx: click.Context, count: int) -> None:
    """List the newest N settled slots with price and energy (10 without N)."""
    found = get(ctx, f"/v1/slots?count={count}")
    if answers.wants_json(ctx):
        answers.write_json(found)
        return
    own = get(ctx, "/v1/status")["name"]
    other = found[0]["counterparty"] if found else "grid"
    answers.write_table(
        [
            ">slot",
            "start",
            ">price per kWh",
            ">in the street Wh",
            f">from {other} Wh",
            f">to {other} Wh",
            ">shared",
            f">{own} receives",
        ],
        [
            [
                slot["slot"],
                slot["start"],
                slot["price"],
                slot["local_wh"],
                slot["from_grid_wh"],
                slot["to_grid_wh"],
                slot["shared"],
                _received(slot, own),
            ]
            for slot in found
        ],
        empty="no slot is settled yet",
    )


def _received(slot: dict[str, Any], account: str) -> str | None:
    """What the slot brought an account's devices in all; None: it has none."""
    nets = [parse_money(device["net"]) for device in slot["devices"] if device["account"] == account]
    return format_money(sum(nets)) if nets else None
