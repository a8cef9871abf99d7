"""The agent's rules: each sentence of rules.py, on small homes."""

from dataclasses import replace

import pytest

from firmware.der.rules import Rules, Setpoint, commitment_wh, decide, setpoint
from firmware.der.view import Holding, HomeView, OwnOrder, PoolView, StreetView
from ledger.base.intents import BUY, SELL, CancelOrder, Commit, Intent, PlaceOrder, Redeem
from ledger.base.units import MONEY_UNIT

RULES = Rules(
    sell_stored_above=20_000,
    buy_stored_below=22_000,
    keep_wh=1_000,
    commit_wh_per_slot=0,
    buy_wh_max=2_000,
    step_wh=250,
    cash_reserve=10 * MONEY_UNIT,
)
POOL = PoolView("pool", 20_000, 6_000, 5_000, 9_000, {}, {})
HOLDING = Holding(free_wh=1_000, escrowed_wh=0, tsl_wh=4_000, orders=())
HOME = HomeView(net_wh=0, cash_free=100 * MONEY_UNIT, owes=False, holdings={"pool": HOLDING})


def home(view: HomeView = HOME, **changes: object) -> HomeView:
    """A home whose holding is changed."""
    return replace(view, holdings={"pool": replace(view.holdings["pool"], **changes)})  # type: ignore[arg-type]


def wanted(rules: Rules = RULES, pool: PoolView = POOL, view: HomeView = HOME) -> list[Intent]:
    return decide(rules, pool, "home1", view, exchange_fee=500)


def test_a_home_that_has_what_it_keeps_wants_nothing() -> None:
    assert wanted() == []


def test_what_exceeds_the_kept_energy_is_offered() -> None:
    assert wanted(view=home(free_wh=1_700)) == [PlaceOrder("WATT:pool", SELL, 20_000, 700)]


def test_less_than_a_step_is_left_alone() -> None:
    assert wanted(view=home(free_wh=1_249)) == []
    assert wanted(view=home(free_wh=751)) == []


def test_without_a_price_it_neither_sells_nor_buys() -> None:
    silent = replace(RULES, sell_stored_above=None, buy_stored_below=None)
    assert wanted(silent, view=home(free_wh=4_000)) == []
    assert wanted(silent, view=home(free_wh=0)) == []


def test_what_is_missing_is_bid_for() -> None:
    assert wanted(view=home(free_wh=0)) == [PlaceOrder("WATT:pool", BUY, 22_000, 1_000)]


@pytest.mark.parametrize(
    ("rules", "view", "quantity"),
    [
        (replace(RULES, buy_wh_max=400), home(free_wh=0), 400),
        (RULES, home(free_wh=0, tsl_wh=600), 600),
        (RULES, replace(home(free_wh=0), cash_free=10 * MONEY_UNIT + 22_000 * 500), 476),  # 500 / 1.05
    ],
    ids=["bounded size", "room", "cash beyond the reserve"],
)
def test_a_bid_is_bounded(rules: Rules, view: HomeView, quantity: int) -> None:
    assert wanted(rules, view=view) == [PlaceOrder("WATT:pool", BUY, 22_000, quantity)]


def test_the_last_cash_and_a_debtors_cash_are_not_spent() -> None:
    assert wanted(view=replace(home(free_wh=0), cash_free=9 * MONEY_UNIT)) == []
    assert wanted(view=replace(home(free_wh=0), owes=True)) == []


def test_an_order_that_is_near_enough_stays() -> None:
    resting = OwnOrder(7, BUY, 22_000, 900)
    assert wanted(view=home(free_wh=0, orders=(resting,))) == []


@pytest.mark.parametrize("resting", [OwnOrder(7, BUY, 21_000, 1_000), OwnOrder(7, BUY, 22_000, 700)])
def test_an_order_that_drifted_is_replaced(resting: OwnOrder) -> None:
    view = home(free_wh=0, orders=(resting,))
    assert wanted(view=view) == [CancelOrder(7), PlaceOrder("WATT:pool", BUY, 22_000, 1_000)]


def test_a_replaced_bids_money_and_room_count_as_free() -> None:
    view = replace(home(free_wh=0, tsl_wh=1_000, orders=(OwnOrder(7, BUY, 21_000, 1_000),)), cash_free=10 * MONEY_UNIT)
    assert wanted(view=view) == [CancelOrder(7), PlaceOrder("WATT:pool", BUY, 22_000, 954)]


def test_it_takes_its_bid_out_before_it_sells() -> None:
    view = home(free_wh=2_000, orders=(OwnOrder(7, BUY, 22_000, 500),))
    assert wanted(view=view) == [CancelOrder(7), PlaceOrder("WATT:pool", SELL, 20_000, 1_000)]


def test_of_two_good_orders_one_is_canceled() -> None:
    resting = (OwnOrder(7, BUY, 22_000, 1_000), OwnOrder(9, BUY, 22_000, 1_000))
    assert wanted(view=home(free_wh=0, orders=resting)) == [CancelOrder(9)]


def test_surplus_is_committed_once() -> None:
    rules = replace(RULES, commit_wh_per_slot=400)
    assert wanted(rules) == [Commit("pool", 400)]
    assert wanted(rules, replace(POOL, commitments={"home1": 400, "home2": 1})) == []
    assert wanted(RULES, replace(POOL, commitments={"home1": 400})) == [Commit("pool", 0)]


def test_a_home_commits_no_more_than_it_has_room_for() -> None:
    rules = replace(RULES, commit_wh_per_slot=400)
    assert commitment_wh(rules, POOL, replace(HOLDING, free_wh=3_910)) == 100  # 90 Wh of room at 0.9
    assert commitment_wh(rules, POOL, replace(HOLDING, free_wh=4_000)) == 0


def test_a_home_that_does_not_sell_stores_only_what_it_keeps() -> None:
    alone = replace(RULES, sell_stored_above=None, keep_wh=1_000, commit_wh_per_slot=400)
    assert commitment_wh(alone, POOL, replace(HOLDING, free_wh=0)) == 400
    assert commitment_wh(alone, POOL, replace(HOLDING, free_wh=910)) == 100
    assert commitment_wh(alone, POOL, replace(HOLDING, free_wh=1_000)) == 0


def test_what_it_drew_is_asked_for() -> None:
    assert wanted(view=replace(HOME, net_wh=120)) == [Redeem("pool", 120)]
    assert wanted(view=replace(HOME, net_wh=5_000)) == [Redeem("pool", 1_000)]


def test_a_home_that_feeds_in_asks_for_nothing() -> None:
    asked = replace(POOL, requests={"home1": 300})
    assert wanted(pool=asked, view=replace(HOME, net_wh=-50)) == [Redeem("pool", 0)]


def test_what_is_offered_is_not_asked_for() -> None:
    view = replace(home(free_wh=1_700), net_wh=5_000)
    assert wanted(view=view) == [PlaceOrder("WATT:pool", SELL, 20_000, 700), Redeem("pool", 1_000)]


def test_a_canceled_offer_can_be_asked_for() -> None:
    view = replace(home(free_wh=100, escrowed_wh=900, orders=(OwnOrder(7, SELL, 20_000, 900),)), net_wh=5_000)
    assert wanted(view=view) == [CancelOrder(7), Redeem("pool", 1_000)]


def test_a_missing_reading_changes_neither_commitment_nor_request() -> None:
    asked = replace(POOL, requests={"home1": 300}, commitments={"home1": 5})
    assert wanted(pool=asked, view=replace(HOME, net_wh=None)) == []


def street(net_wh: dict[int, dict[str, int]], closed: int = 8) -> StreetView:
    return StreetView(closed, (POOL,), net_wh)


def test_a_pool_charges_what_is_committed_and_left_over() -> None:
    pool = replace(POOL, commitments={"home1": 400, "home2": 400, "home3": 100})
    seen = street({8: {"home1": -150, "home2": -900, "home3": 50, "home4": -1_000}})
    assert setpoint(pool, seen, 10) == Setpoint(550, 0)


def test_a_pool_uses_the_last_slot_that_closed_before_this_one_began() -> None:
    pool = replace(POOL, commitments={"home1": 400})
    seen = street({7: {"home1": -1}, 8: {"home1": -20}, 9: {"home1": -300}}, closed=9)
    assert setpoint(pool, seen, 10) == Setpoint(20, 0)
    assert setpoint(pool, seen, 11) == Setpoint(300, 0)


def test_a_pool_idles_on_a_stale_surplus() -> None:
    pool = replace(POOL, commitments={"home1": 400})
    assert setpoint(pool, street({5: {"home1": -300}}, closed=5), 10) == Setpoint(0, 0)
    assert setpoint(pool, street({}, closed=-1), 0) == Setpoint(0, 0)


def test_a_pool_gives_what_is_asked_for_within_power_and_content() -> None:
    asked = {"home1": 700, "home2": 300}
    assert setpoint(replace(POOL, requests=asked), street({}), 10) == Setpoint(0, 1_000)
    assert setpoint(replace(POOL, requests=asked, power_w=2_000), street({}), 10) == Setpoint(0, 500)
    assert setpoint(replace(POOL, requests=asked, stored_wh=200), street({}), 10) == Setpoint(0, 200)


def test_a_pool_charges_within_what_is_left_of_power_and_room() -> None:
    pool = replace(POOL, commitments={"home1": 5_000}, requests={"home2": 1_000})
    seen = street({8: {"home1": -5_000}})
    assert setpoint(pool, seen, 10) == Setpoint(250, 1_000)
    assert setpoint(replace(pool, requests={}, stored_wh=19_910), seen, 10) == Setpoint(100, 0)
