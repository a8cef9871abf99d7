"""Pools: who may store how much, what is minted for what the meter took, burned for what it gave, and cut when it lost.

WATT of a pool is energy that its meter says it can still deliver: its supply never exceeds that. Nobody's WATT may exceed
their TSL of that pool, free, at rest and on the way (bids) taken together.
"""

from __future__ import annotations

from ledger.base.errors import Refused
from ledger.base.intents import BUY, SELL, Commit, Redeem
from ledger.base.units import SHARE_UNIT, Wh
from matcher_c.shares import split, split_capped

from ..events import Burned, Event, Minted, PoolState
from ..state import State
from ..tables import (
    COMMITMENT,
    INSTRUMENT,
    NO_KEY,
    ORDER,
    PARAMS,
    POOL,
    REQUEST,
    Energy,
    PoolRow,
    Table,
    tsl,
    watt,
)
from . import balances


def _pool(state: State, name: str) -> PoolRow:
    row = state.get(POOL, (name,))
    if row is None:
        raise Refused("no_such_pool", f"this street has no pool called {name}")
    return row


def commit(state: State, sender: bytes, intent: Commit) -> None:
    """Set a standing commitment, in Wh of each slot's surplus. Refused: no such pool."""
    _pool(state, intent.pool)
    _set_energy(state, COMMITMENT, intent.pool, sender, intent.up_to_wh)


def redeem(state: State, sender: bytes, intent: Redeem) -> None:
    """Set the total asked for. Refused: no such pool, more than the account holds free."""
    _pool(state, intent.pool)
    held = balances.free(state, sender, watt(intent.pool))
    if intent.energy_wh > held:
        raise Refused("insufficient_watt", f"the account holds {held} Wh free in {intent.pool}")
    _set_energy(state, REQUEST, intent.pool, sender, intent.energy_wh)


def _set_energy(state: State, table: Table[Energy], pool: str, account: bytes, energy_wh: Wh) -> None:
    if energy_wh:
        state.put(table, (pool, account), Energy(energy_wh))
    else:
        state.delete(table, (pool, account))


def bids_wh(state: State, account: bytes, pool: str) -> Wh:
    """What an account's resting bids for a pool's WATT could still bring it."""
    asset = watt(pool)
    names = {key[0] for key, row in state.scan(INSTRUMENT) if row.asset == asset}
    return sum(
        order.quantity_wh
        for key, order in state.scan(ORDER)
        if key[0] in names and order.account == account and order.side == BUY
    )


def room_wh(state: State, account: bytes, pool: str) -> Wh:
    """How much more WATT of a pool an account may come to hold: free TSL."""
    if not state.need(PARAMS, NO_KEY).tsl_required:
        return state.need(POOL, (pool,)).capacity_wh
    held = balances.balance(state, account, watt(pool))
    rights = balances.balance(state, account, tsl(pool))
    return max(0, rights.free + rights.escrowed - held.free - held.escrowed - bids_wh(state, account, pool))


def refuse_transfer(state: State, sender: bytes, payee: bytes, asset: str, amount: int) -> None:
    """Raises `Refused` where WATT would exceed the payee's TSL, or TSL that covers something would leave."""
    kind, _, pool = asset.partition(":")
    if not state.need(PARAMS, NO_KEY).tsl_required:
        return
    if kind == "WATT" and room_wh(state, payee, pool) < amount:
        raise Refused("no_room", f"the payee has TSL for {room_wh(state, payee, pool)} Wh more in {pool}")
    if kind == "TSL" and room_wh(state, sender, pool) < amount:
        raise Refused("tsl_in_use", f"only {room_wh(state, sender, pool)} of that TSL cover neither WATT nor bids")


def mint_for(
    state: State, name: str, accounts: list[bytes], charged: list[Wh], rank: list[int]
) -> tuple[list[Wh], list[Event]]:
    """Mint WATT for allocated charge x efficiency, with carry; capped by each one's room. (minted, events)."""
    pool = state.need(POOL, (name,))
    total, carry = divmod(sum(charged) * pool.efficiency + pool.carry, SHARE_UNIT)
    parts = split(total, charged, rank) if sum(charged) else [0] * len(charged)
    if not sum(charged):
        carry = pool.carry
    events: list[Event] = []
    for place, account in enumerate(accounts):
        parts[place] = min(parts[place], room_wh(state, account, name))
        if charged[place]:
            balances.mint(state, account, watt(name), parts[place])
            events.append(Minted(name, account, charged[place], parts[place]))
    state.put(POOL, (name,), pool._replace(carry=carry, minted_wh=pool.minted_wh + sum(parts)))
    return parts, events


def burn_redeemed(state: State, name: str, accounts: list[bytes], energy: list[Wh]) -> list[Event]:
    """Burn the redeemers' WATT for what the pool gave them, and count their requests down."""
    events: list[Event] = []
    for account, energy_wh in zip(accounts, energy, strict=True):
        if energy_wh == 0:
            continue
        balances.burn(state, account, watt(name), energy_wh)
        asked = state.get(REQUEST, (name, account))
        left = max(0, (asked.energy_wh if asked else 0) - energy_wh)
        _set_energy(state, REQUEST, name, account, left)
        events.append(Burned(name, account, energy_wh, "redeemed"))
    _count_burned(state, name, sum(energy))
    return events


def cut(state: State, name: str, energy_wh: Wh, reason: str) -> tuple[list[tuple[bytes, Wh]], list[Event]]:
    """Burn so much WATT pro rata over all of it, free and in resting asks alike. ((account, Wh) cut, events)."""
    asset = watt(name)
    claims: list[tuple[bytes, Wh, tuple[int | bytes | str, ...] | None]] = [
        (account, held.free, None) for account, held in balances.holders(state, asset) if held.free
    ]
    names = {key[0] for key, row in state.scan(INSTRUMENT) if row.asset == asset}
    for key, order in state.scan(ORDER):
        if key[0] in names and order.side == SELL:
            claims.append((order.account, order.quantity_wh, key))
    parts = split_capped(energy_wh, [claim[1] for claim in claims])
    cuts: dict[bytes, Wh] = {}
    for (account, held_wh, order_key), part in zip(claims, parts, strict=True):
        if part == 0:
            continue
        cuts[account] = cuts.get(account, 0) + part
        if order_key is None:
            balances.burn(state, account, asset, part)
        else:
            balances.burn_escrowed(state, account, asset, part)
            order = state.need(ORDER, order_key)
            if part == held_wh:
                state.delete(ORDER, order_key)
            else:
                left = order.quantity_wh - part
                state.put(ORDER, order_key, order._replace(quantity_wh=left, escrow=left))
    _count_burned(state, name, sum(parts))
    ordered = sorted(cuts.items())
    return ordered, [Burned(name, account, part, reason) for account, part in ordered]


def _count_burned(state: State, name: str, energy_wh: Wh) -> None:
    if energy_wh:
        pool = state.need(POOL, (name,))
        state.put(POOL, (name,), pool._replace(burned_wh=pool.burned_wh + energy_wh))


def measured(state: State, name: str, slot: int, stored_wh: Wh) -> list[Event]:
    """Take the meter's word for what is stored. Losses hit the owner's energy first, then all WATT pro rata."""
    pool = state.need(POOL, (name,))
    state.put(POOL, (name,), pool._replace(stored_wh=stored_wh))
    events: list[Event] = []
    excess_wh = balances.supply(state, watt(name)) - stored_wh
    if excess_wh > 0:
        events += cut(state, name, excess_wh, "loss")[1]
    supply_wh = balances.supply(state, watt(name))
    assert supply_wh <= stored_wh, "WATT never exceeds what the pool's meter says is stored"
    events.append(PoolState(name, slot, stored_wh, supply_wh))
    return events
