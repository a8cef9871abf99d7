"""One line a happening, to standard error, and each kind of happening once in a while: a flood of one cause is one line."""

from __future__ import annotations

import sys
from typing import Final

from .clock import mono_ms

REPEAT_MS: Final = 60_000
KINDS_MAX: Final = 512


class Log:
    """Writes `name: text`; the same text again only after a minute, with how often it was left out."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._last: dict[str, tuple[int, int]] = {}

    def note(self, text: str) -> None:
        """Say it, if it was not said lately."""
        now = mono_ms()
        last, left_out = self._last.get(text, (now - REPEAT_MS, 0))
        if now - last < REPEAT_MS:
            self._last[text] = (last, left_out + 1)
            return
        if len(self._last) >= KINDS_MAX:
            self._last.pop(next(iter(self._last)))
        self._last[text] = (now, 0)
        again = f" ({left_out} times more since)" if left_out else ""
        print(f"{self._name}: {text}{again}", file=sys.stderr, flush=True)
