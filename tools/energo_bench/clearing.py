"""`energoctl bench clearing`: the live market's clearing beside a sort, the reference, OR-tools and HiGHS.

`ms` is the median of several calls of `clear_arrays` on ready columns, everything that the call does included; `ms_kept`
that of a `Clearer`, which takes its memory once. The sort is the quickest ready-made one that gives the order of the same
limits: numpy's argsort where it is installed.
"""

from __future__ import annotations

import statistics
import time
from array import array
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Final

import matcher_c

from .networks import SHAPES, Network, make_network
from .solvers import LIMIT_S, digest_of, solve
from .stream import Tell, silent

SIZES: Final = (10, 80, 1_000, 10_000, 100_000, 1_000_000)  # 80 orders: a street of 40 homes
TABLE_LIMIT_S: Final = 10.0  # of a solver on one size; it is not asked for a larger one after that
SHARE_S: Final = 0.4  # how long one call is repeated
RUNS: Final = (5, 2000)  # at least and at most


def median_ms(call: Callable[[], object]) -> float:
    """The median of several runs after one that nobody counts, in milliseconds."""
    call()
    taken: list[float] = []
    begun = time.perf_counter()
    while len(taken) < RUNS[0] or (time.perf_counter() - begun < SHARE_S and len(taken) < RUNS[1]):
        before = time.perf_counter()
        call()
        taken.append(time.perf_counter() - before)
    return statistics.median(taken) * 1e3


def quickest_sort(network: Network) -> tuple[float, str]:
    """Milliseconds of the quickest ready-made sort of the orders by limit, and which it was."""
    limits = network.limit
    sorts: dict[str, Callable[[], object]] = {
        "sorted": lambda: sorted(range(len(limits)), key=limits.__getitem__),
    }
    try:
        import numpy
    except ModuleNotFoundError:
        pass
    else:
        column = numpy.frombuffer(limits, dtype=numpy.int64)
        sorts = {
            "numpy argsort": lambda: numpy.argsort(column),
            "numpy argsort, stable": lambda: numpy.argsort(column, kind="stable"),
        }
    return min((median_ms(sort), name) for name, sort in sorts.items())


def measure(
    orders: int,
    shape: str,
    seed: int,
    *,
    limit_s: float = LIMIT_S,
    beside: Sequence[str] = ("reference", "flow", "lp"),
) -> dict[str, Any]:
    """One size of one shape, with the keys of interfaces.md section 5; null where a solver did not come to an end."""
    network = make_network(orders, shape, seed)
    columns = network.columns()
    traded, prices, flow = matcher_c.clear_arrays(*columns)
    objective = network.objective(traded, flow)
    clearer = matcher_c.Clearer(buses=len(network.parent), orders=len(network.bus))
    sort_ms, sort = quickest_sort(network)
    found: dict[str, Any] = {
        "orders": orders,
        "buses": len(network.parent),
        "shape": shape,
        "ms": median_ms(lambda: matcher_c.clear_arrays(*columns)),
        "ms_kept": median_ms(lambda: clearer.clear_arrays(*columns)),
        "sort_ms": sort_ms,
        "reference_ms": None,
        "flow_ms": None,
        "lp_ms": None,
        "same_as_reference": None,
        "same_as_flow": None,
        "same_as_lp": None,
        "sort": sort,
        "objective": objective,
        "notes": {},
    }
    for name in beside:
        answer = solve(name, [network], limit_s)
        if isinstance(answer, str):
            found["notes"][name] = answer
            continue
        (theirs,) = answer
        found[f"{name}_ms"] = theirs["ms"]
        same = theirs["objective"] == objective
        if "digest" in theirs:
            same = same and theirs["digest"] == digest_of((traded, prices, flow))
        found[f"same_as_{name}"] = same
    for key, value in found.items():
        if key.endswith(("ms", "ms_kept")) and value is not None:
            found[key] = round(value, 4)
    return found


def path_against_tree(seed: int, sizes: Sequence[int]) -> list[tuple[int, float]]:
    """(orders, how many times a balanced tree's a path takes) where no line has a limit, so that no curve is ever cut."""
    found = []
    for orders in sizes:
        took = {}
        for shape in ("path", "tree"):
            network = make_network(orders, shape, seed)
            free = array("q", [-1]) * len(network.parent)
            columns = replace(network, up=free, down=free).columns()
            took[shape] = median_ms(partial(matcher_c.clear_arrays, *columns))
        found.append((orders, took["path"] / took["tree"]))
    return found


def table(
    seed: int, sizes: Sequence[int] = SIZES, shapes: Sequence[str] = SHAPES, tell: Tell = silent
) -> list[dict[str, Any]]:
    """Every shape in every size, each solver as far as it gets."""
    rows = []
    for number, shape in enumerate(shapes):
        beside = ["reference", "flow", "lp"]
        for place, orders in enumerate(sizes):
            row = measure(orders, shape, seed, limit_s=TABLE_LIMIT_S, beside=beside)
            beside = [name for name in beside if row[f"{name}_ms"] is not None]
            rows.append(row)
            tell(number * len(sizes) + place + 1, len(sizes) * len(shapes))
    return rows
