"""The signer never gives two answers for one view: as a rule, across restarts, and with a torn journal."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.base.crypto import ZERO_HASH, sha256
from ledger.base.errors import DiskFailed, SignerRefused
from ledger.base.votes import PROPOSE
from ledger.wallet.guard import FINALIZE, NOTARIZE, NULLIFY, Guard, Signed, decode_signed
from ledger.wallet.journal import MAGIC, DamagedLog, DurableLog, parse_log, parse_witnessed_log
from ledger.wallet.keystore import Amnesia, VoteJournal, create_keys, load_keys, retire_node_key

A, B = sha256(b"a"), sha256(b"b")
steps = st.lists(st.tuples(st.integers(0, 3), st.integers(1, 4), st.sampled_from([A, B]), st.booleans()), max_size=30)


def ask(guard: Guard, kind: int, view: int, block: bytes) -> Signed:
    block = ZERO_HASH if kind == NULLIFY else block
    given_before = guard.check(kind, 0, view, block)
    if given_before is not None:
        return given_before
    record = Signed(kind, 0, view, block, 5, sha256(bytes([kind, view]), block) * 2)
    guard.note(record)
    return record


@given(steps)
def test_whatever_is_asked_and_however_often_it_restarts_it_never_contradicts_itself(
    asked: list[tuple[int, int, bytes, bool]],
) -> None:
    guard, given_so_far = Guard(), list[Signed]()
    for kind, view, block, restart in asked:
        if restart:
            guard = Guard(decode_signed(record.encoded()) for record in guard.live())
        try:
            record = ask(guard, kind, view, block)
        except SignerRefused:
            continue
        given_so_far.append(record)
    by_view: dict[int, dict[int, set[bytes]]] = {}
    for record in given_so_far:
        by_view.setdefault(record.view, {}).setdefault(record.kind, set()).add(record.block_hash)
    for kinds in by_view.values():
        assert all(len(blocks) == 1 for blocks in kinds.values())
        assert not (NULLIFY in kinds and FINALIZE in kinds)


def test_the_same_vote_gets_the_same_signature_and_views_only_rise() -> None:
    guard = Guard()
    first = ask(guard, NOTARIZE, 3, A)
    assert ask(guard, NOTARIZE, 3, A) is first
    with pytest.raises(SignerRefused, match="another block"):
        ask(guard, NOTARIZE, 3, B)
    with pytest.raises(SignerRefused, match="behind view 3"):
        ask(guard, NOTARIZE, 2, A)
    ask(guard, NULLIFY, 3, A)
    for kind in (FINALIZE,):
        with pytest.raises(SignerRefused, match="already nullified"):
            ask(guard, kind, 3, A)


def test_no_notarize_after_nullify_and_no_second_proposal() -> None:
    guard = Guard()
    ask(guard, NULLIFY, 1, A)
    with pytest.raises(SignerRefused, match="refusing to notarize"):
        ask(guard, NOTARIZE, 1, A)
    ask(guard, PROPOSE, 2, A)
    with pytest.raises(SignerRefused, match="PROPOSE"):
        ask(guard, PROPOSE, 2, B)


def test_a_vote_is_on_disk_before_its_signature_is_given(tmp_path: Path) -> None:
    seed = sha256(b"seed")
    journal = VoteJournal(tmp_path)
    signature, time_ms = journal.sign(NOTARIZE, 0, 1, A, 77, seed, b"message")
    records, _, _ = parse_witnessed_log((tmp_path / "votes.journal").read_bytes())
    assert [decode_signed(raw)[:5] for raw in records] == [(NOTARIZE, 0, 1, A, 77)]
    journal.close()
    again = VoteJournal(tmp_path)
    assert again.sign(NOTARIZE, 0, 1, A, 99, seed, b"message") == (signature, time_ms)
    with pytest.raises(SignerRefused):
        again.sign(NOTARIZE, 0, 1, B, 99, seed, b"message")
    again.close()


def test_no_vote_is_forgotten_over_one_damage_however_much_of_the_end_is_lost(tmp_path: Path) -> None:
    seed = sha256(b"seed")
    journal = VoteJournal(tmp_path)
    ends = []
    for view in range(1, 6):
        given = journal.sign(NOTARIZE, 0, view, A, 77, seed, b"message")
        ends.append((tmp_path / "votes.journal").stat().st_size)
    journal.close()
    path = tmp_path / "votes.journal"
    whole = path.read_bytes()
    for cut in [*range(0, ends[-2], 97), ends[-2] - 1]:
        path.write_bytes(whole[:cut])
        with pytest.raises(Amnesia, match="will not vote again"):
            VoteJournal(tmp_path)
    for cut in range(ends[-2], len(whole)):
        path.write_bytes(whole[:cut])
        healed = VoteJournal(tmp_path)
        assert healed.sign(NOTARIZE, 0, 5, A, 99, seed, b"message") == given
        healed.close()
        assert path.read_bytes() == whole
    for at in range(0, len(whole), 41):
        damaged = bytearray(whole)
        damaged[at] ^= 1
        path.write_bytes(bytes(damaged))
        try:
            healed = VoteJournal(tmp_path)
        except Amnesia:
            continue
        assert len(healed.guard.live()) == 5
        healed.close()


def test_a_lost_journal_is_amnesia(tmp_path: Path) -> None:
    journal = VoteJournal(tmp_path)
    journal.sign(NOTARIZE, 0, 1, A, 5, b"s" * 32, b"message")
    journal.close()
    (tmp_path / "votes.journal").unlink()
    with pytest.raises(Amnesia, match="is gone"):
        VoteJournal(tmp_path)


def test_a_wallet_may_start_as_often_as_it_likes_before_its_first_vote(tmp_path: Path) -> None:
    for _ in range(3):
        VoteJournal(tmp_path).close()
    journal = VoteJournal(tmp_path)
    assert journal.sign(NOTARIZE, 0, 1, A, 5, b"s" * 32, b"message")[1] == 5
    journal.close()


def test_a_retired_key_is_put_aside_and_the_new_one_votes_after_any_number_of_starts(tmp_path: Path) -> None:
    create_keys(tmp_path)
    before = load_keys(tmp_path).public()
    journal = VoteJournal(tmp_path)
    journal.sign(NOTARIZE, 0, 1, A, 5, b"s" * 32, b"message")
    assert "votes.forgotten" in str(journal.forget("this card was copied"))
    with pytest.raises(Amnesia, match="this card was copied"):
        VoteJournal(tmp_path)
    retire_node_key(tmp_path)
    after = load_keys(tmp_path).public()
    assert (after[0], after[2]) == (before[0], before[2])
    assert after[1] != before[1]
    for _ in range(2):
        VoteJournal(tmp_path).close()
    assert VoteJournal(tmp_path).sign(NOTARIZE, 0, 1, B, 5, b"s" * 32, b"message")[1] == 5


def test_the_guard_knows_its_own_votes_and_that_it_cannot_tell_of_very_old_ones() -> None:
    guard = Guard()
    assert not guard.knows(NOTARIZE, 0, 3, A), "nothing was signed: the vote is another card's"
    guard.note(Signed(int(NOTARIZE), 0, 100, A, 5, bytes(64)))
    assert guard.knows(NOTARIZE, 0, 100, A)
    assert not guard.knows(NOTARIZE, 0, 100, B)
    assert not guard.knows(FINALIZE, 0, 100, A)
    assert not guard.knows(NOTARIZE, 0, 101, A)
    assert guard.knows(NOTARIZE, 0, 99, A)
    assert not guard.knows(NOTARIZE, 1, 1, A)


@given(records=st.lists(st.binary(min_size=1, max_size=60), max_size=8), data=st.data())
def test_any_cut_keeps_a_prefix_and_any_flip_is_noticed(records: list[bytes], data: st.DataObject) -> None:
    from ledger.wallet.journal import _frame

    raw = MAGIC + b"".join(_frame(record) for record in records)
    cut = data.draw(st.integers(0, len(raw)))
    found, sound = parse_log(raw[:cut])
    assert found == records[: len(found)]
    assert sound <= cut
    if not records:
        return
    at = data.draw(st.integers(len(MAGIC), len(raw) - 1))
    flipped = bytearray(raw)
    flipped[at] ^= data.draw(st.integers(1, 255))
    try:
        found, _ = parse_log(bytes(flipped))
    except DamagedLog:
        return
    assert found == records[: len(found)]
    assert len(found) < len(records)


def test_a_full_disk_is_a_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    log = DurableLog(tmp_path / "log")

    def full(descriptor: int, data: bytes, at: int) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(DiskFailed, match="free space"):
        log.append([b"record"])


def test_keys_are_made_once(tmp_path: Path) -> None:
    public = create_keys(tmp_path / "wallet")
    assert load_keys(tmp_path / "wallet").public() == public
    assert len(set(public)) == 3
