"""`energoctl transfer`: money or another asset to somebody else."""

from __future__ import annotations

from urllib.parse import quote

import click

from .commands import SignedCommand, get
from .signing import carry_out
from .values import amount as parse_amount


@click.command(cls=SignedCommand)
@click.argument("to")
@click.argument("amount")
@click.argument("asset", default="CASH", metavar="[ASSET]")
@click.pass_context
def transfer(ctx: click.Context, to: str, amount: str, asset: str) -> None:
    """Send AMOUNT of an ASSET (CASH without one) to the account TO, a name of this street or an address.

    CASH is given in the currency (12.50), WATT:pool and TSL:pool in Wh, GEN:name in shares.
    """
    from ledger.base.address import PREFIX, parse_address
    from ledger.base.errors import DecodeError, UnitError
    from ledger.base.intents import Transfer

    try:
        value = parse_amount(asset, amount)
    except UnitError as error:
        raise click.BadParameter(str(error), ctx, param_hint="AMOUNT") from None
    if to.lower().startswith(f"{PREFIX}1"):
        try:
            payee = parse_address(to)
        except DecodeError as error:
            raise click.BadParameter(str(error), ctx, param_hint="TO") from None
    else:
        payee = parse_address(get(ctx, f"/v1/balance?account={quote(to, safe='')}")["account"])
    carry_out(ctx, Transfer(payee, asset, value), f"{amount} {asset} to {to}")
