"""`energo-meter`: the reader's process. Reads its configuration, opens what it needs, and runs until it is stopped.

Configuration (TOML): `[meter]` with `name`, `genesis`, `data`, `node` (the socket) and optional `poll_ms`; one
`[[device]]` a meter with `name` (as in the genesis), `key`, `model`, `unit`, and `host` and `port`, or `serial` with
`baudrate` and `parity`; optional `slot_energy_wh_max`, what can flow in a slot at most.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import sdnotify

from ledger.base.crypto import ED25519
from ledger.base.errors import ConfigError, EnergoError
from ledger.base.files import FolderLock, Table, load_genesis, load_key, load_toml
from ledger.base.genesis import Genesis
from ledger.client import NodeClient

from . import models
from .drivers import Endpoint, ModbusLink
from .queue import Queue
from .reader import Feed, Reader, limits_of
from .registers import Follower

log = logging.getLogger("energo-meter")

DEVICES_MAX: Final = 64
NODE_TIMEOUT_S: Final = 5.0  # a stop waits for a call that is under way
POLL_MS_DEFAULT: Final = 1_000
SLOT_ENERGY_WH_DEFAULT: Final = 25_000  # 100 kW: above any home's main fuse


@dataclass(frozen=True)
class DeviceConfig:
    """One `[[device]]`."""

    name: str
    key: Path
    model: str
    endpoint: Endpoint
    unit: int
    slot_energy_wh_max: int


@dataclass(frozen=True)
class Config:
    """What `energo-meter` is started with."""

    name: str
    genesis: Path
    data: Path
    node: Path
    poll_ms: int
    devices: tuple[DeviceConfig, ...]


def load_config(path: Path) -> Config:
    """The configuration, checked whole. Raises `ConfigError`."""
    top = load_toml(path)
    meter = top.table("meter")
    devices = top.tables("device")
    if not 1 <= len(devices) <= DEVICES_MAX:
        raise ConfigError(f"{path}: [[device]]: a reader has 1 to {DEVICES_MAX} of them")
    config = Config(
        meter.name_of("name"),
        meter.file("genesis"),
        meter.file("data"),
        meter.file("node"),
        meter.integer("poll_ms", 10, 60_000, POLL_MS_DEFAULT),
        tuple(_device(table) for table in devices),
    )
    meter.done()
    top.done()
    names = [device.name for device in config.devices]
    if len(set(names)) != len(names):
        raise ConfigError(f"{path}: [[device]]: a name stands twice; each device is read once")
    return config


def _device(table: Table) -> DeviceConfig:
    device = DeviceConfig(
        table.name_of("name"),
        table.file("key"),
        table.take("model", str),
        _endpoint(table),
        table.integer("unit", 0, 247, 1),
        table.integer("slot_energy_wh_max", 1, 10_000_000, SLOT_ENERGY_WH_DEFAULT),
    )
    table.done()
    return device


def _endpoint(table: Table) -> Endpoint:
    if table.has("serial"):
        return Endpoint(
            serial=table.take("serial", str),
            baudrate=table.integer("baudrate", 300, 921_600, 9_600),
            parity=table.parsed("parity", _parity, "N"),
        )
    return Endpoint(table.take("host", str), table.integer("port", 1, 65_535, 502))


def _parity(text: str) -> str:
    if text not in ("N", "E", "O"):
        raise ValueError(f"is {text!r}; it must be N, E or O")
    return text


def build_feeds(config: Config, genesis: Genesis, queue: Queue) -> list[Feed]:
    """A feed for each device. Raises `ConfigError` when the genesis does not know it under this key."""
    links: dict[Endpoint, ModbusLink] = {}
    feeds = []
    for chosen in config.devices:
        device = genesis.device(chosen.name)
        if device is None:
            known = ", ".join(device.name for device in genesis.devices)
            raise ConfigError(f"[[device]] {chosen.name}: the genesis knows no such device; it knows {known}")
        seed = load_key(chosen.key)
        if ED25519.public(seed) != device.key:
            raise ConfigError(
                f"{chosen.key}: is not the key that the genesis has for {chosen.name}; restore the right one"
            )
        model = models.load(chosen.model)
        if chosen.endpoint not in links:
            links[chosen.endpoint] = ModbusLink(chosen.endpoint, slot_ms=genesis.timing.slot_ms, now_ms=wall_ms)
        position = queue.position(chosen.name)
        follower = Follower(limits_of(genesis, device, model, chosen.slot_energy_wh_max), position.track)
        link = links[chosen.endpoint]
        feed = Feed(device, seed, model, link, chosen.unit, follower, position.seq, position.hash)
        feed.commissioned = position.track is not None
        feeds.append(feed)
    return feeds


def wall_ms() -> int:
    """The wall clock in ms."""
    return time.time_ns() // 1_000_000


async def _run(config: Config, genesis: Genesis, queue: Queue) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    feeds = build_feeds(config, genesis, queue)
    reader = Reader(
        genesis, queue, NodeClient(config.node, NODE_TIMEOUT_S), feeds, poll_ms=config.poll_ms, now_ms=wall_ms
    )
    notifier = sdnotify.SystemdNotifier()
    notifier.notify("READY=1")
    log.info("ready: %d devices, %d readings wait", len(feeds), queue.length())
    await reader.run(stop, lambda: notifier.notify("WATCHDOG=1"))


def main(arguments: list[str] | None = None) -> int:
    """The process. 0 after a stop, 1 when it cannot start."""
    parser = argparse.ArgumentParser(prog="energo-meter", description="Reads a home's meters for its node.")
    parser.add_argument("--config", type=Path, required=True, metavar="FILE")
    options = parser.parse_args(arguments)
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    try:
        config = load_config(options.config)
        genesis = load_genesis(config.genesis)
        lock = FolderLock(config.data)
        try:
            queue = Queue(config.data, genesis.chain_id)
            try:
                asyncio.run(_run(config, genesis, queue))
            finally:
                queue.close()
        finally:
            lock.close()
    except EnergoError as error:
        print(f"energo-meter: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
