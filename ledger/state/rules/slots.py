"""When a slot's terms are stored, when it has ended, and when it closes.

The first block whose time is at or after a slot's start stores its terms, from the state before that block; the slot has ended from
the first block at or after its end; it closes, oldest first, once every settling device has reported it or the grace is over
(clearing design, section 3).
"""

from __future__ import annotations

from typing import Final

from ledger.base.units import Millis
from matcher_c.network import ClearArrays

from ..events import Event
from ..state import State
from ..tables import (
    ACCOUNT,
    CLOCK,
    COMMITMENT,
    FEED,
    INTERVAL,
    NO_KEY,
    PARAMS,
    REQUEST,
    TARIFF,
    TERMS,
    Clock,
    Params,
    Tariff,
    Terms,
)
from .devices import end_ms
from .live_market import close_slot, settling_devices
from .outside import TARIFFS_KEPT, settle_late

CLOSINGS_MAX: Final = 96  # slots that one block settles: bounds the work of the first block after a long outage
OPENINGS_MAX: Final = 960  # slots (10 days) whose terms one block stores: likewise


def open_terms(state: State, time_ms: Millis, seed: bytes) -> None:
    """Store the terms of every slot that starts at or before `time_ms`, from the state before the block."""
    params, clock = state.need(PARAMS, NO_KEY), state.need(CLOCK, NO_KEY)
    slot = clock.next_terms_slot
    if not _is_slot(params, slot) or params.origin_ms + slot * params.slot_ms > time_ms:
        return
    limits = tuple(
        (_bytes(key[0]), row.buy_below, row.sell_above)
        for key, row in state.scan(ACCOUNT)
        if row.buy_below is not None or row.sell_above is not None
    )
    commitments = tuple((str(k[0]), _bytes(k[1]), row.energy_wh) for k, row in state.scan(COMMITMENT))
    requests = tuple((str(k[0]), _bytes(k[1]), row.energy_wh) for k, row in state.scan(REQUEST))
    terms = Terms(seed, 0, params.retail, params.feed_in, params.sharing, params.pricing, limits, commitments, requests)
    last = slot + OPENINGS_MAX
    while slot < last and _is_slot(params, slot) and params.origin_ms + slot * params.slot_ms <= time_ms:
        state.put(TERMS, (slot,), terms)
        slot += 1
    state.put(CLOCK, NO_KEY, clock._replace(next_terms_slot=slot))


def _is_slot(params: Params, slot: int) -> bool:
    return params.slot_count == 0 or slot < params.slot_count


def _bytes(value: object) -> bytes:
    assert isinstance(value, bytes), "accounts are bytes"
    return value


def mark_ended(state: State, time_ms: Millis) -> None:
    """Note the time of the first block at or after a slot's end."""
    params = state.need(PARAMS, NO_KEY)
    for key, terms in state.scan(TERMS):
        slot = key[0]
        assert isinstance(slot, int), "terms are keyed by slot"
        if terms.ended_ms == 0 and end_ms(params, slot) <= time_ms:
            state.put(TERMS, key, terms._replace(ended_ms=time_ms))


def close_due(state: State, time_ms: Millis, clear: ClearArrays) -> list[Event]:
    """Close every slot that may be closed now, oldest first."""
    events: list[Event] = []
    params = state.need(PARAMS, NO_KEY)
    for _ in range(CLOSINGS_MAX):
        clock = state.need(CLOCK, NO_KEY)
        slot = clock.next_close_slot
        if not _may_close(state, clock, params, time_ms):
            break
        late, found = close_slot(state, slot, clear)
        events += found
        _forget(state, slot)
        for name, interval in late:
            events += settle_late(state, slot, name, interval)
    return events


def _may_close(state: State, clock: Clock, params: Params, time_ms: Millis) -> bool:
    terms = state.get(TERMS, (clock.next_close_slot,))
    if terms is None or terms.ended_ms == 0:
        return False
    if time_ms >= terms.ended_ms + params.grace_ms:
        return True
    return all(state.need(FEED, (name,)).slot >= clock.next_close_slot for name, _ in settling_devices(state))


def _forget(state: State, slot: int) -> None:
    """Keep nothing of a closed slot but its tariff, and that no longer than a late reading may take."""
    terms = state.need(TERMS, (slot,))
    state.delete(TERMS, (slot,))
    state.put(TARIFF, (slot,), Tariff(terms.retail, terms.feed_in))
    state.delete(TARIFF, (slot - TARIFFS_KEPT,))
    for key, _ in state.scan(INTERVAL):
        if key[0] == slot:
            state.delete(INTERVAL, key)
    clock = state.need(CLOCK, NO_KEY)
    state.put(CLOCK, NO_KEY, clock._replace(next_close_slot=slot + 1))


def next_boundary_ms(state: State) -> Millis | None:
    """The earliest block time at which the slots need a block: a start, an end, or an end of grace. None: no more slots."""
    params, clock = state.need(PARAMS, NO_KEY), state.need(CLOCK, NO_KEY)
    found: list[Millis] = []
    if _is_slot(params, clock.next_terms_slot):
        found.append(params.origin_ms + clock.next_terms_slot * params.slot_ms)
    for key, terms in state.scan(TERMS):
        slot = key[0]
        assert isinstance(slot, int), "terms are keyed by slot"
        found.append(terms.ended_ms + params.grace_ms if terms.ended_ms else end_ms(params, slot))
    return min(found, default=None)
