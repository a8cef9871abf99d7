"""The cases that every machine must answer alike: the worked clearings, and random networks and order streams.

They are drawn with a generator of their own, written out here, so that no library's next version and no other test can
change them. The file is words of 64 bits, little-endian: a case is its kind, then

    1: buses, orders, 1 where ranks follow; parent, fee, capacity up and down, ranks; bus, side, limit, quantity
    2: capacity, lowest tick, ticks, two words of hash key, quiet, room in results, commands; then the commands, packed
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeVar

from matcher_c import COMMAND

CLEARING, EXCHANGE = 1, 2
VECTORS = Path(__file__).resolve().parent.parent / "vectors"
NETWORKS = 3_000
LARGER = ("one", "path", "star", "tree")
STREAMS = 60
STREAM_COMMANDS = 1_500

T = TypeVar("T")


class Draw:
    """splitmix64: the same numbers on every machine, for ever."""

    def __init__(self, seed: int) -> None:
        self._state = seed

    def word(self) -> int:
        self._state = (self._state + 0x9E3779B97F4A7C15) % 2**64
        z = self._state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) % 2**64
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) % 2**64
        return z ^ (z >> 31)

    def within(self, low: int, high: int) -> int:
        """From low to high, both included; a bias of 2^-32 does not matter here."""
        return low + self.word() % (high - low + 1)

    def pick(self, values: Sequence[T]) -> T:
        return values[self.word() % len(values)]


def _words(*values: int) -> bytes:
    return struct.pack(f"<{len(values)}q", *values)


def _clearing(network: Sequence[Sequence[int]], orders: Sequence[Sequence[int]], rank: Sequence[int] | None) -> bytes:
    """`network` as rows of parent, fee, up, down; `orders` of bus, side, limit, quantity."""
    columns = [*zip(*network, strict=True), *([rank] if rank else []), *zip(*orders, strict=True)]
    head = _words(CLEARING, len(network), len(orders), int(bool(rank)))
    return head + b"".join(_words(*column) for column in columns)


def _units(text: str | None) -> int:
    return int(Decimal(text or 0) * 10**5)


def worked(document: dict[str, Any]) -> bytes:
    """A clearing of clearing_vectors.json."""
    index = {bus["id"]: place for place, bus in enumerate(document["buses"])}

    def capacity(bus: dict[str, Any], name: str) -> int:
        found: int | None = bus.get(name)
        return -1 if found is None else found

    network = [
        (
            index.get(bus.get("parent"), -1),
            _units(bus.get("fee")),
            capacity(bus, "capacity_up_wh"),
            capacity(bus, "capacity_down_wh"),
        )
        for bus in document["buses"]
    ]
    orders = [
        (
            index[order["bus"]],
            int(order["side"] == "sell"),
            _units(order["price"]),
            -1 if order["quantity_wh"] is None else order["quantity_wh"],
        )
        for order in document["orders"]
    ]
    return _clearing(network, orders, [bus.get("rank", place) for place, bus in enumerate(document["buses"])])


def random_network(draw: Draw) -> bytes:
    """Small and full of ties, or large, or with numbers of any size; a few break a rule."""
    buses = draw.within(1, draw.pick((1, 9, 9, 40)))
    count = draw.within(0, draw.pick((3, 14, 14, 90)))
    wide = draw.within(0, 3) == 0
    fees = (0, 1, 2**31 - 1, 2**30) if wide else draw.pick(((0,), (0, 0, 1, 2, 5), (1, 2, 3)))
    capacities = (-1, 0, 2**33, 2**63 - 1) if wide else draw.pick(((-1,), (-1, -1, 0, 3, 10), (1, 4, 9)))
    deep = draw.within(0, 1)
    network = [[-1, 0, -1, -1]] + [
        [
            b - 1 if deep and draw.within(0, 3) else draw.within(0, b - 1),
            draw.pick(fees),
            draw.pick(capacities),
            draw.pick(capacities),
        ]
        for b in range(1, buses)
    ]
    limit = (-(2**31) + 1, 2**31 - 1) if wide else (-3, 12)
    quantity = (2**31, 2**32 - 1) if wide else (1, 9)
    orders = [
        [draw.within(0, buses - 1), draw.within(0, 1), draw.within(*limit), draw.within(*quantity)]
        for _ in range(count)
    ]
    feed_in = draw.within(-2, 8)
    for side, price in ((0, feed_in), (1, feed_in + draw.pick((0, 0, 1, 5)))):
        if draw.within(0, 1):
            orders.insert(draw.within(0, len(orders)), [0, side, price, -1])
    if draw.within(0, 39) == 0:
        rows = draw.pick((network, orders or network))
        row = draw.pick(rows)
        row[draw.within(0, 3)] = draw.pick((-(2**63), -2, 2, 2**31, 2**32, 2**63 - 1))
    return _clearing(network, orders, [draw.within(-3, 3) for _ in network] if draw.within(0, 1) else None)


def _above(shape: str, bus: int) -> int:
    return {"path": bus - 1, "star": 0, "tree": bus // 2}[shape]


def larger_network(draw: Draw, shape: str) -> bytes:
    """One bus, a path, a star or a binary tree of 250 homes, with prices and capacities of a street."""
    homes = 250
    lines = (-1, 1500, 2500, 20_000)
    network = [(-1, 0, -1, -1)]
    if shape != "one":
        network += [
            (_above(shape, b), draw.within(0, draw.pick((3, 800))), draw.pick(lines), draw.pick(lines))
            for b in range(1, homes + 1)
        ]
    orders = [
        (
            draw.within(0, len(network) - 1),
            draw.within(0, 1),
            draw.pick((draw.within(8_000, 32_000), 8_000 + 1_000 * draw.within(0, 24))),
            draw.within(1, 2_000),
        )
        for _ in range(2 * homes)
    ]
    orders += [(0, 0, 8_000, -1), (0, 1, 30_000, -1)]
    return _clearing(network, orders, [draw.within(0, 99) for _ in network])


def random_stream(draw: Draw) -> bytes:
    """All kinds of command on a small book, on a wide band, or with numbers of any size."""
    profile = draw.within(0, 2)
    capacity = draw.within(1, draw.pick((8, 40, 300)))
    lowest = draw.pick((0, -7, 2**20 + 3, -(2**31) + 1))
    ticks = draw.pick((0, 9, 200)) if profile == 0 else draw.pick((70, 5_000, 2**20))
    ids = draw.pick((12, 60, 400))
    shift = draw.pick((0, 0, 40, 52))
    kinds = draw.pick(((0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8), (0, 0, 0, 0, 1, 1, 1, 2), (0, 5, 7, 7, 8, 1, 0, 0)))
    center = draw.within(lowest, lowest + ticks)
    height = 0
    commands = bytearray()
    for _ in range(STREAM_COMMANDS):
        kind = draw.pick(kinds)
        near = center + draw.within(-9, 9) + draw.pick((0, 0, 0, 63, -64, 4095, -4097))
        price = min(max(near, lowest), lowest + ticks)
        quantity = draw.within(1, 2**32 - 1) if profile == 2 and draw.within(0, 1) else draw.within(1, 50)
        flags = draw.pick((0, 0, 1, 3, 9)) if kind in (0, 5, 7) else 0
        if kind == 8:
            height += draw.within(0, 3)
            quantity = height
        row = [draw.within(0, ids) << shift, price, quantity, draw.within(0, 9), kind, draw.within(0, 1), flags]
        if draw.within(0, 49) == 0:
            field, values = draw.pick(
                (
                    (0, (2**64 - 1, 2**63)),
                    (1, (-(2**63), 2**63 - 1)),
                    (2, (0, -1, 2**32, 2**62, 2**63 - 1)),
                    (4, (9, 255)),
                    (5, (2, 255)),
                    (6, (1, 65535)),
                )
            )
            row[field] = draw.pick(values)
        commands += COMMAND.pack(*row)
    key = draw.word() - 2**63, draw.word() - 2**63
    head = _words(EXCHANGE, capacity, lowest, ticks, *key, draw.within(0, 1), draw.pick((1, 20, 1000)), STREAM_COMMANDS)
    return head + bytes(commands)


def cases() -> Iterator[bytes]:
    """Every case, always the same."""
    for document in json.loads((VECTORS / "clearing_vectors.json").read_text(encoding="utf-8")):
        yield worked(document["in"])
    draw = Draw(20_210_324)
    for _ in range(NETWORKS):
        yield random_network(draw)
    for shape in LARGER:
        yield larger_network(draw, shape)
    for _ in range(STREAMS):
        yield random_stream(draw)
