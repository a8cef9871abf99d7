"""Processes of a street: none outlives a stop, and one that ends by itself says why."""

import os
import signal
import time
from pathlib import Path

import pytest

from energo_demo import processes
from energo_demo.processes import Process, ProcessFailed, Signals, Stopped, stop_all


def process(folder: Path, body: str, monkeypatch: pytest.MonkeyPatch) -> Process:
    """A process that runs a little module of the test's."""
    (folder / "little.py").write_text(f"import signal, sys, time\n{body}\n")
    monkeypatch.setenv("PYTHONPATH", str(folder))
    return Process("home1's node", "little", folder / "none.toml", folder / "log" / "node.log")


def wait_for(log: Path) -> int:
    """The process id that a little module wrote."""
    until = time.monotonic() + 30
    while not (log.exists() and log.read_text().strip()):
        assert time.monotonic() < until
        time.sleep(0.01)
    return int(log.read_text().split()[0])


RUNS = "import os\nprint(os.getpid(), flush=True)\ntime.sleep(60)"
STUBBORN = "import os\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nprint(os.getpid(), flush=True)\ntime.sleep(60)"


@pytest.mark.parametrize("body", [RUNS, STUBBORN], ids=["willing", "stubborn"])
def test_a_stopped_process_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str) -> None:
    monkeypatch.setattr(processes, "STOP_S", 0.3)
    running = process(tmp_path, body, monkeypatch)
    running.start()
    pid = wait_for(tmp_path / "log" / "node.log")
    assert os.getpgid(pid) == pid, "a group of its own: the terminal's Ctrl-C is not sent to it"
    stop_all([running])
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert not running.is_running
    running.check()
    stop_all([running])


def test_one_that_ends_by_itself_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    running = process(tmp_path, 'print("hello")\nsys.exit("port 4711 is in use; name another")', monkeypatch)
    running.start()
    until = time.monotonic() + 30
    while running.is_running:
        assert time.monotonic() < until
        time.sleep(0.01)
    with pytest.raises(ProcessFailed) as caught:
        running.check()
    assert str(caught.value) == "home1's node ended by itself (status 1): port 4711 is in use; name another"


def test_it_can_be_started_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    running = process(tmp_path, RUNS, monkeypatch)
    for _ in range(2):
        running.start()
        assert running.is_running
        stop_all([running], signal.SIGKILL)


@pytest.mark.parametrize("number", processes.SIGNALS)
def test_a_signal_ends_a_pause_and_nothing_else(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with Signals() as signals:
        signals.pause(0)
        signals.check()
        os.kill(os.getpid(), number)
        os.kill(os.getpid(), number)
        started = time.monotonic()
        with pytest.raises(Stopped, match=number.name):
            signals.pause(60)
        assert time.monotonic() - started < 30
    assert signal.getsignal(number) is before
