"""Bytes that are almost what a parser expects: valid samples, broken in ways that know their form.

All follows from the generator that is handed in. CBOR is taken apart and written anew with other values, other shapes and
forms that no canonical encoder writes; text gets other tokens; and any bytes get flips, cuts, moves and other lengths.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from enum import Enum
from random import Random
from typing import Any, Final

from ledger.base import codec
from ledger.base.errors import DecodeError

BYTES_MAX: Final = 256 * 1024  # of a mutated input: more than any frame or request may have
EDGES: Final = tuple(
    sorted(
        {0, 1, 2, 23, 24, 255, 256, 65_535, 65_536, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**53 - 1, 2**53}
        | {2**62, 2**63 - 1, 2**63, 2**64 - 1, -1, -24, -25, -256, -257, -(2**31), -(2**32), -(2**63), -(2**64)}
    )
)


class Form(Enum):
    """What a sample's bytes are."""

    RAW = "raw"
    CBOR = "cbor"
    TEXT = "text"


def head(major: int, value: int, width: int | None = None) -> bytes:
    """The first bytes of a CBOR item: its major type and a number in 0, 1, 2, 4 or 8 bytes of its own, the fewest if None."""
    if width is None:
        width = next(w for w in (0, 1, 2, 4, 8) if value < (24 if w == 0 else 1 << 8 * w))
    if width == 0:
        return bytes((major << 5 | value,))
    return bytes((major << 5 | {1: 24, 2: 25, 4: 26, 8: 27}[width],)) + value.to_bytes(width, "big")


def emit(item: Any, odd: Callable[[], bool], rng: Random) -> bytes:
    """CBOR of an item; wherever `odd` says so in a form that is not canonical."""
    match item:
        case None | bool():
            return b"\xf6" if item is None else b"\xf5" if item else b"\xf4"
        case int():
            major, value = (1, -1 - item) if item < 0 else (0, item)
            return _headed(major, min(value, 2**64 - 1), odd, rng)
        case bytes() | str():
            major, raw = (2, item) if isinstance(item, bytes) else (3, item.encode())
            if odd() and rng.random() < 0.3:  # in chunks of indefinite number
                return bytes((major << 5 | 31,)) + _headed(major, len(raw), odd, rng) + raw + b"\xff"
            return _headed(major, len(raw), odd, rng) + raw
    inside = b"".join(emit(part, odd, rng) for part in item)
    if odd() and rng.random() < 0.3:
        return b"\x9f" + inside + b"\xff"
    return _headed(4, len(item), odd, rng) + inside


def _headed(major: int, value: int, odd: Callable[[], bool], rng: Random) -> bytes:
    if not odd():
        return head(major, value)
    match rng.randrange(5):
        case 0:  # longer than it need be
            return head(major, value, rng.choice([w for w in (1, 2, 4, 8) if value < 1 << 8 * w]))
        case 1:  # a claim that the bytes do not keep
            return head(major, rng.choice([n for n in EDGES if n >= 0]))
        case 2:  # a tag around it
            return head(6, rng.choice((0, 1, 2, 3, 4, 24, 25, 28, 29, 35, 55_799, 2**64 - 1))) + head(major, value)
        case 3:  # reserved or indefinite
            return bytes((major << 5 | rng.randrange(28, 32),))
    return rng.choice(
        (b"\xf7", b"\xf8\x20", b"\xf9\x7e\x00", b"\xfb" + bytes(8), b"\xa0", b"\xbf\xff", b"\xff", b"\xe0")
    )


def some_item(rng: Random, depth: int = 2) -> Any:
    """Any value that CBOR of this ledger can hold."""
    match rng.randrange(6 if depth else 5):
        case 0:
            return rng.choice(EDGES)
        case 1:
            return rng.randbytes(rng.choice((0, 1, 8, 20, 31, 32, 33, 64)))
        case 2:
            return rng.choice(("", "a", "EUR", "home1", "x" * 41, "é\u202e", "\n", "\x00"))
        case 3:
            return None
        case 4:
            return rng.random() < 0.5
    return [some_item(rng, depth - 1) for _ in range(rng.randrange(4))]


def deep(item: Any, levels: int) -> Any:
    """The item inside so many arrays."""
    for _ in range(levels):
        item = [item]
    return item


def changed_item(item: Any, rng: Random) -> Any:
    """A value with one thing about it changed, anywhere inside; bytes that are CBOR themselves are looked into."""
    if isinstance(item, list) and item and rng.random() < 0.8:
        at = rng.randrange(len(item))
        match rng.randrange(10):
            case 0:
                return item[:at] + item[at + 1 :]
            case 1:
                return item[: at + 1] + item[at:]
            case 2:
                other = rng.randrange(len(item))
                moved = list(item)
                moved[at], moved[other] = moved[other], moved[at]
                return moved
            case 3:
                return [*item[:at], some_item(rng), *item[at:]]
        return [*item[:at], changed_item(item[at], rng), *item[at + 1 :]]
    if type(item) is int and rng.random() < 0.8:
        return rng.choice((*EDGES, item + 1, item - 1, -item, 2 * item, item ^ 1 << rng.randrange(32)))
    if isinstance(item, bytes) and rng.random() < 0.8:
        inner = _opened(item)
        if isinstance(inner, list) and rng.random() < 0.8:
            return emit(changed_item(inner, rng), lambda: False, rng)
        return changed_bytes(item, rng, (item,))
    if isinstance(item, str) and rng.random() < 0.8:
        return item * rng.randrange(4) + rng.choice(("", "x", "\n", "\u202e", "é" * 20))
    return some_item(rng) if rng.random() < 0.7 else deep(item, rng.choice((1, 2, 5, 6, 7, 100)))


def _opened(data: bytes) -> Any:
    try:
        return codec.decode(data, bytes_max=BYTES_MAX)
    except DecodeError:
        return None


def changed_cbor(data: bytes, rng: Random, samples: Sequence[bytes], prefix: int) -> bytes:
    """CBOR behind `prefix` other bytes, with other values or in another form."""
    item = _opened(data[prefix:])
    if item is None and data[prefix:] != b"\xf6":
        return changed_bytes(data, rng, samples)
    if rng.random() < 0.7:
        for _ in range(rng.choice((1, 1, 1, 2, 4))):
            item = changed_item(item, rng)
    share = rng.choice((0.0, 0.0, 0.02, 0.2))
    return data[:prefix] + emit(item, lambda: rng.random() < share, rng)


def changed_bytes(data: bytes, rng: Random, samples: Sequence[bytes]) -> bytes:
    """Any bytes with bits, lengths or order changed, or grafted upon another sample."""
    size = len(data)
    at, until = sorted((rng.randrange(size + 1), rng.randrange(size + 1)))
    match rng.randrange(9):
        case 0 if size:
            flipped = bytearray(data)
            for _ in range(rng.choice((1, 1, 2, 8))):
                flipped[rng.randrange(size)] ^= 1 << rng.randrange(8)
            return bytes(flipped)
        case 1:
            return data[:at]
        case 2:
            return data[:at] + data[until:]
        case 3:
            return data[:until] + data[at:]  # a part stands twice
        case 4:
            return data[until:] + data[at:until] + data[:at]
        case 5:
            return data[:at] + rng.randbytes(rng.choice((1, 2, 4, 8, 64))) + data[at:]
        case 6 if size:
            width = rng.choice((1, 2, 4, 8))
            number = (rng.choice(EDGES) % (1 << 8 * width)).to_bytes(width, rng.choice(("big", "little")))
            return data[:at] + number + data[at + width :]
        case 7:
            other = rng.choice(samples)
            return data[:at] + other[rng.randrange(len(other) + 1) :]
    return data + rng.choice((b"\x00", b"\xff", b"\x81" * 90_000, b"\x00" * rng.randrange(200), rng.randbytes(9)))


_TOKEN: Final = re.compile(rb'"[^"\n]*"|-?[0-9][0-9.]*|[A-Za-z_]+|[\[\]{}=,:]|\n')
TOKENS: Final[tuple[bytes, ...]] = (
    b"", b"0", b"-1", b"1", b'"0"', b'"-0.01"', b"1.5", b"1e400", b'"1e99999999"', b'"1/3"', b'"nan"', b"nan", b"inf",
    b"true", b"null", b'""', b'"\\u0000"', b'"\\ud800"', b'"\\n"', b'"x"', b'"' + b"9" * 41 + b'"', b'"0.' + b"0" * 90 + b'1"',
    b"9" * 5_000, b"0x" + b"f" * 5_000, b'"' + b"9" * 5_000 + b'"', b'"' + b"a" * 5_000 + b'"', b"1979-05-27T07:32:00Z",
    b"07:32:00", b"{}", b"[]", b"[[]]", b"{ x = 1 }", b"\xff", b"\xc3\xa9", b"\xe2\x84\xaa", b"\xc2\xb2", b"\x00",
    b'"\xc2\xb2"', b'"\xd9\xa3"', b'"\xe2\x84\xaa"', b'"home1"', b'"home2"', b"\r\n", b"#", b"'''", b'"""', b".", b"=",
)  # fmt: skip


def changed_text(data: bytes, rng: Random, samples: Sequence[bytes]) -> bytes:
    """Text with a token or a line exchanged, taken away, doubled or nested; now and then only bytes."""
    pick = rng.random()
    if pick < 0.15:
        return changed_bytes(data, rng, samples)
    if pick < 0.35:
        lines = data.split(b"\n")
        return b"\n".join(_moved(lines, rng))
    found = list(_TOKEN.finditer(data))
    if not found:
        return data + rng.choice(TOKENS)
    spot = rng.choice(found)
    token: bytes = spot.group()
    match rng.randrange(8):
        case 0 | 1 | 2:
            token = rng.choice(TOKENS)
        case 3:
            token = rng.choice(found).group()
        case 4:
            token = str(rng.choice(EDGES)).encode() if rng.random() < 0.5 else b'"%d"' % rng.choice(EDGES)
        case 5:
            levels = rng.choice((1, 2, 50, 400, 900, 1_200, 40_000))
            opening, closing = rng.choice(((b"[", b"]"), (b'{"a":', b"}"), (b"{a=", b"}")))
            token = opening * levels + token + (closing * levels if rng.random() < 0.9 else b"")
        case 6:
            token = token + rng.choice((b"", b" ", b",")) + token
        case 7:
            token = changed_bytes(token, rng, (token,))[:200]
    return data[: spot.start()] + token + data[spot.end() :]


def _moved(lines: list[bytes], rng: Random) -> list[bytes]:
    at, other = rng.randrange(len(lines)), rng.randrange(len(lines))
    match rng.randrange(3):
        case 0:
            return lines[:at] + lines[at + 1 :]
        case 1:
            return [*lines[:at], lines[other], *lines[at:]]
    lines[at], lines[other] = lines[other], lines[at]
    return lines


def mutated(data: bytes, form: Form, rng: Random, samples: Sequence[bytes], prefix: int = 0) -> bytes:
    """A sample, changed once or a few times. `samples` are those of its parser."""
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        if form is Form.TEXT:
            data = changed_text(data, rng, samples)
        elif form is Form.CBOR and rng.random() < 0.75:
            data = changed_cbor(data, rng, samples, prefix)
        else:
            data = changed_bytes(data, rng, samples)
    return data[:BYTES_MAX]


def shrunk(data: bytes, fails: Callable[[bytes], bool], tries_max: int = 2_000) -> bytes:
    """Fewer bytes that still fail, by taking away ever smaller parts."""
    tries, part = 0, max(1, len(data) // 2)
    while part and tries < tries_max:
        at, gained = 0, False
        while at < len(data) and tries < tries_max:
            tries += 1
            shorter = data[:at] + data[at + part :]
            if fails(shorter):
                data, gained = shorter, True
            else:
                at += part
        if not gained:
            part //= 2
    return data
