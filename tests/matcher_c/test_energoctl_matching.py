"""`energoctl clear` and `energoctl match` as a person and a program meet them."""

import json
from pathlib import Path
from xml.etree import ElementTree

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


SETTLED = {
    "buses": [{"id": "the <root> & all"}],
    "orders": [
        {"id": "roof", "bus": "the <root> & all", "side": "sell", "price": "0.08", "quantity_wh": 5000},
        {"id": "flat", "bus": "the <root> & all", "side": "buy", "price": "0.30", "quantity_wh": 1000},
        {"id": "shy", "bus": "the <root> & all", "side": "buy", "price": "0.12", "quantity_wh": 1000},
        {"id": "pays", "bus": "the <root> & all", "side": "buy", "price": "0.08", "quantity_wh": None},
        {"id": "asks", "bus": "the <root> & all", "side": "sell", "price": "0.30", "quantity_wh": None},
    ],
    "sharing": "1.0",
}


def test_clear_draws_an_svg_and_says_the_same(tmp_path: Path) -> None:
    picture = tmp_path / "slot.svg"
    plain = run("clear", "-", text=json.dumps(SETTLED))
    drawn = run("clear", "-", "--plot", str(picture), text=json.dumps(SETTLED))
    assert (plain.exit_code, drawn.exit_code, drawn.stderr) == (0, 0, "")
    assert drawn.stdout == plain.stdout
    root = ElementTree.fromstring(picture.read_text())
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    words = [element.text for element in root.iter() if element.text and element.text.strip()]
    assert "Supply and demand at the <root> & all" in words
    assert "5 kWh trade at 0.08 per kWh" in words
    assert "sharing the gain moves 0.11 from the buyers to the sellers" in words
    assert "1 order would have passed its own limit by sharing, and did not trade" in words


@pytest.mark.parametrize("arguments", [("--plot",), ("--plot", "-")])
def test_clear_draws_in_characters_beside_the_json(arguments: tuple[str, ...]) -> None:
    result = run("clear", "-", *arguments, text=json.dumps(SETTLED))
    assert json.loads(result.stdout)["dropped"] == ["shy"]
    lines = result.stderr.splitlines()
    assert lines[0] == "Supply and demand at the <root> & all: 5 kWh trade at 0.08 per kWh"
    assert result.stderr.isascii()
    assert max(len(line) for line in lines) <= 80
    assert sum(line.count("@") for line in lines[:-1]) == 1


@pytest.mark.parametrize(
    "orders",
    [
        [],
        [{"id": "a", "bus": "r", "side": "sell", "price": "0.08", "quantity_wh": 1}],
        [{"id": "a", "bus": "r", "side": "buy", "price": "-0.00001", "quantity_wh": 1}],
        [{"id": "a", "bus": "r", "side": "buy", "price": "21474.83647", "quantity_wh": 2**32 - 1}],
        [
            {"id": "a", "bus": "r", "side": "buy", "price": "21474.83647", "quantity_wh": 7},
            {"id": "b", "bus": "r", "side": "sell", "price": "-21474.83647", "quantity_wh": 7},
            {"id": "g", "bus": "r", "side": "sell", "price": "0.3", "quantity_wh": None},
        ],
    ],
)
def test_any_clearing_can_be_drawn(orders: list[dict[str, object]], tmp_path: Path) -> None:
    text = json.dumps({"buses": [{"id": "r"}], "orders": orders})
    for where in ("-", str(tmp_path / "a.svg")):
        result = run("clear", "-", "--plot", where, text=text)
        assert result.exit_code == 0, result.output
    ElementTree.fromstring((tmp_path / "a.svg").read_text())


def test_match_a_file(tmp_path: Path) -> None:
    file = tmp_path / "stream.jsonl"
    file.write_text(STREAM)
    result = run("match", str(file))
    assert result.exit_code == 0
    assert [json.loads(line) for line in result.stdout.splitlines()] == [
        {"rest": {"id": 1, "quantity_wh": 25000}},
        {"fill": {"maker": 1, "taker": 2, "price": "0.16000", "quantity_wh": 5000}},
        {"canceled": {"id": 1, "quantity_wh": 20000, "reason": "asked"}},
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
        (
            ("clear", "-"),
            json.dumps(DOCUMENT | {"sharing": "1"}),
            "document_refused",
            "order 'a': give \"outside\"",
        ),
        (
            ("clear", "-", "--plot", "/nowhere/at all.svg"),
            json.dumps(DOCUMENT),
            "unwritable",
            "check that the folder is there and writable",
        ),
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
