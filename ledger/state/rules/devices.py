"""Readings: a feed per device, gap-free and accepted exactly once; what its registers say is never settled blindly.

A reading is never refused: it is recorded, and where its registers ran backwards, jumped or changed their epoch
it is recorded with a flag and its energy waits until a later one agrees with the last that was trusted.
"""

from __future__ import annotations

from typing import Final

from ledger.base.errors import InvalidTransaction
from ledger.base.intents import FLAG_QUARANTINED, Envelope, Reading
from ledger.base.units import Millis, Wh

from ..events import Event, ReadingFlagged
from ..state import State
from ..tables import CLOCK, DEVICE, FEED, INTERVAL, NO_KEY, PARAMS, Feed, Interval, Params

ENERGY_MAX_WH: Final = 25_000  # per slot and direction: 100 kW, above any home's main fuse; a jump beyond it is a fault
ADMISSIBLE_STALE: Final = 4  # a reading may be ahead of block time by so many times `stale`


def end_ms(params: Params, slot: int) -> Millis:
    """When a slot ends."""
    return params.origin_ms + (slot + 1) * params.slot_ms


def check(state: State, envelope: Envelope, time_ms: Millis) -> None:
    """Whether a block at `time_ms` may carry this reading. Raises `InvalidTransaction`.

    Codes: unknown_device, bad_sender, known (its number was used), conflict (by another reading), gap (earlier ones are
    missing), forked (its history is another), bad_slot, early (its slot has not ended by far).
    """
    reading = envelope.intent
    assert isinstance(reading, Reading), "only readings come here"
    device = state.get(DEVICE, (reading.device,))
    if device is None:
        raise InvalidTransaction("unknown_device", f"no device is called {reading.device}; register it first")
    if device.key != envelope.sender or envelope.valid_until_height != 0:
        raise InvalidTransaction("bad_sender", f"the reading is not signed with the key of device {reading.device}")
    feed = state.need(FEED, (reading.device,))
    if envelope.nonce == feed.seq and envelope.transaction_id != feed.hash:
        raise InvalidTransaction(
            "conflict", f"{reading.device} signed two readings with number {envelope.nonce}; the first counts"
        )
    if envelope.nonce <= feed.seq:
        raise InvalidTransaction("known", f"reading {envelope.nonce} of {reading.device} is recorded already")
    if envelope.nonce > feed.seq + 1:
        raise InvalidTransaction("gap", f"reading {feed.seq + 1} of {reading.device} must come before {envelope.nonce}")
    if reading.previous != feed.hash:
        raise InvalidTransaction("forked", f"the feed of {reading.device} forked; commission it under a new name")
    params = state.need(PARAMS, NO_KEY)
    if reading.slot <= feed.slot or (params.slot_count and reading.slot >= params.slot_count):
        raise InvalidTransaction("bad_slot", f"slot {reading.slot} is not one that {reading.device} may report now")
    if time_ms < end_ms(params, reading.slot) - ADMISSIBLE_STALE * params.stale_ms:
        raise InvalidTransaction("early", f"slot {reading.slot} has not ended; the reading waits")


def _fault(feed: Feed, reading: Reading) -> str:
    """Why the energy since the last trusted reading cannot be settled; empty if it can."""
    if reading.register_epoch != feed.epoch:
        return "register epoch changed: no energy is settled across it"
    if reading.flags & FLAG_QUARANTINED:
        return "quarantined by its reader: the register jumped or fell"
    spanned = reading.slot - feed.settled_slot
    for old_wh, new_wh in ((feed.import_wh, reading.import_wh), (feed.export_wh, reading.export_wh)):
        if new_wh < old_wh:
            return f"register ran backwards from {old_wh} to {new_wh} Wh"
        if new_wh - old_wh > ENERGY_MAX_WH * spanned:
            return f"register jumped by {new_wh - old_wh} Wh in {spanned} slots"
    return ""


def record(state: State, envelope: Envelope) -> tuple[list[Event], tuple[int, str] | None]:
    """Record a checked reading. (events, (slot, device) of energy whose slot is closed already and is settled late)."""
    reading = envelope.intent
    assert isinstance(reading, Reading), "only readings come here"
    feed = state.need(FEED, (reading.device,))
    why = _fault(feed, reading)
    events: list[Event] = []
    settled_slot, import_wh, export_wh = reading.slot, reading.import_wh, reading.export_wh
    epoch, late = feed.epoch, None
    if why:
        events.append(ReadingFlagged(reading.device, envelope.nonce, reading.slot, why))
        if reading.register_epoch != feed.epoch:
            epoch = reading.register_epoch  # the new registers are trusted from here on
        else:
            settled_slot, import_wh, export_wh = feed.settled_slot, feed.import_wh, feed.export_wh
    else:
        key = (reading.slot, reading.device)
        span_from = feed.settled_slot + 1
        interval = Interval(
            envelope.nonce,
            span_from,
            _rise(feed.import_wh, import_wh),
            _rise(feed.export_wh, export_wh),
            reading.stored_wh,
            reading.flags,
        )
        state.put(INTERVAL, key, interval)
        if reading.slot < state.need(CLOCK, NO_KEY).next_close_slot:
            late = key
    state.put(
        FEED,
        (reading.device,),
        Feed(
            envelope.nonce,
            envelope.transaction_id,
            reading.slot,
            epoch,
            settled_slot,
            import_wh,
            export_wh,
            reading.stored_wh,
        ),
    )
    return events, late


def _rise(old_wh: Wh, new_wh: Wh) -> Wh:
    assert new_wh >= old_wh, "a register that fell was flagged"
    return new_wh - old_wh
