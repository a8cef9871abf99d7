"""Addresses: BIP-350's vectors, and a typing error is always noticed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.base.address import bech32m_decode, bech32m_encode, format_address, parse_address
from ledger.base.errors import DecodeError

# BIP-350, "Test vectors for Bech32m".
VALID = [
    "A1LQFN3A",
    "a1lqfn3a",
    "an83characterlonghumanreadablepartthatcontainsthetheexcludedcharactersbioandnumber11sg7hg6",
    "abcdef1l7aum6echk45nj3s0wdvt2fg8x9yrzpqzd3ryx",
    "split1checkupstagehandshakeupstreamerranterredcaperredlc445v",
    "?1v759aa",
]
INVALID = [
    "\x201xj0phk",
    "qyrz8wqd2c9m",
    "1qyrz8wqd2c9m",
    "y1b0jsk6g",
    "lt1igcx5c0",
    "in1muywd",
    "mm1crxm3i",
    "M1VUXWEZ",
    "16plkw9",
    "1p2gdwpf",
]


@pytest.mark.parametrize("text", VALID)
def test_valid_vectors_decode_and_encode(text: str) -> None:
    assert bech32m_encode(*bech32m_decode(text)) == text.lower()


@pytest.mark.parametrize("text", INVALID)
def test_invalid_vectors_are_refused(text: str) -> None:
    with pytest.raises(DecodeError):
        bech32m_decode(text)


@given(st.binary(min_size=20, max_size=20))
def test_an_account_survives_its_address(account: bytes) -> None:
    text = format_address(account)
    assert text.startswith("energo1")
    assert len(text) == 45
    assert parse_address(text) == account == parse_address(text.upper())


@given(st.binary(min_size=20, max_size=20), st.integers(7, 44), st.sampled_from("qpzry9x8gf2tvdw0s3jn54khce6mua7l"))
def test_one_wrong_letter_is_always_noticed(account: bytes, at: int, letter: str) -> None:
    text = format_address(account)
    if text[at] == letter:
        return
    with pytest.raises(DecodeError, match="typing error"):
        parse_address(text[:at] + letter + text[at + 1 :])


def test_another_prefix_is_no_address_here() -> None:
    with pytest.raises(DecodeError, match="energo1"):
        parse_address(VALID[1])
