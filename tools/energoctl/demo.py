"""`energoctl demo`: a street of real processes on this machine, from its genesis to an audited end.

Exit status 0 when every check holds, 1 when one does not or the run failed, 2 for options that cannot be. With --json nothing
but one JSON document goes to standard output; how it goes is said on standard error.
"""

from __future__ import annotations

import sys
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from ledger.base.errors import ConfigError

from . import answers

if TYPE_CHECKING:
    from energo_demo.show import LiveShow, PlainShow

SCENARIOS: Final = ("street", "prosumers", "storage", "crowdfund", "governance", "futures", "voucher")
SLOT_MS_MIN: Final = 500  # a slot has to hold a few blocks
SLOT_MS_MAX: Final = 900_000  # as long as what it stands for
PIPE_WIDTH: Final = 140  # of the report where no terminal shows it


def _slot_ms(ctx: click.Context, parameter: click.Parameter, text: str) -> int:
    try:
        slot_ms = int(Decimal(text) * 1_000)
    except (InvalidOperation, ValueError, OverflowError):
        raise click.BadParameter(f"{text!r} is not a number of seconds such as 1.5") from None
    if not SLOT_MS_MIN <= slot_ms <= SLOT_MS_MAX:
        raise click.BadParameter(
            f"{text} s: a slot of the demo lasts {SLOT_MS_MIN / 1_000} to {SLOT_MS_MAX // 1_000} s"
        )
    return slot_ms


@click.command()
@click.option("--scenario", type=click.Choice(SCENARIOS), default="street", show_default=True, help="Which story.")
@click.option(
    "--homes", type=int, default=5, show_default=True, help="How many homes, each a node that votes; at most 21."
)
@click.option("--days", type=int, default=1, show_default=True, help="How many measured days.")
@click.option(
    "--slot-seconds",
    "slot_ms",
    default="1.5",
    show_default=True,
    callback=_slot_ms,
    help="How long a slot of 15 minutes lasts.",
)
@click.option("--slots", type=int, help="End after so many slots instead of whole days.")
@click.option("--seed", type=int, default=0, show_default=True, help="Varies the profiles; 0 is as measured.")
@click.option(
    "--outage",
    "outages",
    multiple=True,
    metavar="HOME:FROM_SLOT:SLOTS[:power]",
    help="Switch a home off for some slots; with :power its meter reader too. Repeatable.",
)
@click.option(
    "--street",
    "street_file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Another street than the demo's own.",
)
@click.option("--keep", type=click.Path(path_type=Path), metavar="DIR", help="Keep everything, in a new folder.")
@click.pass_context
def demo(
    ctx: click.Context,
    scenario: str,
    homes: int,
    days: int,
    slot_ms: int,
    slots: int | None,
    seed: int,
    outages: tuple[str, ...],
    street_file: Path | None,
    keep: Path | None,
) -> None:
    """Run a street of real processes through measured days, and audit it."""
    from energo_demo.processes import Signals
    from energo_demo.run import Options, Run, check_options, parse_outage

    if scenario != "street":
        raise click.UsageError(f"--scenario {scenario}: not yet; the only scenario so far is street", ctx)
    try:
        chosen = tuple(parse_outage(text) for text in outages)
        options = Options(homes, days, slot_ms, seed, chosen, street_file, keep, slots)
        plan = check_options(options)
    except ConfigError as error:
        raise click.UsageError(str(error), ctx) from None
    as_json = answers.wants_json(ctx)
    with Signals() as signals:
        show = _show(as_json)
        try:
            if homes == 1:
                show.say("one home: it has no neighbors to trade with")
            document = Run(options, plan, signals, show).run()
        finally:
            show.close()
    if as_json:
        answers.write_json(document)
    else:
        from rich.console import Console

        from energo_demo.report import print_report

        print_report(document, Console(highlight=False, width=None if sys.stdout.isatty() else PIPE_WIDTH))
        if keep is not None:
            click.echo(f"kept in {keep}; start a node of it again with: energoctl node start {keep}/home1")
    ctx.exit(0 if all(document["checks"].values()) else answers.FAILED)


def _show(as_json: bool) -> LiveShow | PlainShow:
    """A live table on a terminal, lines elsewhere; with --json, lines on standard error."""
    from energo_demo.show import LiveShow, PlainShow

    if as_json:
        return PlainShow(sys.stderr)
    if not sys.stdout.isatty():
        return PlainShow(sys.stdout)
    from rich.console import Console

    return LiveShow(Console())
