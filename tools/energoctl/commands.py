"""The two kinds of command that need a node: those that look (`NodeCommand`) and those that the wallet signs (`SignedCommand`).

They bring their own options, so that --json, --node, --wallet and --no-wait mean the same everywhere and may stand
before or behind a command's arguments.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from . import answers

if TYPE_CHECKING:
    from ledger.client import NodeClient

NODE_DEFAULT: Final = Path("/run/energo/node.sock")
NODE_VARIABLE: Final = "ENERGO_NODE"
WALLET_DEFAULT: Final = Path("/run/energo-wallet/owner/wallet.sock")  # beside NODE_DEFAULT, on a Pi
WALLET_VARIABLE: Final = "ENERGO_WALLET"


def _keep(ctx: click.Context, parameter: click.Parameter, value: Any) -> None:
    if value:
        assert parameter.name is not None, "these options have names"
        ctx.find_root().obj[parameter.name] = value


def json_option() -> click.Option:
    """--json behind a command."""
    return click.Option(
        ["--json"], is_flag=True, expose_value=False, callback=_keep, help="Print JSON instead of a table."
    )


def node_option() -> click.Option:
    """--node behind a command."""
    return click.Option(
        ["--node"],
        type=click.Path(path_type=Path),
        expose_value=False,
        callback=_keep,
        metavar="PATH",
        help=f"The node's socket (default: ${NODE_VARIABLE}, else {NODE_DEFAULT}).",
    )


class NodeCommand(click.Command):
    """A command that asks a node."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.params += [node_option(), json_option()]


class SignedCommand(NodeCommand):
    """A command whose wish the wallet signs and the node makes final."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.params += [
            click.Option(
                ["--wallet"],
                type=click.Path(path_type=Path),
                expose_value=False,
                callback=_keep,
                metavar="PATH",
                help=f"The wallet's socket (default: ${WALLET_VARIABLE}, else the one beside the node's).",
            ),
            click.Option(
                ["--no-wait"],
                is_flag=True,
                expose_value=False,
                callback=_keep,
                help="Do not wait until it is final; ask later with energoctl receipt.",
            ),
        ]


def help_alone(ctx: click.Context) -> None:
    """Print a group's help where no command of it is named."""
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


def node_path(ctx: click.Context) -> Path:
    """The node's socket: --node, else $ENERGO_NODE, else the Pi's."""
    chosen = ctx.find_root().obj.get("node")
    return Path(chosen or os.environ.get(NODE_VARIABLE) or NODE_DEFAULT)


def wallet_path(ctx: click.Context) -> Path:
    """The owner's socket of the wallet: --wallet, else $ENERGO_WALLET, else the one that belongs to the node's."""
    chosen = ctx.find_root().obj.get("wallet") or os.environ.get(WALLET_VARIABLE)
    if chosen:
        return Path(chosen)
    node = node_path(ctx)
    return WALLET_DEFAULT if node == NODE_DEFAULT else node.parent / "wallet" / "owner.sock"


def client(ctx: click.Context) -> NodeClient:
    """The node's client."""
    from ledger.client import NodeClient

    return NodeClient(node_path(ctx))


def get(ctx: click.Context, target: str) -> Any:
    """A document of the node's. Raises `NodeUnavailable`, `NodeRefused`."""
    return client(ctx).get(target)


def show_list(ctx: click.Context, target: str, columns: list[str], fields: list[str], *, empty: str) -> None:
    """A list of the node's: as it is with --json, else the named fields of each item as a table."""
    found = get(ctx, target)
    if answers.wants_json(ctx):
        answers.write_json(found)
    else:
        answers.write_table(columns, [[item[field] for field in fields] for item in found], empty=empty)
