"""The cffi recipe of the matchers: `setup.py` names `ffibuilder`; run as a script it builds in place.

Its declarations are the marked slice of matcher.h, so that the header stays the only contract. The strict warnings are
for our C; the file that cffi generates is built beside it with the few that it does not meet switched off.
"""

import sys
from pathlib import Path

from cffi import FFI

HERE = Path(__file__).resolve().parent
BEGIN, END = "/* cffi: begin */", "/* cffi: end */"

SOURCES = ("book.c", "clearing.c", "curve.c", "sorting.c")

# cffi's generated wrapper and Python.h are not written for these; pragmas reach them without touching our own files.
PRELUDE = """
#pragma GCC diagnostic ignored "-Wconversion"
#pragma GCC diagnostic ignored "-Wsign-conversion"
#pragma GCC diagnostic ignored "-Wunused-parameter"
#pragma GCC diagnostic ignored "-Wmissing-field-initializers"
#include "matcher.h"
#include <stdlib.h>
"""

# Memory for a book, from the C library, which gives large pieces zeroed without touching them.
MEMORY = "void *calloc(size_t, size_t); void free(void *);"

COMPILE_FLAGS = [
    "-std=c11", "-Wall", "-Wextra", "-Wconversion", "-Werror", "-O2", "-fstack-protector-strong",
    # Level 3 where compiler and C library have it; older ones say in a preprocessor warning that they take it as 2.
    "-U_FORTIFY_SOURCE", "-D_FORTIFY_SOURCE=3", "-Wno-error=cpp",
]  # fmt: skip


def declarations() -> str:
    """The slice of matcher.h between its two marks."""
    header = (HERE / "matcher.h").read_text(encoding="utf-8")
    return header.split(BEGIN, 1)[1].split(END, 1)[0]


def recipe(compile_flags: list[str], link_flags: list[str]) -> FFI:
    """The extension module `matcher_c._matcher`, built from the project's root."""
    builder = FFI()
    builder.cdef(declarations() + MEMORY)
    builder.set_source(
        "matcher_c._matcher",
        PRELUDE,
        sources=[f"matcher_c/{file}" for file in SOURCES],
        depends=[f"matcher_c/{file.name}" for file in sorted(HERE.glob("*.h"))],
        include_dirs=["matcher_c"],
        extra_compile_args=compile_flags,
        extra_link_args=link_flags,
    )
    return builder


ffibuilder = recipe(COMPILE_FLAGS, [])

if __name__ == "__main__":
    if Path.cwd() != HERE.parent:
        sys.exit("build_matcher.py: run it from the project's root, as `python matcher_c/build_matcher.py`")
    ffibuilder.compile(target="_matcher.abi3.so", verbose=True)  # the name that setup.py gives it, lest two lie about
