"""Worked trades of other people's markets: a call auction's (rate, energy) pairs, pay-as-bid, fees on a path, and two asks
that meet one bid on the exchange."""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType

import pytest

import matcher_c
from matcher_c import BUY, SELL, Bus, Canceled, Fill, Order, Reason, Rest, reference
from matcher_c.settling import Edge, Offer, Pricing, settle

UP = range(1, 8)


@pytest.fixture(params=[matcher_c, reference], ids=["c", "reference"])
def matcher(request: pytest.FixtureRequest) -> ModuleType:
    module: ModuleType = request.param
    return module


@pytest.mark.parametrize(
    ("offers", "bids", "rate", "energy"),
    [
        (UP, UP, 4, 4),
        (UP, range(7, 0, -1), 4, 4),
        (range(8, 15), range(8, 15), 11, 4),
        ([2, 3, 3, 5, 6, 7, 8], UP, 5, 3),
        ([10] * 7, [1, 2, 3, 4, 10, 10, 10], 10, 3),
        ([1, 2, 5, 5, 5, 6, 7], [5] * 7, 5, 5),
    ],
)
def test_call_auction(matcher: ModuleType, offers: Sequence[int], bids: Sequence[int], rate: int, energy: int) -> None:
    """Seven unit offers and seven unit bids, as in gsy-e's two-sided clearing.

    Where more than one price clears the market, gsy-e takes the last bid that trades, we the middle: in the one case of
    these where that differs, any price from 4 to 5 would do.
    """
    scale = 10
    traded, prices, _ = matcher.clear_arrays(
        [-1], [0], [-1], [-1],
        [0] * 14, [SELL] * 7 + [BUY] * 7, [scale * limit for limit in (*offers, *bids)], [1] * 14,
    )  # fmt: skip
    assert sum(traded[:7]) == sum(traded[7:]) == energy
    assert prices[0] == (45 if offers == [2, 3, 3, 5, 6, 7, 8] else scale * rate)


def test_pay_as_bid_takes_the_highest_bid(matcher: ModuleType) -> None:
    """Bids of 1.1, 0.9 and 1.2 meet one ask of 1.0 for one unit: the 1.2 wins and pays 1.2, the ask gets its 1.0."""
    bids, outside = (110, 90, 120), 150
    offers = [Offer(0, BUY, bid, 1, outside) for bid in bids] + [Offer(0, SELL, 100, 1, 50)]
    settled = settle(
        matcher.clear_arrays, [Edge(-1, 0, -1, -1)], offers, ranks=[0], sharing=0, pricing=Pricing.PAY_AS_BID
    )
    assert settled.traded == (0, 0, 1, 1)
    assert settled.payments == (0, 0, -120, 100)
    assert settled.operator == 20  # what lies between


def test_fees_add_up_along_the_path(matcher: ModuleType) -> None:
    """30 at the house that pays; markets in between take 1.25, 2.50 and 1.25; 25 is left for the one that sells."""
    network = [Bus("root"), Bus("a", "root", 125), Bus("b", "a", 250), Bus("c", "b", 125)]
    house = Order("house", "root", BUY, 3_000, 10)
    cleared = matcher.clear(network, [house, Order("roof", "c", SELL, 2_500, 4)])
    assert cleared.traded == {"house": 4, "roof": 4}
    assert cleared.prices == {"root": 3_000, "a": 2_875, "b": 2_625, "c": 2_500}
    assert cleared.operator == 4 * 500
    too_dear = matcher.clear(network, [house, Order("roof", "c", SELL, 2_501, 4)])
    assert too_dear.traded == {"house": 0, "roof": 0}


def test_two_asks_and_one_bid_on_the_exchange(matcher: ModuleType) -> None:
    """20 kWh at 0.15 and 15 kWh at 0.12 meet a bid for 25 kWh at 0.16: the cheaper first, each at its own price."""
    alice, bob, charlie = 1, 2, 3
    book = matcher.OrderBook(capacity=10, tick=1, lowest=0, highest=100_000)
    book.submit(1, owner=alice, side=SELL, price=15_000, quantity=20_000)
    book.submit(2, owner=bob, side=SELL, price=12_000, quantity=15_000)
    fills = book.submit(3, owner=charlie, side=BUY, price=16_000, quantity=25_000)
    assert fills == [Fill(2, 3, SELL, bob, 15_000, 12_000), Fill(1, 3, SELL, alice, 10_000, 15_000)]
    money = [fill.quantity * fill.price for fill in fills]
    assert money == [180_000_000, 150_000_000]  # 1.80 and 1.50
    assert [(order.order_id, order.quantity) for order in book.orders()] == [(1, 10_000)]


def test_nobody_trades_with_oneself(matcher: ModuleType) -> None:
    book = matcher.OrderBook(capacity=10, tick=1, lowest=0, highest=100)
    book.submit(1, owner=7, side=SELL, price=10, quantity=5)
    assert book.submit(2, owner=7, side=BUY, price=12, quantity=5) == [
        Canceled(1, SELL, 7, 5, 10, Reason.SELF_TRADE),
        Rest(2, BUY, 7, 5, 12),
    ]
