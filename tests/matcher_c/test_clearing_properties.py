"""What every clearing must satisfy, clearing.md section 2, in its numbering; property 1 is test_clearing_solver.py.

Run on the C, which equals the reference by test_clearing_twins.py.
"""

import random
from dataclasses import replace

from hypothesis import assume, given
from hypothesis import strategies as st

import matcher_c
from matcher_c import clear_arrays
from tests.matcher_c.instances import BUY, SELL, Instance, Outcome, fixed, instances, random_instance


def payment(instance: Instance, outcome: Outcome, order: int) -> int:
    """Positive: receives."""
    sign = 1 if instance.side[order] == SELL else -1
    return sign * outcome.traded[order] * outcome.price[instance.bus[order]]


def group_totals(instance: Instance, outcome: Outcome) -> dict[tuple[int, int, int, bool], int]:
    return {group: sum(outcome.traded[i] for i in orders) for group, orders in instance.groups().items()}


@fixed
@given(instances())
def test_2_nobody_passes_its_limit(instance: Instance) -> None:
    outcome = instance.clear(clear_arrays)
    for i in instance.orders:
        if outcome.traded[i]:
            better = instance.limit[i] - outcome.price[instance.bus[i]]
            assert better >= 0 if instance.side[i] == BUY else better <= 0


@fixed
@given(instances())
def test_3_better_limits_trade_in_full_and_worse_ones_not_at_all(instance: Instance) -> None:
    outcome = instance.clear(clear_arrays)
    for i in instance.orders:
        price = outcome.price[instance.bus[i]]
        better = (instance.limit[i] - price) * (1 if instance.side[i] == BUY else -1)
        assert better <= 0 or outcome.traded[i] == instance.quantity[i]  # the grid, without limit, is never better
        assert better >= 0 or outcome.traded[i] == 0


@fixed
@given(instances(buses=2, orders=14, limits=st.integers(0, 1), quantities=st.integers(1, 50)))
def test_3_inside_a_group_pro_rata_by_largest_remainder(instance: Instance) -> None:
    outcome = instance.clear(clear_arrays)
    for (*_, grid), orders in instance.groups().items():
        if grid:
            continue
        whole = sum(instance.quantity[i] for i in orders)
        part = sum(outcome.traded[i] for i in orders)
        ups: list[tuple[int, int]] = []
        downs: list[tuple[int, int]] = []
        for i in orders:
            floor, remainder = divmod(part * instance.quantity[i], whole)
            assert outcome.traded[i] in (floor, floor + 1)
            (ups if outcome.traded[i] > floor else downs).append((-remainder, i))
        assert not ups or not downs or max(ups) < min(downs)  # larger remainder first, then the lower index


@fixed
@given(instances())
def test_4_prices_of_neighbors(instance: Instance) -> None:
    outcome = instance.clear(clear_arrays)
    for b in instance.edges:
        flow, fee = outcome.flow[b], instance.fee[b]
        rise = outcome.price[instance.parent[b]] - outcome.price[b]
        full_up = instance.up[b] != -1 and flow == instance.up[b]
        full_down = instance.down[b] != -1 and -flow == instance.down[b]
        if flow > 0:
            assert rise >= fee if full_up else rise == fee
        elif flow < 0:
            assert rise <= -fee if full_down else rise == -fee
        else:
            assert full_up or rise <= fee
            assert full_down or rise >= -fee


@fixed
@given(instances())
def test_4_flows_balance_and_keep_within_capacity(instance: Instance) -> None:
    outcome = instance.clear(clear_arrays)
    net = [0] * len(instance.parent)
    for i in instance.orders:
        net[instance.bus[i]] += outcome.traded[i] * (1 if instance.side[i] == SELL else -1)
    for b in reversed(instance.edges):
        assert outcome.flow[b] == net[b]
        assert instance.up[b] == -1 or net[b] <= instance.up[b]
        assert instance.down[b] == -1 or -net[b] <= instance.down[b]
        net[instance.parent[b]] += net[b]
    assert net[0] == 0
    assert outcome.flow[0] == 0


@fixed
@given(instances(limits=st.integers(-(2**31) + 6, 2**31 - 6), quantities=st.integers(1, 2**32 - 1)))
def test_5_money_in_is_money_out(instance: Instance) -> None:
    outcome = instance.clear(clear_arrays)
    rents = [outcome.flow[b] * (outcome.price[instance.parent[b]] - outcome.price[b]) for b in instance.edges]
    assert all(rent >= 0 for rent in rents)
    assert sum(payment(instance, outcome, i) for i in instance.orders) + sum(rents) == 0


@fixed
@given(instances(), st.randoms(use_true_random=False))
def test_6_the_order_in_memory_decides_nothing(instance: Instance, rng: random.Random) -> None:
    places = list(instance.orders)
    rng.shuffle(places)
    shuffled = instance.with_orders(places)
    before, after = instance.clear(clear_arrays), shuffled.clear(clear_arrays)
    assert (before.price, before.flow) == (after.price, after.flow)
    assert group_totals(instance, before) == group_totals(shuffled, after)


@fixed
@given(instances(), st.randoms(use_true_random=False))
def test_6_the_numbering_of_buses_decides_nothing(instance: Instance, rng: random.Random) -> None:
    """Buses in another topological order, with the ranks they had."""
    order = [0]
    waiting = [b for b in instance.edges if instance.parent[b] == 0]
    while waiting:
        order.append(waiting.pop(rng.randrange(len(waiting))))
        waiting += [b for b in instance.edges if instance.parent[b] == order[-1]]
    new = {b: place for place, b in enumerate(order)}
    renumbered = replace(
        instance,
        parent=[-1] + [new[instance.parent[b]] for b in order[1:]],
        fee=[instance.fee[b] for b in order],
        up=[instance.up[b] for b in order],
        down=[instance.down[b] for b in order],
        bus=[new[b] for b in instance.bus],
        rank=[instance.ranks()[b] for b in order],
    )
    before, after = instance.clear(clear_arrays), renumbered.clear(clear_arrays)
    assert before.traded == after.traded
    assert [before.price[b] for b in order] == after.price
    assert [before.flow[b] for b in order] == after.flow


@fixed
@given(instances(), st.integers(2, 1000))
def test_6_scaling_prices(instance: Instance, k: int) -> None:
    scaled = replace(instance, limit=[k * p for p in instance.limit], fee=[k * f for f in instance.fee])
    before, after = instance.clear(clear_arrays), scaled.clear(clear_arrays)
    assert (before.traded, before.flow) == (after.traded, after.flow)
    assert scaled.objective(after) == k * instance.objective(before)
    assert all(0 <= new - k * old < k for old, new in zip(before.price, after.price, strict=True))


@fixed
@given(instances(), st.integers(2, 1000))
def test_6_scaling_quantities(instance: Instance, k: int) -> None:
    def times(values: list[int]) -> list[int]:
        return [value if value == -1 else k * value for value in values]

    scaled = replace(instance, quantity=times(instance.quantity), up=times(instance.up), down=times(instance.down))
    before, after = instance.clear(clear_arrays), scaled.clear(clear_arrays)
    assert scaled.objective(after) == k * instance.objective(before)
    assert after.price == before.price
    assert after.flow == [k * flow for flow in before.flow]


@fixed
@given(instances(), st.data())
def test_6_a_better_limit_never_lowers_ones_quantity(instance: Instance, data: st.DataObject) -> None:
    homes = [i for i in instance.orders if not instance.is_grid(i)]
    assume(homes)
    chosen = data.draw(st.sampled_from(homes))
    better = data.draw(st.integers(1, 6)) * (1 if instance.side[chosen] == BUY else -1)
    limits = [limit + (better if i == chosen else 0) for i, limit in enumerate(instance.limit)]
    before, after = instance.clear(clear_arrays), replace(instance, limit=limits).clear(clear_arrays)
    assert after.traded[chosen] >= before.traded[chosen]


@fixed
@given(instances(), st.data())
def test_6_a_bus_without_orders_on_a_free_edge_changes_nothing(instance: Instance, data: st.DataObject) -> None:
    """The new bus goes between a bus and its parent; the upper half of the edge is free and without limit."""
    assume(len(instance.parent) > 1)
    at = data.draw(st.integers(1, len(instance.parent) - 1))

    def moved(b: int) -> int:
        return b + 1 if b >= at else b

    split = Instance(
        parent=[moved(p) if p >= 0 else -1 for p in instance.parent],
        fee=list(instance.fee),
        up=list(instance.up),
        down=list(instance.down),
        bus=[moved(b) for b in instance.bus],
        side=instance.side,
        limit=instance.limit,
        quantity=instance.quantity,
        rank=list(instance.ranks()),
    )
    for column, value in ((split.parent, split.parent[at]), (split.fee, 0), (split.up, -1), (split.down, -1)):
        column.insert(at, value)
    split.parent[at + 1] = at
    assert split.rank is not None
    split.rank.insert(at, data.draw(st.integers(-5, 20)))
    before, after = instance.clear(clear_arrays), split.clear(clear_arrays)
    without = [b for b in range(len(split.parent)) if b != at]
    assert before.traded == after.traded
    assert before.price == [after.price[b] for b in without]
    assert before.flow == [after.flow[b] for b in without]


@fixed
@given(instances())
def test_the_grid_never_trades_with_itself(instance: Instance) -> None:
    outcome = instance.clear(clear_arrays)
    grid = [outcome.traded[i] for i in instance.orders if instance.is_grid(i)]
    assert len(grid) < 2 or min(grid) == 0
    assert sum(grid) <= instance.energy(outcome, grid=False)


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
