"""What a street is on disk: a data folder a home, with keys, genesis and one configuration file a process.

Promises that what it writes, the processes read: the same checks, the same names. Never writes over a key. Refuses folders that
hold something already.
"""

from __future__ import annotations

import json
import os
import random
import socket
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from zeroconf import Zeroconf

from ledger.base.errors import ConfigError, DiskFailed
from ledger.base.files import create_key
from ledger.base.genesis import NO_CAPACITY, PRICINGS
from ledger.base.units import format_money, format_price, format_share
from ledger.wallet.keystore import create_keys

from .street import UNIT_BATTERY, UNIT_CAR, Home, Street

HOST: Final = "127.0.0.1"

# The demo's parameters (consensus design, section 8), in ms.
TIMEOUT_MS: Final = 300
TIMEOUT_FACTOR_MAX: Final = 8
MIN_INTERVAL_MS: Final = 100
STALE_MS: Final = 500
HEARTBEAT_MS: Final = 600_000
EXPIRY_MAX: Final = 10_000
REDIAL_MS_MAX: Final = 1_000

# The agents' rules of the demo: as decimal text per kWh, and as parts of the TSL that a home has.
SELL_STORED_ABOVE: Final = "0.20"
BUY_STORED_BELOW: Final = "0.22"
COMMIT_PARTS: Final = 10  # of each slot's surplus it commits at most a tenth of its TSL
KEEP_MADE_PARTS: Final = 4  # a home with a plant keeps a quarter of what it may store and sells the rest ...
KEEP_BOUGHT_PARTS: Final = 2  # ... and one without buys until it has a half
STEP_PARTS: Final = 16  # orders differ by at least this much

# Ports below those that the system gives to outgoing connections: nobody takes one while a node is switched off.
PORT_LOWEST: Final = 10_000
PORT_TRIES: Final = 2_000


@dataclass(frozen=True)
class HomeKeys:
    """A home's public keys, as hex."""

    owner: str
    node: str
    transport: str


@dataclass(frozen=True)
class HomeFolder:
    """Where everything of a home lies."""

    path: Path

    @property
    def genesis(self) -> Path:
        """The street's genesis, a copy a home."""
        return self.path / "genesis.toml"

    @property
    def wallet(self) -> Path:
        """The keys and the vote journal."""
        return self.path / "wallet"

    @property
    def node(self) -> Path:
        """The ledger."""
        return self.path / "node"

    @property
    def meter(self) -> Path:
        """The device keys and the queue."""
        return self.path / "meter"

    @property
    def socket(self) -> Path:
        """The node's socket for operators."""
        return self.path / "run" / "node.sock"

    def config(self, process: str) -> Path:
        """The configuration of wallet, node, meter or der."""
        return self.path / "config" / f"{process}.toml"

    def log(self, process: str) -> Path:
        """What a process says."""
        return self.path / "log" / f"{process}.log"


def make_folder(path: Path) -> None:
    """An empty folder for a street. Raises `ConfigError` if something is in it, `DiskFailed`."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        if any(path.iterdir()):
            raise ConfigError(f"{path}: is not empty; name a new folder, nothing is overwritten")
    except OSError as error:
        raise DiskFailed(f"{path}: cannot be used ({error.strerror}); name another folder") from None


def write(path: Path, text: str) -> None:
    """A whole text file. Raises `DiskFailed`."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise DiskFailed(f"{path}: cannot be written ({error.strerror}); free space or name another folder") from None


def make_keys(street: Street, folder_of: Callable[[str], HomeFolder]) -> tuple[dict[str, HomeKeys], dict[str, str]]:
    """A home's three keys in its wallet's folder, a device's beside its reader: public keys by home and by device."""
    homes: dict[str, HomeKeys] = {}
    devices: dict[str, str] = {}
    try:
        for home in street.homes:
            folder = folder_of(home.name)
            homes[home.name] = HomeKeys(*(key.hex() for key in create_keys(folder.wallet)))
            folder.meter.mkdir(parents=True, exist_ok=True, mode=0o700)
            for meter in street.meters_of(home.name):
                devices[meter.name] = create_key(folder.meter / f"{meter.name}.key").hex()
    except OSError as error:
        raise DiskFailed(
            f"{error.filename}: cannot be made ({error.strerror}); free space or name another folder"
        ) from None
    return homes, devices


def free_ports(count: int) -> list[int]:
    """Ports of this machine that nobody uses now. Raises `ConfigError` where there are not so many."""
    try:
        text = Path("/proc/sys/net/ipv4/ip_local_port_range").read_text(encoding="ascii")
        highest = int(text.split()[0])
    except (OSError, ValueError):
        highest = 32_768
    chance = random.SystemRandom()
    found: list[int] = []
    for _ in range(PORT_TRIES):
        if len(found) == count:
            return found
        port = chance.randrange(PORT_LOWEST, max(highest, PORT_LOWEST + 4 * PORT_TRIES))
        with socket.socket() as probe:
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
        if port not in found:
            found.append(port)
    raise ConfigError(f"this machine has no {count} free ports from {PORT_LOWEST} on; stop what uses them")


# ---- files


def _text(value: str) -> str:
    return json.dumps(value, ensure_ascii=False)


def _table(header: str, values: Mapping[str, str | int | bool | Sequence[str]]) -> str:
    lines = [header]
    for key, value in values.items():
        if isinstance(value, bool):
            lines.append(f"{key} = {str(value).lower()}")
        elif isinstance(value, int):
            lines.append(f"{key} = {value}")
        elif isinstance(value, str):
            lines.append(f"{key} = {_text(value)}")
        else:
            lines.append(f"{key} = [{', '.join(_text(each) for each in value)}]")
    return "\n".join(lines) + "\n"


def _amounts(pairs: Iterable[tuple[str, int]]) -> str:
    return "{ " + ", ".join(f"{_text(name)} = {amount}" for name, amount in pairs) + " }"


def genesis_text(
    street: Street,
    homes: Mapping[str, HomeKeys],
    devices: Mapping[str, str],
    *,
    created_ms: int,
    origin_ms: int,
    slot_ms: int,
    slot_count: int,
) -> str:
    """The genesis of a street, as TOML."""
    market = street.market
    costs, brings = ("island_buy", "island_sell") if market.islanded else ("retail", "feed_in")
    parts = [
        "# What this street agreed on before its first block. Its hash is the chain's id: nothing here can be changed.\n",
        _table("[street]", {"name": street.name, "currency": street.currency, "day": street.day}),
        _table(
            "[time]",
            {
                "created_ms": created_ms,
                "origin_ms": origin_ms,
                "slot_ms": slot_ms,
                "slot_count": slot_count,
                "grace_ms": slot_ms,
                "stale_ms": STALE_MS,
            },
        ),
        _table(
            "[consensus]",
            {
                "timeout_ms": TIMEOUT_MS,
                "timeout_factor_max": TIMEOUT_FACTOR_MAX,
                "min_interval_orders_ms": MIN_INTERVAL_MS,
                "min_interval_readings_ms": MIN_INTERVAL_MS,
                "heartbeat_ms": HEARTBEAT_MS,
                "expiry_max": EXPIRY_MAX,
            },
        ),
        _table("[tariff]", {costs: format_price(market.retail), brings: format_price(market.feed_in)}),
        _table(
            "[market]",
            {
                "sharing": format_share(market.sharing),
                "pricing": PRICINGS[market.pricing],
                "exchange_fee": format_share(market.exchange_fee),
                "exchange_fee_treasury": format_share(market.exchange_fee_treasury),
                "tsl": "on" if market.tsl_required else "off",
                "credit_limit": format_money(market.credit_limit),
                "grid_cash": format_money(market.grid_cash),
            },
        ),
    ]
    for bus in street.buses:
        values: dict[str, str | int] = {"id": bus.name}
        if bus.parent:
            values |= {"parent": bus.parent, "fee": format_price(bus.fee)}
        for key, capacity_wh in (("capacity_up_wh", bus.capacity_up_wh), ("capacity_down_wh", bus.capacity_down_wh)):
            if capacity_wh != NO_CAPACITY:
                values[key] = capacity_wh
        parts.append(_table("[[bus]]", values))
    for home in street.homes:
        keys = homes[home.name]
        parts.append(
            _table(
                "[[home]]",
                {
                    "name": home.name,
                    "owner_key": keys.owner,
                    "node_key": keys.node,
                    "transport_key": keys.transport,
                    "bus": home.bus,
                    "cash": format_money(home.cash),
                },
            )
        )
    for meter in street.meters:
        values = {"name": meter.name, "key": devices[meter.name], "role": meter.role, "bus": meter.bus}
        parts.append(_table("[[device]]", values | ({"owner": meter.owner} if meter.owner else {})))
    for plant in street.generators:
        table = _table("[[generator]]", {"name": plant.name, "device": plant.name})
        parts.append(table + f"shares = {_amounts(plant.shares)}\n")
    for pool in street.pools:
        table = _table(
            "[[pool]]",
            {
                "name": pool.name,
                "device": pool.name,
                "capacity_wh": pool.capacity_wh,
                "power_w": pool.power_w,
                "efficiency": format_share(pool.efficiency),
                "cash": format_money(pool.cash),
            },
        )
        parts.append(table + f"shares = {_amounts(pool.shares)}\ntsl_wh = {_amounts(pool.tsl_wh)}\n")
    return "\n".join(parts)


def wallet_text(home: Home, *, days: int) -> str:
    """wallet.toml; the agent's limits hold for a whole run, whose slots are shortened into minutes of one real day."""
    return "\n".join(
        (
            _table("[wallet]", {"name": home.name, "genesis": "../genesis.toml", "keys": "../wallet"}),
            _table(
                "[sockets]",
                {
                    "node": "../run/wallet/node.sock",
                    "agent": "../run/wallet/agent.sock",
                    "owner": "../run/wallet/owner.sock",
                },
            ),
            _table(
                "[agent]",
                {
                    "orders_per_day": 500 * days,
                    "commits_per_day": 500 * days,
                    "redeems_per_day": 500 * days,
                    "spend_per_day": format_money(50 * 10**8 * days),
                },
            ),
        )
    )


def multicast_works() -> bool:
    """Whether zeroconf can be used on the loopback interface of this machine."""
    try:
        Zeroconf(interfaces=[HOST]).close()
    except OSError:
        return False
    return True


def node_text(home: Home, *, port: int, peers: Sequence[int]) -> str:
    """node.toml. Neighbors are found by zeroconf; where `peers` (ports) are given, by these addresses instead."""
    return "\n".join(
        (
            _table("[node]", {"name": home.name, "genesis": "../genesis.toml", "data": "../node"}),
            _table("[api]", {"operators": "../run/node.sock", "view": "../run/view.sock"}),
            _table("[wallet]", {"socket": "../run/wallet/node.sock"}),
            _table(
                "[network]",
                {
                    "listen": HOST,
                    "port": port,
                    "zeroconf": not peers,
                    "interfaces": [HOST],
                    "peers": [f"{HOST}:{peer}" for peer in peers],
                    "redial_ms_max": REDIAL_MS_MAX,
                },
            ),
            _table("[clock]", {"trusted": True}),
        )
    )


def meter_text(street: Street, home: Home, *, port: int, slot_ms: int) -> str:
    """meter.toml."""
    about = {"name": home.name, "genesis": "../genesis.toml", "data": "../meter", "node": "../run/node.sock"}
    tables = [_table("[meter]", about | {"poll_ms": max(20, min(1_000, slot_ms // 15))})]
    for meter in street.meters_of(home.name):
        values: dict[str, str | int] = {
            "name": meter.name,
            "key": f"../meter/{meter.name}.key",
            "model": meter.model,
            "host": HOST,
            "port": port,
            "unit": meter.unit,
        }
        tables.append(_table("[[device]]", values))
    return "\n".join(tables)


def agent_text(street: Street, home: Home, *, port: int, slot_ms: int) -> str:
    """der.toml: homes with a plant commit surplus and sell what they do not keep; the others buy what they lack."""
    tsl_wh = sum(amount for pool in street.pools for name, amount in pool.tsl_wh if name == home.name)
    rules: dict[str, str | int] = {"step_wh": max(1, tsl_wh // STEP_PARTS)}
    if home.pv_kwp:
        rules |= {"keep_wh": tsl_wh // KEEP_MADE_PARTS, "commit_wh_per_slot": tsl_wh // COMMIT_PARTS}
        if len(street.homes) > 1:  # alone, there is nobody to sell to
            rules |= {"sell_stored_above": SELL_STORED_ABOVE}
    else:
        rules |= {"keep_wh": tsl_wh // KEEP_BOUGHT_PARTS, "buy_stored_below": BUY_STORED_BELOW}
    tables = [
        _table(
            "[agent]",
            {
                "home": home.name,
                "genesis": "../genesis.toml",
                "node": "../run/node.sock",
                "wallet": "../run/wallet/agent.sock",
                "poll_ms": max(20, min(1_000, slot_ms // 8)),
            },
        ),
        _table("[rules]", rules),
    ]
    here: dict[str, str | int] = {"host": HOST, "port": port}
    if home.battery:
        power_w = home.battery.power_w
        limits: dict[str, str | int] = {
            "unit": UNIT_BATTERY,
            "mode": "own_use",
            "max_charge_w": power_w,
            "max_discharge_w": power_w,
        }
        tables.append(_table("[battery]", here | limits))
    if home.car:
        tables.append(_table("[car]", {**here, "unit": UNIT_CAR, "mode": "own_use", "max_w": home.car.power_w}))
    for meter in street.meters_of(home.name):
        if meter.role == "pool":
            tables.append(_table("[[pool]]", {"name": meter.name, **here, "unit": meter.unit}))
    return "\n".join(tables)


def world_text(street: Street, street_file: Path | None, *, origin_ms: int, slot_ms: int, ports_file: Path) -> str:
    """world.toml."""
    values: dict[str, str | int] = {
        "homes": len(street.homes),
        "days": street.days,
        "seed": street.seed,
        "origin_ms": origin_ms,
        "slot_ms": slot_ms,
        "host": HOST,
        "ports_file": os.fspath(ports_file),
    }
    if street_file is not None:
        values["street"] = os.fspath(street_file.resolve())
    return _table("# The simulated meters and devices of this street.", values)
