"""Measured profiles as whole numbers: what homes use, what plants make, what cars have driven, slot by slot.

Energy is in quarter Wh a slot of 15 minutes, which is the same number as the mean power in W: a cell of the file, not
rounded again. Decimal text is parsed exactly, never as a float. Refuses files whose rows are not 900 s apart.

A seed other than 0 multiplies each slot of each profile by a factor of 0.800 to 1.200, drawn from SHA-256 of the seed,
the profile's owner and the slot, and rounds down; so it needs no state and gives every process the same street.
"""

from __future__ import annotations

import csv
import hashlib
from decimal import ROUND_HALF_EVEN, Decimal, InvalidOperation
from functools import lru_cache
from pathlib import Path
from typing import Final

from ledger.base.errors import ConfigError

SLOT_S: Final = 900
ROWS_MAX: Final = 400_000  # eleven years; a file that is larger is not a profile
QUARTERS: Final = 4  # quarter Wh in a Wh
VARIATION_LOWEST: Final = 800  # thousandths
VARIATION_STEPS: Final = 401  # ... to 1200, both ends included

Row = tuple[Decimal, ...]


@lru_cache(maxsize=64)
def _rows(path: Path) -> tuple[int, tuple[Row, ...]]:
    """First row's Unix seconds and the cells of all rows. Raises `ConfigError`."""
    rows: list[Row] = []
    first_s = 0
    try:
        with path.open(newline="", encoding="ascii") as file:
            lines = csv.reader(file)
            next(lines, None)  # the names of the columns
            for number, cells in enumerate(lines):
                stamp, *values = (Decimal(cell) for cell in cells)
                first_s = first_s if rows else int(stamp)
                if stamp != first_s + number * SLOT_S:
                    raise ConfigError(f"{path}: row {number + 2}: {stamp} is not {SLOT_S} s after the row before it")
                if number >= ROWS_MAX:
                    raise ConfigError(f"{path}: has more than {ROWS_MAX} rows; that is no profile")
                rows.append(tuple(values))
    except (OSError, UnicodeDecodeError, InvalidOperation, ValueError, csv.Error) as error:
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(f"{path}: cannot be read as a profile ({type(error).__name__}: {error})") from None
    if not rows or any(len(row) != len(rows[0]) or not row or min(row) < 0 for row in rows):
        raise ConfigError(f"{path}: is no profile: every row needs a timestamp and values of 0 or more")
    return first_s, tuple(rows)


def slots_from(path: Path, start_s: int) -> int:
    """How many slots the profile has from a Unix second on; 0 when it does not cover it. Raises `ConfigError`."""
    first_s, rows = _rows(path)
    offset, between = divmod(start_s - first_s, SLOT_S)
    return 0 if between or offset < 0 else max(0, len(rows) - offset)


def _cut(path: Path, start_s: int, slots: int) -> tuple[Row, ...]:
    first_s, rows = _rows(path)
    offset = (start_s - first_s) // SLOT_S
    if slots > slots_from(path, start_s):
        raise ConfigError(f"{path}: does not cover {slots} slots from {start_s}; take fewer days")
    return rows[offset : offset + slots]


def vary(values: tuple[int, ...], seed: int, owner: str) -> tuple[int, ...]:
    """The values under a seed: untouched by 0, else each times a factor of 0.800 to 1.200, rounded down."""
    if seed == 0:
        return values
    return tuple(value * _thousandths(seed, owner, slot) // 1000 for slot, value in enumerate(values))


def _thousandths(seed: int, owner: str, slot: int) -> int:
    digest = hashlib.sha256(f"energo/profile/1:{seed}:{owner}:{slot}".encode()).digest()
    return VARIATION_LOWEST + int.from_bytes(digest[:8], "big") % VARIATION_STEPS


def load_qwh(path: Path, start_s: int, slots: int) -> tuple[int, ...]:
    """Use per slot in quarter Wh (the file's W). Raises `ConfigError`."""
    return tuple(int(row[0]) for row in _cut(path, start_s, slots))


def pv_qwh(path: Path, kwp: int, start_s: int, slots: int) -> tuple[int, ...]:
    """What a plant of `kwp` makes per slot in quarter Wh: W = floor(round(cell x 10^6) x kwp / 1000)."""
    return tuple(_milli(row[0]) * kwp // 1000 for row in _cut(path, start_s, slots))


def _milli(cell: Decimal) -> int:
    """mW per W of peak. Rounded first: the cells are binary fractions written out, and their tails are noise."""
    return int((cell * 10**6).quantize(Decimal(1), ROUND_HALF_EVEN))


def car_slots(path: Path, start_s: int, slots: int) -> tuple[tuple[bool, int], ...]:
    """Per slot: plugged in at home, and quarter Wh that a trip that ended here has used. Raises `ConfigError`."""
    return tuple((row[0] == 1, int(row[1]) * QUARTERS) for row in _cut(path, start_s, slots))
