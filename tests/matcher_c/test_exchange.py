"""The exchange, rule by rule, on both implementations."""

import random
import struct

import pytest

import matcher_c
from matcher_c import (
    BUY,
    SELL,
    Canceled,
    Fill,
    Kind,
    Level,
    Reason,
    Rejected,
    Rejection,
    Rest,
    Resting,
    reference,
)

Book = matcher_c.Book


@pytest.fixture(params=[matcher_c.OrderBook, reference.OrderBook], ids=["c", "reference"])
def make(request: pytest.FixtureRequest) -> type[Book]:
    book: type[Book] = request.param
    return book


@pytest.fixture
def book(make: type[Book]) -> Book:
    return make(capacity=8, tick=5, lowest=-50, highest=100)


def test_an_order_that_crosses_nothing_rests(book: Book) -> None:
    assert book.submit(1, owner=7, side=BUY, price=10, quantity=3) == [Rest(1, BUY, 7, 3, 10)]
    assert book.submit(2, owner=8, side=SELL, price=15, quantity=4) == [Rest(2, SELL, 8, 4, 15)]
    assert book.best() == (10, 15)
    assert len(book) == 2


def test_best_price_first_then_the_oldest_at_the_resting_price(book: Book) -> None:
    book.submit(1, owner=1, side=SELL, price=20, quantity=5)
    book.submit(2, owner=2, side=SELL, price=15, quantity=5)
    book.submit(3, owner=3, side=SELL, price=15, quantity=5)
    assert book.submit(4, owner=4, side=BUY, price=20, quantity=12) == [
        Fill(2, 4, SELL, 2, 5, 15),
        Fill(3, 4, SELL, 3, 5, 15),
        Fill(1, 4, SELL, 1, 2, 20),
    ]
    assert book.orders() == [Resting(1, SELL, 1, 3, 20)]


def test_a_partly_filled_order_keeps_its_place(book: Book) -> None:
    book.submit(1, owner=1, side=BUY, price=10, quantity=5)
    book.submit(2, owner=2, side=BUY, price=10, quantity=5)
    book.submit(3, owner=3, side=SELL, price=10, quantity=2)
    assert book.submit(4, owner=4, side=SELL, price=10, quantity=4) == [
        Fill(1, 4, BUY, 1, 3, 10),
        Fill(2, 4, BUY, 2, 1, 10),
    ]


def test_what_is_left_of_a_limit_order_rests(book: Book) -> None:
    book.submit(1, owner=1, side=SELL, price=10, quantity=2)
    assert book.submit(2, owner=2, side=BUY, price=30, quantity=5) == [
        Fill(1, 2, SELL, 1, 2, 10),
        Rest(2, BUY, 2, 3, 30),
    ]


def test_a_market_order_takes_what_there_is_and_never_rests(book: Book) -> None:
    book.submit(1, owner=1, side=SELL, price=100, quantity=2)
    book.submit(2, owner=2, side=SELL, price=-50, quantity=1)
    assert book.submit(3, owner=3, side=BUY, quantity=5, kind=Kind.MARKET) == [
        Fill(2, 3, SELL, 2, 1, -50),
        Fill(1, 3, SELL, 1, 2, 100),
        Canceled(3, BUY, 3, 2, 0, Reason.UNMATCHED),
    ]
    assert len(book) == 0
    assert book.submit(4, owner=3, side=SELL, quantity=5, kind=Kind.MARKET) == [
        Canceled(4, SELL, 3, 5, 0, Reason.UNMATCHED)
    ]


def test_cancel_gives_back_what_is_left(book: Book) -> None:
    book.submit(1, owner=9, side=SELL, price=10, quantity=5)
    book.submit(2, owner=2, side=BUY, price=10, quantity=2)
    assert book.cancel(1) == Canceled(1, SELL, 9, 3, 10, Reason.ASKED)
    with pytest.raises(matcher_c.CommandRejected, match="no resting order") as caught:
        book.cancel(1)
    assert caught.value.code is Rejection.UNKNOWN_ID
    assert book.best() == (None, None)


def test_self_trade_cancels_the_resting_order_and_goes_on(book: Book) -> None:
    book.submit(1, owner=1, side=SELL, price=10, quantity=5)
    book.submit(2, owner=2, side=SELL, price=10, quantity=5)
    book.submit(3, owner=1, side=SELL, price=15, quantity=5)
    assert book.submit(4, owner=1, side=BUY, price=15, quantity=9) == [
        Canceled(1, SELL, 1, 5, 10, Reason.SELF_TRADE),
        Fill(2, 4, SELL, 2, 5, 10),
        Canceled(3, SELL, 1, 5, 15, Reason.SELF_TRADE),
        Rest(4, BUY, 1, 4, 15),
    ]


def test_self_trade_stops_where_the_order_is_filled(book: Book) -> None:
    book.submit(1, owner=2, side=BUY, price=10, quantity=5)
    book.submit(2, owner=1, side=BUY, price=10, quantity=5)
    assert book.submit(3, owner=1, side=SELL, price=10, quantity=5) == [Fill(1, 3, BUY, 2, 5, 10)]
    assert book.orders() == [Resting(2, BUY, 1, 5, 10)]


def test_owner_0_is_nobody_and_trades_with_itself(book: Book) -> None:
    book.submit(1, owner=0, side=SELL, price=10, quantity=5)
    assert book.submit(2, owner=0, side=BUY, price=10, quantity=5) == [Fill(1, 2, SELL, 0, 5, 10)]


def test_immediate_or_cancel_drops_what_is_left(book: Book) -> None:
    book.submit(1, owner=1, side=SELL, price=10, quantity=2)
    book.submit(2, owner=1, side=SELL, price=20, quantity=2)
    assert book.submit(3, owner=2, side=BUY, price=15, quantity=5, kind=Kind.IOC) == [
        Fill(1, 3, SELL, 1, 2, 10),
        Canceled(3, BUY, 2, 3, 15, Reason.UNMATCHED),
    ]
    assert book.best() == (None, 20)


def test_fill_or_kill_takes_all_or_nothing(book: Book) -> None:
    book.submit(1, owner=1, side=SELL, price=10, quantity=2)
    book.submit(2, owner=2, side=SELL, price=15, quantity=2)
    book.submit(3, owner=3, side=SELL, price=15, quantity=2)
    before = book.to_bytes()
    for owner, quantity, price in ((9, 7, 15), (9, 3, 10), (2, 5, 15)):  # too much, too dear, too much of its own
        with pytest.raises(matcher_c.CommandRejected, match="whole quantity"):
            book.submit(4, owner=owner, side=BUY, price=price, quantity=quantity, kind=Kind.FOK)
        assert book.to_bytes() == before
    assert book.submit(4, owner=2, side=BUY, price=15, quantity=4, kind=Kind.FOK) == [
        Fill(1, 4, SELL, 1, 2, 10),
        Canceled(2, SELL, 2, 2, 15, Reason.SELF_TRADE),
        Fill(3, 4, SELL, 3, 2, 15),
    ]


def test_post_only_rests_or_is_refused(book: Book) -> None:
    book.submit(1, owner=1, side=SELL, price=10, quantity=2)
    with pytest.raises(matcher_c.CommandRejected, match="post-only"):
        book.submit(2, owner=2, side=BUY, price=10, quantity=1, kind=Kind.POST_ONLY)
    assert book.submit(2, owner=2, side=BUY, price=5, quantity=1, kind=Kind.POST_ONLY) == [Rest(2, BUY, 2, 1, 5)]


def test_reduce_keeps_the_place(book: Book) -> None:
    book.submit(1, owner=1, side=SELL, price=10, quantity=5)
    book.submit(2, owner=2, side=SELL, price=10, quantity=5)
    assert book.reduce(1, 3) == Canceled(1, SELL, 1, 3, 10, Reason.REDUCED)
    assert book.depth() == ([], [Level(10, 7, 2)])
    assert book.submit(3, owner=3, side=BUY, price=10, quantity=3) == [
        Fill(1, 3, SELL, 1, 2, 10),
        Fill(2, 3, SELL, 2, 1, 10),
    ]
    assert book.reduce(2, 2**32 - 1) == Canceled(2, SELL, 2, 4, 10, Reason.REDUCED)
    assert len(book) == 0
    for quantity, code in ((0, Rejection.BAD_QUANTITY), (2**70, Rejection.BAD_QUANTITY), (1, Rejection.UNKNOWN_ID)):
        with pytest.raises(matcher_c.CommandRejected) as caught:
            book.reduce(2, quantity)
        assert caught.value.code is code


def test_replace_loses_the_place_and_may_trade(book: Book) -> None:
    book.submit(1, owner=1, side=SELL, price=10, quantity=5)
    book.submit(2, owner=2, side=SELL, price=10, quantity=5)
    book.submit(3, owner=3, side=BUY, price=5, quantity=1)
    assert book.replace(1, quantity=4, price=10) == [
        Canceled(1, SELL, 1, 5, 10, Reason.REPLACED),
        Rest(1, SELL, 1, 4, 10),
    ]
    assert [order.order_id for order in book.orders()] == [3, 2, 1]
    assert book.replace(1, quantity=4, price=5) == [
        Canceled(1, SELL, 1, 4, 10, Reason.REPLACED),
        Fill(3, 1, BUY, 3, 1, 5),
        Rest(1, SELL, 1, 3, 5),
    ]
    before = book.to_bytes()
    for order_id, quantity, price, code in (
        (9, 1, 10, Rejection.UNKNOWN_ID),
        (1, 0, 10, Rejection.BAD_QUANTITY),
        (1, 1, 105, Rejection.PRICE_OUTSIDE_BAND),
        (1, 1, 12, Rejection.PRICE_OFF_TICK),
        (1, 1, 2**80, Rejection.PRICE_OUTSIDE_BAND),
    ):
        with pytest.raises(matcher_c.CommandRejected) as caught:
            book.replace(order_id, quantity=quantity, price=price)
        assert caught.value.code is code
    assert book.to_bytes() == before


def test_a_full_book_still_replaces(book: Book) -> None:
    for order_id in range(8):
        book.submit(order_id, owner=1, side=SELL, price=10, quantity=1)
    assert book.replace(3, quantity=2, price=15)[1] == Rest(3, SELL, 1, 2, 15)


def test_orders_end_at_their_height_earliest_first_then_by_id(book: Book) -> None:
    assert book.advance(100) == []
    for order_id, lifetime in ((5, 2), (4, 1), (3, 2), (2, 0), (1, 3)):
        book.submit(order_id, owner=order_id, side=SELL, price=10, quantity=order_id, lifetime=lifetime)
    assert book.advance(100) == []
    book.cancel(4)
    assert book.advance(102) == [
        Canceled(3, SELL, 3, 3, 10, Reason.EXPIRED),
        Canceled(5, SELL, 5, 5, 10, Reason.EXPIRED),
    ]
    copy = type(book).from_bytes(book.to_bytes())
    assert copy.height == 102
    assert copy.advance(200) == [Canceled(1, SELL, 1, 1, 10, Reason.EXPIRED)]
    assert [order.order_id for order in copy.orders()] == [2]
    for height in (101, -1, 2**62 + 1, 2**70):
        with pytest.raises(matcher_c.CommandRejected) as caught:
            book.advance(height)
        assert caught.value.code is Rejection.BAD_HEIGHT
    assert book.height == 102


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"kind": 7}, Rejection.BAD_KIND),
        ({"kind": Kind.CANCEL}, Rejection.BAD_KIND),
        ({"side": 2}, Rejection.BAD_SIDE),
        ({"side": -1}, Rejection.BAD_SIDE),
        ({"quantity": 0}, Rejection.BAD_QUANTITY),
        ({"quantity": -5}, Rejection.BAD_QUANTITY),
        ({"quantity": 2**32}, Rejection.BAD_QUANTITY),
        ({"quantity": 2**70}, Rejection.BAD_QUANTITY),
        ({"price": -55}, Rejection.PRICE_OUTSIDE_BAND),
        ({"price": 105}, Rejection.PRICE_OUTSIDE_BAND),
        ({"price": 2**70}, Rejection.PRICE_OUTSIDE_BAND),
        ({"price": 12}, Rejection.PRICE_OFF_TICK),
        ({"price": 12, "quantity": 0}, Rejection.BAD_QUANTITY),
        ({"lifetime": 65536}, Rejection.BAD_FLAGS),
        ({"lifetime": -1}, Rejection.BAD_FLAGS),
        ({"lifetime": 1, "kind": Kind.IOC}, Rejection.BAD_FLAGS),
        ({"kind": Kind.REPLACE}, Rejection.BAD_KIND),
        ({"kind": Kind.POST_ONLY}, Rejection.WOULD_TRADE),
        ({"kind": Kind.FOK, "quantity": 6}, Rejection.NOT_FILLABLE),
        ({"kind": Kind.FOK, "price": 5}, Rejection.NOT_FILLABLE),
        ({"kind": Kind.FOK, "owner": 1}, Rejection.NOT_FILLABLE),
        ({"order_id": 1}, Rejection.DUPLICATE_ID),
        ({"order_id": 1, "kind": Kind.MARKET}, Rejection.DUPLICATE_ID),
    ],
)
def test_rejections_leave_the_book_alone(book: Book, change: dict[str, int], code: Rejection) -> None:
    book.submit(1, owner=1, side=SELL, price=10, quantity=5)
    before = book.to_bytes()
    arguments: dict[str, int] = {"order_id": 2, "owner": 2, "side": BUY, "price": 10, "quantity": 5} | change
    with pytest.raises(matcher_c.CommandRejected) as caught:
        book.submit(**arguments)
    assert caught.value.code is code
    assert book.to_bytes() == before


def test_numbers_that_are_no_ids_are_refused(book: Book) -> None:
    for order_id, owner in ((-1, 0), (2**64, 0), (1, -1), (1, 2**32)):
        with pytest.raises(matcher_c.ColumnRefused):
            book.submit(order_id, owner=owner, side=BUY, price=0, quantity=1)
    with pytest.raises(matcher_c.ColumnRefused):
        book.cancel(2**64)
    book.submit(2**64 - 1, owner=2**32 - 1, side=BUY, price=0, quantity=2**32 - 1)
    assert book.orders() == [Resting(2**64 - 1, BUY, 2**32 - 1, 2**32 - 1, 0)]


def test_a_full_book_refuses_limits_and_keeps_serving(book: Book) -> None:
    for order_id in range(8):
        book.submit(order_id, owner=1, side=SELL, price=10, quantity=1)
    with pytest.raises(matcher_c.CommandRejected) as caught:
        book.submit(8, owner=2, side=BUY, price=10, quantity=1)
    assert caught.value.code is Rejection.BOOK_FULL
    assert book.submit(9, owner=2, side=BUY, quantity=1, kind=Kind.MARKET) == [Fill(0, 9, SELL, 1, 1, 10)]
    book.submit(10, owner=2, side=SELL, price=10, quantity=1)
    book.cancel(10)
    assert len(book) == 7


def test_a_place_that_became_free_is_used_again(book: Book) -> None:
    for order_id in range(1000):
        book.submit(order_id, owner=1, side=BUY, price=5 * (order_id % 7), quantity=1)
        if order_id >= 7:
            book.cancel(order_id - 7)
    assert [order.order_id for order in book.orders()] == sorted(range(993, 1000), key=lambda i: -(i % 7))


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"capacity": 0}, "capacity: give 1 to"),
        ({"capacity": 2**22 + 1}, "capacity: give 1 to"),
        ({"tick": 0}, "tick: give 1 to"),
        ({"tick": 2**31}, "tick: give 1 to"),
        ({"lowest": 3}, "lowest: give a multiple of the tick"),
        ({"highest": 2**31}, "highest: give a multiple"),
        ({"lowest": 200}, "highest: give at least the lowest price"),
        ({"highest": 5 * (2**20 + 1)}, "highest: give at least the lowest price .* and at most 1048576 ticks"),
        ({"hash_key": b"short"}, "hash_key: give 16 bytes"),
    ],
)
def test_bounds_of_an_instrument(make: type[Book], change: dict[str, int], expected: str) -> None:
    arguments = {"capacity": 8, "tick": 5, "lowest": 0, "highest": 100} | change
    with pytest.raises(matcher_c.InstrumentRefused, match=expected):
        make(**arguments)  # type: ignore[arg-type]


def test_the_widest_band(make: type[Book]) -> None:
    """2^20 ticks apart, orders at both ends and far between: the next price is found over empty stretches."""
    book = make(capacity=10, tick=1, lowest=-(2**19), highest=2**19)
    prices = [-(2**19), -(2**19) + 1, -1, 0, 63, 64, 4095, 4096, 2**18, 2**19]
    for order_id, price in enumerate(prices):
        book.submit(order_id, owner=order_id, side=SELL, price=price, quantity=1)
    for price in prices[:5]:
        assert book.best() == (None, price)
        book.submit(99, owner=99, side=BUY, quantity=1, kind=Kind.MARKET)
    for order_id in range(9, 4, -1):
        book.cancel(order_id)
    for order_id, price in enumerate(prices):
        book.submit(order_id, owner=order_id, side=BUY, price=price, quantity=1)
    for price in reversed(prices):
        assert book.best() == (price, None)
        book.submit(99, owner=99, side=SELL, quantity=1, kind=Kind.MARKET)
    assert len(book) == 0


def test_depth_adds_up_levels_best_first(book: Book) -> None:
    for order_id, (side, price, quantity) in enumerate(
        [(BUY, 0, 2**32 - 1), (BUY, 0, 2**32 - 1), (BUY, 5, 4), (SELL, 15, 1), (SELL, 10, 2)]
    ):
        book.submit(order_id, owner=order_id, side=side, price=price, quantity=quantity)
    assert book.depth() == ([Level(5, 4, 1), Level(0, 2 * (2**32 - 1), 2)], [Level(10, 2, 1), Level(15, 1, 1)])
    assert book.depth(1) == ([Level(5, 4, 1)], [Level(10, 2, 1)])
    assert book.depth(0) == ([], [])


# ---- batches ----


def command(
    order_id: int, side: int, ticks: int, quantity: int, owner: int = 0, kind: int = 0, flags: int = 0
) -> bytes:
    return struct.pack("<QqqIBBH", order_id, ticks, quantity, owner, kind, side, flags)


def test_packed_records_byte_for_byte(book: Book) -> None:
    commands = (
        command(1, SELL, 2, 5, owner=7)
        + command(2, BUY, 3, 8, owner=9)
        + command(2, BUY, 0, 0, kind=1)
        + command(3, BUY, 21, 8, owner=4)
    )
    results = bytearray(5 * 40)
    assert book.run(commands, results) == (4, 5)
    assert list(struct.iter_unpack("<BBHIQQqq", results)) == [
        (1, SELL, 0, 7, 1, 0, 5, 2),
        (0, SELL, 0, 7, 1, 2, 5, 2),
        (1, BUY, 0, 9, 2, 0, 3, 3),
        (2, BUY, 0, 9, 2, 0, 3, 3),
        (3, BUY, 5, 4, 3, 0, 8, 21),
    ]
    assert matcher_c.decode_results(results, 5, tick=5)[-1] == Rejected(3, Rejection.PRICE_OUTSIDE_BAND)


def test_quiet_writes_fills_and_rejections_only(book: Book) -> None:
    commands = (
        command(1, SELL, 2, 5)
        + command(2, BUY, 3, 8, owner=9)
        + command(2, 0, 0, 0, kind=1)
        + command(2, 0, 0, 0, kind=1)
    )
    results = bytearray(40 * 2)
    assert book.run(commands, results, quiet=True) == (4, 2)
    assert matcher_c.decode_results(results, 2, tick=5) == [
        Fill(1, 2, SELL, 0, 5, 10),
        Rejected(2, Rejection.UNKNOWN_ID),
    ]


def test_a_command_whose_results_do_not_fit_waits(book: Book) -> None:
    setup = command(1, SELL, 2, 1) + command(2, SELL, 2, 1)
    taker = command(3, BUY, 2, 5, owner=9)
    results = bytearray(4 * 40)
    assert book.run(setup + taker, results) == (2, 2)
    with pytest.raises(matcher_c.ResultsTooSmall, match="more than 2 records"):
        book.run(taker, bytearray(2 * 40 + 39))
    assert len(book) == 2
    assert book.run(taker, results) == (1, 3)


def test_buffers(book: Book) -> None:
    assert book.run(b"", bytearray()) == (0, 0)
    with pytest.raises(matcher_c.ColumnRefused, match="commands: give whole records"):
        book.run(b"x", bytearray(40))
    with pytest.raises(matcher_c.ColumnRefused, match="commands: give a buffer"):
        book.run("text", bytearray(40))
    with pytest.raises(matcher_c.ColumnRefused, match=r"results: .* writable"):
        book.run(command(1, 0, 0, 1), bytes(40))
    with pytest.raises(matcher_c.ResultsTooSmall):
        book.run(command(1, 0, 0, 1), bytearray(39))
    shifted = memoryview(b"x" + command(1, 0, 0, 1))[1:]  # in any alignment
    results = bytearray(41)
    assert book.run(shifted, memoryview(results)[1:]) == (1, 1)


def test_a_book_as_bytes_and_back(make: type[Book]) -> None:
    rng = random.Random(1)
    book = make(capacity=50, tick=2, lowest=-20, highest=20)
    for order_id in range(400):
        try:
            book.submit(
                order_id,
                owner=rng.randrange(9),
                side=rng.randrange(2),
                price=2 * rng.randint(-9, 9),
                quantity=rng.randint(1, 9),
            )
        except matcher_c.CommandRejected:
            book.cancel(book.orders()[0].order_id)
    copy = make.from_bytes(book.to_bytes())
    assert copy.to_bytes() == book.to_bytes()
    assert copy.depth() == book.depth()
    assert len(copy) > 20
    first, second = bytearray(4000), bytearray(4000)
    taker = command(1000, BUY, 10, 100, owner=77)
    assert book.run(taker, first) == copy.run(taker, second)
    assert first == second


def test_bytes_that_are_no_book_are_refused(book: Book) -> None:
    book.submit(1, owner=1, side=SELL, price=15, quantity=5)
    book.submit(2, owner=1, side=BUY, price=10, quantity=5)
    good = book.to_bytes()
    head, buy, sell = good[:-64], good[-64:-32], good[-32:]
    for bad in (
        b"",
        good[:-1],
        b"X" + good[1:],
        head + sell + buy,
        head + buy + buy,
        head + buy[:28] + b"\1" + buy[29:],
        head[:-8] + b"\xff" * 8 + buy + sell,
    ):
        with pytest.raises(matcher_c.ColumnRefused, match="book: "):
            type(book).from_bytes(bad)
    with pytest.raises(matcher_c.InstrumentRefused):
        type(book).from_bytes(good[:4] + bytes(4) + good[8:])


def test_nothing_observable_depends_on_the_hash_key() -> None:
    commands = b"".join(command(i * 2**32, i % 2, i % 5, 1 + i % 3, owner=i % 4) for i in range(200))
    seen = set()
    for key in (bytes(16), b"\xff" * 16, b"0123456789abcdef", None):
        book = matcher_c.OrderBook(capacity=100, tick=1, lowest=0, highest=9, hash_key=key)
        results = bytearray(400 * 40)
        seen.add((book.run(commands, results), bytes(results), book.to_bytes()))
    assert len(seen) == 1
