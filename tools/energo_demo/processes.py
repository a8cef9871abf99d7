"""Starting, watching and ending the processes of a street, and a pause that a signal ends.

Promises that no process outlives the one that started it: each has a process group of its own that is killed at the end, and the
kernel tells it when the demo is gone. Signals only set a flag, so that nothing is left half done: who waits here learns of them.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, Final

import ledger
from ledger.base.errors import DiskFailed, EnergoError

STOP_S: Final = 4.0  # to end in order; then it is killed
LOG_TAIL_BYTES: Final = 4_096
SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

_PR_SET_PDEATHSIG: Final = 1  # prctl(2)
_LIBC: Final = ctypes.CDLL(None, use_errno=True)


class Stopped(EnergoError):
    """Somebody ended the demo."""

    code = "stopped"


class ProcessFailed(EnergoError):
    """A process of the street ended by itself."""

    code = "process_failed"


class Signals:
    """Between `with` and its end, SIGINT, SIGTERM and SIGHUP end pauses instead of the process."""

    def __init__(self) -> None:
        self.seen: int | None = None
        self._read, self._write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Signals:
        for number in SIGNALS:
            self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        os.close(self._read)
        os.close(self._write)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.seen is None:
            self.seen = number
            os.write(self._write, b"!")

    def check(self) -> None:
        """Raises `Stopped` once a signal has come."""
        if self.seen is not None:
            raise Stopped(f"stopped by {signal.Signals(self.seen).name}")

    def pause(self, seconds: float) -> None:
        """Wait so long. Raises `Stopped` as soon as a signal comes."""
        self.check()
        select.select([self._read], [], [], max(0.0, seconds))
        self.check()


class Process:
    """One process of the street: a module of ours with its configuration; what it says goes to its log.

    `under`: what Python runs it under, such as `-m cProfile -o FILE`.
    """

    def __init__(self, name: str, module: str, config: Path, log: Path, *, under: Sequence[str] = ()) -> None:
        self.name, self._module, self._config, self._log = name, module, config, log
        self._under = tuple(under)
        self._running: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Raises `DiskFailed`, `ProcessFailed`."""
        assert self._running is None, "a process is started once at a time"
        try:
            self._log.parent.mkdir(parents=True, exist_ok=True)
            with self._log.open("ab") as log:
                self._running = subprocess.Popen(
                    [sys.executable, *self._under, "-m", self._module, "--config", os.fspath(self._config)],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    env=_environment(),
                    start_new_session=True,
                    preexec_fn=_end_with_parent,
                )
        except OSError as error:
            if error.filename == os.fspath(self._log):
                raise DiskFailed(f"{self._log}: cannot be written ({error.strerror}); free space") from None
            raise ProcessFailed(
                f"{self.name} cannot be started ({error.strerror}); stop other programs first"
            ) from None

    @property
    def pid(self) -> int:
        """Of the running process."""
        assert self._running is not None, "a process that runs has a number"
        return self._running.pid

    @property
    def is_running(self) -> bool:
        """Whether it was started and has not ended."""
        return self._running is not None and self._running.poll() is None

    def check(self) -> None:
        """Raises `ProcessFailed` with its last words if it ended by itself."""
        if self._running is not None and self._running.poll() is not None:
            code, self._running = self._running.returncode, None
            raise ProcessFailed(f"{self.name} ended by itself (status {code}): {self.last_words()}")

    def last_words(self) -> str:
        """The last line of its log."""
        try:
            text = self._log.read_bytes()[-LOG_TAIL_BYTES:].decode(errors="replace")
        except OSError:
            text = ""
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        return lines[-1] if lines else f"it said nothing in {self._log}"

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to its whole group, if it runs."""
        if self.is_running and self._running is not None:
            try:
                os.killpg(self._running.pid, number)
            except ProcessLookupError:
                pass  # it has ended already

    def wait(self, until_s: float) -> bool:
        """Whether it has ended by a moment of the monotonic clock; it is forgotten then."""
        if self._running is None:
            return True
        try:
            self._running.wait(max(0.0, until_s - time.monotonic()))
        except subprocess.TimeoutExpired:
            return False
        self._running = None
        return True


def stop_all(processes: Iterable[Process], number: signal.Signals = signal.SIGTERM) -> None:
    """End processes, all at once; whoever has not ended in time is killed with its group. Never raises for one of them."""
    remaining = list(processes)
    for process in remaining:
        process.signal(number)
    until_s = time.monotonic() + STOP_S
    remaining = [process for process in remaining if not process.wait(until_s)]
    for process in remaining:
        process.signal(signal.SIGKILL)
    until_s = time.monotonic() + STOP_S
    for process in remaining:
        process.wait(until_s)


def _environment() -> dict[str, str]:
    """Ours, with our packages in it and without a service manager's socket."""
    roots = [Path(ledger.__file__).parents[1], Path(__file__).parents[1]]
    paths = [os.fspath(root) for root in dict.fromkeys(roots)]
    inherited = os.environ.get("PYTHONPATH")
    environment = {key: value for key, value in os.environ.items() if key not in ("NOTIFY_SOCKET", "WATCHDOG_USEC")}
    environment["PYTHONPATH"] = os.pathsep.join(paths + ([inherited] if inherited else []))
    return environment


def _end_with_parent() -> None:
    """In the child: ask the kernel for SIGTERM when the parent is gone, even killed."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
