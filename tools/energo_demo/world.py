"""`energo-world`: the meters and devices of a simulated street, as real Modbus TCP servers on this machine.

One port a home, a unit id a device (street.py has the numbers). Registers are computed from the clock when they are
read and change only at slot ends; the physics between two reads is made up slot by slot, with what the devices were
told to do when each slot ended. Promises that two worlds with one configuration, told the same, show the same.
Refuses ports that are in use, and values that a device cannot do.

Configuration (TOML): `homes`, `days`, `seed`, `origin_ms`, `slot_ms`; optional `street` (a file like street.toml),
`host`, `ports_file` (where the ports are written as JSON once all listen) and a table `[ports]` (home = port; what is
not named there gets a free one).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

from pymodbus.constants import ExcCodes
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

from firmware.meter import models
from firmware.meter.models import Model
from ledger.base.errors import ConfigError, EnergoError
from ledger.base.files import load_toml
from ledger.base.limits import TIME_MAX_MS

from . import devices, profiles, street
from .devices import QUARTERS, World
from .street import Street

log = logging.getLogger("energo-world")

PORT_MAX: Final = 65_535
WRITE_MULTIPLE: Final = 16
WRITE_SINGLE: Final = 6
READS: Final = (3, 4)
SLOT_MS_MIN: Final = 100
SLOT_MS_MAX: Final = 86_400_000


@dataclass(frozen=True)
class Config:
    """What `energo-world` is started with; times in ms, `ports` by home (0: any free one)."""

    street: Path | None
    homes: int
    days: int
    seed: int
    origin_ms: int
    slot_ms: int
    host: str
    ports: dict[str, int]
    ports_file: Path | None


def load_config(path: Path) -> Config:
    """The configuration, checked whole. Raises `ConfigError`."""
    top = load_toml(path)
    homes = top.integer("homes", 1, street.HOMES_MAX)
    ports = top.table("ports", optional=True)
    config = Config(
        top.file("street") if top.has("street") else None,
        homes,
        top.integer("days", 1, 10_000, 1),
        top.integer("seed", 0, 2**63 - 1, 0),
        top.integer("origin_ms", 0, TIME_MAX_MS),
        top.integer("slot_ms", SLOT_MS_MIN, SLOT_MS_MAX),
        top.take("host", str, "127.0.0.1"),
        {name: ports.integer(name, 0, PORT_MAX, 0) for name in (f"home{n}" for n in range(1, homes + 1))},
        top.file("ports_file") if top.has("ports_file") else None,
    )
    ports.done()
    top.done()
    return config


@dataclass(frozen=True)
class Unit:
    """A device behind a unit id: its table, its values by quantity, and what can be told to it."""

    model: Model
    read: dict[str, Callable[[], int]]
    told: dict[str, Callable[[], int]]
    tell: Callable[[dict[str, int]], None]


def build(plan: Street) -> tuple[World, dict[str, dict[int, Unit]]]:
    """The street's physics, and its units by home and unit id."""
    meters = {meter.name: devices.Meter(meter.name) for meter in plan.meters}
    first_s, slots, seed = plan.start_s, plan.slot_count, plan.seed
    units: dict[str, dict[int, Unit]] = {home.name: {} for home in plan.homes}

    def produced(path: Path, kwp: int, owner: str) -> tuple[int, ...]:
        return profiles.vary(profiles.pv_qwh(path, kwp, first_s, slots), seed, f"{owner}/pv")

    homes = []
    for home in plan.homes:
        load = profiles.vary(profiles.load_qwh(home.load_profile, first_s, slots), seed, f"{home.name}/load")
        house = devices.Home(meters[home.name], load)
        if home.pv_profile:
            house.pv_qwh = produced(home.pv_profile, home.pv_kwp, home.name)
            house.generation = meters[f"{home.name}-pv"]
        if home.battery:
            battery = home.battery
            store = devices.Store(battery.capacity_wh, battery.power_w, devices.HOME_BATTERY_EFFICIENCY)
            house.battery = devices.Battery(
                meters[f"{home.name}-battery"],
                store,
                charge_w_max=battery.power_w,
                discharge_w_max=battery.power_w,
            )
        if home.car:
            house.car = devices.Car(
                devices.Meter(f"{home.name}-car"),
                profiles.car_slots(home.car.profile, first_s, slots),
                home.car.power_w,
                charge_w_max=home.car.power_w,
            )
            units[home.name][street.UNIT_CAR] = _car_unit(house.car)
        homes.append(house)
    generators = tuple(
        devices.Generator(meters[plant.name], produced(plant.pv_profile, plant.pv_kwp, plant.name))
        for plant in plan.generators
    )
    pools = {
        pool.name: devices.Pool(meters[pool.name], devices.Store(pool.capacity_wh, pool.power_w, pool.efficiency))
        for pool in plan.pools
    }
    root = next((meters[meter.name] for meter in plan.meters if meter.role == "feeder"), devices.Meter("root"))
    world = World(slots, tuple(homes), generators, tuple(pools.values()), root)

    batteries = {house.battery.meter.name: house.battery for house in homes if house.battery}
    for meter in plan.meters:
        if meter.role == "pool":
            unit = _pool_unit(pools[meter.name])
        elif meter.role == "battery":
            unit = _battery_unit(batteries[meter.name])
        else:
            unit = Unit(models.load(meter.model), _registers(meters[meter.name]), {}, _nothing)
        units[meter.keeper][meter.unit] = unit
    return world, units


def _registers(meter: devices.Meter) -> dict[str, Callable[[], int]]:
    return {
        "import_wh": lambda: meter.import_wh,
        "export_wh": lambda: meter.export_wh,
        "power_w": lambda: meter.power_w,
    }


def _nothing(values: dict[str, int]) -> None:
    raise ValueError("a meter cannot be told anything")


def _limited(values: dict[str, int], power_w: int) -> None:
    if values["mode"] not in (devices.MODE_IDLE, devices.MODE_OWN_USE):
        raise ValueError(f"mode {values['mode']} is unknown")
    for quantity in ("charge_w_max", "discharge_w_max"):
        if values.get(quantity, 0) > power_w:
            raise ValueError(f"{quantity} {values[quantity]} is more than the {power_w} W that it can do")


def _battery_unit(battery: devices.Battery) -> Unit:
    def tell(values: dict[str, int]) -> None:
        _limited(values, battery.store.power_w)
        battery.mode = values["mode"]
        battery.charge_w_max, battery.discharge_w_max = values["charge_w_max"], values["discharge_w_max"]

    return Unit(
        models.load(street.BATTERY_MODEL),
        _registers(battery.meter) | {"stored_wh": lambda: battery.store.stored_wh},
        {
            "mode": lambda: battery.mode,
            "charge_w_max": lambda: battery.charge_w_max,
            "discharge_w_max": lambda: battery.discharge_w_max,
        },
        tell,
    )


def _car_unit(car: devices.Car) -> Unit:
    def tell(values: dict[str, int]) -> None:
        _limited(values, car.power_w)
        car.mode, car.charge_w_max = values["mode"], values["charge_w_max"]

    registers = _registers(car.meter)
    del registers["export_wh"]  # a car that only charges
    return Unit(
        models.load(street.CAR_MODEL),
        registers | {"due_wh": lambda: car.due_qwh // QUARTERS},
        {"mode": lambda: car.mode, "charge_w_max": lambda: car.charge_w_max},
        tell,
    )


def _pool_unit(pool: devices.Pool) -> Unit:
    def tell(values: dict[str, int]) -> None:
        pool.setpoint = devices.Setpoint(
            values["setpoint_slot"], values["setpoint_charge_wh"], values["setpoint_discharge_wh"]
        )

    return Unit(
        models.load(street.POOL_MODEL),
        _registers(pool.meter) | {"stored_wh": lambda: pool.store.stored_wh},
        {
            "setpoint_slot": lambda: pool.setpoint.slot,
            "setpoint_charge_wh": lambda: pool.setpoint.charge_wh,
            "setpoint_discharge_wh": lambda: pool.setpoint.discharge_wh,
        },
        tell,
    )


class Bench:
    """The units on their wires: words as registers say them, the clock read at each request."""

    def __init__(self, world: World, *, origin_ms: int, slot_ms: int, now_ms: Callable[[], int]) -> None:
        self.world, self._origin_ms, self._slot_ms, self._now_ms = world, origin_ms, slot_ms, now_ms

    def catch_up(self) -> None:
        """Live through every slot that has ended."""
        self.world.advance((self._now_ms() - self._origin_ms) // self._slot_ms)

    def words(self, unit: Unit) -> dict[int, int]:
        """Every register of a unit by address, as it stands now."""
        self.catch_up()
        words: dict[int, int] = {}
        for quantity, value in unit.read.items():
            words |= _spread(unit.model, quantity, Fraction(value()))
        for quantity, told in unit.told.items():
            register = unit.model.writes[quantity]
            words |= dict(enumerate(unit.model.encode(register, told()), register.address))
        return words

    def write(self, unit: Unit, address: int, values: list[int]) -> None:
        """Tell the device what is written at an address. Raises `ValueError` when it cannot do that."""
        words = self.words(unit) | dict(enumerate(values, address))
        told = {}
        for quantity, register in unit.model.writes.items():
            number = unit.model.number(register, [words[register.address + n] for n in range(register.words)])
            if number is None:
                raise ValueError(f"{quantity} is out of range")
            told[quantity] = int(number)
        unit.tell(told)

    def device(self, unit_id: int, unit: Unit) -> SimDevice:
        """The unit as pymodbus serves it."""

        async def action(
            function: int, start: int, address: int, count: int, current: list[int], values: list[Any] | None
        ) -> ExcCodes | None:
            if function in READS:
                if function != unit.model.function and not _in(unit.model.writes, address):
                    return ExcCodes.ILLEGAL_FUNCTION
            elif function not in (WRITE_SINGLE, WRITE_MULTIPLE):
                return ExcCodes.ILLEGAL_FUNCTION
            elif values:
                try:
                    self.write(unit, address, [int(value) for value in values])
                except ValueError as error:
                    log.warning("unit %d: refused a write at %d: %s", unit_id, address, error)
                    return ExcCodes.ILLEGAL_VALUE
            for at, word in self.words(unit).items():
                current[at - start] = word
            return None

        writable = {register.address for register in unit.model.writes.values()}
        blocks = [
            SimData(
                register.address,
                values=[0] * register.words,
                datatype=DataType.REGISTERS,
                readonly=register.address not in writable,
            )
            for register in (*unit.model.reads.values(), *unit.model.writes.values())
        ]
        return SimDevice(id=unit_id, simdata=sorted(blocks, key=lambda b: b.address), action=action)


def _spread(model: Model, quantity: str, value: Fraction) -> dict[int, int]:
    register = model.reads[quantity]
    return dict(enumerate(model.encode(register, value), register.address))


def _in(registers: dict[str, models.Register], address: int) -> bool:
    return any(r.address <= address < r.address + r.words for r in registers.values())


def _wall_ms() -> int:
    return time.time_ns() // 1_000_000


async def serve(config: Config, stop: asyncio.Event, *, now_ms: Callable[[], int] = _wall_ms) -> None:
    """Serves the street until `stop` is set. Raises `ConfigError`, also for a port that is in use."""
    plan = street.expand(config.street, homes=config.homes, days=config.days, seed=config.seed)
    world, units = build(plan)
    bench = Bench(world, origin_ms=config.origin_ms, slot_ms=config.slot_ms, now_ms=now_ms)
    servers: list[Any] = []  # of ModbusTcpServer, whose shutdown() has no types
    ports: dict[str, int] = {}
    try:
        for home, behind in units.items():
            simulated = [bench.device(number, unit) for number, unit in behind.items()]
            server = ModbusTcpServer(simulated, address=(config.host, config.ports[home]))
            if not await server.listen():
                raise ConfigError(f"port {config.ports[home]} of {config.host} cannot be used; name another in [ports]")
            servers.append(server)
            ports[home] = servers[-1].transport.sockets[0].getsockname()[1]
        if config.ports_file:
            _write_ports(config.ports_file, ports)
        log.info("ready: %d homes on ports %s", len(ports), " ".join(str(port) for port in ports.values()))
        await stop.wait()
    finally:
        for server in servers:
            await server.shutdown()


def _write_ports(path: Path, ports: dict[str, int]) -> None:
    """All at once: who waits for the file never reads half of it."""
    fresh = path.with_name(path.name + ".new")
    try:
        fresh.write_text(json.dumps(ports) + "\n", encoding="ascii")
        os.replace(fresh, path)
    except OSError as error:
        raise ConfigError(f"{path}: the ports cannot be written there ({error.strerror})") from None


async def _run(config: Config) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    await serve(config, stop)


def main(arguments: list[str] | None = None) -> int:
    """The process. 0 after a stop, 1 when it cannot start."""
    parser = argparse.ArgumentParser(prog="energo-world", description="The simulated meters and devices of a street.")
    parser.add_argument("--config", type=Path, required=True, metavar="FILE")
    options = parser.parse_args(arguments)
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    logging.getLogger("pymodbus").setLevel(logging.CRITICAL)  # it logs every client that goes
    try:
        asyncio.run(_run(load_config(options.config)))
    except EnergoError as error:
        print(f"energo-world: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
