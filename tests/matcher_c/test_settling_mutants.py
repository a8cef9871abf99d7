"""Every property of settling notices when it is broken: each is run on a copy of settling.py with one thing changed."""

import inspect
import random
import sys
from collections.abc import Callable
from types import ModuleType

import pytest

from matcher_c import settling
from tests.matcher_c import test_settling as held

EXAMPLES, EXAMPLE_BYTES = 300, 400
SOURCE = inspect.getsource(settling)


def mutant(old: str, new: str) -> ModuleType:
    """matcher_c.settling with `new` in place of the one `old` that it has."""
    assert SOURCE.count(old) == 1, f"settling.py has {old!r} {SOURCE.count(old)} times"
    module = ModuleType("matcher_c.settling_mutant")
    module.__package__ = "matcher_c"
    module.__file__ = settling.__file__
    with pytest.MonkeyPatch.context() as patch:  # dataclass looks its module up
        patch.setitem(sys.modules, module.__name__, module)
        exec(compile(SOURCE.replace(old, new), "settling_mutant.py", "exec"), module.__dict__)
    return module


MUTANTS = [
    ("* energy * offer.outside\n", "* energy * offer.effective_limit\n", held.test_sharing_goes_one_way_pro_rata),
    ("* energy * offer.outside\n", "* energy * offer.effective_limit\n", held.test_on_one_bus_shading_a_default_limit_never_pays),
    ("// (2 * SHARING_WHOLE)", "// SHARING_WHOLE", held.test_gains_come_nearer_by_what_sharing_says),
    ("// (2 * SHARING_WHOLE)", "// (3 * SHARING_WHOLE)", held.test_gains_come_nearer_by_what_sharing_says),
    ("if difference > 0 else", "if difference < 0 else", held.test_gains_come_nearer_by_what_sharing_says),
    ("if not too_far:", "if True:", held.test_money_balances_and_nobody_passes_a_limit_or_loses),
    ("min(self.limit, self.outside)", "self.limit", held.test_money_balances_and_nobody_passes_a_limit_or_loses),
    ("max(self.limit, self.outside)", "self.limit", held.test_money_balances_and_nobody_passes_a_limit_or_loses),
    ("rest * offer.outside\n", "rest * offer.limit\n", held.test_money_balances_and_nobody_passes_a_limit_or_loses),
    ("(givers, gains, -1)", "(givers, traded, -1)", held.test_sharing_goes_one_way_pro_rata),
    ("(takers, traded, 1)", "(takers, gains, 1)", held.test_sharing_goes_one_way_pro_rata),
    ("== side and not offer.is_grid", "== side", held.test_sharing_goes_one_way_pro_rata),
    (", [places[i] for i in side]", "", held.test_ties_of_sharing_go_by_the_rank_of_the_bus_and_then_by_order),
    ("not any(traded[i] for i in takers)", "False", held.test_where_no_neighbor_sold_there_is_nobody_to_share_with),
    ("offer.side != side", "offer.side == side", held.test_grid_energy_is_everybodys_pro_rata),
    ("(bids[b][0] + asks[a][0]) >> 1", "bids[b][0]", held.test_pairs_trade_at_the_mean_of_their_limits),
    (">> 1\n", "// 2 + 1\n", held.test_the_rules_for_one_bus_settle_the_same_allocation),
    ("-rung[0] if side == BUY else rung[0]", "rung[0]", held.test_pairs_trade_at_the_mean_of_their_limits),
    ("rung[1]))", "not rung[1]))", held.test_homes_are_paired_before_the_grid_at_one_limit),
    ("and len(network) > 1", "and len(network) > 2", held.test_rules_for_one_bus_are_refused_on_a_network),
    ("        if pricing == Pricing.UNIFORM:\n", "        if True:\n", held.test_the_rules_for_one_bus_settle_the_same_allocation),
    ("array(\"q\", ranks),", "array(\"q\", ranks[::-1]),", held.test_without_sharing_it_is_the_plain_clearing),
    ("rest = offer.quantity - traded[i]", "rest = offer.quantity", held.test_money_balances_and_nobody_passes_a_limit_or_loses),
]  # fmt: skip


def run(prop: Callable[[], None]) -> None:
    """A property on a fixed set of random slots, ended by the first that breaks it; any other test as it is."""
    handle = getattr(prop, "hypothesis", None)
    if handle is None:
        prop()
        return
    rng = random.Random(20_210_324)
    for _ in range(EXAMPLES):
        handle.fuzz_one_input(rng.randbytes(EXAMPLE_BYTES))


@pytest.mark.parametrize(
    ("old", "new", "prop"), MUTANTS, ids=[f"{old.strip()} -> {new.strip()}" for old, new, _ in MUTANTS]
)
def test_a_broken_property_is_noticed(
    old: str, new: str, prop: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = mutant(old, new)
    for name in ("settle", "Offer"):
        monkeypatch.setattr(held, name, getattr(broken, name))
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        run(prop)


def test_the_properties_hold_on_an_unchanged_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    copy = mutant("sharing is a fraction", "sharing is a fraction")
    for name in ("settle", "Offer"):
        monkeypatch.setattr(held, name, getattr(copy, name))
    for prop in {prop.__name__: prop for _, _, prop in MUTANTS}.values():
        run(prop)
