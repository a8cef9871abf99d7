"""The C clearing equals the reference on everything: ties, fees, capacities, grid or island, big numbers."""

import random
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

import matcher_c
from matcher_c import reference
from tests.matcher_c.instances import BUY, SELL, Instance, fixed, instances, random_instance


def assert_same(instance: Instance) -> None:
    assert instance.clear(matcher_c.clear_arrays) == instance.clear(reference.clear_arrays)


@fixed
@given(instances())
def test_small_instances_with_many_ties(instance: Instance) -> None:
    assert_same(instance)


@fixed
@given(instances(buses=2, orders=10, limits=st.integers(0, 2), fees=st.integers(0, 1), capacities=st.just(-1)))
def test_one_or_two_buses_where_nearly_everything_ties(instance: Instance) -> None:
    assert_same(instance)


@fixed
@given(
    instances(
        limits=st.integers(-(2**31) + 6, 2**31 - 6),
        quantities=st.integers(1, 2**32 - 1),
        fees=st.integers(0, 2**31 - 1),
        capacities=st.just(-1) | st.integers(0, 2**63 - 1),
    )
)
def test_the_whole_range_of_numbers(instance: Instance) -> None:
    assert_same(instance)


def test_thousands_of_seeded_instances() -> None:
    rng = random.Random(20210324)
    for _ in range(6000):
        assert_same(random_instance(rng))


def test_larger_seeded_instances() -> None:
    rng = random.Random(7)
    for _ in range(40):
        assert_same(random_instance(rng, buses=60, orders=200))


def test_paths_that_keep_their_curves() -> None:
    """Paths and combs without capacities: curves grow long, change sides at each bus, and small ones join large ones."""
    rng = random.Random(11)
    for seed in range(60):
        count = rng.randint(20, 80)
        instance = random_instance(rng, buses=1, orders=0)
        far = rng.choice([0.0, 0.1, 0.3])
        parent = [-1] + [rng.randrange(b) if rng.random() < far else b - 1 for b in range(1, count)]
        capacity = [-1] if seed % 3 else [-1] * 9 + [40]
        orders = 3 * count
        sides = rng.choice([[0, 1], [0, 1], [0, 1], [0] * 30 + [1], [1], [0]])
        instance = replace(
            instance,
            parent=parent,
            fee=[rng.choice([0, 0, 1, 2, 30]) for _ in parent],
            up=[rng.choice(capacity) for _ in parent],
            down=[rng.choice(capacity) for _ in parent],
            bus=[rng.randrange(count) if i % 2 else count - 1 - i % 5 for i in range(orders)],
            side=[rng.choice(sides) for _ in range(orders)],
            limit=[rng.randint(-40, 90) for _ in range(orders)],
            quantity=[rng.choice([1, 2, 9, 300]) for _ in range(orders)],
            rank=None,
        )
        assert_same(instance)


def test_quantities_whose_sum_is_far_above_one_order() -> None:
    """300 sells of 2^32 - 1 Wh share what one buyer fewer takes: products of 73 bits."""
    most = 2**32 - 1
    instance = Instance(
        parent=[-1],
        fee=[0],
        up=[-1],
        down=[-1],
        bus=[0] * 599,
        side=[SELL] * 300 + [BUY] * 299,
        limit=[-(2**31) + 1] * 300 + [2**31 - 1] * 299,
        quantity=[most - i for i in range(300)] + [most] * 299,
    )
    assert_same(instance)
    assert sum(instance.clear(matcher_c.clear_arrays).traded[:300]) == min(299 * most, 300 * most - 299 * 150)


def test_a_deep_path_does_not_recurse() -> None:
    """Energy from one end of 3,000 buses to the other; each edge earns its fee."""
    count = 3000
    path = Instance(
        parent=[b - 1 for b in range(count)],
        fee=[1] * count,
        up=[-1] * count,
        down=[-1] * count,
        bus=[count - 1, 0],
        side=[SELL, BUY],
        limit=[5, 5 + count],
        quantity=[10, 8],
    )
    outcome = path.clear(matcher_c.clear_arrays)
    assert outcome.traded == [8, 8]
    assert outcome.flow == [0] + [8] * (count - 1)
    assert outcome.price == [5 + (count - 1) - b for b in range(count)]
    assert path.objective(outcome) == 8 * (count - (count - 1))
    too_far = replace(path, limit=[5, 5 + count - 2])
    assert too_far.clear(matcher_c.clear_arrays).traded == [0, 0]


def test_a_star_of_ties_is_shared_by_rank() -> None:
    """2,000 homes sell 2 Wh each at one price, 1,001 Wh are wanted: by rank, the first 500 all, one half, the rest none."""
    count = 2001
    ranks = [b * 1009 % 2003 for b in range(count)]  # all different
    star = Instance(
        parent=[-1] + [0] * (count - 1),
        fee=[0] * count,
        up=[-1] * count,
        down=[-1] * count,
        bus=[*range(1, count), 0],
        side=[SELL] * (count - 1) + [BUY],
        limit=[5] * count,
        quantity=[2] * (count - 1) + [1001],
        rank=ranks,
    )
    outcome = star.clear(matcher_c.clear_arrays)
    by_rank = sorted(range(1, count), key=lambda b: ranks[b])
    assert [outcome.traded[b - 1] for b in by_rank] == [2] * 500 + [1] + [0] * 1499
