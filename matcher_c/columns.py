"""Arrays of signed 64-bit integers: numpy, array.array, memoryview and plain sequences go in, array.array comes out."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeAlias

from .errors import ColumnRefused

if TYPE_CHECKING:
    Words: TypeAlias = array[int]
    """An array of format "q"."""

# Any object with a buffer of signed 64-bit integers (numpy int64, array.array("q"), memoryview), or a sequence of ints.
# numpy's type cannot be named here without importing it, and collections.abc.Buffer needs Python 3.12.
Column: TypeAlias = object


def new_column(count: int) -> Words:
    """`count` zeros."""
    return array("q", bytes(8 * count))


def column_of(name: str, values: Column) -> memoryview | Words:
    """Any accepted form as a contiguous buffer of signed 64-bit integers.

    Raises ColumnRefused where the values are of another type or do not fit.
    """
    if type(values) is array and values.typecode == "q":
        return values
    try:
        view = memoryview(values)  # type: ignore[arg-type]
    except TypeError:
        view = memoryview(_packed(name, values))
    if view.ndim != 1 or view.itemsize != 8 or view.format not in ("q", "l") or not view.c_contiguous:
        raise ColumnRefused(f"{name}: give a contiguous one-dimensional array of signed 64-bit integers")
    return view


def length_of(name: str, values: Column) -> int:
    """How many entries an accepted form has. Raises ColumnRefused where it has no length."""
    try:
        return len(values)  # type: ignore[arg-type]
    except TypeError:
        raise ColumnRefused(f"{name}: give an array of signed 64-bit integers or a sequence of ints") from None


def _packed(name: str, values: object) -> Words:
    if not isinstance(values, Sequence) or isinstance(values, str):
        raise ColumnRefused(f"{name}: give an array of signed 64-bit integers or a sequence of ints")
    try:
        return array("q", values)
    except (TypeError, OverflowError):
        raise ColumnRefused(f"{name}: give whole numbers that fit a signed 64-bit integer") from None


def columns_of(
    parent: Column,
    fee: Column,
    capacity_up: Column,
    capacity_down: Column,
    bus: Column,
    side: Column,
    price: Column,
    quantity: Column,
    bus_rank: Column | None,
) -> tuple[list[memoryview | Words], list[memoryview | Words]]:
    """What one clearing takes, checked: the columns by bus, the ranks last where there are any, and those by order.

    Raises ColumnRefused where one is of another type, or they are not as long as each other.
    """
    buses = {"parent": parent, "fee": fee, "capacity_up": capacity_up, "capacity_down": capacity_down}
    if bus_rank is not None:
        buses["bus_rank"] = bus_rank
    orders = {"bus": bus, "side": side, "price": price, "quantity": quantity}
    by_bus, by_order = (
        {name: column_of(name, values) for name, values in columns.items()} for columns in (buses, orders)
    )
    for columns in (by_bus, by_order):
        _check_lengths(columns)
    return list(by_bus.values()), list(by_order.values())


def _check_lengths(columns: dict[str, memoryview | Words]) -> None:
    lengths = {name: len(column) for name, column in columns.items()}
    first, length = next(iter(lengths.items()))
    for name, other in lengths.items():
        if other != length:
            raise ColumnRefused(f"{name}: give it as many entries as {first} ({length}), not {other}")
