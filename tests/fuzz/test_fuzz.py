"""A few thousand cases of `make fuzz` in every run, and the proof that it would see a broken book or clearing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import pytest

import matcher_c
from matcher_c import Event, Kind, Reason, Rejection, reference
from tests.fuzz import clearing, exchange
from tests.fuzz.__main__ import clearing_failure, exchange_failure, run_seeds

SEED = 20_210_324


@pytest.mark.parametrize("part", range(4))
def test_order_streams(part: int) -> None:
    for seed in range(SEED + 50 * part, SEED + 50 * (part + 1)):  # 400 commands each
        assert exchange_failure(seed) is None


@pytest.mark.parametrize("part", range(4))
def test_networks(part: int) -> None:
    for seed in range(SEED + 1500 * part, SEED + 1500 * (part + 1)):
        assert clearing_failure(seed) is None


def test_everything_happens() -> None:
    """Every kind of command is carried out, every reason and every rejection occurs that a packed command can have."""
    seen: Counter[tuple[str, int]] = Counter()
    for seed in range(SEED, SEED + 60):
        case = exchange.make_case(seed)
        book = case.book(reference.OrderBook)
        for row in case.rows:
            results = bytearray(40 * (case.capacity + 2))
            _, written = book.run(matcher_c.pack_commands([row]), results)
            records = list(matcher_c.RESULT.iter_unpack(results))[:written]
            for kind, _, code, *_ in records:
                if kind == Event.CANCELED:
                    seen["reason", code] += 1
                elif kind == Event.REJECTED:
                    seen["rejection", code] += 1
            if records and records[0][0] != Event.REJECTED:
                seen["kind", row[4]] += 1
    expected: list[tuple[str, int]] = [("kind", kind) for kind in Kind]
    expected += [("reason", reason) for reason in Reason]
    expected += [("rejection", code) for code in Rejection if code != Rejection.PRICE_OFF_TICK]
    assert all(seen[name, number] >= 5 for name, number in expected), seen


class Generous(reference.OrderBook):
    """A post-only order that would trade is let in."""

    def _rejection_of(self, command):  # type: ignore[no-untyped-def]
        code = super()._rejection_of(command)
        return 0 if code == Rejection.WOULD_TRADE else code


class Forgetful(reference.OrderBook):
    """What is reduced loses its place."""

    def _apply(self, command, events):  # type: ignore[no-untyped-def]
        super()._apply(command, events)
        order = self._by_id.get(command.order_id)
        if command.kind == Kind.REDUCE and order is not None:
            queue = self._sides[order.side][order.ticks]
            queue.append(queue.pop(queue.index(order)))


@pytest.mark.parametrize(("broken", "longest"), [(Generous, 2), (Forgetful, 3)])
def test_a_broken_book_is_found_and_its_stream_shrunk(broken: type[matcher_c.Book], longest: int) -> None:
    for seed in range(SEED, SEED + 60):
        case = exchange.make_case(seed)
        if exchange.difference(case, twin=broken) is not None:
            least = exchange.shrunk(case, twin=broken)
            assert exchange.difference(least, twin=broken) is not None
            assert len(least.rows) <= longest
            return
    pytest.fail("no stream showed it")


def test_a_broken_clearing_is_found_and_its_orders_shrunk() -> None:
    def stingy(
        parent: object,
        fee: object,
        capacity_up: object,
        capacity_down: object,
        bus: object,
        side: object,
        price: object,
        quantity: object,
        bus_rank: object = None,
    ) -> tuple[Sequence[int], Sequence[int], Sequence[int]]:
        """Ranks are ignored."""
        return reference.clear_arrays(parent, fee, capacity_up, capacity_down, bus, side, price, quantity)

    for seed in range(SEED, SEED + 300):
        case = clearing.make_case(seed)
        if clearing.difference(case, twin=stingy) is not None:
            least = clearing.shrunk(case, twin=stingy)
            assert clearing.difference(least, twin=stingy) is not None
            assert 3 <= len(least.bus) <= 5
            return
    pytest.fail("no network showed it")


def test_a_failure_is_told_with_its_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(seed: int) -> exchange.Case:
        raise RuntimeError("out of order")

    monkeypatch.setattr(exchange, "make_case", crash)
    assert run_seeds("command", 7, 2) == [(7, "RuntimeError: out of order"), (8, "RuntimeError: out of order")]
