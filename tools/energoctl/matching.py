"""`energoctl clear` and `energoctl match`: one clearing, or one order stream, from a file. They need no node.

Results go to standard output as JSON; an error is one line on standard error that says what to do, exit status 1, and
with --json also an object on standard output.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import click

import matcher_c
from matcher_c.documents import asked_of, cleared
from matcher_c.exchange import CAPACITY_MAX
from matcher_c.fields import PRICE_DECIMALS, decimal_to_units
from matcher_c.streams import Operation, band_around_zero, match_operations, operation_of

from . import curves

FILE_BYTES_MAX = 512 * 2**20  # a full clearing of 2^20 orders takes about 100 MB of JSON; more would only fill memory


def fail(ctx: click.Context, code: str, message: str) -> NoReturn:
    """Ends the command with one line on standard error, exit status 1."""
    if (ctx.find_root().obj or {}).get("json"):
        click.echo(json.dumps({"error": {"code": code, "message": message}}))
    click.echo(f"energoctl {ctx.info_name}: {message}", err=True)
    sys.exit(1)


def refusal_code(refused: matcher_c.MatcherRefused) -> str:
    """An error's code for programs: its class in small letters, such as order_refused."""
    name = type(refused).__name__
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name).lstrip("_")


def read_text(ctx: click.Context, file: Path) -> str:
    """A whole file, or standard input for "-"."""
    try:
        with click.open_file(str(file), "rb") as stream:
            data: bytes = stream.read(FILE_BYTES_MAX + 1)
        if len(data) > FILE_BYTES_MAX:
            fail(ctx, "too_large", f"{file}: give a file of at most {FILE_BYTES_MAX} bytes")
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        fail(ctx, "not_text", f"{file}: save it as UTF-8; byte {error.start} is not")
    except OSError as error:
        fail(ctx, "unreadable", f"{file}: check that the file is there and readable ({error.strerror})")


def parse(ctx: click.Context, text: str, where: str) -> object:
    """JSON text as Python's own types."""
    try:
        value: object = json.loads(text)
    except RecursionError:
        fail(ctx, "not_json", f"{where}: write it flat; it is nested too deeply")
    except ValueError as error:
        fail(ctx, "not_json", f"{where}: correct the JSON: {error}")
    return value


@click.command()
@click.argument("file", type=click.Path(path_type=Path, allow_dash=True))
@click.option(
    "--plot",
    metavar="[OUT.svg]",
    is_flag=False,
    flag_value="-",
    type=click.Path(path_type=Path, allow_dash=True),
    help="Draw the curves into an SVG file; without a name, or with -, in characters on standard error.",
)
@click.pass_context
def clear(ctx: click.Context, file: Path, plot: Path | None) -> None:
    """Clear one slot of the live market from a JSON FILE ("-" reads standard input), and settle it.

    With "sharing", "pricing" or an order's "outside" in the file the result says what each order pays or receives in all.
    """
    document = parse(ctx, read_text(ctx, file), str(file))
    try:
        result = cleared(asked_of(document), matcher_c.clear_arrays)
    except matcher_c.MatcherRefused as refused:
        fail(ctx, refusal_code(refused), f"{file}: {refused}")
    if plot is not None:
        _draw(ctx, curves.picture_of(result), plot)
    click.echo(json.dumps(result.document()))


def _draw(ctx: click.Context, picture: curves.Picture, plot: Path) -> None:
    """A picture into a file, or for a person's eyes beside the JSON."""
    if str(plot) == "-":
        click.echo(curves.plain(picture), err=True, nl=False)
        return
    try:
        plot.write_text(curves.svg(picture), encoding="utf-8")
    except OSError as error:
        fail(ctx, "unwritable", f"{plot}: check that the folder is there and writable ({error.strerror})")


@click.command()
@click.argument("file", type=click.Path(path_type=Path, allow_dash=True))
@click.option(
    "--capacity", type=click.IntRange(1, CAPACITY_MAX), help="Orders that may rest (default: as many as limits)."
)
@click.option("--tick", default="0.00001", show_default=True, help="Smallest price step per kWh.")
@click.option("--lowest", help="Lowest price per kWh (default: 2^19 ticks below 0).")
@click.option("--highest", help="Highest price per kWh (default: 2^19 ticks above 0).")
@click.pass_context
def match(
    ctx: click.Context, file: Path, capacity: int | None, tick: str, lowest: str | None, highest: str | None
) -> None:
    """Run one order stream, a JSONL FILE ("-" reads standard input), through the exchange's matcher."""
    try:
        step = _option("--tick", tick)
        if step < 1:
            raise click.BadParameter("give a price above 0", param_hint="--tick")
        low, high = band_around_zero(step)
        if lowest is not None:
            low = _option("--lowest", lowest)
        if highest is not None:
            high = _option("--highest", highest)
        operations = list(_operations(ctx, file))
        limits = sum(operation.may_rest for operation in operations)
        book = matcher_c.OrderBook(
            capacity=capacity or min(max(limits, 1), CAPACITY_MAX), tick=step, lowest=low, highest=high
        )
        for result in match_operations(operations, book):
            click.echo(json.dumps(result))
    except matcher_c.MatcherRefused as refused:
        fail(ctx, refusal_code(refused), f"{file}: {refused}")


def _option(name: str, text: str) -> int:
    try:
        return decimal_to_units(text, PRICE_DECIMALS)
    except matcher_c.DocumentRefused as refused:
        raise click.BadParameter(str(refused), param_hint=name) from None


def _operations(ctx: click.Context, file: Path) -> Iterator[Operation]:
    for line, text in enumerate(read_text(ctx, file).split("\n"), start=1):
        if text.strip():
            yield operation_of(parse(ctx, text, f"{file}: line {line}"), line)
