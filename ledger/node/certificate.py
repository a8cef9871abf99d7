"""The certificate that TLS wants of a server: self-signed, of a key of its own, written out here byte by byte.

Promises X.509 version 3 in DER (RFC 5280, Ed25519 by RFC 8410) that OpenSSL takes. It means nothing by itself: nobody checks its
name, dates or signature, for the proofs inside the tunnel bind its hash (`transport`). A library that makes certificates would be
nine MiB in every node's memory for these 300 bytes.
"""

from __future__ import annotations

import base64
from typing import Final, NamedTuple

from ledger.base.crypto import ED25519, sha256

_INTEGER, _BIT_STRING, _OCTET_STRING, _UTF8, _TIME, _TIME_LONG = 0x02, 0x03, 0x04, 0x0C, 0x17, 0x18
_SEQUENCE, _SET, _VERSION = 0x30, 0x31, 0xA0
_ED25519: Final = bytes.fromhex("300506032b6570")  # 1.3.101.112, without parameters
_COMMON_NAME: Final = bytes.fromhex("0603550403")  # 2.5.4.3
_BEFORE, _AFTER = b"200101000000Z", b"99991231235959Z"  # a Pi has no clock; the latter is "no end" (RFC 5280, 4.1.2.5)
_SERIAL_BYTES: Final = 16


class Certificate(NamedTuple):
    """What `ssl` loads, and the bytes that the other end sees."""

    pem: bytes
    key_pem: bytes
    der: bytes


def _der(tag: int, *parts: bytes) -> bytes:
    """One value with its tag and length."""
    content = b"".join(parts)
    size = len(content)
    assert size < 1 << 16, "nothing here is that long"
    if size < 0x80:
        length = bytes([size])
    elif size < 0x100:
        length = bytes([0x81, size])
    else:
        length = bytes([0x82, size >> 8, size & 0xFF])
    return bytes([tag]) + length + content


def _pem(label: str, der: bytes) -> bytes:
    text = base64.b64encode(der).decode()
    lines = [text[at : at + 64] for at in range(0, len(text), 64)]
    return "\n".join([f"-----BEGIN {label}-----", *lines, f"-----END {label}-----", ""]).encode()


def make_certificate(seed: bytes) -> Certificate:
    """Of the Ed25519 key with this seed (32 bytes), which belongs to this one start of a node."""
    public = ED25519.public(seed)
    serial = b"\x40" + sha256(public)[1:_SERIAL_BYTES]  # above zero, and as short as it can be written
    name = _der(_SEQUENCE, _der(_SET, _der(_SEQUENCE, _COMMON_NAME, _der(_UTF8, b"energo"))))
    to_sign = _der(
        _SEQUENCE,
        _der(_VERSION, _der(_INTEGER, b"\x02")),  # version 3
        _der(_INTEGER, serial),
        _ED25519,
        name,
        _der(_SEQUENCE, _der(_TIME, _BEFORE), _der(_TIME_LONG, _AFTER)),
        name,
        _der(_SEQUENCE, _ED25519, _der(_BIT_STRING, b"\x00", public)),
    )
    der = _der(_SEQUENCE, to_sign, _ED25519, _der(_BIT_STRING, b"\x00", ED25519.sign(seed, to_sign)))
    key = _der(_SEQUENCE, _der(_INTEGER, b"\x00"), _ED25519, _der(_OCTET_STRING, _der(_OCTET_STRING, seed)))
    return Certificate(_pem("CERTIFICATE", der), _pem("PRIVATE KEY", key), der)
