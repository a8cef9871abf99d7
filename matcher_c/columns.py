"""Arrays of 64-bit integers without a library: numpy, array.array, memoryview and plain sequences all go in.

What comes out is a memoryview of format "q": indexable, sliceable, comparable with array.array, and a buffer for numpy.
"""

from collections.abc import Sequence
from typing import TypeAlias

from .errors import ColumnRefused

# Any object with a buffer of signed 64-bit integers (numpy int64, array.array("q"), memoryview), or a sequence of ints.
# numpy's type cannot be named here without importing it, and collections.abc.Buffer needs Python 3.12.
Column: TypeAlias = memoryview | Sequence[int] | object


def new_column(count: int) -> memoryview:
    """A column of zeros. One word more is allocated, because an empty buffer cannot be cast."""
    return memoryview(bytearray(8 * (count + 1))).cast("q")[:count]


def column_of(name: str, values: Column) -> memoryview:
    """Any accepted form as a contiguous view of signed 64-bit integers.

    Raises ColumnRefused where the values are of another type or do not fit.
    """
    try:
        view = memoryview(values)  # type: ignore[arg-type]
    except TypeError:
        return _packed(name, values)
    if view.ndim != 1 or view.itemsize != 8 or view.format not in ("q", "l") or not view.c_contiguous:
        raise ColumnRefused(f"{name}: give a contiguous one-dimensional array of signed 64-bit integers")
    return view


def _packed(name: str, values: object) -> memoryview:
    if not isinstance(values, Sequence) or isinstance(values, str):
        raise ColumnRefused(f"{name}: give an array of signed 64-bit integers or a sequence of ints")
    column = new_column(len(values))
    for i, value in enumerate(values):
        if not isinstance(value, int) or not -(2**63) <= value < 2**63:
            raise ColumnRefused(f"{name}: entry {i} is not a signed 64-bit integer")
        column[i] = value
    return column


def same_length(columns: dict[str, memoryview]) -> int:
    """The length that all columns share. Raises ColumnRefused where they do not."""
    (first, view), *_ = columns.items()
    for name, other in columns.items():
        if len(other) != len(view):
            raise ColumnRefused(f"{name}: give it as many entries as {first} ({len(view)}), not {len(other)}")
    return len(view)
