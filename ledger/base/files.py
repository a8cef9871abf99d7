"""What every process reads from its disk: TOML files checked whole, the genesis, key files, and the lock of a data folder.

The only part of this room that touches the world. Every error names the file, the key and the fix.
"""

from __future__ import annotations

import fcntl
import os
import re
import secrets
import tomllib
from collections.abc import Callable, Iterable
from datetime import date
from pathlib import Path
from typing import IO, Any, TypeVar

from . import units
from .crypto import ED25519, KEY_BYTES
from .errors import ConfigError, DiskFailed, FolderInUse, UnitError
from .genesis import (
    GENESIS_VERSION,
    NO_CAPACITY,
    PRICINGS,
    STREET_ACCOUNTS,
    UNIFORM,
    Bus,
    Consensus,
    Device,
    Generator,
    Genesis,
    Home,
    Market,
    Membership,
    Pool,
    Role,
    Timing,
)
from .limits import (
    AMOUNT_MAX,
    COMMITTEE_MAX,
    HOMES_MAX,
    NAME_BYTES_MAX,
    PRICE_MAX,
    QUANTITY_MAX,
    TIME_MAX_MS,
)

T = TypeVar("T")

SHOWN_MAX = 80  # characters of a wrong value in a message

SETTLING_NUMBERS = (int(Role.CONNECTION), int(Role.GENERATOR), int(Role.POOL))


class Table:
    """One TOML table being read: every key is taken once with its type, and `done` refuses what nobody took."""

    def __init__(self, path: Path, name: str, values: dict[str, Any]) -> None:
        self.path, self.name, self._values, self._taken = path, name, values, set[str]()

    def error(self, key: str, problem: str) -> ConfigError:
        """The error that says what is wrong with a key of this table."""
        where = f"[{self.name}] {key}" if self.name else key
        return ConfigError(f"{self.path}: {where}: {problem}")

    def take(self, key: str, kind: type[T], default: T | None = None) -> T:
        """The value of `key`, of exactly that type. Raises `ConfigError`."""
        self._taken.add(key)
        if key not in self._values:
            if default is None:
                raise self.error(key, f"is missing; add it ({kind.__name__})")
            return default
        value = self._values[key]
        if type(value) is not kind:
            raise self.error(key, f"is {_shown(value)}; it must be of type {kind.__name__}")
        return value

    def integer(self, key: str, lowest: int, highest: int, default: int | None = None) -> int:
        """An integer within bounds. Raises `ConfigError`."""
        value = self.take(key, int, default)
        if not lowest <= value <= highest:
            raise self.error(key, f"is {_shown(value)}; it must lie between {lowest} and {highest}")
        return value

    def parsed(self, key: str, parse: Callable[[str], T], default: str | None = None) -> T:
        """Text that `parse` turns into a value; its complaint becomes a `ConfigError`."""
        text = self.take(key, str, default)
        try:
            return parse(text)
        except (UnitError, ValueError) as error:
            raise self.error(key, str(error)) from None

    def name_of(self, key: str, default: str | None = None) -> str:
        """A name: letters, digits and `-_.: `, bounded. Raises `ConfigError`."""
        value = self.take(key, str, default)
        if not re.fullmatch(r"[\w][\w .:-]*", value) or len(value.encode()) > NAME_BYTES_MAX:
            raise self.error(key, f"{value!r} is not a name of at most {NAME_BYTES_MAX} letters, digits or -_.:")
        return value

    def file(self, key: str, default: str | None = None) -> Path:
        """A path, relative to the file that names it."""
        text = self.take(key, str, default)
        if "\0" in text:
            raise self.error(key, "has a zero character, which no path has")
        return (self.path.parent / text).resolve()

    def table(self, key: str, *, optional: bool = False) -> Table:
        """A sub-table; an empty one if it is optional and absent."""
        default: dict[str, Any] | None = {} if optional else None
        return Table(self.path, f"{self.name}.{key}" if self.name else key, self.take(key, dict, default))

    def tables(self, key: str) -> list[Table]:
        """An array of tables, possibly absent."""
        items = self.take(key, list, [])
        if any(type(item) is not dict for item in items):
            raise self.error(key, "must be an array of tables, written [[" + key + "]]")
        return [Table(self.path, f"{key} {number}", item) for number, item in enumerate(items, 1)]

    def texts(self, key: str) -> list[str]:
        """An array of texts, possibly absent. Raises `ConfigError`."""
        items = self.take(key, list, [])
        if any(type(item) is not str for item in items):
            raise self.error(key, 'must be an array of texts, written ["...", "..."]')
        return items

    def has(self, key: str) -> bool:
        """Whether the key is there."""
        return key in self._values

    def amounts(self, key: str) -> tuple[tuple[str, int], ...]:
        """A table of name = whole number as pairs, in the file's order."""
        inner = self.table(key)
        pairs = tuple((name, inner.integer(name, 0, AMOUNT_MAX)) for name in inner._values)
        inner.done()
        return pairs

    def done(self) -> None:
        """Raises `ConfigError` if a key was not known."""
        unknown = sorted(set(self._values) - self._taken)
        if unknown:
            raise self.error(unknown[0], f"is not known here; known are {', '.join(sorted(self._taken))}")


def load_toml(path: Path) -> Table:
    """The file's top table. Raises `ConfigError`."""
    try:
        with path.open("rb") as file:
            return Table(path, "", tomllib.load(file))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}); check its name and rights") from None
    except ValueError as error:  # not UTF-8, not TOML, or a number of thousands of digits
        raise ConfigError(f"{path}: is not TOML: {error}") from None
    except RecursionError:
        raise ConfigError(f"{path}: is nested too deeply; write it flat") from None


def _shown(value: object) -> str:
    """A wrong value in a message: short, and whatever it is (Python writes no integer of thousands of digits)."""
    if isinstance(value, int) and not -AMOUNT_MAX <= value <= AMOUNT_MAX:
        return "a number of more than 63 bits"
    return "a list" if isinstance(value, list) else "a table" if isinstance(value, dict) else repr(value)[:SHOWN_MAX]


def _key(text: str) -> bytes:
    try:
        raw = bytes.fromhex(text)
    except ValueError:
        raw = b""
    if len(raw) != KEY_BYTES:
        raise ValueError("is not a key of 64 hexadecimal digits")
    return raw


def _day(text: str) -> str:
    date.fromisoformat(text)
    return text


def _role(text: str) -> Role:
    if text.upper() not in Role.__members__:
        raise ValueError(f"{text!r} is no role; roles are {', '.join(r.lower() for r in Role.__members__)}")
    return Role[text.upper()]


def _unique(path: Path, what: str, names: Iterable[object]) -> None:
    seen = set[object]()
    for name in names:
        if name in seen:
            shown = name.hex() if isinstance(name, bytes) else name
            raise ConfigError(f"{path}: {what} {shown} stands twice; each must be unique")
        seen.add(name)


def load_genesis(path: Path) -> Genesis:
    """The street's genesis from its TOML file, checked whole. Raises `ConfigError`."""
    top = load_toml(path)
    street, time, agree, market, tariff = (top.table(n) for n in ("street", "time", "consensus", "market", "tariff"))
    seats = top.table("membership", optional=True)
    timing = Timing(
        created_ms=time.integer("created_ms", 1, TIME_MAX_MS),
        origin_ms=time.integer("origin_ms", 1, TIME_MAX_MS),
        slot_ms=time.integer("slot_ms", 100, 86_400_000),
        slot_count=time.integer("slot_count", 0, AMOUNT_MAX, 0),
        grace_ms=time.integer("grace_ms", 0, 86_400_000),
        stale_ms=time.integer("stale_ms", 500, 3_600_000),
    )
    consensus = Consensus(
        timeout_ms=agree.integer("timeout_ms", 10, 60_000),
        timeout_factor_max=agree.integer("timeout_factor_max", 1, 64),
        min_interval_orders_ms=agree.integer("min_interval_orders_ms", 0, 3_600_000),
        min_interval_readings_ms=agree.integer("min_interval_readings_ms", 0, 3_600_000),
        heartbeat_ms=agree.integer("heartbeat_ms", 1_000, 86_400_000),
        expiry_max=agree.integer("expiry_max", 1, 1_000_000),
    )
    rules = read_market(tariff, market)
    membership = _membership(seats)
    genesis = Genesis(
        GENESIS_VERSION,
        street.name_of("name"),
        street.name_of("currency"),
        street.parsed("day", _day),
        timing,
        consensus,
        rules,
        tuple(_bus(table) for table in top.tables("bus")),
        tuple(_home(table) for table in top.tables("home")),
        tuple(_device(table) for table in top.tables("device")),
        tuple(_generator(table) for table in top.tables("generator")),
        tuple(_pool(table) for table in top.tables("pool")),
        membership,
    )
    for table in (street, time, agree, market, tariff, seats, top):
        table.done()
    check_genesis(path, genesis)
    return genesis


def _membership(seats: Table) -> Membership:
    usual = Membership()
    return Membership(
        committee_max=seats.integer("committee_max", 1, COMMITTEE_MAX, usual.committee_max),
        epoch_blocks_min=seats.integer("epoch_blocks_min", 1, 1_000_000, usual.epoch_blocks_min),
        park_misses_max=seats.integer("park_misses_max", 1, 1_000_000, usual.park_misses_max),
        evidence_epochs=seats.integer("evidence_epochs", 1, 1_000, usual.evidence_epochs),
        trusted_household=seats.take("trusted_household", bool, usual.trusted_household),
        recovery_notice_ms=seats.integer("recovery_notice_ms", 0, 30 * 86_400_000, usual.recovery_notice_ms),
    )


def read_market(tariff: Table, market: Table, grid_cash: str | None = None) -> Market:
    """The tables `[tariff]` and `[market]`; `grid_cash` is the default of that key. Raises `ConfigError`."""
    costs, brings, islanded = _outside_prices(tariff)
    pricing = market.parsed("pricing", parse_pricing, PRICINGS[UNIFORM])
    return Market(
        retail=costs,
        feed_in=brings,
        sharing=market.parsed("sharing", units.parse_share, "1" if pricing == UNIFORM else "0"),
        pricing=pricing,
        exchange_fee=market.parsed("exchange_fee", units.parse_share, "0.05"),
        exchange_fee_treasury=market.parsed("exchange_fee_treasury", units.parse_share, "0.10"),
        tsl_required=market.parsed("tsl", _on_off, "on"),
        credit_limit=market.parsed("credit_limit", units.parse_money, "0"),
        grid_cash=market.parsed("grid_cash", units.parse_money, grid_cash),
        islanded=islanded,
    )


def _outside_prices(tariff: Table) -> tuple[units.Price, units.Price, bool]:
    """What a Wh costs and brings that no neighbor buys or sells, and whether that is on an island."""
    island, grid = ("island_buy", "island_sell"), ("retail", "feed_in")
    here = [key for key in island if tariff.has(key)]
    there = [key for key in grid if tariff.has(key)]
    if here and there:
        raise tariff.error(
            here[0],
            f"cannot stand beside {there[0]}; give retail and feed_in of a public grid, "
            "or island_buy and island_sell of a street without one",
        )
    if not here and not there:
        raise tariff.error(
            "retail", "is missing; add it and feed_in, or island_buy and island_sell without a public grid"
        )
    dear, cheap = island if here else grid
    costs, brings = tariff.parsed(dear, units.parse_price), tariff.parsed(cheap, units.parse_price)
    if costs < brings:
        raise tariff.error(dear, f"is below {cheap}; nobody would trade with a neighbor")
    if there and brings < 0:
        raise tariff.error(cheap, "is negative; it must be 0 or more")
    return costs, brings, bool(here)


def _on_off(text: str) -> bool:
    if text not in ("on", "off"):
        raise ValueError(f"is {text!r}; it must be on or off (warn comes later)")
    return text == "on"


def parse_pricing(text: str) -> int:
    """The number of a pricing rule. Raises `ValueError`."""
    if text not in PRICINGS:
        raise ValueError(f"{text!r} is no rule of pricing; rules are {', '.join(PRICINGS)}")
    return PRICINGS.index(text)


def _bus(table: Table) -> Bus:
    bus = Bus(
        table.name_of("id"),
        table.take("parent", str, ""),
        table.parsed("fee", units.parse_price, "0"),
        table.integer("capacity_up_wh", NO_CAPACITY, QUANTITY_MAX, NO_CAPACITY),
        table.integer("capacity_down_wh", NO_CAPACITY, QUANTITY_MAX, NO_CAPACITY),
    )
    table.done()
    return bus


def _home(table: Table) -> Home:
    home = Home(
        table.name_of("name"),
        table.parsed("owner_key", _key),
        table.parsed("node_key", _key),
        table.parsed("transport_key", _key),
        table.name_of("bus"),
        table.parsed("cash", units.parse_money, "0"),
    )
    table.done()
    return home


def _device(table: Table) -> Device:
    device = Device(
        table.name_of("name"),
        table.parsed("key", _key),
        int(table.parsed("role", _role)),
        table.take("owner", str, ""),
        table.name_of("bus"),
    )
    table.done()
    return device


def _generator(table: Table) -> Generator:
    generator = Generator(table.name_of("name"), table.name_of("device"), table.amounts("shares"))
    table.done()
    return generator


def _pool(table: Table) -> Pool:
    pool = Pool(
        table.name_of("name"),
        table.name_of("device"),
        table.integer("capacity_wh", 0, QUANTITY_MAX),
        table.integer("power_w", 0, QUANTITY_MAX),
        table.parsed("efficiency", units.parse_share),
        table.parsed("cash", units.parse_money, "0"),
        table.amounts("shares"),
        table.amounts("tsl_wh"),
    )
    table.done()
    return pool


def check_genesis(path: Path, genesis: Genesis) -> None:
    """Everything that one field alone cannot show. Raises `ConfigError`."""

    def need(condition: bool, problem: str) -> None:
        if not condition:
            raise ConfigError(f"{path}: {problem}")

    need(1 <= len(genesis.homes) <= HOMES_MAX, f"a street has between 1 and {HOMES_MAX} homes")
    need(
        not genesis.membership.trusted_household or len(genesis.homes) in (2, 3),
        "[membership] trusted_household: is for two or three homes; four survive a liar without it",
    )
    need(genesis.timing.created_ms < genesis.timing.origin_ms, "[time] created_ms must lie before origin_ms")
    pricing = PRICINGS[genesis.market.pricing]
    one_price = genesis.market.pricing == UNIFORM
    need(one_price or len(genesis.buses) == 1, f"[market] pricing: {pricing} is for a street of one bus; use uniform")
    need(one_price or genesis.market.sharing == 0, f"[market] sharing: must be 0 where pricing is {pricing}")
    _unique(path, "bus", (b.name for b in genesis.buses))
    _unique(path, "home", (h.name for h in genesis.homes))
    _unique(path, "device", (d.name for d in genesis.devices))
    _unique(
        path,
        "key",
        [k for h in genesis.homes for k in (h.owner_key, h.node_key, h.transport_key)]
        + [d.key for d in genesis.devices],
    )
    seen: set[str] = set()
    for position, bus in enumerate(genesis.buses):
        need(
            (bus.parent == "") == (position == 0),
            f"bus {bus.name}: the first bus is the root, all others name a parent",
        )
        need(position == 0 or bus.parent in seen, f"bus {bus.name}: its parent {bus.parent} must stand before it")
        need(bus.fee >= 0, f"bus {bus.name}: a fee is never negative")
        seen.add(bus.name)
    need(bool(genesis.buses), "a street has at least the bus root")
    fees = {"": 0}
    for bus in genesis.buses:
        fees[bus.name] = fees.get(bus.parent, 0) + bus.fee
        furthest = max(genesis.market.retail + fees[bus.name], fees[bus.name] - genesis.market.feed_in)
        need(furthest <= PRICE_MAX, f"bus {bus.name}: the fees on its path are too high for a price to fit 31 bits")
    cash = [genesis.market.grid_cash, *(h.cash for h in genesis.homes), *(p.cash for p in genesis.pools)]
    need(sum(cash) <= AMOUNT_MAX, "all the cash together is more than the ledger can hold")
    need(min(cash) >= 0, "cash is never negative")
    accounts = genesis.accounts
    for home in genesis.homes:
        need(home.bus in seen, f"home {home.name}: no bus is called {home.bus}")
        need(home.name not in STREET_ACCOUNTS, f"home {home.name}: that name is taken by the street")
    for device in genesis.devices:
        need(device.bus in seen, f"device {device.name}: no bus is called {device.bus}")
        need(
            device.owner in accounts or (device.owner == "" and device.role == Role.FEEDER),
            f"device {device.name}: no account is called {device.owner!r}",
        )
    settling = [(d.role, d.owner) for d in genesis.devices if d.role in SETTLING_NUMBERS]
    _unique(path, "settling device of", settling)
    homes = {home.name for home in genesis.homes}
    for generator in genesis.generators:
        device_of = genesis.device(generator.device)
        need(
            device_of is not None and device_of.role == Role.GENERATOR and device_of.owner == f"gen:{generator.name}",
            f"generator {generator.name}: its device must have role generator and owner gen:{generator.name}",
        )
        need({n for n, _ in generator.shares} <= homes, f"generator {generator.name}: shares belong to homes")
        need(
            sum(n for _, n in generator.shares) == units.SHARES_TOTAL,
            f"generator {generator.name}: its shares add up to {units.SHARES_TOTAL}",
        )
    for pool in genesis.pools:
        device_of = genesis.device(pool.device)
        need(
            device_of is not None and device_of.role == Role.POOL and device_of.owner == f"pool:{pool.name}",
            f"pool {pool.name}: its device must have role pool and owner pool:{pool.name}",
        )
        need({n for n, _ in pool.shares + pool.tsl_wh} <= homes, f"pool {pool.name}: shares and TSL belong to homes")
        need(sum(n for _, n in pool.shares) == units.SHARES_TOTAL, f"pool {pool.name}: its shares add up to 10000")
        need(sum(n for _, n in pool.tsl_wh) <= pool.capacity_wh, f"pool {pool.name}: TSL exceeds the usable capacity")


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner may read (0600), never over an existing one. Raises `ConfigError`, `DiskFailed`."""
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
    except FileExistsError:
        raise ConfigError(f"{path}: exists already and is not overwritten; move it away first") from None
    except OSError as error:
        raise DiskFailed(f"{path}: cannot be written ({error.strerror}); free space or check rights") from None


def create_key(path: Path) -> bytes:
    """Make a new Ed25519 key file (32-byte seed, hex); the public key is returned."""
    seed = secrets.token_bytes(KEY_BYTES)
    write_private(path, seed.hex() + "\n")
    return ED25519.public(seed)


def load_key(path: Path) -> bytes:
    """The 32-byte seed of a key file. Raises `ConfigError` if it is missing, damaged or readable by others."""
    try:
        mode = path.stat().st_mode & 0o077
        text = path.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: the key cannot be read ({error}); restore it or commission a new one") from None
    if mode:
        raise ConfigError(f"{path}: the key is readable by others; run: chmod 600 {path}")
    try:
        return _key(text)
    except ValueError as error:
        raise ConfigError(f"{path}: {error}; restore it or commission a new one") from None


class FolderLock:
    """Holds a data folder for one process as long as it lives. Raises `FolderInUse`."""

    def __init__(self, folder: Path) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._file: IO[str] = (folder / "lock").open("a+")
        except OSError as error:
            raise DiskFailed(
                f"{folder}: cannot be used as a data folder ({error.strerror}); check its rights"
            ) from None
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._file.seek(0)
            owner = self._file.read().strip() or "unknown"
            self._file.close()
            raise FolderInUse(
                f"{folder}: is in use by process {owner}; stop that one first, or give this one another folder"
            ) from None
        self._file.truncate(0)
        self._file.write(str(os.getpid()))
        self._file.flush()

    def close(self) -> None:
        """Let go of the folder."""
        self._file.close()
