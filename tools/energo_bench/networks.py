"""Seeded clearings of clearing.md section 4, and the file in which one is handed to another process.

Homes are half as many as the orders; fees 0-800 money units a Wh; home lines without limit, of 1500 or of 2500 Wh, feeders
without limit, of 20,000 or of 8,000; limits 8000-32000, quantities 1-2000 Wh; the grid at 8000/30000 beside the orders.
The file is a row of signed 64-bit words, little-endian: buses, orders, 1 where ranks follow, then each column.
"""

from __future__ import annotations

import random
import sys
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Final

from matcher_c import BUY, SELL

if TYPE_CHECKING:
    Words = array[int]

SHAPES: Final = ("one", "street", "path", "star", "tree")
"""One bus; 25 homes a feeder; every home behind the one before it; all at the root; a balanced binary tree."""
HOMES_A_FEEDER: Final = 25
FEE_MAX: Final = 800
HOME_LINES: Final = (-1, 1500, 2500)
FEEDERS: Final = (-1, 20_000, 8_000)
LIMITS: Final = (8_000, 32_000)
QUANTITY_MAX: Final = 2_000
FEED_IN, RETAIL = 8_000, 30_000


@dataclass(frozen=True, slots=True)
class Network:
    """The columns of one clearing, as `matcher_c.clear_arrays` takes them."""

    parent: Words
    fee: Words
    up: Words
    down: Words
    rank: Words | None
    bus: Words
    side: Words
    limit: Words
    quantity: Words

    def columns(self) -> tuple[Words, Words, Words, Words, Words, Words, Words, Words, Words | None]:
        """The arguments of `clear_arrays`."""
        return (
            self.parent, self.fee, self.up, self.down, self.bus, self.side, self.limit, self.quantity, self.rank,
        )  # fmt: skip

    def objective(self, traded: Sequence[int], flow: Sequence[int]) -> int:
        """What the buyers value less what the sellers ask less the fees, in money units."""
        gain = sum(
            (limit if side == BUY else -limit) * energy
            for side, limit, energy in zip(self.side, self.limit, traded, strict=True)
        )
        return gain - sum(fee * abs(energy) for fee, energy in zip(self.fee, flow, strict=True))

    def to_bytes(self) -> bytes:
        """The words of the file."""
        words = array("q", (len(self.parent), len(self.bus), int(self.rank is not None)))
        for column in fields(self):
            words.extend(getattr(self, column.name) or ())
        if sys.byteorder == "big":
            words.byteswap()
        return words.tobytes()


def read_networks(data: bytes) -> Iterator[Network]:
    """The networks of a file that holds one after the other."""
    words = array("q", data)
    if sys.byteorder == "big":
        words.byteswap()
    at = 0

    def column(count: int) -> Words:
        nonlocal at
        at += count
        return words[at - count : at]

    while at < len(words):
        buses, orders, ranked = column(3)
        parent, fee, up, down = (column(buses) for _ in range(4))
        rank = column(buses) if ranked else None
        bus, side, limit, quantity = (column(orders) for _ in range(4))
        yield Network(parent, fee, up, down, rank, bus, side, limit, quantity)


def parents_of(shape: str, homes: int) -> tuple[list[int], int, int]:
    """(parent by bus, how many of the buses after the root are feeders, the first bus that holds orders)."""
    if shape == "one":
        return [-1], 0, 0
    if shape == "street":
        feeders = -(-homes // HOMES_A_FEEDER)
        return [-1] + [0] * feeders + [1 + home // HOMES_A_FEEDER for home in range(homes)], feeders, 1 + feeders
    if shape == "path":
        return [-1, *range(homes)], 0, 1
    if shape == "star":
        return [-1] + [0] * homes, 0, 1
    assert shape == "tree", f"shapes are {', '.join(SHAPES)}"
    return [-1, 0] + [bus // 2 for bus in range(2, homes + 1)], 0, 1


def make_network(orders: int, shape: str, seed: int) -> Network:
    """A clearing of so many orders and the grid's two."""
    rng = random.Random(f"{shape} {orders} {seed}")
    homes = max(1, orders // 2)
    parent, feeders, first = parents_of(shape, homes)
    buses = len(parent)
    places = buses - first
    lines = [rng.choices(FEEDERS, k=feeders) + rng.choices(HOME_LINES, k=buses - 1 - feeders) for _ in range(2)]
    if shape == "one":
        lines = [[], []]
    return Network(
        parent=array("q", parent),
        fee=array("q", [0] + [rng.randint(0, FEE_MAX) for _ in range(buses - 1)]),
        up=array("q", [-1, *lines[0]]),
        down=array("q", [-1, *lines[1]]),
        rank=None,
        bus=array("q", [first + index % places for index in range(orders)] + [0, 0]),
        side=array("q", [*rng.choices((BUY, SELL), k=orders), BUY, SELL]),
        limit=array("q", [*(rng.randint(*LIMITS) for _ in range(orders)), FEED_IN, RETAIL]),
        quantity=array("q", [*(rng.randint(1, QUANTITY_MAX) for _ in range(orders)), -1, -1]),
    )
