"""The physics: nothing is lost, nothing exceeds what a device can do, and the same street lives the same day."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from energo_demo import street, world
from energo_demo.devices import (
    EFFICIENCY_UNIT,
    MODE_IDLE,
    Battery,
    Car,
    Home,
    Meter,
    Pool,
    Setpoint,
    Store,
    World,
)

ENERGY = st.integers(0, 30_000)


def battery(capacity_wh: int = 5_000, power_w: int = 2_500) -> Battery:
    store = Store(capacity_wh, power_w, 9_000)
    return Battery(Meter("battery"), store, charge_w_max=power_w, discharge_w_max=power_w)


@given(st.lists(st.tuples(ENERGY, ENERGY), max_size=60), st.integers(1, EFFICIENCY_UNIT))
@settings(max_examples=60, deadline=None)
def test_a_store_never_holds_more_than_it_has_room_for_or_gives_what_it_has_not(
    moves: list[tuple[int, int]], efficiency: int
) -> None:
    store = Store(5_000, 2_500, efficiency)
    taken = given_back = 0
    for charge, discharge in moves:
        taken += store.charge(charge)
        given_back += store.discharge(discharge)
        assert 0 <= store.content <= 5_000 * 4 * EFFICIENCY_UNIT
        assert store.content == taken * efficiency - given_back * EFFICIENCY_UNIT
        assert store.stored_wh <= 5_000


@given(st.lists(st.tuples(ENERGY, ENERGY), min_size=1, max_size=60))
@settings(max_examples=60, deadline=None)
def test_a_home_balances_in_every_slot(slots: list[tuple[int, int]]) -> None:
    load, pv = tuple(use for use, _ in slots), tuple(made for _, made in slots)
    home = Home(Meter("home"), load, pv, Meter("pv"), battery())
    for slot in range(len(slots)):
        home.follow(slot)
        assert home.battery
        behind = home.battery.meter.import_qwh - home.battery.meter.export_qwh
        net = home.connection.import_qwh - home.connection.export_qwh
        assert net == sum(load[: slot + 1]) - sum(pv[: slot + 1]) + behind
        assert abs(home.battery.meter.power_w) <= 2_500


def test_a_battery_charges_from_surplus_only_and_keeps_the_losses() -> None:
    home = Home(Meter("home"), (0, 0, 400, 4_000), (4_000, 400, 0, 0), Meter("pv"), battery())
    shown = []
    for slot in range(4):
        home.follow(slot)
        assert home.battery
        shown.append((home.connection.power_w, home.battery.meter.power_w, home.battery.store.content // 10_000))
    assert shown == [(-1_500, 2_500, 2_250), (0, 400, 2_610), (0, -400, 2_210), (1_790, -2_210, 0)]


def test_an_idle_battery_leaves_everything_to_the_connection() -> None:
    home = Home(Meter("home"), (100,), (300,), Meter("pv"), battery())
    assert home.battery
    home.battery.mode = MODE_IDLE
    assert home.follow(0) == -200


def test_a_car_pays_its_debt_while_plugged_in_and_carries_the_rest() -> None:
    slots = ((True, 10_000), (True, 0), (False, 0), (True, 0), (True, 0))
    car = Car(Meter("car"), slots, 3_700, charge_w_max=3_700)
    assert [car.follow(slot) for slot in range(5)] == [3_700, 3_700, 0, 2_600, 0]
    assert car.due_qwh == 0
    slow = Car(Meter("car"), slots, 3_700, charge_w_max=1_000)
    assert [slow.follow(slot) for slot in range(5)] == [1_000, 1_000, 0, 1_000, 1_000]
    off = Car(Meter("car"), slots, 3_700, mode=MODE_IDLE, charge_w_max=3_700)
    assert sum(off.follow(slot) for slot in range(5)) == 0
    assert off.due_qwh == 10_000


def test_a_pool_gives_first_and_shares_its_power_between_giving_and_taking() -> None:
    pool = Pool(Meter("pool"), Store(20_000, 5_000, 9_000))
    moved = []
    for slot, setpoint in enumerate(
        [Setpoint(0, 1_250, 0), Setpoint(1, 1_250, 1_000), Setpoint(2, 9_999, 0), Setpoint(2, 500, 500)]
    ):
        pool.setpoint = setpoint
        before = pool.meter.import_qwh, pool.meter.export_qwh
        pool.follow(slot)
        moved.append((pool.meter.import_qwh - before[0], pool.meter.export_qwh - before[1]))
    assert moved == [(5_000, 0), (1_000, 4_000), (5_000, 0), (0, 0)]


def test_the_root_counts_the_exact_sum_of_a_measured_day() -> None:
    truth, _ = world.build(street.expand(homes=8, seed=3))
    truth.pools[0].setpoint = Setpoint(50, 1_000, 0)
    for slot in range(1, 97):
        truth.advance(slot)
        connections = [home.connection for home in truth.homes]
        meters = [*connections, *(plant.meter for plant in truth.generators), *(pool.meter for pool in truth.pools)]
        net = sum(meter.import_qwh - meter.export_qwh for meter in meters)
        assert truth.root.import_qwh - truth.root.export_qwh == net
        assert truth.root.power_w == sum(meter.power_w for meter in meters)
    assert truth.pools[0].store.stored_wh == 900
    assert truth.root.import_qwh > 0
    assert truth.root.export_qwh > 0


def test_the_same_day_is_lived_whatever_the_steps() -> None:
    one, _ = world.build(street.expand(homes=5))
    other, _ = world.build(street.expand(homes=5))
    one.advance(96)
    for slot in (3, 3, 50, 51, 200):
        other.advance(slot)
    assert one == other
    assert one.slot == 96


def test_registers_start_where_a_used_meter_stands_and_round_down() -> None:
    meter = Meter("home1")
    first = meter.import_wh
    assert first >= 1_000_000
    assert first != Meter("home2").import_wh
    for _ in range(3):
        meter.count(1, 0)
    assert meter.import_wh == first
    meter.count(1, 0)
    assert meter.import_wh == first + 1
    with pytest.raises(AssertionError):
        meter.count(-1, 0)


def test_an_empty_street_stands_still() -> None:
    nothing = World(0, ())
    nothing.advance(10)
    assert nothing.slot == 0
