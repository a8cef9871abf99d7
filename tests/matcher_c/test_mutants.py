"""Each property of a clearing and of the exchange, broken on purpose in a copy of the reference: the property notices."""

import random
from types import ModuleType

import pytest

from matcher_c import reference
from tests.matcher_c import exchange_properties, properties
from tests.matcher_c.instances import ClearArrays, Instance, random_instance
from tests.matcher_c.mutants import mutated
from tests.matcher_c.test_clearing_properties import Property
from tests.matcher_c.test_clearing_solver import Program, test_every_level_of_the_optimum

INSTANCES = 400
STREAMS = 60


def optimal(instance: Instance, clear_arrays: ClearArrays, rng: random.Random) -> None:
    """1"""
    program = Program(instance)
    assert instance.objective(instance.clear(clear_arrays)) == program.best(program.money())


BROKEN_CLEARINGS: list[tuple[Property, str, str]] = [
    (optimal, "if best is None or best[0][:2] <= (0, 0):", "if best is None or best[0][:2] <= (2, 2):"),
    (properties.nobody_passes_its_limit, "price = min([price, *highs])", "price = min([price])"),
    (
        properties.better_limits_trade_in_full_and_worse_ones_not_at_all,
        "if b == 0:\n            if lows and highs:\n                price = max(lows)",
        "if b == 0:\n            if lows and highs:\n                price = 1 + max(lows)",
    ),
    (properties.a_group_shares_pro_rata_by_largest_remainder, "(-(group.traded * ", "((group.traded * "),
    (properties.at_one_bus_the_earlier_rank_comes_first, "homes, -rank, -buyer.rank)", "homes, -rank, buyer.rank)"),
    (properties.prices_of_neighbors, "price += network.fee[b]", "price -= network.fee[b]"),
    (
        properties.flows_balance_and_keep_within_capacity,
        "return None if capacity is None else capacity - self.flow[bus]",
        "return None if capacity is None else capacity + 1 - self.flow[bus]",
    ),
    (properties.money_in_is_money_out, "for b, value in enumerate(network.flow):\n        flow[b] = value",
     "for b, value in enumerate(network.flow):\n        flow[b] = abs(value)"),
    (properties.the_order_in_memory_decides_nothing, "limit[i], place[bus[i]])", "limit[i], i)"),
    (properties.the_numbering_of_buses_decides_nothing, "(ranks[0][b] if ranks else b, b)", "(b, b)"),
    (properties.scaling_prices, "best[0][:2] <= (0, 0)", "best[0][:2] <= (3, 0)"),
    (properties.scaling_quantities, "quantity = min(room for room in rooms if room is not None)",
     "quantity = min(room for room in rooms if room is not None)\n    quantity += quantity == 1"),
    (properties.a_better_limit_never_lowers_ones_quantity, "offer.worth < known.worth", "offer.worth > known.worth"),
    (
        properties.a_bus_without_orders_on_a_free_edge_changes_nothing,
        "return -self.fee[bus] if self.flow[bus] < 0 else self.fee[bus]",
        "return -self.fee[bus] if self.flow[bus] < 0 else self.fee[bus] + 1",
    ),
    (properties.the_grid_never_trades_with_itself, "return [(group.orders[0], group.traded)]",
     "return [(group.orders[0], group.traded + 1)]"),
]  # fmt: skip


def holds_on_all(holds: Property, clear_arrays: ClearArrays) -> bool:
    rng = random.Random(2024)
    for _ in range(INSTANCES):
        try:
            holds(random_instance(rng), clear_arrays, rng)
        except AssertionError:
            return False
    return True


@pytest.mark.parametrize(("holds", "old", "new"), BROKEN_CLEARINGS, ids=lambda value: getattr(value, "__name__", ""))
def test_a_broken_clearing_is_noticed(holds: Property, old: str, new: str) -> None:
    assert holds_on_all(holds, reference.clear_arrays)
    assert not holds_on_all(holds, mutated("reference", old, new).clear_arrays)


def test_a_wrong_rank_is_noticed_by_the_solver(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = mutated("reference", "seller.quantity is None, seller.rank)", "seller.quantity is None, -seller.rank)")
    monkeypatch.setattr(reference, "clear_arrays", broken.clear_arrays)
    with pytest.raises(AssertionError):
        test_every_level_of_the_optimum(0)


BROKEN_EXCHANGES: list[tuple[str, str, str]] = [
    ("a book is never crossed", "(other.ticks <= ticks if", "(other.ticks < ticks if"),
    ("best price first", "sorted(self._sides[side], reverse=side == BUY)\n        return [order for",
     "sorted(self._sides[side])\n        return [order for"),
    ("oldest first", "setdefault(order.ticks, []).append(order)", "setdefault(order.ticks, []).insert(0, order)"),
    ("the resting order's price", "order_id, filled, maker.ticks)", "order_id, filled, command.ticks)"),
    ("no trade with oneself", "if left and owner != NO_OWNER and maker.owner == owner:",
     "if left and owner != NO_OWNER and maker.owner == owner + 1:"),
    ("nobody is nobody's own", "if left and owner != NO_OWNER and maker.owner == owner:",
     "if left and maker.owner == owner:"),
    ("fill or kill is all or nothing", "offered < command.quantity:", "offered < command.quantity - 3:"),
    ("post-only never trades", "if kind == Kind.POST_ONLY and others:", "if kind == Kind.POST_ONLY and len(others) > 1:"),
    ("immediate or cancel never rests", "RESTING_KINDS:\n            events.append(_Event(Event.REST",
     "(*RESTING_KINDS, Kind.IOC):\n            events.append(_Event(Event.REST"),
    ("reduce keeps the place", "order.quantity -= event.quantity\n",
     "order.quantity -= event.quantity\n                self._sides[order.side][order.ticks].remove(order)\n"
     "                self._sides[order.side][order.ticks].append(order)\n"),
    ("replace loses the place", "events.append(self._gone(order_id, Reason.REPLACED))\n",
     "events.append(self._gone(order_id, Reason.REPLACED)._replace(quantity=0))\n"),
    ("orders end at their height", "if end <= command.quantity]", "if end < command.quantity]"),
    ("a refusal changes nothing", "Kind.HEIGHT and not (events and events[0].kind == Event.REJECTED):", "Kind.HEIGHT:"),
    ("a full book takes no more", "len(self._by_id) == self.capacity", "len(self._by_id) == self.capacity + 1"),
    ("an id is there once", "if known:\n            return Rejection.DUPLICATE_ID", "if known:\n            pass"),
    ("nothing is lost", "filled = min(left, maker.quantity)\n", "filled = min(left, maker.quantity, 7)\n"),
    ("bytes bring the same book back", "0 if order.end is None else order.end - self._height,", "0,"),
]  # fmt: skip


def streams_hold(module: ModuleType) -> bool:
    for seed in range(STREAMS):
        try:
            exchange_properties.check_stream(random.Random(seed), module.OrderBook)
        except (AssertionError, KeyError, ValueError):
            return False
    return True


def test_the_exchange_as_it_is_holds() -> None:
    assert streams_hold(reference)


@pytest.mark.parametrize(("name", "old", "new"), BROKEN_EXCHANGES, ids=[name for name, _, _ in BROKEN_EXCHANGES])
def test_a_broken_exchange_is_noticed(name: str, old: str, new: str) -> None:
    assert not streams_hold(mutated("reference", old, new)), name
