"""The exchange's records and everything around a book that is not matching. Both implementations share this layer.

A command is 32 bytes and a result 40, little-endian (interfaces.md section 4). Prices in packed records count ticks;
prices in Python are money units per Wh (price = ticks x tick). `Book` checks an instrument's bounds, packs and unpacks;
its two subclasses, in C and in reference.py, do the matching. One command is carried out whole or not at all.
"""

import struct
from collections.abc import Sequence
from enum import IntEnum
from typing import NamedTuple, Self, TypeAlias

from .errors import ColumnRefused, CommandRejected, InstrumentRefused, Rejection, ResultsTooSmall

COMMAND = struct.Struct("<QqqIBBH")
"""id, price in ticks, quantity, owner, kind, side, flags"""
RESULT = struct.Struct("<BBHIQQqq")
"""kind, side, code, owner, id, other id, quantity, price in ticks"""
_HEADER = struct.Struct("<4sIqqq")
"""of a serialized book: magic, capacity, tick, lowest, highest"""
_MAGIC = b"EBK1"

TICKS_MAX = 2**20  # from lowest to highest: a level is 8 bytes, taken at construction
CAPACITY_MAX = 2**22  # orders: below 200 MB with their hash table
PRICE_MAX = 2**31 - 1
QUANTITY_MAX = 2**32 - 1
_OWNER_MAX = 2**32 - 1
_ID_MAX = 2**64 - 1
_RESULTS_AT_FIRST = 64  # records kept for one-order calls; doubled when one order makes more


class Kind(IntEnum):
    """What a command asks for."""

    LIMIT = 0
    """Trade what crosses, rest the remainder until it is canceled."""
    CANCEL = 1
    MARKET = 2
    """Trade at any price, drop the remainder."""


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
    """The remainder of a market order that found nobody."""


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
    """An order, or the rest of a market order (price 0), is gone without trading."""

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
    decoded: list[Result] = []
    for kind, side, code, owner, order_id, other_id, quantity, ticks in RESULT.iter_unpack(
        memoryview(results).cast("B")[: count * RESULT.size]
    ):
        if kind == Event.FILL:
            decoded.append(Fill(order_id, other_id, side, owner, quantity, ticks * tick))
        elif kind == Event.REST:
            decoded.append(Rest(order_id, side, owner, quantity, ticks * tick))
        elif kind == Event.CANCELED:
            decoded.append(Canceled(order_id, side, owner, quantity, ticks * tick, Reason(code)))
        else:
            assert kind == Event.REJECTED, f"no result has kind {kind}"
            decoded.append(Rejected(order_id, Rejection(code)))
    return decoded


class Book:
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
        self._results = bytearray(_RESULTS_AT_FIRST * RESULT.size)

    # What an implementation brings. Prices are in ticks here.

    def _run(self, commands: object, count: int, results: object, room: int, quiet: bool) -> tuple[int, int]:
        raise NotImplementedError

    def _depth(self, side: int, levels: int) -> list[Level]:
        raise NotImplementedError

    def _dump(self) -> bytes:
        raise NotImplementedError

    def __len__(self) -> int:
        """How many orders rest."""
        raise NotImplementedError

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
        self, order_id: int, *, owner: int, side: int, quantity: int, price: int = 0, kind: Kind = Kind.LIMIT
    ) -> list[Result]:
        """One limit or market order, price in money units per Wh. Returns what happened, in order.

        Raises CommandRejected (the book is unchanged), or ColumnRefused where id or owner is no unsigned 64- or
        32-bit number.
        """
        if not 0 <= order_id <= _ID_MAX or not 0 <= owner <= _OWNER_MAX:
            raise ColumnRefused(f"order {order_id}: give an id below 2^64 and an owner below 2^32")
        if kind not in (Kind.LIMIT, Kind.MARKET):
            raise CommandRejected(order_id, Rejection.BAD_KIND)
        if side not in (0, 1):
            raise CommandRejected(order_id, Rejection.BAD_SIDE)
        if not 1 <= quantity <= QUANTITY_MAX:
            raise CommandRejected(order_id, Rejection.BAD_QUANTITY)
        ticks = 0
        if kind == Kind.LIMIT:
            if not self.lowest <= price <= self.highest:
                raise CommandRejected(order_id, Rejection.PRICE_OUTSIDE_BAND)
            ticks, off = divmod(price, self.tick)
            if off:
                raise CommandRejected(order_id, Rejection.PRICE_OFF_TICK)
        return self._one(COMMAND.pack(order_id, ticks, quantity, owner, kind, side, 0))

    def cancel(self, order_id: int) -> Canceled:
        """Takes a resting order out. Raises CommandRejected where no resting order has this id."""
        if not 0 <= order_id <= _ID_MAX:
            raise ColumnRefused(f"order {order_id}: give an id below 2^64")
        (canceled,) = self._one(COMMAND.pack(order_id, 0, 0, 0, Kind.CANCEL, 0, 0))
        assert isinstance(canceled, Canceled), "a cancel that was not rejected cancels"
        return canceled

    def best(self) -> tuple[int | None, int | None]:
        """The highest buy and the lowest sell price, None where a side is empty."""
        buys, sells = self.depth(1)
        return (buys[0].price if buys else None), (sells[0].price if sells else None)

    def depth(self, levels: int = 10) -> tuple[list[Level], list[Level]]:
        """Up to `levels` prices of the buys and of the sells, best first."""
        room = max(0, min(levels, self.capacity))
        buys, sells = self._depth(0, room), self._depth(1, room)
        return [self._priced(level) for level in buys], [self._priced(level) for level in sells]

    def orders(self) -> list[Resting]:
        """Every resting order: buys, then sells, best first, oldest first."""
        return [
            Resting(order_id, side, owner, quantity, ticks * self.tick)
            for order_id, ticks, quantity, owner, _, side, _ in COMMAND.iter_unpack(self._dump())
        ]

    def to_bytes(self) -> bytes:
        """The book as bytes: its bounds, then every resting order as the command that puts it back."""
        return _HEADER.pack(_MAGIC, self.capacity, self.tick, self.lowest, self.highest) + self._dump()

    @classmethod
    def from_bytes(cls, data: bytes, hash_key: bytes | None = None) -> Self:
        """The book of `to_bytes`. Raises ColumnRefused or InstrumentRefused for anything else."""
        if len(data) < _HEADER.size or (len(data) - _HEADER.size) % COMMAND.size or data[:4] != _MAGIC:
            raise ColumnRefused("book: give the bytes that to_bytes gave, whole")
        _, capacity, tick, lowest, highest = _HEADER.unpack_from(data)
        book = cls(capacity=capacity, tick=tick, lowest=lowest, highest=highest, hash_key=hash_key)
        commands = data[_HEADER.size :]
        count = len(commands) // COMMAND.size
        book._run(commands, count, bytearray((count + 1) * RESULT.size), count + 1, True)
        if book.to_bytes() != data:  # an order that was rejected, traded, or stood in another place
            raise ColumnRefused("book: give the bytes that to_bytes gave, unchanged")
        return book

    def _one(self, command: bytes) -> list[Result]:
        while True:
            consumed, written = self._run(command, 1, self._results, len(self._results) // RESULT.size, False)
            if consumed:
                break
            self._results = bytearray(2 * len(self._results))  # ends: an order meets each resting order once
        decoded = decode_results(self._results, written, self.tick)
        if decoded and isinstance(decoded[0], Rejected):
            raise CommandRejected(decoded[0].order_id, decoded[0].code)
        return decoded

    def _priced(self, level: Level) -> Level:
        return level._replace(price=level.price * self.tick)


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
