"""A LAN of this machine's own: a network namespace a home, each with a cable to a bridge that lives in a namespace of its own.

Everything is made inside namespaces of mounts and processes (`inside`), so nothing of it is seen outside and the kernel takes all
of it away with the last process, however that ended. Faults: a cable that is cut (the home's carrier goes), ports that hang on
another bridge (nobody is told: carriers stay), and frames lost at random (a classic BPF filter that draws a number for each).
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Final

SWITCH: Final = "mesh-switch"
NEEDED: Final = {  # command: the Debian package that has it
    "ip": "iproute2",
    "tc": "iproute2",
    "setpriv": "util-linux",
    "unshare": "util-linux",
    "mount": "mount",
    "umount": "mount",
}
NAMESPACES: Final = ("--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--net")
INSIDE: Final = "ENERGO_MESH_INSIDE"
TRIAL_S: Final = 60


class Cannot(Exception):
    """This machine cannot do it, in words."""


def run(*command: str) -> str:
    """What a command said. Raises `Cannot` with its own words where it fails."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=TRIAL_S, check=False)
    if done.returncode:
        raise Cannot(f"{' '.join(command)}: {done.stderr.strip() or f'exit status {done.returncode}'}")
    return done.stdout


def loss_program(percent: int) -> str:
    """Classic BPF for `tc`: drop a frame (TC_ACT_SHOT) when a random 32-bit number is not above `percent` of their range."""
    below = 2**32 * percent // 100
    random_number = 2**32 - 0x1000 + 56  # SKF_AD_OFF + SKF_AD_RANDOM
    return f"4,32 0 0 {random_number},37 1 0 {below},6 0 0 2,6 0 0 0"


def wrapper() -> list[str]:
    """The command before a command that gives it namespaces of its own; without root, a user's namespace too."""
    rootless = () if os.geteuid() == 0 else ("--user", "--map-root-user")
    return ["setpriv", "--pdeathsig", "KILL", "unshare", *rootless, *NAMESPACES]


def lacking() -> str:
    """Empty, or why this machine cannot do it, in words."""
    if not sys.platform.startswith("linux"):
        return "network namespaces are Linux's; run this on Linux"
    missing = {NEEDED[name]: name for name in NEEDED if shutil.which(name) is None}
    if missing:
        return f"no {', '.join(sorted(missing.values()))} here: apt install {' '.join(sorted(missing))}"
    trial = [*wrapper(), sys.executable, "-m", "tests.mesh.lan"]
    done = subprocess.run(
        trial, capture_output=True, text=True, timeout=TRIAL_S, check=False, env={**os.environ, INSIDE: "1"}
    )
    if done.returncode == 0:
        return ""
    words = done.stderr.strip().splitlines()
    return words[-1] if words else f"{' '.join(trial)} ended with status {done.returncode}"


def inside(command: Sequence[str]) -> int:
    """Run a command in namespaces of its own; its exit status. Ctrl-C goes to it, and with it everything goes."""
    process = subprocess.Popen([*wrapper(), *command], env={**os.environ, INSIDE: "1"})
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal tells both; the one inside says how it ended
    signal.signal(signal.SIGTERM, lambda *_: process.kill())
    return process.wait()


class Lan:
    """The bridge and its cables. Homes are counted from 1; home i has 10.77.0.(10 + i) and a link-local IPv6 address."""

    def __init__(self, homes: int) -> None:
        if INSIDE not in os.environ:
            raise Cannot("the LAN is made inside namespaces of its own only; run python -m tests.mesh")
        self.homes = range(1, homes + 1)
        run("mount", "-t", "tmpfs", "tmpfs", "/run")
        run("ip", "netns", "add", SWITCH)
        for bridge in ("near", "far"):
            self._ip(SWITCH, "link", "add", bridge, "type", "bridge",
                     "mcast_snooping", "0", "stp_state", "0", "forward_delay", "0")  # fmt: skip
            self._ip(SWITCH, "link", "set", bridge, "up")
        for home in self.homes:
            where = self.name(home)
            run("ip", "netns", "add", where)
            self._ip(where, "link", "set", "lo", "up")
            self._ip(where, "link", "add", "eth0", "address", f"02:00:00:00:00:{home:02x}",
                     "type", "veth", "peer", "name", f"p{home}", "netns", SWITCH)  # fmt: skip
            self._set(home, "net/ipv6/conf/eth0/accept_dad", 0)  # its address is its own: no seconds of waiting
            self._ip(SWITCH, "link", "set", f"p{home}", "master", "near", "up")
            run("tc", "-n", SWITCH, "qdisc", "add", "dev", f"p{home}", "clsact")
            self._ip(where, "link", "set", "eth0", "up")
            self._ip(where, "addr", "add", self.address(home), "dev", "eth0")

    @staticmethod
    def name(home: int) -> str:
        """A home's namespace."""
        return f"mesh-home{home}"

    @staticmethod
    def address(home: int) -> str:
        """A home's IPv4 address and network."""
        return f"10.77.0.{10 + home}/24"

    @staticmethod
    def _ip(where: str, *words: str) -> None:
        run("ip", "-n", where, *words)

    def _set(self, home: int, key: str, value: int) -> None:
        run("ip", "netns", "exec", self.name(home), "sh", "-c", f"echo {value} > /proc/sys/{key}")

    def command(self, home: int, command: Sequence[str]) -> list[str]:
        """A command, as it runs in a home's namespace; it replaces `ip`, so its process is the one that was started."""
        return ["ip", "netns", "exec", self.name(home), *command]

    def families(self, *, ipv4: bool, ipv6: bool) -> None:
        """Which addresses every home has from now on."""
        for home in self.homes:
            self._ip(self.name(home), "-4", "addr", "flush", "dev", "eth0")
            if ipv4:
                self._ip(self.name(home), "addr", "add", self.address(home), "dev", "eth0")
            self._set(home, "net/ipv6/conf/eth0/disable_ipv6", int(not ipv6))

    def cut(self, home: int) -> None:
        """Pull a home's cable out: its carrier goes."""
        self._ip(SWITCH, "link", "set", f"p{home}", "down")

    def mend(self, home: int) -> None:
        """Put the cable in again."""
        self._ip(SWITCH, "link", "set", f"p{home}", "up")

    def part(self, away: Collection[int]) -> None:
        """Hang these homes' ports on another bridge, the others' on the first: no carrier goes, nobody is told."""
        for home in self.homes:
            self._ip(SWITCH, "link", "set", f"p{home}", "master", "far" if home in away else "near")

    def lose(self, percent: int) -> None:
        """From now on so many of 100 frames to each home are lost (0: none)."""
        for home in self.homes:
            run("tc", "-n", SWITCH, "filter", "del", "dev", f"p{home}", "egress")
            if percent:
                run("tc", "-n", SWITCH, "filter", "add", "dev", f"p{home}", "egress",
                    "bpf", "da", "bytecode", loss_program(percent))  # fmt: skip

    def lost(self) -> tuple[int, int]:
        """(frames to homes that were lost by `lose` so far, frames to homes so far)."""
        lost = sent = 0
        for home in self.homes:
            said = run("tc", "-s", "-n", SWITCH, "qdisc", "show", "dev", f"p{home}", "clsact")
            counted = re.search(r"(\d+) pkt \(dropped (\d+)", said)
            if counted is None:
                raise Cannot(f"tc counts no frames: {said.strip()}")
            sent += int(counted[1])
            lost += int(counted[2])
        return lost, sent


def _trial() -> None:
    lan = Lan(1)
    lan.families(ipv4=False, ipv6=True)
    lan.part({1})
    lan.lose(30)
    folder = Path("/run/trial")
    folder.mkdir()
    run("mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder))
    lan.lose(0)
    lan.lost()


if __name__ == "__main__":
    try:
        _trial()
    except (Cannot, OSError) as error:
        sys.exit(str(error))
