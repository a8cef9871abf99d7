"""Calling `energoctl` inside the test's own process."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import pytest

from energoctl.main import run


@dataclass(frozen=True)
class Called:
    """What a call gave."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one document on standard output."""
        return json.loads(self.out)


class Caller:
    """`call("status", "--json")`."""

    def __init__(self, capture: pytest.CaptureFixture[str], *globals_: str) -> None:
        self._capture, self._globals = capture, globals_

    def __call__(self, *arguments: str) -> Called:
        self._capture.readouterr()
        status = run([*self._globals, *arguments])
        out, err = self._capture.readouterr()
        return Called(status, out, err)
