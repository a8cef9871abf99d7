"""Who else can clear a network: the reference, OR-tools' min-cost flow, HiGHS. Each runs in a process of its own.

The two solvers do not load into one process, so nothing imports this file's workers: `python -m energo_bench.solvers
reference|flow|lp FILE` reads the networks of a file and prints one line of JSON each: `{"ms", "objective"}`, of the
reference also the digest of all that it found. The clock covers the solver's own run, not the building of its model.
The flow's objective is an integer of its own; of HiGHS's vertex the whole numbers are taken, checked against every
bound and balance, and valued exactly.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from matcher_c import BUY, SELL, reference

from .networks import Network, read_networks

LIMIT_S: Final = 60.0
NEEDS: Final = {"reference": None, "flow": "ortools", "lp": "highspy"}
WHOLE: Final = 1e-4  # how far from a whole number a quantity of HiGHS may lie


def digest_of(results: Iterable[Sequence[int]]) -> str:
    """One digest of traded, prices and flows."""
    digest = hashlib.sha256()
    for column in results:
        digest.update(b"".join(value.to_bytes(8, "little", signed=True) for value in column))
    return digest.hexdigest()


def _reference(network: Network) -> dict[str, Any]:
    begun = time.perf_counter()
    traded, prices, flow = reference.clear_arrays(*network.columns())
    took = time.perf_counter() - begun
    return {
        "ms": took * 1e3,
        "objective": network.objective(traded, flow),
        "digest": digest_of((traded, prices, flow)),
    }


def _flow(network: Network) -> dict[str, Any]:
    """A circulation through one node outside: sells enter at their bus, buys leave, edges lead both ways at their fee."""
    from ortools.graph.python.min_cost_flow import SimpleMinCostFlow

    outside = len(network.parent)
    most = sum(quantity for quantity in network.quantity if quantity > 0)  # nothing can be more than all there is
    solver = SimpleMinCostFlow()
    for bus, side, limit, quantity in zip(network.bus, network.side, network.limit, network.quantity, strict=True):
        room = most if quantity < 0 else quantity
        ends, cost = ((outside, bus), limit) if side == SELL else ((bus, outside), -limit)
        solver.add_arc_with_capacity_and_unit_cost(*ends, room, cost)
    for bus in range(1, outside):
        above = network.parent[bus]
        for ends, capacity in (((bus, above), network.up[bus]), ((above, bus), network.down[bus])):
            room = most if capacity < 0 else min(capacity, most)
            solver.add_arc_with_capacity_and_unit_cost(*ends, room, network.fee[bus])
    begun = time.perf_counter()
    status = solver.solve()
    took = time.perf_counter() - begun
    if status != solver.OPTIMAL:
        raise RuntimeError(f"OR-tools gave no optimum: {status}")
    return {"ms": took * 1e3, "objective": -solver.optimal_cost()}


def _lp(network: Network) -> dict[str, Any]:
    """A linear program: a column an order and two an edge, a balance a bus."""
    import highspy
    import numpy

    buses, orders = len(network.parent), len(network.bus)
    ups = range(1, buses)
    columns = orders + 2 * (buses - 1)
    start, index, value = [0], [], []
    for bus, side in zip(network.bus, network.side, strict=True):
        index.append(bus)
        value.append(1.0 if side == SELL else -1.0)
        start.append(len(index))
    for sign in (1.0, -1.0):
        for bus in ups:
            index += [bus, network.parent[bus]]
            value += [-sign, sign]
            start.append(len(index))
    infinite = highspy.kHighsInf
    upper = [infinite if q < 0 else float(q) for q in network.quantity]
    upper += [infinite if c < 0 else float(c) for edge in (network.up, network.down) for c in edge[1:]]
    worth = [limit if side == BUY else -limit for side, limit in zip(network.side, network.limit, strict=True)]
    worth += [-fee for _ in range(2) for fee in network.fee[1:]]
    program = highspy.HighsLp()
    program.num_col_, program.num_row_ = columns, buses
    program.col_cost_ = numpy.array(worth, dtype=float)
    program.col_lower_ = numpy.zeros(columns)
    program.col_upper_ = numpy.array(upper)
    program.row_lower_ = program.row_upper_ = numpy.zeros(buses)
    program.sense_ = highspy.ObjSense.kMaximize
    matrix = program.a_matrix_
    matrix.format_ = highspy.MatrixFormat.kColwise
    matrix.start_ = numpy.array(start)
    matrix.index_ = numpy.array(index)
    matrix.value_ = numpy.array(value)
    solver = highspy.Highs()  # type: ignore[no-untyped-call]
    solver.setOptionValue("output_flag", False)
    solver.passModel(program)
    begun = time.perf_counter()
    solver.run()
    took = time.perf_counter() - begun
    if solver.getModelStatus() != highspy.HighsModelStatus.kOptimal:
        raise RuntimeError(f"HiGHS gave no optimum: {solver.getModelStatus()}")
    found = [float(x) for x in solver.getSolution().col_value]
    whole = [round(x) for x in found]
    balance = [0] * buses
    for column, amount in enumerate(whole):
        for entry in range(start[column], start[column + 1]):
            balance[index[entry]] += int(value[entry]) * amount
    fits = all(abs(x - n) < WHOLE and 0 <= n <= most for x, n, most in zip(found, whole, upper, strict=True))
    if not fits or any(balance):
        raise RuntimeError("HiGHS gave a vertex that is not whole")
    return {"ms": took * 1e3, "objective": sum(w * n for w, n in zip(worth, whole, strict=True))}


_WORKERS: Final[dict[str, Callable[[Network], dict[str, Any]]]] = {"reference": _reference, "flow": _flow, "lp": _lp}


def solve(name: str, networks: Sequence[Network], limit_s: float = LIMIT_S) -> list[dict[str, Any]] | str:
    """What a solver found, or in words why nothing."""
    needs = NEEDS[name]
    if needs is not None and find_spec(needs) is None:
        return f"{needs} is not installed; `make bench` installs it"
    with tempfile.NamedTemporaryFile(suffix=".networks") as file:
        for network in networks:
            file.write(network.to_bytes())
        file.flush()
        command = [sys.executable, "-m", "energo_bench.solvers", name, file.name]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=limit_s)
        except subprocess.TimeoutExpired:
            return f"over {limit_s:g} s"
    if done.returncode:
        return "failed: " + (done.stderr.strip().splitlines() or ["without a word"])[-1]
    return [json.loads(line) for line in done.stdout.splitlines()]


def main() -> None:
    """The worker's side."""
    name, file = sys.argv[1:]
    for network in read_networks(Path(file).read_bytes()):
        print(json.dumps(_WORKERS[name](network)))


if __name__ == "__main__":
    main()
