"""The rooms, the one-way arrows between them, and the purity of the core, held by reading the source.

Which file is pure is declared once, in ``KINDS``; a file that no row names fails until somebody decides.
Nothing is imported here, so a broken file still gets its verdict.
"""

import ast
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

# A room may import rooms of a lower level only, never one beside it. The tools may import one another.
LEVELS = {
    "matcher_c": 0,
    "ledger.base": 1,
    "ledger.client": 2,
    "ledger.state": 2,
    "ledger.simplex": 3,  # what is agreed on
    "ledger.gossip": 4,  # carries what simplex says
    "ledger.wallet": 4,
    "ledger.node": 5,
    "firmware": 6,
}
TOOLS_LEVEL = 7

# P: pure: integers and bytes only; no clock, randomness, I/O, floats. D: driver, touches the world. E: entry.
# The first row that fits decides. Pure rooms are named whole; in mixed rooms every file is named.
KINDS = [
    ("matcher_c/build_matcher.py", "E"),
    ("matcher_c/*.py", "P"),
    ("ledger/__init__.py", "P"),
    ("ledger/client.py", "D"),
    ("ledger/base/files.py", "D"),
    ("ledger/base/*.py", "P"),
    ("ledger/state/*.py", "P"),
    ("ledger/simplex/*.py", "P"),
    ("ledger/gossip/*.py", "P"),
    ("ledger/wallet/__init__.py", "P"),
    ("ledger/wallet/rules.py", "P"),
    ("ledger/wallet/guard.py", "P"),
    ("ledger/wallet/limits.py", "P"),
    ("ledger/wallet/keystore.py", "D"),
    ("ledger/wallet/journal.py", "D"),
    ("ledger/wallet/__main__.py", "E"),
    ("ledger/node/__main__.py", "E"),
    ("ledger/node/catchup.py", "P"),
    ("ledger/node/core.py", "P"),
    ("ledger/node/pacing.py", "P"),
    ("ledger/node/directory.py", "P"),
    ("ledger/node/views.py", "D"),
    ("ledger/node/__init__.py", "P"),
    ("ledger/node/*.py", "D"),
    ("firmware/__init__.py", "P"),
    ("firmware/meter/__init__.py", "P"),
    ("firmware/meter/registers.py", "P"),
    ("firmware/meter/models.py", "D"),
    ("firmware/meter/queue.py", "D"),
    ("firmware/meter/drivers.py", "D"),
    ("firmware/meter/reader.py", "D"),
    ("firmware/meter/__main__.py", "E"),
    ("firmware/panel/__init__.py", "P"),
    ("firmware/panel/screens.py", "P"),
    ("firmware/panel/lcd.py", "D"),
    ("firmware/panel/buttons.py", "D"),
    ("firmware/panel/__main__.py", "E"),
    ("firmware/der/__init__.py", "P"),
    ("firmware/der/rules.py", "P"),
    ("firmware/der/view.py", "P"),
    ("firmware/der/devices.py", "D"),
    ("firmware/der/__main__.py", "E"),
    ("tools/energo_demo/devices.py", "P"),
    ("tools/energo_demo/audit.py", "P"),
    ("tools/*.py", "D"),
]

PURE_IMPORTS = frozenset(
    "__future__ abc dataclasses enum typing hashlib struct collections collections.abc itertools functools "
    "bisect heapq operator array hmac".split()  # array: what the matcher takes without an object an order
)
# The only doors of the core to code that is not its own.
SEAMS = {
    "ledger/base/crypto.py": "nacl",
    "ledger/base/codec.py": "cbor2",
    "matcher_c/__init__.py": "matcher_c._matcher",
}
IMPURE_BUILTINS = frozenset({"float", "complex", "open", "print", "input"})
OURS = ("ledger", "firmware", "matcher_c")
TOOLS = frozenset(path.parent.name for path in ROOT.glob("tools/*/__init__.py"))

FILES = sorted(
    path.relative_to(ROOT).as_posix()
    for folder in (*OURS, "tools")
    for path in ROOT.glob(f"{folder}/**/*.py")
    if not {"pico", "__pycache__", "build"} & set(path.relative_to(ROOT).parts)
)


def kind_of(file: str) -> str | None:
    """``P``, ``D`` or ``E`` of a file of the project, or None when no row of the table names it."""
    return next((kind for pattern, kind in KINDS if fnmatchcase(file, pattern)), None)


def module_of(file: str) -> str:
    """The dotted name that a file is imported by."""
    return file.removeprefix("tools/").removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def file_of(module: str) -> str | None:
    """The project's file behind a dotted name, or None for a foreign module."""
    path = module.replace(".", "/")
    for candidate in (f"{path}.py", f"{path}/__init__.py", f"tools/{path}.py", f"tools/{path}/__init__.py"):
        if (ROOT / candidate).is_file():
            return candidate
    return None


def is_ours(module: str) -> bool:
    return module.split(".")[0] in OURS or module.split(".")[0] in TOOLS


def room_of(module: str) -> str:
    """The room of one of our modules: two names deep in ``ledger`` and ``firmware``, one elsewhere."""
    parts = module.split(".")
    return ".".join(parts[:2]) if parts[0] in ("ledger", "firmware") else parts[0]


def level_of(room: str) -> int:
    if room in ("ledger",):
        return 0
    return LEVELS.get(room, LEVELS["firmware"] if room.startswith("firmware") else TOOLS_LEVEL)


def imports_of(file: str) -> Iterator[tuple[int, str, bool]]:
    """(line, absolute module, written relatively) of each import; ``from room import x`` names a module x."""
    package = module_of(file).split(".")
    if not file.endswith("/__init__.py"):
        package = package[:-1]
    for node in ast.walk(ast.parse((ROOT / file).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name, False
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            stem = ".".join([*base, *([node.module] if node.module else [])])
            for alias in node.names:
                deeper = f"{stem}.{alias.name}"
                is_module = file_of(deeper) is not None or deeper in SEAMS.values()
                yield node.lineno, deeper if is_module else stem, bool(node.level)


@pytest.mark.parametrize("file", FILES)
def test_file_has_a_kind(file: str) -> None:
    assert kind_of(file), f"{file} is in no row of KINDS: is it pure, a driver or an entry point?"


@pytest.mark.parametrize("file", FILES)
def test_imports_point_one_way(file: str) -> None:
    room = room_of(module_of(file))
    wrong = []
    for line, target, relative in imports_of(file):
        if not is_ours(target):
            continue
        other = room_of(target)
        if other == room:
            if not relative:
                wrong.append(f"{file}:{line}: {target} is in the same room: import it relatively")
            continue
        if relative:
            wrong.append(f"{file}:{line}: {target} is in another room: import it absolutely")
        if room.startswith("firmware"):
            if other not in ("ledger.base", "ledger.client") and not other.startswith("firmware"):
                wrong.append(f"{file}:{line}: firmware knows ledger.base and ledger.client, not {target}")
        elif level_of(other) >= level_of(room) and level_of(room) != TOOLS_LEVEL:
            wrong.append(f"{file}:{line}: {room} must not import {target}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("file", [file for file in FILES if kind_of(file) == "P"])
def test_pure_files_stay_pure(file: str) -> None:
    wrong = []
    for line, target, _ in imports_of(file):
        seam = SEAMS.get(file)
        if target in PURE_IMPORTS or (seam and (target == seam or target.startswith(f"{seam}."))):
            continue
        behind = file_of(target)
        if behind is None or kind_of(behind) != "P":
            wrong.append(f"{file}:{line}: a pure file must not import {target}")
    for node in ast.walk(ast.parse((ROOT / file).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Constant) and isinstance(node.value, float | complex):
            wrong.append(f"{file}:{node.lineno}: the float {node.value!r}")
        elif isinstance(node, ast.BinOp | ast.AugAssign) and isinstance(node.op, ast.Div):
            wrong.append(f"{file}:{node.lineno}: / makes a float; use //")
        elif isinstance(node, ast.Name) and node.id in IMPURE_BUILTINS:
            wrong.append(f"{file}:{node.lineno}: {node.id}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("file", [file for file in FILES if file.startswith("ledger/node/")])
def test_only_the_nodes_clock_knows_time_and_chance(file: str) -> None:
    banned = ("time", "random", "secrets")
    wrong = [f"{file}:{line}: {name}" for line, name, _ in imports_of(file) if name in banned]
    assert file == "ledger/node/clock.py" or not wrong, "\n".join(wrong)
