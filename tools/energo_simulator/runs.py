"""Many seeds in a row: the violations, and one trace hash over all of them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

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


def run_seeds(
    first: int,
    last: int,
    *,
    nodes: int | None = None,
    byzantine: int | None = None,
    scenario: str = "swarm",
    progress: Callable[[int], None] = lambda seed: None,
) -> dict[str, object]:
    """`{"seeds", "violations": [{"seed", "what", "replay"}], "trace"}` of the worlds first..last."""
    assert scenario in SCENARIOS, f"scenarios are {', '.join(SCENARIOS)}"
    trace = hashlib.sha256()
    violations: list[dict[str, object]] = []
    for seed in range(first, last + 1):
        try:
            trace.update(World(seed, nodes=nodes, byzantine=byzantine, scenario=scenario).run().encode())
        except (Violation, AssertionError) as error:
            violations.append(
                {"seed": seed, "what": str(error), "replay": replay_command(seed, nodes, byzantine, scenario)}
            )
        progress(seed)
    return {"seeds": last - first + 1, "violations": violations, "trace": trace.hexdigest()}
