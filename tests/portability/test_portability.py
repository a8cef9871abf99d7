"""The native build gives what every other machine gave when `make portability` froze it.

A result that is meant to change is frozen anew by writing the two digests that the failing tests print into
tests/vectors/portability.digests, after `make portability` has shown the three machines to agree.
"""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from tests.portability import machines
from tests.portability.expected import results_of
from tests.portability.vectors import CLEARING, EXCHANGE, Draw, cases


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    assert shutil.which("cc"), "there is no C compiler: install gcc"
    return machines.NATIVE.build(tmp_path_factory.mktemp("driver"))


def test_the_generator_is_the_published_one() -> None:
    """splitmix64 from seed 1234567, as in its author's example."""
    draw = Draw(1234567)
    assert [draw.word() for _ in range(3)] == [6457827717110365317, 3203168211198807973, 9817491932198370423]


def test_the_cases_are_the_frozen_ones() -> None:
    listed = list(cases())
    assert machines.digest(b"".join(listed)) == machines.frozen()["cases"]
    kinds = [case[0] for case in listed]
    assert kinds.count(CLEARING) == 3_046 and kinds.count(EXCHANGE) == 60


def test_the_results_are_the_frozen_ones(driver: Path, tmp_path: Path) -> None:
    (tmp_path / "cases").write_bytes(b"".join(cases()))
    assert machines.digest(machines.NATIVE.run(driver, tmp_path / "cases")) == machines.frozen()["results"]


def test_the_frozen_results_are_the_references() -> None:
    """What is frozen is right, not only old."""
    assert machines.digest(b"".join(results_of(case) for case in cases())) == machines.frozen()["results"]


def test_a_file_that_is_none_is_refused(driver: Path, tmp_path: Path) -> None:
    for content in (b"\7" + bytes(7), b"\1" + bytes(7), b"\1"):
        (tmp_path / "cases").write_bytes(content)
        with pytest.raises(subprocess.CalledProcessError):
            machines.NATIVE.run(driver, tmp_path / "cases")


def test_missing_packages_are_named_once() -> None:
    nowhere = [replace(machine, compiler="no-such-cc", emulator="no-such-qemu") for machine in machines.OTHERS]
    assert machines.missing(nowhere) == [
        "gcc-aarch64-linux-gnu", "libc6-dev-arm64-cross", "qemu-user", "gcc-arm-linux-gnueabihf", "libc6-dev-armhf-cross",
    ]  # fmt: skip
