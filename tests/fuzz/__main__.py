"""`python -m tests.fuzz`: the C against the reference on as many random commands and networks as one has time for, and every
parser of bytes from outside on almost valid ones (`parsers.py`).

Cases follow from seeds; a run prints its first seed, and a case that fails the command that replays it and the least that
still fails. Exit status 1 if any did.
"""

from __future__ import annotations

import argparse
import os
import resource
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from matcher_c import clear_arrays
from tests.matcher_c import variants

from . import clearing, exchange

FAILURES_SHOWN = 5  # of each kind; then the run ends
SEEDS_A_JOB = {"command": 50, "network": 50, "input": 1_000}
MEMORY_BYTES_MAX = 4 * 2**30  # of a process that parses: a length that is believed ends in MemoryError
SHOWN_BYTES = 4_096
BAR = 40


def exchange_failure(seed: int) -> str | None:
    """What is wrong with the case of a seed, shortened, or None."""
    case = exchange.make_case(seed)
    wrong = exchange.difference(case)
    if wrong is None:
        if seed % 16 == 0:
            wrong = exchange.restored(case)
        elif seed % 16 == 8:
            wrong = exchange.difference_in_calls(case)
        return wrong
    least = exchange.shrunk(case)
    return f"{wrong}\n  least: {least}\n  there: {exchange.difference(least)}"


def clearing_failure(seed: int) -> str | None:
    """What is wrong with the network of a seed, shortened, or None."""
    case = clearing.make_case(seed)
    wrong = clearing.difference(case)
    if wrong is None:
        return clearing.difference(case, twin=clear_arrays)  # in memory of its own
    least = clearing.shrunk(case)
    return f"{wrong}\n  least: {least}\n  there: {clearing.difference(least)}"


def input_failure(seed: int) -> str | None:
    """What is wrong with what a parser does with the input of a seed, shortened, or None."""
    from . import mutate, parsers  # the build with small thresholds has no ledger beside it

    parser, data = parsers.make_case(seed)
    found = parsers.wrong(parser, data)
    if found is None:
        return None
    kind = found.partition(":")[0]
    least = mutate.shrunk(data, lambda shorter: (parsers.wrong(parser, shorter) or "").partition(":")[0] == kind)
    return f"{parser.name}: {found}\n  least: {len(least)} bytes, --input {parser.name} {least[:SHOWN_BYTES].hex()}"


def replay(name: str, text: str) -> str | None:
    """What is wrong with what a parser does with the bytes of a hexadecimal text, or of a file that is named so."""
    from . import parsers

    try:
        data = bytes.fromhex(text)
    except ValueError:
        data = Path(text).read_bytes()
    return parsers.wrong(parsers.BY_NAME[name], data)


KINDS: dict[str, Callable[[int], str | None]] = {
    "command": exchange_failure,
    "network": clearing_failure,
    "input": input_failure,
}
AGREED = {"input": "each taken or refused as it should be"}


def run_seeds(kind: str, first: int, count: int) -> list[tuple[int, str]]:
    """The failures among the seeds first, first + 1, ..."""
    found = []
    for seed in range(first, first + count):
        try:
            wrong = KINDS[kind](seed)
        except Exception as error:  # noqa: BLE001 - whatever it is, the seed must be told with it
            wrong = f"{type(error).__name__}: {error}"
        if wrong is not None:
            found.append((seed, wrong))
    return found


def run_all(kind: str, first: int, cases: int, processes: int) -> Iterator[tuple[int, list[tuple[int, str]]]]:
    """(cases done, failures) as they come, over several processes."""
    step = SEEDS_A_JOB[kind]
    jobs = [(start, min(step, first + cases - start)) for start in range(first, first + cases, step)]
    done = 0
    limit = (resource.RLIMIT_AS, (MEMORY_BYTES_MAX, MEMORY_BYTES_MAX))
    with ProcessPoolExecutor(processes, initializer=resource.setrlimit, initargs=limit) as pool:
        waiting = [pool.submit(run_seeds, kind, start, count) for start, count in jobs]
        try:
            for (_, count), job in zip(jobs, waiting, strict=True):
                failures = job.result()
                done += count
                yield done, failures
        finally:
            pool.shutdown(cancel_futures=True)


def fuzz(kind: str, amount: int, each: int, first: int, processes: int) -> bool:
    """Runs one kind to the end, or to a few failures. True where there was none."""
    cases = -(-amount // each)
    begun, failed = time.monotonic(), 0
    for done, failures in run_all(kind, first, cases, processes):
        for seed, wrong in failures:
            failed += 1
            print(f"\n{kind} seed {seed}: {wrong}\n  replay: python -m tests.fuzz --{kind}-seed {seed}", flush=True)
        if sys.stderr.isatty():
            bar = "#" * (BAR * done // cases)
            took = time.monotonic() - begun
            left = took / done * (cases - done)
            print(f"\r{kind}s [{bar:<{BAR}}] {done * each:,}, {left:.0f} s left ", end="", file=sys.stderr, flush=True)
        if failed >= FAILURES_SHOWN:
            break
    if sys.stderr.isatty():
        print(file=sys.stderr)
    took = time.monotonic() - begun
    verdict = f"{failed} failed" if failed else AGREED.get(kind, "C and reference agree")
    print(f"{cases * each:,} {kind}s from seed {first} in {took:.0f} s: {verdict}", flush=True)
    return not failed


def run_tight(arguments: list[str]) -> int:
    """The same on a build whose thresholds are so small that small cases go through everything that large ones do."""
    with tempfile.TemporaryDirectory(prefix="energo-fuzz-") as name:
        folder = Path(name)
        variants.build(folder, "-DENERGO_TIGHT", "")
        shutil.copytree(Path(__file__).parent, folder / "tests" / "fuzz")
        command = [sys.executable, "-m", "tests.fuzz", *arguments]
        return subprocess.run(command, cwd=folder, env=os.environ | {"PYTHONPATH": name}, check=False).returncode


def main() -> int:
    """The exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--commands", type=int, default=10_000_000, help="of order streams")
    parser.add_argument("--networks", type=int, default=100_000)
    parser.add_argument("--inputs", type=int, default=1_000_000, help="of parsers")
    parser.add_argument("--input", nargs=2, metavar=("PARSER", "HEX|FILE"), help="replay one input of a parser")
    parser.add_argument("--write-corpus", action="store_true", help="write the parsers' samples anew")
    parser.add_argument("--seed", type=int, help="the first; drawn if not given")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--tight", action="store_true", help="build the C with small thresholds, and run on that")
    for kind in KINDS:
        parser.add_argument(f"--{kind}-seed", type=int, metavar="S", help="replay one case")
    given = parser.parse_args()
    if given.tight:
        return run_tight([argument for argument in sys.argv[1:] if argument != "--tight"] + ["--inputs", "0"])
    if given.write_corpus:
        from . import samples

        print(f"{samples.write(Path(__file__).parent / 'corpus'):,} bytes written")
        return 0
    if given.input:
        wrong = replay(*given.input)
        print(f"{given.input[0]}: {wrong or AGREED['input']}")
        return int(wrong is not None)
    for kind, failure in KINDS.items():
        seed = getattr(given, f"{kind}_seed")
        if seed is not None:
            wrong = failure(seed)
            print(f"{kind} seed {seed}: {wrong or AGREED.get(kind, 'C and reference agree')}")
            return int(wrong is not None)
    first = secrets.randbelow(2**40) if given.seed is None else given.seed
    amounts = (
        ("command", given.commands, exchange.COMMANDS_A_CASE),
        ("network", given.networks, 1),
        ("input", given.inputs, 1),
    )
    fine = [fuzz(kind, amount, each, first, given.processes) for kind, amount, each in amounts if amount]
    return int(not all(fine))


if __name__ == "__main__":
    sys.exit(main())
