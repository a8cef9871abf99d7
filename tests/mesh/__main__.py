"""`python -m tests.mesh`: real nodes and wallets, a network namespace a home, mistreated; prints what was done and what came of it.

Exit status 0: every scenario held; 1: one did not (the processes' logs are kept and named); 3: this machine cannot do it, and why.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final

from ledger.base.errors import EnergoError

from . import lan
from .scenarios import SCENARIOS, Scenario
from .street import Failed, Street

HOMES_MIN: Final = 4
CANNOT: Final = 3
STOPPED: Final = 130  # as a shell says it


def _row(name: str, done: str, street: Street, act: Callable[[], str]) -> dict[str, Any]:
    begin, before = time.monotonic(), len(street.told.final)
    try:
        seen, held = act(), True
    except (Failed, lan.Cannot, OSError, EnergoError) as error:
        seen, held = f"{type(error).__name__}: {error}", False
    final, seconds = len(street.told.final) - before, round(time.monotonic() - begin, 1)
    return {"scenario": name, "done": done, "held": held, "seen": seen, "final": final, "seconds": seconds}


def _start(street: Street) -> str:
    street.start()
    street.until_linked()
    street.begin()
    return f"every slot closed at height {street.homes[0].status()['height']}"


def _mistreat(street: Street, scenario: Scenario) -> str:
    """One scenario, and a look at what is left."""
    seen = scenario.act(street)
    for home in street.homes:
        home.revive()
    street.until_linked()
    agreed = street.until_same()
    street.judge()
    return f"{seen}; same state after {agreed:.1f} s"


def _verify(street: Street) -> str:
    street.kill()
    return street.verify()


def show(row: dict[str, Any]) -> None:
    """A row for a person."""
    print(
        f"{'held' if row['held'] else 'FAILED':6} {row['scenario']:22} {row['seconds']:6.1f} s  {row['final']:4} final"
    )
    print(f"       {row['done']}\n       {row['seen']}", flush=True)


def play(options: argparse.Namespace) -> int:
    """The scenarios, inside."""
    wanted = [each for each in SCENARIOS if not options.only or any(only in each.name for only in options.only)]
    street = Street(lan.Lan(options.homes + 1), options.inside, options.homes)  # a cable more, for a home that joins
    steps = [("start", "all homes at once", partial(_start, street))]
    steps += [(each.name, each.what, partial(_mistreat, street, each)) for each in wanted]
    steps.append(("verify", "every home's files, with all processes ended", partial(_verify, street)))
    rows: list[dict[str, Any]] = []
    try:
        for name, done, act in steps:
            rows.append(_row(name, done, street, act))
            if not options.json:
                show(rows[-1])
            if not rows[-1]["held"]:
                break  # what comes after a street that is not well says nothing
    finally:
        street.kill()
    held = all(row["held"] for row in rows)
    if options.json:
        print(json.dumps({"homes": options.homes, "cores": street.cores(), "held": held, "rows": rows}, indent=2))
    else:
        final = len(street.told.final)
        print(f"{options.homes} homes, {len(wanted)} of {len(SCENARIOS)} scenarios, {final} transfers reported final: "
              f"{'none lost, all states equal' if held else 'FAILED'}")  # fmt: skip
    return 0 if held else 1


def main() -> int:
    """What the arguments say."""
    parser = argparse.ArgumentParser(prog="python -m tests.mesh", description=__doc__)
    parser.add_argument("--homes", type=int, default=HOMES_MIN, help=f"how many homes, at least {HOMES_MIN}")
    parser.add_argument("--only", action="append", metavar="WORDS", help="scenarios with these words in their name")
    parser.add_argument("--json", action="store_true", help="the table as JSON")
    parser.add_argument("--list", action="store_true", help="the scenarios, and do nothing")
    parser.add_argument("--inside", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.homes < HOMES_MIN:
        parser.error(f"with fewer than {HOMES_MIN} homes nobody may be missing")
    if options.list:
        for scenario in SCENARIOS:
            print(f"{scenario.name:22} {scenario.what}")
        return 0
    if options.inside is not None:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(STOPPED))
        try:
            return play(options)
        except KeyboardInterrupt:
            return STOPPED
    why = lan.lacking()
    if why:
        print(f"this machine cannot run the mesh: {why}", file=sys.stderr)
        return CANNOT
    folder = Path(tempfile.mkdtemp(prefix="energo-mesh-"))
    status = 1
    try:
        status = lan.inside([sys.executable, "-m", "tests.mesh", "--inside", os.fspath(folder), *sys.argv[1:]])
    finally:
        if status == 1:
            for each in folder.glob("home*/"):
                shutil.rmtree(each, ignore_errors=True)
            print(f"what the processes said: {folder}", file=sys.stderr)
        else:
            with contextlib.suppress(OSError):
                shutil.rmtree(folder)
    return status


if __name__ == "__main__":
    raise SystemExit(main())
