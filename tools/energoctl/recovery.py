"""`energoctl recovery`: a new committee by hand, after a quorum of the nodes is lost for good."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from . import answers
from .commands import NodeCommand, SignedCommand, client, get, help_alone, wallet_path

if TYPE_CHECKING:
    from ledger.base.recovery import Recovery

WARNING = (
    "This is the one place where the street can split: nodes that are left out may have finalized more. "
    "It stands on every screen before it begins."
)


@click.group(invoke_without_command=True)
@click.pass_context
def recovery(ctx: click.Context) -> None:
    """Begin again with fewer nodes after a quorum is lost for good."""
    help_alone(ctx)


def _read(path: Path) -> Recovery:
    from ledger.base.errors import DecodeError
    from ledger.base.recovery import decode_recovery

    try:
        return decode_recovery(bytes.fromhex(path.read_text().strip()))
    except (OSError, ValueError, DecodeError) as error:
        raise click.BadParameter(f"{path} is no recovery ({error}); make one with energoctl recovery draft") from None


def _write(path: Path, document: Recovery) -> None:
    path.write_text(document.encoded().hex() + "\n")


@recovery.command(cls=NodeCommand)
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.argument("homes", nargs=-1, required=True)
@click.pass_context
def draft(ctx: click.Context, file: Path, homes: tuple[str, ...]) -> None:
    """Write to FILE what is to be signed: the last final block here, and the HOMES whose nodes go on."""
    from ledger.base.recovery import Recovery

    status, found = get(ctx, "/v1/status"), get(ctx, "/v1/members")
    keys = {each["name"]: bytes.fromhex(each["node_key"]) for each in found["members"]}
    for home in homes:
        if home not in keys:
            raise click.BadParameter(f"no home that takes part is called {home}", ctx, param_hint="HOMES")
    committee = tuple(sorted({keys[home] for home in homes}))
    head = bytes.fromhex(status["head"])
    _write(file, Recovery(found["epoch"] + 1, status["height"], head, committee, ()))
    click.echo(f"{file}: epoch {found['epoch'] + 1} above height {status['height']} with {', '.join(homes)}", err=True)
    click.echo(f"More than half of the {len(keys)} households sign it. {WARNING}", err=True)


@recovery.command(cls=SignedCommand)
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.pass_context
def sign(ctx: click.Context, file: Path) -> None:
    """Add this household's signature to FILE."""
    from ledger.client import WalletClient

    document = _read(file)
    wallet = WalletClient(wallet_path(ctx))
    owner_key, _, _ = wallet.public_keys()
    signature = wallet.call(("recovery", document.encoded()))
    signed = {**dict(document.signatures), owner_key: signature}
    _write(file, document._replace(signatures=tuple(sorted(signed.items()))))
    click.echo(f"{file}: signed by {len(signed)} households", err=True)


@recovery.command(cls=NodeCommand)
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.pass_context
def announce(ctx: click.Context, file: Path) -> None:
    """Hand FILE to the node: the notice goes to all neighbors, and the epoch begins when it has stood long enough."""
    _show(ctx, client(ctx).post("/v1/recovery", {"recovery": _read(file).encoded().hex()}))


@recovery.command(cls=NodeCommand)
@click.pass_context
def show(ctx: click.Context) -> None:
    """Show the recovery that is to begin."""
    _show(ctx, get(ctx, "/v1/recovery"))


def _show(ctx: click.Context, found: dict[str, object]) -> None:
    if answers.wants_json(ctx):
        answers.write_json(found)
    elif found["recovery"] is None:
        click.echo("no recovery is announced")
    else:
        left_ms = found["begins_in_ms"]
        assert isinstance(left_ms, int), "the node says it in ms"
        when = "has begun" if found["begun"] else f"begins in {left_ms / 3_600_000:.1f} hours"
        answers.write_facts(
            [
                ("epoch", f"{found['epoch']}, {when}"),
                ("above height", found["height"]),
                ("voters", found["committee"]),
                ("signed by", f"{found['signed']} households"),
            ]
        )
        click.echo(WARNING)
