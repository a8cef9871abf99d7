"""The rules of a reader: nothing invented, nothing lost, and no step of a register taken for energy."""

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from firmware.meter.registers import CONFIRM_MS, STOPPED_SLOTS, Follower, Limits, Remark, Taken, Values
from ledger.base.intents import FLAG_ESTIMATED, FLAG_GAP, FLAG_QUARANTINED

SLOT_MS = 900_000
LIMITS = Limits(True, True, 25_000, SLOT_MS)
FIRST_MWH = 7_000_000_400


class Bench:
    """A follower with a clock: polls at a time given in slots and ms, and takes every slot that has ended."""

    def __init__(self, limits: Limits = LIMITS) -> None:
        self.follower = Follower(limits)
        self.taken: list[Taken] = []

    def poll(self, slot: int, import_wh: int | None, export_wh: int | None = 0, *, ms: int = 0) -> Remark | None:
        """Registers in Wh above where they stood first."""
        import_mwh = None if import_wh is None else FIRST_MWH + import_wh * 1000
        export_mwh = None if export_wh is None else FIRST_MWH + export_wh * 1000
        remark = self.follower.observe(Values(import_mwh, export_mwh), slot=slot, now_ms=slot * SLOT_MS + ms)
        if slot > 0 and (taken := self.follower.take(slot - 1)):
            self.taken.append(taken)
        return remark

    def rows(self) -> list[tuple[int, int, int, int]]:
        """(slot, epoch, import, flags) of what was taken."""
        return [(taken.slot, taken.epoch, taken.import_wh, taken.flags) for taken in self.taken]


def test_a_slot_is_taken_once_from_the_first_poll_after_its_end() -> None:
    bench = Bench()
    assert bench.poll(0, 0) is Remark.COMMISSIONED
    assert bench.poll(0, 90, ms=800_000) is None
    bench.poll(1, 100)
    bench.poll(1, 140, ms=500)
    bench.poll(2, 200)
    assert bench.rows() == [(0, 0, 100, 0), (1, 0, 200, 0)]


def test_registers_count_from_commissioning_and_keep_their_remainder() -> None:
    follower = Follower(LIMITS)
    follower.observe(Values(1_999, 500), slot=0, now_ms=0)
    follower.observe(Values(3_998, 1_499), slot=1, now_ms=SLOT_MS)
    taken = follower.take(0)
    assert taken is not None
    assert (taken.import_wh, taken.export_wh) == (1, 0)
    follower.observe(Values(3_999, 1_500), slot=2, now_ms=2 * SLOT_MS)
    later = follower.take(1)
    assert later is not None
    assert (later.import_wh, later.export_wh) == (2, 1)


def test_a_reader_that_was_away_gives_one_reading_that_spans() -> None:
    bench = Bench()
    bench.poll(0, 0)
    bench.poll(1, 10)
    bench.poll(6, 60)
    bench.poll(7, 70)
    assert bench.rows() == [(0, 0, 10, 0), (5, 0, 60, FLAG_GAP), (6, 0, 70, 0)]


def test_a_restart_goes_on_where_the_disk_stands() -> None:
    bench = Bench()
    bench.poll(0, 0)
    bench.poll(1, 10)
    again = Bench()
    again.follower = Follower(LIMITS, bench.follower.track)
    again.poll(1, 15)
    again.poll(4, 44)
    assert again.rows() == [(3, 0, 44, FLAG_GAP)]


def test_a_transient_zero_is_ignored_and_never_rebased() -> None:
    bench = Bench()
    bench.poll(0, 0)
    bench.poll(1, 500)
    assert bench.poll(1, -7_000_000, -7_000_000, ms=10_000) is Remark.BACKWARDS
    assert bench.poll(1, 510, ms=20_000) is Remark.AGREES_AGAIN
    bench.poll(2, 600)
    assert bench.rows() == [(0, 0, 500, 0), (1, 0, 600, 0)]


def test_a_transient_jump_is_ignored() -> None:
    bench = Bench()
    bench.poll(0, 0)
    assert bench.poll(0, 53_700_000, ms=10) is Remark.JUMPED
    bench.poll(1, 100)
    assert bench.rows() == [(0, 0, 100, 0)]


def test_a_register_that_stays_low_is_a_new_epoch_without_energy() -> None:
    bench = Bench()
    bench.poll(0, 0)
    bench.poll(1, 500)
    low = -3_000_000
    assert bench.poll(1, low, ms=1_000) is Remark.BACKWARDS
    assert bench.poll(1, low + 1, ms=30_000) is None
    assert bench.poll(1, low + 2, ms=1_000 + CONFIRM_MS - 1) is None, "three polls, but not for long enough"
    assert bench.poll(1, low + 3, ms=1_000 + CONFIRM_MS) is Remark.NEW_EPOCH
    bench.poll(2, low + 13)
    bench.poll(3, low + 33)
    assert bench.rows() == [(0, 0, 500, 0), (1, 1, 510, FLAG_QUARANTINED), (2, 1, 530, 0)]


def test_two_low_polls_are_not_enough_however_long() -> None:
    bench = Bench()
    bench.poll(0, 0)
    bench.poll(0, -10, ms=1)
    bench.poll(0, -10, ms=800_000)
    bench.poll(1, 50)
    assert bench.rows() == [(0, 0, 50, 0)]


def test_a_jump_that_stays_is_no_energy_either() -> None:
    bench = Bench()
    bench.poll(0, 0)
    for number in range(4):
        bench.poll(0, 9_000_000 + number, ms=1 + number * 30_000)
    bench.poll(1, 9_000_100)
    assert bench.rows() == [(0, 1, 98, FLAG_QUARANTINED)]


def test_what_can_flow_grows_with_the_time_since_the_last_valid_poll() -> None:
    bench = Bench()
    bench.poll(0, 0)
    assert bench.poll(3, 100_000) is None
    assert bench.rows() == [(2, 0, 100_000, FLAG_GAP)]
    assert bench.poll(3, 125_001, ms=1) is Remark.JUMPED


def test_no_value_is_not_zero() -> None:
    bench = Bench()
    assert bench.poll(0, None) is Remark.NO_VALUE
    bench.poll(0, 0, ms=5)
    assert bench.poll(1, None) is Remark.NO_VALUE
    assert bench.poll(1, 10, None, ms=5) is Remark.NO_VALUE
    bench.poll(1, 20, ms=10)
    assert bench.rows() == [(0, 0, 20, 0)]


def test_a_register_that_the_meter_has_not_never_moves() -> None:
    bench = Bench(replace(LIMITS, has_import=False))
    bench.poll(0, None, 0)
    bench.poll(1, None, 70)
    assert [(taken.import_wh, taken.export_wh) for taken in bench.taken] == [(0, 70)]


def test_a_counter_that_has_stopped_is_flagged_until_it_moves() -> None:
    bench, battery = Bench(), Bench(replace(LIMITS, rests=True))
    for slot in range(STOPPED_SLOTS + 3):
        bench.poll(slot, 0)
        battery.poll(slot, 0)
    flags = [taken.flags for taken in bench.taken]
    assert flags[: STOPPED_SLOTS - 1] == [0] * (STOPPED_SLOTS - 1)
    assert set(flags[STOPPED_SLOTS - 1 :]) == {FLAG_ESTIMATED}
    assert {taken.flags for taken in battery.taken} == {0}
    bench.poll(STOPPED_SLOTS + 3, 1)
    assert bench.taken[-1].flags == 0


def test_a_reader_that_starts_late_reports_the_slots_before_it_as_empty() -> None:
    bench = Bench()
    bench.poll(7, 0)
    bench.poll(8, 30)
    assert bench.rows() == [(6, 0, 0, FLAG_GAP), (7, 0, 30, 0)]


def test_stored_energy_goes_along() -> None:
    follower = Follower(replace(LIMITS, rests=True))
    follower.observe(Values(0, 0, 1_999), slot=0, now_ms=0)
    follower.observe(Values(0, 0, 2_999), slot=1, now_ms=SLOT_MS)
    taken = follower.take(0)
    assert taken is not None
    assert taken.stored_wh == 2


POLLS = st.lists(
    st.tuples(
        st.integers(0, 3), st.integers(0, 5_000), st.sampled_from(["good", "good", "good", "zero", "jump", "none"])
    ),
    max_size=80,
)


@given(POLLS)
@settings(max_examples=200, deadline=None)
def test_any_disturbance_is_never_energy_and_the_sum_is_the_registers(polls: list[tuple[int, int, str]]) -> None:
    """Single bad polls between good ones: what is reported is what the meter counted, to the Wh."""
    bench, slot, true_wh = Bench(), 0, 0
    bench.poll(0, 0)
    for number, (later, energy_wh, kind) in enumerate(polls):
        slot, true_wh = slot + later, true_wh + energy_wh
        shown = {"good": true_wh, "zero": -7_000_000, "jump": 50_000_000, "none": None}[kind]
        if kind != "good":
            bench.poll(slot, shown, ms=2 * number)
        bench.poll(slot, true_wh, ms=2 * number + 1)
    assert all(taken.epoch == 0 for taken in bench.taken)
    imports = [taken.import_wh for taken in bench.taken]
    assert imports == sorted(imports)
    slots = [taken.slot for taken in bench.taken]
    assert slots == sorted(set(slots))
    bench.poll(slot + 1, true_wh, ms=1_000)
    assert bench.taken[-1].import_wh == true_wh
