"""Pools and the exchange in the ledger: minted for what the meter took, traded, burned for what it gave, cut when it lost."""

from __future__ import annotations

import pytest

from ledger.base.intents import (
    BUY,
    FILL_OR_KILL,
    IMMEDIATE_OR_CANCEL,
    POST_ONLY,
    SELL,
    CancelOrder,
    Commit,
    Intent,
    PlaceOrder,
    Redeem,
    Transfer,
)
from ledger.state.events import Burned, Canceled, Event, Minted, PoolState, Receipt, Rested, Trade
from ledger.state.rules import balances
from ledger.state.tables import CASH, ORDER, REQUEST, Balance
from tests.ledger.streets import ORIGIN_MS, Ledger, street

BOOK = "WATT:pool"


class Street:
    """A ledger whose pool charges and gives by hand."""

    def __init__(self, **options: object) -> None:
        self.ledger = Ledger(street(3, **options))  # type: ignore[arg-type]
        self.ledger.step(ORIGIN_MS + 1)
        self.registers: dict[str, list[int]] = {}
        self.slot = 0

    def ask(self, home: str, intent: Intent) -> tuple[Event, ...]:
        self.ledger.ask(home, intent)
        return self.ledger.step(self.ledger.tip.header.time_ms + 10).events

    def close(self, stored_wh: int, **energy: tuple[int, int]) -> tuple[Event, ...]:
        """Report a slot: device = (import Wh, export Wh) in it, and what the pool says it stores."""
        for device in ("home1", "home2", "home3", "school", "pool"):
            total = self.registers.setdefault(device, [0, 0])
            took, gave = energy.get(device, (0, 0))
            total[0] += took
            total[1] += gave
            stored = stored_wh if device == "pool" else None
            self.ledger.read(device, self.slot, total[0], total[1], stored_wh=stored)
        self.slot += 1
        return self.ledger.step(self.ledger.end_of(self.slot - 1) + 500).events

    def held(self, home: str, asset: str) -> Balance:
        return balances.balance(self.ledger.tip.state, self.ledger.context.genesis.accounts[home], asset)

    def charged(self) -> None:
        """home1 has 900 Wh of WATT for 1,000 Wh that the pool took."""
        self.ask("home1", Commit("pool", 1000))
        self.close(0)
        self.close(900, home1=(0, 1000), pool=(1000, 0))
        assert self.held("home1", BOOK).free == 900


def of(kind: type, events: tuple[Event, ...]) -> list:  # type: ignore[type-arg]
    return [event for event in events if isinstance(event, kind)]


def refusal(events: tuple[Event, ...]) -> str:
    (receipt,) = of(Receipt, events)
    return str(receipt.code)


def test_what_the_meter_took_is_minted_times_efficiency_pro_rata_to_what_was_committed() -> None:
    s = Street()
    s.ask("home1", Commit("pool", 600))
    s.ask("home2", Commit("pool", 300))
    s.close(0)
    events = s.close(405, home1=(0, 900), home2=(0, 300), pool=(450, 0))
    minted = {m.account: (m.deposited_wh, m.minted_wh) for m in of(Minted, events)}
    accounts = s.ledger.context.genesis.accounts
    assert minted == {accounts["home1"]: (300, 270), accounts["home2"]: (150, 135)}
    (state,) = of(PoolState, events)
    assert (state.stored_wh, state.supply_wh) == (405, 405)


def test_what_minting_leaves_over_is_carried() -> None:
    s = Street()
    s.ask("home1", Commit("pool", 1000))
    s.close(0)
    for stored in (13, 27, 40):  # 15 Wh x 0.9 = 13.5, three times
        s.close(stored, home1=(0, 15), pool=(15, 0))
    assert s.held("home1", BOOK).free == 40


def test_charge_beyond_the_commitments_is_the_owners_and_bought_on_the_market() -> None:
    s = Street()
    s.ask("home1", Commit("pool", 100))
    s.close(0)
    before = s.held("pool:pool", CASH).free
    events = s.close(450, home1=(0, 400), pool=(500, 0))
    assert [m.minted_wh for m in of(Minted, events)] == [90]
    assert s.held("pool:pool", CASH).free < before  # it paid for 400 Wh
    assert of(PoolState, events)[0].supply_wh == 90


def test_watt_trades_at_the_resting_price_with_the_fee_on_top() -> None:
    s = Street()
    s.charged()
    before = {name: s.held(name, CASH).free for name in ("home1", "home2", "operator", "treasury")}
    events = s.ask("home1", PlaceOrder(BOOK, SELL, 20_000, 600))
    assert of(Rested, events)[0].quantity_wh == 600
    assert s.held("home1", BOOK) == (300, 600)
    events = s.ask("home2", PlaceOrder(BOOK, BUY, 25_000, 400))
    (trade,) = of(Trade, events)
    assert (trade.price, trade.quantity_wh, trade.cost, trade.fee) == (20_000, 400, 8_000_000, 400_000)
    assert s.held("home2", BOOK).free == 400
    change = {name: s.held(name, CASH).free - was for name, was in before.items()}
    assert change == {"home1": 8_000_000, "home2": -8_400_000, "operator": 360_000, "treasury": 40_000}
    assert s.held("home2", CASH).escrowed == 0


def test_an_order_can_be_canceled_by_its_owner_alone() -> None:
    s = Street()
    s.charged()
    s.ask("home1", PlaceOrder(BOOK, SELL, 20_000, 600))
    assert refusal(s.ask("home2", CancelOrder(1))) == "no_such_order"
    events = s.ask("home1", CancelOrder(1))
    assert of(Canceled, events)[0].quantity_wh == 600
    assert s.held("home1", BOOK) == (900, 0)


def test_an_immediate_order_takes_what_is_there_and_leaves_nothing() -> None:
    s = Street()
    s.charged()
    s.ask("home1", PlaceOrder(BOOK, SELL, 20_000, 100))
    events = s.ask("home2", PlaceOrder(BOOK, BUY, 25_000, 400, IMMEDIATE_OR_CANCEL))
    assert [t.quantity_wh for t in of(Trade, events)] == [100]
    assert of(Canceled, events)[0].quantity_wh == 300
    assert s.held("home2", CASH).escrowed == 0
    assert not s.ledger.tip.state.scan(ORDER)


def test_fill_or_kill_and_post_only_are_refused_untouched() -> None:
    s = Street()
    s.charged()
    s.ask("home1", PlaceOrder(BOOK, SELL, 20_000, 100))
    before = s.held("home2", CASH)
    assert refusal(s.ask("home2", PlaceOrder(BOOK, BUY, 25_000, 400, FILL_OR_KILL))) == "not_fillable"
    assert refusal(s.ask("home2", PlaceOrder(BOOK, BUY, 20_000, 400, POST_ONLY))) == "would_trade"
    assert s.held("home2", CASH) == before
    assert len(s.ledger.tip.state.scan(ORDER)) == 1
    assert of(Rested, s.ask("home2", PlaceOrder(BOOK, BUY, 19_000, 400, POST_ONLY)))[0].quantity_wh == 400
    events = s.ask("home2", PlaceOrder(BOOK, BUY, 25_000, 100, FILL_OR_KILL))
    assert [t.quantity_wh for t in of(Trade, events)] == [100]


def test_ones_own_resting_order_is_canceled_rather_than_traded_with() -> None:
    s = Street()
    s.charged()
    s.ask("home1", PlaceOrder(BOOK, SELL, 20_000, 100))
    events = s.ask("home1", PlaceOrder(BOOK, BUY, 25_000, 50))
    assert not of(Trade, events)
    assert of(Canceled, events)[0].order_id == 1
    assert s.held("home1", BOOK).escrowed == 0


@pytest.mark.parametrize(
    ("home", "intent", "code"),
    [
        ("home2", PlaceOrder(BOOK, SELL, 20_000, 1), "insufficient_funds"),
        ("home2", PlaceOrder("WATT:none", BUY, 20_000, 1), "no_such_instrument"),
        ("home2", PlaceOrder(BOOK, BUY, 200_001, 1), "price_out_of_band"),
        ("home2", PlaceOrder(BOOK, BUY, 20_000, 6_667), "no_room"),
        ("home2", Commit("none", 5), "no_such_pool"),
        ("home2", Redeem("pool", 1), "insufficient_watt"),
        ("home1", Redeem("pool", 901), "insufficient_watt"),
        ("home1", Transfer(bytes(20), CASH, 1), "no_such_account"),
        ("home1", CancelOrder(77), "no_such_order"),
    ],
)
def test_every_refusal_has_its_reason_and_changes_only_the_nonce(home: str, intent: Intent, code: str) -> None:
    s = Street()
    s.charged()
    rows = dict(s.ledger.tip.state.scan(ORDER))
    before = {name: s.held(name, CASH) for name in s.ledger.context.genesis.accounts}
    assert refusal(s.ask(home, intent)) == code
    assert {name: s.held(name, CASH) for name in before} == before
    assert dict(s.ledger.tip.state.scan(ORDER)) == rows


def test_transfers_of_watt_need_room_and_of_tsl_must_leave_what_covers() -> None:
    s = Street()
    s.charged()
    accounts = s.ledger.context.genesis.accounts
    assert refusal(s.ask("home1", Transfer(accounts["home1"], CASH, 1))) == "same_account"
    assert refusal(s.ask("home1", Transfer(accounts["home2"], "TSL:pool", 6_000))) == "tsl_in_use"
    assert refusal(s.ask("home1", Transfer(accounts["grid"], BOOK, 1))) == "no_room"
    assert refusal(s.ask("home1", Transfer(accounts["home2"], BOOK, 100))) == ""
    assert s.held("home2", BOOK).free == 100


def test_what_is_redeemed_is_burned_as_the_meter_gives_it_back() -> None:
    s = Street()
    s.charged()
    s.ask("home1", Redeem("pool", 500))
    s.close(900)
    events = s.close(700, home1=(350, 0), pool=(0, 200))
    assert [(b.energy_wh, b.reason) for b in of(Burned, events)] == [(200, "redeemed")]
    assert s.held("home1", BOOK).free == 700
    account = s.ledger.context.genesis.accounts["home1"]
    assert s.ledger.tip.state.need(REQUEST, ("pool", account)).energy_wh == 300


def test_discharge_that_nobody_asked_for_is_sold_for_the_holders() -> None:
    s = Street()
    s.charged()
    s.close(900)
    before = s.held("home1", CASH).free
    events = s.close(800, pool=(0, 100))
    assert [(b.energy_wh, b.reason) for b in of(Burned, events)] == [(100, "sold")]
    assert s.held("home1", CASH).free - before == 100 * 7_500


def test_a_loss_cuts_all_watt_free_and_resting_alike() -> None:
    s = Street()
    s.charged()
    s.ask("home1", PlaceOrder(BOOK, SELL, 20_000, 300))
    events = s.close(450)
    assert sum(b.energy_wh for b in of(Burned, events)) == 450
    assert s.held("home1", BOOK) == (300, 150)
    assert [row.quantity_wh for _, row in s.ledger.tip.state.scan(ORDER)] == [150]
    (state,) = of(PoolState, events)
    assert state.stored_wh == state.supply_wh == 450


def test_no_watt_beyond_ones_tsl_is_ever_minted() -> None:
    s = Street()
    s.ask("home1", Commit("pool", 20_000))
    s.close(0)
    events = s.close(7_200, home1=(0, 8_000), pool=(8_000, 0))
    (minted,) = of(Minted, events)
    assert minted.deposited_wh == 6_666 * 10_000 // 9_000
    assert s.held("home1", BOOK).free <= 6_666


def test_when_the_pools_reading_misses_the_closing_commitments_and_requests_lapse() -> None:
    s = Street()
    s.charged()
    s.ask("home1", Redeem("pool", 500))
    s.close(900)
    for device in ("home1", "home2", "home3", "school"):
        total = s.registers[device]
        s.ledger.read(device, s.slot, total[0] + (300 if device == "home1" else 0), total[1])
    ended = s.ledger.step(s.ledger.end_of(s.slot) + 5).header.time_ms
    s.ledger.step(ended + 1_500)
    assert s.held("home1", BOOK).free == 900
