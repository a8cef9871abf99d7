"""What a street is made of: the file `street.toml` read, checked whole, and expanded to so many homes and days.

Promises that everything else (meters, genesis, data folders) follows from the value that `expand` returns and from
nothing else. Refuses files with unknown keys, buses that do not exist and days that were not measured.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import Final

from ledger.base import units
from ledger.base.errors import ConfigError
from ledger.base.files import Table, load_toml, read_market
from ledger.base.genesis import NO_CAPACITY, Bus, Market
from ledger.base.limits import AMOUNT_MAX, NAME_BYTES_MAX

from . import profiles

HERE: Final = Path(__file__).parent
DEFAULT_FILE: Final = HERE / "street.toml"
SLOTS_PER_DAY: Final = 96

HOMES_MAX: Final = 250  # processes of one machine: four a home, and a port each
SHARED_DEVICES_MAX: Final = 16  # of each kind; Modbus has 247 unit ids and the first twelve are taken
PV_KWP_MAX: Final = 1_000
POWER_W_MAX: Final = 1_000_000
ENERGY_WH_MAX: Final = 10_000_000

# Unit ids behind a home's port: its own devices, then the shared ones that it keeps.
UNIT_CONNECTION: Final = 1
UNIT_GENERATION: Final = 2
UNIT_BATTERY: Final = 3
UNIT_CAR: Final = 4
UNIT_GENERATOR: Final = 10
UNIT_FEEDER: Final = 11
UNIT_POOL: Final = 12
UNIT_MORE: Final = 20  # further generators and pools, should a street have several

METER_MODEL: Final = "iem3155"  # 64-bit integer Wh registers: float32 would step 2 Wh from 16,384 kWh
BATTERY_MODEL: Final = "energo-battery"
CAR_MODEL: Final = "energo-car"
POOL_MODEL: Final = "energo-pool"


@dataclass(frozen=True)
class Battery:
    """A home's battery behind its meter: usable Wh, W of charge and of discharge."""

    capacity_wh: int
    power_w: int


@dataclass(frozen=True)
class Car:
    """An electric car: its profile and the most it charges with, W."""

    profile: Path
    power_w: int


@dataclass(frozen=True)
class Home:
    """A household; `number` counts from 1, `pv_profile` is None without a plant."""

    number: int
    name: str
    role: str
    bus: str
    cash: units.Money
    load_profile: Path
    pv_kwp: int
    pv_profile: Path | None
    battery: Battery | None
    car: Car | None


@dataclass(frozen=True)
class Generator:
    """A plant that the street owns; `shares` as (home, shares), 10,000 in all."""

    name: str
    bus: str
    keeper: str
    pv_kwp: int
    pv_profile: Path
    shares: tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class Pool:
    """A battery that the street owns; `efficiency` in ten-thousandths, `shares` and `tsl_wh` as (home, amount)."""

    name: str
    bus: str
    keeper: str
    capacity_wh: int
    power_w: int
    efficiency: int
    cash: units.Money
    shares: tuple[tuple[str, int], ...]
    tsl_wh: tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class Meter:
    """A device with registers, key and feed; `role` and `owner` as in the genesis, `unit` and `model` of Modbus."""

    name: str
    role: str
    owner: str
    bus: str
    keeper: str
    unit: int
    model: str


@dataclass(frozen=True)
class Street:
    """A street for so many homes and days. `start_s` is the first slot's start in Unix seconds of the profiles."""

    name: str
    currency: str
    day: str
    start_s: int
    days: int
    seed: int
    market: Market
    buses: tuple[Bus, ...]
    homes: tuple[Home, ...]
    generators: tuple[Generator, ...]
    pools: tuple[Pool, ...]
    meters: tuple[Meter, ...]

    @property
    def slot_count(self) -> int:
        """Slots of 900 s of profile in all."""
        return self.days * SLOTS_PER_DAY

    def meters_of(self, home: str) -> tuple[Meter, ...]:
        """The meters that a home's reader reads: its own and those that it keeps for the street."""
        return tuple(meter for meter in self.meters if meter.keeper == home)


def equal_parts(total: int, names: tuple[str, ...]) -> tuple[tuple[str, int], ...]:
    """`total` in equal whole parts by largest remainder: the first names get one more where it does not divide."""
    each, over = divmod(total, len(names))
    return tuple((name, each + (number < over)) for number, name in enumerate(names))


def expand(path: Path | None = None, *, homes: int, days: int = 1, seed: int = 0) -> Street:
    """The street that a file describes (the demo's own without one), with so many homes and days.

    Raises `ConfigError` that names the file, the key and the fix.
    """
    file = path or DEFAULT_FILE
    if not 1 <= homes <= HOMES_MAX:
        raise ConfigError(f"{homes} homes: a street on one machine has 1 to {HOMES_MAX}")
    if seed < 0:
        raise ConfigError(f"seed {seed}: a seed is 0 (the profiles as measured) or more")
    top = load_toml(file)
    about, tariff, rules, homes_table = (top.table(name) for name in ("street", "tariff", "market", "homes"))
    name, currency = about.name_of("name"), about.name_of("currency")
    day = about.parsed("day", date.fromisoformat)
    data = about.file("profiles") if about.has("profiles") else HERE / "data"
    market = read_market(tariff, rules, "1000")
    buses = _buses(file, top.tables("bus"))
    known = {bus.name for bus in buses}
    roles = top.tables("role")
    if not roles:
        raise ConfigError(f"{file}: [[role]] is missing; say what at least one home has")

    feeders = homes_table.take("feeders", list)
    for feeder in feeders:
        if feeder not in known:
            raise ConfigError(f"{file}: [homes] feeders: {feeder!r} is no bus of this file")
    if not feeders:
        raise ConfigError(f"{file}: [homes] feeders: is empty; name at least one bus")
    cash = homes_table.parsed("cash", units.parse_money, "0")

    start_s = int(datetime.combine(day, time(), UTC).timestamp())
    loads, plants, cars = (_profiles(file, data / kind) for kind in ("load", "pv", "ev"))
    days_max = profiles.slots_from(loads[0], start_s) // SLOTS_PER_DAY
    if not 1 <= days <= days_max:
        raise ConfigError(
            f"{days} days from {day}: the measured profiles have 1 to {days_max} whole days from there; "
            "take fewer days or an earlier [street] day"
            if days_max
            else f"{file}: [street] day: {day} is not in the measured profiles of {data}"
        )

    plans = [_home_plan(table) for table in roles]
    street_homes, home_buses = [], []
    for number in range(1, homes + 1):
        role, pv_kwp, battery, car_w = plans[(number - 1) % len(plans)]
        home_name = f"home{number}"
        home_buses.append(Bus(home_name, feeders[(number - 1) % len(feeders)], 0, NO_CAPACITY, NO_CAPACITY))
        street_homes.append(
            Home(
                number,
                home_name,
                role,
                home_name,
                cash,
                loads[(number - 1) % len(loads)],
                pv_kwp,
                plants[(number - 1) % len(plants)] if pv_kwp else None,
                battery,
                Car(cars[(number - 1) % len(cars)], car_w) if car_w else None,
            )
        )
    names = tuple(home.name for home in street_homes)
    generators = tuple(_generator(table, known, plants, names) for table in _few(file, "generator", top))
    pools = tuple(_pool(table, known, names) for table in _few(file, "pool", top))
    feeder_meter = _feeder(top.table("feeder"), known, names) if top.has("feeder") else None
    for table in (about, tariff, rules, homes_table, top):
        table.done()
    meters = _meters(street_homes, generators, pools, feeder_meter)
    taken = known & set(names)
    if taken:
        raise ConfigError(f"{file}: [[bus]] {min(taken)}: every home has a bus of its name; choose another")
    if len({meter.name for meter in meters}) != len(meters):
        raise ConfigError(f"{file}: two devices have one name; homes take home1, home1-pv, home1-battery, …")
    return Street(
        name,
        currency,
        day.isoformat(),
        start_s,
        days,
        seed,
        market,
        (*buses, *home_buses),
        tuple(street_homes),
        generators,
        pools,
        meters,
    )


def _profiles(file: Path, folder: Path) -> list[Path]:
    found = sorted(folder.glob("*.csv"))
    if not found:
        raise ConfigError(f"{file}: [street] profiles: {folder} holds no *.csv")
    return found


def _buses(file: Path, tables: list[Table]) -> list[Bus]:
    buses: list[Bus] = []
    for table in tables:
        bus = Bus(
            table.name_of("id"),
            table.take("parent", str, ""),
            table.parsed("fee", units.parse_price, "0"),
            table.integer("capacity_up_wh", NO_CAPACITY, AMOUNT_MAX, NO_CAPACITY),
            table.integer("capacity_down_wh", NO_CAPACITY, AMOUNT_MAX, NO_CAPACITY),
        )
        table.done()
        above = {other.name for other in buses}
        if bus.name in above:
            raise ConfigError(f"{file}: [[bus]] {bus.name}: stands twice; each bus has a name of its own")
        if (bus.parent not in above) if buses else bus.parent:
            fix = "name a bus that stands above it" if buses else "the first bus is the root and has none"
            raise ConfigError(f"{file}: [[bus]] {bus.name}: parent {bus.parent!r}: {fix}")
        buses.append(bus)
    if not buses:
        raise ConfigError(f"{file}: [[bus]] is missing; the first one is the root, where the public grid connects")
    return buses


def _home_plan(table: Table) -> tuple[str, int, Battery | None, int]:
    plan = table.name_of("name")
    pv_kwp = table.integer("pv_kwp", 0, PV_KWP_MAX, 0)
    capacity_wh = table.integer("battery_wh", 0, ENERGY_WH_MAX, 0)
    power_w = table.integer("battery_w", 0, POWER_W_MAX, 0)
    car_w = table.integer("car_w", 0, POWER_W_MAX, 0)
    table.done()
    if bool(capacity_wh) != bool(power_w):
        raise ConfigError(f"{table.path}: [{table.name}] battery_wh and battery_w: a battery needs both")
    return plan, pv_kwp, Battery(capacity_wh, power_w) if capacity_wh else None, car_w


def _few(file: Path, kind: str, top: Table) -> list[Table]:
    tables = top.tables(kind)
    if len(tables) > SHARED_DEVICES_MAX:
        raise ConfigError(f"{file}: [[{kind}]]: at most {SHARED_DEVICES_MAX} of them")
    return tables


def _placed(table: Table, known: set[str], names: tuple[str, ...]) -> tuple[str, str, str]:
    """Name, bus and keeper of a shared device; where the street has no home of the keeper's number, home1 keeps it."""
    name, bus = table.name_of("name"), table.name_of("bus")
    if bus not in known:
        raise ConfigError(f"{table.path}: [{table.name}] bus: {bus!r} is no bus of this file")
    keeper = table.integer("keeper", 1, HOMES_MAX)
    return name, bus, names[keeper - 1] if keeper <= len(names) else names[0]


def _generator(table: Table, known: set[str], plants: list[Path], names: tuple[str, ...]) -> Generator:
    name, bus, keeper = _placed(table, known, names)
    pv_kwp = table.integer("pv_kwp", 1, PV_KWP_MAX)
    profile = plants[table.integer("pv_profile", 0, len(plants) - 1, 0)]
    table.done()
    return Generator(name, bus, keeper, pv_kwp, profile, equal_parts(units.SHARES_TOTAL, names))


def _pool(table: Table, known: set[str], names: tuple[str, ...]) -> Pool:
    name, bus, keeper = _placed(table, known, names)
    capacity_wh = table.integer("capacity_wh", 1, ENERGY_WH_MAX)
    tsl_wh = table.integer("tsl_wh", 0, capacity_wh, capacity_wh)
    pool = Pool(
        name,
        bus,
        keeper,
        capacity_wh,
        table.integer("power_w", 1, POWER_W_MAX),
        table.parsed("efficiency", units.parse_share),
        table.parsed("cash", units.parse_money, "0"),
        equal_parts(units.SHARES_TOTAL, names),
        equal_parts(tsl_wh, names),
    )
    table.done()
    if not pool.efficiency:
        raise ConfigError(f"{table.path}: [{table.name}] efficiency: must be more than 0")
    return pool


def _feeder(table: Table, known: set[str], names: tuple[str, ...]) -> tuple[str, str, str]:
    placed = _placed(table, known, names)
    table.done()
    return placed


def _meters(
    homes: list[Home],
    generators: tuple[Generator, ...],
    pools: tuple[Pool, ...],
    feeder: tuple[str, str, str] | None,
) -> tuple[Meter, ...]:
    meters = []
    for home in homes:
        own = [("", "connection", UNIT_CONNECTION, METER_MODEL)]
        if home.pv_profile:
            own.append(("-pv", "generation", UNIT_GENERATION, METER_MODEL))
        if home.battery:
            own.append(("-battery", "battery", UNIT_BATTERY, BATTERY_MODEL))
        meters += [Meter(home.name + s, role, home.name, home.bus, home.name, u, m) for s, role, u, m in own]
    more = iter(range(UNIT_MORE, UNIT_MORE + 2 * SHARED_DEVICES_MAX))
    for number, plant in enumerate(generators):
        unit = next(more) if number else UNIT_GENERATOR
        meters.append(Meter(plant.name, "generator", f"gen:{plant.name}", plant.bus, plant.keeper, unit, METER_MODEL))
    if feeder:
        name, bus, keeper = feeder
        meters.append(Meter(name, "feeder", "", bus, keeper, UNIT_FEEDER, METER_MODEL))
    for number, pool in enumerate(pools):
        unit = next(more) if number else UNIT_POOL
        meters.append(Meter(pool.name, "pool", f"pool:{pool.name}", pool.bus, pool.keeper, unit, POOL_MODEL))
    assert all(len(meter.name.encode()) <= NAME_BYTES_MAX for meter in meters), "names were checked one by one"
    return tuple(meters)
