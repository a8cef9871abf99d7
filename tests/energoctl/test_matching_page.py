"""docs/matching.md: its examples run, its pictures are those that the command draws, its figures those that it prints."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from energoctl.main import energoctl

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGE = (DOCS / "matching.md").read_text(encoding="utf-8")
EXAMPLES = sorted((DOCS / "examples").glob("*.json"))
COLUMNS = {"trades, Wh": "traded", "all in all": "net", "by sharing": "shared"}


def ran(*arguments: str) -> str:
    result = CliRunner().invoke(energoctl, arguments)
    assert result.exit_code == 0, result.output
    return result.stdout


def table_after(command: str) -> list[dict[str, str]]:
    """The rows of the table that follows a command on the page, by heading."""
    lines = PAGE[PAGE.index(command) :].splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith("|"))
    rows: list[list[str]] = []
    for line in lines[start:]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split("|")])
    heading, _, *body = rows
    return [dict(zip(heading, row, strict=True)) for row in body]


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: str(path.stem))
def test_each_picture_is_the_one_that_the_command_draws(example: Path, tmp_path: Path) -> None:
    assert f"(examples/{example.stem}.svg)" in PAGE
    drawn = tmp_path / "drawn.svg"
    ran("clear", str(example), "--plot", str(drawn))
    assert drawn.read_bytes() == example.with_suffix(".svg").read_bytes(), "draw it again with energoctl clear --plot"


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: str(path.stem))
def test_the_figures_of_each_table_are_those_that_the_command_prints(example: Path) -> None:
    result: dict[str, Any] = json.loads(ran("clear", str(example)))
    orders = {order["id"]: order for order in json.loads(example.read_text(encoding="utf-8"))["orders"]}
    rows = table_after(f"`energoctl clear docs/examples/{example.name} --plot`")
    assert [row[""] for row in rows] == list(result["net"])
    for row in rows:
        order = orders[row[""]]
        for heading, key in COLUMNS.items():
            if heading in row:
                assert row[heading] == str(result[key][row[""]]), f"{row['']}: {heading}"
        if "at the price of 0.08" in row:
            assert row["at the price of 0.08"] == result["payments"][row[""]]
        if "wants" in row:
            assert row["wants"] == f"to {order['side']} {order['quantity_wh']} Wh"
        if "limit" in row:
            assert row["limit"] == order["price"]


def test_the_book_does_what_the_page_says() -> None:
    book = DOCS / "examples" / "book.jsonl"
    lines = [json.loads(line) for line in book.read_text(encoding="utf-8").splitlines()]
    rows = table_after("`energoctl match docs/examples/book.jsonl`")
    assert [str(line.get("id", "")) for line in lines] == [row["order"] for row in rows]
    for line, row in zip(lines, rows, strict=True):
        assert str(line.get("quantity_wh", line.get("height", ""))) in row["says"] + row["what happens"]
        assert line.get("price", "") in row["says"]
    results = [json.loads(line) for line in ran("match", str(book)).splitlines()]
    fills = [result["fill"] for result in results if "fill" in result]
    assert [(fill["maker"], fill["taker"], fill["price"], fill["quantity_wh"]) for fill in fills] == [
        (2, 5, "0.18000", 300),
        (3, 5, "0.18000", 400),
        (5, 8, "0.19000", 300),
        (4, 8, "0.15000", 100),
    ]
    assert [result["rejected"]["code"] for result in results if "rejected" in result] == ["not_fillable", "would_trade"]
    reasons = [(gone["id"], gone["reason"]) for gone in (r.get("canceled") for r in results) if gone]
    assert reasons == [(1, "reduced"), (1, "replaced"), (4, "expired"), (1, "asked")]


def test_every_file_that_the_page_names_is_there() -> None:
    for name in re.findall(r"\]\((examples/[^)]+)\)", PAGE):
        assert (DOCS / name).exists(), name
