"""Random streets, block by block: with the C matchers and with the reference the ledger is the same, it replays, and conserves."""

from __future__ import annotations

import random

import pytest

from ledger.base.intents import CancelOrder, Commit, Intent, PlaceOrder, Redeem, SetLimits, Transfer
from ledger.state.events import PoolState, SlotClosed
from ledger.state.origin import genesis_block
from ledger.state.rules import balances
from ledger.state.transition import Context, Matchers, apply_block
from matcher_c import reference
from tests.ledger.streets import MATCHERS, ORIGIN_MS, Ledger, street

REFERENCE = Matchers(reference.clear_arrays, reference.OrderBook)
HOMES = [f"home{i}" for i in range(1, 5)]


def wish(rng: random.Random, ledger: Ledger) -> Intent:
    accounts = ledger.context.genesis.accounts
    pick = rng.randrange(7)
    if pick == 0:
        return Transfer(
            accounts[rng.choice(HOMES)],
            rng.choice(["CASH", "WATT:pool", "TSL:pool", "GEN:school"]),
            rng.randrange(1, 10**9),
        )
    if pick in (1, 2, 3):
        return PlaceOrder(
            "WATT:pool", rng.randrange(2), rng.randrange(10_000, 30_000), rng.randrange(1, 800), rng.randrange(2)
        )
    if pick == 4:
        return Commit("pool", rng.randrange(900)) if rng.random() < 0.5 else Redeem("pool", rng.randrange(400))
    if pick == 5:
        return SetLimits(
            rng.choice([None, rng.randrange(-5_000, 40_000)]), rng.choice([None, rng.randrange(0, 40_000)])
        )
    return CancelOrder(rng.randrange(1, 30))


def at(ledger: Ledger, time_ms: int) -> None:
    """The next block, never earlier than the last."""
    ledger.step(max(time_ms, ledger.tip.header.time_ms + 1))


def live(seed: int) -> Ledger:
    """A dozen slots of a random street: outages, late and spanning readings, losses of the pool, poor homes, islands."""
    rng = random.Random(seed)
    genesis = street(
        4,
        slot_count=12,
        cash=rng.choice([10**8, 10**10]),
        fee=rng.choice([0, 500]),
        sharing=rng.choice([0, 3_333, 10_000, 10_000]),
        island=(40_000, -2_000) if seed % 4 == 3 else None,
    )
    ledger = Ledger(genesis)
    registers: dict[str, list[int]] = {}
    stored, silent_until = 0, dict.fromkeys([*HOMES, "school", "pool"], -1)
    ledger.step(ORIGIN_MS + 1)
    for slot in range(12):
        for _ in range(rng.randrange(4)):
            ledger.ask(rng.choice(HOMES), wish(rng, ledger))
        at(ledger, ledger.end_of(slot) - 700)
        for device in [*HOMES, "school", "pool"]:
            total = registers.setdefault(device, [0, 0])
            if device == "pool":
                charge, give = rng.randrange(900), min(stored, rng.randrange(500))
                stored = max(0, stored + charge * 9 // 10 - give - rng.choice([0, 0, 0, 40]))
                total[0] += charge
                total[1] += give
            else:
                total[0] += 0 if device == "school" else rng.randrange(900)
                total[1] += rng.randrange(900)
            if rng.random() < 0.1:
                silent_until[device] = slot + rng.randrange(3)
            if slot > silent_until[device]:
                ledger.read(device, slot, *total, stored_wh=stored if device == "pool" else None)
        at(ledger, ledger.end_of(slot) + rng.randrange(1, 600))
        if rng.random() < 0.3:
            at(ledger, ledger.tip.header.time_ms + rng.randrange(1, 2_500))
    at(ledger, ledger.end_of(12) + 10_000)
    return ledger


@pytest.mark.parametrize("seed", range(40))
def test_a_random_ledger_replays_with_both_matchers_to_the_same_roots(seed: int) -> None:
    ledger = live(seed)
    for matchers in (MATCHERS, REFERENCE):
        context = Context(ledger.context.genesis, matchers)
        tip = genesis_block(ledger.context.genesis)
        for executed in ledger.blocks[1:]:
            assert executed.block is not None
            tip = apply_block(context, tip, executed.block)
            assert tip.events == executed.events
        assert tip.state.root() == ledger.tip.state.root()
    closed = [event for executed in ledger.blocks for event in executed.events if isinstance(event, SlotClosed)]
    assert [event.slot for event in closed] == list(range(12))
    for event in closed:
        assert sum(row.shared for row in event.devices) == 0
        assert event.islanded == all(quantity >= 0 for *_, quantity in event.orders)
        for row in event.devices:
            bought = row.own_wh + row.bought_local_wh + row.bought_grid_wh
            sold = row.own_wh + row.sold_local_wh + row.sold_grid_wh
            assert (row.import_wh, row.export_wh) == (bought + row.redeemed_wh, sold + row.deposited_wh)
    states = [event for executed in ledger.blocks for event in executed.events if isinstance(event, PoolState)]
    assert all(event.supply_wh <= event.stored_wh for event in states)
    assert balances.conservation_breach(ledger.tip.state) is None
