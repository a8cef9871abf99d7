"""What a clearing refuses: the same error from C and reference, naming the bus or the order, nothing computed."""

from array import array
from collections.abc import Callable
from dataclasses import replace

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st

import matcher_c
from matcher_c import BUY, SELL, Bus, Order, errors, network, reference
from matcher_c._matcher import lib
from tests.matcher_c.instances import Instance, Outcome, fixed, instances

GOOD = Instance(
    parent=[-1, 0, 1],
    fee=[0, 1, 2],
    up=[-1, 5, -1],
    down=[-1, -1, 0],
    bus=[2, 0, 0, 1],
    side=[SELL, BUY, SELL, BUY],
    limit=[3, 8, 30, 12],
    quantity=[9, -1, -1, 4],
)


def outcome_of(instance: Instance, clear_arrays: object) -> Outcome | str:
    try:
        return instance.clear(clear_arrays)  # type: ignore[arg-type]
    except matcher_c.MatcherRefused as refused:
        return f"{type(refused).__name__}: {refused}"


@pytest.mark.parametrize(
    ("column", "place", "value", "expected"),
    [
        ("parent", 0, 0, r"bus 0: put the root first"),
        ("parent", 1, 1, r"bus 1: put its parent before it"),
        ("parent", 1, -1, r"bus 1: put its parent before it"),
        ("parent", 2, 2**62, r"bus 2: put its parent before it"),
        ("fee", 2, -1, r"bus 2: give a fee from 0"),
        ("fee", 1, 2**31, r"bus 1: give a fee from 0"),
        ("up", 1, -2, r"bus 1: give a capacity"),
        ("down", 0, -(2**63), r"bus 0: give a capacity"),
        ("bus", 0, 3, r"order 0: place it at a bus"),
        ("bus", 3, -1, r"order 3: place it at a bus"),
        ("side", 0, 2, r"order 0: use side"),
        ("side", 0, -(2**63), r"order 0: use side"),
        ("limit", 0, 2**31, r"order 0: give a price"),
        ("limit", 3, -(2**31), r"order 3: give a price"),
        ("limit", 3, -(2**63), r"order 3: give a price"),
        ("quantity", 0, 0, r"order 0: give a quantity"),
        ("quantity", 3, -2, r"order 3: give a quantity"),
        ("quantity", 3, 2**32, r"order 3: give a quantity"),
        ("quantity", 0, -1, r"order 0: .* only the public grid, at the root"),
        ("side", 2, BUY, r"order 2: leave it out"),
        ("limit", 2, 7, r"order 2: lower the grid's feed-in price"),
    ],
)
def test_each_rule(column: str, place: int, value: int, expected: str) -> None:
    values = list(getattr(GOOD, column))
    values[place] = value
    bad = replace(GOOD, **{column: values})
    with pytest.raises(matcher_c.MatcherRefused, match=expected):
        bad.clear(matcher_c.clear_arrays)
    assert outcome_of(bad, matcher_c.clear_arrays) == outcome_of(bad, reference.clear_arrays)


@fixed
@given(
    instances(),
    st.sampled_from(["parent", "fee", "up", "down", "bus", "side", "limit", "quantity"]),
    st.integers(0, 20),
    st.integers(-3, 10) | st.integers(-(2**63), 2**63 - 1),
)
def test_any_number_anywhere(instance: Instance, column: str, place: int, value: int) -> None:
    """One entry is overwritten by anything: both give the same outcome or the same refusal."""
    values = list(getattr(instance, column))
    if values:
        values[place % len(values)] = value
    changed = replace(instance, **{column: values})
    assert outcome_of(changed, matcher_c.clear_arrays) == outcome_of(changed, reference.clear_arrays)


@pytest.mark.parametrize("clear_arrays", [matcher_c.clear_arrays, reference.clear_arrays], ids=["c", "reference"])
class TestColumns:
    def test_no_bus_and_too_many(self, clear_arrays: Callable[..., object]) -> None:
        with pytest.raises(matcher_c.NetworkRefused, match="at least one bus"):
            clear_arrays([], [], [], [], [], [], [], [])
        many = array("q", bytes(8 * (matcher_c.BUSES_MAX + 1)))
        with pytest.raises(matcher_c.NetworkRefused, match="at most 1048576"):
            clear_arrays(many, many, many, many, [], [], [], [])
        with pytest.raises(matcher_c.OrderRefused, match="at most 1048576 orders"):
            clear_arrays([-1], [0], [-1], [-1], many, many, many, many)

    def test_lengths_and_types(self, clear_arrays: Callable[..., object]) -> None:
        with pytest.raises(matcher_c.ColumnRefused, match="fee: give it as many entries as parent"):
            clear_arrays([-1], [0, 0], [-1], [-1], [], [], [], [])
        with pytest.raises(matcher_c.ColumnRefused, match="bus_rank: give it as many"):
            clear_arrays([-1], [0], [-1], [-1], [], [], [], [], [])
        with pytest.raises(matcher_c.ColumnRefused, match="price: give whole numbers"):
            clear_arrays([-1], [0], [-1], [-1], [0], [0], [0.5], [1])
        with pytest.raises(matcher_c.ColumnRefused, match="price: give whole numbers"):
            clear_arrays([-1], [0], [-1], [-1], [0], [0], [2**63], [1])
        with pytest.raises(matcher_c.ColumnRefused, match="64-bit integers"):
            clear_arrays([-1], [0], [-1], [-1], array("i", [0]), [0], [1], [1])
        with pytest.raises(matcher_c.ColumnRefused, match="64-bit integers"):
            clear_arrays([-1], [0], [-1], [-1], numpy.zeros(1), [0], [1], [1])
        with pytest.raises(matcher_c.ColumnRefused, match="contiguous"):
            clear_arrays([-1], [0], [-1], [-1], numpy.zeros(4, numpy.int64)[::2], [0, 0], [1, 1], [1, 1])
        with pytest.raises(matcher_c.ColumnRefused, match="sequence of ints"):
            clear_arrays([-1], [0], [-1], [-1], {0}, [0], [1], [1])

    def test_every_form_of_a_column(self, clear_arrays: Callable[..., object]) -> None:
        rows = [[-1, 0], [0, 1], [-1, -1], [-1, 7], [0, 1], [0, 1], [9, 2], [4, 3]]
        forms = (
            clear_arrays(*rows),
            clear_arrays(*(array("q", row) for row in rows)),
            clear_arrays(*(numpy.array(row, dtype=numpy.int64) for row in rows)),
            clear_arrays(*(memoryview(array("q", row)) for row in rows)),
            clear_arrays(*(tuple(row) for row in rows), bus_rank=array("q", [0, 1])),
        )
        assert set(map(repr, forms)) == {repr((array("q", [3, 3]), array("q", [9, 8]), array("q", [0, 3])))}


@pytest.mark.parametrize("clear", [matcher_c.clear, reference.clear], ids=["c", "reference"])
class TestNamed:
    root = Bus("root")
    feeder = Bus("f1", "root", fee=2000, capacity_up=5000)

    def test_the_example_of_the_interfaces(self, clear: Callable[..., matcher_c.Clearing]) -> None:
        clearing = clear(
            [self.root, self.feeder], [Order("a", "f1", SELL, 8000, 1500), Order("g", "root", BUY, 12000, None)]
        )
        assert clearing == matcher_c.Clearing(
            traded={"a": 1500, "g": 1500},
            prices={"root": 12000, "f1": 10000},
            flows={"f1": 1500},
            payments={"a": 15_000_000, "g": -18_000_000},
            operator=3_000_000,
            objective=1500 * (12000 - 8000 - 2000),
        )

    @pytest.mark.parametrize(
        ("buses", "orders", "expected"),
        [
            ([Bus("r"), Bus("r", "r")], [], "bus 'r': give each bus an id of its own"),
            ([Bus("r"), Bus("b", "c"), Bus("c", "r")], [], "bus 'b': put its parent 'c' before it"),
            ([Bus("r"), Bus("b")], [], "bus 'b': put its parent before it"),
            ([Bus("r"), Bus("b", "r", capacity_up=-1)], [], "bus 'b': give a capacity of 0 Wh or more, or none"),
            ([Bus("r"), Bus("b", "r", fee=2**31)], [], "bus 'b': give a fee"),
            ([Bus("r"), Bus("b", "r", fee=2**64)], [], "bus 'b': give numbers that fit 64 bits"),
            ([Bus("r", rank=2**63)], [], "bus 'r': give numbers that fit 64 bits"),
            ([Bus("r")], [Order("a", "x", BUY, 1, 1)], "order 'a': place it at a bus of the network, not at 'x'"),
            ([Bus("r")], [Order("a", "r", BUY, 1, -1)], "order 'a': give a quantity"),
            ([Bus("r")], [Order("a", "r", BUY, 1, 0)], "order 'a': give a quantity"),
            ([Bus("r")], [Order("a", "r", BUY, 2**31, 1)], "order 'a': give a price"),
            ([Bus("r")], [Order("a", "r", BUY, 2**63, 1)], "order 'a': give numbers that fit 64 bits"),
            ([Bus("r")], [Order("a", "r", BUY, 1, 1)] * 2, "order 'a': give each order an id of its own"),
        ],
    )
    def test_refusals_name_it(
        self, clear: Callable[..., object], buses: list[Bus], orders: list[Order], expected: str
    ) -> None:
        with pytest.raises(matcher_c.MatcherRefused, match=expected):
            clear(buses, orders)


def test_a_fault_of_ours_is_an_assertion() -> None:
    with pytest.raises(AssertionError, match="this is a bug"):
        errors.refusal_of(errors.Fault.BROKEN, -1)


def test_python_and_c_agree_on_every_number() -> None:
    for fault in errors.Fault:
        assert getattr(lib, f"ENERGO_{fault.name}") == fault
    for rejection in errors.Rejection:
        assert getattr(lib, f"ENERGO_{rejection.name}") == rejection
    for kind in matcher_c.Kind:
        assert getattr(lib, f"ENERGO_{kind.name}") == kind
    for event in matcher_c.Event:
        assert getattr(lib, f"ENERGO_{event.name}") == event
    for reason in matcher_c.Reason:
        assert getattr(lib, f"ENERGO_{reason.name}") == reason
    assert getattr(lib, "ENERGO_BUSES_MAX") == network.BUSES_MAX  # noqa: B009
    assert getattr(lib, "ENERGO_ORDERS_MAX") == network.ORDERS_MAX  # noqa: B009
    assert getattr(lib, "ENERGO_CAPACITY_MAX") == matcher_c.exchange.CAPACITY_MAX  # noqa: B009
    assert getattr(lib, "ENERGO_TICKS_MAX") == matcher_c.exchange.TICKS_MAX  # noqa: B009
    assert matcher_c.COMMAND.size == getattr(lib, "ENERGO_COMMAND_BYTES")  # noqa: B009
    assert matcher_c.RESULT.size == getattr(lib, "ENERGO_RESULT_BYTES")  # noqa: B009
