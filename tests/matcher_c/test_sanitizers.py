"""The twins again, with the C built under the address and undefined-behavior sanitizers, in a process of its own."""

from pathlib import Path

import pytest

from tests.matcher_c import variants
from tests.matcher_c.exercise import AGREED

SANITIZERS = "-fsanitize=address,undefined"


@pytest.mark.parametrize("flags", ["", "-DENERGO_TIGHT"], ids=["as shipped", "tight"])
def test_no_sanitizer_complains(tmp_path: Path, flags: str) -> None:
    libraries = [variants.library("libasan.so"), variants.library("libubsan.so")]
    assert all(libraries), "the C compiler has no sanitizer libraries: install gcc, which they come with"
    variants.build(tmp_path, f"{flags} {SANITIZERS} -fno-sanitize-recover=all -g -O1", SANITIZERS)
    done = variants.exercise(
        tmp_path,
        LD_PRELOAD=" ".join(filter(None, libraries)),
        ASAN_OPTIONS="detect_leaks=0",  # the interpreter's own at exit
        PYTHONMALLOC="malloc",
    )
    assert done.stdout == AGREED + "\n", done.stderr[-4000:]
