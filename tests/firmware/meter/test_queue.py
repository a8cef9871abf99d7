"""The queue on disk: durable, gap-free, of one street, and clear about a disk that is full."""

import sqlite3
from pathlib import Path

import pytest

from firmware.meter.queue import Entry, Queue
from firmware.meter.registers import Track
from ledger.base.crypto import ZERO_HASH
from ledger.base.errors import ConfigError, DiskFailed

CHAIN = b"c" * 32
ZERO = Track(5, 6, 5, 6, None, 0, -1, 0, 0)


def entry(seq: int, device: str = "home1") -> Entry:
    return Entry(device, seq, bytes([seq]) * 32, b"raw%d" % seq, Track(5, 6, 5 + seq, 6, 7, 0, seq - 1, seq, seq))


def test_a_feed_survives_a_restart_and_waits_until_it_is_final(tmp_path: Path) -> None:
    queue = Queue(tmp_path, CHAIN)
    assert queue.position("home1").seq == 0
    assert queue.position("home1").hash == ZERO_HASH
    queue.commission("home1", ZERO)
    queue.commission("pv", ZERO)
    queue.append([entry(1), entry(1, "pv"), entry(2)])
    queue.close()
    again = Queue(tmp_path, CHAIN)
    position = again.position("home1")
    assert (position.seq, position.hash, position.track) == (2, entry(2).hash, entry(2).track)
    assert again.waiting("home1", after=0, count=10) == [(1, b"raw1"), (2, b"raw2")]
    assert again.waiting("home1", after=1, count=10) == [(2, b"raw2")]
    assert again.waiting("home1", after=0, count=1) == [(1, b"raw1")]
    again.forget({"home1": 1})
    assert again.waiting("home1", after=0, count=10) == [(2, b"raw2")]
    assert again.length() == 2
    assert again.position("home1").seq == 2
    again.close()


def test_readings_are_kept_all_or_none_and_without_gaps(tmp_path: Path) -> None:
    queue = Queue(tmp_path, CHAIN)
    queue.commission("home1", ZERO)
    with pytest.raises(AssertionError, match="no gaps"):
        queue.append([entry(1), entry(3)])
    assert queue.length() == 0
    assert queue.position("home1").seq == 0
    with pytest.raises(AssertionError, match="commissioned"):
        queue.append([entry(1, "nobody")])
    queue.close()


def test_a_folder_of_another_street_is_refused(tmp_path: Path) -> None:
    Queue(tmp_path, CHAIN).close()
    with pytest.raises(ConfigError, match="another street"):
        Queue(tmp_path, b"d" * 32)


def test_a_file_of_another_version_is_refused(tmp_path: Path) -> None:
    Queue(tmp_path, CHAIN).close()
    with sqlite3.connect(tmp_path / "queue.sqlite") as db:
        db.execute("UPDATE meta SET version = 9")
    db.close()
    with pytest.raises(ConfigError, match="version 9"):
        Queue(tmp_path, CHAIN)


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "queue.sqlite").write_bytes(b"this is no database, but it is long enough to be looked at" * 20)
    with pytest.raises(DiskFailed, match=r"queue\.sqlite"):
        Queue(tmp_path, CHAIN)


def test_a_full_disk_says_so_and_takes_the_same_readings_later(tmp_path: Path) -> None:
    queue = Queue(tmp_path, CHAIN)
    queue.commission("home1", ZERO)
    pages = queue._db.execute("PRAGMA page_count").fetchone()[0]
    queue._db.execute(f"PRAGMA max_page_count = {pages}")
    big = [Entry("home1", n, bytes(32), b"x" * 3_000, ZERO) for n in range(1, 30)]
    with pytest.raises(DiskFailed, match=r"full.*free space"):
        queue.append(big)
    assert queue.length() == 0
    queue._db.execute("PRAGMA max_page_count = 100000")
    queue.append(big)
    assert queue.length() == 29
    queue.close()


def test_every_commit_reaches_the_disk(tmp_path: Path) -> None:
    queue = Queue(tmp_path, CHAIN)
    assert queue._db.execute("PRAGMA synchronous").fetchone() == (2,)
    assert queue._db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    queue.close()
