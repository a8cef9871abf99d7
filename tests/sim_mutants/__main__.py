"""`python -m tests.sim_mutants`: plants every bug of the table and prints what noticed it, and within how many seeds."""

from __future__ import annotations

import argparse
import time

import pytest

from energo_simulator.world import World

from .planted import NOT_THERE_YET, PLANTED


def show() -> int:
    """The table; 1 if a bug was not noticed by what is to notice it."""
    missed = 0
    print(f"{'planted bug':36} {'seeds':>5} {'bound':>5} {'s':>5}  noticed by")
    for planted in PLANTED:
        begin = time.perf_counter()
        found = planted.find()
        seconds = time.perf_counter() - begin
        held = found is not None and planted.noticed in found.what
        missed += not held
        seeds = "-" if found is None else str(found.seeds)
        what = "NOTHING" if found is None else found.what.splitlines()[0][:90] + ("" if held else "  NOT WHAT SHOULD")
        print(f"{planted.name:36} {seeds:>5} {planted.seeds:>5} {seconds:5.1f}  {what}", flush=True)
        print(f"    {planted.change}")
    for name, why in NOT_THERE_YET:
        print(f"{name:36} not there yet: {why}")
    print(f"{len(PLANTED)} bugs planted, {missed} missed, {len(NOT_THERE_YET)} not there yet")
    return 1 if missed else 0


def main() -> int:
    """What the arguments say."""
    parser = argparse.ArgumentParser(prog="python -m tests.sim_mutants", description=__doc__)
    parser.add_argument(
        "--trace", type=int, metavar="SEED", help="print the trace of a seed's calm world, and no table"
    )
    parser.add_argument("--planted", default="", metavar="NAME", help="with --trace: the bug in that world")
    arguments = parser.parse_args()
    if arguments.trace is None:
        return show()
    with pytest.MonkeyPatch.context() as patch:
        for planted in PLANTED:
            if planted.name == arguments.planted:
                planted.plant(patch)
        print(World(arguments.trace, nodes=1, byzantine=0, scenario="calm").run())
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
