"""One clearing in named things: buses, orders, and what came out. Both implementations share this layer.

`clear_with` turns buses and orders into the arrays of interfaces.md section 3, has them cleared, and works out who pays
what. It promises that money in equals money out to the last unit; it knows no rule of matching.

Units: Wh; money units (10^-8 of the currency); prices and fees in money units per Wh.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from .columns import Column
from .errors import MatcherRefused, NetworkRefused, OrderRefused

if TYPE_CHECKING:
    from .columns import Words

BUY = 0
SELL = 1
BUSES_MAX = 2**20  # sums of quantities stay below 2^53, sums of fees below 2^52; also what a crafted file can cost
ORDERS_MAX = 2**20  # of one clearing
PRICE_MAX = 2**31 - 1  # magnitude of prices, and of fees: price x quantity then fits 63 bits
QUANTITY_MAX = 2**32 - 1  # of one order


@dataclass(frozen=True, slots=True)
class Bus:
    """A point where things connect, and the edge to its parent."""

    id: str
    parent: str | None = None
    """Its parent's id; None for the root, and for it alone. Parents stand before their children."""
    fee: int = 0
    """Money units per Wh over the edge, either way."""
    capacity_up: int | None = None
    """Wh per slot towards the root; None is without limit."""
    capacity_down: int | None = None
    rank: int | None = None
    """Who comes first where limits tie; None is its place in the list."""


@dataclass(frozen=True, slots=True)
class Order:
    """An intention at a bus."""

    id: str
    bus: str
    side: int
    """BUY or SELL."""
    price: int
    """Limit."""
    quantity: int | None
    """Wh; None is without limit: the public grid."""


@dataclass(frozen=True, slots=True)
class Clearing:
    """What a slot's clearing decided, by the ids that went in."""

    traded: dict[str, int]
    """Wh by order."""
    prices: dict[str, int]
    """By bus."""
    flows: dict[str, int]
    """Wh by child bus, positive towards the root."""
    payments: dict[str, int]
    """Money by order; positive receives."""
    operator: int
    """Money from fees and congestion: exactly what the payments leave over."""
    objective: int
    """Money: buyers' limits less sellers' limits less fees, each times energy."""


class ClearArrays(Protocol):
    """The array form of a clearing, `matcher_c.clear_arrays` or `matcher_c.reference.clear_arrays`."""

    def __call__(
        self,
        parent: Column,
        fee: Column,
        capacity_up: Column,
        capacity_down: Column,
        bus: Column,
        side: Column,
        price: Column,
        quantity: Column,
        bus_rank: Column | None = None,
    ) -> tuple[Words, Words, Words]: ...


def clear_with(clear_arrays: ClearArrays, network: Sequence[Bus], orders: Sequence[Order]) -> Clearing:
    """Clears orders on a network, root first and parents before children.

    Raises NetworkRefused or OrderRefused, naming the bus or the order by its id.
    """
    index = index_of(network, orders)
    parents = [index[bus.parent] if bus.parent is not None else -1 for bus in network]
    try:
        traded, price, flow = clear_arrays(
            parents,
            [bus.fee for bus in network],
            [-1 if bus.capacity_up is None else bus.capacity_up for bus in network],
            [-1 if bus.capacity_down is None else bus.capacity_down for bus in network],
            [index[order.bus] for order in orders],
            [order.side for order in orders],
            [order.price for order in orders],
            [-1 if order.quantity is None else order.quantity for order in orders],
            ranks_of(network),
        )
    except MatcherRefused as refused:
        raise named(refused, network, orders) from None
    payments = [
        (1 if order.side == SELL else -1) * energy * price[index[order.bus]]
        for order, energy in zip(orders, traded, strict=True)
    ]
    balance = sum(payments) + rent_of(parents, price, flow)
    assert balance == 0, "a clearing did not balance; keep its input, this is a bug"
    return clearing_of(network, orders, traded, price, flow, payments)


def rent_of(parents: Sequence[int], price: Sequence[int], flow: Sequence[int]) -> int:
    """What the edges earn, fees and congestion: on each the flow times the difference of the prices at its ends."""
    rents = [flow[b] * (price[parents[b]] - price[b]) for b in range(1, len(parents))]
    assert all(rent >= 0 for rent in rents), "an edge costs its operator money; keep the input, this is a bug"
    return sum(rents)


def ranks_of(network: Sequence[Bus]) -> list[int]:
    """One rank a bus: its own, else its place in the list."""
    return [place if bus.rank is None else bus.rank for place, bus in enumerate(network)]


def index_of(network: Sequence[Bus], orders: Sequence[Order]) -> dict[str, int]:
    """The place of each bus by id. Raises NetworkRefused or OrderRefused for what the arrays cannot say."""
    index = _places(network)
    ids: set[str] = set()
    for order in orders:
        if order.id in ids:
            raise OrderRefused(f"order {order.id!r}: give each order an id of its own", None)
        ids.add(order.id)
        if order.bus not in index:
            raise OrderRefused(f"order {order.id!r}: place it at a bus of the network, not at {order.bus!r}", None)
        if order.quantity is not None and order.quantity < 1:  # -1 means the grid in the arrays only
            raise OrderRefused(
                f"order {order.id!r}: give a quantity from 1 to 4294967295 Wh, or none for the grid", None
            )
        if not _fit_words(order.side, order.price, order.quantity):
            raise OrderRefused(f"order {order.id!r}: give numbers that fit 64 bits", None)
    return index


def named(refused: MatcherRefused, network: Sequence[Bus], orders: Sequence[Order]) -> MatcherRefused:
    """The same refusal with the id in place of the index."""
    if isinstance(refused, NetworkRefused) and refused.index is not None:
        return NetworkRefused(f"bus {network[refused.index].id!r}: {refused.reason}", None)
    if isinstance(refused, OrderRefused) and refused.index is not None:
        return OrderRefused(f"order {orders[refused.index].id!r}: {refused.reason}", None)
    return refused


def _places(network: Sequence[Bus]) -> dict[str, int]:
    index: dict[str, int] = {}
    for place, bus in enumerate(network):
        if bus.id in index:
            raise NetworkRefused(f"bus {bus.id!r}: give each bus an id of its own", None)
        if bus.parent is not None and bus.parent not in index:
            raise NetworkRefused(f"bus {bus.id!r}: put its parent {bus.parent!r} before it", None)
        for capacity in (bus.capacity_up, bus.capacity_down):
            if capacity is not None and capacity < 0:  # -1 means none in the arrays only
                raise NetworkRefused(f"bus {bus.id!r}: give a capacity of 0 Wh or more, or none", None)
        if not _fit_words(bus.fee, bus.capacity_up, bus.capacity_down, bus.rank):
            raise NetworkRefused(f"bus {bus.id!r}: give numbers that fit 64 bits", None)
        index[bus.id] = place
    return index


def _fit_words(*values: int | None) -> bool:
    return all(value is None or -(2**63) <= value < 2**63 for value in values)


def clearing_of(
    network: Sequence[Bus],
    orders: Sequence[Order],
    traded: Sequence[int],
    price: Sequence[int],
    flow: Sequence[int],
    payments: Sequence[int],
) -> Clearing:
    """A clearing by the ids that went in; what the payments leave over is the operator's."""
    objective = sum(
        (1 if order.side == BUY else -1) * energy * order.price for order, energy in zip(orders, traded, strict=True)
    )
    objective -= sum(bus.fee * abs(through) for bus, through in zip(network, flow, strict=True))
    return Clearing(
        traded={order.id: energy for order, energy in zip(orders, traded, strict=True)},
        prices={bus.id: price[b] for b, bus in enumerate(network)},
        flows={bus.id: flow[b] for b, bus in enumerate(network) if bus.parent is not None},
        payments={order.id: payment for order, payment in zip(orders, payments, strict=True)},
        operator=-sum(payments),
        objective=objective,
    )
