"""What every exchange must satisfy, watched from outside while a random stream goes through it.

The watcher keeps only what it was told: who asked for what, in which order. It knows no matching; it checks each answer.
"""

import random
from dataclasses import dataclass

from matcher_c import (
    BUY,
    Book,
    Canceled,
    CommandRejected,
    Fill,
    Kind,
    Reason,
    Rejection,
    Rest,
    Result,
)

CAPACITY = 12
OWNERS = 4


@dataclass
class Told:
    """An order at rest, as the answers so far say."""

    side: int
    owner: int
    price: int
    quantity: int
    place: int
    """when it came to its place"""
    end: int | None


def better(side: int, price: int, other: int) -> bool:
    return price > other if side == BUY else price < other


class Watcher:
    def __init__(self, book: Book) -> None:
        self.book = book
        self.resting: dict[int, Told] = {}
        self.time = 0

    def take(self, order_id: int, side: int, owner: int, limit: int | None, kind: Kind, quantity: int, end: int | None,
             results: list[Result]) -> None:  # fmt: skip
        """The answer to an order that was not rejected."""
        left = quantity
        for result in results:
            if isinstance(result, Fill):
                maker = self.resting[result.maker]
                assert result.taker == order_id
                assert maker.side != side, "it trades with the other side"
                assert result.price == maker.price, "at the resting order's price"
                assert limit is None or not better(1 - side, limit, maker.price), "within its limit"
                assert maker.owner == 0 or maker.owner != owner, "not with itself"
                for other in self.resting.values():
                    if other.side == maker.side:
                        first = better(other.side, other.price, maker.price)
                        assert not first, "with the best price first"
                        assert other.price != maker.price or other.place >= maker.place, "with the oldest first"
                assert 0 < result.quantity <= min(left, maker.quantity)
                assert result.quantity == min(left, maker.quantity), "as much as there is"
                left -= result.quantity
                maker.quantity -= result.quantity
                if not maker.quantity:
                    del self.resting[result.maker]
            elif isinstance(result, Canceled) and result.reason is Reason.SELF_TRADE:
                own = self.resting.pop(result.order_id)
                assert owner != 0 and own.owner == owner and own.side != side, "nobody is nobody's own"
                assert result.quantity == own.quantity
            elif isinstance(result, Rest):
                assert result.quantity == left, "what is left rests"
                assert kind in (Kind.LIMIT, Kind.POST_ONLY), "only what may rest rests"
                self.time += 1
                assert limit is not None
                self.resting[order_id] = Told(side, owner, limit, left, self.time, end)
                left = 0
            else:
                assert isinstance(result, Canceled)
                assert result.reason is Reason.UNMATCHED
                assert kind in (Kind.MARKET, Kind.IOC)
                assert result.quantity == left
                left = 0
        assert left == 0, "nothing is lost"
        assert kind is not Kind.POST_ONLY or not any(isinstance(result, Fill) for result in results)
        if kind is Kind.FOK:
            assert sum(result.quantity for result in results if isinstance(result, Fill)) == quantity

    def rejected(
        self, code: Rejection, order_id: int, side: int, owner: int, limit: int, kind: Kind, quantity: int
    ) -> None:
        """The answer was a rejection: there must have been a reason."""
        crossing = [
            told for told in self.resting.values() if told.side != side and not better(1 - side, limit, told.price)
        ]
        offered = sum(told.quantity for told in crossing if told.owner == 0 or told.owner != owner)
        reasons = {
            Rejection.DUPLICATE_ID: order_id in self.resting,
            Rejection.BOOK_FULL: len(self.resting) == CAPACITY,
            Rejection.WOULD_TRADE: kind is Kind.POST_ONLY and bool(crossing),
            Rejection.NOT_FILLABLE: kind is Kind.FOK and offered < quantity,
        }
        assert reasons[code]

    def check(self) -> None:
        """The book is what the answers said."""
        shown = {order.order_id: order for order in self.book.orders()}
        assert shown.keys() == self.resting.keys()
        for order_id, told in self.resting.items():
            order = shown[order_id]
            assert (order.side, order.owner, order.price, order.quantity) == (
                told.side, told.owner, told.price, told.quantity)  # fmt: skip
        buy, sell = self.book.best()
        assert buy is None or sell is None or buy < sell, "never crossed"
        assert len(self.book) == len(self.resting) <= CAPACITY


def check_stream(rng: random.Random, make: type[Book], *, commands: int = 150) -> None:
    """Sends a random stream of every kind through a new book and checks every answer."""
    book = make(capacity=CAPACITY, tick=2, lowest=0, highest=60)
    watcher = Watcher(book)
    height = 0
    for number in range(commands):
        known = rng.randint(max(0, number - 30), number)
        draw = rng.random()
        before = book.to_bytes()
        try:
            if draw < 0.08:
                canceled = book.cancel(known)
                assert watcher.resting.pop(known).quantity == canceled.quantity
            elif draw < 0.16:
                off = rng.randint(1, 12)
                taken = book.reduce(known, off)
                told = watcher.resting[known]
                assert taken.quantity == min(off, told.quantity)
                told.quantity -= taken.quantity
                if not told.quantity:
                    del watcher.resting[known]
            elif draw < 0.24:
                price, quantity = 2 * rng.randint(8, 22), rng.randint(1, 12)
                results = book.replace(known, quantity=quantity, price=price)
                old = watcher.resting.pop(known)
                assert results[0] == Canceled(known, old.side, old.owner, old.quantity, old.price, Reason.REPLACED)
                watcher.take(known, old.side, old.owner, price, Kind.LIMIT, quantity, None, results[1:])
            elif draw < 0.3:
                if height > 0:
                    refuse_earlier(book, height - 1)
                height += rng.randint(0, 2)
                ended = [canceled.order_id for canceled in book.advance(height)]
                due = [(told.end, key) for key, told in watcher.resting.items() if told.end is not None]
                assert ended == [key for end, key in sorted(due) if end <= height], "at their end, earliest first"
                for key in ended:
                    del watcher.resting[key]
                assert book.height == height
            else:
                place(rng, watcher, known if draw < 0.33 else number, height)
        except CommandRejected as rejected:
            unknown = rejected.code is Rejection.UNKNOWN_ID and known not in watcher.resting
            assert unknown, "only what is not there cannot be changed"
            assert book.to_bytes() == before, "a refusal changes nothing"
        watcher.check()
    copy = make.from_bytes(book.to_bytes())
    assert copy.to_bytes() == book.to_bytes()
    assert copy.advance(height + 50) == book.advance(height + 50), "bytes bring the same book back"


def refuse_earlier(book: Book, height: int) -> None:
    """The ledger's height never falls."""
    before = book.to_bytes()
    try:
        book.advance(height)
    except CommandRejected:
        assert book.to_bytes() == before, "a refusal changes nothing"
    else:
        raise AssertionError("the height fell")


def place(rng: random.Random, watcher: Watcher, order_id: int, height: int) -> None:
    """A new order of any kind."""
    side, owner, quantity = rng.randrange(2), rng.randrange(OWNERS), rng.randint(1, 12)
    kind = rng.choice([Kind.LIMIT] * 4 + [Kind.MARKET, Kind.IOC, Kind.FOK, Kind.POST_ONLY])
    limit = 2 * (15 + (1 if side else -1) * rng.randint(-3, 7))
    lifetime = rng.choice([0, 0, 1, 2, 4]) if kind in (Kind.LIMIT, Kind.POST_ONLY) else 0
    before = watcher.book.to_bytes()
    price = 0 if kind is Kind.MARKET else limit
    try:
        results = watcher.book.submit(
            order_id, owner=owner, side=side, quantity=quantity, price=price, kind=kind, lifetime=lifetime
        )
    except CommandRejected as refused:
        watcher.rejected(refused.code, order_id, side, owner, limit, kind, quantity)
        assert watcher.book.to_bytes() == before, "a refusal changes nothing"
        return
    assert order_id not in watcher.resting, "an id is there once"
    end = height + lifetime if lifetime else None
    watcher.take(order_id, side, owner, None if kind is Kind.MARKET else limit, kind, quantity, end, results)
