"""`energo-der`: the home's agent. Reads the node, decides by rules.py, has the wallet sign, and drives the home's devices.

Configuration (TOML): `[agent]` with `home`, `genesis`, `node` and `wallet` (the sockets) and optional `poll_ms`; `[rules]` with
optional `sell_stored_above` and `buy_stored_below` (decimal text per kWh), `keep_wh`, `commit_wh_per_slot`, `buy_wh_max`,
`step_wh`, `cash_reserve` and `pool`; where the home has them `[battery]` with `host`, `port`, `unit`, `mode`, `max_charge_w`,
`max_discharge_w`, `[car]` with `host`, `port`, `unit`, `mode`, `max_w`, and a `[[pool]]` with `name`, `host`, `port`,
`unit` for each that it looks after. Each device may name its `model`.

Acts once for each slot that the ledger closes. A node, wallet or device that is away is said once and tried again; what the
ledger or the wallet refuses is said once and decided anew after the next slot. It refuses to act on a slot twice.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

import sdnotify

from firmware.meter import models
from firmware.meter.drivers import Endpoint, MeterUnreadable, ModbusLink
from ledger.base import units
from ledger.base.errors import (
    ConfigError,
    EnergoError,
    NodeRefused,
    NodeUnavailable,
    SignerRefused,
    SignerUnavailable,
)
from ledger.base.files import Table, load_genesis, load_toml
from ledger.base.genesis import Genesis
from ledger.base.intents import Intent
from ledger.base.limits import AMOUNT_MAX, QUANTITY_MAX
from ledger.client import NodeClient, WalletClient

from .devices import MODES, Pool, Standing, need_told
from .rules import Rules, decide, setpoint
from .view import PoolView, StreetView, home_view, street_view

log = logging.getLogger("energo-der")

CLIENT_TIMEOUT_S: Final = 5.0  # a stop waits for a call that is under way
POLL_MS_DEFAULT: Final = 1_000
IDLE_MS_MAX: Final = 10_000  # a third of the unit's WatchdogSec
SLOTS_SEEN: Final = 6  # closed slots fetched: more than the age at which a surplus is stale
POOLS_MAX: Final = 16
PENDING_MAX: Final = 64  # transactions whose outcome is still asked for


@dataclass(frozen=True)
class DeviceConfig:
    """A device on Modbus and, for a battery or a car, what it shall be told."""

    name: str
    endpoint: Endpoint
    unit: int
    model: str
    values: dict[str, int]


@dataclass(frozen=True)
class Config:
    """What `energo-der` is started with. `pool` is the one that the rules speak of; "" is the genesis's first."""

    home: str
    genesis: Path
    node: Path
    wallet: Path
    poll_ms: int
    rules: Rules
    pool: str
    standing: tuple[DeviceConfig, ...]
    kept: tuple[DeviceConfig, ...]


def load_config(path: Path) -> Config:
    """The configuration, checked whole. Raises `ConfigError`."""
    top = load_toml(path)
    agent, written = top.table("agent"), top.table("rules")
    standing = []
    if top.has("battery"):
        standing.append(_battery(top.table("battery")))
    if top.has("car"):
        standing.append(_car(top.table("car")))
    pools = top.tables("pool")
    if len(pools) > POOLS_MAX:
        raise ConfigError(f"{path}: [[pool]]: a home looks after at most {POOLS_MAX}")
    config = Config(
        agent.name_of("home"),
        agent.file("genesis"),
        agent.file("node"),
        agent.file("wallet"),
        agent.integer("poll_ms", 10, 60_000, POLL_MS_DEFAULT),
        Rules(
            written.parsed("sell_stored_above", _price) if written.has("sell_stored_above") else None,
            written.parsed("buy_stored_below", _price) if written.has("buy_stored_below") else None,
            written.integer("keep_wh", 0, AMOUNT_MAX, 0),
            written.integer("commit_wh_per_slot", 0, QUANTITY_MAX, 0),
            written.integer("buy_wh_max", 1, QUANTITY_MAX, 2_000),
            written.integer("step_wh", 1, QUANTITY_MAX, 250),
            written.parsed("cash_reserve", units.parse_money, "10.00"),
        ),
        written.take("pool", str, ""),
        tuple(standing),
        tuple(_pool(table) for table in pools),
    )
    for table in (agent, written, top):
        table.done()
    return config


def _price(text: str) -> int:
    price = units.parse_price(text)
    if price <= 0:
        raise ValueError(f"is {text!r}; a price for stored energy is above 0, and without one nothing is traded")
    return price


def _mode(text: str) -> int:
    if text not in MODES:
        raise ValueError(f"is {text!r}; it must be {' or '.join(MODES)}")
    return MODES[text]


def _device(table: Table, name: str, model: str, values: dict[str, int]) -> DeviceConfig:
    endpoint = Endpoint(table.take("host", str), table.integer("port", 1, 65_535, 502))
    device = DeviceConfig(name, endpoint, table.integer("unit", 0, 247, 1), table.take("model", str, model), values)
    table.done()
    return device


def _battery(table: Table) -> DeviceConfig:
    values = {
        "mode": table.parsed("mode", _mode, "own_use"),
        "charge_w_max": table.integer("max_charge_w", 0, 1_000_000),
        "discharge_w_max": table.integer("max_discharge_w", 0, 1_000_000),
    }
    return _device(table, "battery", "energo-battery", values)


def _car(table: Table) -> DeviceConfig:
    values = {
        "mode": table.parsed("mode", _mode, "own_use"),
        "charge_w_max": table.integer("max_w", 0, 1_000_000),
    }
    return _device(table, "car", "energo-car", values)


def _pool(table: Table) -> DeviceConfig:
    return _device(table, table.name_of("name"), "energo-pool", {})


class Node(Protocol):
    """What the agent needs of the node's client; calls block."""

    def get(self, target: str) -> Any:
        """A JSON document. Raises `NodeUnavailable`, `NodeRefused`."""

    def submit(self, raw: bytes) -> str:
        """Hand over a transaction; its id. Raises `NodeUnavailable`, `NodeRefused`."""


class Wallet(Protocol):
    """What the agent needs of the wallet's client; calls block."""

    def sign_transaction(self, intent: Intent, *, nonce: int, valid_until_height: int) -> bytes:
        """The signed transaction. Raises `SignerUnavailable`, `SignerRefused`."""


class OnceLog:
    """Says a trouble once, and once that it is over, however often it comes."""

    def __init__(self) -> None:
        self._said = set[str]()

    def trouble(self, subject: str, text: str) -> None:
        """A warning, unless this subject's trouble has been said."""
        if subject not in self._said:
            self._said.add(subject)
            log.warning("%s: %s", subject, text)

    def over(self, subject: str) -> None:
        """That a subject's trouble is over, if it had one."""
        if subject in self._said:
            self._said.remove(subject)
            log.info("%s: works again", subject)


class Agent:
    """The home's agent. `now_ms` is the wall clock; nothing else in here knows the time."""

    def __init__(
        self,
        config: Config,
        genesis: Genesis,
        node: Node,
        wallet: Wallet,
        standing: list[Standing],
        kept: list[Pool],
        *,
        now_ms: Callable[[], int],
    ) -> None:
        self.config, self.genesis, self.node, self.wallet = config, genesis, node, wallet
        self.standing, self.kept, self._now_ms = standing, kept, now_ms
        self.acted_on = -1  # the last closed slot after which this home has said what it wants
        self._held: set[str] = set()  # devices that showed the right values in this slot
        self._pooled: set[str] = set()  # pools that have been told in this slot
        self._slot = -1
        self._before: StreetView | None = None  # the street as it was before the running slot's predecessor closed
        self._pending: list[tuple[str, Intent]] = []
        self._once = OnceLog()

    # -- looking

    def _street(self) -> tuple[StreetView, Any]:
        """The street and the node's status. Raises `NodeUnavailable`, `NodeRefused`."""
        status = self.node.get("/v1/status")
        try:
            slots = self.node.get(f"/v1/slots?count={SLOTS_SEEN}")
            view = street_view(self.genesis, int(status["closed_slot"]), slots, self.node.get("/v1/pools"))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise _strange(error) from None
        return view, status

    # -- one look at everything

    async def turn(self) -> None:
        """Whatever is due now. Never raises for what is away or refused."""
        now_ms = self._now_ms()
        slot = self.genesis.slot_of(now_ms)
        if slot != self._slot:
            self._slot = slot
            self._held.clear()
            self._pooled.clear()
        try:
            await self._look(slot)
            self._once.over("node")
        except NodeUnavailable as error:
            self._once.trouble("node", f"{error} The devices keep what they were told; trying again.")
        except NodeRefused as error:
            self._once.trouble("node", f"refused a question: {error} ({error.code})")
        for device in self.standing:
            await self._hold(device)

    async def _look(self, slot: int) -> None:
        untold = [pool for pool in self.kept if pool.name not in self._pooled and self.genesis.is_slot(slot)]
        if not untold and not await self._has_news():
            return
        street, status = await asyncio.to_thread(self._street)
        if street.closed_slot < slot - 1 or self._before is None:
            self._before = street
        for pool in untold:
            await self._keep(pool, self._before, slot)
        if street.closed_slot > self.acted_on and self.genesis.is_slot(slot):
            await asyncio.to_thread(self._act, street, status)
            self.acted_on = street.closed_slot

    async def _has_news(self) -> bool:
        if self.acted_on >= self._slot - 1:
            return False  # the running slot's predecessor is the newest that can be closed
        status = await asyncio.to_thread(self.node.get, "/v1/status")
        try:
            return int(status["closed_slot"]) > self.acted_on
        except (KeyError, TypeError, ValueError) as error:
            raise _strange(error) from None

    # -- orders, commitments, requests

    def _act(self, street: StreetView, status: Any) -> None:
        """Say what this home wants after a closed slot. Raises `NodeUnavailable`, `NodeRefused` for a question."""
        self._hear()
        pool = self._pool_of(street)
        if pool is None:
            return
        try:
            balance = self.node.get("/v1/balance?account=self")
            home = home_view(self.config.home, street, balance, self.node.get("/v1/orders"))
            nonce, expiry = int(balance["nonce_next"]), int(status["expiry_height"])
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise _strange(error) from None
        fee = self.genesis.market.exchange_fee
        for intent in decide(self.config.rules, pool, self.config.home, home, exchange_fee=fee):
            if not self._ask(intent, nonce, expiry):
                return  # what follows counts on it
            nonce += 1

    def _pool_of(self, street: StreetView) -> PoolView | None:
        name = self.config.pool or (self.genesis.pools[0].name if self.genesis.pools else "")
        return next((pool for pool in street.pools if pool.name == name), None)

    def _ask(self, intent: Intent, nonce: int, expiry: int) -> bool:
        """Have it signed and hand it to the node; False: refused, or nobody there."""
        what = type(intent).__name__
        try:
            raw = self.wallet.sign_transaction(intent, nonce=nonce, valid_until_height=expiry)
            self._once.over("wallet")
            transaction_id = self.node.submit(raw)
        except SignerUnavailable as error:
            self._once.trouble("wallet", f"{error} Trying again after the next slot.")
            return False
        except (SignerRefused, NodeRefused) as error:
            self._once.trouble(f"{what} ({error.code})", f"refused: {error}; decided anew after the next slot")
            return False
        log.info("%s", _words(intent))
        self._pending = [*self._pending, (transaction_id, intent)][-PENDING_MAX:]
        return True

    def _hear(self) -> None:
        """What has become of what was asked for."""
        waiting: list[tuple[str, Intent]] = []
        for transaction_id, intent in self._pending:
            outcome = self.node.get(f"/v1/transactions/{transaction_id}")
            status = outcome.get("status") if isinstance(outcome, dict) else None
            if status == "pending":
                waiting.append((transaction_id, intent))
            elif status == "refused":
                why = f"refused by the ledger: {outcome.get('message')}; decided anew after the next slot"
                self._once.trouble(f"{type(intent).__name__} ({outcome.get('code')})", why)
        self._pending = waiting

    # -- devices

    async def _keep(self, pool: Pool, street: StreetView, slot: int) -> None:
        seen = next((view for view in street.pools if view.name == pool.name), None)
        if seen is None:
            self._once.trouble(f"pool {pool.name}", "the ledger knows no such pool; correct [[pool]] name")
            return
        try:
            await pool.follow(slot, setpoint(seen, street, slot))
        except (MeterUnreadable, ValueError) as error:
            self._once.trouble(f"pool {pool.name}", f"{error}; it idles meanwhile")
            return
        self._pooled.add(pool.name)
        self._once.over(f"pool {pool.name}")

    async def _hold(self, device: Standing) -> None:
        if device.name in self._held:
            return
        try:
            if await device.hold():
                log.info("%s: told %s", device.name, " ".join(f"{k}={v}" for k, v in device.values.items()))
        except (MeterUnreadable, ValueError) as error:
            self._once.trouble(device.name, str(error))
            return
        self._held.add(device.name)
        self._once.over(device.name)

    # -- until told to stop

    def due_in_ms(self) -> int:
        """How long until the next turn: at the next slot's start, sooner while something is missing."""
        now_ms = self._now_ms()
        slot = self.genesis.slot_of(now_ms)
        until_next = max(1, self.genesis.slot_start_ms(slot + 1) - now_ms)
        nothing_left = not self.genesis.is_slot(slot) and slot >= 0
        done = nothing_left or self.acted_on >= slot - 1
        told = len(self._held) == len(self.standing) and len(self._pooled) == len(self.kept)
        wait_ms = IDLE_MS_MAX if done and (told or nothing_left) else self.config.poll_ms
        return min(wait_ms, until_next)

    async def run(self, stop: asyncio.Event, heartbeat: Callable[[], None]) -> None:
        """Turns until `stop` is set."""
        try:
            while not stop.is_set():
                await self.turn()
                heartbeat()
                try:
                    await asyncio.wait_for(stop.wait(), self.due_in_ms() / 1_000)
                except TimeoutError:
                    continue
        finally:
            for link in [device.link for device in self.standing] + [pool.link for pool in self.kept]:
                link.close()


def _strange(error: Exception) -> NodeUnavailable:
    return NodeUnavailable(f"the node's answer has another form ({error}); is it of another version?")


def _words(intent: Intent) -> str:
    fields = " ".join(f"{name}={value}" for name, value in vars(intent).items())
    return f"{type(intent).__name__} {fields}"


def build(config: Config, genesis: Genesis) -> tuple[list[Standing], list[Pool]]:
    """The devices of the configuration. Raises `ConfigError`."""
    if config.home not in {home.name for home in genesis.homes}:
        known = ", ".join(home.name for home in genesis.homes)
        raise ConfigError(f"[agent] home: the genesis knows no home {config.home}; it knows {known}")
    for name in [config.pool] * bool(config.pool) + [device.name for device in config.kept]:
        if name not in {pool.name for pool in genesis.pools}:
            raise ConfigError(f"the genesis knows no pool {name!r}; correct the name in der.toml")
    links: dict[Endpoint, ModbusLink] = {}
    for device in (*config.standing, *config.kept):
        links.setdefault(device.endpoint, ModbusLink(device.endpoint, slot_ms=genesis.timing.slot_ms, now_ms=wall_ms))
    standing = [
        Standing(d.name, links[d.endpoint], d.unit, need_told(models.load(d.model), tuple(d.values)), d.values)
        for d in config.standing
    ]
    point = ("setpoint_slot", "setpoint_charge_wh", "setpoint_discharge_wh")
    kept = [Pool(d.name, links[d.endpoint], d.unit, need_told(models.load(d.model), point)) for d in config.kept]
    return standing, kept


def wall_ms() -> int:
    """The wall clock in ms."""
    return time.time_ns() // 1_000_000


async def _run(config: Config, genesis: Genesis) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    standing, kept = build(config, genesis)
    node, wallet = NodeClient(config.node, CLIENT_TIMEOUT_S), WalletClient(config.wallet, CLIENT_TIMEOUT_S)
    agent = Agent(config, genesis, node, wallet, standing, kept, now_ms=wall_ms)
    notifier = sdnotify.SystemdNotifier()
    notifier.notify("READY=1")
    log.info("ready: %d devices, %d pools", len(standing), len(kept))
    await agent.run(stop, lambda: notifier.notify("WATCHDOG=1"))


def main(arguments: list[str] | None = None) -> int:
    """The process. 0 after a stop, 1 when it cannot start."""
    parser = argparse.ArgumentParser(prog="energo-der", description="The home's agent: battery, car, pool and orders.")
    parser.add_argument("--config", type=Path, required=True, metavar="FILE")
    options = parser.parse_args(arguments)
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    try:
        config = load_config(options.config)
        asyncio.run(_run(config, load_genesis(config.genesis)))
    except EnergoError as error:
        print(f"energo-der: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
