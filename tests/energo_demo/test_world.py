"""The simulated street on its wires: real Modbus TCP on loopback, the clock in the test's hand."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from pymodbus.client import AsyncModbusTcpClient

from energo_demo import devices, street, world
from energo_demo.street import UNIT_BATTERY, UNIT_CAR, UNIT_CONNECTION, UNIT_FEEDER, UNIT_GENERATION, UNIT_POOL
from energo_demo.world import Config
from firmware.meter import models
from ledger.base.errors import ConfigError

ORIGIN_MS = 1_000_000
SLOT_MS = 1_500


class Clock:
    """Wall clock in ms that stands still until a test moves it."""

    def __init__(self) -> None:
        self.now_ms = ORIGIN_MS

    def end(self, slot: int) -> None:
        """To the very end of a slot."""
        self.now_ms = ORIGIN_MS + (slot + 1) * SLOT_MS


Script = Callable[[Clock, dict[str, Any]], Awaitable[None]]


def config(folder: Path, *, homes: int = 5, ports: dict[str, int] | None = None) -> Config:
    free = {f"home{n}": 0 for n in range(1, homes + 1)}
    return Config(None, homes, 1, 0, ORIGIN_MS, SLOT_MS, "127.0.0.1", free | (ports or {}), folder / "ports.json")


def play(folder: Path, script: Script) -> None:
    """Runs a script against a street that is served, with a client a home."""

    async def run() -> None:
        clock, stop = Clock(), asyncio.Event()
        chosen = config(folder)
        task = asyncio.create_task(world.serve(chosen, stop, now_ms=lambda: clock.now_ms))
        clients: dict[str, Any] = {}
        try:
            assert chosen.ports_file
            async with asyncio.timeout(20):
                while not chosen.ports_file.exists():
                    assert not task.done() or task.result()
                    await asyncio.sleep(0)
            for home, port in json.loads(chosen.ports_file.read_text()).items():
                clients[home] = AsyncModbusTcpClient("127.0.0.1", port=port, timeout=5, retries=0, reconnect_delay=0)
                assert await clients[home].connect()
            await script(clock, clients)
        finally:
            for client in clients.values():
                client.close()
            stop.set()
            await task

    asyncio.run(run())


async def read(client: Any, unit: int, name: str) -> dict[str, int | None]:
    """Every quantity of a unit through its table, in thousandths."""
    model = models.load(name)
    words: dict[int, int] = {}
    for address, count in model.blocks():
        method = client.read_holding_registers if model.function == 3 else client.read_input_registers
        answer = await method(address, count=count, device_id=unit)
        assert not answer.isError(), answer
        words |= dict(enumerate(answer.registers, address))
    return {quantity: model.decode(quantity, words) for quantity in model.reads}


async def tell(client: Any, unit: int, name: str, **values: int) -> bool:
    """Whether the device took it."""
    answers = [
        await client.write_registers(address, words, device_id=unit)
        for address, words in models.load(name).command(values)
    ]
    return not any(answer.isError() for answer in answers)


def test_registers_show_what_the_physics_say_and_change_only_at_slot_ends(tmp_path: Path) -> None:
    async def script(clock: Clock, clients: dict[str, Any]) -> None:
        truth, _ = world.build(street.expand(homes=5))
        before = await read(clients["home1"], UNIT_CONNECTION, "iem3155")
        clock.now_ms += SLOT_MS - 1
        assert await read(clients["home1"], UNIT_CONNECTION, "iem3155") == before
        for slot in (0, 1, 40, 95):
            clock.end(slot)
            truth.advance(slot + 1)
            for number, home in enumerate(truth.homes, 1):
                shown = await read(clients[f"home{number}"], UNIT_CONNECTION, "iem3155")
                assert shown["import_wh"] == home.connection.import_wh * 1000
                assert shown["export_wh"] == home.connection.export_wh * 1000
                power_mw = shown["power_w"]
                assert power_mw is not None
                assert abs(power_mw - home.connection.power_w * 1000) <= 1, "float32 of kW"
            made = await read(clients["home1"], UNIT_GENERATION, "iem3155")
            assert truth.homes[0].generation
            assert made["export_wh"] == truth.homes[0].generation.export_wh * 1000
            root = await read(clients["home1"], UNIT_FEEDER, "iem3155")
            assert root["import_wh"] == truth.root.import_wh * 1000
        clock.end(500)
        assert await read(clients["home1"], UNIT_FEEDER, "iem3155") == root, "after the last slot all stands still"

    play(tmp_path, script)


def test_the_pool_obeys_the_setpoint_that_stood_when_its_slot_ended(tmp_path: Path) -> None:
    async def script(clock: Clock, clients: dict[str, Any]) -> None:
        pool = clients["home2"]
        start = await read(pool, UNIT_POOL, "energo-pool")
        assert await tell(
            pool, UNIT_POOL, "energo-pool", setpoint_slot=3, setpoint_charge_wh=1000, setpoint_discharge_wh=0
        )
        clock.end(2)
        assert (await read(pool, UNIT_POOL, "energo-pool"))["import_wh"] == start["import_wh"]
        clock.end(3)
        charged = await read(pool, UNIT_POOL, "energo-pool")
        assert charged["import_wh"] == (start["import_wh"] or 0) + 1_000_000
        assert charged["stored_wh"] == 900_000
        assert await tell(
            pool, UNIT_POOL, "energo-pool", setpoint_slot=4, setpoint_charge_wh=0, setpoint_discharge_wh=2000
        )
        clock.end(6)
        given = await read(pool, UNIT_POOL, "energo-pool")
        assert given["export_wh"] == (start["export_wh"] or 0) + 900_000, "only what was stored"
        assert given["stored_wh"] == 0

    play(tmp_path, script)


def test_battery_and_car_take_limits_and_refuse_what_they_cannot_do(tmp_path: Path) -> None:
    async def script(clock: Clock, clients: dict[str, Any]) -> None:
        home2, home5 = clients["home2"], clients["home5"]
        assert not await tell(home2, UNIT_BATTERY, "energo-battery", mode=1, charge_w_max=9_000, discharge_w_max=2_500)
        assert not await tell(home2, UNIT_BATTERY, "energo-battery", mode=7, charge_w_max=0, discharge_w_max=0)
        assert await tell(home2, UNIT_BATTERY, "energo-battery", mode=0, charge_w_max=0, discharge_w_max=0)
        assert await tell(home5, UNIT_CAR, "energo-car", mode=0, charge_w_max=3_700)
        answer = await home2.write_registers(3203, [0, 0, 0, 1], device_id=UNIT_CONNECTION)
        assert answer.isError(), "nobody writes a meter"
        battery = await read(home2, UNIT_BATTERY, "energo-battery")
        car = await read(home5, UNIT_CAR, "energo-car")
        clock.end(95)
        later = await read(home2, UNIT_BATTERY, "energo-battery")
        assert later["import_wh"] == battery["import_wh"]
        assert later["stored_wh"] == 0
        after = await read(home5, UNIT_CAR, "energo-car")
        assert after["import_wh"] == car["import_wh"]
        assert (await home2.read_holding_registers(100, count=1, device_id=UNIT_BATTERY)).registers == [0]

    play(tmp_path, script)


def test_a_unit_that_does_not_exist_answers_with_an_error(tmp_path: Path) -> None:
    async def script(clock: Clock, clients: dict[str, Any]) -> None:
        answer = await clients["home3"].read_holding_registers(3203, count=8, device_id=UNIT_GENERATION)
        assert answer.isError()

    play(tmp_path, script)


def test_a_port_in_use_is_named(tmp_path: Path) -> None:
    async def script(clock: Clock, clients: dict[str, Any]) -> None:
        taken = json.loads((tmp_path / "ports.json").read_text())["home1"]
        second = config(tmp_path / "second", homes=1, ports={"home1": taken})
        with pytest.raises(ConfigError, match=f"port {taken} "):
            await world.serve(second, asyncio.Event())

    play(tmp_path, script)


def test_every_home_of_the_street_has_its_units() -> None:
    plan = street.expand(homes=5)
    _, units = world.build(plan)
    assert {home: sorted(behind) for home, behind in units.items()} == {
        "home1": [1, 2, 10, 11],
        "home2": [1, 2, 3, 12],
        "home3": [1],
        "home4": [1],
        "home5": [1, 4],
    }
    for meter in plan.meters:
        assert units[meter.keeper][meter.unit].model.name == meter.model
        for quantity in units[meter.keeper][meter.unit].model.reads:
            assert quantity in units[meter.keeper][meter.unit].read


def test_the_process_writes_its_ports_and_stops_on_sigterm(tmp_path: Path) -> None:
    file = tmp_path / "world.toml"
    file.write_text('homes = 1\norigin_ms = 0\nslot_ms = 1500\nports_file = "ports.json"\n')
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    command = [sys.executable, "-m", "energo_demo.world", "--config", str(file)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stderr
        line = process.stderr.readline()
        assert "ready: 1 homes" in line
        assert str(json.loads((tmp_path / "ports.json").read_text())["home1"]) in line
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
        assert process.stderr.read() == ""


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("homes = 1\nslot_ms = 1500\n", "origin_ms"),
        ("homes = 1\norigin_ms = 0\nslot_ms = 1500\nport = 1\n", "port"),
        ("homes = 0\norigin_ms = 0\nslot_ms = 1500\n", "homes"),
        ("homes = 1\norigin_ms = 0\nslot_ms = 1500\n[ports]\nhome2 = 5\n", "home2"),
    ],
)
def test_a_wrong_configuration_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, says: str
) -> None:
    file = tmp_path / "world.toml"
    file.write_text(text)
    assert world.main(["--config", str(file)]) == 1
    error = capsys.readouterr().err
    assert says in error
    assert error.count("\n") == 1


def test_modes_are_the_numbers_of_the_tables() -> None:
    """The tables' comments tell people 0 and 1."""
    assert (devices.MODE_IDLE, devices.MODE_OWN_USE) == (0, 1)
