"""Snapshots: cut, sent in any order, put together, and refused whenever a byte of them is not the state of their header."""

from __future__ import annotations

import random

import pytest

from ledger.base.errors import DecodeError
from ledger.state import history, snapshot
from ledger.state.snapshot import Assembly, Manifest, check_rows, cut, decode_manifest, make_manifest, state_of
from tests.ledger.chains import Chain, quick_street


@pytest.fixture(scope="module")
def made() -> tuple[Manifest, list[bytes], list[tuple[bytes, bytes]]]:
    """A snapshot of a street's seventh block in small pieces."""
    chain = Chain(quick_street(3))
    peaks: history.Peaks = chain.tip.peaks
    for committed in chain.day(2):
        below, peaks = peaks, committed.executed.peaks
    rows = chain.tip.state.rows()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(snapshot, "CHUNK_BYTES", 500)
        chunks = cut(rows)
    return make_manifest(chain.tip.header, b"proof", below, chunks), chunks, rows


Made = tuple[Manifest, list[bytes], list[tuple[bytes, bytes]]]


def test_pieces_in_any_order_make_the_same_state(made: Made) -> None:
    manifest, chunks, rows = made
    assert len(chunks) > 5
    assert decode_manifest(manifest.encoded()) == manifest
    assembly = Assembly(manifest)
    order = list(range(len(chunks)))
    random.Random(1).shuffle(order)
    for index in order:
        assert index in assembly.missing()
        assembly.add(index, chunks[index])
    assert assembly.rows() == rows
    assert state_of(manifest, rows).root() == manifest.header.state_root


def test_a_piece_that_was_not_asked_for_is_refused(made: Made) -> None:
    manifest, chunks, _ = made
    assembly = Assembly(manifest)
    for index, chunk in ((0, chunks[1]), (0, chunks[0][:-1]), (-1, chunks[0]), (len(chunks), chunks[0])):
        with pytest.raises(DecodeError, match="not of this snapshot"):
            assembly.add(index, chunk)
    assert len(assembly.missing()) == len(chunks)


def test_rows_that_are_not_the_headers_are_refused(made: Made) -> None:
    manifest, _, rows = made
    bent = [*rows[:3], (rows[3][0], rows[3][1][:-1] + b"\1"), *rows[4:]]
    for wrong in (rows[:-1], rows[1:], bent):
        with pytest.raises(DecodeError, match="not those that the header commits to"):
            check_rows(manifest, cut(wrong))
    with pytest.raises(DecodeError, match="out of order"):
        check_rows(manifest, cut([rows[1], rows[0], *rows[2:]]))
    with pytest.raises(DecodeError, match="out of order"):
        check_rows(manifest, cut([rows[0], *rows]))
    with pytest.raises(DecodeError, match="ends inside"):
        check_rows(manifest, [b"".join(cut(rows))[:-1]])


def test_a_manifest_of_another_history_is_refused(made: Made) -> None:
    manifest, chunks, _ = made
    longer = history.append(manifest.peaks, bytes(32))
    with pytest.raises(DecodeError, match="history"):
        decode_manifest(manifest._replace(peaks=longer).encoded())
    with pytest.raises(DecodeError, match="without pieces"):
        decode_manifest(manifest._replace(hashes=()).encoded())
    with pytest.raises(DecodeError, match="proof"):
        decode_manifest(manifest._replace(proof=bytes(snapshot.PROOF_BYTES_MAX + 1)).encoded())
    with pytest.raises(DecodeError):
        decode_manifest(manifest.encoded()[:-1])
    assert chunks
