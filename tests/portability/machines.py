"""Building the driver for a machine, and running it there: natively, or cross-built under qemu-user."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
SOURCES = sorted(p for p in (HERE.parent.parent / "matcher_c").glob("*.c") if not p.name.startswith("_"))
FLAGS = ("-std=c11", "-O2", "-Wall", "-Wextra", "-Wconversion", "-Werror")
FROZEN = HERE.parent / "vectors" / "portability.digests"
RUN_S = 900  # of one machine; emulated it takes some seconds


@dataclass(frozen=True)
class Machine:
    """A compiler, what runs its programs, and the Debian packages that they come from."""

    name: str
    compiler: str
    emulator: str | None
    packages: tuple[str, ...]

    def missing(self) -> list[str]:
        """The Debian packages of what this computer lacks: compiler and emulator, then the C library by trying."""
        tool, library, *emulator = self.packages
        lacks = [] if shutil.which(self.compiler) else [tool, library]
        if not lacks and not self._links():
            lacks = [library]
        if self.emulator and not shutil.which(self.emulator):
            lacks += emulator
        return lacks

    def _links(self) -> bool:
        program = b'#include <stdio.h>\nint main(void) { return puts("") < 0; }\n'
        command = [self.compiler, "-static", "-x", "c", "-", "-o", "/dev/null"]
        return subprocess.run(command, input=program, capture_output=True, timeout=60).returncode == 0

    def build(self, folder: Path) -> Path:
        """The driver for this machine, linked statically."""
        program = folder / f"driver-{self.name}"
        sources = [str(HERE / "driver.c"), *map(str, SOURCES)]
        command = [self.compiler, *FLAGS, "-static", *sources, "-o", str(program)]
        subprocess.run(command, check=True, timeout=120)
        return program

    def run(self, program: Path, vectors: Path) -> bytes:
        """What the driver gives for a file of cases."""
        command = [*([self.emulator] if self.emulator else []), str(program), str(vectors)]
        return subprocess.run(command, check=True, stdout=subprocess.PIPE, timeout=RUN_S).stdout


NATIVE = Machine("native", "cc", None, ("gcc", "libc6-dev"))
OTHERS = (
    Machine(
        "arm64",
        "aarch64-linux-gnu-gcc",
        "qemu-aarch64",
        ("gcc-aarch64-linux-gnu", "libc6-dev-arm64-cross", "qemu-user"),
    ),
    Machine(
        "armhf",
        "arm-linux-gnueabihf-gcc",
        "qemu-arm",
        ("gcc-arm-linux-gnueabihf", "libc6-dev-armhf-cross", "qemu-user"),
    ),
)


def missing(machines: Sequence[Machine]) -> list[str]:
    """Every Debian package that is missing, once."""
    return list(dict.fromkeys(package for machine in machines for package in machine.missing()))


def frozen() -> dict[str, str]:
    """SHA-256 of the cases and of their results, as they were when they were frozen."""
    lines = (line.split("  ") for line in FROZEN.read_text(encoding="utf-8").splitlines() if not line.startswith("#"))
    return {name: digest for digest, name in lines}


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
