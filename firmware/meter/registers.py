"""From what a meter's registers say to what is reported: the rules of a reader that never invents or loses a Wh.

A pure machine a device: `observe` takes each poll, `take` gives the reading of a slot that has ended. Cumulative
registers are the truth and power is never integrated. A poll that says less than the last valid one, or more than can
have flowed, is not believed: it neither counts nor rebases anything. Only if it stays so (`CONFIRM_POLLS` polls over
`CONFIRM_MS`, in shortened slots over one slot) did the meter start anew: the register epoch rises, the reading is
flagged, and no energy is counted across. Energy is in mWh inside and in whole Wh, rounded down, in readings, counted
from commissioning.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum
from typing import Final

from ledger.base.intents import FLAG_ESTIMATED, FLAG_GAP, FLAG_QUARANTINED

MILLI: Final = 1_000
CONFIRM_POLLS: Final = 3
CONFIRM_MS: Final = 60_000
# A connection, a plant or a feeder that has not moved for a day has stopped counting; batteries may well rest.
STOPPED_SLOTS: Final = 96


class Remark(Enum):
    """What a poll gave reason to say; the reader logs it once, with what to do."""

    COMMISSIONED = "commissioned"
    NO_VALUE = "no value"
    BACKWARDS = "ran backwards"
    JUMPED = "jumped"
    AGREES_AGAIN = "agrees again"
    NEW_EPOCH = "new epoch"


@dataclass(frozen=True)
class Values:
    """One poll, mWh; None where the meter gave no value or has no such register."""

    import_mwh: int | None
    export_mwh: int | None
    stored_mwh: int | None = None


@dataclass(frozen=True)
class Limits:
    """What is known of a device: which registers it has, what can flow, whether standing still is a fault."""

    has_import: bool
    has_export: bool
    slot_energy_wh_max: int
    slot_ms: int
    rests: bool = False

    @property
    def confirm_ms(self) -> int:
        """How long a strange register must stay strange before it is believed."""
        return min(CONFIRM_MS, self.slot_ms)


@dataclass(frozen=True)
class Track:
    """What must survive a restart. Registers are the last valid ones as the meter shows them, `zero_*` what they showed
    at commissioning; `slot` is the last one reported, `seen_slot` that of the last valid poll, `moved_slot` that of the
    last change."""

    zero_import_mwh: int
    zero_export_mwh: int
    import_mwh: int
    export_mwh: int
    stored_mwh: int | None
    epoch: int
    slot: int
    seen_slot: int
    moved_slot: int


@dataclass(frozen=True)
class Taken:
    """A slot's reading before it has a number: registers in Wh from commissioning, and flags of ledger.base.intents."""

    slot: int
    epoch: int
    import_wh: int
    export_wh: int
    stored_wh: int | None
    flags: int


@dataclass(frozen=True)
class _Suspicion:
    why: Remark
    import_mwh: int
    export_mwh: int
    polls: int
    since_ms: int


class Follower:
    """Follows one device's registers. `track` is None until it is commissioned, which its first valid poll does."""

    def __init__(self, limits: Limits, track: Track | None = None) -> None:
        self.limits, self.track = limits, track
        self._suspicion: _Suspicion | None = None
        self._new_epoch = False
        self._fresh_slot = -1  # the slot in which the last poll was, if that poll was valid

    def observe(self, values: Values, *, slot: int, now_ms: int) -> Remark | None:
        """One poll, while `slot` runs. Returns what there is to say, once; a poll that is not believed changes nothing."""
        self._fresh_slot = -1
        import_mwh = values.import_mwh if self.limits.has_import else 0
        export_mwh = values.export_mwh if self.limits.has_export else 0
        if import_mwh is None or export_mwh is None:
            return Remark.NO_VALUE
        track = self.track
        if track is None:
            self.track = Track(
                import_mwh, export_mwh, import_mwh, export_mwh, values.stored_mwh, 0, -1, slot, max(slot, 0)
            )
            self._fresh_slot = slot
            return Remark.COMMISSIONED
        why = self._doubt(track, import_mwh, export_mwh, slot)
        if why:
            return self._suspect(track, why, import_mwh, export_mwh, slot, now_ms)
        remark = Remark.AGREES_AGAIN if self._suspicion else None
        self._suspicion = None
        moved = (import_mwh, export_mwh) != (track.import_mwh, track.export_mwh)
        self.track = replace(
            track,
            import_mwh=import_mwh,
            export_mwh=export_mwh,
            stored_mwh=values.stored_mwh,
            seen_slot=max(slot, track.seen_slot),
            moved_slot=max(slot, 0) if moved else track.moved_slot,
        )
        self._fresh_slot = slot
        return remark

    def _doubt(self, track: Track, import_mwh: int, export_mwh: int, slot: int) -> Remark | None:
        rises = import_mwh - track.import_mwh, export_mwh - track.export_mwh
        if min(rises) < 0:
            return Remark.BACKWARDS
        slots = max(slot - track.seen_slot, 0) + 1
        return Remark.JUMPED if max(rises) > self.limits.slot_energy_wh_max * MILLI * slots else None

    def _suspect(
        self, track: Track, why: Remark, import_mwh: int, export_mwh: int, slot: int, now_ms: int
    ) -> Remark | None:
        before = self._suspicion
        limit_mwh = self.limits.slot_energy_wh_max * MILLI * (max(slot - track.seen_slot, 0) + 1)
        agrees = (
            before is not None
            and 0 <= import_mwh - before.import_mwh <= limit_mwh
            and 0 <= export_mwh - before.export_mwh <= limit_mwh
        )
        if before is None or not agrees:
            self._suspicion = _Suspicion(why, import_mwh, export_mwh, 1, now_ms)
            return None if before and before.why is why else why
        polls = before.polls + 1
        if polls < CONFIRM_POLLS or now_ms - before.since_ms < self.limits.confirm_ms:
            self._suspicion = replace(before, import_mwh=import_mwh, export_mwh=export_mwh, polls=polls)
            return None
        self._suspicion = None
        self._new_epoch = True
        self.track = replace(
            track,
            # What is reported goes on where it stood: nothing of the step is energy.
            zero_import_mwh=import_mwh - (track.import_mwh - track.zero_import_mwh),
            zero_export_mwh=export_mwh - (track.export_mwh - track.zero_export_mwh),
            import_mwh=import_mwh,
            export_mwh=export_mwh,
            epoch=track.epoch + 1,
            seen_slot=max(slot, track.seen_slot),
            moved_slot=max(slot, 0),
        )
        self._fresh_slot = slot
        return Remark.NEW_EPOCH

    @property
    def stopped(self) -> bool:
        """Whether the registers have not moved for so long that the meter no longer counts."""
        track = self.track
        return not self.limits.rests and track is not None and track.seen_slot - track.moved_slot >= STOPPED_SLOTS

    def take(self, slot: int) -> Taken | None:
        """The reading of `slot`, which ended before the last poll; None if that poll was not valid or it is reported.

        The caller keeps the new `track` and the reading in one step.
        """
        track = self.track
        if track is None or slot <= track.slot or self._fresh_slot <= slot:
            return None
        flags = FLAG_GAP if slot > track.slot + 1 else 0
        if self._new_epoch:
            flags |= FLAG_QUARANTINED
        if self.stopped:
            flags |= FLAG_ESTIMATED  # the ledger has no flag of its own for it: at best, this is an estimate
        self._new_epoch = False
        self.track = replace(track, slot=slot)
        return Taken(
            slot,
            track.epoch,
            (track.import_mwh - track.zero_import_mwh) // MILLI,
            (track.export_mwh - track.zero_export_mwh) // MILLI,
            None if track.stored_mwh is None else max(track.stored_mwh, 0) // MILLI,
            flags,
        )
