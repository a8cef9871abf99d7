"""Both matchers, slow and obvious: the definition that the C must equal, in plain Python integers.

The exchange is a list of orders per price. A command's results are worked out first, from a book that is only looked
at; then the results are what changes the book.

The clearing is the textbook minimum-cost flow by successive best paths: again and again the one trade between a seller
and a buyer that is worth most, over the network as the trades so far have left it (energy may also be turned back on an
edge, which gives its fee back), as much of it as fits, until no trade is worth anything. "Worth" is compared as

    (money, homes among the two, earliest seller's rank, earliest buyer's rank)

which is an ordered group, so the flow that this ends with is the best in all of them, in this order. Least energy with
the grid needs no place of its own: a trade has two sides, and what is not a home is the grid.

It takes the same calls as the C (`clear`, `clear_arrays`, `OrderBook`) and raises the same errors.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from .columns import Column, columns_of, new_column
from .errors import Fault, Rejection, refusal_of
from .exchange import (
    COMMAND,
    HEIGHT_MAX,
    NEW_KINDS,
    NO_OWNER,
    PRICED_KINDS,
    QUANTITY_MAX,
    RESTING_KINDS,
    RESULT,
    Book,
    Event,
    Kind,
    Reason,
    Result,
    results_of_one,
)
from .network import BUSES_MAX, BUY, ORDERS_MAX, PRICE_MAX, SELL, Bus, Clearing, Order, clear_with

if TYPE_CHECKING:
    from .columns import Words

# ---- the clearing ----


def clear(network: Sequence[Bus], orders: Sequence[Order]) -> Clearing:
    """Clears orders on a network, root first. Raises NetworkRefused or OrderRefused."""
    return clear_with(clear_arrays, network, orders)


@dataclass(slots=True)
class _Group:
    """The orders of one bus, side and limit, which share alike. The grid's order is a group of its own."""

    bus: int
    side: int
    limit: int
    rank: int
    quantity: int | None = 0
    """None is without limit: the grid."""
    orders: list[int] = field(default_factory=list)
    traded: int = 0

    def left(self) -> int | None:
        return None if self.quantity is None else self.quantity - self.traded

    def full(self) -> bool:
        return self.left() == 0


@dataclass(slots=True)
class _Network:
    parent: list[int]
    fee: list[int]
    up: list[int | None]
    down: list[int | None]
    flow: list[int]
    """By child bus, positive towards the root."""

    def cost_up(self, bus: int) -> int:
        """What one more Wh from a bus to its parent costs; turning back what flows down earns the fee back."""
        return -self.fee[bus] if self.flow[bus] < 0 else self.fee[bus]

    def room_up(self, bus: int) -> int | None:
        """How much more can go up at that cost; None is without limit."""
        capacity = self.up[bus]
        if self.flow[bus] < 0:
            return -self.flow[bus]
        return None if capacity is None else capacity - self.flow[bus]

    def cost_down(self, bus: int) -> int:
        return -self.fee[bus] if self.flow[bus] > 0 else self.fee[bus]

    def room_down(self, bus: int) -> int | None:
        capacity = self.down[bus]
        if self.flow[bus] > 0:
            return self.flow[bus]
        return None if capacity is None else capacity + self.flow[bus]


@dataclass(frozen=True, slots=True)
class _Offer:
    """The best way to have one more Wh at a bus."""

    worth: tuple[int, bool, int]
    """cost, whether it is the grid's, rank: the smallest is the best"""
    group: _Group
    path: tuple[tuple[int, int], ...]
    """the edges from the seller on, each as its child bus and +1 (up) or -1 (down)"""

    def over(self, bus: int, direction: int, cost: int) -> _Offer:
        money, grid, rank = self.worth
        return _Offer((money + cost, grid, rank), self.group, (*self.path, (bus, direction)))


def clear_arrays(
    parent: Column,
    fee: Column,
    capacity_up: Column,
    capacity_down: Column,
    bus: Column,
    side: Column,
    price: Column,
    quantity: Column,
    bus_rank: Column | None = None,
) -> tuple[Words, Words, Words]:
    """(traded by order, price by bus, flow by child bus) of one clearing; see matcher_c.clear_arrays."""
    by_bus, by_order = columns_of(parent, fee, capacity_up, capacity_down, bus, side, price, quantity, bus_rank)
    parents, fees, ups, downs, *ranks = (list(column) for column in by_bus)
    at, sides, limits, quantities = (list(column) for column in by_order)
    _check(parents, fees, ups, downs, at, sides, limits, quantities)

    by_rank = sorted(range(len(parents)), key=lambda b: (ranks[0][b] if ranks else b, b))
    place = {b: place for place, b in enumerate(by_rank)}
    groups = _groups_of(place, at, sides, limits, quantities)
    network = _Network(
        parents,
        fees,
        [None if capacity == -1 else capacity for capacity in ups],
        [None if capacity == -1 else capacity for capacity in downs],
        [0] * len(parents),
    )
    _trade_all(network, groups)
    return _results(network, groups, quantities)


def _check(
    parent: list[int],
    fee: list[int],
    up: list[int],
    down: list[int],
    bus: list[int],
    side: list[int],
    limit: list[int],
    quantity: list[int],
) -> None:
    if not 1 <= len(parent) <= BUSES_MAX:
        raise refusal_of(Fault.BAD_BUS_COUNT, 0)
    if len(bus) > ORDERS_MAX:
        raise refusal_of(Fault.BAD_ORDER_COUNT, 0)
    for b in range(len(parent)):
        if b == 0 and parent[b] != -1:
            raise refusal_of(Fault.BAD_ROOT, b)
        if b > 0 and not 0 <= parent[b] < b:
            raise refusal_of(Fault.BAD_PARENT, b)
        if not 0 <= fee[b] <= PRICE_MAX:
            raise refusal_of(Fault.BAD_FEE, b)
        if up[b] < -1 or down[b] < -1:
            raise refusal_of(Fault.BAD_CAPACITY, b)
    grid: dict[int, int] = {}
    for i in range(len(bus)):
        if not 0 <= bus[i] < len(parent):
            raise refusal_of(Fault.ORDER_BUS, i)
        if side[i] not in (BUY, SELL):
            raise refusal_of(Fault.ORDER_SIDE, i)
        if abs(limit[i]) > PRICE_MAX:
            raise refusal_of(Fault.ORDER_PRICE, i)
        if quantity[i] != -1 and not 1 <= quantity[i] <= QUANTITY_MAX:
            raise refusal_of(Fault.ORDER_QUANTITY, i)
        if quantity[i] == -1:
            if bus[i] != 0:
                raise refusal_of(Fault.GRID_NOT_AT_ROOT, i)
            if side[i] in grid:
                raise refusal_of(Fault.GRID_TWICE, i)
            grid[side[i]] = limit[i]
            if len(grid) == 2 and grid[BUY] > grid[SELL]:
                raise refusal_of(Fault.GRID_CROSSED, i)


def _groups_of(
    place: dict[int, int], bus: list[int], side: list[int], limit: list[int], quantity: list[int]
) -> list[_Group]:
    groups: dict[tuple[int, int, int, bool], _Group] = {}
    for i in range(len(bus)):
        grid = quantity[i] == -1
        group = groups.setdefault((bus[i], side[i], limit[i], grid), _Group(bus[i], side[i], limit[i], place[bus[i]]))
        group.orders.append(i)
        group.quantity = None if grid or group.quantity is None else group.quantity + quantity[i]
    return list(groups.values())


def _trade_all(network: _Network, groups: list[_Group]) -> None:
    while True:
        offers = _best_offers(network, groups)
        best: tuple[tuple[int, int, int, int], _Offer, _Group] | None = None
        for buyer in groups:
            offer = offers[buyer.bus]
            if buyer.side == BUY and not buyer.full() and offer is not None:
                cost, grid, rank = offer.worth
                homes = (not grid) + (buyer.quantity is not None)
                worth = (buyer.limit - cost, homes, -rank, -buyer.rank)
                if best is None or worth > best[0]:
                    best = worth, offer, buyer
        if best is None or best[0][:2] <= (0, 0):  # (0, 0): the grid with itself at one price
            return
        _trade(network, best[1], best[2])


def _best_offers(network: _Network, groups: list[_Group]) -> list[_Offer | None]:
    """Shortest paths on a tree: sellers' own buses, then everything upwards, then everything downwards."""
    offers: list[_Offer | None] = [None] * len(network.parent)

    def consider(bus: int, offer: _Offer) -> None:
        known = offers[bus]
        if known is None or offer.worth < known.worth:
            offers[bus] = offer

    for seller in groups:
        if seller.side == SELL and not seller.full():
            consider(seller.bus, _Offer((seller.limit, seller.quantity is None, seller.rank), seller, ()))
    for bus in range(len(network.parent) - 1, 0, -1):
        offer = offers[bus]
        if offer is not None and network.room_up(bus) != 0:
            consider(network.parent[bus], offer.over(bus, 1, network.cost_up(bus)))
    for bus in range(1, len(network.parent)):
        offer = offers[network.parent[bus]]
        if offer is not None and network.room_down(bus) != 0:
            consider(bus, offer.over(bus, -1, network.cost_down(bus)))
    return offers


def _trade(network: _Network, offer: _Offer, buyer: _Group) -> None:
    rooms = [offer.group.left(), buyer.left()]
    rooms += [network.room_up(bus) if direction > 0 else network.room_down(bus) for bus, direction in offer.path]
    quantity = min(room for room in rooms if room is not None)
    offer.group.traded += quantity
    buyer.traded += quantity
    for bus, direction in offer.path:
        network.flow[bus] += direction * quantity


def _results(network: _Network, groups: list[_Group], quantities: list[int]) -> tuple[Words, Words, Words]:
    traded = new_column(len(quantities))
    for group in groups:
        for order, share in _shares(group, quantities):
            traded[order] = share
    price = new_column(len(network.parent))
    for b, value in enumerate(_prices(network, groups)):
        price[b] = value
    flow = new_column(len(network.parent))
    for b, value in enumerate(network.flow):
        flow[b] = value
    return traded, price, flow


def _shares(group: _Group, quantities: list[int]) -> list[tuple[int, int]]:
    """What a group traded, pro rata to quantity by largest remainder, ties by order index."""
    if group.quantity is None:
        return [(group.orders[0], group.traded)]
    whole = group.quantity
    floors = {i: group.traded * quantities[i] // whole for i in group.orders}
    by_remainder = sorted(group.orders, key=lambda i: (-(group.traded * quantities[i] % whole), i))
    for i in by_remainder[: group.traded - sum(floors.values())]:
        floors[i] += 1
    return list(floors.items())


def _prices(network: _Network, groups: list[_Group]) -> list[int]:
    """Intervals from the fills, leaves to root; then prices, root to leaves (clearing.md section 2)."""
    count = len(network.parent)
    lower: list[list[int]] = [[] for _ in range(count)]  # all that the price must not be below
    upper: list[list[int]] = [[] for _ in range(count)]
    for group in groups:
        sells = group.side == SELL
        if group.traded == 0:  # nothing at this limit: the price is not better for it
            (upper if sells else lower)[group.bus].append(group.limit)
        elif group.full():  # all of it: the price is not worse
            (lower if sells else upper)[group.bus].append(group.limit)
        else:
            lower[group.bus].append(group.limit)
            upper[group.bus].append(group.limit)
    for b in range(count - 1, 0, -1):
        fee, flow, above = network.fee[b], network.flow[b], network.parent[b]
        full_up, full_down = flow == network.up[b], -flow == network.down[b]
        if flow > 0:
            low, high = fee, fee
        elif flow < 0:
            low, high = -fee, -fee
        else:
            low, high = -fee, fee
        if lower[b] and not full_down:
            lower[above].append(max(lower[b]) + low)
        if upper[b] and not full_up:
            upper[above].append(min(upper[b]) + high)
    prices: list[int] = []
    for b in range(count):
        lows, highs = lower[b], upper[b]
        assert not lows or not highs or max(lows) <= min(highs), "the fills allow no price; this is a bug"
        if b == 0:
            if lows and highs:
                price = max(lows) + ((min(highs) - max(lows)) >> 1)
            else:
                price = max(lows) if lows else min(highs) if highs else 0
        else:
            price = prices[network.parent[b]]
            if network.flow[b] > 0:
                price -= network.fee[b]
            elif network.flow[b] < 0:
                price += network.fee[b]
            price = min([price, *highs])
            price = max([price, *lows])
        prices.append(price)
    return prices


# ---- the exchange ----


class _Command(NamedTuple):
    """A command's fields as they are packed."""

    order_id: int
    ticks: int
    quantity: int
    owner: int
    kind: int
    side: int
    lifetime: int
    """The flags: heights until what rests of it ends, 0 for never."""


class _Event(NamedTuple):
    """A result's fields as they are packed."""

    kind: int
    side: int
    code: int
    owner: int
    order_id: int
    other_id: int
    quantity: int
    ticks: int


@dataclass(slots=True)
class _Resting:
    order_id: int
    owner: int
    side: int
    ticks: int
    quantity: int
    end: int | None
    """The height at which it ends; None is never."""


class OrderBook(Book):
    """The order book: for each side a dict from price in ticks to the orders there, oldest first."""

    def __init__(self, *, capacity: int, tick: int, lowest: int, highest: int, hash_key: bytes | None = None) -> None:
        super().__init__(capacity=capacity, tick=tick, lowest=lowest, highest=highest, hash_key=hash_key)
        self._sides: tuple[dict[int, list[_Resting]], dict[int, list[_Resting]]] = ({}, {})
        self._by_id: dict[int, _Resting] = {}
        self._height = 0

    def __len__(self) -> int:
        return len(self._by_id)

    @property
    def height(self) -> int:
        return self._height

    def _run(self, commands: object, count: int, results: object, room: int, quiet: bool) -> tuple[int, int]:
        packed = memoryview(commands).cast("B")  # type: ignore[arg-type]
        output = memoryview(results).cast("B")  # type: ignore[arg-type]
        written = 0
        for consumed in range(count):
            command = _Command(*COMMAND.unpack_from(packed, consumed * COMMAND.size))
            events = self._events_of(command)
            shown = [event for event in events if not quiet or event.kind in (Event.FILL, Event.REJECTED)]
            if written + len(shown) > room:
                return consumed, written
            self._apply(command, events)
            for event in shown:
                RESULT.pack_into(output, written * RESULT.size, *event)
                written += 1
        return count, written

    def _one(
        self, order_id: int, ticks: int, quantity: int, owner: int, kind: int, side: int, lifetime: int
    ) -> list[Result]:
        try:
            packed = COMMAND.pack(order_id, ticks, quantity, owner, kind, side, lifetime)
        except struct.error:
            raise OverflowError from None
        room = len(self) + 2  # an order meets each resting order at most once
        results = bytearray(room * RESULT.size)
        _, written = self._run(packed, 1, results, room, quiet=False)
        return results_of_one(results, written, self.tick)

    def _events_of(self, command: _Command) -> list[_Event]:
        """What a command would do."""
        kind, order_id, side, owner = command.kind, command.order_id, command.side, command.owner
        code = self._rejection_of(command)
        if code:
            return [_Event(Event.REJECTED, side, code, owner, order_id, 0, command.quantity, command.ticks)]
        if kind == Kind.HEIGHT:
            ends = [(order.end, order.order_id) for order in self._by_id.values() if order.end is not None]
            return [self._gone(gone, Reason.EXPIRED) for end, gone in sorted(ends) if end <= command.quantity]
        if kind == Kind.CANCEL:
            return [self._gone(order_id, Reason.ASKED)]
        if kind == Kind.REDUCE:
            canceled = self._gone(order_id, Reason.REDUCED)
            return [canceled._replace(quantity=min(canceled.quantity, command.quantity))]
        events: list[_Event] = []
        if kind == Kind.REPLACE:
            events.append(self._gone(order_id, Reason.REPLACED))
            side, owner = events[0].side, events[0].owner
        left = command.quantity
        for maker in self._meets(kind, side, command.ticks):
            if left and owner != NO_OWNER and maker.owner == owner:
                events.append(self._gone(maker.order_id, Reason.SELF_TRADE))
            elif left:
                filled = min(left, maker.quantity)
                left -= filled
                fill = (Event.FILL, maker.side, 0, maker.owner, maker.order_id, order_id, filled, maker.ticks)
                events.append(_Event(*fill))
        if left and kind in RESTING_KINDS:
            events.append(_Event(Event.REST, side, 0, owner, order_id, 0, left, command.ticks))
        elif left:
            ticks = 0 if kind == Kind.MARKET else command.ticks
            events.append(_Event(Event.CANCELED, side, Reason.UNMATCHED, owner, order_id, 0, left, ticks))
        return events

    def _gone(self, order_id: int, reason: Reason) -> _Event:
        order = self._by_id[order_id]
        return _Event(Event.CANCELED, order.side, reason, order.owner, order_id, 0, order.quantity, order.ticks)

    def _meets(self, kind: int, side: int, ticks: int) -> list[_Resting]:
        """The resting orders that an order could trade with, in their priority."""
        others = self._in_priority(1 - side)
        if kind == Kind.MARKET:
            return others
        return [other for other in others if (other.ticks <= ticks if side == BUY else other.ticks >= ticks)]

    def _rejection_of(self, command: _Command) -> int:
        """The first rule that a command breaks, in the order of enum energo_rejection; 0 where there is none."""
        kind, known = command.kind, command.order_id in self._by_id
        if kind > Kind.HEIGHT:
            return Rejection.BAD_KIND
        if command.lifetime and kind not in RESTING_KINDS:
            return Rejection.BAD_FLAGS
        if kind == Kind.HEIGHT:
            return 0 if self._height <= command.quantity <= HEIGHT_MAX else Rejection.BAD_HEIGHT
        if kind in NEW_KINDS and command.side not in (BUY, SELL):
            return Rejection.BAD_SIDE
        if kind != Kind.CANCEL and not 1 <= command.quantity <= QUANTITY_MAX:
            return Rejection.BAD_QUANTITY
        if kind in PRICED_KINDS and not self.lowest <= command.ticks * self.tick <= self.highest:
            return Rejection.PRICE_OUTSIDE_BAND
        if kind not in NEW_KINDS:
            return 0 if known else Rejection.UNKNOWN_ID
        if known:
            return Rejection.DUPLICATE_ID
        if kind in RESTING_KINDS and len(self._by_id) == self.capacity:
            return Rejection.BOOK_FULL
        others = self._meets(kind, command.side, command.ticks)
        if kind == Kind.POST_ONLY and others:
            return Rejection.WOULD_TRADE
        offered = sum(other.quantity for other in others if other.owner != command.owner or other.owner == NO_OWNER)
        if kind == Kind.FOK and offered < command.quantity:
            return Rejection.NOT_FILLABLE
        return 0

    def _in_priority(self, side: int) -> list[_Resting]:
        prices = sorted(self._sides[side], reverse=side == BUY)
        return [order for ticks in prices for order in self._sides[side][ticks]]

    def _apply(self, command: _Command, events: list[_Event]) -> None:
        for event in events:
            if event.kind == Event.REST:
                end = self._height + command.lifetime if command.lifetime else None
                order = _Resting(event.order_id, event.owner, event.side, event.ticks, event.quantity, end)
                self._by_id[order.order_id] = order
                self._sides[order.side].setdefault(order.ticks, []).append(order)
            elif event.kind == Event.FILL or (event.kind == Event.CANCELED and event.code != Reason.UNMATCHED):
                order = self._by_id[event.order_id]
                order.quantity -= event.quantity
                if order.quantity == 0:
                    del self._by_id[order.order_id]
                    self._sides[order.side][order.ticks].remove(order)
                    if not self._sides[order.side][order.ticks]:
                        del self._sides[order.side][order.ticks]
        if command.kind == Kind.HEIGHT and not (events and events[0].kind == Event.REJECTED):
            self._height = command.quantity

    def _best(self, side: int) -> int | None:
        prices = self._sides[side]
        return None if not prices else max(prices) if side == BUY else min(prices)

    def _depth(self, side: int, levels: int) -> Iterable[tuple[int, int, int]]:
        for ticks in sorted(self._sides[side], reverse=side == BUY)[:levels]:
            orders = self._sides[side][ticks]
            yield ticks, sum(order.quantity for order in orders), len(orders)

    def _dump(self) -> bytes:
        return b"".join(
            COMMAND.pack(
                order.order_id,
                order.ticks,
                order.quantity,
                order.owner,
                Kind.LIMIT,
                order.side,
                0 if order.end is None else order.end - self._height,
            )
            for side in (BUY, SELL)
            for order in self._in_priority(side)
        )
