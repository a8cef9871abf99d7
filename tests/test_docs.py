"""What a person can type or configure stands in the documentation, and the documentation names nothing else."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from energo_simulator.faults import SCENARIOS
from energoctl.main import energoctl
from firmware.panel.__main__ import load_config

ROOT = Path(__file__).resolve().parent.parent
GUIDE = (ROOT / "docs" / "energoctl.md").read_text()
TEXT = GUIDE + (ROOT / "README.md").read_text()


def commands(group: click.Group, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Every command that does something, with the words that name it."""
    ctx = click.Context(group)
    for name in group.list_commands(ctx):
        command = group.get_command(ctx, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))
        else:
            yield (*path, name), command


COMMANDS = dict(commands(energoctl))


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_command_is_documented_with_an_example(words: tuple[str, ...]) -> None:
    name = " ".join(words)
    assert re.search(rf"`{name}( [A-Z\[][^`]*)?`", TEXT), f"{name} is in no table of docs/energoctl.md"
    assert f"`energoctl {name}" in TEXT, f"{name} has no example"


def test_every_example_is_a_command_with_its_own_options() -> None:
    examples = re.findall(r"`energoctl ([^`]+)`", GUIDE)
    assert len(examples) >= len(COMMANDS)
    for example in examples:
        words = example.split()
        if words[0].startswith("-"):
            continue
        name = next((n for n in (tuple(words[:2]), tuple(words[:1])) if n in COMMANDS), None)
        assert name is not None, f"energoctl has no {example}"
        known = {option for parameter in COMMANDS[name].params for option in parameter.opts}
        assert {word for word in words if word.startswith("--")} <= known, example


def test_every_scenario_of_the_simulation_is_named() -> None:
    assert all(re.search(rf"\b{name}\b", GUIDE) for name in SCENARIOS)


def test_the_panels_file_is_as_documented(tmp_path: Path) -> None:
    block = GUIDE[GUIDE.index("    [panel]") :]
    file = tmp_path / "panel.toml"
    file.write_text("\n".join(line.strip() for line in block.splitlines()))
    config = load_config(file)
    assert (str(config.node), config.rotate_ms, config.refresh_ms) == ("/run/energo/view.sock", 4_000, 1_000)
