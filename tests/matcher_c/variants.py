"""Builds of the matchers' C with other flags, in a folder of their own, and what runs on them."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent

# Loaded without the package, which would want the extension before it exists.
BUILD = """
import importlib.util, sys
spec = importlib.util.spec_from_file_location("build_matcher", "matcher_c/build_matcher.py")
build = importlib.util.module_from_spec(spec)
spec.loader.exec_module(build)
flags = [flag for flag in build.COMPILE_FLAGS if "FORTIFY" not in flag]
build.recipe(flags + sys.argv[1].split(), sys.argv[2].split()).compile(target="_matcher.abi3.so")
"""


def library(name: str) -> str | None:
    """A library of the C compiler, or None where it has none."""
    compiler = shutil.which("cc")
    if compiler is None:
        return None
    found = subprocess.run(
        [compiler, f"-print-file-name={name}"], capture_output=True, text=True, check=True
    ).stdout.strip()
    return str(Path(found).resolve()) if Path(found).is_absolute() and Path(found).exists() else None


def build(folder: Path, compile_flags: str, link_flags: str) -> None:
    """Copies the matchers and their tests into `folder` and builds the C there."""
    sources, tests = folder / "matcher_c", folder / "tests" / "matcher_c"
    sources.mkdir(parents=True)
    tests.mkdir(parents=True)
    for pattern in ("*.py", "*.c", "*.h"):
        for file in (ROOT / "matcher_c").glob(pattern):
            if file.name != "_matcher.c":
                shutil.copy(file, sources)
    for file in (ROOT / "tests" / "matcher_c").glob("*.py"):
        shutil.copy(file, tests)
    command = [sys.executable, "-c", BUILD, compile_flags, link_flags]
    built = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=240)
    assert built.returncode == 0, built.stderr[-4000:]


def exercise(folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs tests/matcher_c/exercise.py on the build in `folder`."""
    return subprocess.run(
        [sys.executable, "-m", "tests.matcher_c.exercise"],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(folder)} | environment,
        capture_output=True,
        text=True,
        timeout=280,
    )
