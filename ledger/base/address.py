"""Addresses that people can read to one another: Bech32m (BIP-350) of the 20-byte account, prefix `energo`."""

from __future__ import annotations

from typing import Final

from .crypto import ACCOUNT_BYTES
from .errors import DecodeError

PREFIX: Final = "energo"
_CHARSET: Final = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
_BECH32M: Final = 0x2BC830A3
_GENERATOR: Final = (0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)
_TEXT_MAX: Final = 90  # BIP-173: longer strings weaken the checksum


def _polymod(values: list[int]) -> int:
    checksum = 1
    for value in values:
        top = checksum >> 25
        checksum = (checksum & 0x1FFFFFF) << 5 ^ value
        for bit in range(5):
            checksum ^= _GENERATOR[bit] if (top >> bit) & 1 else 0
    return checksum


def _expand(prefix: str) -> list[int]:
    return [ord(c) >> 5 for c in prefix] + [0] + [ord(c) & 31 for c in prefix]


def bech32m_decode(text: str) -> tuple[str, list[int]]:
    """Prefix and 5-bit groups of a Bech32m string. Raises `DecodeError`."""
    if len(text) > _TEXT_MAX or not text.isascii() or text not in (text.lower(), text.upper()):
        raise DecodeError("not a Bech32m address: too long, not ASCII, or capitals and small letters are mixed")
    prefix, separator, body = text.lower().rpartition("1")
    if not separator or not prefix or len(body) < 6 or any(c not in _CHARSET for c in body):
        raise DecodeError("not a Bech32m address: it has other characters than an address has")
    if any(not 33 <= ord(c) <= 126 for c in prefix):
        raise DecodeError("not a Bech32m address: its prefix is not printable")
    groups = [_CHARSET.index(c) for c in body]
    if _polymod(_expand(prefix) + groups) != _BECH32M:
        raise DecodeError("the address has a typing error: its checksum does not fit")
    return prefix, groups[:-6]


def bech32m_encode(prefix: str, groups: list[int]) -> str:
    """The Bech32m string of a prefix and 5-bit groups."""
    check = _polymod(_expand(prefix) + groups + [0] * 6) ^ _BECH32M
    tail = [(check >> 5 * (5 - i)) & 31 for i in range(6)]
    return prefix + "1" + "".join(_CHARSET[g] for g in groups + tail)


def format_address(account: bytes) -> str:
    """The address of a 20-byte account."""
    bits = int.from_bytes(account, "big")
    return bech32m_encode(PREFIX, [(bits >> shift) & 31 for shift in range(8 * ACCOUNT_BYTES - 5, -1, -5)])


def parse_address(text: str) -> bytes:
    """The 20-byte account of an address. Raises `DecodeError`, which says what is wrong with it."""
    prefix, groups = bech32m_decode(text)
    if prefix != PREFIX or len(groups) * 5 != ACCOUNT_BYTES * 8:
        raise DecodeError(f"an address of this ledger begins with {PREFIX}1 and has 45 characters")
    bits = 0
    for group in groups:
        bits = bits << 5 | group
    return bits.to_bytes(ACCOUNT_BYTES, "big")
