"""A Modbus meter is a table: which register means what, where it stands and how its words are read.

Loads and checks the tables of `models/`, and turns registers into whole numbers and back. Exact: a float32 register is
the binary fraction that it is. Refuses tables with unknown keys, values that overlap and addresses that do not exist.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Final

from ledger.base.errors import ConfigError
from ledger.base.files import Table, load_toml

FOLDER: Final = Path(__file__).parent / "models"
READABLE: Final = ("import_wh", "export_wh", "stored_wh", "power_w", "due_wh")
WRITABLE: Final = (
    "mode",
    "charge_w_max",
    "discharge_w_max",
    "setpoint_slot",
    "setpoint_charge_wh",
    "setpoint_discharge_wh",
)
# Some meters refuse more at once (SDM72: 30 parameters), though the protocol allows 125.
REGISTERS_PER_READ_MAX: Final = 60
ADDRESS_MAX: Final = 65_535
MILLI: Final = 1_000

_DECIMAL: Final = re.compile(r"[0-9]{1,12}(\.[0-9]{1,12})?", re.ASCII)  # no exponent: 1e999999999 takes all memory
_FORMATS: Final = {
    "int16": ">h",
    "uint16": ">H",
    "int32": ">i",
    "uint32": ">I",
    "int64": ">q",
    "uint64": ">Q",
    "float32": ">f",
}


@dataclass(frozen=True)
class Register:
    """One value on the wire: 0-based address, type, and the factor that makes it Wh or W."""

    address: int
    kind: str
    factor: Fraction

    @property
    def words(self) -> int:
        """How many 16-bit registers it takes."""
        return struct.calcsize(_FORMATS[self.kind]) // 2


@dataclass(frozen=True)
class Model:
    """A meter's table. `reads` and `writes` by quantity; `function` is 3 (holding) or 4 (input registers)."""

    name: str
    title: str
    function: int
    word_order: str
    reads: dict[str, Register]
    writes: dict[str, Register]

    def blocks(self, quantities: tuple[str, ...] = READABLE) -> list[tuple[int, int]]:
        """(address, count) of the reads that fetch those of the quantities that it has, neighbors in one request."""
        wanted = sorted((self.reads[q] for q in quantities if q in self.reads), key=lambda r: r.address)
        blocks: list[tuple[int, int]] = []
        for register in wanted:
            address, count = blocks[-1] if blocks else (-1, 0)
            if address + count == register.address and count + register.words <= REGISTERS_PER_READ_MAX:
                blocks[-1] = (address, count + register.words)
            else:
                blocks.append((register.address, register.words))
        return blocks

    def decode(self, quantity: str, words: dict[int, int]) -> int | None:
        """A readable quantity in thousandths (mWh, mW), rounded down, from words by address; None: no value now.

        A meter says "no value" with NaN, the lowest signed or the highest unsigned number.
        """
        register = self.reads[quantity]
        raw = [words[register.address + offset] for offset in range(register.words)]
        number = self.number(register, raw)
        return None if number is None else int(number * register.factor * MILLI // 1)

    def number(self, register: Register, words: list[int]) -> Fraction | None:
        """The register's own value, exact, or None for "no value"."""
        ordered = words if self.word_order == "big" else words[::-1]
        (value,) = struct.unpack(_FORMATS[register.kind], struct.pack(f">{len(ordered)}H", *ordered))
        if register.kind == "float32":
            return Fraction(value) if -3.4e38 < value < 3.4e38 else None  # NaN compares false
        bits = 16 * register.words
        missing = 2**bits - 1 if register.kind[0] == "u" else -(2 ** (bits - 1))
        return None if value == missing and bits > 16 else Fraction(value)

    def encode(self, register: Register, value: Fraction | int) -> list[int]:
        """The words that say `value` (in Wh or W), the nearest that the register can hold. Raises `ValueError`."""
        number = value / register.factor
        try:
            data = struct.pack(
                _FORMATS[register.kind], float(number) if register.kind == "float32" else int(number // 1)
            )
        except (struct.error, OverflowError):
            raise ValueError(f"{value} does not fit a register of type {register.kind}") from None
        words = list(struct.unpack(f">{register.words}H", data))
        return words if self.word_order == "big" else words[::-1]

    def command(self, values: dict[str, int]) -> list[tuple[int, list[int]]]:
        """(address, words) of the writes that tell the device `values`, neighbors in one request.

        Raises `ValueError` for a quantity that it cannot be told or that does not fit.
        """
        for quantity in values:
            if quantity not in self.writes:
                raise ValueError(f"{self.title} cannot be told {quantity}")
        writes: list[tuple[int, list[int]]] = []
        for quantity in sorted(values, key=lambda q: self.writes[q].address):
            register = self.writes[quantity]
            words = self.encode(register, values[quantity])
            if writes and writes[-1][0] + len(writes[-1][1]) == register.address:
                writes[-1][1].extend(words)
            else:
                writes.append((register.address, words))
        return writes


def names() -> list[str]:
    """Every model that there is a table of."""
    return sorted(path.stem for path in FOLDER.glob("*.toml"))


def load(name: str) -> Model:
    """The model's table. Raises `ConfigError` that names the file, the key and the fix."""
    if name not in names():
        raise ConfigError(
            f"there is no meter model {name!r}; known are {', '.join(names())}; copy blueprint.toml for another"
        )
    return load_file(FOLDER / f"{name}.toml")


def load_file(path: Path) -> Model:
    """The table in a file. Raises `ConfigError`."""
    top = load_toml(path)
    title = top.take("title", str)
    function = top.integer("function", 3, 4)
    word_order = top.take("word_order", str, "big")
    if word_order not in ("big", "little"):
        raise ConfigError(f"{path}: word_order: is {word_order!r}; it must be big or little")
    reads = _registers(top.table("read"), READABLE)
    writes = _registers(top.table("write", optional=True), WRITABLE)
    top.done()
    if not {"import_wh", "export_wh"} & set(reads):
        raise ConfigError(f"{path}: [read]: a meter has import_wh or export_wh")
    for table, registers in (("read", reads), ("write", writes)):
        taken: dict[int, str] = {}
        for quantity, register in registers.items():
            for address in range(register.address, register.address + register.words):
                if address in taken or address > ADDRESS_MAX:
                    other = f"stands on {taken[address]}" if address in taken else "does not exist"
                    raise ConfigError(f"{path}: [{table}.{quantity}] address: register {address} {other}")
                taken[address] = quantity
    return Model(path.stem, title, function, word_order, reads, writes)


def _registers(table: Table, quantities: tuple[str, ...]) -> dict[str, Register]:
    registers = {}
    for quantity in quantities:
        if table.has(quantity):
            row = table.table(quantity)
            registers[quantity] = Register(
                row.integer("address", 0, ADDRESS_MAX), row.parsed("type", _kind), row.parsed("factor", _factor, "1")
            )
            row.done()
    table.done()
    return registers


def _kind(text: str) -> str:
    if text not in _FORMATS:
        raise ValueError(f"{text!r} is no type; types are {', '.join(_FORMATS)}")
    return text


def _factor(text: str) -> Fraction:
    factor = Fraction(text) if _DECIMAL.fullmatch(text) else Fraction(0)
    if factor <= 0:
        raise ValueError(f"{text!r} is not a decimal number above 0")
    return factor
