"""The command line as such: help that reads like a table of contents and comes at once, errors in one line, exit statuses."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import click
import pytest

from energoctl.main import BY_NAME, CONTENTS, energoctl
from tests.energoctl.calls import Caller
from tests.energoctl.homes import environment

HEAVY = ("rich", "nacl", "cbor2", "matcher_c", "ledger.state", "starlette", "uvicorn", "zeroconf")
LATER = ("doctor", "meter", "street", "token")


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Caller:
    return Caller(capsys)


def test_help_lists_every_command_and_imports_nothing_heavy() -> None:
    script = (
        "import sys; from energoctl.main import run; status = run(['--help']);"
        f"print([name for name in {HEAVY!r} if name in sys.modules]); sys.exit(status)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env=environment(), check=True, timeout=60
    )
    assert done.stdout.splitlines()[-1] == "[]"
    for entry in CONTENTS:
        assert f"  {entry.name} " in done.stdout
        assert entry.summary in done.stdout
    for name in LATER:
        assert f"  {name} " not in done.stdout


@pytest.mark.parametrize("entry", CONTENTS, ids=lambda entry: entry.name)
def test_every_command_is_where_the_table_says_and_has_help(entry: object, call: Caller) -> None:
    name = entry.name  # type: ignore[attr-defined]
    command = energoctl.get_command(click.Context(energoctl), name)
    assert command is not None and command.name == name and command.help
    shown = call(name, "--help")
    assert shown.status == 0
    assert shown.out.startswith(f"Usage: energoctl {name} ")
    assert shown.err == ""


def test_the_order_of_commands_is_the_tables() -> None:
    assert energoctl.list_commands(click.Context(energoctl)) == list(BY_NAME)
    assert energoctl.get_command(click.Context(energoctl), "nonsense") is None


@pytest.mark.parametrize("arguments", [(), ("order",), ("limits",), ("ledger",), ("node",)])
def test_a_group_alone_shows_its_help(arguments: tuple[str, ...], call: Caller) -> None:
    shown = call(*arguments)
    assert shown.status == 0
    assert "Commands:" in shown.out or "Look:" in shown.out


def test_the_version(call: Caller) -> None:
    shown = call("--version")
    assert shown.status == 0
    assert shown.out.startswith("energoctl")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nonsense",), "No such command 'nonsense'"),
        (("status", "--bogus"), "No such option"),
        (("status", "more"), "unexpected extra argument"),
        (("slots", "0"), "0 is not in the range"),
        (("transfer", "home2"), "Missing argument 'AMOUNT'"),
        (("transfer", "home2", "x"), "amount 'x' is not a decimal number such as 0.28"),
        (("transfer", "home2", "-1"), "No such option"),
        (("transfer", "home2", "0"), "amount '0' is not above 0"),
        (("transfer", "home2", "0.123456789"), "more than 8 decimals"),
        (("transfer", "home2", "1.5", "WATT:pool"), "is not a whole number"),
        (("transfer", "energo1qqqqqq", "1"), "the address has a typing error"),
        (("order", "buy", "WATT:pool", "0", "--price", "0.1"), "0 is not in the range"),
        (("order", "buy", "WATT:pool", "10"), "Missing option '--price'"),
        (("order", "buy", "WATT:pool", "10", "--price", "cheap"), "price 'cheap' is not a decimal number"),
        (("order", "buy", "WATT:pool", "10", "--price", "0.123456"), "more than 5 decimals"),
        (("order", "sell", "WATT:pool", "10", "--price", "0.1", "--fok", "--post-only"), "give one of --ioc"),
        (("order", "cancel", "first"), "'first' is not a valid integer"),
        (("limits", "set"), "give --buy-below P, --sell-above P or both"),
        (("limits", "set", "--buy-below", "low"), "price 'low' is not a decimal number"),
        (("deposit", "pool"), "Missing option '--up-to'"),
        (("redeem", "pool", "-5"), "No such option"),
        (("sim", "--seeds", "9..1"), "the first seed comes first"),
        (("sim", "--seeds", "1-9"), "is neither a seed such as 7 nor a range"),
        (("sim", "--seeds", "1", "--scenario", "flood"), "is none of calm"),
        (("sim", "--seeds", "1", "--byzantine", "2"), "--byzantine 2 needs --nodes 7 or more"),
    ],
)
def test_wrong_usage_is_one_line_and_status_2(arguments: tuple[str, ...], message: str, call: Caller) -> None:
    plain = call(*arguments)
    assert plain.status == 2
    assert plain.out == ""
    assert plain.err.count("\n") == 1
    assert message in plain.err
    assert "--help" in plain.err
    for_programs = call("--json", *arguments)
    assert for_programs.status == 2
    assert for_programs.json["error"]["code"] == "wrong_usage"
    assert message in for_programs.json["error"]["message"]


NODE_CALLS = [
    ("status",), ("peers",), ("balance",), ("readings",), ("slots",), ("blocks",), ("orders",), ("trades",),
    ("generators",), ("pools",), ("receipt", "ab" * 32), ("limits", "set", "--buy-below", "0.2"),
]  # fmt: skip


@pytest.mark.parametrize("arguments", NODE_CALLS, ids=lambda arguments: arguments[0])
def test_without_a_node_it_is_status_3(arguments: tuple[str, ...], call: Caller, tmp_path: Path) -> None:
    socket = str(tmp_path / "no.sock")
    plain = call("--node", socket, *arguments)
    assert plain.status == 3
    assert plain.out == ""
    assert plain.err.count("\n") == 1
    assert f"no node answers at {socket}" in plain.err
    for_programs = call(*arguments, "--json", "--node", socket)
    assert for_programs.status == 3
    assert for_programs.json["error"]["code"] == "no_node"


def test_the_node_comes_from_the_environment(call: Caller, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENERGO_NODE", str(tmp_path / "elsewhere.sock"))
    assert "elsewhere.sock" in call("status").err
    monkeypatch.delenv("ENERGO_NODE")
    assert "/run/energo/node.sock" in call("status").err


def test_a_reader_that_has_enough_ends_it_quietly(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "energoctl.main", "--help"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment() | {"PYTHONUNBUFFERED": "1"},
    )
    assert process.stdout and process.stderr
    process.stdout.close()
    assert process.wait(60) == 1
    assert process.stderr.read() == b""
    process.stderr.close()


def test_completion_speaks_shell() -> None:
    wanted = {"COMP_WORDS": "energoctl st", "COMP_CWORD": "1", "_ENERGOCTL_COMPLETE": "bash_complete"}
    done = subprocess.run(
        [sys.executable, "-m", "energoctl.main"],
        capture_output=True,
        text=True,
        env=environment() | wanted,
        timeout=60,
        check=False,
    )
    assert "plain,status" in done.stdout
