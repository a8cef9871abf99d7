"""A clearing's JSON, from a parsed document to numbers and back, settled where it asks for that (interfaces.md section 3).

Decimals are strings and become whole money units by moving the point: no floats, no rounding. Refuses whatever breaks a
rule with an error that names the bus or the order. It parses no text and reads no file. `streams.py` has the exchange's.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from .errors import DocumentRefused, MatcherRefused
from .fields import (
    MONEY_DECIMALS,
    PRICE_DECIMALS,
    Json,
    decimal_to_units,
    object_of,
    objects_of,
    only,
    price_of,
    side_of,
    text_of,
    units_to_decimal,
    whole_or_none,
)
from .network import (
    BUY,
    SELL,
    Bus,
    Clearing,
    Order,
    clear_with,
    clearing_of,
    index_of,
    named,
    ranks_of,
)
from .settling import SHARING_WHOLE, Edge, Offer, Pricing, Settlement, path_fees, settle

if TYPE_CHECKING:
    from .network import ClearArrays

SHARING_DECIMALS = 4
PRICINGS = {rule.name.lower().replace("_", "-"): rule for rule in Pricing}


@dataclass(frozen=True, slots=True)
class Asked:
    """A parsed document."""

    buses: list[Bus]
    """Parents before their children and otherwise in the order given."""
    orders: list[Order]
    settled: bool
    """Whether it asks for more than the plain clearing."""
    sharing: int
    """In ten-thousandths."""
    pricing: Pricing
    outside: dict[str, int]
    """The outside options that are given, by order."""


def asked_of(document: object) -> Asked:
    """What a document asks for. Raises DocumentRefused."""
    top = object_of(document, "the document")
    only(top, ("buses", "orders", "sharing", "pricing"), "the document")
    sharing = 0
    if "sharing" in top:
        try:
            sharing = decimal_to_units(top["sharing"], SHARING_DECIMALS)
        except DocumentRefused as refused:
            raise DocumentRefused(f"sharing: {refused}") from None
        if not 0 <= sharing <= SHARING_WHOLE:
            raise DocumentRefused('sharing: give a decimal from "0" to "1"')
    pricing = top.get("pricing", "uniform")
    if not isinstance(pricing, str) or pricing not in PRICINGS:
        raise DocumentRefused(f'give "pricing" as one of {", ".join(PRICINGS)}')
    if sharing and PRICINGS[pricing] != Pricing.UNIFORM:
        raise DocumentRefused(f'sharing: leave it out, or set it to "0"; {pricing} prices share in their own way')
    buses = [_bus_of(value, place) for place, value in enumerate(objects_of(top, "buses"))]
    orders = [_order_of(value, place) for place, value in enumerate(objects_of(top, "orders"))]
    outside = {order.id: price for order, price in orders if price is not None}
    given = any(order.quantity is not None and price is not None for order, price in orders)
    return Asked(
        buses=_parents_first(buses),
        orders=[order for order, _ in orders],
        settled=given or "sharing" in top or "pricing" in top,
        sharing=sharing,
        pricing=PRICINGS[pricing],
        outside=outside,
    )


def _bus_of(value: object, place: int) -> Bus:
    bus = object_of(value, f"bus {place} of the list")
    name = text_of(bus, "id", f"bus {place} of the list")
    whose = f"bus {name!r}"
    only(bus, ("id", "parent", "fee", "capacity_up_wh", "capacity_down_wh", "rank"), whose)
    rank = whole_or_none(bus, "rank", whose)
    return Bus(
        id=name,
        parent=None if bus.get("parent") is None else text_of(bus, "parent", whose),
        fee=0 if bus.get("fee") is None else price_of(bus, "fee", whose),
        capacity_up=whole_or_none(bus, "capacity_up_wh", whose),
        capacity_down=whole_or_none(bus, "capacity_down_wh", whose),
        rank=place if rank is None else rank,
    )


def _order_of(value: object, place: int) -> tuple[Order, int | None]:
    """An order and its outside option, None where none is given."""
    order = object_of(value, f"order {place} of the list")
    name = text_of(order, "id", f"order {place} of the list")
    whose = f"order {name!r}"
    only(order, ("id", "bus", "side", "price", "quantity_wh", "outside"), whose)
    if "quantity_wh" not in order:
        raise DocumentRefused(f'{whose}: give "quantity_wh" in Wh, or null for the public grid')
    parsed = Order(
        id=name,
        bus=text_of(order, "bus", whose),
        side=side_of(order, whose),
        price=price_of(order, "price", whose),
        quantity=whole_or_none(order, "quantity_wh", whose),
    )
    return parsed, None if order.get("outside") is None else price_of(order, "outside", whose)


def _parents_first(buses: list[Bus]) -> list[Bus]:
    ids = {bus.id for bus in buses}
    if len(ids) != len(buses):
        seen: set[str] = set()
        for bus in buses:
            if bus.id in seen:
                raise DocumentRefused(f"bus {bus.id!r}: give each bus an id of its own")
            seen.add(bus.id)
    roots = [bus for bus in buses if bus.parent is None]
    if len(roots) != 1:
        raise DocumentRefused(f"give exactly one bus without a parent, the root, not {len(roots)}")
    children: dict[str, list[Bus]] = {}
    for bus in buses:
        if bus.parent is not None:
            if bus.parent not in ids:
                raise DocumentRefused(f"bus {bus.id!r}: give a parent that is a bus, not {bus.parent!r}")
            children.setdefault(bus.parent, []).append(bus)
    ordered = roots
    for bus in ordered:  # grows while it is walked: breadth first
        ordered.extend(children.get(bus.id, ()))
    if len(ordered) != len(buses):
        reached = {bus.id for bus in ordered}
        lost = next(bus.id for bus in buses if bus.id not in reached)
        raise DocumentRefused(f"bus {lost!r}: lead its parents to the root; now they go in a circle")
    return ordered


def clear_document(document: object, clear_arrays: ClearArrays) -> Json:
    """The result document of a clearing document, cleared by `matcher_c.clear_arrays` or the reference's.

    Raises DocumentRefused, NetworkRefused or OrderRefused; each names what is wrong.
    """
    return cleared(asked_of(document), clear_arrays).document()


@dataclass(frozen=True, slots=True)
class Cleared:
    """What came of a document."""

    orders: list[Order]
    """With the limits that they were cleared with."""
    clearing: Clearing
    settlement: Settlement | None

    def document(self) -> Json:
        """The result as JSON."""
        clearing = self.clearing
        result: Json = {
            "traded": clearing.traded,
            "prices": {bus: units_to_decimal(price, PRICE_DECIMALS) for bus, price in clearing.prices.items()},
            "flows": clearing.flows,
            "payments": {order: _money(paid) for order, paid in clearing.payments.items()},
            "operator": _money(clearing.operator),
            "objective": _money(clearing.objective),
        }
        return result if self.settlement is None else result | self._settled(self.settlement)

    def _settled(self, settlement: Settlement) -> Json:
        homes = [(i, order.id, order.quantity) for i, order in enumerate(self.orders) if order.quantity is not None]
        return {
            "shared": {order: _money(settlement.shared[i]) for i, order, _ in homes},
            "net": {order: _money(settlement.net[i]) for i, order, _ in homes},
            "grid_net": _money(settlement.grid),
            "operator_net": _money(settlement.operator),
            "gain_buyers": _money(settlement.gain_buyers),
            "gain_sellers": _money(settlement.gain_sellers),
            "rounds": settlement.rounds,
            "dropped": [self.orders[i].id for i in settlement.dropped],
            "attribution": {
                order: {"local_wh": settlement.local_wh(i), "grid_wh": quantity - settlement.local_wh(i)}
                for i, order, quantity in homes
            },
        }


def _money(amount: int) -> str:
    return units_to_decimal(amount, MONEY_DECIMALS)


def cleared(asked: Asked, clear_arrays: ClearArrays) -> Cleared:
    """Clears what a document asks for, and settles it where it asks for that.

    Raises DocumentRefused, NetworkRefused or OrderRefused.
    """
    buses, orders = asked.buses, asked.orders
    if not asked.settled:
        return Cleared(orders, clear_with(clear_arrays, buses, orders), None)
    index = index_of(buses, orders)
    edges = [
        Edge(
            -1 if bus.parent is None else index[bus.parent],
            bus.fee,
            -1 if bus.capacity_up is None else bus.capacity_up,
            -1 if bus.capacity_down is None else bus.capacity_down,
        )
        for bus in buses
    ]
    offers = _offers_of(asked, index, path_fees(edges))
    try:
        settlement = settle(
            clear_arrays, edges, offers, ranks=ranks_of(buses), sharing=asked.sharing, pricing=asked.pricing
        )
    except MatcherRefused as refused:
        raise named(refused, buses, orders) from None
    limited = [replace(order, price=offer.effective_limit) for order, offer in zip(orders, offers, strict=True)]
    clearing = clearing_of(buses, limited, settlement.traded, settlement.prices, settlement.flows, settlement.payments)
    return Cleared(limited, clearing, settlement)


def _offers_of(asked: Asked, index: dict[str, int], fees: list[int]) -> list[Offer]:
    """Every order with its outside option: its own, else the grid's price and the fees on the way."""
    grid = {order.side: order.price for order in asked.orders if order.quantity is None}
    offers: list[Offer] = []
    for order in asked.orders:
        bus = index[order.bus]
        if order.quantity is None:
            offers.append(Offer(bus, order.side, order.price, -1, order.price))
            continue
        outside = asked.outside.get(order.id)
        if outside is None:
            counterpart = grid.get(SELL if order.side == BUY else BUY)
            if counterpart is None:
                whom = "sells to" if order.side == BUY else "buys from"
                raise DocumentRefused(
                    f'order {order.id!r}: give "outside", what a Wh costs or brings that does not clear; no public grid {whom} it'
                )
            outside = counterpart + (fees[bus] if order.side == BUY else -fees[bus])
        offers.append(Offer(bus, order.side, order.price, order.quantity, outside))
    return offers
