"""The durable logs over a disk that loses power or fails: what `append` gave back is there, and nothing that was never written."""

from __future__ import annotations

import errno
import random
from pathlib import Path

import pytest

from energo_simulator.disk_files import DiskFiles
from ledger.base.errors import DiskFailed
from ledger.wallet.journal import DamagedLog, DurableLog

PATH = Path("card") / "log"


@pytest.mark.parametrize("witnessed", [False, True], ids=["journal", "votes"])
def test_no_power_cut_takes_what_append_gave_back(witnessed: bool) -> None:
    for seed in range(400):
        chance = random.Random(seed)
        operations, off_at = 0, chance.randrange(1, 60)

        def fail() -> int:
            nonlocal operations
            operations += 1
            return errno.EIO if operations >= off_at else 0  # noqa: B023 - it ends with the turn of the loop

        files = DiskFiles(fail)
        safe: list[bytes] = []
        tried: list[bytes] = []
        for life in range(4):
            try:
                log = DurableLog(PATH, files, witnessed=witnessed)
                assert log.records[: len(safe)] == safe, (seed, life)
                assert log.records[len(safe) :] == tried[: len(log.records) - len(safe)]
                safe = list(log.records)
                for number in range(30):
                    tried = [bytes([life, number]) * chance.randrange(1, 400) for _ in range(chance.randrange(1, 4))]
                    log.append(tried)
                    safe, tried = safe + tried, []
                    if chance.random() < 0.05:
                        log.rewrite(safe)
                off_at += 60
            except DiskFailed:
                pass
            operations, off_at = 0, chance.randrange(1, 60)
            files.cut(lambda: chance.random() < 0.5)  # noqa: B023 - as above
        off_at = 1 << 30
        assert DurableLog(PATH, files, witnessed=witnessed).records[: len(safe)] == safe


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EIO, errno.EROFS])
@pytest.mark.parametrize("witnessed", [False, True], ids=["journal", "votes"])
def test_an_error_at_any_operation_is_said_and_costs_nothing_that_was_durable(witnessed: bool, error: int) -> None:
    at = 0
    while True:
        at += 1
        operations = 0

        def fail() -> int:
            nonlocal operations
            operations += 1
            return error if operations == at else 0  # noqa: B023 - it ends with the turn of the loop

        files = DiskFiles(fail)
        safe: list[bytes] = []
        try:
            log = DurableLog(PATH, files, witnessed=witnessed)
            for number in range(6):
                log.append([bytes([number + 1]) * 300])
                safe.append(bytes([number + 1]) * 300)
                if number == 3:
                    log.rewrite(safe)
        except DiskFailed:
            pass
        clean, operations = operations < at, 1 << 30
        log = DurableLog(PATH, files, witnessed=witnessed)
        assert log.records[: len(safe)] == safe
        log.append([b"it goes on"])
        if clean:
            break
    assert at > 15


def test_bytes_made_to_look_like_lengths_cost_little_time() -> None:
    files = DiskFiles()
    log = DurableLog(PATH, files)
    log.append([b"sound"])
    handle = files.open(PATH)
    hostile = b"\0\3\0\0" * 200_000  # each place says "a record of 196,608 bytes": summing them all would take minutes
    files.write(handle, hostile, log.size)
    with pytest.raises(DamagedLog, match="damaged and others follow"):
        DurableLog(PATH, files)
