"""The log's promise to who builds on it: when `append` returns, every byte was written and then synced."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

from ledger.wallet.journal import DurableLog


def test_what_was_appended_is_synced_before_append_returns() -> None:
    calls: list[str] = []
    write, sync = os.pwrite, os.fdatasync

    def noted_write(file: int, data: bytes, at: int) -> int:
        calls.append("write")
        return write(file, data, at)

    def noted_sync(file: int) -> None:
        calls.append("sync")
        sync(file)

    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        log = DurableLog(Path(folder) / "log")
        patch.setattr(os, "pwrite", noted_write)
        patch.setattr(os, "fdatasync", noted_sync)
        log.append([b"one", b"two"])
        assert calls[0] == "write"
        assert calls[-1] == "sync"
        calls.clear()
        log.rewrite([b"three"])
        assert calls[-1] == "sync"
        log.close()
