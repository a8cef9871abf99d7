"""What the matchers refuse, as one small tree of ValueErrors that carry the facts.

Every message is one sentence that says what to do. Both implementations, C and reference, raise exactly these, so that
a caller cannot tell them apart. A broken invariant is not here: it is an AssertionError, a bug.
"""

from enum import IntEnum


class MatcherRefused(ValueError):
    """The common base: something that was handed to a matcher breaks a rule; nothing was changed."""


class ColumnRefused(MatcherRefused):
    """An array or a buffer has the wrong type or length."""


class NetworkRefused(MatcherRefused):
    """The tree of buses breaks a rule. `index` is the bus, or None where it is their number."""

    def __init__(self, reason: str, index: int | None) -> None:
        self.reason = reason
        self.index = index
        super().__init__(reason if index is None else f"bus {index}: {reason}")


class OrderRefused(MatcherRefused):
    """An order of a clearing breaks a rule. `index` is the order, or None where it is their number."""

    def __init__(self, reason: str, index: int | None) -> None:
        self.reason = reason
        self.index = index
        super().__init__(reason if index is None else f"order {index}: {reason}")


class ClearingTooLarge(MatcherRefused):
    """A clearing needs more memory or work than it was given; the results are not set."""


class InstrumentRefused(MatcherRefused):
    """A book's capacity, tick, lowest or highest price breaks a bound."""


class ResultsTooSmall(MatcherRefused):
    """The buffer for results has no room for what the next command would write; nothing was carried out."""


class DocumentRefused(MatcherRefused):
    """A JSON document or stream breaks a rule; the message names the bus, the order or the line."""


class Rejection(IntEnum):
    """Why the exchange rejected one order: the code of a rejection, the first that applies, in this order."""

    BAD_KIND = 1
    BAD_FLAGS = 2
    BAD_SIDE = 3
    BAD_QUANTITY = 4
    PRICE_OUTSIDE_BAND = 5
    PRICE_OFF_TICK = 6
    DUPLICATE_ID = 7
    UNKNOWN_ID = 8
    BOOK_FULL = 9
    WOULD_TRADE = 10
    NOT_FILLABLE = 11
    BAD_HEIGHT = 12


REJECTION_SENTENCES = {
    Rejection.BAD_KIND: "use a kind from 0 (limit) to 8 (height)",
    Rejection.BAD_FLAGS: "give a lifetime from 0 to 65535 heights, and only to an order that may rest",
    Rejection.BAD_SIDE: "use side 0 (buy) or 1 (sell)",
    Rejection.BAD_QUANTITY: "give a quantity from 1 to 4294967295 Wh",
    Rejection.PRICE_OUTSIDE_BAND: "give a price between the instrument's lowest and highest",
    Rejection.PRICE_OFF_TICK: "give a price that is a multiple of the instrument's tick",
    Rejection.DUPLICATE_ID: "give the order an id that no resting order has",
    Rejection.UNKNOWN_ID: "no resting order has this id; it may have traded or been canceled",
    Rejection.BOOK_FULL: "the book is full; cancel an order or wait until some have traded",
    Rejection.WOULD_TRADE: "a post-only order must not meet the other side; give a price that rests",
    Rejection.NOT_FILLABLE: "nobody offers the whole quantity at this price; ask for less or at another price",
    Rejection.BAD_HEIGHT: "give a height that is not below the book's own, and at most 2^62",
}


class CommandRejected(MatcherRefused):
    """The exchange rejected one order; the book is unchanged. `code` says why."""

    def __init__(self, order_id: int, code: Rejection) -> None:
        self.order_id = order_id
        self.code = code
        self.sentence = REJECTION_SENTENCES[code]
        super().__init__(f"order {order_id}: {self.sentence}")


class Fault(IntEnum):
    """What a clearing can find wrong with its arrays; the same numbers as enum energo_fault in matcher.h."""

    FINE = 0
    BAD_BUS_COUNT = 1
    BAD_ORDER_COUNT = 2
    BAD_ROOT = 3
    BAD_PARENT = 4
    BAD_FEE = 5
    BAD_CAPACITY = 6
    ORDER_BUS = 7
    ORDER_SIDE = 8
    ORDER_PRICE = 9
    ORDER_QUANTITY = 10
    GRID_NOT_AT_ROOT = 11
    GRID_TWICE = 12
    GRID_CROSSED = 13
    SMALL_WORKSPACE = 14
    TOO_MUCH_WORK = 15
    BROKEN = 16


_SIZE_SENTENCES = {
    Fault.SMALL_WORKSPACE: "give at most as many buses and orders as the memory was taken for",
    Fault.TOO_MUCH_WORK: "allow more work, or give fewer orders and buses",
}
_NETWORK_SENTENCES = {
    Fault.BAD_BUS_COUNT: "give at least one bus and at most 1048576",
    Fault.BAD_ROOT: "put the root first, with parent -1",
    Fault.BAD_PARENT: "put its parent before it; only the first bus is a root",
    Fault.BAD_FEE: "give a fee from 0 to 2147483647 money units per Wh",
    Fault.BAD_CAPACITY: "give a capacity of 0 Wh or more, or -1 for none",
}
_ORDER_SENTENCES = {
    Fault.BAD_ORDER_COUNT: "give at most 1048576 orders",
    Fault.ORDER_BUS: "place it at a bus of the network",
    Fault.ORDER_SIDE: "use side 0 (buy) or 1 (sell)",
    Fault.ORDER_PRICE: "give a price whose magnitude is below 2147483648 money units per Wh",
    Fault.ORDER_QUANTITY: "give a quantity from 1 to 4294967295 Wh, or none at all for the grid",
    Fault.GRID_NOT_AT_ROOT: "give it a quantity; only the public grid, at the root, trades without limit",
    Fault.GRID_TWICE: "leave it out; the public grid has at most one buy and one sell",
    Fault.GRID_CROSSED: "lower the grid's feed-in price or raise its retail price; feed-in may not be above retail",
}


def refusal_of(fault: Fault, index: int) -> MatcherRefused:
    """The error of a fault at a bus or an order. A fault that is our bug fails the assertion instead."""
    if fault in _SIZE_SENTENCES:
        return ClearingTooLarge(_SIZE_SENTENCES[fault])
    if fault in _NETWORK_SENTENCES:
        return NetworkRefused(_NETWORK_SENTENCES[fault], None if fault is Fault.BAD_BUS_COUNT else index)
    assert fault in _ORDER_SENTENCES, f"the clearing broke an invariant ({fault.name}); keep its input, this is a bug"
    return OrderRefused(_ORDER_SENTENCES[fault], None if fault is Fault.BAD_ORDER_COUNT else index)
