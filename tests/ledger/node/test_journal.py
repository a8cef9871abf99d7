"""The node's consensus journal: grown, trimmed, damaged."""

from __future__ import annotations

from pathlib import Path

import pytest

from ledger.node import journal
from ledger.node.journal import Journal


def test_a_journal_that_has_grown_keeps_what_still_matters_and_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal, "BYTES_MAX", 1_000)
    notes: list[str] = []
    log = Journal(tmp_path, notes.append)
    asked = 0

    def live() -> list[bytes]:
        nonlocal asked
        asked += 1
        return [b"still open" * 90]

    for number in range(40):
        log.append([bytes([number]) * 100])
        log.trim(live)
    log.close()
    assert 1 <= asked < 10
    again = Journal(tmp_path, notes.append)
    assert again.records[0] == b"still open" * 90
    again.close()
    assert notes == []


def test_a_damaged_journal_is_set_aside_and_said(tmp_path: Path) -> None:
    notes: list[str] = []
    log = Journal(tmp_path, notes.append)
    for record in (b"one" * 10, b"two" * 10, b"three" * 10):
        log.append([record])
    log.close()
    path = tmp_path / journal.FILE_NAME
    raw = bytearray(path.read_bytes())
    raw[30] ^= 1
    path.write_bytes(bytes(raw))
    again = Journal(tmp_path, notes.append)
    assert again.records == []
    assert len(notes) == 1
    assert "kept as consensus.damaged" in notes[0]
    again.append([b"new"])
    again.close()
