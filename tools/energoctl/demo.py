"""`energoctl demo`: a street of real processes on this machine, from its genesis to an audited end.

Exit status 0 when every check holds, 1 when one does not or the run failed, 2 for options that cannot be. With --json nothing
but one JSON document goes to standard output.
"""

from __future__ import annotations

import json
import sys
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import NoReturn

import click

from ledger.base.errors import ConfigError, EnergoError

SCENARIOS = ("street", "prosumers", "storage", "crowdfund", "governance", "futures", "voucher")
SLOT_MS_MIN, SLOT_MS_MAX = 500, 900_000


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
    "--homes", type=int, default=5, show_default=True, help="How many homes, each a node that votes (up to 21)."
)
@click.option("--days", type=int, default=1, show_default=True, help="How many measured days.")
@click.option(
    "--slot-seconds", "slot_ms", default="1.5", show_default=True, callback=_slot_ms, help="How long 15 minutes last."
)
@click.option("--slots", type=int, help="End after so many slots instead of whole days.")
@click.option("--seed", type=int, default=0, show_default=True, help="Varies the profiles; 0 is as measured.")
@click.option(
    "--outage", "outages", multiple=True, metavar="HOME:FROM_SLOT:SLOTS[:power]", help="Switch a home off; repeatable."
)
@click.option(
    "--street", "street_file", type=click.Path(path_type=Path, dir_okay=False), help="Another street than the demo's."
)
@click.option(
    "--keep", type=click.Path(path_type=Path, file_okay=False), metavar="DIR", help="Keep everything in a new folder."
)
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
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
    as_json: bool,
) -> None:
    """Run a street of real processes on one measured day, and audit it."""
    from energo_demo.processes import Signals
    from energo_demo.run import Options, Run, check_options, parse_outage

    as_json = as_json or bool((ctx.find_root().obj or {}).get("json"))
    if scenario != "street":
        _fail(as_json, "not_yet", f"--scenario {scenario}: not yet; the only scenario so far is street", 2)
    try:
        options = Options(
            homes, days, slot_ms, seed, tuple(parse_outage(text) for text in outages), street_file, keep, slots
        )
        plan = check_options(options)
    except ConfigError as error:
        _fail(as_json, error.code, str(error), 2)
    with Signals() as signals:
        show = _show(as_json)
        try:
            if homes == 1:
                show.say("one home: it has no neighbors to trade with, only the grid")
            document = Run(options, plan, signals, show).run()
        except EnergoError as error:
            show.close()
            _fail(as_json, error.code, str(error), 1)
        finally:
            show.close()
    if as_json:
        click.echo(json.dumps(document))
    else:
        from rich.console import Console

        from energo_demo.report import print_report

        print_report(document, Console(highlight=False, soft_wrap=not sys.stdout.isatty()))
        if keep is not None:
            click.echo(f"kept in {keep}; start a node again with: energoctl node start {keep}/home1")
    sys.exit(0 if all(document["checks"].values()) else 1)


def _show(as_json: bool):  # type: ignore[no-untyped-def]
    """A live table on a terminal, lines elsewhere; with --json, lines on standard error."""
    from energo_demo.show import LiveShow, PlainShow

    if as_json:
        return PlainShow(sys.stderr)
    if not sys.stdout.isatty():
        return PlainShow(sys.stdout)
    from rich.console import Console

    return LiveShow(Console())


def _fail(as_json: bool, code: str, message: str, status: int) -> NoReturn:
    if as_json:
        click.echo(json.dumps({"error": {"code": code, "message": message}}))
    click.echo(f"energoctl demo: {message}", err=True)
    sys.exit(status)


if __name__ == "__main__":
    demo()
