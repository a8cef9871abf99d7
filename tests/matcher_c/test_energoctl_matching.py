"""`energoctl clear` and `energoctl match` as a person and a program meet them."""

import json
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from energoctl import matching

DOCUMENT = {
    "buses": [{"id": "root"}],
    "orders": [
        {"id": "a", "bus": "root", "side": "sell", "price": "0.08", "quantity_wh": 1500},
        {"id": "b", "bus": "root", "side": "buy", "price": "0.12", "quantity_wh": 1000},
    ],
}
STREAM = """
{"op": "limit", "id": 1, "owner": 7, "side": "buy", "price": "0.16", "quantity_wh": 25000, "tif": "gtc"}

{"op": "market", "id": 2, "owner": 8, "side": "sell", "quantity_wh": 5000}
{"op": "cancel", "id": 1}
"""


@click.group()
@click.option("--json", "as_json", is_flag=True)
@click.pass_context
def energoctl(ctx: click.Context, as_json: bool) -> None:
    ctx.obj = {"json": as_json}


energoctl.add_command(matching.clear)
energoctl.add_command(matching.match)


def run(*arguments: str, text: str | None = None) -> Result:
    return CliRunner().invoke(energoctl, arguments, input=text)


def test_clear_a_file(tmp_path: Path) -> None:
    file = tmp_path / "slot.json"
    file.write_text(json.dumps(DOCUMENT))
    result = run("clear", str(file))
    assert result.exit_code == 0
    assert json.loads(result.stdout) == {
        "traded": {"a": 1000, "b": 1000},
        "prices": {"root": "0.08000"},
        "flows": {},
        "payments": {"a": "0.08000000", "b": "-0.08000000"},
        "operator": "0.00000000",
        "objective": "0.04000000",
    }


def test_clear_standard_input() -> None:
    assert json.loads(run("clear", "-", text=json.dumps(DOCUMENT)).stdout)["traded"] == {"a": 1000, "b": 1000}


def test_match_a_file(tmp_path: Path) -> None:
    file = tmp_path / "stream.jsonl"
    file.write_text(STREAM)
    result = run("match", str(file))
    assert result.exit_code == 0
    assert [json.loads(line) for line in result.stdout.splitlines()] == [
        {"rest": {"id": 1, "quantity_wh": 25000}},
        {"fill": {"maker": 1, "taker": 2, "price": "0.16000", "quantity_wh": 5000}},
        {"canceled": {"id": 1, "quantity_wh": 20000}},
    ]


def test_match_with_an_instrument_of_its_own() -> None:
    result = run("match", "-", "--tick", "0.1", "--lowest", "0", "--highest", "0.2", "--capacity", "1", text=STREAM)
    assert json.loads(result.stdout.splitlines()[0]) == {"rejected": {"id": 1, "code": "price_off_tick"}}


@pytest.mark.parametrize(
    ("arguments", "text", "code", "message"),
    [
        (("clear", "/nowhere/at all"), "", "unreadable", "check that the file is there and readable"),
        (("clear", "-"), "{", "not_json", "correct the JSON"),
        (("clear", "-"), "[" * 100_000, "not_json", "nested too deeply"),
        (("clear", "-"), '{"buses": [], "orders": [], "sharing": "1"}', "not_yet", "not yet"),
        (("clear", "-"), "{}", "document_refused", 'give "buses" as a list'),
        (
            ("clear", "-"),
            json.dumps(DOCUMENT).replace("1500", "-3"),
            "order_refused",
            "order 'a': give a quantity from 1",
        ),
        (("match", "-"), STREAM + "{]", "not_json", "line 6: correct the JSON"),
        (("match", "-"), STREAM + '{"op": "sell"}', "document_refused", 'line 6: give "op"'),
        (("match", "-", "--lowest", "6"), STREAM, "instrument_refused", "highest: give at least the lowest price"),
    ],
)
def test_a_failure_is_one_line_and_status_1(arguments: tuple[str, ...], text: str, code: str, message: str) -> None:
    plain = run(*arguments, text=text)
    assert plain.exit_code == 1
    assert plain.stdout == ""
    assert plain.stderr.count("\n") == 1
    assert message in plain.stderr
    for_programs = run("--json", *arguments, text=text)
    assert for_programs.exit_code == 1
    error = json.loads(for_programs.stdout)["error"]
    assert error["code"] == code
    assert message in error["message"]


def test_a_file_that_is_no_text(tmp_path: Path) -> None:
    file = tmp_path / "slot.json"
    file.write_bytes(b"{\xff}")
    result = run("clear", str(file))
    assert result.exit_code == 1
    assert "save it as UTF-8; byte 1 is not" in result.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("clear",),
        ("match", "-", "--tick", "0"),
        ("match", "-", "--tick", "x"),
        ("match", "-", "--capacity", "0"),
        ("match", "-", "--highest", "0.123456"),
    ],
)
def test_wrong_usage_is_status_2(arguments: tuple[str, ...]) -> None:
    result = run(*arguments, text=STREAM)
    assert result.exit_code == 2
    assert "Traceback" not in result.output
