"""Random networks for both clearings. A case follows from its seed; some have numbers of any size, some are spoiled, and
then both must refuse them in the same words."""

from __future__ import annotations

import random
from dataclasses import replace

from matcher_c import Clearer, MatcherRefused, reference
from tests.matcher_c.instances import ClearArrays, Instance, random_instance

LARGEST = 400  # orders, and more than the buses
_WILD = (-(2**63), -(2**31), -2, -1, 0, 2**31 - 1, 2**31, 2**32, 2**62, 2**63 - 1)


def make_case(seed: int) -> Instance:
    """The network of a seed."""
    rng = random.Random(f"clearing {seed}")
    draw = rng.random()
    if draw < 0.001:
        case = random_instance(rng, buses=rng.choice([1, 300]), orders=LARGEST)
    elif draw < 0.01:
        case = random_instance(rng, buses=60, orders=150)
    elif draw < 0.15:
        case = random_instance(rng, buses=2, orders=12)
    elif draw < 0.25:
        case = random_instance(rng, buses=25, orders=30)
    else:
        case = random_instance(rng)
    if rng.random() < 0.2:
        case = _wide(rng, case)
    return _spoiled(rng, case) if rng.random() < 0.05 else case


def _wide(rng: random.Random, case: Instance) -> Instance:
    """The same network with numbers of any size; the grid keeps its prices in order."""
    by_limit = {limit: rng.randint(-(2**31) + 1, 2**31 - 1) for limit in sorted(set(case.limit))}
    ordered = dict(zip(sorted(by_limit), sorted(by_limit.values()), strict=True))
    return replace(
        case,
        fee=[fee and rng.choice([1, rng.randrange(2**31), 2**31 - 1]) for fee in case.fee],
        up=[capacity if capacity <= 0 else rng.choice([rng.randrange(2**34), 2**63 - 1]) for capacity in case.up],
        limit=[ordered[limit] for limit in case.limit],
        quantity=[-1 if quantity == -1 else rng.randint(2**31, 2**32 - 1) for quantity in case.quantity],
    )


def _spoiled(rng: random.Random, case: Instance) -> Instance:
    """One number out of its bounds, or just unusual."""
    name = rng.choice(["parent", "fee", "up", "down", "bus", "side", "limit", "quantity"])
    column = list(getattr(case, name))
    if column:
        column[rng.randrange(len(column))] = rng.choice(_WILD)
    return replace(case, **{name: column})


# One memory for all cases, as a home's node has it: what the last one left in it must not matter.
CLEARER = Clearer(buses=LARGEST, orders=LARGEST + 2)


def answer_of(case: Instance, clear_arrays: ClearArrays) -> object:
    """What a clearing gives, or what it refuses with."""
    try:
        return case.clear(clear_arrays)
    except MatcherRefused as refused:
        return type(refused).__name__, str(refused)


def difference(
    case: Instance, ours: ClearArrays = CLEARER.clear_arrays, twin: ClearArrays = reference.clear_arrays
) -> str | None:
    """Where the two clearings differ, in words, or None."""
    answers = answer_of(case, ours), answer_of(case, twin)
    return None if answers[0] == answers[1] else f"{answers[0]} and {answers[1]}"


def shrunk(
    case: Instance, ours: ClearArrays = CLEARER.clear_arrays, twin: ClearArrays = reference.clear_arrays
) -> Instance:
    """The same network with no order more than the difference needs."""
    places = list(case.orders)
    for place in reversed(places):
        without = [other for other in places if other != place]
        if difference(case.with_orders(without), ours, twin) is not None:
            places = without
    return case.with_orders(places)
