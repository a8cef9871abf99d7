"""`energoctl`: one command for each thing that a person does. This file is the table of contents; each noun has a file.

Promises: help comes at once, because a command's file is imported when the command runs and not before; results go to
standard output, as tables or with --json as one document; an error is one line on standard error that says what to do,
with --json an object on standard output too. Exit status 0 done, 1 refused or failed, 2 wrong usage, 3 no node answers.
"""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path
from typing import Any, Final, NamedTuple, NoReturn

import click

from . import answers
from .answers import FAILED, NO_NODE, USAGE
from .commands import NODE_DEFAULT, NODE_VARIABLE, help_alone, json_option


class Entry(NamedTuple):
    """A line of the table of contents: where the command is, and what it does, known without importing it."""

    section: str
    name: str
    module: str
    attribute: str
    summary: str


CONTENTS: Final = tuple(
    Entry(*row)
    for row in (
        ("A street", "demo", "demo", "demo", "Run a street of real processes through measured days."),
        ("A street", "node", "node", "node", "Start the processes of a home's data folder."),
        ("A street", "panel", "panel", "panel", "Show the homeowner's two-line screens in the terminal."),
        ("Look", "status", "status", "status", "Show the node, its head, its slot and who it waits for."),
        ("Look", "peers", "peers", "peers", "List the neighbors' nodes that are linked now."),
        ("Look", "balance", "balance", "balance", "Show what an account holds, owes and allows."),
        ("Look", "readings", "readings", "readings", "List the newest meter readings."),
        ("Look", "slots", "slots", "slots", "List the newest settled slots with price and energy."),
        ("Look", "blocks", "blocks", "blocks", "List the newest final blocks."),
        ("Look", "orders", "orders", "orders", "List the orders at rest on the exchange."),
        ("Look", "trades", "trades", "trades", "List the newest trades of the exchange."),
        ("Look", "generators", "generators", "generators", "Show what the street's generators made and paid."),
        ("Look", "pools", "pools", "pools", "Show what the street's storage pools hold, and for whom."),
        ("Look", "receipt", "signing", "receipt", "Show what became of a transaction."),
        ("Act (signed by the wallet)", "limits", "limits", "limits", "Set the prices to buy below and to sell above."),
        (
            "Act (signed by the wallet)",
            "transfer",
            "transfer",
            "transfer",
            "Send money or another asset to an account.",
        ),
        (
            "Act (signed by the wallet)",
            "deposit",
            "pools",
            "deposit",
            "Give each slot's surplus to a pool, up to so much.",
        ),
        ("Act (signed by the wallet)", "redeem", "pools", "redeem", "Ask a pool for stored energy back."),
        ("Act (signed by the wallet)", "order", "orders", "order", "Buy, sell or cancel on the exchange."),
        ("The street's nodes", "member", "members", "member", "Show and change who votes in the street."),
        (
            "The street's nodes",
            "recovery",
            "recovery",
            "recovery",
            "Begin again with fewer nodes after a quorum is lost for good.",
        ),
        ("Check", "ledger", "ledger", "ledger", "Replay a ledger from its files alone."),
        ("Check", "sim", "sim", "sim", "Simulate many streets with faults, each from a seed."),
        ("Check", "bench", "bench", "bench", "Measure the two matchers, beside others that do the same job."),
        ("Try the matchers (no node needed)", "clear", "matching", "clear", "Clear one slot from a JSON file."),
        (
            "Try the matchers (no node needed)",
            "match",
            "matching",
            "match",
            "Run an order stream through the exchange.",
        ),
    )
)
BY_NAME: Final = {entry.name: entry for entry in CONTENTS}


def with_json(command: click.Command) -> click.Command:
    """Let --json stand behind a command too."""
    if isinstance(command, click.Group):
        for child in command.commands.values():
            with_json(child)
    elif all("--json" not in parameter.opts for parameter in command.params):
        command.params.append(json_option())
    return command


class Contents(click.Group):
    """The top group: commands that are imported when they are used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order of the table."""
        return [entry.name for entry in CONTENTS]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command, imported now."""
        entry = BY_NAME.get(cmd_name)
        if entry is None:
            return None
        if cmd_name not in self.commands:
            try:
                module = importlib.import_module(f".{entry.module}", __package__)
            except ModuleNotFoundError as error:
                raise click.ClickException(
                    f"{cmd_name} needs {error.name}, which is not installed here; install energo whole, with its packages"
                ) from None
            self.commands[cmd_name] = with_json(getattr(module, entry.attribute))
        return self.commands[cmd_name]

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; what it could expect to go wrong becomes one line and a status."""
        from ledger.base.errors import EnergoError, NodeUnavailable

        try:
            return super().invoke(ctx)
        except EnergoError as error:
            status = NO_NODE if isinstance(error, NodeUnavailable) else FAILED
            code, message, more = error.code, str(error), getattr(error, "more", {})
        except click.UsageError:
            raise
        except click.ClickException as error:
            code, message, status, more = "failed", error.format_message(), FAILED, {}
        where = f"{ctx.command_path} {ctx.invoked_subcommand or ''}".rstrip()
        ctx.exit(answers.report(where, code, message, status, as_json=answers.wants_json(ctx), **more))

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """A table of contents, section by section."""
        for section in dict.fromkeys(entry.section for entry in CONTENTS):
            with formatter.section(section):
                rows = [(entry.name, entry.summary) for entry in CONTENTS if entry.section == section]
                formatter.write_dl(rows, col_max=12, col_spacing=2)


def _version(ctx: click.Context, parameter: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        from importlib.metadata import PackageNotFoundError, version

        try:
            click.echo(f"energoctl {version('energo')}")
        except PackageNotFoundError:
            click.echo("energoctl, not installed as a package")
        ctx.exit()


@click.group(
    cls=Contents,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog='Tab completion: eval "$(_ENERGOCTL_COMPLETE=bash_source energoctl)" in ~/.bashrc (or zsh_source, fish_source). '
    "Exit status: 0 done, 1 refused or failed, 2 wrong usage, 3 no node answers.",
)
@click.option(
    "--node",
    type=click.Path(path_type=Path),
    metavar="PATH",
    help=f"The node's socket (default: ${NODE_VARIABLE}, else {NODE_DEFAULT}).",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tables.")
@click.option(
    "--version", is_flag=True, expose_value=False, is_eager=True, callback=_version, help="Print the version."
)
@click.pass_context
def energoctl(ctx: click.Context, node: Path | None, as_json: bool) -> None:
    """A neighborhood that makes, stores and trades its own electricity, from the command line."""
    ctx.obj = {"json": as_json, "node": node}
    help_alone(ctx)


def run(arguments: list[str]) -> int:
    """The exit status of one call."""
    wants_json = "--json" in arguments  # a wrong option may stand before it, so the parser cannot say
    try:
        status = energoctl.main(arguments, prog_name="energoctl", standalone_mode=False)
        sys.stdout.flush()
    except click.UsageError as error:
        where = error.ctx.command_path if error.ctx else "energoctl"
        message = f"{error.format_message().rstrip('.')}; see {where} --help"
        return answers.report(where, "wrong_usage", message, USAGE, as_json=wants_json)
    except (click.Abort, KeyboardInterrupt):
        return answers.report("energoctl", "interrupted", "interrupted", FAILED, as_json=wants_json)
    except BrokenPipeError:
        # whoever read us has enough; nothing more is written, not even by the interpreter's own flush
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    return status if isinstance(status, int) else 0


def main() -> NoReturn:
    """The console script."""
    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
