"""Layers and the root: an overlay answers as a plain dictionary would, and the root depends on content alone."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ledger.state.state import State, load
from ledger.state.tables import BALANCE, DUE, Balance, Due

keys = st.tuples(st.binary(min_size=1, max_size=2), st.sampled_from(["CASH", "WATT:p"]))
changes = st.lists(st.tuples(keys, st.none() | st.integers(0, 5)), max_size=20)


def write(state: State, model: dict[tuple[bytes, str], int], steps: list[tuple[tuple[bytes, str], int | None]]) -> None:
    for key, value in steps:
        if value is None:
            state.delete(BALANCE, key)
            model.pop(key, None)
        else:
            state.put(BALANCE, key, Balance(value, 0))
            model[key] = value


@given(changes, changes, changes)
def test_layers_answer_as_a_dictionary_would_and_settle_to_the_same_root(a: list, b: list, c: list) -> None:  # type: ignore[type-arg]
    bottom, model = State(), dict[tuple[bytes, str], int]()
    write(bottom, model, a)
    bottom.root()
    middle = bottom.fork()
    write(middle, model, b)
    attempt = middle.fork()
    write(attempt, model, c)
    middle.absorb(attempt)
    assert [(key, row.free) for key, row in middle.scan(BALANCE)] == sorted(model.items())
    root = middle.root()

    plain = State()
    write(plain, {}, [(key, value) for key, value in sorted(model.items())])
    assert plain.root() == root

    stored = dict(bottom.rows())
    for key, row in bottom.settle(middle):
        if row is None:
            stored.pop(key, None)
        else:
            stored[key] = row
    assert bottom.root() == root
    assert sorted(stored.items()) == bottom.rows()
    assert load(sorted(stored.items())).root() == root


def test_a_dropped_attempt_leaves_nothing() -> None:
    state = State()
    state.put(DUE, (1,), Due(b"a", b"b", 5, 0))
    root = state.root()
    attempt = state.fork()
    attempt.delete(DUE, (1,))
    assert attempt.get(DUE, (1,)) is None
    assert state.get(DUE, (1,)) == Due(b"a", b"b", 5, 0)
    assert state.root() == root


def test_the_root_tells_tables_and_values_apart() -> None:
    roots = set()
    for free, asset in ((1, "CASH"), (2, "CASH"), (1, "WATT:p")):
        state = State()
        state.put(BALANCE, (b"a", asset), Balance(free, 0))
        roots.add(state.root())
    assert len(roots) == 3
