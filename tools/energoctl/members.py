"""`energoctl member`: who votes in the street, who comes, goes and rests."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

import click

from . import answers
from .commands import NodeCommand, SignedCommand, get, help_alone, wallet_path
from .joining import invite, join
from .signing import carry_out

CARD_KEYS = ("owner_key", "node_key", "transport_key", "device_key")


@click.group(invoke_without_command=True)
@click.pass_context
def member(ctx: click.Context) -> None:
    """Show and change who votes in the street."""
    help_alone(ctx)


member.add_command(invite)
member.add_command(join)


@member.command("list", cls=NodeCommand)
@click.pass_context
def list_members(ctx: click.Context) -> None:
    """List the homes whose nodes take part: seats, those who rest, and what waits for approval."""
    found = get(ctx, "/v1/members")
    if answers.wants_json(ctx):
        answers.write_json(found)
        return
    rows = [[m["name"], m["status"], m["seat"], m["nominations"], m["node_key"][:16]] for m in found["members"]]
    answers.write_table(["home", "status", ">seat", ">nominations", "node key"], rows, empty="nobody takes part")
    click.echo(f"epoch {found['epoch']}: {found['quorum']} of {found['committee']} votes make a block final")
    if found["next_committee"]:
        click.echo(f"a committee of {found['next_committee']} is to come; {found['ready']} of it are ready")
    for approval in found["approvals"]:
        click.echo(f"waits for approval: {approval['what'][:16]}, approved by {', '.join(approval['households'])}")


def _account(ctx: click.Context, name: str) -> bytes:
    from ledger.base.address import parse_address

    return parse_address(get(ctx, f"/v1/balance?account={quote(name, safe='')}")["account"])


def _card(path: Path) -> dict[str, Any]:
    """What a new home's installer brings: name, bus and public keys. Raises `click.BadParameter`."""
    try:
        card = json.loads(path.read_text())
        keys = {key: bytes.fromhex(card[key]) for key in CARD_KEYS}
        return {"name": str(card["name"]), "bus": str(card["bus"]), **keys}
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise click.BadParameter(
            f"{path} is not a home's card ({error}); it is JSON with name, bus, {', '.join(CARD_KEYS)}"
        ) from None


@member.command(cls=SignedCommand)
@click.argument("card", type=click.Path(path_type=Path, dir_okay=False))
@click.pass_context
def admit(ctx: click.Context, card: Path) -> None:
    """Approve the home that the file CARD describes; it takes part once a quorum of the voters' households has.

    CARD is JSON: name, bus, owner_key, node_key, transport_key (from energo-wallet init) and device_key (its meter's).
    """
    from ledger.base.errors import DecodeError
    from ledger.base.intents import Admit

    read = _card(card)
    intent = Admit(
        read["name"], read["owner_key"], read["node_key"], read["transport_key"], read["bus"], read["device_key"]
    )
    try:
        Admit.parse(list(intent.body()))
    except DecodeError as error:
        raise click.BadParameter(f"{card}: {error}", ctx) from None
    carry_out(ctx, intent, f"approved that {read['name']} takes part")


@member.command(cls=SignedCommand)
@click.argument("home")
@click.pass_context
def remove(ctx: click.Context, home: str) -> None:
    """Approve that HOME loses its seat and its links; its account stays. It takes a quorum of the voters' households."""
    from ledger.base.intents import Remove

    carry_out(ctx, Remove(_account(ctx, home)), f"approved that {home} is removed")


@member.command(cls=SignedCommand)
@click.pass_context
def park(ctx: click.Context) -> None:
    """Give up this home's seat from the next epoch on, before its node is switched off for a while."""
    from ledger.base.intents import Park

    carry_out(ctx, Park(1), "this home's seat is parked from the next epoch on")


@member.command(cls=SignedCommand)
@click.pass_context
def unpark(ctx: click.Context) -> None:
    """Ask for this home's seat again."""
    from ledger.base.intents import Park

    carry_out(ctx, Park(0), "this home wants its seat from the next epoch on")


@member.command(cls=SignedCommand)
@click.argument("homes", nargs=-1)
@click.pass_context
def nominate(ctx: click.Context, homes: tuple[str, ...]) -> None:
    """Say whose nodes should have a seat where there are more homes than seats; no HOMES take it back."""
    from ledger.base.intents import Nominate

    accounts = tuple(sorted({_account(ctx, home) for home in homes}))
    carry_out(ctx, Nominate(accounts), f"nominated {', '.join(homes) or 'nobody'}")


@member.command(cls=SignedCommand)
@click.pass_context
def rotate(ctx: click.Context) -> None:
    """Make a new key for this home's node: it votes with it from the next epoch on, and never again with the old one.

    The way back for a card that was put back or copied, or whose record of votes is lost. Start the node again afterwards.
    """
    from ledger.base.intents import RotateKey
    from ledger.client import WalletClient

    wallet = WalletClient(wallet_path(ctx))
    _, node_key, transport_key = wallet.public_keys()
    if any(m["node_key"] == node_key.hex() for m in get(ctx, "/v1/members")["members"]):
        _, node_key, transport_key = wallet.call(("rotate",))
    carry_out(ctx, RotateKey(node_key, transport_key), "the node has a new key; start it again to vote with it")
