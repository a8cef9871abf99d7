"""The one connection: pauses that grow, words for an installer, and both names that pymodbus has for a unit."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from energo_demo import street, world
from firmware.meter import drivers, models
from firmware.meter.drivers import BACKOFF_MAX_MS, Endpoint, MeterUnreadable, ModbusLink

NOWHERE = Endpoint("127.0.0.1", 1)  # a port that nobody may listen on without being asked


class Clock:
    """Wall clock in ms in the test's hand."""

    def __init__(self) -> None:
        self.now_ms = 0

    def __call__(self) -> int:
        return self.now_ms


def test_pauses_between_attempts_grow_to_a_minute_and_start_anew() -> None:
    async def script() -> list[int]:
        clock, attempts = Clock(), 0
        link = ModbusLink(NOWHERE, slot_ms=900_000, now_ms=clock)
        make = link._make

        def counted() -> Any:
            nonlocal attempts
            attempts += 1
            return make()

        link._make = counted  # type: ignore[method-assign]
        at = []
        for second in range(200):
            clock.now_ms = second * 1_000
            before = attempts
            with pytest.raises(MeterUnreadable, match=r"127\.0\.0\.1:1"):
                await link.read(1, models.load("iem3155"))
            if attempts > before:
                at.append(second)
        return at

    seconds = asyncio.run(script())
    assert seconds == [0, 1, 3, 7, 15, 31, 63, 123, 183]
    assert BACKOFF_MAX_MS == 60_000


def test_in_shortened_slots_pauses_stay_below_a_slot() -> None:
    link = ModbusLink(NOWHERE, slot_ms=1_500, now_ms=lambda: 0)
    assert link._backoff_max_ms == 750


def test_an_error_names_what_to_check() -> None:
    async def script() -> None:
        link = ModbusLink(NOWHERE, slot_ms=1_500, now_ms=lambda: 0)
        with pytest.raises(MeterUnreadable, match="check power, cabling and address"):
            await link.read(1, models.load("iem3155"))

    asyncio.run(script())


def test_a_missing_serial_line_is_an_unreadable_meter(tmp_path: Path) -> None:
    async def script() -> None:
        link = ModbusLink(Endpoint(serial=str(tmp_path / "ttyUSB7")), slot_ms=1_500, now_ms=lambda: 0)
        with pytest.raises(MeterUnreadable, match="ttyUSB7"):
            await link.read(1, models.load("sdm630"))

    asyncio.run(script())


def test_reading_and_telling_a_device_over_one_connection(tmp_path: Path) -> None:
    async def script() -> None:
        ports_file, stop = tmp_path / "ports.json", asyncio.Event()
        config = world.Config(None, 2, 1, 0, 0, 1_500, "127.0.0.1", {"home1": 0, "home2": 0}, ports_file)
        served = asyncio.create_task(world.serve(config, stop, now_ms=lambda: 0))
        async with asyncio.timeout(20):
            while not ports_file.exists():
                await asyncio.sleep(0)
        endpoint = Endpoint("127.0.0.1", json.loads(ports_file.read_text())["home2"])
        link = ModbusLink(endpoint, slot_ms=1_500, now_ms=lambda: 0)
        battery, meter = models.load("energo-battery"), models.load("iem3155")
        try:
            read = await link.read(street.UNIT_BATTERY, battery)
            assert read["stored_wh"] == 0
            assert set(read) == {"import_wh", "export_wh", "stored_wh", "power_w"}
            await link.write(street.UNIT_BATTERY, battery, {"mode": 1, "charge_w_max": 1_000, "discharge_w_max": 0})
            with pytest.raises(MeterUnreadable, match="unit 3 refused writing"):
                await link.write(street.UNIT_BATTERY, battery, {"mode": 9})
            with pytest.raises(MeterUnreadable, match="unit 77 refused reading"):
                await link.read(77, meter)
            assert (await link.read(street.UNIT_CONNECTION, meter))["import_wh"], "a refusal costs no connection"
        finally:
            link.close()
            stop.set()
            await served

    asyncio.run(script())


def test_both_names_of_a_unit_are_known() -> None:
    def newest(address: int, *, count: int = 1, device_id: int = 1) -> None: ...
    def debian(address: int, *, count: int = 1, slave: int = 1) -> None: ...

    assert drivers._unit_keyword(newest) == "device_id"
    assert drivers._unit_keyword(debian) == "slave"
