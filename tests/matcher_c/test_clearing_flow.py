"""The reference against OR-tools' minimum-cost flow: two integers, which must be one.

OR-tools and HiGHS do not load into one process, and the suite's has HiGHS: so OR-tools runs in another
(energo_bench.solvers), many networks at a time.
"""

from __future__ import annotations

import random
import sys
from array import array
from collections.abc import Sequence
from dataclasses import replace

import pytest

import matcher_c
from energo_bench.networks import SHAPES, Network, make_network
from energo_bench.solvers import solve
from matcher_c import reference
from tests.matcher_c.instances import BUY, Instance, Outcome, random_instance


def network_of(instance: Instance) -> Network:
    columns = (instance.bus, instance.side, instance.limit, instance.quantity)
    buses = (instance.parent, instance.fee, instance.up, instance.down)
    parent, fee, up, down = (array("q", column) for column in buses)
    bus, side, limit, quantity = (array("q", column) for column in columns)
    rank = None if instance.rank is None else array("q", instance.rank)
    return Network(parent, fee, up, down, rank, bus, side, limit, quantity)


def optima(networks: Sequence[Network]) -> list[int]:
    found = solve("flow", networks)
    assert isinstance(found, list), found
    return [answer["objective"] for answer in found]


@pytest.mark.parametrize("seed", range(4))
def test_random_networks(seed: int) -> None:
    rng = random.Random(f"flow {seed}")
    instances = [random_instance(rng) for _ in range(400)]
    ours = [instance.objective(instance.clear(reference.clear_arrays)) for instance in instances]
    assert ours == optima([network_of(instance) for instance in instances])
    assert sum(value > 0 for value in ours) > 200


def test_larger_networks() -> None:
    rng = random.Random(5201)
    instances = [random_instance(rng, buses=60, orders=200) for _ in range(25)]
    ours = [instance.objective(instance.clear(reference.clear_arrays)) for instance in instances]
    assert ours == optima([network_of(instance) for instance in instances])


def test_wide_numbers() -> None:
    """Limits of either sign up to 31 bits; quantities of 20, since a solver's sum has 63."""
    rng = random.Random(63)
    instances = []
    for _ in range(150):
        small = random_instance(rng)
        wide = replace(
            small,
            fee=[rng.choice([0, 1, rng.randrange(2**30)]) for _ in small.fee],
            limit=[rng.randint(-(2**31) + 1, 2**31 - 1) for _ in small.limit],
            quantity=[-1 if quantity == -1 else rng.randint(1, 2**20) for quantity in small.quantity],
            up=[capacity if capacity < 0 else rng.randrange(2**21) for capacity in small.up],
        )
        grid = {wide.side[i]: wide.limit[i] for i in wide.orders if wide.is_grid(i)}
        if len(grid) < 2 or grid[0] <= grid[1]:  # feed-in is not above retail
            instances.append(wide)
    ours = [instance.objective(instance.clear(reference.clear_arrays)) for instance in instances]
    assert ours == optima([network_of(instance) for instance in instances])
    assert max(ours) > 2**50


def test_the_benchmarks_networks_with_the_c() -> None:
    """Sizes that the reference takes minutes for."""
    networks = [make_network(orders, shape, 9) for shape in SHAPES for orders in (500, 6_000)]
    ours = []
    for network in networks:
        traded, _, flow = matcher_c.clear_arrays(*network.columns())
        ours.append(network.objective(traded, flow))
    assert ours == optima(networks)


def worse_by_one(instance: Instance, outcome: Outcome) -> Outcome | None:
    """One Wh less between a buyer and a seller of one bus that gain by it."""
    for i in instance.orders:
        for j in instance.orders:
            both = outcome.traded[i] and outcome.traded[j] and instance.bus[i] == instance.bus[j]
            if both and (instance.side[i], instance.side[j]) == (BUY, 1) and instance.limit[i] > instance.limit[j]:
                traded = list(outcome.traded)
                traded[i] -= 1
                traded[j] -= 1
                return replace(outcome, traded=traded)
    return None


def test_the_comparison_can_fail() -> None:
    """A clearing that is one Wh short is seen, by as much as that Wh was worth."""
    rng = random.Random(99)
    pairs = []
    for _ in range(200):
        instance = random_instance(rng)
        worse = worse_by_one(instance, instance.clear(reference.clear_arrays))
        if worse is not None:
            pairs.append((instance, worse))
    assert len(pairs) > 20
    theirs = optima([network_of(instance) for instance, _ in pairs])
    assert all(instance.objective(worse) < best for (instance, worse), best in zip(pairs, theirs, strict=True))


def test_or_tools_stays_out_of_this_process() -> None:
    assert not [name for name in sys.modules if name.split(".")[0] == "ortools"]
