"""How a home decides, in rules that a household can read. Pure: from what is known to what is wanted.

After every slot that the ledger has closed:

1. *Surplus.* Up to `commit_wh_per_slot` of each slot's surplus goes to the street's pool, as long as this home has room there
   (its TSL less what it holds). A home that does not sell stores only until it has what it keeps. 0 keeps all of the
   surplus for the live market.
2. *Keep.* `keep_wh` of stored energy is meant for this home. What it holds beyond is offered on the exchange at
   `sell_stored_above`; what it lacks is bid for at `buy_stored_below`, at most `buy_wh_max` at a time, within its room,
   and never with the last `cash_reserve`. Without a price, it does not sell, or does not buy. It either sells or buys: never
   both, so it never trades with itself. An order is replaced when its price changed or its quantity is off by `step_wh` or
   more, and smaller amounts are left alone.
3. *Use.* When the home drew from the street in that slot, it asks the pool for as much as it drew, at most what it holds and has
   not offered. When it fed in, it asks for nothing.

A home that owes money does not bid. A slot in which this home's reading was missing changes neither commitments nor requests.

The home that keeps a pool tells it once a slot what to do in that slot (`setpoint`): charge the sum over the homes of the smaller
of commitment and surplus, discharge the sum of what is asked for, within the pool's power, room and content.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from ledger.base.intents import BUY, SELL, CancelOrder, Commit, Intent, PlaceOrder, Redeem
from ledger.base.limits import QUANTITY_MAX
from ledger.base.units import SHARE_UNIT, SLOT_PROFILE_S, Money, Price, Wh

from .view import Holding, HomeView, OwnOrder, PoolView, StreetView

SURPLUS_AGE_MAX: Final = 4  # slots; an older surplus says nothing about now, and the pool idles
HOUR_S: Final = 3_600


@dataclass(frozen=True)
class Rules:
    """What the household wrote down. Prices in money units per Wh, None: does not sell, or does not buy."""

    sell_stored_above: Price | None
    buy_stored_below: Price | None
    keep_wh: Wh
    commit_wh_per_slot: Wh
    buy_wh_max: Wh
    step_wh: Wh
    cash_reserve: Money


@dataclass(frozen=True)
class Setpoint:
    """What a pool is told for one slot, Wh at its meter."""

    charge_wh: Wh
    discharge_wh: Wh


def decide(rules: Rules, pool: PoolView, home: str, view: HomeView, *, exchange_fee: int) -> list[Intent]:
    """What this home wants changed at one pool, in the order in which it is to happen. `exchange_fee` in ten-thousandths."""
    holding = view.holdings[pool.name]
    wanted: list[Intent] = []
    if view.net_wh is not None:
        commitment = commitment_wh(rules, pool, holding)
        if commitment != pool.commitments.get(home, 0):
            wanted.append(Commit(pool.name, commitment))
    wanted += _orders(rules, pool, holding, view, exchange_fee)
    if view.net_wh is not None:
        request = min(max(view.net_wh, 0), _free_after(holding, wanted))
        if request != pool.requests.get(home, 0):
            wanted.append(Redeem(pool.name, request))
    return wanted


def commitment_wh(rules: Rules, pool: PoolView, holding: Holding) -> Wh:
    """What of a slot's surplus this home gives to the pool: not more than it has room, or use, for once it is stored."""
    most_wh = holding.tsl_wh if rules.sell_stored_above is not None else min(holding.tsl_wh, rules.keep_wh)
    room_wh = max(0, most_wh - holding.free_wh - holding.escrowed_wh)
    room_at_meter_wh: Wh = room_wh * SHARE_UNIT // max(1, pool.efficiency)
    return min(rules.commit_wh_per_slot, room_at_meter_wh, QUANTITY_MAX)


def _orders(rules: Rules, pool: PoolView, holding: Holding, view: HomeView, exchange_fee: int) -> list[Intent]:
    """Cancels and placements that lead to the one order that the rules want, or to none."""
    target = _target(rules, holding, view, exchange_fee)
    kept = [order for order in holding.orders if target is not None and _near(order, target, rules.step_wh)][:1]
    wanted: list[Intent] = [CancelOrder(order.order_id) for order in holding.orders if order not in kept]
    if target is not None and not kept:
        wanted.append(PlaceOrder(f"WATT:{pool.name}", target.side, target.price, target.quantity_wh))
    return wanted


def _near(order: OwnOrder, target: OwnOrder, step_wh: Wh) -> bool:
    same = (order.side, order.price) == (target.side, target.price)
    return same and abs(order.quantity_wh - target.quantity_wh) < step_wh


def _target(rules: Rules, holding: Holding, view: HomeView, exchange_fee: int) -> OwnOrder | None:
    """The order that this home should have at rest; None: none."""
    held_wh = holding.free_wh + holding.escrowed_wh
    spare_wh = min(held_wh - rules.keep_wh, QUANTITY_MAX)
    if rules.sell_stored_above is not None and spare_wh >= rules.step_wh:
        return OwnOrder(0, SELL, rules.sell_stored_above, spare_wh)
    price = rules.buy_stored_below
    if price is None or price <= 0 or view.owes:
        return None
    unit_cost = price * (SHARE_UNIT + exchange_fee)  # in ten-thousandths of a money unit
    tied_up = sum(
        o.price * o.quantity_wh * (SHARE_UNIT + exchange_fee) // SHARE_UNIT for o in holding.orders if o.side == BUY
    )
    affordable_wh = max(0, view.cash_free + tied_up - rules.cash_reserve) * SHARE_UNIT // unit_cost
    room_wh = max(0, holding.tsl_wh - held_wh)
    missing_wh = min(rules.keep_wh - held_wh, rules.buy_wh_max, room_wh, affordable_wh)
    return OwnOrder(0, BUY, price, missing_wh) if missing_wh >= rules.step_wh else None


def _free_after(holding: Holding, wanted: list[Intent]) -> Wh:
    """What is free of the WATT once the wanted orders are changed: only that can be asked back from the pool."""
    canceled = {intent.order_id for intent in wanted if isinstance(intent, CancelOrder)}
    free_wh = holding.free_wh + sum(o.quantity_wh for o in holding.orders if o.side == SELL and o.order_id in canceled)
    return free_wh - sum(i.quantity_wh for i in wanted if isinstance(i, PlaceOrder) and i.side == SELL)


def setpoint(pool: PoolView, street: StreetView, slot: int) -> Setpoint:
    """What the pool does in `slot`, from the last slot that was closed before it began."""
    closed = max((s for s in street.net_wh if s < slot - 1), default=-1)
    fresh = closed >= max(0, slot - SURPLUS_AGE_MAX)
    net_wh = street.net_wh[closed] if fresh else {}
    power_wh = pool.power_w * SLOT_PROFILE_S // HOUR_S
    room_wh = max(0, pool.capacity_wh - pool.stored_wh) * SHARE_UNIT // max(1, pool.efficiency)
    surplus_wh = sum(min(pool.commitments.get(home, 0), max(0, -net)) for home, net in net_wh.items())
    discharge_wh = min(sum(pool.requests.values()), power_wh, pool.stored_wh)
    return Setpoint(min(surplus_wh, power_wh - discharge_wh, room_wh), discharge_wh)
