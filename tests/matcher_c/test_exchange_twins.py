"""The C order book equals the reference on random streams, bad commands and tight result buffers included."""

import random
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

import matcher_c
from matcher_c import reference
from tests.matcher_c.instances import fixed

Row = tuple[int, int, int, int, int, int, int]

COMMANDS = st.tuples(
    st.integers(0, 12) | st.sampled_from([2**64 - 1, 2**63]),
    st.integers(-4, 8) | st.sampled_from([-(2**63), 2**63 - 1]),
    st.integers(-1, 9) | st.sampled_from([2**32 - 1, 2**32, 2**63 - 1, -(2**63)]),
    st.integers(0, 3),
    st.sampled_from([0, 0, 0, 0, 1, 1, 2, 3, 4, 5, 6, 7, 7, 8, 9, 255]),
    st.sampled_from([0, 1, 0, 1, 0, 1, 2]),
    st.sampled_from([0] * 12 + [1, 3, 65535]),
)


def run_both(
    rows: Sequence[Row], *, capacity: int, tick: int, highest: int, room: int, quiet: bool
) -> matcher_c.OrderBook:
    """Runs a stream through both books in steps of `room` records, comparing everything after each step."""
    low, high = -2 * tick, highest * tick
    ours = matcher_c.OrderBook(capacity=capacity, tick=tick, lowest=low, highest=high)
    twin = reference.OrderBook(capacity=capacity, tick=tick, lowest=low, highest=high)
    left = memoryview(matcher_c.pack_commands(rows))
    while left:
        steps = []
        buffers = (bytearray(room * 40), bytearray(room * 40))
        for book, buffer in zip((ours, twin), buffers, strict=True):
            try:
                steps.append(book.run(left, buffer, quiet))
            except matcher_c.ResultsTooSmall:
                steps.append((0, 0))
        assert steps[0] == steps[1]
        assert buffers[0] == buffers[1]
        assert ours.to_bytes() == twin.to_bytes()
        assert ours.depth(4) == twin.depth(4)
        assert ours.best() == twin.best()
        assert (len(ours), ours.height) == (len(twin), twin.height)
        consumed = steps[0][0]
        room += 0 if consumed else 1  # a caller makes room where not even one command fits
        left = left[32 * consumed :]
    return ours


@fixed
@given(
    st.lists(COMMANDS, max_size=60),
    st.integers(1, 10),
    st.sampled_from([1, 3]),
    st.sampled_from([-2, 0, 5, 200]),
    st.integers(1, 30),
    st.booleans(),
)
def test_random_streams(rows: list[Row], capacity: int, tick: int, highest: int, room: int, quiet: bool) -> None:
    run_both(rows, capacity=capacity, tick=tick, highest=highest, room=room, quiet=quiet)


def test_long_seeded_streams() -> None:
    """Mostly good commands, as an exchange sees them: a passive crowd, cancels, and takers that sweep levels."""
    for seed in range(12):
        rng = random.Random(seed)
        rows: list[Row] = []
        for order_id in range(1500):
            side, draw = rng.randrange(2), rng.random()
            if draw < 0.3:
                rows.append((rng.randint(max(0, order_id - 60), order_id), 0, 0, 0, 1, 0, 0))
            elif draw < 0.4:
                rows.append((order_id, 0, rng.randint(1, 300), rng.randrange(40), 2, side, 0))
            else:
                ticks = 100 + (1 if side else -1) * rng.randint(-2, 90)
                rows.append((order_id, ticks, rng.randint(1, 100), rng.randrange(40), 0, side, 0))
        run_both(rows, capacity=80, tick=1, highest=300, room=150, quiet=bool(seed % 2))


def test_every_kind_on_a_busy_book() -> None:
    """Orders that end, shrink, move, kill and refuse to trade, among owners that meet themselves; restored on the way."""
    for seed in range(30):
        rng = random.Random(seed)
        rows: list[Row] = []
        height = 0
        for order_id in range(400):
            side, kind = rng.randrange(2), rng.choice([0, 0, 0, 0, 1, 2, 3, 4, 5, 5, 6, 7, 7, 8])
            known = rng.randint(max(0, order_id - 40), order_id)
            lifetime = rng.choice([0, 0, 1, 2, 5]) if kind in (0, 5, 7) else 0
            ticks = 20 + (1 if side else -1) * rng.randint(-3, 12)
            height += kind == 8
            quantity = height if kind == 8 else rng.randint(1, 30)
            rows.append(
                (known if kind in (1, 6, 7) else order_id, ticks, quantity, rng.randrange(5), kind, side, lifetime)
            )
        book = run_both(rows, capacity=40, tick=1, highest=45, room=1 + seed, quiet=bool(seed % 2))
        copies = [make.from_bytes(book.to_bytes()) for make in (matcher_c.OrderBook, reference.OrderBook)]
        ended = [copy.advance(book.height + 3) for copy in copies]
        assert ended[0] == ended[1]
        assert copies[0].to_bytes() == copies[1].to_bytes()


def test_sparse_prices_on_the_widest_band() -> None:
    """Few orders, prices in clusters near and far: every level of the search for the next price goes up and down."""
    for seed in range(40):
        rng = random.Random(seed)
        clusters = [rng.randrange(2**20) for _ in range(3)]
        rows: list[Row] = []
        for order_id in range(120):
            draw, side = rng.random(), rng.randrange(2)
            near = rng.choice(clusters) + rng.choice([-1, 1]) * rng.choice([0, 1, 63, 64, 65, 4095, 4096, 4097])
            if draw < 0.35:
                rows.append((rng.randrange(order_id + 1), 0, 0, 0, 1, 0, 0))
            elif draw < 0.5:
                rows.append((order_id, 0, rng.randint(1, 8), 1, 2, side, 0))
            else:
                rows.append((order_id, max(0, min(near, 2**20 - 2)), rng.randint(1, 9), 2 + order_id % 3, 0, side, 0))
        run_both(rows, capacity=40, tick=1, highest=2**20 - 2, room=50, quiet=False)


def test_ids_that_collide_without_a_key() -> None:
    """Ids that share their low bits: every probe sequence is used and repaired when orders go."""
    rows: list[Row] = [(i << 40, i % 6, 1, i, 0, 0, 0) for i in range(300)]
    rows += [((i * 7 % 300) << 40, 0, 0, 0, 1, 0, 0) for i in range(300)]
    assert len(run_both(rows, capacity=300, tick=1, highest=9, room=200, quiet=False)) == 0


def test_a_hundred_thousand_orders_at_one_price() -> None:
    count = 100_000
    book = matcher_c.OrderBook(capacity=count, tick=1, lowest=0, highest=1)
    rows: list[Row] = [(i, 1, 1 + i % 3, i, 0, 1, 0) for i in range(count)]
    results = bytearray((count + 1) * 40)
    assert book.run(matcher_c.pack_commands(rows), results) == (count, count)
    assert book.run(matcher_c.pack_commands([(count, 0, 2**32 - 1, 2**32 - 1, 2, 0, 0)]), results) == (1, count + 1)
    fills = matcher_c.decode_results(results, count + 1)
    assert [fill[0] for fill in fills] == [*range(count), count]
    assert len(book) == 0
