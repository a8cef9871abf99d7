"""The twins again, with the C built under the address and undefined-behavior sanitizers, in a process of its own."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent

# Loaded without the package, which would want the extension before it exists.
BUILD = """
import importlib.util
spec = importlib.util.spec_from_file_location("build_matcher", "matcher_c/build_matcher.py")
build = importlib.util.module_from_spec(spec)
spec.loader.exec_module(build)
flags = [flag for flag in build.COMPILE_FLAGS if "FORTIFY" not in flag]
sanitizers = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-g", "-O1"]
build.recipe(flags + sanitizers, sanitizers[:1]).compile()
"""

TWINS = """
import random
from matcher_c import clear_arrays, reference
from tests.matcher_c import test_clearing_twins, test_exchange_twins
from tests.matcher_c.instances import random_instance
rng = random.Random(3)
for _ in range(1500):
    test_clearing_twins.assert_same(random_instance(rng))
test_clearing_twins.test_larger_seeded_instances()
test_clearing_twins.test_a_deep_path_does_not_recurse()
test_clearing_twins.test_quantities_whose_sum_is_far_above_one_order()
test_exchange_twins.test_ids_that_collide_without_a_key()
for seed in range(60):
    rng = random.Random(seed)
    rows = [
        (rng.randint(0, 12), rng.choice([rng.randint(-4, 8), -2**63, 2**63 - 1]), rng.choice([1, 5, 9, 2**32, -2**63]),
         rng.randint(0, 3), rng.choice([0, 0, 0, 1, 2, 255]), rng.randint(0, 2), 0)
        for _ in range(80)
    ]
    test_exchange_twins.run_both(rows, capacity=1 + seed % 9, tick=1, highest=(0, 5, 4200)[seed % 3], room=1 + seed % 30,
                                 quiet=bool(seed % 2))
print("twins agree")
"""


def library(name: str) -> str | None:
    compiler = shutil.which("cc")
    if compiler is None:
        return None
    found = subprocess.run(
        [compiler, f"-print-file-name={name}"], capture_output=True, text=True, check=True
    ).stdout.strip()
    return str(Path(found).resolve()) if Path(found).is_absolute() and Path(found).exists() else None


def test_no_sanitizer_complains(tmp_path: Path) -> None:
    libraries = [library("libasan.so"), library("libubsan.so")]
    if not all(libraries):
        pytest.skip("the C compiler has no sanitizer libraries (on Debian they come with gcc)")
    sources = tmp_path / "matcher_c"
    sources.mkdir()
    for pattern in ("*.py", "*.c", "*.h"):
        for file in (ROOT / "matcher_c").glob(pattern):
            if file.name != "_matcher.c":
                shutil.copy(file, sources)
    tests = tmp_path / "tests" / "matcher_c"
    tests.mkdir(parents=True)
    for file in (ROOT / "tests" / "matcher_c").glob("*.py"):
        shutil.copy(file, tests)
    subprocess.run([sys.executable, "-c", BUILD], cwd=tmp_path, check=True, capture_output=True, timeout=120)
    environment = os.environ | {
        "LD_PRELOAD": " ".join(filter(None, libraries)),
        "ASAN_OPTIONS": "detect_leaks=0",  # the interpreter's own at exit
        "PYTHONMALLOC": "malloc",
        "PYTHONPATH": str(tmp_path),
    }
    done = subprocess.run(
        [sys.executable, "-c", TWINS], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=240
    )
    assert done.stdout == "twins agree\n", done.stderr[-4000:]
