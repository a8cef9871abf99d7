"""The live market in the ledger: when a slot closes, what is settled, who pays what, and what a late reading gets."""

from __future__ import annotations

from ledger.base.intents import FLAG_GAP, SetLimits
from ledger.state.events import (
    Discrepancy,
    DueMade,
    DuePaid,
    Event,
    LateSettled,
    Payout,
    ReadingFlagged,
    SlotClosed,
)
from ledger.state.rules import balances
from ledger.state.rules.slots import next_boundary_ms
from ledger.state.tables import CASH, CLOCK, DUE, FEED, NO_KEY, TERMS
from matcher_c.settling import Pricing
from tests.ledger.streets import ORIGIN_MS, SLOT_MS, Ledger, street

ALL = ("home1", "home2", "home3", "school", "pool", "root")


class Meters:
    """Cumulative registers of every device of the street, reported together."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.registers: dict[str, tuple[int, int]] = {}

    def use(self, device: str, import_wh: int, export_wh: int) -> None:
        before = self.registers.get(device, (0, 0))
        self.registers[device] = (before[0] + import_wh, before[1] + export_wh)

    def report(self, slot: int, devices: tuple[str, ...] = ALL, flags: int = 0) -> None:
        for device in devices:
            stored = 0 if device == "pool" else None
            self.ledger.read(device, slot, *self.registers.get(device, (0, 0)), stored_wh=stored, flags=flags)


def begun(sharing: int = 10_000) -> tuple[Ledger, Meters]:
    ledger = Ledger(street(3, sharing=sharing))
    ledger.step(ORIGIN_MS + 1)
    return ledger, Meters(ledger)


def of(kind: type, events: tuple[Event, ...]) -> list:  # type: ignore[type-arg]
    return [event for event in events if isinstance(event, kind)]


def cash(ledger: Ledger, name: str) -> int:
    return balances.free(ledger.tip.state, ledger.context.genesis.accounts[name], CASH)


def test_a_slot_is_cleared_at_one_price_and_every_unit_is_paid() -> None:
    ledger, meters = begun(sharing=0)
    meters.use("home1", 0, 300)
    meters.use("home2", 1000, 0)
    meters.use("home3", 200, 150)
    meters.use("root", 750, 0)
    meters.report(0)
    tip = ledger.step(ledger.end_of(0) + 5)
    (closed,) = of(SlotClosed, tip.events)
    rows = {row.device: row for row in closed.devices}
    # 1,050 Wh wanted, 300 offered: the grid is at the margin, so home1 gets retail plus the feeder's fee back home
    assert rows["home1"].net == 300 * 30_500
    assert (rows["home2"].bought_local_wh + rows["home3"].bought_local_wh, closed.grid_sold_wh) == (300, 750)
    assert rows["home3"].own_wh == 150
    assert rows["home2"].net == -1000 * 30_500
    assert cash(ledger, "operator") == 750 * 500
    assert not of(Discrepancy, tip.events)


def test_the_gain_is_shared_and_the_event_says_so() -> None:
    ledger, meters = begun()
    meters.use("home1", 0, 300)
    meters.use("home2", 1000, 0)
    meters.use("home3", 200, 0)
    meters.use("root", 900, 0)
    meters.report(0)
    tip = ledger.step(ledger.end_of(0) + 5)
    (closed,) = of(SlotClosed, tip.events)
    rows = {row.device: row for row in closed.devices}
    # the plain price gives home1 0.305 and all the gain, 300 Wh x (0.305 - 0.075); half of it goes to the buyers by their energy
    gain = 300 * (30_500 - 7_500)
    assert (closed.gain_buyers, closed.gain_sellers, closed.rounds) == (0, gain, 1)
    assert (closed.sharing, closed.pricing) == (10_000, 0)
    assert [rows[name].shared for name in ALL[:4]] == [-gain // 2, gain * 10 // 24, gain * 2 // 24, 0]
    assert rows["home1"].net == 300 * (30_500 + 7_500) // 2
    assert rows["home2"].net == -1000 * 30_500 + gain * 10 // 24
    assert cash(ledger, "operator") == 900 * 500


def test_an_order_that_sharing_takes_past_its_limit_is_settled_with_the_grid() -> None:
    ledger, meters = begun()
    ledger.ask("home2", SetLimits(12_000, None))
    ledger.step(ORIGIN_MS + 200)
    meters.report(0)
    ledger.step(ledger.end_of(0) + 5)
    meters.use("home1", 0, 1000)
    meters.use("home2", 100, 0)
    meters.use("home3", 100, 0)
    meters.report(1)
    (closed,) = of(SlotClosed, ledger.step(ledger.end_of(1) + 5).events)
    rows = {row.device: row for row in closed.devices}
    assert closed.rounds == 2
    assert (rows["home2"].bought_local_wh, rows["home2"].bought_grid_wh, rows["home2"].net) == (0, 100, -100 * 30_500)
    assert rows["home3"].net == -100 * 19_000
    assert [order[0] for order in closed.orders] == ["home1", "home2", "home3", "", ""]
    assert closed.traded == (1000, 0, 100, 900, 0)


def test_a_street_of_one_bus_may_price_its_pairs_at_their_mean() -> None:
    genesis = street(3)
    genesis = genesis._replace(
        market=genesis.market._replace(sharing=0, pricing=Pricing.MIDPOINT),
        buses=genesis.buses[:1],
        homes=tuple(home._replace(bus="root") for home in genesis.homes),
        devices=tuple(device._replace(bus="root") for device in genesis.devices),
    )
    ledger = Ledger(genesis)
    ledger.step(ORIGIN_MS + 1)
    meters = Meters(ledger)
    meters.use("home1", 0, 1000)
    meters.use("home2", 101, 0)
    meters.use("home3", 99, 0)
    meters.report(0)
    (closed,) = of(SlotClosed, ledger.step(ledger.end_of(0) + 5).events)
    nets = {row.device: row.net for row in closed.devices}
    assert (nets["home1"], nets["home2"], nets["home3"]) == (200 * 19_000 + 800 * 8_000, -101 * 19_000, -99 * 19_000)
    assert cash(ledger, "operator") == 0


def test_a_slot_waits_for_its_readings_until_the_grace_is_over() -> None:
    ledger, meters = begun()
    meters.report(0, ("home1", "home2", "school", "pool"))
    tip = ledger.step(ledger.end_of(0) + 5)
    assert not of(SlotClosed, tip.events)
    ended = tip.header.time_ms
    assert not of(SlotClosed, ledger.step(ended + SLOT_MS - 1).events)
    (closed,) = of(SlotClosed, ledger.step(ended + SLOT_MS).events)
    assert {row.device: row.status for row in closed.devices}["home3"] == "missing"


def test_a_late_reading_is_settled_at_its_slots_outside_option_with_own_energy_netted() -> None:
    ledger, meters = begun()
    meters.report(0, ("home1", "home2", "school", "pool"))
    ledger.step(ledger.end_of(0) + 5)
    ledger.step(ledger.end_of(0) + 5 + SLOT_MS)
    before = cash(ledger, "home3")
    meters.use("home3", 500, 100)
    meters.report(0, ("home3",))
    tip = ledger.step(ledger.end_of(1) + 400)
    (late,) = of(LateSettled, tip.events)
    assert (late.own_wh, late.net) == (100, -400 * (30_000 + 500))
    assert cash(ledger, "home3") - before == late.net


def test_a_reading_that_spans_slots_is_one_lump_and_nothing_is_netted() -> None:
    ledger, meters = begun()
    for slot in (0, 1):
        meters.report(slot, ("home1", "home2", "school", "pool"))
        ledger.step(ledger.end_of(slot) + 5)
        ledger.step(ledger.end_of(slot) + 5 + SLOT_MS)
    meters.use("home3", 900, 400)
    meters.report(2, ("home3",), flags=FLAG_GAP)
    meters.report(2, ("home1", "home2", "school", "pool"))
    tip = ledger.step(ledger.end_of(2) + 5)
    (late,) = of(LateSettled, tip.events)
    assert (late.span_from, late.slot, late.own_wh) == (0, 2, 0)
    assert late.net == 400 * (8_000 - 500) - 900 * (30_000 + 500)
    (closed,) = of(SlotClosed, tip.events)
    assert {row.device: row.status for row in closed.devices}["home3"] == "missing"


def test_after_an_outage_of_the_street_slots_close_oldest_first_with_the_terms_that_stood_then() -> None:
    ledger, meters = begun()
    ledger.ask("home2", SetLimits(10_000, None))
    ledger.step(ORIGIN_MS + 200)
    for slot in range(4):
        meters.use("home1", 0, 100)
        meters.use("home2", 100, 0)
        meters.report(slot)
    tip = ledger.step(ledger.end_of(3) + 5)  # the first block since: no quorum for four slots
    closed = of(SlotClosed, tip.events)
    assert [event.slot for event in closed] == [0, 1, 2, 3]
    # in slot 0 the default stood; from slot 1 on home2 buys below 0.10 only, which is less than half of the gain leaves it
    buys = [next(row for row in event.devices if row.device == "home2").bought_local_wh for event in closed]
    assert buys == [100, 0, 0, 0]
    limits = [next(order[3] for order in event.orders if order[0] == "home2") for event in closed]
    assert limits == [30_500, 10_000, 10_000, 10_000]


def test_terms_are_stored_from_the_state_before_the_block_that_opens_the_slot() -> None:
    ledger, _ = begun()
    ledger.ask("home1", SetLimits(12_345, None))
    ledger.step(ORIGIN_MS + SLOT_MS)
    assert ledger.tip.state.need(TERMS, (1,)).limits == ()
    ledger.step(ORIGIN_MS + 2 * SLOT_MS)
    assert [row[1] for row in ledger.tip.state.need(TERMS, (2,)).limits] == [12_345]


def test_a_reading_far_ahead_of_block_time_waits() -> None:
    ledger, meters = begun()
    meters.report(3, ("home1",))
    ledger.step(ORIGIN_MS + SLOT_MS)
    assert ledger.waiting == 1
    ledger.step(ledger.end_of(3) - 4 * 500)
    assert ledger.waiting == 0


def test_registers_that_fall_or_jump_are_flagged_and_wait_for_agreement() -> None:
    ledger, meters = begun()
    meters.use("home1", 1000, 0)
    meters.report(0)
    ledger.step(ledger.end_of(0) + 5)
    before = cash(ledger, "home1")
    ledger.read("home1", 1, 400, 0)  # ran backwards
    meters.report(1, ("home2", "home3", "school", "pool"))
    tip = ledger.step(ledger.end_of(1) + 5)
    (flagged,) = of(ReadingFlagged, tip.events)
    assert "backwards from 1000 to 400" in flagged.why
    assert cash(ledger, "home1") == before
    ledger.read("home1", 2, 99_000_000, 0)  # jumped
    meters.report(2, ("home2", "home3", "school", "pool"))
    tip = ledger.step(ledger.end_of(2) + 5)
    assert "jumped" in of(ReadingFlagged, tip.events)[0].why
    assert cash(ledger, "home1") == before
    ledger.read("home1", 3, 1600, 0)  # agrees with the last that was trusted: a lump over slots 1 to 3
    meters.report(3, ("home2", "home3", "school", "pool"))
    tip = ledger.step(ledger.end_of(3) + 5)
    (late,) = of(LateSettled, tip.events)
    assert (late.span_from, late.import_wh) == (1, 600)


def test_a_new_register_epoch_settles_nothing_across_it() -> None:
    ledger, meters = begun()
    meters.use("home1", 1000, 0)
    meters.report(0)
    ledger.step(ledger.end_of(0) + 5)
    ledger.read("home1", 1, 7, 0, epoch=1)
    meters.report(1, ("home2", "home3", "school", "pool"))
    assert of(ReadingFlagged, ledger.step(ledger.end_of(1) + 5).events)
    before = cash(ledger, "home1")
    ledger.read("home1", 2, 107, 0, epoch=1)
    meters.report(2, ("home2", "home3", "school", "pool"))
    ledger.step(ledger.end_of(2) + 5)
    assert before - cash(ledger, "home1") == 100 * 30_500


def test_what_a_home_cannot_pay_becomes_dues_and_is_paid_from_its_next_income() -> None:
    ledger = Ledger(street(3, cash=10_000_000))
    ledger.step(ORIGIN_MS + 1)
    meters = Meters(ledger)
    meters.use("home2", 1000, 0)
    meters.report(0)
    tip = ledger.step(ledger.end_of(0) + 5)
    owed = sum(due.amount for due in of(DueMade, tip.events))
    assert owed == 1000 * 30_500 - 10_000_000
    assert cash(ledger, "home2") == 0
    meters.use("home2", 0, 800)
    meters.report(1)
    tip = ledger.step(ledger.end_of(1) + 5)
    paid = sum(due.amount for due in of(DuePaid, tip.events))
    (closed,) = of(SlotClosed, tip.events)
    # in arrears its energy goes at the outside option: 800 Wh at feed-in less the path's fee
    assert paid == 800 * 7_500
    assert not [order for order in closed.orders if order[0] == "home2"]
    assert sum(due.amount for _, due in tip.state.scan(DUE)) == owed - paid


def test_a_generators_income_goes_to_its_owners_in_the_same_block_and_the_remainder_is_carried() -> None:
    ledger, meters = begun(sharing=0)
    meters.use("school", 0, 777)
    meters.use("home1", 500, 0)
    meters.report(0)
    before = {name: cash(ledger, name) for name in ("home1", "home2", "home3")}
    tip = ledger.step(ledger.end_of(0) + 5)
    (payout,) = of(Payout, tip.events)
    (closed,) = of(SlotClosed, tip.events)
    rows = {row.device: row for row in closed.devices}
    earned = rows["school"].net
    assert earned == 777 * 7_500
    assert payout.total + payout.carried == earned
    assert payout.carried == earned % 10_000
    shares = {"home1": 3334, "home2": 3333, "home3": 3333}
    for name, held in shares.items():
        assert cash(ledger, name) - before[name] - rows[name].net == earned // 10_000 * held


def test_a_check_meter_that_disagrees_is_reported() -> None:
    ledger, meters = begun()
    meters.use("home1", 1000, 0)
    meters.use("root", 600, 0)
    meters.report(0)
    (found,) = of(Discrepancy, ledger.step(ledger.end_of(0) + 5).events)
    assert found.residual_wh == -400


def test_after_the_last_slot_there_is_nothing_left_to_do() -> None:
    ledger = Ledger(street(2, slot_count=2))
    ledger.step(ORIGIN_MS + 1)
    assert next_boundary_ms(ledger.tip.state) == ORIGIN_MS + SLOT_MS
    ledger.step(ledger.end_of(0) + 1)
    ledger.step(ledger.end_of(1) + 1)
    assert (
        next_boundary_ms(ledger.tip.state) == ledger.end_of(1) + 1 + SLOT_MS
    )  # slot 0's grace is over, slot 1's is not
    ledger.step(ledger.end_of(1) + 1 + SLOT_MS)
    assert ledger.tip.state.need(CLOCK, NO_KEY).next_close_slot == 2
    assert next_boundary_ms(ledger.tip.state) is None
    assert ledger.tip.state.need(FEED, ("home1",)).seq == 0
