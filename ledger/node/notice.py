"""The notice of a recovery on disk: it must stand on every screen for a day, and a restart must not begin the day anew.

Losing the file costs waiting again, never the notice itself: neighbors send it.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

from ledger.base import codec
from ledger.base.codec import in_range, want
from ledger.base.errors import DecodeError, DiskFailed
from ledger.base.limits import TIME_MAX_MS
from ledger.base.recovery import RECOVERY_BYTES_MAX, Recovery, decode_recovery
from ledger.base.units import Millis

FILE_NAME: Final = "recovery.notice"
SAVE_S: Final = 60.0  # of waiting that a power cut may cost


class NoticeFile:
    """Of one data folder."""

    def __init__(self, folder: Path, note: Callable[[str], None]) -> None:
        self._path, self._note = folder / FILE_NAME, note

    def load(self) -> tuple[Recovery, Millis] | None:
        """The notice and how long it has stood; None where there is none, or none that can be read."""
        try:
            raw = self._path.read_bytes()
            recovery, waited_ms = want(codec.decode(raw, bytes_max=RECOVERY_BYTES_MAX + 64), bytes, int)
            return decode_recovery(recovery), in_range(waited_ms, 0, TIME_MAX_MS, "time waited")
        except FileNotFoundError:
            return None
        except (OSError, DecodeError) as error:
            self._note(
                f"{self._path} cannot be read ({error}); a recovery that is announced again waits its whole time"
            )
            return None

    def save(self, recovery: Recovery, waited_ms: Millis) -> None:
        """Keep it. Raises `DiskFailed`."""
        fresh = self._path.with_suffix(".new")
        try:
            with open(fresh, "wb") as file:
                file.write(codec.encode((recovery.encoded(), waited_ms)))
                file.flush()
                os.fsync(file.fileno())
            fresh.replace(self._path)
        except OSError as error:
            raise DiskFailed(f"{self._path}: {error.strerror}; free space or check the card") from None

    def clear(self) -> None:
        """There is none any more. Raises `DiskFailed`."""
        try:
            self._path.unlink(missing_ok=True)
        except OSError as error:
            raise DiskFailed(f"{self._path}: {error.strerror}; check the folder's rights") from None
