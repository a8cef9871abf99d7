"""`energoctl sim`: streets in virtual time, with loss, partitions, power cuts and liars, each from a seed."""

from __future__ import annotations

import re
from typing import Final

import click

from ledger.base.limits import COMMITTEE_MAX

from . import answers

SEED_MAX: Final = 2**48  # printable, and far more than anybody runs
SEEDS_MAX: Final = 10_000_000  # of one call: months; more is a typing error


def seed_range(text: str) -> tuple[int, int]:
    """First and last of `A..B`, or of one seed."""
    found = re.fullmatch(r"(\d{1,16})(?:\.\.(\d{1,16}))?", text, re.ASCII)
    if found is None:
        raise click.BadParameter(f"{text!r} is neither a seed such as 7 nor a range such as 1..100")
    first, last = int(found[1]), int(found[2] or found[1])
    if not first <= last <= SEED_MAX or last - first >= SEEDS_MAX:
        raise click.BadParameter(f"{text!r}: the first seed comes first, and at most {SEEDS_MAX} run in one go")
    return first, last


@click.command()
@click.option("--seeds", type=seed_range, required=True, metavar="A..B", help="From seed A to seed B, or one seed.")
@click.option(
    "--nodes", type=click.IntRange(1, COMMITTEE_MAX), help="Homes of each street (default: 1 to 7 by the seed)."
)
@click.option(
    "--byzantine", type=click.IntRange(0, COMMITTEE_MAX), metavar="F", help="Homes that lie (default: up to 1)."
)
@click.option("--scenario", default="swarm", show_default=True, metavar="NAME", help="What goes wrong.")
@click.option(
    "--jobs", type=click.IntRange(1, 64), default=1, show_default=True, help="Processes that share the seeds."
)
@click.pass_context
def sim(
    ctx: click.Context, seeds: tuple[int, int], nodes: int | None, byzantine: int | None, scenario: str, jobs: int
) -> None:
    """Simulate many streets with faults, each from a seed; a broken promise is printed with the command that replays it."""
    from energo_simulator.faults import SCENARIOS
    from energo_simulator.runs import run_seeds

    if scenario not in SCENARIOS:
        raise click.BadParameter(f"{scenario!r} is none of {', '.join(SCENARIOS)}", ctx, param_hint="--scenario")
    if byzantine is not None and byzantine > (nodes or 1):
        raise click.UsageError(f"--byzantine {byzantine} needs --nodes {3 * byzantine + 1} or more", ctx)
    first, last = seeds
    with answers.progress("seeds") as tell:
        found = run_seeds(
            first,
            last,
            nodes=nodes,
            byzantine=byzantine,
            scenario=scenario,
            jobs=jobs,
            progress=lambda seed: tell(seed - first + 1, last - first + 1),
        )
    violations = found["violations"]
    assert isinstance(violations, list), "runs.py gives a list"
    if answers.wants_json(ctx):
        answers.write_json(found)
    else:
        broken = f"{len(violations)} broke a promise" if violations else "no promise was broken"
        click.echo(f"{found['seeds']} streets: {broken}; trace {found['trace']}")
        figures = found["figures"]
        assert isinstance(figures, dict), "runs.py gives a table"
        click.echo(
            f"{figures['seeds_per_minute']} a minute; {figures['simulated_seconds_per_cpu_second']} simulated seconds a CPU second"
        )
        for violation in violations:
            click.echo(
                f"energoctl sim: seed {violation['seed']}: {violation['what']}; replay: {violation['replay']}", err=True
            )
    ctx.exit(answers.FAILED if violations else 0)
