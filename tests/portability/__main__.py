"""`python -m tests.portability`: both matchers built for arm64 and 32-bit ARM give the same bytes as here, case by case.

Names every missing Debian package before it does anything. Exit status 1 where results differ, from each other or from
what they were when their digest was frozen.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

from .machines import NATIVE, OTHERS, digest, frozen, missing
from .vectors import cases


def main() -> int:
    """The exit status."""
    lacks = missing((NATIVE, *OTHERS))
    if lacks:
        print(f"energo: missing on this machine; install with: sudo apt install {' '.join(lacks)}", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        vectors = folder / "cases"
        vectors.write_bytes(b"".join(cases()))
        was, fine = frozen(), True
        if digest(vectors.read_bytes()) != was["cases"]:
            print("the cases are not the frozen ones", file=sys.stderr)
            fine = False
        here = b""
        for machine in (NATIVE, *OTHERS):
            begun = time.monotonic()
            results = machine.run(machine.build(folder), vectors)
            took = time.monotonic() - begun
            here = here or results
            if results != here:
                place = next((i for i, (a, b) in enumerate(zip(here, results, strict=False)) if a != b), len(here))
                verdict = f"DIFFERS from native at byte {place} of {len(here)}"
            elif digest(results) != was["results"]:
                verdict = "DIFFERS from the frozen digest"
            else:
                verdict = "as frozen"
            fine = fine and verdict == "as frozen"
            print(
                f"{machine.name:8} {len(results):>10,} bytes  {digest(results)}  {took:6.1f} s  {verdict}", flush=True
            )
    return int(not fine)


if __name__ == "__main__":
    sys.exit(main())
