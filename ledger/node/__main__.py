"""The node's process: `energo-node --config FILE`."""

from __future__ import annotations

import argparse
import asyncio
import gc
import signal
import sys
from ipaddress import ip_address
from pathlib import Path
from typing import Final, NoReturn

from ledger.base.errors import ConfigError, DiskFailed, EnergoError
from ledger.base.files import FolderLock, load_genesis, load_toml

from .api import Api
from .catchup import SNAPSHOT_BEHIND
from .journal import Journal
from .links import Network
from .log import Log
from .loop import Node, Settings, ask_keys
from .recovery import open_sound
from .store import Retention
from .upkeep import SNAPSHOT_BLOCKS, Ballast, await_room

ROOM_BYTES: Final = (
    8 * 1024 * 1024
)  # a start writes a log of up to 4 MiB into the ledger, and goes on with two journals


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")  # [fe80::1%eth0]:4711
    if not host or not port.isdigit() or not 0 < int(port) < 65_536:
        raise ValueError(f"{text!r} is not an address such as 192.168.1.20:4711")
    return host, int(port)


def load_settings(config: Path) -> Settings:
    """A node's TOML file, checked whole. Raises `ConfigError`."""
    top = load_toml(config)
    node, served, wallet, network, times = (
        top.table("node"),
        top.table("api"),
        top.table("wallet"),
        top.table("network"),
        top.table("clock", optional=True),
    )
    kept = top.table("storage", optional=True)
    name, admitted = node.name_of("name"), node.take("admitted", bool, False)
    peers: list[tuple[str, int]] = []
    for text in network.texts("peers"):
        try:
            peers.append(_address(text))
        except ValueError as error:
            raise ConfigError(f"{config}: [network] peers: {error}") from None
    data = node.file("data")
    listen = network.take("listen", str, "::")
    try:
        ip_address(listen)
    except ValueError:
        raise ConfigError(f"{config}: [network] listen: {listen!r} is not an address; :: is all of them") from None
    genesis_file = node.file("genesis")
    settings = Settings(
        name=name,
        genesis=load_genesis(genesis_file),
        genesis_file=genesis_file,
        data=data,
        operators=served.file("operators"),
        view=served.file("view"),
        wallet=wallet.file("socket"),
        network=Network(
            listen=listen,
            port=network.integer("port", 0, 65_535, 0),
            zeroconf=network.take("zeroconf", bool, True),
            interfaces=tuple(network.texts("interfaces")),
            peers=tuple(peers),
            redial_ms_max=network.integer("redial_ms_max", 100, 600_000, 30_000),
            cache=data / "peers.json",
        ),
        clock_trusted=times.take("trusted", bool, False),
        retention=Retention(kept.integer("body_days", 1, 36_500, 400), kept.integer("event_days", 1, 36_500, 30)),
        ballast_bytes=kept.integer("ballast_mib", 0, 1_024, 0) << 20,
        snapshot_blocks=kept.integer("snapshot_blocks", 1, 1_000_000, SNAPSHOT_BLOCKS),
        snapshot_behind=kept.integer("snapshot_behind", 1, 1_000_000, SNAPSHOT_BEHIND),
    )
    for table in (node, served, wallet, network, times, kept, top):
        table.done()
    if not admitted and all(home.name != name for home in settings.genesis.homes):
        raise ConfigError(
            f"{config}: [node] name: no home of the genesis is called {name}; one that was admitted later has admitted = true"
        )
    return settings


async def _run(settings: Settings, log: Log) -> None:
    loop = asyncio.get_running_loop()
    ballast = Ballast(settings.data, settings.ballast_bytes)
    asking = asyncio.create_task(ask_keys(settings.wallet, log.note))
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, asking.cancel)
    try:
        keys = await asking
    except asyncio.CancelledError:
        return  # told to stop before the wallet was there
    home = next((home for home in settings.genesis.homes if home.name == settings.name), None)
    if home is not None and home.owner_key != keys[0]:
        raise ConfigError(f"the wallet at {settings.wallet} is not that of {settings.name}; its owner's key is another")
    try:
        await _live(settings, log, keys, ballast)
    except DiskFailed:
        ballast.free()  # so that the next start finds room to go on with
        raise


async def _live(settings: Settings, log: Log, keys: tuple[bytes, bytes, bytes], ballast: Ballast) -> None:
    await_room(settings.data, ROOM_BYTES)
    store = open_sound(settings.data, settings.genesis, note=log.note, retention=settings.retention)
    try:
        node = Node(settings, store, Journal(settings.data, log.note), log, keys)
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, node.stop)
        ballast.hold()
        gc.collect()
        gc.freeze()  # modules and the genesis stay to the end: later collections do not walk through them
        await node.run(lambda running: Api(running, settings.operators, settings.view))
    finally:
        store.close()


def main() -> NoReturn:
    """The console script."""
    parser = argparse.ArgumentParser(prog="energo-node", description="Runs one home's node of the street's ledger.")
    parser.add_argument("--config", type=Path, required=True, help="the node's TOML file")
    options = parser.parse_args()
    log = Log("energo-node")
    try:
        settings = load_settings(options.config)
        lock = FolderLock(settings.data)
        asyncio.run(_run(settings, log))
        lock.close()
    except EnergoError as error:
        log.note(str(error))
        sys.exit(1)
    sys.exit(0)


if __name__ == "__main__":
    main()
