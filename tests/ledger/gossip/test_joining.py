"""Two ends that meet by a code, without a network: what each says, what it takes from the other, how often a code is good."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ledger.base import codec
from ledger.base.crypto import ED25519, sha256
from ledger.base.errors import DecodeError
from ledger.gossip import joining
from ledger.gossip.joining import (
    CODES_PER_HOUR,
    HOUR_MS,
    PIECE_BYTES,
    WINDOW_MS,
    Answer,
    At,
    Card,
    End,
    Invitations,
    JoinFailed,
    Member,
    Newcomer,
    Parties,
    Piece,
    Proof,
    SignedCard,
    Street,
    decode,
    decode_ask,
    encode,
    encode_ask,
    is_ask,
    secret_of,
)
from ledger.node.joining import beginning

SEEDS = tuple(sha256(f"home6 {kind}".encode()) for kind in ("owner", "node", "transport", "device"))
KEYS = tuple(ED25519.public(seed) for seed in SEEDS)
CARD = Card("home6", "root", *KEYS)
GENESIS = bytes(range(256)) * 600  # three pieces
STREET = Street(7, sha256(b"block"), sha256(b"committee"), len(GENESIS), "root")
PARTIES = Parties(
    sha256(b"chain"), sha256(b"member"), sha256(b"nonce m"), KEYS[0], KEYS[2], sha256(b"nonce n"), sha256(b"tls")
)


def sign(message: bytes) -> tuple[bytes, ...]:
    return tuple(ED25519.sign(seed, message) for seed in SEEDS)


def newcomer(code: str = "123456", parties: Parties = PARTIES) -> Newcomer:
    return Newcomer(beginning(secret_of(code), is_newcomer=True), parties)


def member(first: bytes, code: str = "123456", parties: Parties = PARTIES) -> Member:
    return Member(parties, decode_ask(first), beginning(secret_of(code), is_newcomer=False), STREET, GENESIS)


def met(one: Newcomer, other: Member) -> list[bytes]:
    """The newcomer's proof arrives, and the member answers: its messages."""
    (proof,) = one.receive(other.first())
    return other.receive(proof)


def test_with_the_same_code_the_member_has_the_card_and_the_newcomer_the_street() -> None:
    one = newcomer()
    assert is_ask(one.first())
    other = member(one.first())
    said = met(one, other)
    assert len(said) == 2 + -(-len(GENESIS) // PIECE_BYTES)
    for message in said:
        assert one.receive(message) == []
    assert (one.genesis, one.street, one.at) == (GENESIS, STREET, At.OWN_CARD)
    assert other.receive(one.present(CARD, sign)) == []
    assert (other.card, other.at) == (CARD, At.DONE)
    assert one.receive(encode(End(""))) == []
    assert one.at is At.DONE


def test_a_wrong_code_is_found_out_by_both_ends() -> None:
    one = newcomer("123457")
    other = member(one.first())
    with pytest.raises(JoinFailed, match="code is wrong"):
        met(one, other)
    assert other.at is At.FAILED
    _, own = joining.proofs(other._key, other._transcript)
    with pytest.raises(JoinFailed, match="does not know the code"):  # a member that says its proof all the same
        one.receive(encode(Proof(own)))


def test_the_member_says_nothing_of_the_key_before_the_newcomer_has_proved_it() -> None:
    one = newcomer()
    other = member(one.first())
    assert isinstance(decode(other.first()), Answer)
    with pytest.raises(JoinFailed):
        other.receive(encode(Proof(bytes(32))))
    with pytest.raises(DecodeError):  # one attempt: the right proof comes too late
        other.receive(one.receive(other.first())[0])


def test_a_proof_is_not_good_as_the_other_ends() -> None:
    one = newcomer()
    other = member(one.first())
    (proof,) = one.receive(other.first())
    with pytest.raises(JoinFailed):
        one.receive(proof)


@pytest.mark.parametrize(
    "changed",
    ["chain_id", "member_key", "member_nonce", "owner_key", "transport_key", "nonce", "certificate_hash"],
)
def test_ends_that_differ_on_who_meets_whom_do_not_meet(changed: str) -> None:
    one = newcomer()
    other = member(one.first(), parties=replace(PARTIES, **{changed: sha256(b"another")}))
    with pytest.raises(JoinFailed, match="code is wrong"):
        met(one, other)


def test_what_was_said_before_is_worth_nothing_in_another_joining_with_the_same_code() -> None:
    one = newcomer()
    ask, other = one.first(), member(one.first())
    (proof,) = one.receive(other.first())
    for message in other.receive(proof):
        one.receive(message)
    card = one.present(CARD, sign)
    again = member(ask)
    with pytest.raises(JoinFailed, match="code is wrong"):
        again.receive(proof)
    two = newcomer()
    third = member(two.first())
    met(two, third)
    with pytest.raises(JoinFailed, match="does not hold every key"):
        third.receive(card)


@pytest.mark.parametrize("field", ["name", "bus", "node_key", "device_key"])
def test_a_card_is_taken_only_with_all_its_keys_own_word_for_it(field: str) -> None:
    one = newcomer()
    other = member(one.first())
    for message in met(one, other):
        one.receive(message)
    other_one: dict[str, Any] = {field: sha256(b"another") if field.endswith("key") else "other"}
    changed = CARD._replace(**other_one)
    signed = decode(one.present(CARD, sign))
    assert isinstance(signed, SignedCard)
    with pytest.raises(JoinFailed, match="does not hold every key"):
        other.receive(encode(SignedCard(changed, signed.signatures)))


@pytest.mark.parametrize("field", ["owner_key", "transport_key"])
def test_a_card_names_the_keys_that_the_newcomer_began_with(field: str) -> None:
    one = newcomer()
    other = member(one.first())
    for message in met(one, other):
        one.receive(message)
    changed: dict[str, Any] = {field: KEYS[1]}
    with pytest.raises(JoinFailed, match="other keys"):
        other.receive(one.present(CARD._replace(**changed), sign))


@pytest.mark.parametrize(
    "message",
    [End(""), Street(1, bytes(32), bytes(32), 5, "root"), Piece(b"x"), SignedCard(CARD, (bytes(64),) * 4)],
    ids=lambda message: type(message).__name__,
)
def test_what_does_not_come_now_ends_it(message: joining.Message) -> None:
    one = newcomer()
    other = member(one.first())
    for end in (one, other):
        with pytest.raises(DecodeError):
            end.receive(encode(message))
        assert end.at is At.FAILED


def test_a_genesis_file_is_not_longer_than_was_said() -> None:
    one = newcomer()
    other = member(one.first())
    proof, _, piece, *_ = met(one, other)
    one.receive(proof)
    one.receive(encode(STREET._replace(genesis_bytes=3)))
    with pytest.raises(DecodeError, match="longer"):
        one.receive(piece)


def test_a_refusal_comes_in_words_at_any_time() -> None:
    one = newcomer()
    with pytest.raises(JoinFailed, match="nobody is invited"):
        one.receive(encode(End("nobody is invited here now")))
    assert not one.answered


MESSAGES: tuple[joining.Message, ...] = (
    Answer(b"B" + bytes(32)),
    Proof(bytes(32)),
    STREET,
    Piece(b"genesis"),
    SignedCard(CARD, (bytes(64),) * 4),
    End("no"),
    End(""),
)


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
def test_messages_come_back_as_they_were(message: joining.Message) -> None:
    assert decode(encode(message)) == message


@pytest.mark.parametrize(
    "item",
    [
        (),
        (0,),
        (1, b"short"),
        (2, b"short"),
        (2, bytes(32), 1),
        (3, -1, bytes(32), bytes(32), 1, "root"),
        (3, 1, bytes(32), bytes(32), 2**40, "root"),
        (3, 1, bytes(32), bytes(32), 1, ""),
        (4, b""),
        (4, bytes(PIECE_BYTES + 1)),
        (5, "home6", "root", *KEYS, *(bytes(64),) * 3, b""),
        (6, "two\nlines"),
        (6, "x" * 300),
        (2, bytes(2_000)),
        5,
        "join",
    ],
    ids=str,
)
def test_what_no_honest_end_sends_is_refused(item: object) -> None:
    with pytest.raises(DecodeError):
        decode(codec.encode(item))


@pytest.mark.parametrize(
    "item",
    [
        ("join", 2, *(bytes(32),) * 3, bytes(33)),
        ("join", 1, *(bytes(32),) * 3, bytes(34)),
        ("join", 1, bytes(31), *(bytes(32),) * 2, bytes(33)),
        ("join", 1, *(bytes(32),) * 3, bytes(200)),
    ],
    ids=["version", "element", "key", "long"],
)
def test_first_words_that_are_none_are_refused(item: object) -> None:
    raw = codec.encode(item)
    assert is_ask(raw)
    with pytest.raises(DecodeError):
        decode_ask(raw)


@pytest.mark.parametrize(
    "element",
    [b"A" + bytes(32), b"B" + bytes(31) + b"\x01", b"A" + b"\xff" * 32, b"A\x01" + bytes(31), b"S" + bytes(32)],
)
def test_an_element_that_is_none_is_refused(element: bytes) -> None:
    ask = decode_ask(newcomer().first())
    with pytest.raises(DecodeError, match="not an element"):
        member(encode_ask(ask._replace(element=element)))


def test_an_element_sent_back_is_refused() -> None:
    one = newcomer()
    with pytest.raises(DecodeError, match="not an element"):
        one.receive(encode(Answer(b"B" + decode_ask(one.first()).element[1:])))


def test_a_code_is_typed_as_people_type() -> None:
    assert secret_of("123456") == secret_of(" 123 456") == secret_of("123-456") == b"123456"
    assert secret_of("00FF" * 8) == bytes.fromhex("00ff" * 8)
    for text in ("", "12345", "1234567", "12345x", "00ff" * 8 + "00", "x" * 32, "１２３４５６"):
        with pytest.raises(JoinFailed, match="is not a code"):
            secret_of(text)


def test_a_code_is_taken_once_within_its_window() -> None:
    codes = Invitations()
    codes.invite(b"1", "root", 1_000)
    assert codes.left_ms(1_000) == WINDOW_MS
    taken = codes.take(1_000 + WINDOW_MS - 1)
    assert taken is not None
    assert taken.secret == b"1"
    assert codes.take(1_000 + WINDOW_MS - 1) is None
    codes.invite(b"2", "root", 2_000)
    assert codes.take(2_000 + WINDOW_MS) is None


def test_a_new_code_voids_the_one_before() -> None:
    codes = Invitations()
    codes.invite(b"1", "root", 0)
    codes.invite(b"2", "root", 0)
    taken = codes.take(0)
    assert taken is not None
    assert taken.secret == b"2"
    assert codes.take(0) is None


def test_so_many_codes_an_hour_and_no_more() -> None:
    codes = Invitations()
    for number in range(CODES_PER_HOUR):
        codes.invite(b"1", "root", number * 1_000)
    with pytest.raises(JoinFailed, match="in 60 minutes"):
        codes.invite(b"1", "root", 10_000)
    with pytest.raises(JoinFailed, match="in 1 minutes"):
        Invitations(codes.made_ms).invite(b"1", "root", HOUR_MS - 1)
    later = Invitations(codes.made_ms)
    later.invite(b"1", "root", HOUR_MS)
    assert later.left(HOUR_MS) == 0
    assert later.left(HOUR_MS + 1_000) == 1
