"""Votes and certificates: bytes, quorums, and block time from the votes' clocks."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.base.crypto import ED25519, ZERO_HASH, sha256
from ledger.base.errors import DecodeError
from ledger.base.votes import (
    Certificate,
    Committee,
    Kind,
    Vote,
    block_time_ms,
    certificate_is_valid,
    certificate_of,
    decode_certificate,
    decode_vote,
    encode_vote,
    faulty_max,
    quorum,
    vote_message,
)

CHAIN = sha256(b"chain")
SEEDS = sorted((sha256(bytes([i])) for i in range(4)), key=ED25519.public)
COMMITTEE = Committee(0, tuple(ED25519.public(seed) for seed in SEEDS))
BLOCK = sha256(b"block")


def vote(signer: int, kind: Kind = Kind.NOTARIZE, view: int = 7, block: bytes = BLOCK, time_ms: int = 1_000) -> Vote:
    if kind == Kind.NULLIFY:
        block, time_ms = ZERO_HASH, 0
    message = vote_message(CHAIN, kind, 0, view, block, time_ms, signer)
    return Vote(kind, 0, view, block, time_ms, signer, ED25519.sign(SEEDS[signer], message))


# consensus design, section 3.1
@pytest.mark.parametrize(
    ("n", "f", "q"),
    [(1, 0, 1), (2, 0, 2), (3, 0, 3), (4, 1, 3), (5, 1, 4), (7, 2, 5), (10, 3, 7), (21, 6, 15), (31, 10, 21)],
)
def test_quorums_are_those_of_the_table(n: int, f: int, q: int) -> None:
    assert (faulty_max(n), quorum(n)) == (f, q)
    assert 2 * q - n > f  # two quorums share an honest member


def test_a_trusted_household_of_two_or_three_needs_a_majority_and_nobody_else_does() -> None:
    keys = COMMITTEE.keys
    assert [Committee(0, keys[:n], trusted=True).quorum for n in (1, 2, 3, 4)] == [1, 2, 2, 3]
    assert [Committee(0, keys[:n]).quorum for n in (1, 2, 3, 4)] == [1, 2, 3, 3]


@pytest.mark.parametrize("kind", list(Kind))
def test_votes_and_certificates_survive_their_bytes(kind: Kind) -> None:
    votes = [vote(signer, kind) for signer in (2, 0, 3)]
    assert [decode_vote(encode_vote(v)) for v in votes] == votes
    certificate = certificate_of(votes)
    again = decode_certificate(certificate.encoded)
    assert again == certificate
    assert certificate_is_valid(again, CHAIN, COMMITTEE, ED25519)
    assert again.signers == (0, 2, 3)


def test_a_certificate_needs_a_quorum_of_distinct_members_on_this_chain() -> None:
    good = certificate_of([vote(signer) for signer in range(3)])
    assert not certificate_is_valid(certificate_of([vote(0), vote(1)]), CHAIN, COMMITTEE, ED25519)
    assert not certificate_is_valid(good, sha256(b"other"), COMMITTEE, ED25519)
    swapped = Certificate(good.kind, 0, good.view, good.block_hash, (0, 1, 3), good.times_ms, good.signatures)
    assert not certificate_is_valid(swapped, CHAIN, COMMITTEE, ED25519)
    later = Certificate(good.kind, 0, good.view, good.block_hash, good.signers, (1, 1, 1), good.signatures)
    assert not certificate_is_valid(later, CHAIN, COMMITTEE, ED25519)


@given(st.binary(max_size=200))
def test_random_bytes_raise_decode_error_and_nothing_else(raw: bytes) -> None:
    for decoder in (decode_vote, decode_certificate):
        try:
            decoder(raw)
        except DecodeError:
            continue


@given(st.data())
def test_a_changed_certificate_is_malformed_or_does_not_hold(data: st.DataObject) -> None:
    raw = bytearray(certificate_of([vote(signer) for signer in range(3)]).encoded)
    at = data.draw(st.integers(0, len(raw) - 1))
    raw[at] ^= data.draw(st.integers(1, 255))
    try:
        certificate = decode_certificate(bytes(raw))
    except DecodeError:
        return
    assert not certificate_is_valid(certificate, CHAIN, COMMITTEE, ED25519)


def timed(*times: int) -> Certificate:
    return Certificate(Kind.NOTARIZE, 0, 7, BLOCK, tuple(range(len(times))), times, (bytes(64),) * len(times))


@pytest.mark.parametrize(
    ("times", "parent", "expected"),
    [
        ((5_000, 9_000, 7_000), 1_000, 7_000),
        ((5_000, 9_000, 7_000, 8_000), 1_000, 7_000),  # the lower middle
        ((5_000, 9_000, 0), 1_000, 2_000),  # fewer than 2f+1 sources: at most a second more
        ((0, 0, 0), 1_000, 1_001),
        ((500, 500, 500), 1_000, 1_001),  # never backwards
    ],
)
def test_block_time_is_the_lower_median_of_the_honest_range(times: tuple[int, ...], parent: int, expected: int) -> None:
    assert block_time_ms(parent, timed(*times), COMMITTEE) == expected


@given(st.lists(st.integers(10_000, 20_000), min_size=3, max_size=3), st.integers(1, 10**12))
def test_one_liar_of_four_cannot_move_time_out_of_the_honest_range(honest: list[int], lie: int) -> None:
    assert min(honest) <= block_time_ms(1, timed(*honest[:2], lie, honest[2]), COMMITTEE) <= max(honest)
