"""Copies of a module with one thing broken on purpose, to see that a test would notice."""

from pathlib import Path
from types import ModuleType

ROOM = Path(__file__).resolve().parent.parent.parent / "matcher_c"


def mutated(name: str, old: str, new: str) -> ModuleType:
    """matcher_c/NAME.py with `old`, which it has exactly once, replaced by `new`."""
    source = (ROOM / f"{name}.py").read_text(encoding="utf-8")
    assert source.count(old) == 1, f"{name}.py has this {source.count(old)} times: {old!r}"
    module = ModuleType(f"matcher_c.{name}_mutant")
    module.__package__ = "matcher_c"
    # dataclasses look their module up by name
    import sys

    sys.modules[module.__name__] = module
    try:
        exec(compile(source.replace(old, new), f"{name}_mutant.py", "exec"), module.__dict__)
    finally:
        del sys.modules[module.__name__]
    return module
