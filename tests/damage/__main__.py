"""`python -m tests.damage --cases 10000`: many damages; prints what came of them, exit status 1 if any was bad."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import Counter
from pathlib import Path

from .campaign import Wrong, build, one_case


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m tests.damage", description="Damage what a home keeps, and judge.")
    parser.add_argument("--cases", type=int, default=1_000)
    parser.add_argument("--seed", type=int, default=0, help="the first one")
    options = parser.parse_args()
    found: Counter[tuple[str, str]] = Counter()
    wrong: list[str] = []
    with tempfile.TemporaryDirectory() as root:
        street = build(Path(root) / "street")
        for seed in range(options.seed, options.seed + options.cases):
            try:
                where, what = one_case(street, seed, Path(root) / "case")
                found[where.split(",")[0], what] += 1
            except Wrong as error:
                wrong.append(str(error))
                print(error, flush=True)
            if sys.stderr.isatty():
                print(f"\r{seed - options.seed + 1} of {options.cases}", end="", file=sys.stderr)
    for (target, what), count in sorted(found.items()):
        print(f"{target:20} {what:28} {count:6}")
    print(f"{options.cases} damages, {len(wrong)} answered wrongly or not noticed")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
