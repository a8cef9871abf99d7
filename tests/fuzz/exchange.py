"""Random order streams for both books. A case follows from its seed: an instrument, a stream, and how it is cut into steps.

All kinds of command, mostly good ones, on books that are small enough for everything to happen: ids come back, books fill
up, orders end, owners meet themselves. Some instruments are wide instead: a million ticks, ids and quantities of any size.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

import matcher_c
from matcher_c import COMMAND, RESULT, Book, Kind, MatcherRefused, OrderBook, ResultsTooSmall, reference

Row = tuple[int, int, int, int, int, int, int]

COMMANDS_A_CASE = 400
_EDGES = (0, 1, 63, 64, 65, 4095, 4096, 4097)  # where a search for the next price changes its level
_WILD = (-(2**63), 2**63 - 1, -1, 0, 2**32 - 1, 2**32, 2**62, 2**62 + 1)


@dataclass(frozen=True)
class Case:
    """An instrument, a stream and how the stream is handed over."""

    capacity: int
    tick: int
    lowest: int
    highest: int
    key: bytes
    rows: tuple[Row, ...]
    rooms: tuple[int, ...]
    quiet: bool

    def book(self, implementation: type[Book]) -> Book:
        return implementation(
            capacity=self.capacity, tick=self.tick, lowest=self.lowest, highest=self.highest, hash_key=self.key
        )


class _Draw:
    """What a profile's commands look like."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.kind_of = rng.choice(
            [
                (0,) * 10 + (1,) * 3 + (2, 3, 4, 5, 5, 6, 6, 7, 7, 8),
                (0,) * 12 + (1,) * 8,
                (0,) * 8 + (5,) * 4 + (7,) * 6 + (8,) * 4,
                tuple(range(9)),
            ]
        )
        self.ends = rng.random() < 0.5  # orders that end at a height
        self.owners = rng.choice([1, 3, 40])
        self.sloppy = rng.choice([0.0, 0.02, 0.15])  # how often a field breaks a rule
        self.height = 0

    def flags(self, kind: int) -> int:
        rng = self.rng
        if kind in (0, 5, 7) and self.ends and rng.random() < 0.5:
            return rng.choice((1, 1, 2, 3, 5, 9, 65535))
        return 0

    def next_height(self) -> int:
        self.height += self.rng.choice((0, 1, 1, 1, 2, 4))
        return self.height

    def spoiled(self, row: Row) -> Row:
        """One field out of its bounds, or just unusual."""
        rng, fields = self.rng, list(row)
        field = rng.randrange(7)
        if field == 0:
            fields[0] = rng.choice((0, 2**63, 2**64 - 1))
        elif field in (1, 2):
            fields[field] = rng.choice(_WILD)
        elif field == 3:
            fields[3] = rng.choice((0, 2**32 - 1))
        elif field == 4:
            fields[4] = rng.choice((9, 128, 255))
        elif field == 5:
            fields[5] = rng.choice((2, 255))
        else:
            fields[6] = rng.choice((1, 7, 65535))
        return (fields[0], fields[1], fields[2], fields[3], fields[4], fields[5], fields[6])


def make_case(seed: int, commands: int = COMMANDS_A_CASE) -> Case:
    """The case of a seed."""
    rng = random.Random(f"exchange {seed}")
    draw = _Draw(rng)
    profile = rng.randrange(4)
    if profile == 0:  # a dozen ids
        capacity, tick, low, high = rng.randint(1, 10), rng.choice((1, 3)), -2, rng.choice((-2, 0, 5, 70))
        ids, quantity_max = 13, 9
    elif profile == 1:  # a street's book
        capacity, tick, low, high = rng.randint(5, 40), rng.choice((1, 5, 1000)), 0, rng.choice((20, 100, 5000))
        ids, quantity_max = 60, 100
    elif profile == 2:  # clusters of prices on the widest band
        capacity, tick = rng.randint(5, 40), rng.choice((1, 7))
        low = rng.choice((0, -(2**19), 2**20 + 3))
        high, ids, quantity_max = low + 2**20, 80, 9
    else:  # numbers of any size
        capacity, tick = rng.randint(2, 30), rng.choice((1, 2**11))
        low = rng.randrange(-((2**31 - 1) // tick), (2**31 - 1) // tick)
        high = min((2**31 - 1) // tick, low + rng.randrange(2**20))
        ids, quantity_max = 50, 2**32 - 1
    pool = [rng.randrange(2**64) if profile == 3 else number for number in range(ids)]
    if rng.random() < 0.2:
        pool = [number << 40 & 2**64 - 1 for number in pool]
        pool = list(dict.fromkeys(pool))
    clusters = [rng.randint(low, high) for _ in range(rng.choice((1, 3)))]
    spread = rng.choice((2, 8, 60))
    rows: list[Row] = []
    uniform, pick, whole = rng.random, rng.choice, rng.randint
    for _ in range(commands):
        kind = pick(draw.kind_of)
        side = whole(0, 1)
        if kind == Kind.HEIGHT:
            row: Row = (0, 0, draw.next_height(), 0, kind, 0, 0)
        else:
            near = pick(clusters) + (pick(_EDGES) * pick((-1, 1)) if profile == 2 else whole(-spread, spread))
            ticks = min(max(near, low), high)
            most = quantity_max if uniform() < 0.9 else 3
            owner = whole(0, draw.owners)
            row = (pick(pool), ticks, whole(1, most), owner, kind, side, draw.flags(kind))
        rows.append(draw.spoiled(row) if draw.sloppy and uniform() < draw.sloppy else row)
    rooms = tuple(pick((1, 3, 17, 60, 1000)) for _ in range(7))
    return Case(
        capacity, tick, low * tick, high * tick, rng.randbytes(16), tuple(rows), rooms, quiet=rng.random() < 0.3
    )


def difference(case: Case, ours: type[Book] = OrderBook, twin: type[Book] = reference.OrderBook) -> str | None:
    """Where the two books differ, in words, or None: results to the byte, and between the steps all that can be read."""
    books = case.book(ours), case.book(twin)
    left = memoryview(matcher_c.pack_commands(case.rows))
    step = 0
    while left:
        room = case.rooms[step % len(case.rooms)]
        step += 1
        while True:
            steps, buffers = [], []
            for book in books:
                buffer = bytearray(room * RESULT.size)
                try:
                    steps.append(book.run(left, buffer, case.quiet))
                except ResultsTooSmall:
                    steps.append((0, 0))
                buffers.append(buffer)
            if steps[0][0] or steps[0] != steps[1]:
                break
            room *= 2  # a caller makes room where not even one command fits
        place = len(case.rows) - len(left) // COMMAND.size
        if steps[0] != steps[1]:
            return f"from command {place}: (consumed, written) {steps[0]} and {steps[1]}"
        if buffers[0] != buffers[1]:
            record = next(i for i in range(room) if _record(buffers[0], i) != _record(buffers[1], i))
            pair = [RESULT.unpack(_record(buffer, record)) for buffer in buffers]
            return f"from command {place}, result {record}: {pair[0]} and {pair[1]}"
        left = left[steps[0][0] * COMMAND.size :]
        states = [_state(book) for book in books]
        for name in states[0]:
            if states[0][name] != states[1][name]:
                after = len(case.rows) - len(left) // COMMAND.size
                return f"after {after} commands, {name}: {states[0][name]!r} and {states[1][name]!r}"
    return None


def difference_in_calls(case: Case, ours: type[Book] = OrderBook, twin: type[Book] = reference.OrderBook) -> str | None:
    """The same through the one-order calls, which have a way of their own into the C: what each gives or raises."""
    books = case.book(ours), case.book(twin)
    for place, row in enumerate(case.rows):
        answers = [_called(book, row, case.tick) for book in books]
        if answers[0] != answers[1]:
            return f"command {place}, {row}, as a call: {answers[0]} and {answers[1]}"
        states = [_state(book) for book in books]
        if states[0] != states[1]:
            return f"after command {place}, {row}, as a call: {states[0]} and {states[1]}"
    return None


def _called(book: Book, row: Row, tick: int) -> object:
    order_id, ticks, quantity, owner, kind, side, flags = row
    try:
        if kind == Kind.CANCEL:
            return book.cancel(order_id)
        if kind == Kind.REDUCE:
            return book.reduce(order_id, quantity)
        if kind == Kind.REPLACE:
            return book.replace(order_id, quantity=quantity, price=ticks * tick, lifetime=flags)
        if kind == Kind.HEIGHT:
            return book.advance(quantity)
        if kind > Kind.HEIGHT:
            return None
        return book.submit(
            order_id, owner=owner, side=side, quantity=quantity, price=ticks * tick, kind=Kind(kind), lifetime=flags
        )
    except MatcherRefused as refused:
        return type(refused).__name__, str(refused)


def restored(case: Case, ours: type[Book] = OrderBook) -> str | None:
    """Whether the book that a case leaves comes back from its bytes, byte by byte."""
    book = case.book(ours)
    results = bytearray((case.capacity + 2) * RESULT.size)
    left = memoryview(matcher_c.pack_commands(case.rows))
    while left:
        left = left[book.run(left, results)[0] * COMMAND.size :]
    again = ours.from_bytes(book.to_bytes())
    return None if again.to_bytes() == book.to_bytes() else "a book is not what its bytes give back"


def _record(buffer: bytearray, index: int) -> bytes:
    return bytes(buffer[index * RESULT.size : (index + 1) * RESULT.size])


def _state(book: Book) -> dict[str, object]:
    return {
        "bytes": book.to_bytes(),
        "depth": book.depth(4),
        "best": book.best(),
        "length": len(book),
        "height": book.height,
    }


def shrunk(case: Case, ours: type[Book] = OrderBook, twin: type[Book] = reference.OrderBook) -> Case:
    """A shorter case that still fails: the shortest prefix, then without whatever can be left out, one by one."""

    def fails(rows: Sequence[Row]) -> bool:
        return difference(replace(case, rows=tuple(rows)), ours, twin) is not None

    rows = list(case.rows)
    low, high = 1, len(rows)
    while low < high:
        middle = (low + high) // 2
        if fails(rows[:middle]):
            high = middle
        else:
            low = middle + 1
    rows = rows[:high]
    before = len(rows) + 1
    while len(rows) < before:  # until a whole round leaves nothing out
        before = len(rows)
        for place in range(len(rows) - 1, -1, -1):
            without = rows[:place] + rows[place + 1 :]
            if fails(without):
                rows = without
    return replace(case, rows=tuple(rows))
