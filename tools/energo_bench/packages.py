"""Order books of other people, on PyPI, replaying the same stream: an adapter each, in a process of its own.

An adapter takes limits and cancels and gives fills as (maker, taker, quantity, price). `python -m energo_bench.packages
NAME FILE SECONDS` replays as much of FILE as fits the time and prints one line of JSON; the clock covers the replay,
not the unpacking of the stream and not the hash.
"""

from __future__ import annotations

import importlib
import json
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final, Protocol

from matcher_c import Kind

from .stream import Fnv, commands_of

SECONDS: Final = 20.0  # a package's share of the run; a slow one replays a prefix
_CHECK_EVERY: Final = 1000  # commands between two looks at the clock
_FILL: Final = struct.Struct("<QQQQ")

Fill = tuple[int, int, int, int]


class Engine(Protocol):
    """A package behind its adapter."""

    def limit(self, order_id: int, side: int, price: int, quantity: int) -> None: ...

    def cancel(self, order_id: int) -> None: ...

    def fills(self) -> Iterable[Fill]:
        """All fills so far, in order."""


class _Bourse:
    """bourse: a Rust order book behind PyO3; it numbers orders itself, and a tick of time keeps their order."""

    def __init__(self) -> None:
        self._book: Any = importlib.import_module("bourse").core.OrderBook(0, 1)
        self._theirs: dict[int, int] = {}
        self._time = 0

    def limit(self, order_id: int, side: int, price: int, quantity: int) -> None:
        self._time += 1
        self._book.set_time(self._time)
        self._theirs[order_id] = self._book.place_order(not side, quantity, 0, price=price)

    def cancel(self, order_id: int) -> None:
        self._book.cancel_order(self._theirs[order_id])

    def fills(self) -> Iterable[Fill]:
        ours = {theirs: order_id for order_id, theirs in self._theirs.items()}
        for _, _, price, quantity, taker, maker in self._book.get_trades():
            yield ours[maker], ours[taker], quantity, price


class _CythonOrderbook:
    """cython-orderbook: Cython over sortedcontainers; ids are texts that it makes."""

    def __init__(self) -> None:
        module: Any = importlib.import_module("cython_orderbook")
        self._order = module.Order
        self._sides = module.OrderSide.BID, module.OrderSide.ASK
        self._book = module.OrderBook()
        self._theirs: dict[int, str] = {}

    def limit(self, order_id: int, side: int, price: int, quantity: int) -> None:
        order = self._order(side=self._sides[side], price=price, original_quantity=quantity)
        self._theirs[order_id] = order.order_id
        self._book.add_limit_order(order)

    def cancel(self, order_id: int) -> None:
        self._book.cancel_order(self._theirs[order_id])

    def fills(self) -> Iterable[Fill]:
        ours = {theirs: order_id for order_id, theirs in self._theirs.items()}
        for trade in self._book.trade_log:
            yield ours[trade.filler_id], ours[trade.aggressor_id], trade.quantity_filled, trade.price


class _PyOrderBook:
    """pyorderbook: plain Python, a heap of price levels, decimal prices, UUIDs."""

    def __init__(self) -> None:
        module: Any = importlib.import_module("pyorderbook")
        self._book = module.Book()
        self._makers = module.bid, module.ask
        self._theirs: dict[int, Any] = {}
        self._trades: list[Any] = []

    def limit(self, order_id: int, side: int, price: int, quantity: int) -> None:
        order = self._makers[side]("W", price, quantity)
        self._theirs[order_id] = order
        self._trades += self._book.match(order).trades

    def cancel(self, order_id: int) -> None:
        self._book.cancel(self._theirs[order_id])

    def fills(self) -> Iterable[Fill]:
        ours = {order.id: order_id for order_id, order in self._theirs.items()}
        for trade in self._trades:
            yield (
                ours[trade.standing_order_id],
                ours[trade.incoming_order_id],
                trade.fill_quantity,
                int(trade.fill_price),
            )


class _LightMatchingEngine:
    """lightmatchingengine: plain Python, dicts of lists; a trade is told twice, first for the taker, then a maker each."""

    def __init__(self) -> None:
        module: Any = importlib.import_module("lightmatchingengine.lightmatchingengine")
        self._engine = module.LightMatchingEngine()
        self._sides = module.Side.BUY, module.Side.SELL
        self._theirs: dict[int, int] = {}
        self._trades: list[tuple[int, list[Any]]] = []

    def limit(self, order_id: int, side: int, price: int, quantity: int) -> None:
        order, trades = self._engine.add_order("W", price, quantity, self._sides[side])
        self._theirs[order_id] = order.order_id
        if trades:
            self._trades.append((order.order_id, trades))

    def cancel(self, order_id: int) -> None:
        self._engine.cancel_order(self._theirs[order_id], "W")

    def fills(self) -> Iterable[Fill]:
        ours = {theirs: order_id for order_id, theirs in self._theirs.items()}
        for taker, trades in self._trades:
            for trade in trades:
                if trade.order_id != taker:
                    yield ours[trade.order_id], ours[taker], trade.trade_qty, trade.trade_price


PACKAGES: Final[dict[str, Callable[[], Engine]]] = {
    "bourse": _Bourse,
    "cython-orderbook": _CythonOrderbook,
    "pyorderbook": _PyOrderBook,
    "lightmatchingengine": _LightMatchingEngine,
}


def replayed(engine: Engine, stream: bytes, seconds: float) -> dict[str, Any]:
    """`{"messages", "seconds", "fills", "fills_hash"}` of as much as fits the time."""
    commands = list(commands_of(stream))
    limit, cancel, done = engine.limit, engine.cancel, 0
    begun = time.perf_counter()
    while done < len(commands):
        for order_id, price, quantity, _, kind, side, _ in commands[done : done + _CHECK_EVERY]:
            if kind == Kind.CANCEL:
                cancel(order_id)
            else:
                limit(order_id, side, price, quantity)
        done = min(done + _CHECK_EVERY, len(commands))
        if time.perf_counter() - begun > seconds:
            break
    took = time.perf_counter() - begun
    tally, count = Fnv(), 0
    for fill in engine.fills():
        tally.update(_FILL.pack(*fill))
        count += 1
    return {"messages": done, "seconds": took, "fills": count, "fills_hash": tally.hexdigest()}


def installed(name: str) -> str | None:
    """A package's version, or None."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def run_package(name: str, file: Path, seconds: float = SECONDS) -> dict[str, Any] | str:
    """What a package made of a stream, or in words why nothing."""
    if installed(name) is None:
        return "not installed; `make bench` installs it"
    command = [sys.executable, "-m", "energo_bench.packages", name, str(file), str(seconds)]
    try:
        # ten times: unpacking and the hash are outside the engine's share
        done = subprocess.run(command, capture_output=True, text=True, timeout=10 * seconds + 60)
    except subprocess.TimeoutExpired:
        return "did not come back"
    if done.returncode:
        return "failed: " + (done.stderr.strip().splitlines() or ["without a word"])[-1]
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    """The worker's side."""
    name, file, seconds = sys.argv[1:]
    print(json.dumps(replayed(PACKAGES[name](), Path(file).read_bytes(), float(seconds))))


if __name__ == "__main__":
    main()
