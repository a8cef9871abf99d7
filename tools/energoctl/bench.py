"""`energoctl bench`: how fast the two matchers are on this machine, beside whoever else does the same job.

Workloads come from a seed and are made anew each time; what a table compares was measured in one run. Packages and
solvers that are not installed have a row that says so (`make bench` installs them).
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from . import answers
from .commands import help_alone

if TYPE_CHECKING:
    from energo_bench.exchange import Spread

STREAM_BYTES_MAX: Final = 512 * 2**20  # 16 million commands; more would only fill memory
ROUNDS: Final = 7
CAPACITY_MAX: Final = 2**22  # orders of one book, as the matcher has it
ORDERS_MAX: Final = 1_000_000
SEED_MAX: Final = 2**48


@click.group(invoke_without_command=True)
@click.pass_context
def bench(ctx: click.Context) -> None:
    """Measure the two matchers on this machine, beside whoever else does the same job."""
    help_alone(ctx)


def refuse(message: str) -> click.ClickException:
    """One line that says what to do."""
    return click.ClickException(message)


def _million(rate: float) -> str:
    return f"{rate / 1e6:.2f}"


def _nanoseconds(spread: Spread) -> list[str]:
    return [f"{value:.0f}" for value in (spread.low, spread.median, spread.high)]


@bench.command()
@click.option(
    "--stream", "file", type=click.Path(path_type=Path), help="Replay a file of 32-byte commands, nothing else."
)
@click.option(
    "--max-live",
    type=click.IntRange(1, CAPACITY_MAX),
    metavar="M",
    help="Orders that the file's book may hold (default: as many as ever rest).",
)
@click.option("--save", type=click.Path(path_type=Path), metavar="FILE", help="Write the stream to FILE and stop.")
@click.option("--deep", is_flag=True, help="With --save: the stream whose book grows, instead of the shallow one.")
@click.option("--keep", type=click.Path(path_type=Path), metavar="DIR", help="Leave both streams in DIR.")
@click.option("--seed", type=click.IntRange(0, SEED_MAX), default=1, show_default=True, help="Makes the streams.")
@click.option("--rounds", type=click.IntRange(1, 100), default=ROUNDS, show_default=True, help="Turns of each row.")
@click.pass_context
def matcher(
    ctx: click.Context,
    file: Path | None,
    max_live: int | None,
    save: Path | None,
    deep: bool,
    keep: Path | None,
    seed: int,
    rounds: int,
) -> None:
    """Replay a million commands through the exchange from Python; a file of them with --stream, the fastest of five passes."""
    import matcher_c
    from energo_bench import exchange
    from energo_bench.stream import MESSAGES, SHALLOW_LIVE, make_stream

    if file is not None:
        try:
            stream = _read(file)
            with answers.progress("commands") as tell:
                found = exchange.replay(stream, max_live, tell)
        except matcher_c.MatcherRefused as refused:
            raise refuse(f"{file}: {refused}") from None
        if answers.wants_json(ctx):
            answers.write_json(found)
        else:
            answers.write_facts((name.replace("_", " "), value) for name, value in found.items())
        return
    if max_live is not None:
        raise click.UsageError("--max-live goes with --stream", ctx)
    if save is not None:
        with answers.progress("commands") as tell:
            made = make_stream(MESSAGES, seed=seed, live_max=None if deep else SHALLOW_LIVE, tell=tell)
        _write(save, made)
        click.echo(f"{save}: {MESSAGES} commands")
        return
    if deep:
        raise click.UsageError("--deep goes with --save", ctx)
    _whole_matcher(ctx, seed, rounds, keep)


def _read(file: Path) -> bytes:
    try:
        with file.open("rb") as stream:
            data = stream.read(STREAM_BYTES_MAX + 1)
    except OSError as error:
        raise refuse(f"{file}: check that the file is there and readable ({error.strerror})") from None
    if len(data) > STREAM_BYTES_MAX:
        raise refuse(f"{file}: give at most {STREAM_BYTES_MAX} bytes of commands")
    if len(data) % 32:
        raise refuse(f"{file}: give whole records of 32 bytes; {len(data) % 32} bytes are left over")
    return data


def _write(file: Path, data: bytes | bytearray | str) -> None:
    try:
        if isinstance(data, str):
            file.write_text(data, encoding="utf-8")
        else:
            file.write_bytes(data)
    except OSError as error:
        raise refuse(f"{file}: check that its folder is there and writable ({error.strerror})") from None


def _whole_matcher(ctx: click.Context, seed: int, rounds: int, keep: Path | None) -> None:
    from energo_bench import exchange, packages
    from energo_bench.stream import MESSAGES

    with answers.progress("streams") as tell:
        made = exchange.streams(seed, tell=tell)
    with answers.progress("rates") as tell:
        rates = exchange.rates(made, rounds, tell)
    with answers.progress("depths") as tell:
        depths = exchange.cost_by_depth(seed=seed, tell=tell)
    calls = exchange.one_by_one(seed)
    beside: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder, answers.progress("packages") as tell:
        where = keep or Path(folder)
        for name, stream in made.items():
            _write(where / f"{name}.stream", stream)
        jobs = [(package, name) for package in packages.PACKAGES for name in made]
        for place, (package, name) in enumerate(jobs):
            found = packages.run_package(package, where / f"{name}.stream")
            row: dict[str, Any] = {"package": package, "version": packages.installed(package), "stream": name}
            if isinstance(found, str):
                beside.append({**row, "note": found})
            else:
                fills, digest = exchange.prefix_hash(made[name], found["messages"])
                rate = found["messages"] / found["seconds"]
                same = (fills, digest) == (found["fills"], found["fills_hash"])
                ratio = rates[name].median / rate
                more = {"messages": found["messages"], "msgs_per_s": round(rate), "same_fills": same}
                beside.append({**row, **more, "ours_times_faster": round(ratio, 1)})
            tell(place + 1, len(jobs))
    if answers.wants_json(ctx):
        answers.write_json(
            {
                "messages": MESSAGES,
                "msgs_per_s": {name: _as_json(spread) for name, spread in rates.items()},
                "ns_by_depth": {str(depth): _as_json(spread) for depth, spread in depths.items()},
                "ns_a_call": {name: _as_json(spread) for name, spread in calls.items()},
                "packages": beside,
            }
        )
        return
    click.echo(f"Million commands a second through book.run, {MESSAGES:,} commands, {rounds} turns")
    base = rates["shallow"].median
    answers.write_table(
        ["stream", ">slowest", ">median", ">fastest", ">cost against shallow"],
        [
            [name, _million(s.low), _million(s.median), _million(s.high), f"{base / s.median:.2f}"]
            for name, s in rates.items()
        ],
        empty="",
    )
    click.echo("\nNanoseconds a command, by how many orders rest")
    answers.write_table(
        [">resting", ">fastest", ">median", ">slowest"],
        [[f"{depth:,}", *_nanoseconds(spread)] for depth, spread in depths.items()],
        empty="",
    )
    click.echo("\nNanoseconds a call from Python")
    answers.write_table(
        ["call", ">fastest", ">median", ">slowest"],
        [[name, *_nanoseconds(spread)] for name, spread in calls.items()],
        empty="",
    )
    click.echo("\nPackages on PyPI, the same stream in the same run")
    answers.write_table(
        ["package", "version", "stream", ">million a second", ">we are faster", "same fills"],
        [
            [
                row["package"],
                row["version"],
                row["stream"],
                *(
                    (row["note"], "", "")
                    if "note" in row
                    else (_million(row["msgs_per_s"]), f"{row['ours_times_faster']:.0f}x", row["same_fills"])
                ),
            ]
            for row in beside
        ],
        empty="none",
    )


def _as_json(spread: Spread) -> dict[str, float]:
    return {"min": round(spread.low, 1), "median": round(spread.median, 1), "max": round(spread.high, 1)}


@bench.command()
@click.option("--orders", type=click.IntRange(1, ORDERS_MAX), metavar="N", help="One size only.")
@click.option(
    "--shape",
    type=click.Choice(["one", "street", "path", "star", "tree"]),
    help="One shape only (with --orders; default: street).",
)
@click.option("--seed", type=click.IntRange(0, SEED_MAX), default=1, show_default=True, help="Makes the networks.")
@click.option("--largest", type=click.IntRange(10, ORDERS_MAX), metavar="N", help="End the table at N orders.")
@click.option("--plot", type=click.Path(path_type=Path), metavar="FILE", help="Draw the table as SVG.")
@click.pass_context
def clearing(
    ctx: click.Context, orders: int | None, shape: str | None, seed: int, largest: int | None, plot: Path | None
) -> None:
    """Clear networks of 10 to 1,000,000 orders, beside a sort, the reference, OR-tools and HiGHS."""
    from energo_bench import clearing as yardstick
    from energo_bench.plot import picture

    if orders is not None:
        if plot is not None or largest is not None:
            raise click.UsageError("--plot and --largest go with the whole table, without --orders", ctx)
        found = yardstick.measure(orders, shape or "street", seed)
        if answers.wants_json(ctx):
            answers.write_json(found)
        else:
            answers.write_facts((name.replace("_", " "), value) for name, value in found.items())
        return
    if shape is not None:
        raise click.UsageError("--shape goes with --orders", ctx)
    sizes = [size for size in yardstick.SIZES if largest is None or size <= largest]
    with answers.progress("networks") as tell:
        rows = yardstick.table(seed, sizes, tell=tell)
    if plot is not None:
        _write(plot, picture(rows))
    if answers.wants_json(ctx):
        answers.write_json(rows)
        return
    click.echo(
        "Milliseconds of one clearing (kept: in memory taken once); OR-tools and HiGHS: their solver's own run, its model ready"
    )
    answers.write_table(
        [
            "shape",
            ">orders",
            ">buses",
            ">ms",
            ">kept",
            ">sort",
            ">of a sort",
            ">reference",
            ">OR-tools",
            ">of it",
            ">HiGHS",
            "same",
        ],
        [
            [
                row["shape"],
                f"{row['orders']:,}",
                f"{row['buses']:,}",
                _ms(row["ms"]),
                _ms(row["ms_kept"]),
                _ms(row["sort_ms"]),
                f"{row['ms'] / row['sort_ms']:.1f}x",
                _ms(row["reference_ms"]),
                _ms(row["flow_ms"]),
                f"{row['flow_ms'] / row['ms']:.1f}x" if row["flow_ms"] is not None else None,
                _ms(row["lp_ms"]),
                _agreement(row),
            ]
            for row in rows
        ],
        empty="",
    )
    tree = {row["orders"]: row["ms"] for row in rows if row["shape"] == "tree"}
    ratios = [(row["orders"], row["ms"] / tree[row["orders"]]) for row in rows if row["shape"] == "path"]
    free = yardstick.path_against_tree(seed, sizes)
    for name, pairs in (("", ratios), (", lines without limit", free)):
        shown = ", ".join(f"{n:,} orders {ratio:.2f}x" for n, ratio in pairs)
        click.echo(f"{'' if name else chr(10)}A path against a balanced tree{name}: {shown}")
    notes = dict.fromkeys(note for row in rows for note in row["notes"].values() if not note.startswith("over "))
    for note in notes:
        click.echo(note)


def _ms(value: float | None) -> str | None:
    return None if value is None else f"{value:.4g}" if value < 1000 else f"{value:.0f}"


def _agreement(row: dict[str, Any]) -> str:
    """Who got as far, and whether all of them found the same optimum."""
    verdicts = {name: row[f"same_as_{name}"] for name in ("reference", "flow", "lp")}
    asked = {name: verdict for name, verdict in verdicts.items() if verdict is not None}
    if not asked:
        return "-"
    wrong = [name for name, verdict in asked.items() if not verdict]
    return "NOT as " + ", ".join(wrong) if wrong else f"yes, {len(asked)} of 3"


@bench.command()
@click.option(
    "--nodes", type=click.IntRange(1, 21), default=7, show_default=True, metavar="N", help="Homes of the street."
)
@click.option(
    "--rate",
    type=click.FloatRange(0, 5_000),
    default=50.0,
    show_default=True,
    metavar="R",
    help="Transfers a second; 0: idle.",
)
@click.option("--seconds", type=click.IntRange(1, 3_600), default=30, show_default=True, metavar="S", help="How long.")
@click.option(
    "--interval-ms",
    type=click.IntRange(10, 60_000),
    default=250,
    show_default=True,
    metavar="MS",
    help="The genesis' least time between blocks with orders.",
)
@click.option("--keep", type=click.Path(path_type=Path), metavar="DIR", help="Leave the homes' folders in DIR.")
@click.option(
    "--profile",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Run the first node under cProfile (pstats reads it).",
)
@click.pass_context
def node(
    ctx: click.Context,
    nodes: int,
    rate: float,
    seconds: int,
    interval_ms: int,
    keep: Path | None,
    profile: Path | None,
) -> None:
    """Run a street of real nodes and wallets under load: finality, bytes written, memory, CPU."""
    from energo_bench import node as yardstick

    with answers.progress("seconds") as tell:
        found = yardstick.measure(nodes, rate, seconds, interval_ms=interval_ms, tell=tell, keep=keep, profile=profile)
    if answers.wants_json(ctx):
        answers.write_json(found)
        return
    words = {"bytes_per_day_25_homes": f"bytes a day, 25 homes ({yardstick.DAY_BLOCKS} blocks as measured)"}
    answers.write_facts((words.get(name, name.replace("_", " ")), value) for name, value in found.items())
