"""Every branch of the matchers' C is taken by the twins, and gcc's analyzer has nothing to say."""

import json
import shutil
import subprocess
from pathlib import Path

from tests.matcher_c import variants
from tests.matcher_c.exercise import AGREED

SOURCES = ("book.c", "clearing.c", "curve.c", "sorting.c")
BUG = "/* only a bug of ours */"
"""ends a line whose branches no input takes: an invariant that is checked all the same"""


def branches_of(folder: Path, name: str) -> tuple[int, list[str]]:
    """How many branches of a file and its headers are counted, and each line that has one which was never taken."""
    command = ["gcov", "--json-format", "--stdout", "--branch-probabilities", "-o", "matcher_c", f"matcher_c/{name}"]
    report = json.loads(subprocess.run(command, cwd=folder, capture_output=True, check=True).stdout)
    count, missed = 0, []
    for file in report["files"]:
        source = (folder / file["file"]).read_text(encoding="utf-8").split("\n")
        for line in file["lines"]:
            text = source[line["line_number"] - 1]
            counts = [branch["count"] for branch in line["branches"]]
            if BUG not in text:
                count += len(counts)
                if 0 in counts or not line["count"]:
                    missed.append(f"{file['file']}:{line['line_number']}: {text.strip()} {counts}")
    return count, missed


def test_every_branch_is_taken(tmp_path: Path, figures: list[str]) -> None:
    assert shutil.which("gcov") and variants.library("libgcov.a"), "there is no gcov: install gcc"
    variants.build(tmp_path, "-DENERGO_TIGHT --coverage -O0", "--coverage")
    done = variants.exercise(tmp_path)
    assert done.stdout == AGREED + "\n", done.stderr[-4000:]
    total, missed = 0, list[str]()
    for name in SOURCES:
        count, lines = branches_of(tmp_path, name)
        total += count
        missed += lines
    assert total > 500, "gcov reports hardly any branch"
    assert not missed, "\n".join(missed)
    figures.append(f"matcher_c: all {total} branches of the C are taken ({', '.join(SOURCES)})")


def test_the_analyzer_is_content(tmp_path: Path) -> None:
    compiler = shutil.which("gcc")
    assert compiler is not None, "there is no gcc: install it"
    for name in SOURCES:
        command = [compiler, "-std=c11", "-O1", "-Wall", "-Wextra", "-Wconversion", "-Werror", "-fanalyzer"]
        command += ["-c", str(variants.ROOT / "matcher_c" / name), "-o", str(tmp_path / "out.o")]
        done = subprocess.run(command, capture_output=True, text=True, timeout=200)
        assert done.returncode == 0, done.stderr
