"""One encoding for a value, and no other is taken: vectors of RFC 8949 appendix A, and everything that it calls well-formed
but that is not canonical here."""

from __future__ import annotations

from typing import Any

import cbor2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.base import codec
from ledger.base.errors import DecodeError

# RFC 8949, appendix A: those that are canonical in our restriction.
CANONICAL = [
    ("00", 0),
    ("17", 23),
    ("1818", 24),
    ("1903e8", 1000),
    ("1a000f4240", 1_000_000),
    ("1b000000e8d4a51000", 1_000_000_000_000),
    ("1bffffffffffffffff", 2**64 - 1),
    ("20", -1),
    ("3863", -100),
    ("3903e7", -1000),
    ("f4", False),
    ("f5", True),
    ("f6", None),
    ("40", b""),
    ("4401020304", b"\1\2\3\4"),
    ("6161", "a"),
    ("62c3bc", "ü"),
    ("80", []),
    ("8301820203820405", [1, [2, 3], [4, 5]]),
]

# The same appendix and well-known traps: well-formed CBOR that must not pass.
REFUSED = {
    "half float": "f93c00",
    "float": "fb3ff199999999999a",
    "NaN": "f97e00",
    "undefined": "f7",
    "simple value": "f0",
    "tag 0 date": "c074323031332d30332d32315432303a30343a30305a",
    "bignum": "c249010000000000000000",
    "tag 35 regular expression": "d8236161",
    "shareable and its reference": "d81c81d81d00",
    "map": "a10102",
    "indefinite bytes": "5f42010243030405ff",
    "indefinite array": "9f01ff",
    "long zero": "1800",
    "long length": "5801ff",
    "long array": "980101",
    "two bytes for 255": "1900ff",
    "trailing byte": "0000",
    "empty": "",
    "cut string": "4201",
    "cut array": "8201",
    "cut integer": "19ff",
    "not UTF-8": "61ff",
    "break alone": "ff",
    "reserved length": "1c",
    "seven deep": "81" * 7 + "00",
    "array of 2^32": "9affffffff",
    "array of 2^64": "9bffffffffffffffff",
}

items = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**64), 2**64 - 1) | st.binary(max_size=40) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=5),
    max_leaves=20,
)


def depth(item: Any) -> int:
    return 1 + max(map(depth, item), default=0) if isinstance(item, list) else 0


@pytest.mark.parametrize(("raw", "value"), CANONICAL)
def test_canonical_vectors_decode_and_encode(raw: str, value: Any) -> None:
    assert codec.decode(bytes.fromhex(raw), bytes_max=100) == value
    assert codec.encode(value).hex() == raw


@pytest.mark.parametrize("raw", REFUSED.values(), ids=REFUSED.keys())
def test_anything_else_is_refused(raw: str) -> None:
    with pytest.raises(DecodeError):
        codec.decode(bytes.fromhex(raw), bytes_max=100)


def test_bombs_cost_no_more_than_their_bytes() -> None:
    for bomb in (b"\x81" * 90_000, b"\x9b\x00\x00\x00\x00\xff\xff\xff\xff", b"\x9a\x00\x01\x5f\x90" * 20):
        with pytest.raises(DecodeError):
            codec.decode(bomb, bytes_max=100_000)
    with pytest.raises(DecodeError, match="at most 10"):
        codec.decode(bytes(11), bytes_max=10)


@given(items)
def test_what_is_encoded_decodes_to_itself(item: Any) -> None:
    raw = codec.encode(item)
    if depth(item) > 6:
        with pytest.raises(DecodeError):
            codec.decode(raw, bytes_max=10_000)
    else:
        assert codec.decode(raw, bytes_max=10_000) == item


@given(st.binary(max_size=60))
@settings(max_examples=500)
def test_whatever_decodes_is_its_own_canonical_form(raw: bytes) -> None:
    try:
        item = codec.decode(raw, bytes_max=60)
    except DecodeError:
        return
    assert cbor2.dumps(item, canonical=True) == raw


def test_shapes_are_checked_and_booleans_are_no_integers() -> None:
    assert codec.want([1, b"x"], int, bytes) == [1, b"x"]
    for bad in ([True, b"x"], [1], [1, b"x", 2], 5, None):
        with pytest.raises(DecodeError):
            codec.want(bad, int, bytes)
