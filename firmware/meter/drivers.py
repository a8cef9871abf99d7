"""Modbus over TCP or a serial line: one connection an endpoint, for reading meters and telling devices what to do.

One place knows pymodbus, its newest and Debian's version alike. Connects by itself with growing pauses, keeps one
connection for all units behind an endpoint (many devices accept one client only), and lets it go when it pauses. Every
failure is `MeterUnreadable` in words for an installer; every call has a timeout.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from pymodbus.client import AsyncModbusSerialClient, AsyncModbusTcpClient
from pymodbus.exceptions import ModbusException

from ledger.base.errors import EnergoError

from .models import READABLE, Model

BACKOFF_FIRST_MS: Final = 1_000
BACKOFF_MAX_MS: Final = 60_000
BACKOFF_SHORTEST_MS: Final = 250  # in shortened slots a pause must not cost one
TIMEOUT_MS: Final = 3_000
TIMEOUT_SHORTEST_MS: Final = 300


class MeterUnreadable(EnergoError, OSError):
    """A meter or device that does not answer as its table says."""

    code = "meter_unreadable"


@dataclass(frozen=True)
class Endpoint:
    """Where devices answer: a TCP host and port, or a serial line with its settings (8 data bits, 1 stop bit)."""

    host: str = ""
    port: int = 502
    serial: str = ""
    baudrate: int = 9_600
    parity: str = "N"

    def __str__(self) -> str:
        return self.serial or f"{self.host}:{self.port}"


class ModbusLink:
    """The one connection to an endpoint. `slot_ms` shortens pauses and timeouts where slots are short."""

    def __init__(self, endpoint: Endpoint, *, slot_ms: int, now_ms: Callable[[], int]) -> None:
        logging.getLogger("pymodbus").setLevel(logging.CRITICAL)  # what it has to say comes as exceptions
        self.endpoint = endpoint
        self._now_ms = now_ms
        self._backoff_max_ms = max(BACKOFF_SHORTEST_MS, min(BACKOFF_MAX_MS, slot_ms // 2))
        self._backoff_ms = 0
        self._retry_at_ms = 0
        self._timeout_s = max(TIMEOUT_SHORTEST_MS, min(TIMEOUT_MS, slot_ms // 4)) / 1_000
        self._client: Any = None
        self._busy = asyncio.Lock()

    async def read(self, unit: int, model: Model, quantities: tuple[str, ...] = READABLE) -> dict[str, int | None]:
        """The quantities that the model has, in thousandths; None: no value now. Raises `MeterUnreadable`."""
        words: dict[int, int] = {}
        async with self._busy:
            client = await self._connected()
            call = client.read_holding_registers if model.function == 3 else client.read_input_registers
            for address, count in model.blocks(quantities):
                answer = await self._ask(call, unit, f"reading {count} registers at {address}", address, count=count)
                if len(answer.registers) != count:
                    raise self._lost(f"unit {unit} answered {len(answer.registers)} registers instead of {count}")
                words |= dict(enumerate(answer.registers, address))
        return {quantity: model.decode(quantity, words) for quantity in quantities if quantity in model.reads}

    async def write(self, unit: int, model: Model, values: dict[str, int]) -> None:
        """Tell a device the quantities that its model can be told. Raises `MeterUnreadable`, `ValueError`."""
        commands = model.command(values)
        async with self._busy:
            client = await self._connected()
            for address, words in commands:
                await self._ask(
                    client.write_registers, unit, f"writing {len(words)} registers at {address}", address, words
                )

    async def _connected(self) -> Any:
        if self._client is not None and self._client.connected:
            return self._client
        self.close()
        if self._now_ms() < self._retry_at_ms:
            raise MeterUnreadable(f"{self.endpoint}: does not answer; trying again")
        client = self._make()
        self._client = client
        try:
            connected = await asyncio.wait_for(client.connect(), self._timeout_s)
        except (OSError, TimeoutError, ModbusException) as error:
            raise self._lost(f"cannot be reached ({type(error).__name__})") from None
        if not connected:
            raise self._lost("cannot be reached")
        return client

    def _make(self) -> Any:
        """A client that does not reconnect by itself: its own pauses grow to five minutes."""
        common: dict[str, Any] = {"timeout": self._timeout_s, "retries": 0, "reconnect_delay": 0}
        at = self.endpoint
        if at.serial:
            return AsyncModbusSerialClient(at.serial, baudrate=at.baudrate, parity=at.parity, **common)
        return AsyncModbusTcpClient(at.host, port=at.port, **common)

    async def _ask(self, call: Any, unit: int, what: str, *arguments: Any, **named: Any) -> Any:
        named[_unit_keyword(call)] = unit
        try:
            answer = await call(*arguments, **named)
        except (OSError, ModbusException, TimeoutError) as error:
            raise self._lost(f"unit {unit}: {what} failed ({type(error).__name__})") from None
        self._backoff_ms = 0
        if answer.isError():
            raise MeterUnreadable(
                f"{self.endpoint}: unit {unit} refused {what} ({answer}); check the unit's number and the meter model"
            )
        return answer

    def _lost(self, what: str) -> MeterUnreadable:
        """Let the line go, pause, and say so."""
        self.close()
        self._backoff_ms = min(max(self._backoff_ms * 2, BACKOFF_FIRST_MS), self._backoff_max_ms)
        self._retry_at_ms = self._now_ms() + self._backoff_ms
        return MeterUnreadable(f"{self.endpoint}: {what}; check power, cabling and address")

    def close(self) -> None:
        """Let the connection go."""
        if self._client is not None:
            self._client.close()
            self._client = None


def _unit_keyword(call: Any) -> str:
    """How this pymodbus names the unit: `device_id` (3.10 and later) or `slave`."""
    return "device_id" if "device_id" in inspect.signature(call).parameters else "slave"
