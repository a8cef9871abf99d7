"""The only place of this room that asks for time or chance."""

from __future__ import annotations

import secrets
import time

from ledger.simplex.effects import Now


def now(*, trusted: bool) -> Now:
    """Monotonic ms, and the wall clock's ms where the configuration trusts it."""
    return Now(mono_ms(), wall_ms() if trusted else None)


def mono_ms() -> int:
    """A clock that never jumps, in ms."""
    return time.monotonic_ns() // 1_000_000


def wall_ms() -> int:
    """Unix time in ms, whatever this machine believes it is."""
    return time.time_ns() // 1_000_000


def random_digits(count: int) -> str:
    """Decimal digits from the system's generator, each as likely as the others: codes that a person carries."""
    return f"{secrets.randbelow(10**count):0{count}}"


def random_bytes(count: int) -> bytes:
    """Bytes from the system's generator: nonces and ids of this run."""
    return secrets.token_bytes(count)
