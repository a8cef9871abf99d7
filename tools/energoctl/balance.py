"""`energoctl balance`: what an account holds, owes and allows."""

from __future__ import annotations

from urllib.parse import quote

import click

from . import answers
from .commands import NodeCommand, get


@click.command(cls=NodeCommand)
@click.argument("account", default="self", metavar="[ACCOUNT]")
@click.pass_context
def balance(ctx: click.Context, account: str) -> None:
    """Show what an ACCOUNT (a name or an address; without one, this home's) holds, owes and allows."""
    found = get(ctx, f"/v1/balance?account={quote(account, safe='')}")
    if answers.wants_json(ctx):
        answers.write_json(found)
        return
    limits = found["limits"]
    answers.write_facts(
        [
            ("account", f"{found['name']}  {found['account']}"),
            ("buys below", limits["buy_below"] or "any price (no limit set)"),
            ("sells above", limits["sell_above"] or "any price (no limit set)"),
        ]
    )
    click.echo()
    rows = [[held["asset"], held["free"], held["escrowed"]] for held in found["balances"]]
    answers.write_table(["asset", ">free", ">in orders"], rows, empty="the account holds nothing")
    if found["dues"]:
        click.echo()
        owed = [[due["to"], due["amount"], due["slot"]] for due in found["dues"]]
        answers.write_table(["owes", ">amount", ">of slot"], owed, empty="")
