"""`energoctl node start DIR`: the processes of a home's data folder, in the foreground.

Each process is what systemd starts on a Pi, with the folder's own configuration. All end together: when one ends, when this
one is told to, or when the terminal goes away.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType
from typing import Final, NamedTuple

import click

from ledger.base.errors import ConfigError, EnergoError, NodeRefused, NodeUnavailable
from ledger.base.files import FolderLock, load_toml
from ledger.client import NodeClient

from . import answers
from .commands import help_alone

STOP_S: Final = 10.0  # what a process has to finish what it is writing
POLL_S: Final = 0.1
ANSWER_S: Final = 2.0  # of one call while the node starts
READY_S: Final = 60.0  # a Pi replays its journal and opens its ledger; it may be slow, not silent
STOPS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Part(NamedTuple):
    """A process of a home: its configuration file, its module, and the key that names its data folder."""

    name: str
    module: str
    table: str
    folder_key: str


CORE: Final = (Part("wallet", "ledger.wallet", "wallet", "keys"), Part("node", "ledger.node", "node", "data"))
MORE: Final = (Part("meter", "firmware.meter", "meter", "data"), Part("der", "firmware.der", "", ""))


class ProcessEnded(EnergoError):
    """A process of the home did not start, or ended by itself."""

    code = "process_ended"


class StopWanted:
    """Notes that a signal asks for the end. A flag and no exception, so that no process is lost between start and note."""

    def __init__(self) -> None:
        self.wanted = False

    def __enter__(self) -> StopWanted:
        self._before = {number: signal.signal(number, self._note) for number in STOPS}
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.wanted = True


@click.group(invoke_without_command=True)
@click.pass_context
def node(ctx: click.Context) -> None:
    """Start the processes of a home's data folder."""
    help_alone(ctx)


@node.command()
@click.argument("directory", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--all", "everything", is_flag=True, help="The meter reader and the agent too, where DIR has them.")
@click.pass_context
def start(ctx: click.Context, directory: Path, everything: bool) -> None:
    """Start wallet and node of a home's data folder DIR, such as one that demo --keep left, until Ctrl-C."""
    parts = [*CORE, *(part for part in MORE if everything and _config(directory, part).exists())]
    socket = check(directory, parts)
    processes: dict[str, subprocess.Popen[bytes]] = {}
    with StopWanted() as ending:
        try:
            for part in parts:
                command = [sys.executable, "-m", part.module, "--config", str(_config(directory, part))]
                # a session of their own: Ctrl-C reaches this process alone, which stops them in order
                processes[part.name] = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)
            status = _await_node(socket, processes, ending)
            if status is not None:
                _say(ctx, socket, status, processes)
            while not ending.wanted:
                _check_alive(processes)
                time.sleep(POLL_S)
        finally:
            stop(processes)


def _say(
    ctx: click.Context, socket: Path, status: dict[str, object], processes: dict[str, subprocess.Popen[bytes]]
) -> None:
    if answers.wants_json(ctx):
        answers.write_json({"socket": str(socket), "pids": {name: process.pid for name, process in processes.items()}})
    else:
        click.echo(f"{status['name']} of {status['street']} runs at height {status['height']}; ask it with:")
        click.echo(f"  energoctl --node {socket} status")
        click.echo("Ctrl-C stops it.")
    sys.stdout.flush()


def _config(directory: Path, part: Part) -> Path:
    return directory / "config" / f"{part.name}.toml"


def check(directory: Path, parts: list[Part]) -> Path:
    """That the folder is whole and free; the node's socket. Raises `ConfigError`, `FolderInUse`."""
    for part in parts:
        if not _config(directory, part).is_file():
            hint = (
                "name one home, such as DIR/home1"
                if any(directory.glob("*/config/node.toml"))
                else "is it a home's data folder?"
            )
            raise ConfigError(f"{directory}: there is no config/{part.name}.toml in it; {hint}")
        if part.folder_key:
            FolderLock(load_toml(_config(directory, part)).table(part.table).file(part.folder_key)).close()
    return load_toml(_config(directory, CORE[1])).table("api").file("operators")


def _await_node(
    socket: Path, processes: dict[str, subprocess.Popen[bytes]], ending: StopWanted
) -> dict[str, object] | None:
    """The node's status once it answers; None if the end is wanted before."""
    until = time.monotonic() + READY_S
    while not ending.wanted:
        _check_alive(processes)
        try:
            status: dict[str, object] = NodeClient(socket, ANSWER_S).get("/v1/status")
            return status
        except (NodeUnavailable, NodeRefused) as error:
            if time.monotonic() > until:
                raise ProcessEnded(f"the node runs and does not answer after {READY_S:.0f} s ({error})") from None
        time.sleep(POLL_S)
    return None


def _check_alive(processes: dict[str, subprocess.Popen[bytes]]) -> None:
    for name, process in processes.items():
        if process.poll() is not None:
            raise ProcessEnded(f"{name} ended by itself (status {process.returncode}); its last line above says why")


def stop(processes: dict[str, subprocess.Popen[bytes]]) -> None:
    """End them, the last started first, and wait: nobody is asked for a signature after the wallet is gone."""
    for process in reversed(processes.values()):
        process.terminate()
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
