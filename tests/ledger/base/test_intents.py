"""Transactions: what is signed, what is refused at the door, and that nothing replays in another street."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.base import codec, intents
from ledger.base.crypto import ED25519, sha256
from ledger.base.errors import DecodeError
from ledger.base.intents import AnyIntent, CancelOrder, Commit, PlaceOrder, Reading, Redeem, SetLimits, Transfer

SEED = sha256(b"a key")
CHAIN = sha256(b"a chain")
names = st.text("abcdefgh:-1", min_size=1, max_size=20)
amounts = st.integers(1, 2**63 - 1)
prices = st.integers(-(2**31) + 1, 2**31 - 1)
energies = st.integers(0, 2**32 - 1)
registers = st.integers(0, 2**63 - 1)

all_intents = st.one_of(
    st.builds(Transfer, st.binary(min_size=20, max_size=20), names, amounts),
    st.builds(PlaceOrder, names, st.integers(0, 1), prices, st.integers(1, 2**32 - 1), st.integers(0, 1)),
    st.builds(CancelOrder, amounts),
    st.builds(SetLimits, st.none() | prices, st.none() | prices),
    st.builds(Commit, names, energies),
    st.builds(Redeem, names, energies),
    st.builds(
        Reading,
        names,
        st.binary(min_size=32, max_size=32),
        registers,
        energies,
        registers,
        registers,
        st.none() | registers,
        st.integers(0, 31),
    ),
)


def signed(intent: AnyIntent, nonce: int = 1, valid_until: int = 9) -> bytes:
    return intents.transaction_bytes(
        intent,
        chain_id=CHAIN,
        sender=ED25519.public(SEED),
        nonce=nonce,
        valid_until_height=valid_until,
        sign=lambda message: ED25519.sign(SEED, message),
    )


@given(all_intents, amounts, st.integers(0, 2**63 - 1))
def test_a_transaction_decodes_to_what_was_meant(intent: AnyIntent, nonce: int, valid_until: int) -> None:
    raw = signed(intent, nonce, valid_until)
    envelope = intents.decode_transaction(raw)
    assert envelope.intent == intent
    assert (envelope.nonce, envelope.valid_until_height, envelope.raw) == (nonce, valid_until, raw)
    assert ED25519.verify(envelope.sender, envelope.signature, envelope.signing_bytes(CHAIN))


def test_the_signature_covers_the_whole_genesis_hash() -> None:
    envelope = intents.decode_transaction(signed(CancelOrder(1)))
    other = CHAIN[:8] + bytes(24)  # the same prefix, another chain
    assert not ED25519.verify(envelope.sender, envelope.signature, envelope.signing_bytes(other))


@given(st.data())
def test_changing_any_byte_of_a_transaction_is_noticed(data: st.DataObject) -> None:
    raw = bytearray(signed(Transfer(bytes(20), "CASH", 5)))
    at = data.draw(st.integers(0, len(raw) - 1))
    raw[at] ^= data.draw(st.integers(1, 255))
    try:
        envelope = intents.decode_transaction(bytes(raw))
    except DecodeError:
        return
    assert (
        envelope.chain_prefix != CHAIN[:8]
        or envelope.sender != ED25519.public(SEED)
        or not ED25519.verify(envelope.sender, envelope.signature, envelope.signing_bytes(CHAIN))
    )


BAD_BODIES = {
    "transfer of nothing": (1, (bytes(20), "CASH", 0)),
    "transfer of less than nothing": (1, (bytes(20), "CASH", -1)),
    "transfer beyond 2^63": (1, (bytes(20), "CASH", 2**63)),
    "payee too short": (1, (bytes(19), "CASH", 1)),
    "asset of control characters": (1, (bytes(20), "CA\nSH", 1)),
    "asset too long": (1, (bytes(20), "A" * 41, 1)),
    "order of nothing": (2, ("WATT:p", 0, 5, 0, 0)),
    "order with a third side": (2, ("WATT:p", 2, 5, 1, 0)),
    "order with a price of 2^31": (2, ("WATT:p", 0, 2**31, 1, 0)),
    "order of 2^32": (2, ("WATT:p", 0, 5, 2**32, 0)),
    "true for one": (2, ("WATT:p", True, 5, 1, 0)),
    "limits of text": (4, ("1", None)),
    "reading with an unknown flag": (16, ("d", bytes(32), 0, 0, 0, 0, None, 32)),
    "reading before slot 0": (16, ("d", bytes(32), -1, 0, 0, 0, None, 0)),
    "no such kind": (99, ()),
    "field missing": (3, ()),
}


@pytest.mark.parametrize(("kind", "body"), BAD_BODIES.values(), ids=BAD_BODIES.keys())
def test_malformed_bodies_are_refused(kind: int, body: tuple[object, ...]) -> None:
    fields = (1, CHAIN[:8], kind, bytes(32), 1, 0, body, bytes(64))
    with pytest.raises(DecodeError):
        intents.decode_transaction(codec.encode(fields))


@given(st.binary(max_size=300))
def test_random_bytes_raise_decode_error_and_nothing_else(raw: bytes) -> None:
    try:
        intents.decode_transaction(raw)
    except DecodeError:
        return
