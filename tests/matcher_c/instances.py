"""Random clearings for the tests: small numbers, so that limits tie, edges fill up and shares do not divide."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from hypothesis import settings
from hypothesis import strategies as st

BUY, SELL = 0, 1
UNLIMITED = -1

# The same examples in every run, on every machine.
fixed = settings(derandomize=True, deadline=None, database=None, max_examples=400)


class ClearArrays(Protocol):
    def __call__(
        self,
        parent: object,
        fee: object,
        capacity_up: object,
        capacity_down: object,
        bus: object,
        side: object,
        price: object,
        quantity: object,
        bus_rank: object = None,
    ) -> tuple[Sequence[int], Sequence[int], Sequence[int]]: ...


@dataclass(frozen=True)
class Outcome:
    traded: list[int]
    price: list[int]
    flow: list[int]


@dataclass(frozen=True)
class Instance:
    """A clearing's arrays; -1 is no capacity, or the grid's quantity."""

    parent: list[int]
    fee: list[int]
    up: list[int]
    down: list[int]
    bus: list[int]
    side: list[int]
    limit: list[int]
    quantity: list[int]
    rank: list[int] | None = None

    def clear(self, clear_arrays: ClearArrays) -> Outcome:
        traded, price, flow = clear_arrays(
            self.parent,
            self.fee,
            self.up,
            self.down,
            self.bus,
            self.side,
            self.limit,
            self.quantity,
            self.rank,
        )
        return Outcome(list(traded), list(price), list(flow))

    @property
    def orders(self) -> range:
        return range(len(self.bus))

    @property
    def edges(self) -> range:
        return range(1, len(self.parent))

    def is_grid(self, order: int) -> bool:
        return self.quantity[order] == UNLIMITED

    def group_of(self, order: int) -> tuple[int, int, int, bool]:
        return self.bus[order], self.side[order], self.limit[order], self.is_grid(order)

    def groups(self) -> dict[tuple[int, int, int, bool], list[int]]:
        groups: dict[tuple[int, int, int, bool], list[int]] = {}
        for order in self.orders:
            groups.setdefault(self.group_of(order), []).append(order)
        return groups

    def ranks(self) -> list[int]:
        return list(range(len(self.parent))) if self.rank is None else self.rank

    def objective(self, outcome: Outcome) -> int:
        gain = sum((1 if self.side[i] == BUY else -1) * self.limit[i] * outcome.traded[i] for i in self.orders)
        return gain - sum(self.fee[b] * abs(outcome.flow[b]) for b in self.edges)

    def energy(self, outcome: Outcome, *, grid: bool) -> int:
        return sum(outcome.traded[i] for i in self.orders if self.is_grid(i) == grid)

    def with_orders(self, places: Sequence[int]) -> "Instance":
        """The orders at these places, in this order."""
        return replace(
            self,
            bus=[self.bus[i] for i in places],
            side=[self.side[i] for i in places],
            limit=[self.limit[i] for i in places],
            quantity=[self.quantity[i] for i in places],
        )


def random_instance(rng: random.Random, *, buses: int = 9, orders: int = 14) -> Instance:
    """A seeded instance, for where many are wanted cheaply."""
    bus_count, order_count = rng.randint(1, buses), rng.randint(0, orders)
    fees = rng.choice([[0], [0, 0, 1, 2, 5], [1, 2, 3]])
    capacities = rng.choice([[-1], [-1, -1, 0, 3, 10], [1, 4, 9]])
    instance = Instance(
        parent=[-1] + [rng.randrange(b) if rng.random() < 0.6 else b - 1 for b in range(1, bus_count)],
        fee=[rng.choice(fees) for _ in range(bus_count)],
        up=[rng.choice(capacities) for _ in range(bus_count)],
        down=[rng.choice(capacities) for _ in range(bus_count)],
        bus=[rng.randrange(bus_count) for _ in range(order_count)],
        side=[rng.randint(0, 1) for _ in range(order_count)],
        limit=[rng.randint(-3, 12) for _ in range(order_count)],
        quantity=[rng.randint(1, 9) for _ in range(order_count)],
        rank=rng.choice([None, [rng.randint(-3, 3) for _ in range(bus_count)]]),
    )
    feed_in = rng.randint(-2, 8)
    for side, limit in ((BUY, feed_in), (SELL, feed_in + rng.choice([0, 0, 1, 5]))):
        if rng.random() < 0.5:
            place = rng.randint(0, len(instance.bus))
            for column, value in (
                (instance.bus, 0),
                (instance.side, side),
                (instance.limit, limit),
                (instance.quantity, -1),
            ):
                column.insert(place, value)
    return instance


LIMITS = st.integers(-3, 12)
QUANTITIES = st.integers(1, 9)
FEES = st.integers(0, 4)
CAPACITIES = st.sampled_from([-1, -1, 0, 2, 5, 11])


@st.composite
def instances(
    draw: st.DrawFn,
    *,
    buses: int = 7,
    orders: int = 12,
    limits: st.SearchStrategy[int] = LIMITS,
    quantities: st.SearchStrategy[int] = QUANTITIES,
    fees: st.SearchStrategy[int] = FEES,
    capacities: st.SearchStrategy[int] = CAPACITIES,
) -> Instance:
    """An instance that hypothesis can shrink."""
    bus_count = draw(st.integers(1, buses))
    places = draw(
        st.lists(st.tuples(st.integers(0, bus_count - 1), st.integers(0, 1), limits, quantities), max_size=orders)
    )
    grid = draw(st.sampled_from([(), (BUY,), (SELL,), (BUY, SELL)]))
    feed_in, spread = draw(limits), draw(st.integers(0, 5))
    for side in grid:
        row = (0, side, feed_in if side == BUY else feed_in + spread, UNLIMITED)
        places.insert(draw(st.integers(0, len(places))), row)
    return Instance(
        parent=[-1, *(draw(st.integers(0, b - 1)) for b in range(1, bus_count))],
        fee=[draw(fees) for _ in range(bus_count)],
        up=[draw(capacities) for _ in range(bus_count)],
        down=[draw(capacities) for _ in range(bus_count)],
        bus=[row[0] for row in places],
        side=[row[1] for row in places],
        limit=[row[2] for row in places],
        quantity=[row[3] for row in places],
        rank=draw(st.none() | st.permutations(range(bus_count)).map(list)),
    )
