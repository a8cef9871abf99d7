"""The consensus journal of the node: what it holds above the last final block, durable before anything of it is sent.

A damaged journal is set aside and a new one begun: the signer keeps its own record, so nothing can be signed twice for it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from ledger.wallet.journal import DamagedLog, DurableLog

FILE_NAME: Final = "consensus.journal"
BYTES_MAX: Final = 1024 * 1024  # rewritten with what still matters beyond this: a few seconds of traffic


class Journal:
    """The file, and the records that it held."""

    def __init__(self, folder: Path, note: Callable[[str], None]) -> None:
        path = folder / FILE_NAME
        try:
            self._log = DurableLog(path)
        except DamagedLog as error:
            aside = path.with_suffix(".damaged")
            path.replace(aside)
            note(f"the consensus journal was damaged ({error}); it is kept as {aside.name} and a new one is begun")
            self._log = DurableLog(path)
        self.records = self._log.records
        self._rewrite_at = BYTES_MAX

    def append(self, records: Sequence[bytes]) -> None:
        """Append and sync. Raises `DiskFailed`."""
        self._log.append(records)

    def trim(self, live: Callable[[], Sequence[bytes]]) -> None:
        """Rewrite the file with what still matters once it has grown large."""
        if self._log.size > self._rewrite_at:
            self._log.rewrite(live())
            self._rewrite_at = max(
                BYTES_MAX, 2 * self._log.size
            )  # much that is not final yet is not rewritten each time

    def close(self) -> None:
        """Close the file."""
        self._log.close()
