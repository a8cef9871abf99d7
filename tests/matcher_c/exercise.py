"""Everything that the matchers' C can do, against the reference: what the sanitizers watch and the branches are counted on.

It runs as a program of its own, on whatever build of the C stands beside it, and prints one line when both agree. Built with
ENERGO_TIGHT the C has small thresholds, so that small networks go through what otherwise only large ones reach.
"""

import random
import sys
from dataclasses import replace

import matcher_c
from matcher_c import Kind, reference
from matcher_c._matcher import ffi, lib
from tests.matcher_c import test_clearing_twins, test_exchange_twins
from tests.matcher_c.instances import Instance, random_instance

AGREED = "twins agree"

GOOD = Instance(
    parent=[-1, 0, 1],
    fee=[0, 1, 2],
    up=[-1, 5, -1],
    down=[-1, -1, 0],
    bus=[2, 0, 0, 1],
    side=[1, 0, 1, 0],
    limit=[3, 8, 30, 12],
    quantity=[9, -1, -1, 4],
)
WRONG = (-(2**63), -(2**31), -2, -1, 0, 1, 2, 3, 4, 7, 2**31, 2**32, 2**63 - 1)


def result_of(instance: Instance, clear_arrays: object) -> object:
    try:
        return instance.clear(clear_arrays)  # type: ignore[arg-type]
    except matcher_c.MatcherRefused as refused:
        return f"{type(refused).__name__}: {refused}"


def clear_networks() -> None:
    rng = random.Random(3)
    for _ in range(2500):
        test_clearing_twins.assert_same(random_instance(rng))
    for _ in range(60):
        test_clearing_twins.assert_same(random_instance(rng, buses=60, orders=120))
    test_clearing_twins.test_larger_seeded_instances()
    test_clearing_twins.test_paths_that_keep_their_curves()
    test_clearing_twins.test_a_deep_path_does_not_recurse()
    test_clearing_twins.test_quantities_whose_sum_is_far_above_one_order()


def refuse_numbers() -> None:
    """One entry after the other is overwritten by numbers that may be wrong: the same result or refusal from both."""
    for column in ("parent", "fee", "up", "down", "bus", "side", "limit", "quantity"):
        for place in range(len(getattr(GOOD, column))):
            for value in WRONG:
                values = list(getattr(GOOD, column))
                values[place] = value
                changed = replace(GOOD, **{column: values})
                results = [result_of(changed, module.clear_arrays) for module in (matcher_c, reference)]
                assert results[0] == results[1]


def refuse_sizes() -> None:
    """What the package checks before it calls, and the C checks again."""
    for buses, orders in ((0, 0), (2**20 + 1, 0), (1, -1), (1, 2**20 + 1)):
        assert lib.energo_clear_words(buses, orders) == 0
        nothing, where = ffi.NULL, ffi.new("int64_t *")
        fault = lib.energo_clear(
            nothing, 0, 1, buses, nothing, nothing, nothing, nothing, nothing, orders, nothing, nothing, nothing,
            nothing, nothing, nothing, nothing, where,
        )  # fmt: skip
        assert matcher_c.errors.Fault(fault).name == ("BAD_ORDER_COUNT" if buses == 1 else "BAD_BUS_COUNT")
    for capacity, ticks in ((0, 1), (2**22 + 1, 1), (1, -1), (1, 2**20 + 1)):
        assert lib.energo_book_words(capacity, ticks) == 0
    arrays = (GOOD.parent, GOOD.fee, GOOD.up, GOOD.down, GOOD.bus, GOOD.side, GOOD.limit, GOOD.quantity)
    for small in (
        matcher_c.Clearer(buses=2, orders=4),
        matcher_c.Clearer(buses=3, orders=3),
        matcher_c.Clearer(buses=3, orders=4, work=2),
    ):
        try:
            small.clear_arrays(*arrays)
            raise SystemExit("a clearing was done in too little")
        except matcher_c.ClearingTooLarge:
            pass


def trade() -> None:
    test_exchange_twins.test_every_kind_on_a_busy_book()
    test_exchange_twins.test_ids_that_collide_without_a_key()
    test_exchange_twins.test_sparse_prices_on_the_widest_band()
    test_exchange_twins.test_a_hundred_thousand_orders_at_one_price()
    for seed in range(60):
        rng = random.Random(seed)
        prices, quantities = [rng.randint(-4, 8), -(2**63), 2**63 - 1], [1, 5, 9, 2**32, 2**63 - 1, -(2**63)]
        rows = [
            (
                rng.randint(0, 12),
                rng.choice(prices),
                rng.choice(quantities),
                rng.randint(0, 3),
                rng.choice([*range(10), 0, 0, 0, 1, 255]),
                rng.randint(0, 2),
                rng.choice([0, 0, 0, 1, 65535]),
            )
            for _ in range(80)
        ]
        test_exchange_twins.run_both(
            rows,
            capacity=1 + seed % 9,
            tick=1,
            highest=(0, 5, 4200)[seed % 3],
            room=1 + seed % 30,
            quiet=bool(seed % 2),
        )
    many_at_once()


def many_at_once() -> None:
    """More results than the first buffer of a one-order call holds, and reads with less room than there is to read."""
    book = matcher_c.OrderBook(capacity=200, tick=1, lowest=0, highest=99)
    for order_id in range(150):
        book.submit(order_id, owner=1, side=order_id % 2, price=10 + 60 * (order_id % 2), quantity=1)
    columns = [ffi.new("int64_t[]", 1) for _ in range(3)]
    assert lib.energo_book_depth(book._book, 0, 1, *columns) == 1
    assert lib.energo_book_dump(book._book, ffi.new("uint8_t[]", 32 * 100), 100) == 100
    assert lib.energo_book_dump(book._book, ffi.new("uint8_t[]", 32 * 10), 10) == 10
    assert len(book.submit(1000, owner=2, side=0, quantity=200, kind=Kind.MARKET)) == 76
    assert book.best() == (10, None)


def main() -> None:
    clear_networks()
    refuse_numbers()
    refuse_sizes()
    trade()
    sys.stdout.write(AGREED + "\n")


if __name__ == "__main__":
    main()
