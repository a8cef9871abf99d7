"""Many seeds in a row: the violations, and one trace hash over all of them."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from itertools import repeat
from typing import NamedTuple

from .checker import Violation
from .faults import SCENARIOS
from .world import World


def replay_command(seed: int, nodes: int | None, byzantine: int | None, scenario: str) -> str:
    """The command that runs one world again."""
    parts = [f"energoctl sim --seeds {seed}..{seed}", f"--scenario {scenario}"]
    if nodes is not None:
        parts.append(f"--nodes {nodes}")
    if byzantine is not None:
        parts.append(f"--byzantine {byzantine}")
    return " ".join(parts)


class Outcome(NamedTuple):
    """One world: its trace (empty after a violation), what was violated, and how long it lived."""

    seed: int
    trace: str
    what: str
    simulated_ms: int
    cpu_s: float


def run_one(seed: int, nodes: int | None, byzantine: int | None, scenario: str) -> Outcome:
    """The world of one seed."""
    begin_s = time.process_time()
    world = World(seed, nodes=nodes, byzantine=byzantine, scenario=scenario)
    trace = what = ""
    try:
        trace = world.run()
    except (Violation, AssertionError) as error:
        what = str(error)
    return Outcome(seed, trace, what, world.now_ms - world.begin_ms, time.process_time() - begin_s)


def run_seeds(
    first: int,
    last: int,
    *,
    nodes: int | None = None,
    byzantine: int | None = None,
    scenario: str = "swarm",
    jobs: int = 1,
    progress: Callable[[int], None] = lambda seed: None,
) -> dict[str, object]:
    """`{"seeds", "violations": [{"seed", "what", "replay"}], "trace", "figures"}` of the worlds first..last.

    The trace depends on the seeds alone, however many processes (`jobs`) share them; the figures are of this run.
    """
    assert scenario in SCENARIOS, f"scenarios are {', '.join(SCENARIOS)}"
    begin_s = time.monotonic()
    trace, simulated_ms, cpu_s = hashlib.sha256(), 0, 0.0
    violations: list[dict[str, object]] = []
    for done in _outcomes(range(first, last + 1), (nodes, byzantine, scenario), jobs):
        if done.what:
            replay = replay_command(done.seed, nodes, byzantine, scenario)
            violations.append({"seed": done.seed, "what": done.what, "replay": replay})
        else:
            trace.update(done.trace.encode())
        simulated_ms += done.simulated_ms
        cpu_s += done.cpu_s
        progress(done.seed)
    elapsed_s = max(time.monotonic() - begin_s, 0.001)
    seeds = last - first + 1
    figures = {
        "seeds_per_minute": round(60 * seeds / elapsed_s),
        "simulated_seconds": simulated_ms // 1000,
        "simulated_seconds_per_cpu_second": round(simulated_ms / 1000 / max(cpu_s, 0.001)),
    }
    return {"seeds": seeds, "violations": violations, "trace": trace.hexdigest(), "figures": figures}


def _outcomes(seeds: range, world: tuple[int | None, int | None, str], jobs: int) -> Iterator[Outcome]:
    """In the order of seeds."""
    if jobs == 1:
        for seed in seeds:
            yield run_one(seed, *world)
        return
    with ProcessPoolExecutor(jobs) as pool:
        yield from pool.map(run_one, seeds, *(repeat(each) for each in world), chunksize=4)
