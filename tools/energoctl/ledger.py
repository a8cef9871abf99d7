"""`energoctl ledger verify`: replay a home's ledger from the genesis to its tip, from the files alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ledger.base.errors import ConfigError

from . import answers
from .commands import NODE_DEFAULT, help_alone, node_option, node_path

PI_DATA = Path("/var/lib/energo-node")
PI_GENESIS = Path("/etc/energo/genesis.toml")
LEDGER_FILE = "ledger.sqlite"
GENESIS_FILE = "genesis.toml"


@click.group(invoke_without_command=True)
@click.pass_context
def ledger(ctx: click.Context) -> None:
    """Replay a ledger from its files alone."""
    help_alone(ctx)


@ledger.command(params=[node_option()])
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="A home's data folder or the node's folder in it (default: the one of the node's socket).",
)
@click.option(
    "--genesis",
    "genesis_file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The street's genesis (default: the one beside the data).",
)
@click.option("--reference", is_flag=True, help="Repeat every clearing and order book with the slow reference matcher.")
@click.pass_context
def verify(ctx: click.Context, data: Path | None, genesis_file: Path | None, reference: bool) -> None:
    """Check every block, signature, clearing and balance, from the first block to the last. Asks no node."""
    import matcher_c
    from ledger.base.files import load_genesis
    from ledger.node.verify import verify as replay
    from ledger.state.transition import Matchers
    from matcher_c import reference as slow

    folder, beside = folders(data, node_path(ctx))
    genesis = load_genesis(genesis_file or beside)
    matchers = Matchers(
        slow.clear_arrays if reference else matcher_c.clear_arrays, slow.OrderBook if reference else matcher_c.OrderBook
    )
    with answers.progress("blocks") as tell:
        found = replay(folder, genesis, matchers, tell)
    if answers.wants_json(ctx):
        answers.write_json(found)
    else:
        _say(folder, found)
    ctx.exit(0 if found["ok"] else answers.FAILED)


def _say(folder: Path, found: dict[str, Any]) -> None:
    if found["ok"]:
        click.echo(
            f"ok: {folder} replays from the genesis to height {found['height']}, state root {found['state_root']}"
        )
        return
    bad = found["first_bad"]
    line = f"not ok: {folder} is right up to height {found['height']}; at height {bad['height']}: {bad['what']}"
    click.echo(f"energoctl ledger: {' '.join(line.split())}", err=True)


def folders(data: Path | None, socket: Path) -> tuple[Path, Path]:
    """The node's folder and the genesis file that a person means. Raises `ConfigError`."""
    if data is None:
        if socket == NODE_DEFAULT:
            return PI_DATA, PI_GENESIS
        home = socket.parent.parent
        return home / "node", home / GENESIS_FILE
    if (data / LEDGER_FILE).exists():
        return data, data.parent / GENESIS_FILE
    if (data / "node" / LEDGER_FILE).exists():
        return data / "node", data / GENESIS_FILE
    homes = sorted(path.parent.parent.name for path in data.glob(f"*/node/{LEDGER_FILE}"))
    if homes:
        raise ConfigError(f"{data}: holds {len(homes)} homes; name one of them: --data {data / homes[0]}")
    raise ConfigError(f"{data}: there is no ledger here; name a home's data folder, such as DIR/home1")
