"""Hashes, signatures and the domain tags that keep one kind of signature from passing for another.

libsodium (by PyNaCl) is the only verifier anywhere: OpenSSL accepts keys that it refuses, and a mix would split the
chain. A signature covers a 16-byte domain tag, the 32-byte genesis hash and the canonical bytes (RFC 8032, plain
Ed25519). `Scheme` is the seam by which the simulator runs thousands of seeds with a cheap stand-in.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from nacl.bindings import crypto_sign, crypto_sign_open, crypto_sign_seed_keypair
from nacl.exceptions import BadSignatureError

SIGNATURE_BYTES: Final = 64
KEY_BYTES: Final = 32
HASH_BYTES: Final = 32
ACCOUNT_BYTES: Final = 20
ZERO_HASH: Final = bytes(HASH_BYTES)


def _tag(name: str) -> bytes:
    raw = name.encode()
    assert len(raw) <= 16, "a domain tag has at most 16 bytes"
    return raw.ljust(16, b"\0")


DOMAIN_TRANSACTION: Final = _tag("energo/tx/1")
DOMAIN_VOTE: Final = _tag("energo/vote/1")
DOMAIN_PROPOSAL: Final = _tag("energo/prop/1")
DOMAIN_LINK: Final = _tag("energo/link/1")
DOMAIN_GENESIS: Final = _tag("energo/gen/1")
DOMAIN_ACCOUNT: Final = _tag("energo/acct/1")
DOMAIN_ORDERING: Final = _tag("energo/order/1")
DOMAIN_RANK: Final = _tag("energo/rank/1")
DOMAIN_ANNOUNCE: Final = _tag("energo/mdns/1")
DOMAIN_RECOVERY: Final = _tag("energo/recover/1")
DOMAIN_JOIN: Final = _tag("energo/join/1")
DOMAIN_JOIN_MEMBER: Final = _tag("energo/join/m/1")
DOMAIN_JOIN_NEWCOMER: Final = _tag("energo/join/n/1")
DOMAIN_CARD: Final = _tag("energo/card/1")


def sha256(*parts: bytes) -> bytes:
    """SHA-256 (FIPS 180-4) over the parts in a row, 32 bytes."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.digest()


def keyed_hash(key: bytes, message: bytes) -> bytes:
    """HMAC-SHA256 (RFC 2104), 32 bytes."""
    return hmac.digest(key, message, "sha256")


def is_same(ours: bytes, theirs: bytes) -> bool:
    """Whether they are equal, in a time that does not tell where they differ."""
    return hmac.compare_digest(ours, theirs)


def merkle_root(leaves: list[bytes]) -> bytes:
    """The Merkle tree hash of RFC 6962 section 2.1 over the leaves' bytes; 32 bytes."""
    if not leaves:
        return sha256()
    level = [sha256(b"\0", leaf) for leaf in leaves]
    while len(level) > 1:
        paired = [sha256(b"\1", level[i], level[i + 1]) for i in range(0, len(level) - 1, 2)]
        level = paired + level[len(level) & ~1 :]
    return level[0]


@dataclass(frozen=True)
class Scheme:
    """A signature scheme: `public(seed)`, `sign(seed, message)` and `verify(public_key, signature, message)`."""

    public: Callable[[bytes], bytes]
    sign: Callable[[bytes, bytes], bytes]
    verify: Callable[[bytes, bytes, bytes], bool]


def _public(seed: bytes) -> bytes:
    return crypto_sign_seed_keypair(seed)[0]


def _sign(seed: bytes, message: bytes) -> bytes:
    return crypto_sign(message, crypto_sign_seed_keypair(seed)[1])[:SIGNATURE_BYTES]


def _verify(public_key: bytes, signature: bytes, message: bytes) -> bool:
    if len(signature) != SIGNATURE_BYTES or len(public_key) != KEY_BYTES:
        return False
    try:
        crypto_sign_open(signature + message, public_key)
    except (BadSignatureError, ValueError):
        return False
    return True


ED25519: Final = Scheme(_public, _sign, _verify)


def account_of_key(owner_key: bytes) -> bytes:
    """The 20-byte account of a household, from its first owner key; later rotations keep it."""
    return sha256(DOMAIN_ACCOUNT, b"\0", owner_key)[:ACCOUNT_BYTES]


def account_of_name(name: str) -> bytes:
    """The 20-byte account of the street itself: `grid`, `operator`, `treasury`, `pool:NAME`, `gen:NAME`."""
    return sha256(DOMAIN_ACCOUNT, b"\1", name.encode())[:ACCOUNT_BYTES]


LINK_VERSION: Final = 1


def link_message(
    chain_id: bytes,
    dialed: int,
    client_nonce: bytes,
    server_nonce: bytes,
    own: bytes,
    peer: bytes,
    certificate_hash: bytes,
) -> bytes:
    """What an end of a link signs to prove who it is: both nonces, both ids and the server's TLS certificate.

    `dialed` is 1 for the end that opened the link. A relay in the middle has another certificate, so its proof fails.
    """
    fixed = (chain_id, client_nonce, server_nonce, own, peer, certificate_hash)
    assert all(len(part) == HASH_BYTES for part in fixed), (
        "every part has 32 bytes, so that the message has one reading"
    )
    return DOMAIN_LINK + chain_id + bytes((LINK_VERSION, dialed)) + b"".join(fixed[1:])
