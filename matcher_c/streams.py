"""An order stream's JSON, from parsed lines to a book's calls and back (interfaces.md section 4).

Refuses a line that is no command with an error that names the line; a command that the book rejects is a result like any
other. It parses no text and reads no file.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from .errors import CommandRejected, DocumentRefused, Rejection
from .exchange import (
    LIFETIME_MAX,
    NO_OWNER,
    QUANTITY_MAX,
    TICKS_MAX,
    Book,
    Canceled,
    Fill,
    Kind,
    Rejected,
    Rest,
    Result,
)
from .fields import (
    PRICE_DECIMALS,
    Json,
    decimal_to_units,
    object_of,
    only,
    side_of,
    split_decimal,
    units_to_decimal,
    whole_of,
)
from .network import BUY, PRICE_MAX

_OPERATIONS = {
    "limit": Kind.LIMIT,
    "market": Kind.MARKET,
    "cancel": Kind.CANCEL,
    "reduce": Kind.REDUCE,
    "replace": Kind.REPLACE,
    "height": Kind.HEIGHT,
}
_IN_FORCE = {"gtc": Kind.LIMIT, "ioc": Kind.IOC, "fok": Kind.FOK, "post-only": Kind.POST_ONLY}
_KEYS = ("op", "id", "owner", "side", "price", "quantity_wh", "tif", "lifetime", "height")


@dataclass(frozen=True, slots=True)
class Operation:
    """One line of a stream."""

    kind: Kind
    order_id: int = 0
    owner: int = NO_OWNER
    side: int = BUY
    quantity: int = 0
    """Wh; of a height, the height."""
    price: int = 0
    """Money units per Wh, rounded down where it is finer."""
    finer: bool = False
    """The price was finer than a money unit: the book would reject it as off its tick."""
    lifetime: int = 0
    """Heights; 0 is until canceled."""

    @property
    def may_rest(self) -> bool:
        """Whether it may take a place in the book that nobody has yet."""
        return self.kind in (Kind.LIMIT, Kind.POST_ONLY)


def operation_of(value: object, line: int) -> Operation:
    """One parsed line of a stream. Raises DocumentRefused, naming the line, where it is not such a line."""
    whose = f"line {line}"
    order = object_of(value, whose)
    op = order.get("op")
    if not isinstance(op, str) or op not in _OPERATIONS:
        raise DocumentRefused(f'{whose}: give "op" as one of {", ".join(_OPERATIONS)}')
    only(order, _KEYS, whose)
    kind = _OPERATIONS[op]
    if kind == Kind.HEIGHT:
        return Operation(kind, quantity=whole_of(order, "height", whose))
    order_id = _within(order, "id", 64, whose)
    if kind == Kind.CANCEL:
        return Operation(kind, order_id)
    quantity = whole_of(order, "quantity_wh", whose)
    if kind == Kind.REDUCE:
        return Operation(kind, order_id, quantity=quantity)
    price, finer = (0, False) if kind == Kind.MARKET else _price(order, whose)
    lifetime = 0 if order.get("lifetime") is None else whole_of(order, "lifetime", whose)
    if kind == Kind.REPLACE:  # side and owner stay what they were, whatever the line says
        return Operation(kind, order_id, quantity=quantity, price=price, finer=finer, lifetime=lifetime)
    tif = order.get("tif", "gtc")
    if kind == Kind.LIMIT:
        if not isinstance(tif, str) or tif not in _IN_FORCE:
            raise DocumentRefused(f'{whose}: give "tif" as one of {", ".join(_IN_FORCE)}, or leave it out')
        kind = _IN_FORCE[tif]
    owner = NO_OWNER if order.get("owner") is None else _within(order, "owner", 32, whose)
    return Operation(kind, order_id, owner, side_of(order, whose), quantity, price, finer, lifetime)


def _within(value: Json, key: str, bits: int, whose: str) -> int:
    number = whole_of(value, key, whose)
    if not 0 <= number < 2**bits:
        raise DocumentRefused(f'{whose}: give "{key}" from 0 to {2**bits - 1}')
    return number


def _price(value: Json, whose: str) -> tuple[int, bool]:
    """The price in money units per Wh, rounded down, and whether it was finer: that rejects one order, not the stream."""
    try:
        whole, fraction, negative = split_decimal(value.get("price"))
    except DocumentRefused as refused:
        raise DocumentRefused(f"{whose}: price: {refused}") from None
    kept, finer = fraction[:PRICE_DECIMALS], bool(fraction[PRICE_DECIMALS:].strip("0"))
    units = decimal_to_units(f"{whole}.{kept or 0}", PRICE_DECIMALS)
    return (-units - finer if negative else units), finer


def band_around_zero(tick: int) -> tuple[int, int]:
    """The widest band of a book with this tick, as much below zero as above: for a stream that names no instrument."""
    reach = min(TICKS_MAX // 2, PRICE_MAX // tick) * tick
    return -reach, reach


def match_operations(operations: Iterable[Operation], book: Book) -> Iterator[Json]:
    """What happens to a stream in a book, one object a result, in order."""
    for operation in operations:
        try:
            results = _carried_out(operation, book)
        except CommandRejected as rejected:
            yield {"rejected": {"id": rejected.order_id, "code": rejected.code.name.lower()}}
            continue
        for result in results:
            yield _shown(result)


def _carried_out(operation: Operation, book: Book) -> list[Result]:
    order_id = operation.order_id
    if operation.finer:
        raise CommandRejected(order_id, _rejection_of_finer(operation, book))
    match operation.kind:
        case Kind.HEIGHT:
            return list(book.advance(operation.quantity))
        case Kind.CANCEL:
            return [book.cancel(order_id)]
        case Kind.REDUCE:
            return [book.reduce(order_id, operation.quantity)]
        case Kind.REPLACE:
            return book.replace(
                order_id, quantity=operation.quantity, price=operation.price, lifetime=operation.lifetime
            )
    return book.submit(
        order_id,
        owner=operation.owner,
        side=operation.side,
        quantity=operation.quantity,
        price=operation.price,
        kind=operation.kind,
        lifetime=operation.lifetime,
    )


def _rejection_of_finer(operation: Operation, book: Book) -> Rejection:
    """The first rule that an order with a price between two money units breaks; the book cannot be asked."""
    lasting = operation.may_rest or operation.kind == Kind.REPLACE
    if not 0 <= operation.lifetime <= (LIFETIME_MAX if lasting else 0):
        return Rejection.BAD_FLAGS
    if not 1 <= operation.quantity <= QUANTITY_MAX:
        return Rejection.BAD_QUANTITY
    if not book.lowest <= operation.price < book.highest:
        return Rejection.PRICE_OUTSIDE_BAND
    return Rejection.PRICE_OFF_TICK


def _shown(result: Result) -> Json:
    match result:
        case Fill():
            price = units_to_decimal(result.price, PRICE_DECIMALS)
            return {
                "fill": {"maker": result.maker, "taker": result.taker, "price": price, "quantity_wh": result.quantity}
            }
        case Rest():
            return {"rest": {"id": result.order_id, "quantity_wh": result.quantity}}
        case Canceled():
            reason = result.reason.name.lower()
            return {"canceled": {"id": result.order_id, "quantity_wh": result.quantity, "reason": reason}}
        case Rejected():
            raise AssertionError("the calls raise what they reject")
