"""The clearing's yardstick: its networks are those that were described, and whoever clears them must agree."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest

import matcher_c
from energo_bench import clearing, networks, solvers
from energo_bench.plot import picture
from tests.energoctl.calls import Caller

KEYS = {
    "orders", "buses", "ms", "sort_ms", "reference_ms", "flow_ms", "lp_ms", "same_as_reference", "same_as_flow", "same_as_lp",
}  # fmt: skip


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Caller:
    return Caller(capsys)


def test_ten_thousand_orders_are_on_5201_buses() -> None:
    street = networks.make_network(10_000, "street", 1)
    assert len(street.parent) == 5_201
    assert len(street.bus) == 10_002  # the grid's two
    assert min(street.bus[:10_000]) == 201
    assert max(street.parent.count(feeder) for feeder in range(1, 201)) == 25
    assert set(street.up[1:201]) == {-1, 8_000, 20_000}
    assert set(street.down[201:]) == {-1, 1_500, 2_500}
    assert 8_000 <= min(street.limit[:10_000]) < 8_100
    assert list(street.limit[10_000:]) == [8_000, 30_000]
    assert list(street.quantity[10_000:]) == [-1, -1]


def depth_of(parent: list[int]) -> int:
    depth = [0] * len(parent)
    for bus in range(1, len(parent)):
        depth[bus] = depth[parent[bus]] + 1
    return max(depth)


@pytest.mark.parametrize(("shape", "depth"), [("one", 0), ("street", 2), ("path", 50), ("star", 1), ("tree", 6)])
def test_shapes(shape: str, depth: int) -> None:
    network = networks.make_network(100, shape, 1)
    assert depth_of(list(network.parent)) == depth
    matcher_c.clear_arrays(*network.columns())  # refuses what is no network
    assert network == networks.make_network(100, shape, 1) != networks.make_network(100, shape, 2)


def test_a_file_holds_networks_one_after_the_other() -> None:
    made = [networks.make_network(count, shape, 4) for count in (2, 9, 60) for shape in networks.SHAPES]
    assert list(networks.read_networks(b"".join(network.to_bytes() for network in made))) == made


@pytest.mark.parametrize("shape", networks.SHAPES)
def test_one_size_on_the_command_line(call: Caller, shape: str) -> None:
    found = call("bench", "clearing", "--orders", "40", "--shape", shape, "--seed", "2", "--json").json
    assert set(found) >= KEYS
    assert found["orders"] == 40
    assert found["notes"] == {}
    assert all(found[f"same_as_{name}"] is True for name in solvers.NEEDS), found
    assert all(found[key] > 0 for key in KEYS if key.endswith("ms"))


def test_a_wrong_clearing_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    right = matcher_c.clear_arrays

    def wrong(*columns: object) -> object:
        traded, prices, flow = right(*columns)
        traded[next(place for place, energy in enumerate(traded) if energy)] -= 1
        return traded, prices, flow

    monkeypatch.setattr(matcher_c, "clear_arrays", wrong)
    monkeypatch.setattr(clearing, "SHARE_S", 0.0)
    found = clearing.measure(40, "street", 2)
    assert [found[f"same_as_{name}"] for name in solvers.NEEDS] == [False, False, False]


def test_what_takes_too_long_or_is_not_there_is_null(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clearing, "SHARE_S", 0.0)
    found = clearing.measure(40, "street", 2, limit_s=0.01)
    assert found["flow_ms"] is found["same_as_flow"] is None
    assert found["notes"]["flow"] == "over 0.01 s"
    monkeypatch.setattr(solvers, "find_spec", lambda name: None)
    found = clearing.measure(40, "street", 2)
    assert found["lp_ms"] is None
    assert found["notes"]["lp"] == "highspy is not installed; `make bench` installs it"


def test_the_table_and_its_picture(call: Caller, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clearing, "SHARE_S", 0.0)
    monkeypatch.setattr(clearing, "SIZES", (10, 40))
    monkeypatch.setattr(clearing, "TABLE_LIMIT_S", 60.0)
    shown = call("bench", "clearing", "--plot", str(tmp_path / "plot.svg"))
    assert shown.status == 0
    assert shown.out.count("yes, 3 of 3") == 10
    assert "A path against a balanced tree" in shown.out
    drawn = ElementTree.fromstring((tmp_path / "plot.svg").read_text())
    text = [element.text for element in drawn.iter("{http://www.w3.org/2000/svg}text")]
    assert {"one bus", "path", "balanced tree", "a sort of the orders", "HiGHS, street"} <= set(text)


def test_labels_do_not_lie_over_one_another() -> None:
    rows = [
        {"shape": shape, "orders": orders, "ms": 1.0, "sort_ms": 1.0, "flow_ms": None, "lp_ms": None}
        for shape in networks.SHAPES
        for orders in (10, 100)
    ]
    drawn = ElementTree.fromstring(picture(rows))
    right = [
        float(element.get("y", 0))
        for element in drawn.iter("{http://www.w3.org/2000/svg}text")
        if element.get("fill") is not None
    ]
    assert len(right) == 6
    assert all(abs(a - b) >= 16 for i, a in enumerate(right) for b in right[:i])
