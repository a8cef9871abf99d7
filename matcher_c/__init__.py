"""The two matchers: what trades are made, on the exchange and in the live market.

Promises: integers only; the same input gives the same output on every machine; a refusal changes nothing and says
what to do; memory is bounded by what the caller announces. Refuses: anything out of its bounds, before it computes.
The rules are in matcher.h, the definition in reference.py, which takes the same calls: either can be handed to the
ledger.

Units: energy in Wh; prices and fees in money units (10^-8 of the currency) per Wh.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from ._matcher import ffi, lib
from .columns import Column, columns_of, length_of, new_column
from .errors import (
    ClearingTooLarge,
    ColumnRefused,
    CommandRejected,
    DocumentRefused,
    Fault,
    InstrumentRefused,
    MatcherRefused,
    NetworkRefused,
    OrderRefused,
    Rejection,
    ResultsTooSmall,
    refusal_of,
)
from .exchange import (
    COMMAND,
    LIFETIME_MAX,
    NO_OWNER,
    RESULT,
    RESULTS_AT_FIRST,
    Book,
    Canceled,
    Event,
    Fill,
    Kind,
    Level,
    Reason,
    Rejected,
    Rest,
    Resting,
    Result,
    decode_results,
    pack_commands,
    results_of_one,
)
from .network import BUSES_MAX, BUY, ORDERS_MAX, PRICE_MAX, QUANTITY_MAX, SELL, Bus, Clearing, Order, clear_with

if TYPE_CHECKING:
    from ._matcher import Pointer
    from .columns import Words

__all__ = [
    # calls
    "clear", "clear_arrays", "Clearer", "OrderBook",
    # the live market
    "Bus", "Order", "Clearing", "BUY", "SELL", "BUSES_MAX", "ORDERS_MAX", "PRICE_MAX", "QUANTITY_MAX",
    # the exchange
    "Book", "Kind", "Event", "Reason", "Rejection", "Fill", "Rest", "Canceled", "Rejected", "Result", "Resting",
    "Level", "COMMAND", "RESULT", "NO_OWNER", "LIFETIME_MAX", "decode_results", "pack_commands",
    # errors
    "MatcherRefused", "ColumnRefused", "NetworkRefused", "OrderRefused", "InstrumentRefused", "CommandRejected",
    "ResultsTooSmall", "ClearingTooLarge", "DocumentRefused",
]  # fmt: skip


WORK_MAX = 2**62  # moves of a step: more than the largest clearing that there may be can make
_unset = ffi.new_allocator(should_clear_after_alloc=False)  # the workspace needs no zeros
_one, _best = lib.energo_book_one, lib.energo_book_best
_NO_PRICE = -(2**63)  # what energo_book_best gives for an empty side


def clear(network: Sequence[Bus], orders: Sequence[Order]) -> Clearing:
    """Clears orders on a network, root first and parents before children.

    Raises NetworkRefused or OrderRefused, naming the bus or the order.
    """
    return clear_with(clear_arrays, network, orders)


class Clearer:
    """Clears networks up to a size in memory that is taken here, once. Not for two threads at once."""

    def __init__(self, *, buses: int, orders: int, work: int = WORK_MAX) -> None:
        """Room for so many buses and orders. `work` bounds the steps that one clearing may move, about a nanosecond each.

        Raises NetworkRefused or OrderRefused where there is no such room.
        """
        if not 1 <= buses <= BUSES_MAX:
            raise refusal_of(Fault.BAD_BUS_COUNT, 0)
        if not 0 <= orders <= ORDERS_MAX:
            raise refusal_of(Fault.BAD_ORDER_COUNT, 0)
        self._words = lib.energo_clear_words(buses, orders)
        self._workspace = _unset("uint64_t[]", self._words)
        self._where = ffi.new("int64_t *")
        self._work = work

    def clear_arrays(
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
    ) -> tuple[Words, Words, Words]:
        """As matcher_c.clear_arrays. Raises also ClearingTooLarge where this memory or work is not enough."""
        by_bus, by_order = columns_of(parent, fee, capacity_up, capacity_down, bus, side, price, quantity, bus_rank)
        bus_count, order_count = len(by_bus[0]), len(by_order[0])
        parents, fees, ups, downs, *ranks = [ffi.from_buffer("int64_t[]", column) for column in by_bus]
        at, sides, limits, quantities = [ffi.from_buffer("int64_t[]", column) for column in by_order]
        traded, prices, flows = new_column(order_count), new_column(bus_count), new_column(bus_count)
        fault = lib.energo_clear(
            self._workspace, self._words, self._work, bus_count, parents, fees, ups, downs,
            ranks[0] if ranks else ffi.NULL, order_count, at, sides, limits, quantities,
            ffi.from_buffer("int64_t[]", traded), ffi.from_buffer("int64_t[]", prices),
            ffi.from_buffer("int64_t[]", flows), self._where,
        )  # fmt: skip
        if fault:
            raise refusal_of(Fault(fault), self._where[0])
        return traded, prices, flows


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
    """One clearing from arrays of signed 64-bit integers, without a Python object an order.

    By bus, in topological order, root first with parent -1: parent, fee, capacity_up (towards the root) and
    capacity_down in Wh (-1 is none), bus_rank (without it, the bus's index; equal ranks go by index). By order: bus,
    side (0 buy, 1 sell), price, quantity in Wh (-1 is without limit: the public grid, at the root only).

    Returns (traded in Wh by order, price by bus, flow in Wh by child bus, positive towards the root), as arrays of format
    "q". Raises ColumnRefused, NetworkRefused or OrderRefused.
    """
    clearer = Clearer(buses=length_of("parent", parent), orders=length_of("bus", bus))
    return clearer.clear_arrays(parent, fee, capacity_up, capacity_down, bus, side, price, quantity, bus_rank)


def _zeroed(words: int) -> Pointer:
    """Zeroed memory from the C library: pages that nothing is written to cost nothing."""
    memory = lib.calloc(words, 8)
    if memory == ffi.NULL:
        raise MemoryError(f"a book of {8 * words} bytes")
    return ffi.gc(ffi.cast("uint64_t *", memory), lib.free, 8 * words)


class OrderBook(Book):
    """The limit order book of one instrument, in C."""

    def __init__(self, *, capacity: int, tick: int, lowest: int, highest: int, hash_key: bytes | None = None) -> None:
        super().__init__(capacity=capacity, tick=tick, lowest=lowest, highest=highest, hash_key=hash_key)
        if hash_key is None:
            # The interpreter's own keyed hash of bytes gives each process a secret without a source of randomness.
            hash_key = b"".join((hash(text) % 2**64).to_bytes(8, "little") for text in (b"ids, low", b"ids, high"))
        ticks = (highest - lowest) // tick
        words = lib.energo_book_words(capacity, ticks)
        assert words > 0, "Book checks the same bounds as the C"
        self._words = _zeroed(words)  # the book lives in here
        self._book = lib.energo_book_init(
            self._words,
            capacity,
            lowest // tick,
            ticks,
            int.from_bytes(hash_key[:8], "little"),
            int.from_bytes(hash_key[8:], "little"),
        )
        self._consumed = ffi.new("int64_t *")
        self._keep_room(RESULTS_AT_FIRST)
        self._depth_room = 0
        self._columns: tuple[Pointer, ...] = ()

    def _keep_room(self, records: int) -> None:
        self._room = records
        self._results = bytearray(records * RESULT.size)
        self._results_pointer = ffi.from_buffer("uint8_t[]", self._results, require_writable=True)

    def __len__(self) -> int:
        return lib.energo_book_live(self._book)

    @property
    def height(self) -> int:
        return lib.energo_book_height(self._book)

    def _run(self, commands: object, count: int, results: object, room: int, quiet: bool) -> tuple[int, int]:
        written = lib.energo_book_run(
            self._book,
            ffi.from_buffer("uint8_t[]", commands),
            count,
            ffi.from_buffer("uint8_t[]", results, require_writable=True),
            room,
            quiet,
            self._consumed,
        )
        return self._consumed[0], written

    def _one(
        self, order_id: int, ticks: int, quantity: int, owner: int, kind: int, side: int, lifetime: int
    ) -> list[Result]:
        written = _one(
            self._book, order_id, ticks, quantity, owner, kind, side, lifetime, self._results_pointer, self._room
        )
        while written < 0:  # ends: an order meets each resting order once
            self._keep_room(2 * self._room)
            written = _one(
                self._book, order_id, ticks, quantity, owner, kind, side, lifetime, self._results_pointer, self._room
            )
        return results_of_one(self._results, written, self.tick)

    def _best(self, side: int) -> int | None:
        ticks = _best(self._book, side)
        return None if ticks == _NO_PRICE else ticks

    def _depth(self, side: int, levels: int) -> Iterable[tuple[int, int, int]]:
        if levels > self._depth_room:
            self._columns = tuple(ffi.new("int64_t[]", levels) for _ in range(3))
            self._depth_room = levels
        count = lib.energo_book_depth(self._book, side, levels, *self._columns)
        return zip(*(ffi.unpack(column, count) for column in self._columns), strict=True)

    def _dump(self) -> bytes:
        count = len(self)
        commands = bytearray(count * COMMAND.size)
        lib.energo_book_dump(self._book, ffi.from_buffer("uint8_t[]", commands, require_writable=True), count)
        return bytes(commands)
