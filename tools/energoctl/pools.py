"""`energoctl pools`, `deposit` and `redeem`: the street's shared storage."""

from __future__ import annotations

import click

from .commands import NodeCommand, SignedCommand, show_list
from .signing import carry_out
from .values import ENERGY_WH_OR_NONE


@click.command(cls=NodeCommand)
@click.pass_context
def pools(ctx: click.Context) -> None:
    """Show what the street's storage pools hold, and for whom."""
    show_list(
        ctx,
        "/v1/pools",
        ["name", ">stored Wh", ">WATT Wh", ">capacity Wh", ">minted Wh", ">burned Wh", "commitments", "requests"],
        ["name", "stored_wh", "supply_wh", "capacity_wh", "minted_wh", "burned_wh", "commitments", "requests"],
        empty="the street has no storage pool",
    )


@click.command(cls=SignedCommand)
@click.argument("pool")
@click.option(
    "--up-to", "up_to_wh", type=ENERGY_WH_OR_NONE, required=True, metavar="WH", help="Wh of each slot; 0 ends it."
)
@click.pass_context
def deposit(ctx: click.Context, pool: str, up_to_wh: int) -> None:
    """Give each slot's surplus to a POOL, up to so many Wh a slot, until changed; 0 ends it."""
    from ledger.base.intents import Commit

    carry_out(ctx, Commit(pool, up_to_wh), f"deposit up to {up_to_wh} Wh a slot in {pool}")


@click.command(cls=SignedCommand)
@click.argument("pool")
@click.argument("energy_wh", metavar="WH", type=ENERGY_WH_OR_NONE)
@click.pass_context
def redeem(ctx: click.Context, pool: str, energy_wh: int) -> None:
    """Ask a POOL for so many Wh of stored energy in all, counted down as it comes; 0 ends it."""
    from ledger.base.intents import Redeem

    carry_out(ctx, Redeem(pool, energy_wh), f"redeem {energy_wh} Wh from {pool}")
