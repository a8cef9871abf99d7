"""Figures and checks of a run, on small ledgers made by hand: they say what happened, and they notice what did not add up."""

from dataclasses import replace
from typing import Any

import pytest

from energo_demo import audit
from ledger.base.genesis import Genesis, Role
from ledger.base.intents import FLAG_GAP, Commit, PlaceOrder, Redeem, SetLimits, Transfer
from ledger.base.units import MONEY_UNIT, format_money, parse_money
from ledger.state.events import Payout, PoolState, SlotClosed
from ledger.state.rules import balances
from ledger.state.tables import CASH
from matcher_c import reference
from tests.ledger.streets import SLOT_MS, Ledger, street

SLOTS = 4
BUY, SELL = 0, 1


class Day:
    """Four slots of three homes: home1 gives, home2 takes, home3 takes and stores; registers grow by what a slot brings."""

    def __init__(self, *, root_error_wh: int = 0, late: bool = False, island: tuple[int, int] | None = None) -> None:
        self.ledger = Ledger(street(3, slot_count=SLOTS, island=island))
        self.registers: dict[str, list[int]] = {}
        ledger = self.ledger
        ledger.ask("home1", Commit("pool", 300))
        ledger.step(ledger.end_of(-1) - 500)
        ledger.step(ledger.end_of(-1))
        self.slot(0, home1=-1_000, home2=400, home3=200, school=-100, pool=300)
        ledger.ask("home1", PlaceOrder("WATT:pool", SELL, 20_000, 200))
        ledger.step(ledger.end_of(0) + 500)
        ledger.ask("home3", PlaceOrder("WATT:pool", BUY, 22_000, 150))
        ledger.step(ledger.end_of(0) + 600)
        ledger.ask("home3", Redeem("pool", 100))
        ledger.ask("home1", Transfer(ledger.context.genesis.accounts["home2"], CASH, 3 * MONEY_UNIT))
        ledger.step(ledger.end_of(0) + 700)
        self.slot(1, home1=-500, home2=100, home3=300, school=-50, pool=0)
        self.slot(2, skip="home2" if late else "", home1=100, home2=100, home3=300, school=0, pool=-100)
        if late:
            ledger.step(ledger.end_of(2) + SLOT_MS)
        self.slot(3, span=late, home1=100, home2=100, home3=300, school=0, pool=0, root_error_wh=root_error_wh)
        ledger.step(ledger.end_of(3) + 2 * SLOT_MS)
        self.genesis: Genesis = ledger.context.genesis
        self.blocks = [(b.block.transactions, b.events) for b in ledger.blocks if b.block]
        self.history = audit.gather(self.genesis, self.blocks)
        self.state = ledger.tip.state

    def slot(self, slot: int, *, skip: str = "", span: bool = False, root_error_wh: int = 0, **net_wh: int) -> None:
        """Every meter's reading of a slot, but for `skip`'s; a span is what home2 says after it skipped one."""
        ledger, root = self.ledger, sum(net_wh.values()) + root_error_wh
        stored = self.registers.get("stored", [0])[0] + (
            net_wh["pool"] * 9 // 10 if net_wh["pool"] > 0 else net_wh["pool"]
        )
        self.registers["stored"] = [stored]
        for device, net in {**net_wh, "root": root}.items():
            register = self.registers.setdefault(device, [0, 0])
            register[0] += max(net, 0)
            register[1] += max(-net, 0)
            if device != skip:
                flags = FLAG_GAP if span and device == "home2" else 0
                ledger.read(
                    device, slot, register[0], register[1], stored_wh=stored if device == "pool" else None, flags=flags
                )
        ledger.step(ledger.end_of(slot) + 100)

    def figures(self) -> dict[str, Any]:
        return audit.figures(self.history, self.state)

    def home(self, name: str) -> dict[str, Any]:
        return next(home for home in self.figures()["homes"] if home["name"] == name)


@pytest.fixture(scope="module")
def day() -> Day:
    return Day()


@pytest.fixture(scope="module")
def late_day() -> Day:
    return Day(late=True)


@pytest.fixture(scope="module")
def island_day() -> Day:
    return Day(island=(45_000, 4_000), late=True)


def problems(day: Day) -> list[str]:
    return [
        *audit.not_conserved(day.genesis, day.history, day.state),
        *audit.energy_unbalanced(day.history),
        *audit.unevenly_paid(day.history, day.state),
        *audit.pool_unbacked(day.history),
    ]


def test_an_honest_day_has_no_problems(day: Day, late_day: Day, island_day: Day) -> None:
    assert problems(day) == []
    assert problems(late_day) == []
    assert problems(island_day) == []


def test_energy_of_a_home_adds_up(day: Day) -> None:
    giver, storer = day.home("home1"), day.home("home3")
    assert giver["deposited_wh"] == 300
    assert giver["sold_local_wh"] + giver["sold_grid_wh"] == 1_500 - 300
    assert giver["bought_local_wh"] + giver["bought_grid_wh"] == 200
    assert giver["used_wh"] == 200 - 1_500, "no plant's meter is behind this home: it reads as a use below zero"
    assert storer["redeemed_wh"] == 100
    assert storer["used_wh"] == 1_100
    assert storer["watt_wh"] == 150 - 100
    assert giver["watt_wh"] == 270 - 150


def test_totals_are_sums(day: Day) -> None:
    figures = day.figures()
    homes, totals = figures["homes"], figures["totals"]
    assert totals["slots"] == SLOTS
    assert totals["local_wh"] == sum(home["bought_local_wh"] for home in homes)
    used = sum(home["used_wh"] for home in homes)
    grid = sum(home["bought_grid_wh"] for home in homes)
    assert totals["self_sufficiency"] == f"{(used - grid) * 10_000 // used / 10_000:.4f}"
    saved = sum(parse_money(home["cost_grid_only"]) - parse_money(home["cost"]) for home in homes)
    assert totals["saved"] == format_money(saved)
    operator = balances.balance(day.state, day.genesis.accounts["operator"], CASH)
    assert totals["grid_fees"] == format_money(operator.free)


def test_what_the_homes_save_is_what_others_lost(day: Day) -> None:
    """CASH is only moved: what it cost the homes is what grid, operator, treasury, pool and generators have more."""
    cost = sum(parse_money(home["cost"]) for home in day.figures()["homes"])
    gained = 0
    for name, account in day.genesis.accounts.items():
        if not name.startswith("home"):
            held = balances.balance(day.state, account, CASH)
            gained += held.free + held.escrowed
    gained -= day.genesis.market.grid_cash + sum(pool.cash for pool in day.genesis.pools)
    assert cost == gained


def test_a_plain_transfer_is_no_cost(day: Day) -> None:
    assert day.history.sent[day.genesis.accounts["home1"]] == 3 * MONEY_UNIT
    without = parse_money(day.home("home2")["cost"])
    held = balances.balance(day.state, day.genesis.accounts["home2"], CASH)
    assert without == 100 * MONEY_UNIT + 3 * MONEY_UNIT - held.free


def test_cost_with_the_grid_alone_counts_paths_and_shares(day: Day) -> None:
    """home2 took 700 Wh behind a line of 0.005 (its fee), and owns a third of the school's 150 Wh."""
    shares = next(n for home, n in day.genesis.generators[0].shares if home == "home2")
    expected = 700 * (30_000 + 500) - 150 * (8_000 - 500) * shares // 10_000
    assert day.home("home2")["cost_grid_only"] == format_money(expected)


def test_without_a_grid_the_comparison_is_with_balancing_alone(island_day: Day) -> None:
    shares = next(n for home, n in island_day.genesis.generators[0].shares if home == "home2")
    expected = 700 * (45_000 + 500) - 150 * (4_000 - 500) * shares // 10_000
    assert island_day.home("home2")["cost_grid_only"] == format_money(expected)
    figures = island_day.figures()
    assert parse_money(figures["totals"]["saved"]) > 0
    bought = sum(home["bought_local_wh"] for home in figures["homes"])
    sold = sum(each["sold_local_wh"] for each in [*figures["homes"], *figures["generators"], *figures["pools"]])
    assert bought + sum(pool["bought_local_wh"] for pool in figures["pools"]) == sold > 0, "what clears is all local"


def test_what_was_shared_is_the_sum_of_its_slots(day: Day) -> None:
    """In slot 0 home1's and the school's energy meets a small demand: buyers gain all, and give half of it away."""
    rows = [row for slot in day.history.slots for row in slot.devices]
    for home in day.figures()["homes"]:
        assert parse_money(home["gain_shared"]) == sum(row.shared for row in rows if row.device == home["name"])
    assert parse_money(day.home("home2")["gain_shared"]) < 0 < parse_money(day.home("home1")["gain_shared"])
    assert sum(row.shared for row in rows) == 0


def test_every_slot_can_be_settled_again_from_its_event(day: Day, island_day: Day) -> None:
    assert audit.not_repeatable(day.history, reference.clear_arrays) == []
    assert audit.not_repeatable(island_day.history, reference.clear_arrays) == []
    first = day.history.slots[0]
    bent = [row._replace(shared=row.shared + 1) if row.device == "home2" else row for row in first.devices]
    for slot, what in (
        (first._replace(devices=tuple(bent)), "shared"),
        (first._replace(traded=(*first.traded[:-1], first.traded[-1] + 1)), "traded"),
        (first._replace(sharing=5_000), "shared"),
    ):
        found = audit.not_repeatable(replace(day.history, slots=[slot]), reference.clear_arrays)
        assert [problem.startswith(f"slot 0: {what}") for problem in found] == [True]


def test_generators_and_exchange(day: Day) -> None:
    figures = day.figures()
    school = figures["generators"][0]
    assert school["made_wh"] == 150
    paid = sum(parse_money(amount) for amount in school["paid"].values())
    assert parse_money(school["earned"]) == paid + parse_money(school["carried"]) > 0
    assert figures["exchange"] == {"trades": 1, "watt_wh": 150, "volume": format_money(150 * 20_000)}
    pool = figures["pools"][0]
    assert (pool["minted_wh"], pool["burned_wh"], pool["supply_wh"], pool["stored_wh"]) == (270, 100, 170, 170)


def test_a_late_span_is_settled_with_the_grid(late_day: Day) -> None:
    home = late_day.home("home2")
    assert home["missing_slots"] == 2, "the slot that was missed, and the one whose reading spans"
    assert home["used_wh"] == 700
    assert home["bought_grid_wh"] >= 200
    assert [(event.span_from, event.slot, event.import_wh) for event in late_day.history.late] == [(2, 3, 200)]


def test_a_root_meter_that_disagrees_is_found() -> None:
    found = audit.energy_unbalanced(Day(root_error_wh=50).history)
    assert found == ["slot 3: the root's meter says 550 Wh, the meters behind it 500 Wh"]
    assert audit.energy_unbalanced(Day(root_error_wh=6).history) == [], "within one Wh a device"


def test_a_meter_that_never_reported_the_end_is_found(day: Day) -> None:
    readings = day.history.readings | {"root": day.history.readings["root"][:-1]}
    found = audit.energy_unbalanced(replace(day.history, readings=readings))
    assert found == ["slot 3: not every meter has reported it, the last that all did is 2"]


def test_energy_that_was_settled_twice_is_found(day: Day) -> None:
    history = audit.gather(day.genesis, [*day.blocks, ((), [e for e in day.history.slots if e.slot == 1])])
    assert "home2: 800/0 Wh in/out are settled, the registers say 700/0" in audit.energy_unbalanced(history)


def test_a_payout_that_lost_a_unit_is_found(day: Day) -> None:
    cut = [event._replace(total=event.total - 1) for event in day.history.payouts[:1]] + day.history.payouts[1:]
    found = audit.unevenly_paid(replace(day.history, payouts=cut), day.state)
    assert any("earned" in problem for problem in found)
    assert any("does not add up" in problem for problem in found)


def test_watt_that_is_not_stored_is_found(day: Day) -> None:
    history = replace(day.history, pool_states=[PoolState("pool", 3, 10, 11)])
    assert audit.pool_unbacked(history) == ["pool, slot 3: 11 Wh of WATT, 10 Wh stored"]


def test_a_supply_that_events_do_not_explain_is_found(day: Day) -> None:
    history = replace(day.history, minted=[])
    found = audit.not_conserved(day.genesis, history, day.state)
    assert found == ["WATT:pool: the supply is 170, it should be -100"]
    layer = day.state.fork()
    balances.credit(layer, day.genesis.accounts["home1"], CASH, 1)
    assert "balances add up to" in audit.not_conserved(day.genesis, day.history, layer)[0]


def test_a_street_without_a_root_meter_has_its_registers_only(day: Day) -> None:
    without = replace(
        day.history,
        genesis=day.genesis._replace(devices=tuple(d for d in day.genesis.devices if d.role != Role.FEEDER)),
    )
    assert audit.energy_unbalanced(without) == []


def test_limits_are_transactions_without_figures() -> None:
    ledger = Ledger(street(2, slot_count=1))
    ledger.ask("home1", SetLimits(20_000, None))
    ledger.step(ledger.end_of(-1))
    history = audit.gather(ledger.context.genesis, [(b.block.transactions, b.events) for b in ledger.blocks if b.block])
    assert not [event for event in history.slots + history.payouts if isinstance(event, SlotClosed | Payout)]
    assert history.sent == {}
