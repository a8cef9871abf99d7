"""The model of the protocol, explored whole; and that each of its rules is one that safety rests on."""

from __future__ import annotations

import pytest

from energo_simulator.model import Block, Explored, Held, Model, Rules

# By the liar's seat, which leads the view of that number: states, and steps between them.
THREE_VIEWS = {0: (111_871, 246_866), 1: (208_044, 459_799), 2: (256_174, 573_853), 3: (286_712, 713_262)}

DROPPED = {
    "quorum 2 of 4": (Rules(quorum=2), "both finalized and nullified"),
    "FINALIZE after NULLIFY": (Rules(finalizes_unnullified=False), "both finalized and nullified"),
    "NULLIFY after FINALIZE": (Rules(nullifies_unfinalized=False), "both finalized and nullified"),
    "NOTARIZE twice": (Rules(notarizes_once=False), "two notarized blocks"),
    "any proposal as a parent": (Rules(proves_parent=False), "both final, and neither"),
    "a gap that is not proven": (Rules(proves_gap=False), "both final, and neither"),
}


@pytest.mark.parametrize("liar", THREE_VIEWS)
def test_no_order_of_events_in_three_views_breaks_a_promise(liar: int) -> None:
    states, steps = THREE_VIEWS[liar]
    assert Model(liar).explore() == Explored(states, steps, "")


@pytest.mark.parametrize("dropped", DROPPED)
def test_each_rule_is_one_that_safety_rests_on(dropped: str) -> None:
    rules, words = DROPPED[dropped]
    breaches = [found.breach for liar in range(3) if (found := Model(liar, rules, views=2).explore()).breach]
    assert any(words in breach for breach in breaches)


def test_blocks_become_final_one_on_another_and_beside_a_gap() -> None:
    """A model in which nothing happens keeps every promise."""
    final: set[Block] = set()

    class Watched(Model):
        def breach(self, held: list[Held]) -> str:
            final.update(block for here in held for block in here.finalized)
            return super().breach(held)

    Watched(1, views=2).explore()
    assert {(1, 0, ()), (2, 0, ()), (2, 0, (1, 0, ())), (2, 0, (1, 1, ()))} <= final
