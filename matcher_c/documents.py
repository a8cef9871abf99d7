"""The matchers' JSON, from parsed documents to numbers and back (interfaces.md sections 3 and 4).

Decimals are strings and become whole money units by moving the point: no floats, no rounding. Refuses whatever breaks a
rule with an error that names the bus, the order or the line. It parses no text and reads no file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from .errors import CommandRejected, DocumentRefused, NotYet, Rejection
from .exchange import TICKS_MAX, Book, Fill, Kind, Rejected, Rest
from .network import BUY, PRICE_MAX, SELL, Bus, Clearing, Order

Json: TypeAlias = dict[str, object]

PRICE_DECIMALS = 5  # a price is money units per Wh, shown per kWh: 10^-8 x 1000
MONEY_DECIMALS = 8
_DIGITS_MAX = 40  # of a decimal: far more than any that is in range, few enough to be cheap
_SIDES = {"buy": BUY, "sell": SELL}


def decimal_to_units(text: object, decimals: int) -> int:
    """A decimal string such as "-0.28" as a whole number of units of 10^-decimals.

    Raises DocumentRefused for anything else, finer decimals included.
    """
    whole, fraction, negative = _split(text)
    if len(fraction) > decimals:
        raise DocumentRefused(f"give at most {decimals} decimals, not {text!r}")
    value = int(whole + fraction.ljust(decimals, "0"))
    return -value if negative else value


def units_to_decimal(value: int, decimals: int) -> str:
    """The inverse of decimal_to_units, with all decimals written out."""
    digits = str(abs(value)).rjust(decimals + 1, "0")
    return f"{'-' if value < 0 else ''}{digits[:-decimals]}.{digits[-decimals:]}"


def _split(text: object) -> tuple[str, str, bool]:
    sentence = f'write it as a decimal string such as "0.28", not {str(text)[:_DIGITS_MAX]!r}'
    if not isinstance(text, str) or not text.isascii() or len(text) > _DIGITS_MAX:
        raise DocumentRefused(sentence)
    negative = text.startswith("-")
    whole, point, fraction = text.removeprefix("-").partition(".")
    if not whole.isdigit() or (point and not fraction.isdigit()):
        raise DocumentRefused(sentence)
    return whole, fraction, negative


def _object(value: object, whose: str) -> Json:
    if not isinstance(value, dict):
        raise DocumentRefused(f"{whose}: make it an object, with its keys in braces")
    return value


def _objects(document: Json, key: str) -> list[object]:
    values = document.get(key)
    if not isinstance(values, list):
        raise DocumentRefused(f'give "{key}" as a list')
    return values


def _only(value: Json, allowed: Sequence[str], whose: str) -> None:
    for key in value:
        if key not in allowed:
            raise DocumentRefused(f"{whose}: take out the unknown key {key!r}; it has {', '.join(allowed)}")


def _text(value: Json, key: str, whose: str) -> str:
    text = value.get(key)
    if not isinstance(text, str) or not text:
        raise DocumentRefused(f'{whose}: give "{key}" as a string that is not empty')
    return text


def _price(value: Json, key: str, whose: str) -> int:
    try:
        units = decimal_to_units(value.get(key), PRICE_DECIMALS)
    except DocumentRefused as refused:
        raise DocumentRefused(f"{whose}: {key}: {refused}") from None
    if abs(units) > PRICE_MAX:
        raise DocumentRefused(f"{whose}: {key}: give a decimal between -21474.83647 and 21474.83647 per kWh")
    return units


def _whole(value: Json, key: str, whose: str) -> int:
    number = value.get(key)
    if not isinstance(number, int) or isinstance(number, bool):
        raise DocumentRefused(f'{whose}: give "{key}" as a whole number')
    return number


def _whole_or_none(value: Json, key: str, whose: str) -> int | None:
    return None if value.get(key) is None else _whole(value, key, whose)


def _side(value: Json, whose: str) -> int:
    side = value.get("side")
    if not isinstance(side, str) or side not in _SIDES:
        raise DocumentRefused(f'{whose}: give "side" as "buy" or "sell"')
    return _SIDES[side]


# ---- one clearing ----


def network_of(document: object) -> tuple[list[Bus], list[Order]]:
    """The buses, parents before their children and otherwise in the order given, and the orders of a document.

    Raises DocumentRefused, and NotYet where it asks for the gain to be shared.
    """
    top = _object(document, "the document")
    _only(top, ("buses", "orders", "sharing"), "the document")
    sharing = top.get("sharing", "0")
    share = decimal_to_units(sharing, MONEY_DECIMALS) if isinstance(sharing, str) else sharing
    if isinstance(share, bool) or share != 0:
        raise NotYet('sharing the gain: not yet; leave "sharing" out or set it to "0"')
    buses = [_bus_of(value, place) for place, value in enumerate(_objects(top, "buses"))]
    orders = [_order_of(value, place) for place, value in enumerate(_objects(top, "orders"))]
    return _parents_first(buses), orders


def _bus_of(value: object, place: int) -> Bus:
    bus = _object(value, f"bus {place} of the list")
    name = _text(bus, "id", f"bus {place} of the list")
    whose = f"bus {name!r}"
    _only(bus, ("id", "parent", "fee", "capacity_up_wh", "capacity_down_wh", "rank"), whose)
    rank = _whole_or_none(bus, "rank", whose)
    return Bus(
        id=name,
        parent=None if bus.get("parent") is None else _text(bus, "parent", whose),
        fee=0 if bus.get("fee") is None else _price(bus, "fee", whose),
        capacity_up=_whole_or_none(bus, "capacity_up_wh", whose),
        capacity_down=_whole_or_none(bus, "capacity_down_wh", whose),
        rank=place if rank is None else rank,
    )


def _order_of(value: object, place: int) -> Order:
    order = _object(value, f"order {place} of the list")
    name = _text(order, "id", f"order {place} of the list")
    whose = f"order {name!r}"
    _only(order, ("id", "bus", "side", "price", "quantity_wh", "outside"), whose)
    if order.get("outside") is not None:
        _price(order, "outside", whose)  # what sharing will need; it has no part in the clearing itself
    if "quantity_wh" not in order:
        raise DocumentRefused(f'{whose}: give "quantity_wh" in Wh, or null for the public grid')
    return Order(
        id=name,
        bus=_text(order, "bus", whose),
        side=_side(order, whose),
        price=_price(order, "price", whose),
        quantity=_whole_or_none(order, "quantity_wh", whose),
    )


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


def clear_document(document: object, clear: Callable[[Sequence[Bus], Sequence[Order]], Clearing]) -> Json:
    """The result document of a clearing document, cleared by `matcher_c.clear` or the reference's.

    Raises DocumentRefused, NetworkRefused or OrderRefused; each names what is wrong.
    """
    clearing = clear(*network_of(document))
    return {
        "traded": clearing.traded,
        "prices": {bus: units_to_decimal(price, PRICE_DECIMALS) for bus, price in clearing.prices.items()},
        "flows": clearing.flows,
        "payments": {order: units_to_decimal(paid, MONEY_DECIMALS) for order, paid in clearing.payments.items()},
        "operator": units_to_decimal(clearing.operator, MONEY_DECIMALS),
        "objective": units_to_decimal(clearing.objective, MONEY_DECIMALS),
    }


# ---- one order stream ----

_OPERATIONS = ("limit", "market", "cancel", "reduce", "replace")
_LATER = ("reduce", "replace")
_LATER_TIF = ("ioc", "fok", "post-only")
_KEYS = ("op", "id", "owner", "side", "price", "quantity_wh", "tif")


@dataclass(frozen=True, slots=True)
class Operation:
    """One line of a stream. `units` is None where the price is finer than a money unit, or there is none."""

    op: str
    order_id: int
    owner: int = 0
    side: int = BUY
    quantity: int = 0
    units: int | None = None
    later: bool = False
    """It asks for something that this version does not do."""


def operation_of(value: object, line: int) -> Operation:
    """One parsed line of a stream. Raises DocumentRefused, naming the line, where it is not such a line."""
    whose = f"line {line}"
    order = _object(value, whose)
    op = order.get("op")
    if not isinstance(op, str) or op not in _OPERATIONS:
        raise DocumentRefused(f'{whose}: give "op" as one of {", ".join(_OPERATIONS)}')
    order_id = _within(order, "id", 64, whose)
    _only(order, _KEYS, whose)
    tif = order.get("tif", "gtc")
    if op in _LATER or (op == "limit" and tif in _LATER_TIF):
        return Operation(op, order_id, later=True)
    if op == "cancel":
        return Operation(op, order_id)
    if op == "limit" and tif != "gtc":
        raise DocumentRefused(f'{whose}: give "tif" as "gtc", or leave it out')
    return Operation(
        op,
        order_id,
        owner=_within(order, "owner", 32, whose),
        side=_side(order, whose),
        quantity=_whole(order, "quantity_wh", whose),
        units=_fine_price(order, whose) if op == "limit" else None,
    )


def _within(value: Json, key: str, bits: int, whose: str) -> int:
    number = _whole(value, key, whose)
    if not 0 <= number < 2**bits:
        raise DocumentRefused(f'{whose}: give "{key}" from 0 to {2**bits - 1}')
    return number


def _fine_price(value: Json, whose: str) -> int | None:
    """The price in money units per Wh; None where it is finer, which is a rejection of one order, not of the stream."""
    try:
        fraction = _split(value.get("price"))[1]
    except DocumentRefused as refused:
        raise DocumentRefused(f"{whose}: price: {refused}") from None
    return decimal_to_units(value["price"], PRICE_DECIMALS) if len(fraction) <= PRICE_DECIMALS else None


def band_around_zero(tick: int) -> tuple[int, int]:
    """The widest band of a book with this tick, as much below zero as above: for a stream that names no instrument."""
    reach = min(TICKS_MAX // 2, PRICE_MAX // tick) * tick
    return -reach, reach


def match_operations(operations: Iterable[Operation], book: Book) -> Iterator[Json]:
    """What happens to a stream in a book, one object a result, in order."""
    for operation in operations:
        if operation.later:
            yield _rejected(operation.order_id, "not_yet")
            continue
        try:
            if operation.op == "cancel":
                canceled = book.cancel(operation.order_id)
                yield {"canceled": {"id": canceled.order_id, "quantity_wh": canceled.quantity}}
                continue
            market = operation.op == "market"
            if operation.units is None and not market and 0 < operation.quantity < 2**32:
                raise CommandRejected(operation.order_id, Rejection.PRICE_OFF_TICK)
            results = book.submit(
                operation.order_id,
                owner=operation.owner,
                side=operation.side,
                quantity=operation.quantity,
                price=operation.units or 0,
                kind=Kind.MARKET if market else Kind.LIMIT,
            )
        except CommandRejected as rejected:
            yield _rejected(rejected.order_id, rejected.code.name.lower())
            continue
        for result in results:
            if isinstance(result, Fill):
                price = units_to_decimal(result.price, PRICE_DECIMALS)
                yield {
                    "fill": {
                        "maker": result.maker,
                        "taker": result.taker,
                        "price": price,
                        "quantity_wh": result.quantity,
                    }
                }
            else:
                assert not isinstance(result, Rejected), "submit raises what it rejects"
                name = "rest" if isinstance(result, Rest) else "canceled"
                yield {name: {"id": result.order_id, "quantity_wh": result.quantity}}


def _rejected(order_id: int, code: str) -> Json:
    return {"rejected": {"id": order_id, "code": code}}
