"""A street without a public grid: nothing is traded with one, and `balancing` has what does not clear.

Who pays what is worked out here from the meters, the limits and the trades alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.base.genesis import NO_CAPACITY, Bus, Genesis
from ledger.base.intents import BUY, FLAG_GAP, SELL, SetLimits
from ledger.node import views
from ledger.state.events import DueMade, DuePaid, LateSettled, SlotClosed
from ledger.state.rules import balances
from ledger.state.tables import CASH, DUE, TARIFF
from matcher_c.settling import Pricing
from tests.ledger.state.test_settlement import Meters, cash, of
from tests.ledger.streets import ORIGIN_MS, SLOT_MS, Ledger, street

COSTS, BRINGS, FEE = 45_000, 4_000, 500
HOMES = ("home1", "home2", "home3")


def island(costs: int = COSTS, brings: int = BRINGS, *, cash: int = 100 * 10**8, sharing: int = 10_000) -> Genesis:
    return street(3, cash=cash, sharing=sharing, fee=FEE, island=(costs, brings))


def begun(genesis: Genesis) -> tuple[Ledger, Meters]:
    ledger = Ledger(genesis)
    ledger.step(ORIGIN_MS + 1)
    return ledger, Meters(ledger)


def settled(ledger: Ledger, meters: Meters, slot: int = 0) -> SlotClosed:
    meters.report(slot)
    (closed,) = of(SlotClosed, ledger.step(ledger.end_of(slot) + 5).events)
    assert isinstance(closed, SlotClosed)
    return closed


def test_an_island_has_no_grid_and_its_balancing_begins_with_cash() -> None:
    ledger, _ = begun(island())
    assert "grid" not in ledger.context.genesis.accounts
    assert cash(ledger, "balancing") == 1_000 * 10**8
    assert "balancing" not in street(3).accounts


def test_what_clears_is_shared_and_what_does_not_is_balanced() -> None:
    ledger, meters = begun(island())
    meters.use("home1", 0, 300)
    meters.use("home2", 1000, 0)
    meters.use("home3", 200, 0)
    meters.use("root", 900, 0)
    closed = settled(ledger, meters)
    rows = {row.device: row for row in closed.devices}
    assert [order[0] for order in closed.orders] == list(HOMES), "no grid has an order"
    # 300 Wh find a buyer (by lot, the limits tie), at the mean of 0.455 and 0.035; nothing of them passes the feeder's line
    assert sum(closed.traded) == 600
    assert closed.flows[:2] == (0, 0)
    price = (COSTS + FEE + BRINGS - FEE) // 2
    assert rows["home1"].net == 300 * price
    for name in ("home2", "home3"):
        row = rows[name]
        assert row.net == -row.bought_local_wh * price - row.bought_grid_wh * (COSTS + FEE)
    assert (closed.islanded, closed.grid_sold_wh, closed.grid_bought_wh) == (True, 900, 0)
    assert cash(ledger, "balancing") - 1_000 * 10**8 == 900 * COSTS
    assert (cash(ledger, "operator"), closed.fees) == (900 * FEE, 900 * FEE)


def test_energy_that_nobody_needs_is_sold_to_balancing() -> None:
    ledger, meters = begun(island())
    meters.use("school", 0, 700)
    closed = settled(ledger, meters)
    (school,) = (row for row in closed.devices if row.device == "school")
    assert (school.sold_local_wh, school.sold_grid_wh, school.net) == (0, 700, 700 * (BRINGS - FEE))
    assert closed.traded == (0,)
    assert cash(ledger, "balancing") - 1_000 * 10**8 == -700 * BRINGS
    assert cash(ledger, "operator") == 700 * FEE


def test_a_slot_in_which_nobody_has_an_order_closes() -> None:
    ledger, meters = begun(island())
    closed = settled(ledger, meters)
    assert (closed.orders, closed.traded, closed.rounds, closed.fees) == ((), (), 1, 0)


def test_an_order_that_sharing_drops_is_balanced() -> None:
    ledger, meters = begun(island())
    ledger.ask("home2", SetLimits(12_000, None))
    ledger.step(ORIGIN_MS + 200)
    settled(ledger, meters)
    meters.use("home1", 0, 1000)
    meters.use("home2", 100, 0)
    meters.use("home3", 100, 0)
    closed = settled(ledger, meters, 1)
    rows = {row.device: row for row in closed.devices}
    assert closed.rounds == 2
    assert (rows["home2"].bought_local_wh, rows["home2"].bought_grid_wh) == (0, 100)
    assert rows["home2"].net == -100 * (COSTS + FEE)
    assert (rows["home1"].sold_local_wh, rows["home1"].sold_grid_wh) == (100, 900)


def test_other_pricings_work_without_a_grid_too() -> None:
    genesis = island(sharing=0)
    genesis = genesis._replace(
        market=genesis.market._replace(pricing=Pricing.MIDPOINT),
        buses=genesis.buses[:1],
        homes=tuple(home._replace(bus="root") for home in genesis.homes),
        devices=tuple(device._replace(bus="root") for device in genesis.devices),
    )
    ledger, meters = begun(genesis)
    meters.use("home1", 0, 1000)
    meters.use("home2", 100, 0)
    nets = {row.device: row.net for row in settled(ledger, meters).devices}
    assert nets["home1"] == 100 * (COSTS + BRINGS) // 2 + 900 * BRINGS
    assert nets["home2"] == -100 * (COSTS + BRINGS) // 2
    assert cash(ledger, "operator") == 0


def test_a_late_reading_and_one_that_spans_are_balanced() -> None:
    ledger, meters = begun(island())
    others = ("home1", "home2", "school", "pool")
    for slot in (0, 1):
        meters.report(slot, others)
        ledger.step(ledger.end_of(slot) + 5)
        ledger.step(ledger.end_of(slot) + 5 + SLOT_MS)
    assert ledger.tip.state.need(TARIFF, (0,)) == (COSTS, BRINGS)
    before = {name: cash(ledger, name) for name in ("home3", "balancing", "operator")}
    meters.use("home3", 500, 100)
    meters.report(0, ("home3",))
    (late,) = of(LateSettled, ledger.step(ledger.end_of(1) + 5 + SLOT_MS + 100).events)
    assert (late.own_wh, late.net) == (100, -400 * (COSTS + FEE))
    meters.use("home3", 900, 400)
    meters.report(2, ("home3",), flags=FLAG_GAP)
    meters.report(2, others)
    (span,) = of(LateSettled, ledger.step(ledger.end_of(2) + 5).events)
    assert (span.span_from, span.own_wh, span.net) == (1, 0, 400 * (BRINGS - FEE) - 900 * (COSTS + FEE))
    gained = {name: cash(ledger, name) - amount for name, amount in before.items()}
    assert gained == {
        "home3": late.net + span.net,
        "balancing": 1300 * COSTS - 400 * BRINGS,
        "operator": 1700 * FEE,
    }


def test_what_a_home_cannot_pay_is_owed_to_balancing() -> None:
    ledger, meters = begun(island(cash=10_000_000))
    meters.use("home2", 1000, 0)
    meters.report(0)
    made = of(DueMade, ledger.step(ledger.end_of(0) + 5).events)
    assert sum(due.amount for due in made) == 1000 * (COSTS + FEE) - 10_000_000
    assert {due.creditor for due in made} == {ledger.context.genesis.accounts[n] for n in ("balancing", "operator")}
    meters.use("home2", 0, 800)
    meters.report(1)
    tip = ledger.step(ledger.end_of(1) + 5)
    assert sum(due.amount for due in of(DuePaid, tip.events)) == 800 * (BRINGS - FEE)


def test_balancing_that_has_no_more_cash_owes_what_it_bought() -> None:
    genesis = island()
    ledger, meters = begun(genesis._replace(market=genesis.market._replace(grid_cash=1_000)))
    meters.use("home1", 0, 1000)
    meters.report(0)
    made = of(DueMade, ledger.step(ledger.end_of(0) + 5).events)
    assert {due.debtor for due in made} == {genesis.accounts["balancing"]}
    assert sum(due.amount for due in made) == 1000 * BRINGS - 1_000


def test_the_record_of_a_slot_says_whose_energy_it_was() -> None:
    for genesis, name in ((island(), "balancing"), (street(3), "grid")):
        ledger, meters = begun(genesis)
        meters.use("home2", 1000, 0)
        meters.use("home1", 0, 300)
        shown = views.slot(settled(ledger, meters), views.Names(genesis), 1)
        assert (shown["counterparty"], shown["from_grid_wh"], shown["local_wh"]) == (name, 700, 300)


@dataclass(frozen=True)
class Case:
    """What the meters of an islanded street count in a slot, and what its homes said before."""

    costs: int
    brings: int
    sharing: int
    capacity_wh: int
    energy: dict[str, tuple[int, int]]
    limits: dict[str, tuple[int | None, int | None]]


@st.composite
def cases(draw: st.DrawFn) -> Case:
    brings = draw(st.integers(-2_000, 20_000))
    costs = brings + draw(st.sampled_from([0, 1, 7_777, 41_000]))
    limit = st.none() | st.integers(-3_000, 60_000)
    energy = st.integers(0, 1_000)
    return Case(
        costs,
        brings,
        draw(st.sampled_from([0, 3_333, 10_000])),
        draw(st.sampled_from([NO_CAPACITY, 0, 150])),
        {name: (0 if name == "school" else draw(energy), draw(energy)) for name in (*HOMES, "school")},
        {name: (draw(limit), draw(limit)) for name in HOMES},
    )


@given(cases())
@settings(max_examples=60, deadline=None)
def test_money_balances_and_nobody_passes_its_limit_or_does_worse_than_alone(case: Case) -> None:
    genesis = island(case.costs, case.brings, sharing=case.sharing)
    root, feeder, *homes = genesis.buses
    homes[2] = Bus("home3", "root", 300, NO_CAPACITY, NO_CAPACITY)
    feeder = feeder._replace(capacity_up_wh=case.capacity_wh, capacity_down_wh=case.capacity_wh)
    fees = {"home1": FEE, "home2": FEE, "home3": 300, "school": FEE}
    ledger, meters = begun(genesis._replace(buses=(root, feeder, *homes)))
    for name, (buy_below, sell_above) in case.limits.items():
        ledger.ask(name, SetLimits(buy_below, sell_above))
    ledger.step(ORIGIN_MS + 200)
    settled(ledger, meters)
    before = {name: cash(ledger, name) for name in (*genesis.accounts,)}
    for name, energy in case.energy.items():
        meters.use(name, *energy)
    closed = settled(ledger, meters, 1)

    traded = {name: energy for (name, *_), energy in zip(closed.orders, closed.traded, strict=True)}
    assert sum(e if o[2] == SELL else -e for o, e in zip(closed.orders, closed.traded, strict=True)) == 0
    balanced = local_money = 0
    for row in closed.devices:
        if row.device == "pool":
            continue
        imported, exported = case.energy[row.device]
        own = min(imported, exported)
        side = BUY if imported > exported else SELL
        net_wh, trades = abs(imported - exported), traded.get(row.device, 0)
        # an island has no energy of a grid: what is not a neighbor's is what did not clear
        grid_wh, local_wh = (net_wh - trades, trades)
        if side == BUY:
            assert (row.bought_grid_wh, row.bought_local_wh, row.own_wh) == (grid_wh, local_wh, own)
        else:
            assert (row.sold_grid_wh, row.sold_local_wh, row.own_wh) == (grid_wh, local_wh, own)
        fee = fees[row.device]
        outside = -(case.costs + fee) if side == BUY else case.brings - fee  # what a Wh brings that does not clear
        assert row.net >= net_wh * outside, "nobody does worse than with balancing alone"
        for_trades = row.net - grid_wh * outside
        limit = case.limits.get(row.device, (None, None))[side]
        if limit is not None:
            assert for_trades >= trades * (-limit if side == BUY else limit), "nobody passes its limit"
        balanced += grid_wh * (case.costs if side == BUY else -case.brings)
        local_money += for_trades
    flowing = sum(abs(flow) * edge[1] for flow, edge in zip(closed.flows, closed.network, strict=True))
    assert -local_money >= flowing, "the operator has at least the fees of the lines that were used"
    gained = {name: cash(ledger, name) - amount for name, amount in before.items()}
    assert sum(gained.values()) == 0
    if not list(ledger.tip.state.scan(DUE)):
        assert gained["balancing"] == balanced
        assert gained["operator"] == closed.fees
    assert balances.conservation_breach(ledger.tip.state) is None


@pytest.mark.parametrize("brings", [BRINGS, -1_000])
def test_prices_are_the_slots_own(brings: int) -> None:
    ledger, meters = begun(island(COSTS, brings))
    closed = settled(ledger, meters)
    assert (closed.retail, closed.feed_in) == (COSTS, brings)
    supply = sum(balances.balance(ledger.tip.state, a, CASH).free for a in ledger.context.genesis.accounts.values())
    assert supply == 1_000 * 10**8 + 3 * 100 * 10**8 + 50 * 10**8
