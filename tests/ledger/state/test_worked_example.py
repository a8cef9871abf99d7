"""The worked example of an energy exchange that Energo took over: three prosumers, two asks, one bid, 5 % fee.

Alice asks for 20 kWh at 0.15 and Bob for 15 kWh at 0.12; Charlie bids for 25 kWh at 0.16; each has 100.00. Bob's is cheaper,
so he sells all of it, and Alice what is left to buy. Energy moves from seller to buyer, to the last unit of money.
"""

from __future__ import annotations

from ledger.base.intents import BUY, SELL, Commit, PlaceOrder
from ledger.state.events import Minted, Trade
from ledger.state.tables import CASH
from tests.ledger.state.test_storage import BOOK, Street, of
from tests.ledger.streets import ORIGIN_MS, Ledger, street

COIN = 10**8
ALICE, BOB, CHARLIE = "home1", "home2", "home3"


def opened() -> Street:
    """A pool that loses nothing, TSL for all, the whole fee to the operator."""
    genesis = street(3)
    (pool,) = genesis.pools
    lossless = pool._replace(
        capacity_wh=90_000, efficiency=10_000, tsl_wh=tuple((home, 30_000) for home in (ALICE, BOB, CHARLIE))
    )
    market = genesis.market._replace(exchange_fee=500, exchange_fee_treasury=0)
    s = Street.__new__(Street)
    s.ledger = Ledger(genesis._replace(pools=(lossless,), market=market))
    s.ledger.step(ORIGIN_MS + 1)
    s.registers, s.slot = {}, 0
    return s


def test_three_prosumers_to_the_last_unit() -> None:
    s = opened()
    s.ask(ALICE, Commit("pool", 20_000))
    s.close(0)
    s.ask(ALICE, Commit("pool", 0))
    s.ask(BOB, Commit("pool", 15_000))
    events = s.close(20_000, home1=(0, 20_000), pool=(20_000, 0))
    events += s.close(35_000, home2=(0, 15_000), pool=(15_000, 0))
    assert [minted.minted_wh for minted in of(Minted, events)] == [20_000, 15_000]
    cash = {name: s.held(name, CASH).free for name in (ALICE, BOB, CHARLIE, "operator", "treasury")}
    assert [cash[name] for name in (ALICE, BOB, CHARLIE)] == [100 * COIN] * 3  # all was committed, nothing sold yet

    s.ask(ALICE, PlaceOrder(BOOK, SELL, 15_000, 20_000))
    s.ask(BOB, PlaceOrder(BOOK, SELL, 12_000, 15_000))
    trades = of(Trade, s.ask(CHARLIE, PlaceOrder(BOOK, BUY, 16_000, 25_000)))

    assert [(trade.quantity_wh, trade.price, trade.cost, trade.fee) for trade in trades] == [
        (15_000, 12_000, 180_000_000, 9_000_000),  # Bob's: 1.80 and 0.09
        (10_000, 15_000, 150_000_000, 7_500_000),  # Alice's: 1.50 and 0.075
    ]
    finals = {name: s.held(name, CASH).free for name in cash}
    assert finals[ALICE] == 10_150_000_000
    assert finals[BOB] == 10_180_000_000
    assert finals[CHARLIE] == 9_653_500_000
    assert finals["operator"] - cash["operator"] == 16_500_000
    assert finals["treasury"] == cash["treasury"]
    assert s.held(CHARLIE, CASH).escrowed == 0
    assert (s.held(ALICE, BOOK), s.held(BOB, BOOK)) == ((0, 10_000), (0, 0))  # Alice's other 10 kWh are still offered
    assert s.held(CHARLIE, BOOK).free == 25_000
