"""`energoctl bench matcher`: the exchange replayed from Python through its batch call, with every check on.

What is timed is `book.run` alone, from packed commands to packed results (quiet: fills and rejections), in as many calls
as the results' buffer makes it; the hash of the fills is taken in a pass of its own. Rates are commands a second.
"""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import matcher_c
from matcher_c import BUY, COMMAND, RESULT, Kind, OrderBook
from matcher_c._matcher import lib
from matcher_c.exchange import CAPACITY_MAX

from .stream import (
    CRAFTED,
    MESSAGES,
    SHALLOW_LIVE,
    Bounds,
    Tally,
    Tell,
    bounds_of,
    make_stream,
    silent,
    with_ids,
)

PASSES: Final = 5  # of a file; the fastest counts, since everything else on the machine can only slow one down
RESULTS_ROOM: Final = 4096  # records: 160 KB, which stays in a cache of the second level
PEAK_STEP: Final = 500  # commands, which can add as many orders at most
DEPTHS: Final = (10, 100, 1_000, 10_000, 100_000, 1_000_000)
DEPTH_MESSAGES: Final = 200_000
CALLS: Final = 20_000
CALL_ROUNDS: Final = 7


def book_for(bounds: Bounds, live_max: int | None = None, book: type[matcher_c.Book] = OrderBook) -> matcher_c.Book:
    """An empty book of the stream's band, in ticks of one. Raises InstrumentRefused where the band is too wide."""
    capacity = live_max or min(max(bounds.priced, 1), CAPACITY_MAX)
    return book(capacity=capacity, tick=1, lowest=bounds.lowest, highest=bounds.highest)


def timed(book: matcher_c.Book, stream: bytes | bytearray | memoryview, results: bytearray) -> float:
    """Seconds that a stream takes."""
    left = memoryview(stream)
    begun = time.perf_counter()
    while left:
        consumed, _ = book.run(left, results, quiet=True)
        left = left[consumed * COMMAND.size :]
    return time.perf_counter() - begun


def tally_of(book: matcher_c.Book, stream: bytes | bytearray | memoryview, tell: Tell = silent) -> Tally:
    """What a stream makes of a book: fills, energy, hash."""
    results = bytearray(RESULTS_ROOM * RESULT.size)
    tally = Tally()
    left = memoryview(stream)
    total = len(left)
    while left:
        try:
            consumed, written = book.run(left, results, quiet=True)
        except matcher_c.ResultsTooSmall:  # one order that meets more than the buffer holds
            results = bytearray(2 * len(results))
            continue
        tally.take(results, written)
        left = left[consumed * COMMAND.size :]
        tell(total - len(left), total)
    return tally


def room_for(stream: bytes | bytearray, live_max: int | None) -> bytearray:
    """A results buffer that the largest command of a stream fits into, with every page of it touched."""
    bounds = bounds_of(stream)
    book, room = book_for(bounds, live_max), RESULTS_ROOM
    left = memoryview(stream)
    results = bytearray(b"\1" * room * RESULT.size)
    while left:
        try:
            consumed, _ = book.run(left, results, quiet=True)
        except matcher_c.ResultsTooSmall:
            results = bytearray(b"\1" * 2 * len(results))
            continue
        left = left[consumed * COMMAND.size :]
    return results


def replay(stream: bytes | bytearray, live_max: int | None = None, tell: Tell = silent) -> dict[str, Any]:
    """A stream's figures, as interfaces.md section 5 has them; the rate is that of the fastest pass.

    Without `live_max` the book has room for what the stream lets rest at most.
    """
    bounds = bounds_of(stream)
    live_max = live_max or min(peak_of(stream), CAPACITY_MAX)
    book = book_for(bounds, live_max)
    tally = tally_of(book, stream, tell)
    results = room_for(stream, live_max)
    seconds = min(timed(book_for(bounds, live_max), stream, results) for _ in range(PASSES))
    messages = len(stream) // COMMAND.size
    return {
        "messages": messages,
        "fills": tally.fills,
        "volume": tally.volume,
        "live": len(book),
        "fills_hash": tally.hash.hexdigest(),
        "msgs_per_s": round(messages / seconds) if messages else 0,
    }


@dataclass(frozen=True, slots=True)
class Spread:
    """Rates of several rounds, or costs: the lowest, the median, the highest."""

    low: float
    median: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        return cls(min(values), statistics.median(values), max(values))


def peak_of(stream: bytes | bytearray) -> int:
    """A capacity that the stream never fills: what rests at most, looked at every so many commands."""
    book = book_for(bounds_of(stream))
    results = room_for(stream, None)
    peak, step = 0, PEAK_STEP * COMMAND.size
    for start in range(0, len(stream), step):
        timed(book, memoryview(stream)[start : start + step], results)
        peak = max(peak, len(book))
    return peak + PEAK_STEP


def in_turns(runs: dict[str, Callable[[], float]], rounds: int, tell: Tell = silent) -> dict[str, list[float]]:
    """What each run gave in each round, one after the other, so that a slow moment of the machine meets them all."""
    found: dict[str, list[float]] = {name: [] for name in runs}
    for number in range(rounds):
        for place, (name, run) in enumerate(runs.items()):
            found[name].append(run())
            tell(number * len(runs) + place + 1, rounds * len(runs))
    return found


def streams(seed: int, messages: int = MESSAGES, tell: Tell = silent) -> dict[str, bytearray]:
    """The shallow and the deep stream."""
    return {
        "shallow": make_stream(messages, seed=seed, live_max=SHALLOW_LIVE, tell=tell),
        "deep": make_stream(messages, seed=seed, live_max=None, tell=tell),
    }


def used_book(
    bounds: Bounds, capacity: int, stream: bytes | bytearray | memoryview, results: bytearray
) -> matcher_c.Book:
    """An empty book that has been through a stream: its free places lie scattered, as in a book that has run for long."""
    book = book_for(bounds, capacity)
    timed(book, stream, results)
    timed(book, b"".join(COMMAND.pack(order.order_id, 0, 0, 0, Kind.CANCEL, 0, 0) for order in book.orders()), results)
    assert not len(book), "every resting order was canceled"
    return book


def rates(made: dict[str, bytearray], rounds: int, tell: Tell = silent) -> dict[str, Spread]:
    """Commands a second on each stream, in a new book and in one used before, and on the shallow one under crafted ids."""
    runs: dict[str, Callable[[], float]] = {}
    variants = dict(made)
    for name, renamed in CRAFTED.items():
        variants[f"shallow, ids {name}"] = with_ids(made["shallow"], renamed)

    def rate(stream: bytearray, bounds: Bounds, peak: int, results: bytearray) -> float:
        return len(stream) / COMMAND.size / timed(book_for(bounds, peak), stream, results)

    def rate_used(stream: bytearray, bounds: Bounds, peak: int, results: bytearray) -> float:
        return len(stream) / COMMAND.size / timed(used_book(bounds, peak, stream, results), stream, results)

    for name, stream in made.items():
        runs[f"{name}, book used before"] = partial(
            rate_used, stream, bounds_of(stream), peak_of(stream), room_for(stream, None)
        )
    for name, stream in variants.items():
        runs[name] = partial(rate, stream, bounds_of(stream), peak_of(stream), room_for(stream, None))
    return {name: Spread.of(values) for name, values in in_turns(runs, rounds, tell).items()}


def cost_by_depth(
    depths: Sequence[int] = DEPTHS, *, seed: int, messages: int = DEPTH_MESSAGES, rounds: int = 5, tell: Tell = silent
) -> dict[int, Spread]:
    """Nanoseconds a command while so many orders rest: passive limits and cancels in balance, and a few takers.

    A full book turns each further passive limit into a cancel, so the number stays. The stream is packed in Python.
    """
    found = {}
    for place, depth in enumerate(depths):
        stream = make_stream(messages, seed=seed, live_max=depth, resting=depth)
        bounds, results = bounds_of(stream), bytearray(b"\1" * RESULTS_ROOM * RESULT.size)
        peak = peak_of(stream)
        view = memoryview(stream)
        costs = []
        for _ in range(rounds):
            book = book_for(bounds, peak)
            timed(book, view[: depth * COMMAND.size], results)
            costs.append(timed(book, view[depth * COMMAND.size :], results) / messages * 1e9)
        found[depth] = Spread.of(costs)
        tell(place + 1, len(depths))
    return found


def one_by_one(seed: int, resting: int = SHALLOW_LIVE) -> dict[str, Spread]:
    """Nanoseconds of each one-order call on a shallow book, of a batch of one, and of an empty call into C."""
    rng = random.Random(seed)
    book = OrderBook(capacity=CALLS + 2 * resting, tick=1, lowest=0, highest=4 * 512)
    for order_id in range(resting):
        side = order_id % 2
        price = 1024 + (1 + rng.randrange(100)) * (1 if side else -1)
        book.submit(order_id, owner=order_id + 1, side=side, quantity=5, price=price)
    ids = list(range(2**32, 2**32 + CALLS))
    prices = [rng.randrange(900, 1000) for _ in ids]
    packed = [COMMAND.pack(order_id, 0, 0, 0, 1, 0, 0) for order_id in ids]
    results = bytearray(4 * RESULT.size)

    def submit() -> None:
        for order_id, price in zip(ids, prices, strict=True):
            book.submit(order_id, owner=9, side=BUY, quantity=5, price=price)

    def cancel() -> None:
        for order_id in ids:
            book.cancel(order_id)

    def best() -> None:
        for _ in ids:
            book.best()

    def depth() -> None:
        for _ in ids:
            book.depth(5)

    def batch_of_one() -> None:
        for command in packed:
            book.run(command, results, quiet=True)

    def empty() -> None:
        words = lib.energo_book_words
        for _ in ids:
            words(0, 0)  # refuses at once

    calls: dict[str, Callable[[], None]] = {
        "submit": submit,
        "cancel": cancel,
        "best": best,
        "depth(5)": depth,
        "run, one command": batch_of_one,
        "an empty call into C": empty,
    }
    costs: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(CALL_ROUNDS):
        for name, call in calls.items():
            if name == "run, one command":
                submit()  # what it cancels
            begun = time.perf_counter()
            call()
            costs[name].append((time.perf_counter() - begun) / CALLS * 1e9)
    return {name: Spread.of(values) for name, values in costs.items()}


def prefix_hash(stream: bytes | bytearray, messages: int) -> tuple[int, str]:
    """Fills and their hash after so many commands: what another engine is compared with."""
    prefix = memoryview(stream)[: messages * COMMAND.size]
    tally = tally_of(book_for(bounds_of(stream)), prefix)
    return tally.fills, tally.hash.hexdigest()
