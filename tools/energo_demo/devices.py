"""The physics of a street, slot by slot: homes, what they own together, and the meters that count it all.

A pure machine: `World.advance` takes it to a slot, setters change what the devices are told to do, and registers say
what a real meter would show. Energy inside is in quarter Wh (qWh), which over a slot of 15 minutes is the mean power in
W; registers show whole Wh, rounded down, and keep the rest. Nothing is lost: the meter at the root counts exactly
the signed sum of all connections and shared devices.

Rules inside the devices (the home's agent sets mode and limits; a device keeps them when the agent stops):

- car: a trip is a debt that it brings home; plugged in and allowed, it charges at up to its limit until that is paid;
- home battery, on own use: charges from what the home makes and does not use, discharges when the home needs more than
  it makes, within its limits; otherwise it idles;
- pool: does what its setpoint says in the slot that the setpoint names, and idles in every other.

A battery's losses are booked on the way in: of each Wh charged, `efficiency` is stored, all of which comes out again.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Final

QUARTERS: Final = 4
EFFICIENCY_UNIT: Final = 10_000
HOME_BATTERY_EFFICIENCY: Final = 9_000  # ten-thousandths, there and back

MODE_IDLE: Final = 0
MODE_OWN_USE: Final = 1  # battery: own use; car: charge when plugged in

# What a meter showed before this street began: it is as old as its home.
FIRST_REGISTER_WH: Final = 1_000_000
FIRST_REGISTER_SPREAD_WH: Final = 20_000_000


@dataclass
class Meter:
    """Cumulative registers, import and export apart, as the meter shows them."""

    name: str
    import_qwh: int = 0
    export_qwh: int = 0
    power_w: int = 0  # mean of the last slot, import positive

    def count(self, import_qwh: int, export_qwh: int) -> None:
        """Book one slot."""
        assert min(import_qwh, export_qwh) >= 0, "energy in a register only grows"
        self.import_qwh += import_qwh
        self.export_qwh += export_qwh
        self.power_w = import_qwh - export_qwh

    def count_net(self, net_qwh: int) -> None:
        """Book one slot's net, import positive: it can only be on one side."""
        self.count(max(net_qwh, 0), max(-net_qwh, 0))

    @property
    def import_wh(self) -> int:
        """The import register, whole Wh."""
        return self._first_wh("import") + self.import_qwh // QUARTERS

    @property
    def export_wh(self) -> int:
        """The export register, whole Wh."""
        return self._first_wh("export") + self.export_qwh // QUARTERS

    def _first_wh(self, register: str) -> int:
        digest = hashlib.sha256(f"energo/register/1:{self.name}:{register}".encode()).digest()
        return FIRST_REGISTER_WH + int.from_bytes(digest[:8], "big") % FIRST_REGISTER_SPREAD_WH


@dataclass
class Store:
    """A battery's content. Stored energy is in qWh x 10,000, so that the efficiency leaves no remainder to lose."""

    capacity_wh: int
    power_w: int
    efficiency: int
    content: int = 0

    @property
    def stored_wh(self) -> int:
        """What it can still deliver at its meter, whole Wh."""
        return self.content // (QUARTERS * EFFICIENCY_UNIT)

    def charge(self, wanted_qwh: int) -> int:
        """Takes up to `wanted_qwh`, as far as there is room; what it took at its meter."""
        room = self.capacity_wh * QUARTERS * EFFICIENCY_UNIT - self.content
        taken = min(wanted_qwh, room // self.efficiency)
        self.content += taken * self.efficiency
        return taken

    def discharge(self, wanted_qwh: int) -> int:
        """Gives up to `wanted_qwh`, as far as there is energy; what it gave at its meter."""
        given = min(wanted_qwh, self.content // EFFICIENCY_UNIT)
        self.content -= given * EFFICIENCY_UNIT
        return given


@dataclass
class Battery:
    """A home's battery behind its connection, on own use or idle, within limits in W."""

    meter: Meter
    store: Store
    mode: int = MODE_OWN_USE
    charge_w_max: int = 0
    discharge_w_max: int = 0

    def follow(self, surplus_qwh: int) -> int:
        """One slot: what it takes (positive) or gives (negative) at a surplus or, negative, a need."""
        taken = given = 0
        if self.mode == MODE_OWN_USE and surplus_qwh > 0:
            taken = self.store.charge(min(surplus_qwh, self.charge_w_max, self.store.power_w))
        elif self.mode == MODE_OWN_USE and surplus_qwh < 0:
            given = self.store.discharge(min(-surplus_qwh, self.discharge_w_max, self.store.power_w))
        self.meter.count(taken, given)
        return taken - given


@dataclass
class Car:
    """An electric car: `slots` says when it is plugged in and which debt it brings home, qWh."""

    meter: Meter
    slots: tuple[tuple[bool, int], ...]
    power_w: int
    mode: int = MODE_OWN_USE
    charge_w_max: int = 0
    due_qwh: int = 0

    def follow(self, slot: int) -> int:
        """One slot: what it charges."""
        plugged_in, used_qwh = self.slots[slot]
        self.due_qwh += used_qwh
        allowed = plugged_in and self.mode == MODE_OWN_USE
        taken = min(self.due_qwh, self.charge_w_max, self.power_w) if allowed else 0
        self.due_qwh -= taken
        self.meter.count(taken, 0)
        return taken


@dataclass
class Home:
    """A household: use and production per slot in qWh, and what it owns."""

    connection: Meter
    load_qwh: tuple[int, ...]
    pv_qwh: tuple[int, ...] = ()
    generation: Meter | None = None
    battery: Battery | None = None
    car: Car | None = None

    def follow(self, slot: int) -> int:
        """One slot: the net at the connection, import positive."""
        made = self.pv_qwh[slot] if self.pv_qwh else 0
        if self.generation:
            self.generation.count(0, made)
        net = self.load_qwh[slot] + (self.car.follow(slot) if self.car else 0) - made
        if self.battery:
            net += self.battery.follow(-net)
        self.connection.count_net(net)
        return net


@dataclass
class Generator:
    """A plant of the street's with a connection of its own; production per slot in qWh."""

    meter: Meter
    pv_qwh: tuple[int, ...]

    def follow(self, slot: int) -> int:
        """One slot: minus what it made."""
        self.meter.count(0, self.pv_qwh[slot])
        return -self.pv_qwh[slot]


@dataclass(frozen=True)
class Setpoint:
    """What a pool is told to do in one slot, whole Wh at its meter."""

    slot: int
    charge_wh: int
    discharge_wh: int


@dataclass
class Pool:
    """The street's battery. In the slot of its setpoint it gives first, which makes room, then takes with what is left
    of its power; both are bounded by its power over the slot, what it holds and the room it has."""

    meter: Meter
    store: Store
    setpoint: Setpoint = Setpoint(0, 0, 0)

    def follow(self, slot: int) -> int:
        """One slot: what it takes less what it gives."""
        taken = given = 0
        if self.setpoint.slot == slot:
            given = self.store.discharge(min(self.setpoint.discharge_wh * QUARTERS, self.store.power_w))
            taken = self.store.charge(min(self.setpoint.charge_wh * QUARTERS, self.store.power_w - given))
        self.meter.count(taken, given)
        return taken - given


@dataclass
class World:
    """A whole street: `slot` is the first that has not ended yet; after `slot_count` everything stands still."""

    slot_count: int
    homes: tuple[Home, ...]
    generators: tuple[Generator, ...] = ()
    pools: tuple[Pool, ...] = ()
    root: Meter = field(default_factory=lambda: Meter("root"))
    slot: int = 0

    def advance(self, slot: int) -> None:
        """Live through every slot before `slot`, with what the devices are told now."""
        while self.slot < min(slot, self.slot_count):
            now = self.slot
            net = sum(home.follow(now) for home in self.homes)
            net += sum(plant.follow(now) for plant in self.generators)
            net += sum(pool.follow(now) for pool in self.pools)
            self.root.count_net(net)
            self.slot += 1
