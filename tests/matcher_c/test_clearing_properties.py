"""Every property of every clearing holds for the C, which equals the reference by test_clearing_twins.py."""

import random
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

import matcher_c
from matcher_c import clear_arrays
from tests.matcher_c import properties
from tests.matcher_c.instances import BUY, SELL, ClearArrays, Instance, fixed, instances, random_instance

Property = Callable[[Instance, ClearArrays, random.Random], None]
CHOICES = st.randoms(use_true_random=False)


@pytest.mark.parametrize("holds", properties.ALL, ids=lambda holds: holds.__name__)
def test_property(holds: Property) -> None:
    @fixed
    @given(instances(), CHOICES)
    def check(instance: Instance, rng: random.Random) -> None:
        holds(instance, clear_arrays, rng)

    check()


@fixed
@given(instances(buses=2, orders=14, limits=st.integers(0, 1), quantities=st.integers(1, 50)), CHOICES)
def test_many_in_one_group(instance: Instance, rng: random.Random) -> None:
    properties.a_group_shares_pro_rata_by_largest_remainder(instance, clear_arrays, rng)


@fixed
@given(instances(limits=st.integers(-(2**31) + 6, 2**31 - 6), quantities=st.integers(1, 2**32 - 1)), CHOICES)
def test_money_of_large_numbers(instance: Instance, rng: random.Random) -> None:
    properties.money_in_is_money_out(instance, clear_arrays, rng)


def test_equal_feed_in_and_retail_are_allowed() -> None:
    """Whatever homes leave over goes to the grid at the one price, and only that."""
    rng = random.Random(5)
    for _ in range(300):
        instance = random_instance(rng).with_orders([])
        buses = len(instance.parent)
        homes = rng.randint(1, 6)
        instance = replace(
            instance,
            bus=[rng.randrange(buses) for _ in range(homes)] + [0, 0],
            side=[rng.randint(0, 1) for _ in range(homes)] + [BUY, SELL],
            limit=[rng.randint(3, 7) for _ in range(homes)] + [5, 5],
            quantity=[rng.randint(1, 9) for _ in range(homes)] + [-1, -1],
        )
        outcome = instance.clear(clear_arrays)
        assert min(outcome.traded[-2:]) == 0
        assert outcome.price[0] == 5


def test_the_price_of_a_bus_with_nothing_to_go_by_is_zero() -> None:
    traded, price, flow = matcher_c.clear_arrays([-1], [0], [-1], [-1], [], [], [], [])
    assert (list(traded), list(price), list(flow)) == ([], [0], [0])


def test_the_midpoint_is_floored_below_zero_too() -> None:
    _, price, _ = matcher_c.clear_arrays([-1], [0], [-1], [-1], [0, 0], [SELL, BUY], [-4, -1], [3, 3])
    assert list(price) == [-3]


def test_a_million_equal_ties_of_one_unit() -> None:
    """2^20 orders of 1 Wh at one limit on one bus: shared by index, and nothing runs out."""
    count = matcher_c.ORDERS_MAX
    wanted = 300_001
    sides = [SELL] * (count - 1) + [BUY]
    quantities = [1] * (count - 1) + [wanted]
    traded, price, _ = clear_arrays([-1], [0], [-1], [-1], [0] * count, sides, [7] * count, quantities)
    assert list(traded[:-1]) == [1] * wanted + [0] * (count - 1 - wanted)
    assert (traded[-1], price[0]) == (wanted, 7)


def test_a_clearer_is_used_again_and_again() -> None:
    """What one clearing leaves in the memory is nothing to the next."""
    rng = random.Random(17)
    clearer = matcher_c.Clearer(buses=40, orders=90)
    for _ in range(400):
        instance = random_instance(rng, buses=40, orders=80)
        assert instance.clear(clearer.clear_arrays) == instance.clear(clear_arrays)


def test_a_clearer_refuses_what_it_has_no_room_for() -> None:
    two = ([-1, 0], [0, 0], [-1, -1], [-1, -1], [0, 1], [SELL, BUY], [1, 2], [3, 3])
    for clearer in (matcher_c.Clearer(buses=1, orders=2), matcher_c.Clearer(buses=2, orders=1)):
        with pytest.raises(matcher_c.ClearingTooLarge, match="memory"):
            clearer.clear_arrays(*two)
    with pytest.raises(matcher_c.ClearingTooLarge, match="more work"):
        matcher_c.Clearer(buses=2, orders=2, work=1).clear_arrays(*two)
    assert list(matcher_c.Clearer(buses=2, orders=2, work=100).clear_arrays(*two)[0]) == [3, 3]
    with pytest.raises(matcher_c.NetworkRefused, match="at least one bus"):
        matcher_c.Clearer(buses=0, orders=1)
    with pytest.raises(matcher_c.OrderRefused, match="at most 1048576"):
        matcher_c.Clearer(buses=1, orders=2**20 + 1)
