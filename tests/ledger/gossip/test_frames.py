"""The door for bytes from peers: every message survives its frame, and whatever else comes is `DecodeError`."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.base import codec
from ledger.base.crypto import sha256
from ledger.base.errors import DecodeError
from ledger.base.votes import Kind, Vote, certificate_of, claim_of, evidence_of
from ledger.gossip import frames
from ledger.gossip.flood import FeedClock, Have, Seen, Transaction, Want
from ledger.gossip.seals import Head, Proof, Seal, Seals, SealsRequest
from ledger.gossip.sync import RangeRequest, SnapshotChunk, SnapshotRequest, check_range, make_range
from ledger.simplex.messages import BodyRequest, CertificateRequest, Echo, Proposal, Status
from ledger.state.snapshot import make_manifest
from ledger.state.transition import Executed
from tests.ledger.streets import ORIGIN_MS, Ledger, street

BOOT = bytes(8)


def chain(blocks: int) -> list[Executed]:
    ledger = Ledger(street(2))
    for number in range(blocks):
        ledger.step(ORIGIN_MS - 5_000 + number)
    return ledger.blocks


def vote(signer: int, kind: Kind = Kind.FINALIZE, block: bytes = sha256(b"b")) -> Vote:
    return Vote(kind, 0, 3, block, 7, signer, bytes([signer]) * 64)


BLOCK = chain(1)[1].block
assert BLOCK is not None
CERTIFICATE = certificate_of([vote(0), vote(1), vote(2)])
PROOF = Proof((BLOCK.header,), CERTIFICATE)
MESSAGES: list[frames.AnyMessage] = [
    vote(1),
    CERTIFICATE,
    Proposal(BLOCK, (CERTIFICATE,), bytes(64)),
    BLOCK,
    Status(0, 5, 6, sha256(b"h"), 7, 1, BOOT),
    Echo(0, (vote(1), vote(2))),
    evidence_of(0, 7, 1, claim_of(vote(1)), claim_of(vote(1, block=sha256(b"other")))),
    CertificateRequest((1, 2)),
    BodyRequest(sha256(b"x")),
    RangeRequest(4),
    make_range([BLOCK.encoded], [BLOCK.header], CERTIFICATE.encoded),
    SealsRequest(3),
    Seals((Seal(BLOCK.header, None, PROOF, (bytes(32),)).encoded(),), Head(BLOCK.header, PROOF).encoded()),
    SnapshotRequest(10_000, 3),
    make_manifest(BLOCK.header, PROOF.encoded(), chain(0)[0].peaks, [b"piece"]),
    SnapshotChunk(10_000, 3, b"piece"),
    FeedClock(((0, 7), (3, 0))),
    Transaction(b"raw"),
    Have((bytes(8),)),
    Want((bytes(8),)),
]


@pytest.mark.parametrize("message", MESSAGES, ids=lambda m: type(m).__name__)
def test_every_message_survives_its_frame(message: frames.AnyMessage) -> None:
    frame = frames.encode(message)
    assert int.from_bytes(frame[:4], "big") == len(frame) - 4
    assert frames.decode(frame[4:]) == message


@pytest.mark.parametrize("message", MESSAGES, ids=lambda m: type(m).__name__)
@given(data=st.data())
@settings(max_examples=60)
def test_a_mutated_frame_is_another_message_or_decode_error(message: frames.AnyMessage, data: st.DataObject) -> None:
    frame = bytearray(frames.encode(message)[4:])
    for _ in range(data.draw(st.integers(1, 4))):
        frame[data.draw(st.integers(0, len(frame) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(frame)))
    try:
        frames.decode(bytes(frame[:cut]))
    except DecodeError:
        return


@given(st.binary(max_size=400))
@settings(max_examples=400)
def test_random_frames_raise_decode_error_and_nothing_else(raw: bytes) -> None:
    try:
        frames.decode(raw)
    except DecodeError:
        return


@pytest.mark.parametrize("kind", [10, 11, 12, 13, 14, 15, 16, 20, 21, 23, 24, 25, 26, 27, 28, 30, 31, 32, 99])
@pytest.mark.parametrize("bomb", [b"\x81" * 90_000, b"\x9b" + b"\xff" * 8, b"\xbf" * 50, b"\xd9\x01\x00" * 1_000, b""])
def test_bombs_are_dropped_at_the_door(kind: int, bomb: bytes) -> None:
    if kind == frames.TRANSACTION and len(bomb) <= 4_096 and bomb:
        return  # carried as bytes; the mempool's decoder refuses it (tests of intents)
    with pytest.raises(DecodeError):
        frames.decode(bytes((kind,)) + bomb)


def test_a_range_must_link_from_our_head_to_its_finalization() -> None:
    blocks = chain(4)
    raw = [b.block.encoded for b in blocks[1:3] if b.block]
    tail = [b.header for b in blocks[3:]]
    final = certificate_of([vote(s, block=blocks[-1].hash) for s in range(3)])
    good = make_range(raw, tail, final.encoded)
    found, headers, certificate = check_range(good, blocks[0].hash)
    assert list(headers) == tail
    assert [b.hash for b in found] == [blocks[1].hash, blocks[2].hash]
    assert certificate == final
    other = certificate_of([vote(s, block=blocks[2].hash) for s in range(3)])
    for bad in (
        make_range(raw[1:], tail, final.encoded),
        make_range(raw, tail[1:], final.encoded),
        make_range(raw, tail, other.encoded),
        make_range([], tail, final.encoded),
        make_range(raw[::-1], tail, final.encoded),
    ):
        with pytest.raises(DecodeError):
            check_range(bad, blocks[0].hash)


def test_a_body_that_its_header_does_not_commit_to_is_refused() -> None:
    assert BLOCK is not None
    for body in ((b"tx",), b"certificate"):
        fields = [tuple(BLOCK.header), BLOCK.transactions, BLOCK.parent_certificate, (), b""]
        fields[1 if isinstance(body, tuple) else 2] = body
        with pytest.raises(DecodeError, match="commits to"):
            frames.decode(bytes((frames.BODY,)) + codec.encode(fields))


def test_only_what_was_never_seen_is_asked_for() -> None:
    seen = Seen()
    assert seen.add(b"12345678" + bytes(24))
    assert not seen.add(b"12345678" + bytes(24))
    assert seen.missing((b"12345678", b"abcdefgh")) == (b"abcdefgh",)
