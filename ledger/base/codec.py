"""Canonical bytes: the only place that decides what is hashed and signed.

Everything is CBOR (RFC 8949) restricted to shortest-form integers, byte strings, short text, null, booleans and
definite arrays, positional, at most `CBOR_DEPTH_MAX` deep. There is exactly one encoding of a value and `decode` takes no
other: no maps, floats, tags, indefinite lengths, trailing bytes. A scanner without recursion looks at the bytes
before the library sees them, because a decoder alone accepts all of those.
"""

from __future__ import annotations

from typing import Any

import cbor2

from .errors import DecodeError
from .limits import CBOR_ARRAY_MAX, CBOR_DEPTH_MAX

Item = Any  # int | bytes | str | None | bool | list[Item]: a recursive type that mypy would only get in the way of


def encode(item: object) -> bytes:
    """The canonical bytes of ints in 64 bits, bytes, str, None, bool and (named) tuples or lists of those."""
    return cbor2.dumps(item)


_ARGUMENT_BYTES = {24: 1, 25: 2, 26: 4, 27: 8}


def _scan(data: bytes, offset: int = 0) -> int:
    """The offset behind the one canonical item at `offset`. Raises `DecodeError`. No recursion."""
    size = len(data)
    pending = [1]  # items still to come in each open array; one document at the bottom
    while pending:
        if pending[-1] == 0:
            pending.pop()
            continue
        pending[-1] -= 1
        if offset >= size:
            raise DecodeError("the bytes end inside an item")
        initial = data[offset]
        major, argument = initial >> 5, initial & 31
        offset += 1
        if major == 7:
            if argument not in (20, 21, 22):
                raise DecodeError("floats, undefined and other simple values are not allowed")
            continue
        if argument >= 24:
            width = _ARGUMENT_BYTES.get(argument)
            if width is None or offset + width > size:
                raise DecodeError("an indefinite or cut length")
            value = int.from_bytes(data[offset : offset + width], "big")
            offset += width
            if value < (24 if width == 1 else 1 << (4 * width)):
                raise DecodeError("an integer or length that is not in its shortest form")
        else:
            value = argument
        if major in (2, 3):
            if value > size - offset:
                raise DecodeError("a string that is longer than the bytes")
            offset += value
        elif major == 4:
            if value > CBOR_ARRAY_MAX or value > size - offset:
                raise DecodeError("an array that is longer than the bytes or the bound")
            if len(pending) > CBOR_DEPTH_MAX:
                raise DecodeError(f"arrays nested deeper than {CBOR_DEPTH_MAX}")
            pending.append(value)
        elif major > 4:
            raise DecodeError("maps and tags are not allowed")
    return offset


def decode(data: bytes, *, bytes_max: int) -> Item:
    """The value of exactly one canonical item of at most `bytes_max` bytes; arrays come as lists. Raises `DecodeError`."""
    if len(data) > bytes_max:
        raise DecodeError(f"{len(data)} bytes where at most {bytes_max} are allowed")
    if _scan(data) != len(data):
        raise DecodeError("bytes behind the end of the item")
    try:
        return cbor2.loads(data)
    except (ValueError, cbor2.CBORError) as error:  # what the scanner leaves to the library: text that is not UTF-8
        raise DecodeError(f"not canonical CBOR: {error}") from None


def freeze(item: Item) -> Item:
    """The same value with tuples for lists: what rows of the state are made of."""
    return tuple(freeze(part) for part in item) if isinstance(item, list | tuple) else item


def want(item: Item, *shape: type) -> list[Item]:
    """`item` as a list whose members have exactly these types (bool is not int). Raises `DecodeError`."""
    if type(item) is not list or len(item) != len(shape):
        raise DecodeError(f"an array of {len(shape)} fields was expected")
    for position, (member, expected) in enumerate(zip(item, shape, strict=True)):
        if expected is not object and type(member) is not expected:
            raise DecodeError(f"field {position} is not of type {expected.__name__}")
    return item


def want_list(item: Item, kind: type, *, length_max: int) -> list[Item]:
    """`item` as a list of at most `length_max` members of one type. Raises `DecodeError`."""
    if type(item) is not list or len(item) > length_max or any(type(member) is not kind for member in item):
        raise DecodeError(f"a list of at most {length_max} {kind.__name__} was expected")
    return item


def in_range(value: int, lowest: int, highest: int, what: str) -> int:
    """`value` if it lies within both bounds. Raises `DecodeError`."""
    if not lowest <= value <= highest:
        raise DecodeError(f"{what} {value} is not between {lowest} and {highest}")
    return value


def of_length(value: bytes, length: int, what: str) -> bytes:
    """`value` if it has exactly that many bytes. Raises `DecodeError`."""
    if len(value) != length:
        raise DecodeError(f"{what} has {len(value)} bytes, not {length}")
    return value


def short_text(value: str, what: str, *, bytes_max: int) -> str:
    """`value` if it is non-empty printable text of bounded size. Raises `DecodeError`."""
    if not value or len(value.encode()) > bytes_max or not value.isprintable():
        raise DecodeError(f"{what} is empty, too long or not printable")
    return value
