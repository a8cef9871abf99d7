"""The notice of a recovery outlives a restart with the time that it has stood; one that cannot be read is said."""

from __future__ import annotations

from pathlib import Path

from ledger.base.recovery import Recovery
from ledger.node.notice import FILE_NAME, NoticeFile

AGREED = Recovery(1, 9, bytes(32), (b"k" * 32,), ((b"o" * 32, bytes(64)),))


def test_the_notice_and_its_time_are_kept_and_cleared(tmp_path: Path) -> None:
    said: list[str] = []
    file = NoticeFile(tmp_path, said.append)
    assert file.load() is None
    file.save(AGREED, 3_600_000)
    assert NoticeFile(tmp_path, said.append).load() == (AGREED, 3_600_000)
    file.clear()
    assert file.load() is None
    assert said == []


def test_a_damaged_notice_is_said_and_waits_anew(tmp_path: Path) -> None:
    said: list[str] = []
    file = NoticeFile(tmp_path, said.append)
    file.save(AGREED, 5)
    (tmp_path / FILE_NAME).write_bytes(b"\xff" + (tmp_path / FILE_NAME).read_bytes()[1:])
    assert file.load() is None
    assert len(said) == 1
    assert "cannot be read" in said[0]
