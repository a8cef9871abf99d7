"""The exchange's benchmark stream (clearing.md section 4), and what a replay of any stream amounts to.

A stream is packed 32-byte commands. Its generator keeps a small book of its own, so that it needs nothing that it is
about to measure. The owner of an order is its id: the check for self-trades runs and never fires, so that engines
without one make the same fills.
"""

from __future__ import annotations

import math
import random
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from heapq import heappop, heappush
from typing import Final

from matcher_c import COMMAND, RESULT, Event, Kind

MESSAGES: Final = 1_000_000
SHALLOW_LIVE: Final = 1_000
PASSIVE: Final = 0.60  # below it a passive limit
CANCEL: Final = 0.95  # below it a cancel, else a marketable limit
FAR: Final = math.log(0.9)  # a passive price is 1 + G ticks off, G geometric with p = 0.1
START: Final = 32768  # the price where there is no opposite side
TELL_EVERY: Final = 1 << 14

_PRICED: Final = frozenset({Kind.LIMIT, 3, 4, 5, 7})  # kinds whose price is read: limit, IOC, FOK, post-only, replace
_FNV_OFFSET: Final = 0xCBF29CE484222325
_FNV_PRIME: Final = 0x100000001B3
_MASK: Final = 2**64 - 1

Tell = Callable[[int, int], None]
Command = tuple[int, int, int, int, int, int, int]
"""id, price in ticks, quantity, owner, kind, side, flags"""


def silent(done: int, of: int) -> None:
    """Progress that nobody watches."""


class _Side:
    """One side of the generator's book: prices in a heap, best first, orders by price, the gone ones skipped late."""

    def __init__(self, sign: int) -> None:
        self.sign = sign  # 1 where a lower price is better
        self.queues: dict[int, deque[int]] = {}
        self.live: dict[int, int] = {}  # orders by price
        self._heap: list[int] = []

    def best(self) -> int | None:
        while self._heap:
            price = self._heap[0] * self.sign
            if self.live.get(price):
                return price
            heappop(self._heap)
            self.live.pop(price, None)
            self.queues.pop(price, None)
        return None

    def add(self, price: int, order_id: int) -> None:
        queue = self.queues.get(price)
        if queue is None:
            self.queues[price] = deque((order_id,))
            self.live[price] = 1
            heappush(self._heap, price * self.sign)
        else:
            queue.append(order_id)
            self.live[price] += 1


def make_stream(count: int, *, seed: int, live_max: int | None, resting: int = 0, tell: Tell = silent) -> bytearray:
    """`resting` passive limits, then `count` commands of the mix; with `live_max`, a passive limit that would go beyond
    it becomes a cancel (the shallow book), without, the book grows (the deep one)."""
    rng = random.Random(seed)
    uniform, whole = rng.random, rng.randrange
    total = resting + count
    stream = bytearray(total * COMMAND.size)
    buys, sells = _Side(-1), _Side(1)
    left: dict[int, int] = {}  # quantity of each live order
    at: dict[int, tuple[int, int]] = {}  # its side and price
    ids: list[int] = []  # live, in no order, for a uniform choice
    place: dict[int, int] = {}

    def gone(order_id: int) -> None:
        del left[order_id]
        side, price = at.pop(order_id)
        (sells if side else buys).live[price] -= 1
        last = ids.pop()
        hole = place.pop(order_id)
        if last != order_id:
            ids[hole] = last
            place[last] = hole

    def rest(order_id: int, side: int, price: int, quantity: int) -> None:
        left[order_id] = quantity
        at[order_id] = side, price
        place[order_id] = len(ids)
        ids.append(order_id)
        (sells if side else buys).add(price, order_id)

    for number in range(total):
        if not number % TELL_EVERY:
            tell(number, total)
        draw = uniform() if number >= resting else 0.0
        full = live_max is not None and len(ids) >= live_max and number >= resting
        if (PASSIVE <= draw < CANCEL or (draw < PASSIVE and full)) and ids:
            order_id = ids[whole(len(ids))]
            COMMAND.pack_into(stream, number * COMMAND.size, order_id, 0, 0, 0, Kind.CANCEL, 0, 0)
            gone(order_id)
            continue
        order_id, side = number + 1, whole(2)
        opposite = buys if side else sells
        best = opposite.best()
        if draw < CANCEL:
            far = 1 + int(math.log(1.0 - uniform()) / FAR)
            price = (START if best is None else best) + (far if side else -far)
            quantity = 1 + whole(100)
        else:
            through = whole(3)
            price = (START if best is None else best) + (-through if side else through)
            quantity = 1 + whole(300)
        COMMAND.pack_into(stream, number * COMMAND.size, order_id, price, quantity, order_id, Kind.LIMIT, side, 0)
        while quantity and best is not None and (best >= price if side else best <= price):
            queue = opposite.queues[best]
            maker = queue[0]
            if maker not in left:
                queue.popleft()
                continue
            filled = min(quantity, left[maker])
            quantity -= filled
            left[maker] -= filled
            if not left[maker]:
                queue.popleft()
                gone(maker)
                best = opposite.best()
        if quantity:
            rest(order_id, side, price, quantity)
    tell(total, total)
    return stream


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a book needs to take a stream: the lowest and highest price in ticks, and the orders that may rest."""

    lowest: int
    highest: int
    priced: int


def bounds_of(stream: bytes | bytearray) -> Bounds:
    """The band that the stream's own limit commands span, and their number."""
    prices = [price for _, price, _, _, kind, _, _ in COMMAND.iter_unpack(stream) if kind in _PRICED]
    return Bounds(min(prices, default=0), max(prices, default=0), len(prices))


class Fnv:
    """FNV-1a of 64 bits over each fill's maker, taker, quantity and price as little-endian u64."""

    def __init__(self) -> None:
        self._state = _FNV_OFFSET

    def update(self, data: bytes | bytearray | memoryview) -> None:
        """Takes more bytes in."""
        state = self._state
        for byte in bytes(data):
            state = ((state ^ byte) * _FNV_PRIME) & _MASK
        self._state = state

    def hexdigest(self) -> str:
        """16 hex digits."""
        return f"{self._state:016x}"


@dataclass(slots=True)
class Tally:
    """What a replay made: its fills, their energy, their hash."""

    fills: int = 0
    volume: int = 0
    rejected: int = 0
    hash: Fnv = field(default_factory=Fnv)

    def take(self, results: bytes | bytearray | memoryview, written: int) -> None:
        """Adds the fills among the first `written` result records."""
        view = memoryview(results)
        for index in range(written):
            start = index * RESULT.size
            if view[start] == Event.FILL:  # bytes 8 to 40 of a fill are maker, taker, quantity and price
                self.hash.update(view[start + 8 : start + RESULT.size])
                self.volume += int.from_bytes(view[start + 24 : start + 32], "little")
                self.fills += 1
            elif view[start] == Event.REJECTED:
                self.rejected += 1


def with_ids(stream: bytes | bytearray, renamed: Callable[[int], int]) -> bytearray:
    """The same stream under other ids; owners stay."""
    other = bytearray(stream)
    for index, (order_id, *_) in enumerate(COMMAND.iter_unpack(stream)):
        other[index * COMMAND.size : index * COMMAND.size + 8] = renamed(order_id).to_bytes(8, "little")
    return other


_GOLDEN: Final = 0x9E3779B97F4A7C15  # the multiplier of Fibonacci hashing
_GOLDEN_INVERSE: Final = pow(_GOLDEN, -1, 2**64)

CRAFTED: Final[dict[str, Callable[[int], int]]] = {
    "multiples of 2^40": lambda order_id: (order_id << 40) & _MASK,
    "multiples of 2^22": lambda order_id: (order_id << 22) & _MASK,
    "one place under a Fibonacci hash": lambda order_id: (order_id * _GOLDEN_INVERSE) & _MASK,
    "one place under its low bits": lambda order_id: ((order_id << 32) * _GOLDEN_INVERSE) & _MASK,
}
"""Ids that an attacker would choose against the usual hashes: low bits masked, or multiplied and shifted."""


def commands_of(stream: bytes | bytearray) -> Iterator[Command]:
    """The commands, unpacked."""
    return COMMAND.iter_unpack(stream)
