"""What the agent drives over Modbus: a home battery, a charge point, a shared pool. The device keeps what it was told.

A battery and a car are told their mode and limits when they show something else, and follow their own rule with those; a pool is
told each slot anew and idles in any slot that nobody named. Every failure is `MeterUnreadable`, in words for an installer.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final, Protocol

from firmware.meter.models import MILLI, Model
from ledger.base.errors import ConfigError

from .rules import Setpoint

MODES: Final = {"idle": 0, "own_use": 1}


class Link(Protocol):
    """What the agent needs of a connection to a device."""

    async def read(self, unit: int, model: Model, quantities: tuple[str, ...]) -> dict[str, int | None]:
        """The quantities in thousandths. Raises `MeterUnreadable`."""

    async def write(self, unit: int, model: Model, values: dict[str, int]) -> None:
        """Tell the device the quantities. Raises `MeterUnreadable`, `ValueError`."""

    def close(self) -> None:
        """Let the connection go."""


@dataclass(frozen=True)
class Standing:
    """A device with standing orders: a battery or a car, and what it shall show."""

    name: str
    link: Link
    unit: int
    model: Model
    values: dict[str, int]

    async def hold(self) -> bool:
        """Make the device show its values; whether it had to be told. Raises `MeterUnreadable`, `ValueError`."""
        told = replace(self.model, reads=self.model.writes)
        shown = await self.link.read(self.unit, told, tuple(self.values))
        if all(shown.get(quantity) == value * MILLI for quantity, value in self.values.items()):
            return False
        await self.link.write(self.unit, self.model, self.values)
        return True


@dataclass(frozen=True)
class Pool:
    """A shared battery that this home looks after."""

    name: str
    link: Link
    unit: int
    model: Model

    async def follow(self, slot: int, point: Setpoint) -> None:
        """Tell it what to do in a slot, while that slot runs. Raises `MeterUnreadable`, `ValueError`."""
        values = {
            "setpoint_slot": slot,
            "setpoint_charge_wh": point.charge_wh,
            "setpoint_discharge_wh": point.discharge_wh,
        }
        await self.link.write(self.unit, self.model, values)


def need_told(model: Model, quantities: tuple[str, ...]) -> Model:
    """The model, if it can be told these. Raises `ConfigError`."""
    missing = [quantity for quantity in quantities if quantity not in model.writes]
    if missing:
        raise ConfigError(f"model {model.name} cannot be told {missing[0]}; take a model of such a device")
    return model
