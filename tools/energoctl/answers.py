"""What a command prints: a JSON document for programs, an aligned table for people, one line for an error.

rich draws the tables and is imported when one is drawn, so that help and JSON stay fast.
"""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

import click

FAILED: Final = 1
USAGE: Final = 2
NO_NODE: Final = 3
PIPE_WIDTH: Final = 10_000  # of a table that no terminal shows: nothing is cut or wrapped for programs
BAR_STEPS: Final = 200
COUNT_DEFAULT: Final = 10
COUNT_MAX: Final = 10_000  # what the node gives at most


def wants_json(ctx: click.Context) -> bool:
    """Whether --json stands before or behind the command."""
    return bool((ctx.find_root().obj or {}).get("json"))


def write_json(document: object) -> None:
    """One document on standard output."""
    click.echo(json.dumps(document, ensure_ascii=False))


def report(where: str, code: str, message: str, status: int, *, as_json: bool, **more: object) -> int:
    """An error: one line on standard error, with --json an object on standard output too. Gives `status` back."""
    line = " ".join(message.split())
    if as_json:
        write_json({"error": {"code": code, "message": line}, **more})
    click.echo(f"{where}: {line}", err=True)
    return status


def write_table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, empty: str) -> None:
    """A table; numbers to the right (a column whose name begins with ">"). `empty` is said instead of no rows."""
    listed = [[_cell(value) for value in row] for row in rows]
    if not listed:
        click.echo(empty)
        return
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for name in columns:
        table.add_column(name.lstrip(">"), justify="right" if name.startswith(">") else "left", overflow="fold")
    for row in listed:
        table.add_row(*(Text(value) for value in row))
    _print(table)


def write_facts(facts: Iterable[tuple[str, object]]) -> None:
    """Name and value, one a line."""
    listed = [(name, _cell(value)) for name, value in facts]
    width = max(len(name) for name, _ in listed)
    for name, value in listed:
        click.echo(f"{click.style(name.ljust(width), dim=True)}  {value}")


def _print(table: Any) -> None:
    from rich.console import Console

    if sys.stdout.isatty():
        Console(highlight=False, emoji=False).print(table)
        return
    console = Console(file=io.StringIO(), width=PIPE_WIDTH, highlight=False, emoji=False)
    with console.capture() as drawn:
        console.print(table)
    for line in drawn.get().splitlines():
        click.echo(line.rstrip())


@contextmanager
def progress(label: str) -> Iterator[Callable[[int, int], None]]:
    """A bar on standard error while long work runs, told (done, of how many); nothing where that is no terminal."""
    if not sys.stderr.isatty():
        yield lambda done, of: None
        return
    with click.progressbar(length=1, label=label, file=sys.stderr, show_pos=True) as bar:

        def tell(done: int, of: int) -> None:
            bar.length = of
            if done == of or done - bar.pos > of // BAR_STEPS:  # drawing takes longer than a block
                bar.update(done - bar.pos)

        yield tell


def _cell(value: object) -> str:
    """A value in a table: nothing as "-", flags as words, no control characters."""
    if value is None or value == "":
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict):
        return ", ".join(f"{key} {_cell(inner)}" for key, inner in value.items()) or "-"
    if isinstance(value, list):
        return ", ".join(_cell(inner) for inner in value) or "-"
    return "".join(c if c.isprintable() else "?" for c in str(value))


count_argument = click.argument(
    "count", metavar="[N]", required=False, default=COUNT_DEFAULT, type=click.IntRange(1, COUNT_MAX)
)
