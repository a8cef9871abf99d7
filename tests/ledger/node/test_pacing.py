"""Limits, redials and heartbeats in virtual time."""

from __future__ import annotations

import pytest

from ledger.gossip import frames, presence
from ledger.node import pacing
from ledger.node.pacing import LIMITS, OTHER, Backoff, Bucket, Doors, Meter, Pulse


def test_a_bucket_gives_its_burst_at_once_and_then_its_rate() -> None:
    bucket = Bucket(10, 5, 0)
    assert [bucket.take(1, 0) for _ in range(5)] == [0] * 5
    assert bucket.take(1, 0) == 100
    assert bucket.take(1, 100) == 100  # the debt of one was paid meanwhile, and this one is the next
    assert bucket.take(1, 200) == 100
    assert bucket.take(5, 10_000) == 0, "what is not taken for long is the burst, and no more"
    assert bucket.take(1, 10_000) == 100


def test_a_long_run_gets_the_rate_whoever_obeys_the_waits() -> None:
    bucket, now_ms, taken = Bucket(7, 3, 0), 0, 0
    while now_ms < 60_000:
        now_ms += bucket.take(1, now_ms)
        taken += 1
    assert 7 * 60 <= taken <= 7 * 60 + 3 + 1


def test_a_clock_that_stands_or_steps_back_gives_nothing_for_nothing() -> None:
    bucket = Bucket(10, 1, 1_000)
    assert bucket.take(1, 1_000) == 0
    assert bucket.take(1, 500) == 100
    assert bucket.take(1, 1_000) == 200


def test_each_address_may_begin_so_often_and_who_may_not_is_not_charged() -> None:
    doors = Doors(10, 3, 2)
    assert [doors.may("a", 0) for _ in range(5)] == [True] * 3 + [False] * 2
    assert doors.may("b", 0), "somebody else"
    assert [doors.may("a", now_ms) for now_ms in (50, 99, 100, 101)] == [False, False, True, False]
    assert [doors.may("a", 10_000) for _ in range(4)] == [True] * 3 + [False]


def test_the_addresses_that_are_watched_are_bounded_and_the_oldest_is_forgotten() -> None:
    doors = Doors(1, 1, 2)
    assert [doors.may(where, 0) for where in ("a", "b", "a", "c", "a", "b")] == [True, True, False, True, False, True]


@pytest.mark.parametrize("kind", sorted(LIMITS))
def test_each_type_of_frame_has_limits_of_its_own_in_frames_and_in_bytes(kind: int) -> None:
    limit, meter = LIMITS[kind], Meter()
    assert not any(meter.take(kind, 1, 0) for _ in range(min(limit.frames_burst, limit.bytes_burst)))
    assert meter.take(kind, limit.bytes_burst + 1, 0) > 0
    for other in LIMITS.keys() - {kind}:
        assert meter.take(other, 1, 0) == 0
    assert Meter().take(kind, min(limit.bytes_burst, 96 * 1024 + 4), 0) == 0, "one whole frame is never too much"


def test_every_type_that_a_neighbor_may_send_has_its_row() -> None:
    assert set(LIMITS) >= set(presence.KINDS)
    assert set(LIMITS) - presence.KINDS <= set(frames._DECODERS)


def test_types_that_nobody_knows_share_one_bucket() -> None:
    meter = Meter()
    waits = [meter.take(kind, 1, 0) for kind in range(200, 200 + 50) for _ in range(OTHER.frames_burst // 50)]
    assert not any(waits)
    assert meter.take(199, 1, 0) > 0


def test_redials_wait_twice_as_long_each_time_up_to_the_most_and_begin_anew_after_a_success() -> None:
    wait = Backoff(200, 1_000)
    assert [wait.next_ms() for _ in range(5)] == [200, 400, 800, 1_000, 1_000]
    wait.reset()
    assert wait.next_ms() == 200


def test_a_pulse_pings_at_once_then_after_silence_and_measures_the_answer() -> None:
    pulse = Pulse(0)
    assert pulse.ping(0) == 1
    pulse.heard(12)
    pulse.answered(1, 12)
    assert pulse.rtt_ms == 12
    assert pulse.ping(5_011) is None, "not 5 s of silence yet"
    assert pulse.ping(5_012) == 2
    assert pulse.ping(9_000) is None, "one was sent just now"
    assert pulse.ping(10_012) == 3
    pulse.answered(2, 10_020)
    assert pulse.rtt_ms == 12, "an answer to an earlier ping measures nothing"


def test_a_link_that_is_never_silent_is_still_measured_once_a_minute() -> None:
    pulse, sent = Pulse(0), []
    for now_ms in range(0, 200_000, 1_000):
        pulse.heard(now_ms)
        if pulse.ping(now_ms) is not None:
            sent.append(now_ms)
    assert sent == [0, 60_000, 120_000, 180_000]


def test_silence_ends_a_link_and_two_pings_may_be_lost_before() -> None:
    pulse, sent = Pulse(0), 0
    for now_ms in range(0, pacing.SILENT_MS, 1_000):
        sent += pulse.ping(now_ms) is not None
        assert not pulse.over(now_ms)
    assert sent == 3
    assert pulse.over(pacing.SILENT_MS)
    pulse.heard(pacing.SILENT_MS)
    assert not pulse.over(pacing.SILENT_MS)


def test_a_link_in_doubt_is_pinged_at_once_and_has_less_time() -> None:
    pulse = Pulse(0)
    pulse.ping(0)
    pulse.heard(1_000)
    pulse.doubt(2_000)
    assert pulse.ping(2_000) == 2
    assert not pulse.over(2_000 + pacing.PROBE_MS - 1)
    assert pulse.over(2_000 + pacing.PROBE_MS)
    pulse.heard(2_500)
    assert not pulse.over(2_000 + pacing.PROBE_MS)
