"""What every clearing must satisfy: 2 limits, 3 who trades, 4 prices along edges, 5 money, 6 what changes nothing.

Each takes an instance, an implementation and a source of choices, and fails an assertion where the property does not hold.
Property 1, the optimum, is held to solvers in test_clearing_solver.py and test_clearing_flow.py.
"""

import random
from dataclasses import replace

from tests.matcher_c.instances import BUY, SELL, ClearArrays, Instance, Outcome


def payment(instance: Instance, outcome: Outcome, order: int) -> int:
    """Positive: receives."""
    sign = 1 if instance.side[order] == SELL else -1
    return sign * outcome.traded[order] * outcome.price[instance.bus[order]]


def group_totals(instance: Instance, outcome: Outcome) -> dict[tuple[int, int, int, bool], int]:
    return {group: sum(outcome.traded[i] for i in orders) for group, orders in instance.groups().items()}


def nobody_passes_its_limit(instance: Instance, clear_arrays: ClearArrays, rng: random.Random) -> None:
    """2"""
    outcome = instance.clear(clear_arrays)
    for i in instance.orders:
        if outcome.traded[i]:
            better = instance.limit[i] - outcome.price[instance.bus[i]]
            assert better >= 0 if instance.side[i] == BUY else better <= 0


def better_limits_trade_in_full_and_worse_ones_not_at_all(
    instance: Instance, clear_arrays: ClearArrays, rng: random.Random
) -> None:
    """3"""
    outcome = instance.clear(clear_arrays)
    for i in instance.orders:
        price = outcome.price[instance.bus[i]]
        better = (instance.limit[i] - price) * (1 if instance.side[i] == BUY else -1)
        assert better <= 0 or outcome.traded[i] == instance.quantity[i]  # the grid, without limit, is never better
        assert better >= 0 or outcome.traded[i] == 0


def a_group_shares_pro_rata_by_largest_remainder(
    instance: Instance, clear_arrays: ClearArrays, rng: random.Random
) -> None:
    """3"""
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


def at_one_bus_the_earlier_rank_comes_first(instance: Instance, clear_arrays: ClearArrays, rng: random.Random) -> None:
    """3: on free edges without capacity, no home trades at a limit at which one of an earlier rank could trade more."""
    count = len(instance.parent)
    free = replace(instance, fee=[0] * count, up=[-1] * count, down=[-1] * count)
    outcome = free.clear(clear_arrays)
    ranks = free.ranks()
    for i in free.orders:
        for j in free.orders:
            if free.is_grid(i) or free.is_grid(j) or (free.side[i], free.limit[i]) != (free.side[j], free.limit[j]):
                continue
            if (ranks[free.bus[i]], free.bus[i]) < (ranks[free.bus[j]], free.bus[j]):
                assert outcome.traded[i] == free.quantity[i] or outcome.traded[j] == 0


def prices_of_neighbors(instance: Instance, clear_arrays: ClearArrays, rng: random.Random) -> None:
    """4"""
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


def flows_balance_and_keep_within_capacity(instance: Instance, clear_arrays: ClearArrays, rng: random.Random) -> None:
    """4"""
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


def money_in_is_money_out(instance: Instance, clear_arrays: ClearArrays, rng: random.Random) -> None:
    """5"""
    outcome = instance.clear(clear_arrays)
    rents = [outcome.flow[b] * (outcome.price[instance.parent[b]] - outcome.price[b]) for b in instance.edges]
    assert all(rent >= 0 for rent in rents)
    assert sum(payment(instance, outcome, i) for i in instance.orders) + sum(rents) == 0


def the_order_in_memory_decides_nothing(instance: Instance, clear_arrays: ClearArrays, rng: random.Random) -> None:
    """6"""
    places = list(instance.orders)
    rng.shuffle(places)
    shuffled = instance.with_orders(places)
    before, after = instance.clear(clear_arrays), shuffled.clear(clear_arrays)
    assert (before.price, before.flow) == (after.price, after.flow)
    assert group_totals(instance, before) == group_totals(shuffled, after)


def the_numbering_of_buses_decides_nothing(instance: Instance, clear_arrays: ClearArrays, rng: random.Random) -> None:
    """6: buses in another topological order, with the ranks they had."""
    ranks = list(range(len(instance.parent)))
    rng.shuffle(ranks)  # all different, so that no tie goes by number
    instance = replace(instance, rank=ranks)
    if rng.random() < 0.7:  # free edges, where more ties
        instance = replace(instance, fee=[0] * len(ranks), up=[-1] * len(ranks), down=[-1] * len(ranks))
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
        rank=[ranks[b] for b in order],
    )
    before, after = instance.clear(clear_arrays), renumbered.clear(clear_arrays)
    assert before.traded == after.traded
    assert [before.price[b] for b in order] == after.price
    assert [before.flow[b] for b in order] == after.flow


def scaling_prices(instance: Instance, clear_arrays: ClearArrays, rng: random.Random) -> None:
    """6"""
    k = rng.randint(2, 1000)
    scaled = replace(instance, limit=[k * p for p in instance.limit], fee=[k * f for f in instance.fee])
    before, after = instance.clear(clear_arrays), scaled.clear(clear_arrays)
    assert (before.traded, before.flow) == (after.traded, after.flow)
    assert scaled.objective(after) == k * instance.objective(before)
    assert all(0 <= new - k * old < k for old, new in zip(before.price, after.price, strict=True))


def scaling_quantities(instance: Instance, clear_arrays: ClearArrays, rng: random.Random) -> None:
    """6"""
    k = rng.randint(2, 1000)

    def times(values: list[int]) -> list[int]:
        return [value if value == -1 else k * value for value in values]

    scaled = replace(instance, quantity=times(instance.quantity), up=times(instance.up), down=times(instance.down))
    before, after = instance.clear(clear_arrays), scaled.clear(clear_arrays)
    assert scaled.objective(after) == k * instance.objective(before)
    assert after.price == before.price
    assert after.flow == [k * flow for flow in before.flow]


def a_better_limit_never_lowers_ones_quantity(
    instance: Instance, clear_arrays: ClearArrays, rng: random.Random
) -> None:
    """6"""
    homes = [i for i in instance.orders if not instance.is_grid(i)]
    if not homes:
        return
    chosen = rng.choice(homes)
    better = rng.randint(1, 6) * (1 if instance.side[chosen] == BUY else -1)
    limits = [limit + (better if i == chosen else 0) for i, limit in enumerate(instance.limit)]
    before, after = instance.clear(clear_arrays), replace(instance, limit=limits).clear(clear_arrays)
    assert after.traded[chosen] >= before.traded[chosen]


def a_bus_without_orders_on_a_free_edge_changes_nothing(
    instance: Instance, clear_arrays: ClearArrays, rng: random.Random
) -> None:
    """6: the new bus goes between a bus and its parent; the upper half of the edge is free and without limit."""
    if len(instance.parent) == 1:
        return
    at = rng.randint(1, len(instance.parent) - 1)

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
    split.rank.insert(at, rng.randint(-5, 20))
    before, after = instance.clear(clear_arrays), split.clear(clear_arrays)
    without = [b for b in range(len(split.parent)) if b != at]
    assert before.traded == after.traded
    assert before.price == [after.price[b] for b in without]
    assert before.flow == [after.flow[b] for b in without]


def the_grid_never_trades_with_itself(instance: Instance, clear_arrays: ClearArrays, rng: random.Random) -> None:
    """Nor more than the homes trade."""
    outcome = instance.clear(clear_arrays)
    grid = [outcome.traded[i] for i in instance.orders if instance.is_grid(i)]
    assert len(grid) < 2 or min(grid) == 0
    assert sum(grid) <= instance.energy(outcome, grid=False)


ALL = (
    nobody_passes_its_limit,
    better_limits_trade_in_full_and_worse_ones_not_at_all,
    a_group_shares_pro_rata_by_largest_remainder,
    at_one_bus_the_earlier_rank_comes_first,
    prices_of_neighbors,
    flows_balance_and_keep_within_capacity,
    money_in_is_money_out,
    the_order_in_memory_decides_nothing,
    the_numbering_of_buses_decides_nothing,
    scaling_prices,
    scaling_quantities,
    a_better_limit_never_lowers_ones_quantity,
    a_bus_without_orders_on_a_free_edge_changes_nothing,
    the_grid_never_trades_with_itself,
)
