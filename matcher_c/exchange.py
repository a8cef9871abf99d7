"""The exchange's records and everything around a book that is not matching. Both implementations share this layer.

A command is 32 bytes and a result 40, little-endian (interfaces.md section 4). Prices in packed records count ticks;
prices in Python are money units per Wh (price = ticks x tick). `Book` checks an instrument's bounds, packs and unpacks;
its two subclasses, in C and in reference.py, do the matching. One command is carried out whole or not at all.
"""

import struct
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from enum import IntEnum
from typing import NamedTuple, Self, TypeAlias

from .errors import ColumnRefused, CommandRejected, InstrumentRefused, Rejection, ResultsTooSmall

COMMAND = struct.Struct("<QqqIBBH")
"""id, price in ticks, quantity, owner, kind, side, flags"""
RESULT = struct.Struct("<BBHIQQqq")
"""kind, side, code, owner, id, other id, quantity, price in ticks"""
_unpack_result = RESULT.unpack_from
_HEADER = struct.Struct("<4sIqqqq")
"""of a serialized book: magic, capacity, tick, lowest, highest, height"""
_MAGIC = b"EBK2"

TICKS_MAX = 2**20  # from lowest to highest: a level is 8 bytes, taken at construction
CAPACITY_MAX = 2**22  # orders: below 300 MB when all of them rest
PRICE_MAX = 2**31 - 1
QUANTITY_MAX = 2**32 - 1
LIFETIME_MAX = 2**16 - 1  # heights that an order may rest: what a command has room for
HEIGHT_MAX = 2**62
NO_OWNER = 0
"""An owner that is nobody in particular: its orders trade with each other."""
_OWNER_MAX = 2**32 - 1
_ID_MAX = 2**64 - 1
RESULTS_AT_FIRST = 64  # records kept for one-order calls; doubled when one order makes more


class Kind(IntEnum):
    """What a command asks for."""

    LIMIT = 0
    """Trade what crosses, rest the remainder until it is canceled."""
    CANCEL = 1
    MARKET = 2
    """Trade at any price, drop the remainder."""
    IOC = 3
    """Immediate or cancel: trade what crosses, drop the remainder."""
    FOK = 4
    """Fill or kill: trade the whole quantity, or be rejected."""
    POST_ONLY = 5
    """Rest, or be rejected where it would trade."""
    REDUCE = 6
    """Take a quantity off a resting order, which keeps its place."""
    REPLACE = 7
    """Cancel, then a limit order of the same id, side and owner."""
    HEIGHT = 8
    """The ledger's height is now `quantity`; orders that end here are canceled."""


RESTING_KINDS = (Kind.LIMIT, Kind.POST_ONLY, Kind.REPLACE)
PRICED_KINDS = (*RESTING_KINDS, Kind.IOC, Kind.FOK)
NEW_KINDS = (Kind.LIMIT, Kind.MARKET, Kind.IOC, Kind.FOK, Kind.POST_ONLY)

# As plain numbers, for the calls that are to be quick: an enum's member costs a tenth of a one-order call each time.
_CANCEL, _MARKET, _REDUCE = 1, 2, 6
_NEW = tuple(map(int, NEW_KINDS))


class Event(IntEnum):
    """What a result says."""

    FILL = 0
    REST = 1
    CANCELED = 2
    REJECTED = 3


class Reason(IntEnum):
    """Why an order was canceled: the code of a cancellation."""

    ASKED = 0
    SELF_TRADE = 1
    """It met an incoming order of its own owner."""
    UNMATCHED = 2
    """What was left of an order that does not rest."""
    REDUCED = 3
    REPLACED = 4
    EXPIRED = 5


REASONS = tuple(Reason)
REJECTIONS = (None, *Rejection)


class Fill(NamedTuple):
    """An incoming order traded with a resting one, at the resting order's price."""

    maker: int
    taker: int
    side: int
    """of the maker"""
    owner: int
    """of the maker"""
    quantity: int
    price: int


class Rest(NamedTuple):
    """What is left of a limit order now rests in the book."""

    order_id: int
    side: int
    owner: int
    quantity: int
    price: int


class Canceled(NamedTuple):
    """An order, or a part of one, is gone without trading; the price of an unmatched market order is 0."""

    order_id: int
    side: int
    owner: int
    quantity: int
    price: int
    reason: Reason


class Rejected(NamedTuple):
    """A command broke a rule and changed nothing."""

    order_id: int
    code: Rejection


Result: TypeAlias = Fill | Rest | Canceled | Rejected


class Resting(NamedTuple):
    """An order in the book."""

    order_id: int
    side: int
    owner: int
    quantity: int
    price: int


class Level(NamedTuple):
    """All orders of one price."""

    price: int
    quantity: int
    orders: int


def decode_results(results: bytes | bytearray | memoryview, count: int, tick: int = 1) -> list[Result]:
    """The first `count` records of a results buffer, prices times `tick`."""
    records = RESULT.iter_unpack(memoryview(results).cast("B")[: count * RESULT.size])
    return [_decode(record, tick) for record in records]


_new = tuple.__new__  # half the time of a named tuple's own constructor


def _decode(record: tuple[int, ...], tick: int) -> Result:
    kind, side, code, owner, order_id, other_id, quantity, ticks = record
    if kind == 1:
        return _new(Rest, (order_id, side, owner, quantity, ticks * tick))
    if kind == 2:
        return _new(Canceled, (order_id, side, owner, quantity, ticks * tick, REASONS[code]))
    if kind == 0:
        return _new(Fill, (order_id, other_id, side, owner, quantity, ticks * tick))
    assert kind == 3, f"no result has kind {kind}"
    return _new(Rejected, (order_id, REJECTIONS[code]))


def results_of_one(results: bytearray, written: int, tick: int) -> list[Result]:
    """What one command wrote. Raises CommandRejected."""
    if written != 1:
        return decode_results(results, written, tick)
    result = _decode(_unpack_result(results), tick)
    if result.__class__ is Rejected:
        raise CommandRejected(*result)
    return [result]


class Book(ABC):
    """The limit order book of one instrument. Not for two threads at once."""

    def __init__(self, *, capacity: int, tick: int, lowest: int, highest: int, hash_key: bytes | None = None) -> None:
        """`capacity` in orders; tick, lowest and highest price in money units per Wh. Memory is taken here, once.

        `hash_key` is 16 bytes that outsiders do not know; it scatters ids and changes nothing that can be observed.
        Raises InstrumentRefused.
        """
        if not 1 <= capacity <= CAPACITY_MAX:
            raise InstrumentRefused(f"capacity: give 1 to {CAPACITY_MAX} orders, not {capacity}")
        if not 1 <= tick <= PRICE_MAX:
            raise InstrumentRefused(f"tick: give 1 to {PRICE_MAX} money units per Wh, not {tick}")
        for name, price in (("lowest", lowest), ("highest", highest)):
            if abs(price) > PRICE_MAX or price % tick:
                raise InstrumentRefused(
                    f"{name}: give a multiple of the tick {tick} of magnitude below 2^31, not {price}"
                )
        if not 0 <= highest - lowest <= TICKS_MAX * tick:
            raise InstrumentRefused(
                f"highest: give at least the lowest price {lowest} and at most {TICKS_MAX} ticks more, not {highest}"
            )
        if hash_key is not None and len(hash_key) != 16:
            raise InstrumentRefused(f"hash_key: give 16 bytes, not {len(hash_key)}")
        self.capacity = capacity
        self.tick = tick
        self.lowest = lowest
        self.highest = highest

    # What an implementation brings. Prices are in ticks here.

    @abstractmethod
    def _run(self, commands: object, count: int, results: object, room: int, quiet: bool) -> tuple[int, int]:
        """Carries out packed commands until one's results do not fit: (consumed, written)."""

    @abstractmethod
    def _one(
        self, order_id: int, ticks: int, quantity: int, owner: int, kind: int, side: int, lifetime: int
    ) -> list[Result]:
        """One command; raises CommandRejected, and OverflowError where a number does not fit its field."""

    @abstractmethod
    def _best(self, side: int) -> int | None:
        """The best price of a side; None where it is empty."""

    @abstractmethod
    def _depth(self, side: int, levels: int) -> Iterable[tuple[int, int, int]]:
        """(price, quantity, orders) of the best levels of a side."""

    @abstractmethod
    def _dump(self) -> bytes:
        """Every resting order as the command that puts it back: buys, then sells, best first, oldest first."""

    @abstractmethod
    def __len__(self) -> int:
        """How many orders rest."""

    @property
    @abstractmethod
    def height(self) -> int:
        """The ledger's height as the book was last told, 0 at first."""

    # What a caller uses.

    def run(self, commands: object, results: object, quiet: bool = False) -> tuple[int, int]:
        """Carries out packed commands until the results of one no longer fit; returns (consumed, written).

        `commands` is any contiguous buffer of 32-byte records, `results` a writable one for 40-byte records. `quiet`
        writes fills and rejections only. Raises ColumnRefused for a buffer of the wrong size, and ResultsTooSmall where
        not even the first command's results fit; the book is then unchanged.
        """
        count, rest = divmod(_bytes_of("commands", commands), COMMAND.size)
        if rest:
            raise ColumnRefused(f"commands: give whole records of {COMMAND.size} bytes; {rest} bytes are left over")
        room = _bytes_of("results", results, writable=True) // RESULT.size
        consumed, written = self._run(commands, count, results, room, quiet)
        if count and not consumed:
            raise ResultsTooSmall(f"results: give a larger buffer; the first command writes more than {room} records")
        return consumed, written

    def submit(
        self,
        order_id: int,
        *,
        owner: int,
        side: int,
        quantity: int,
        price: int = 0,
        kind: int = 0,
        lifetime: int = 0,
    ) -> list[Result]:
        """A new order, price in money units per Wh; a market order has none. Returns what happened, in order.

        `kind` is one of NEW_KINDS, a limit order unless said otherwise; `lifetime` is the number of heights after which
        what rests of it ends, 0 for never. Raises CommandRejected (the book is unchanged), or ColumnRefused where id or
        owner is no unsigned 64- or 32-bit number.
        """
        if kind not in _NEW:
            raise CommandRejected(order_id, Rejection.BAD_KIND)
        ticks = 0 if kind == _MARKET else price // self.tick
        if ticks * self.tick != price and kind != _MARKET:
            raise self._refusal_of(order_id, owner, side, quantity, price, kind, lifetime)
        try:
            return self._one(order_id, ticks, quantity, owner, kind, side, lifetime)
        except OverflowError:
            raise self._refusal_of(order_id, owner, side, quantity, price, kind, lifetime) from None

    def cancel(self, order_id: int) -> Canceled:
        """Takes a resting order out. Raises CommandRejected where no resting order has this id."""
        return self._change(order_id, 1, _CANCEL)

    def reduce(self, order_id: int, quantity: int) -> Canceled:
        """Takes `quantity` Wh off a resting order, all that is left if that is less; the rest keeps its place.

        Raises CommandRejected.
        """
        return self._change(order_id, quantity, _REDUCE)

    def replace(self, order_id: int, *, quantity: int, price: int, lifetime: int = 0) -> list[Result]:
        """Cancels a resting order and places a limit order of the same id, side and owner, behind the others.

        Raises CommandRejected (the book is unchanged).
        """
        ticks, off = divmod(price, self.tick)
        if off:
            raise self._refusal_of(order_id, 0, 0, quantity, price, Kind.REPLACE, lifetime)
        try:
            return self._one(order_id, ticks, quantity, 0, Kind.REPLACE, 0, lifetime)
        except OverflowError:
            raise self._refusal_of(order_id, 0, 0, quantity, price, Kind.REPLACE, lifetime) from None

    def advance(self, height: int) -> list[Canceled]:
        """Tells the book the ledger's height; returns the orders that ended, by end and then by id.

        Raises CommandRejected where the height is below the book's.
        """
        try:
            return [_canceled(result) for result in self._one(0, 0, height, 0, Kind.HEIGHT, 0, 0)]
        except OverflowError:
            raise CommandRejected(0, Rejection.BAD_HEIGHT) from None

    def _change(self, order_id: int, quantity: int, kind: int) -> Canceled:
        try:
            (canceled,) = self._one(order_id, 0, quantity, 0, kind, 0, 0)
        except OverflowError:
            raise self._refusal_of(order_id, 0, 0, quantity, 0, kind, 0) from None
        return _canceled(canceled)

    def _refusal_of(
        self, order_id: int, owner: int, side: int, quantity: int, price: int, kind: int, lifetime: int
    ) -> CommandRejected | ColumnRefused:
        """What is wrong with numbers that the packed form has no place for."""
        if not 0 <= order_id <= _ID_MAX or not 0 <= owner <= _OWNER_MAX:
            return ColumnRefused(f"order {order_id}: give an id below 2^64 and an owner below 2^32")
        if not 0 <= lifetime <= LIFETIME_MAX or (lifetime and kind not in RESTING_KINDS):
            return CommandRejected(order_id, Rejection.BAD_FLAGS)
        if side not in (0, 1):
            return CommandRejected(order_id, Rejection.BAD_SIDE)
        if not 1 <= quantity <= QUANTITY_MAX:
            return CommandRejected(order_id, Rejection.BAD_QUANTITY)
        if kind in PRICED_KINDS and not self.lowest <= price <= self.highest:
            return CommandRejected(order_id, Rejection.PRICE_OUTSIDE_BAND)
        assert kind in PRICED_KINDS and price % self.tick, "some number does not fit, or the price is off its tick"
        return CommandRejected(order_id, Rejection.PRICE_OFF_TICK)

    def best(self) -> tuple[int | None, int | None]:
        """The highest buy and the lowest sell price, None where a side is empty."""
        buy, sell = self._best(0), self._best(1)
        return buy if buy is None else buy * self.tick, sell if sell is None else sell * self.tick

    def depth(self, levels: int = 10) -> tuple[list[Level], list[Level]]:
        """Up to `levels` prices of the buys and of the sells, best first."""
        room = max(0, min(levels, self.capacity))
        buys, sells = (
            [_new(Level, (ticks * self.tick, quantity, orders)) for ticks, quantity, orders in self._depth(side, room)]
            for side in (0, 1)
        )
        return buys, sells

    def orders(self) -> list[Resting]:
        """Every resting order: buys, then sells, best first, oldest first."""
        return [
            Resting(order_id, side, owner, quantity, ticks * self.tick)
            for order_id, ticks, quantity, owner, _, side, _ in COMMAND.iter_unpack(self._dump())
        ]

    def to_bytes(self) -> bytes:
        """The book as bytes: its bounds and height, then every resting order as the command that puts it back."""
        header = _HEADER.pack(_MAGIC, self.capacity, self.tick, self.lowest, self.highest, self.height)
        return header + self._dump()

    @classmethod
    def from_bytes(cls, data: bytes, hash_key: bytes | None = None) -> Self:
        """The book of `to_bytes`. Raises ColumnRefused or InstrumentRefused for anything else."""
        if len(data) < _HEADER.size or (len(data) - _HEADER.size) % COMMAND.size or data[:4] != _MAGIC:
            raise ColumnRefused("book: give the bytes that to_bytes gave, whole")
        _, capacity, tick, lowest, highest, height = _HEADER.unpack_from(data)
        book = cls(capacity=capacity, tick=tick, lowest=lowest, highest=highest, hash_key=hash_key)
        if not 0 <= height <= HEIGHT_MAX:
            raise ColumnRefused("book: give the bytes that to_bytes gave, unchanged")
        book.advance(height)
        commands = data[_HEADER.size :]
        count = len(commands) // COMMAND.size
        book._run(commands, count, bytearray((count + 1) * RESULT.size), count + 1, True)
        if book.to_bytes() != data:  # an order that was rejected, traded, or stood in another place
            raise ColumnRefused("book: give the bytes that to_bytes gave, unchanged")
        return book


def _canceled(result: Result) -> Canceled:
    assert isinstance(result, Canceled), "a change that was not rejected cancels"
    return result


def pack_commands(commands: Sequence[tuple[int, int, int, int, int, int, int]]) -> bytes:
    """Commands (id, ticks, quantity, owner, kind, side, flags) as packed records."""
    return b"".join(COMMAND.pack(*command) for command in commands)


def _bytes_of(name: str, buffer: object, writable: bool = False) -> int:
    try:
        view = memoryview(buffer)  # type: ignore[arg-type]
    except TypeError:
        raise ColumnRefused(f"{name}: give a buffer, such as bytes or a bytearray") from None
    if not view.c_contiguous or (writable and view.readonly):
        raise ColumnRefused(f"{name}: give a contiguous{' and writable' if writable else ''} buffer")
    return view.nbytes
