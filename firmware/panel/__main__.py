"""`energo-panel`: the homeowner's screens, in turn, in a terminal. Glass and buttons on GPIO come later.

Configuration (TOML): `[panel]` with `node` (the socket) and optional `rotate_ms` and `refresh_ms`; or `--node PATH` alone.
In a terminal: n, space or an arrow to the right or down for the next screen, p or an arrow to the left or up for the one
before, q to quit. Elsewhere (a log, a pipe) each screen is printed when it changes. A node that is away is shown and tried again.
"""

from __future__ import annotations

import argparse
import os
import select
import signal
import socket
import sys
import termios
import time
import tty
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, Final, Protocol

import sdnotify

from ledger.base.errors import EnergoError, NodeRefused, NodeUnavailable
from ledger.base.files import load_toml
from ledger.client import NodeClient

from .screens import SLOTS_PER_DAY, WIDTH, Figures, Screen, figures, no_node, of_newest_day, screens

NODE_DEFAULT: Final = "/run/energo/node.sock"
NODE_VARIABLE: Final = "ENERGO_NODE"
ROTATE_MS_DEFAULT: Final = 4_000
REFRESH_MS_DEFAULT: Final = 1_000
CLIENT_TIMEOUT_S: Final = 5.0  # three calls a look stay below half of the unit's WatchdogSec
STOPS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

NEXT_KEYS: Final = (b"n", b" ", b"\x1b[C", b"\x1b[B")
PREVIOUS_KEYS: Final = (b"p", b"\x1b[D", b"\x1b[A")
QUIT_KEYS: Final = (b"q", b"\x03", b"\x04")
KEYS_BYTES_MAX: Final = 64  # taken at once; a stuck key is not followed for minutes


@dataclass(frozen=True)
class Config:
    """What `energo-panel` is started with."""

    node: Path
    rotate_ms: int = ROTATE_MS_DEFAULT
    refresh_ms: int = REFRESH_MS_DEFAULT


def load_config(path: Path) -> Config:
    """The configuration, checked whole. Raises `ConfigError`."""
    top = load_toml(path)
    panel = top.table("panel")
    config = Config(
        panel.file("node"),
        panel.integer("rotate_ms", 500, 600_000, ROTATE_MS_DEFAULT),
        panel.integer("refresh_ms", 100, 10_000, REFRESH_MS_DEFAULT),
    )
    panel.done()
    top.done()
    return config


class Node(Protocol):
    """What the panel needs of the node's client; calls block."""

    def get(self, target: str) -> Any:
        """A JSON document. Raises `NodeUnavailable`, `NodeRefused`."""


class Source:
    """The node's documents as screens. Slots are fetched once each: a list of a day is long for a small Pi."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._known: dict[int, Figures] = {}

    def look(self) -> list[Screen]:
        """The screens as of now; `no_node` when it does not answer, or in another form."""
        try:
            status, balance = self._node.get("/v1/status"), self._node.get("/v1/balance")
            self._learn(int(status["closed_slot"]), str(status["name"]))
            return screens(status, balance, of_newest_day(self._known.values()))
        except (NodeUnavailable, NodeRefused, KeyError, TypeError, ValueError, AttributeError):
            return no_node()  # it starts, stops, or is of another version: shown, and asked again

    def _learn(self, closed_slot: int, home: str) -> None:
        newest = max(self._known, default=-1)
        if closed_slot < newest:
            self._known.clear()  # another street on the same socket
            newest = -1
        missing = min(closed_slot - newest, SLOTS_PER_DAY)
        if missing > 0:
            found = [figures(record, home) for record in self._node.get(f"/v1/slots?count={missing}")]
            known = self._known | {each.slot: each for each in found}
            self._known = {each.slot: each for each in of_newest_day(known.values())}


class View(Protocol):
    """Where screens are shown."""

    def show(self, shown: list[Screen], place: int) -> None:
        """Show the screen at `place`, or what changed."""


class Printed:
    """A log or a pipe: each screen when it changes."""

    def __init__(self) -> None:
        self._last: dict[str, tuple[str, str]] = {}

    def show(self, shown: list[Screen], place: int) -> None:
        """Print what changed."""
        for screen in shown:
            if self._last.get(screen.name) != screen.lines:
                print(f"|{screen.lines[0]}|{screen.lines[1]}|", flush=True)
        self._last = {screen.name: screen.lines for screen in shown}


class Terminal:
    """A terminal: one screen in a frame, drawn over the last."""

    _HIDE, _SHOW, _UP, _CLEAR = "\x1b[?25l", "\x1b[?25h", "\x1b[5A", "\x1b[K"

    def __init__(self) -> None:
        self._drawn = ""

    def show(self, shown: list[Screen], place: int) -> None:
        """Draw it, if it is not what stands there."""
        edge = "+" + "-" * WIDTH + "+"
        marks = " ".join("*" if number == place else "." for number in range(len(shown)))
        lines = [edge, *(f"|{text}|" for text in shown[place].lines), edge, f" {marks}   n next, p previous, q quit"]
        picture = "".join(f"{line}{self._CLEAR}\r\n" for line in lines)
        if picture != self._drawn:
            sys.stdout.write((self._UP if self._drawn else self._HIDE) + picture)
            sys.stdout.flush()
            self._drawn = picture

    def close(self) -> None:
        """Give the cursor back."""
        sys.stdout.write(self._SHOW)
        sys.stdout.flush()


def keys_of(raw: bytes) -> list[bytes]:
    """Bytes from a keyboard as keys: an arrow is three bytes, everything else one."""
    found = []
    while raw:
        length = 3 if raw.startswith(b"\x1b[") else 1
        found.append(raw[:length])
        raw = raw[length:]
    return found


@contextmanager
def _stops() -> Iterator[socket.socket]:
    """A socket that becomes readable when a signal asks for the end."""
    ours, theirs = socket.socketpair()
    for end in (ours, theirs):
        end.setblocking(False)

    def noted(number: int, frame: FrameType | None) -> None:
        """The wake-up socket says it."""

    before = {number: signal.signal(number, noted) for number in STOPS}
    wake = signal.set_wakeup_fd(theirs.fileno(), warn_on_full_buffer=False)
    try:
        yield ours
    finally:
        signal.set_wakeup_fd(wake)
        for number, handler in before.items():
            signal.signal(number, handler)
        ours.close()
        theirs.close()


def run(config: Config) -> int:
    """Show screens until told to stop. The exit status."""
    source = Source(NodeClient(config.node, CLIENT_TIMEOUT_S))
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        with _stops() as stops:
            _loop(config, source, Printed(), stops, keyboard=None)
        return 0
    keyboard = sys.stdin.fileno()
    before = termios.tcgetattr(keyboard)
    view = Terminal()
    try:
        tty.setcbreak(keyboard)
        with _stops() as stops:
            _loop(config, source, view, stops, keyboard)
    finally:
        termios.tcsetattr(keyboard, termios.TCSADRAIN, before)
        view.close()
    return 0


def _loop(config: Config, source: Source, view: View, stops: socket.socket, keyboard: int | None) -> None:
    notifier = sdnotify.SystemdNotifier()
    notifier.notify("READY=1")
    place, shown = 0, list[Screen]()
    look_at, turn_at = time.monotonic(), time.monotonic() + config.rotate_ms / 1_000
    while True:
        now = time.monotonic()
        if now >= look_at:
            shown = source.look()
            notifier.notify("WATCHDOG=1")
            look_at = time.monotonic() + config.refresh_ms / 1_000
        if now >= turn_at:
            place, turn_at = place + 1, now + config.rotate_ms / 1_000
        place %= len(shown)
        view.show(shown, place)
        watched = [stops.fileno()] if keyboard is None else [stops.fileno(), keyboard]
        ready, _, _ = select.select(watched, [], [], max(0.0, min(look_at, turn_at) - time.monotonic()))
        if stops.fileno() in ready:
            return
        if keyboard in ready and keyboard is not None:
            raw = os.read(keyboard, KEYS_BYTES_MAX)
            if not raw:
                return  # the terminal is gone
            for key in keys_of(raw):
                if key in QUIT_KEYS:
                    return
                step = (key in NEXT_KEYS) - (key in PREVIOUS_KEYS)
                if step:
                    place, turn_at = place + step, time.monotonic() + config.rotate_ms / 1_000


def main(arguments: list[str] | None = None) -> int:
    """The process. 0 after a stop, 1 when it cannot start."""
    parser = argparse.ArgumentParser(prog="energo-panel", description="Shows the homeowner's two-line screens.")
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--config", type=Path, metavar="FILE", help="the panel's TOML file")
    source.add_argument(
        "--node", type=Path, metavar="PATH", help=f"the node's socket (default: ${NODE_VARIABLE}, else {NODE_DEFAULT})"
    )
    options = parser.parse_args(arguments)
    try:
        if options.config:
            config = load_config(options.config)
        else:
            config = Config(options.node or Path(os.environ.get(NODE_VARIABLE) or NODE_DEFAULT))
        return run(config)
    except EnergoError as error:
        print(f"energo-panel: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nobody reads any more
        return 1


if __name__ == "__main__":
    sys.exit(main())
