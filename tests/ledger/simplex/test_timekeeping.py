"""Which clock a node goes by, and when it stops trusting its own."""

from __future__ import annotations

import pytest

from ledger.base.votes import Certificate, Kind
from ledger.simplex.effects import Now
from ledger.simplex.messages import BodyRequest
from ledger.simplex.requests import Requests
from ledger.simplex.timekeeping import Timekeeper

STALE_MS = 500


def keeper() -> Timekeeper:
    return Timekeeper(stale_ms=STALE_MS, faulty_max=1, final_time_ms=1_000_000, now=Now(0, None))


def certificate(*times: int) -> Certificate:
    return Certificate(Kind.NOTARIZE, 0, 1, bytes(32), tuple(range(len(times))), times, (bytes(64),) * len(times))


def test_without_a_clock_time_goes_on_from_the_last_final_block() -> None:
    time = keeper()
    assert time.estimate_ms(Now(700, None)) == 1_000_700
    time.finalized(1_005_000, Now(2_000, None))
    assert time.estimate_ms(Now(2_300, None)) == 1_005_300
    assert time.earliest_ms(Now(2_300, None)) is None


def test_a_trusted_clock_is_the_estimate_and_judges_stamps() -> None:
    time = keeper()
    assert time.estimate_ms(Now(0, 9_000_000)) == 9_000_000
    assert time.earliest_ms(Now(0, 9_000_000)) == 9_000_000 - 4 * STALE_MS
    assert time.vote_ms(None, Now(0, 9_000_000)) == 9_000_000


@pytest.mark.parametrize(("mine", "trusted"), [(5_000, True), (7_000, True), (7_001, False), (2_999, False), (0, True)])
def test_a_clock_far_from_more_others_than_may_lie_is_not_trusted_until_as_many_agree(mine: int, trusted: bool) -> None:
    time = keeper()
    time.judge(certificate(mine, 5_000, 5_000, 9_999), 0, Now(0, mine or None))
    assert (time.wall_ms(Now(0, mine)) == mine) == trusted
    time.judge(certificate(0, 5_000, 5_000), 0, Now(0, 5_100))
    assert time.wall_ms(Now(0, 5_100)) == 5_100


def test_where_nobody_says_a_time_nothing_speaks_against_the_own_clock() -> None:
    time = keeper()
    time.judge(certificate(5_000, 9_000_000, 9_000_000), 0, Now(0, 5_000))
    assert time.wall_ms(Now(0, 5_000)) is None
    time.judge(certificate(0, 0, 0), 0, Now(0, 5_100))
    assert time.wall_ms(Now(0, 5_100)) == 5_100


def test_a_certificate_without_our_vote_is_no_evidence() -> None:
    time = keeper()
    time.judge(certificate(1, 1, 1), 3, Now(0, 9_000_000))
    assert time.wall_ms(Now(0, 9_000_000)) == 9_000_000


def test_a_voter_without_a_clock_is_silent_while_others_know_and_speaks_when_too_few_do() -> None:
    time = keeper()
    assert time.vote_ms(certificate(5, 6, 0), Now(10, None)) == 0
    assert time.vote_ms(certificate(5, 0, 0), Now(10, None)) == 1_000_010
    assert time.vote_ms(None, Now(10, None)) == 1_000_010


def test_what_is_missing_is_asked_of_one_member_after_another() -> None:
    requests = Requests()
    requests.others = [1, 2, 3]
    asked = [requests.body(b"x", now_ms, 600) for now_ms in (0, 599, 600, 1_199, 1_200)]
    assert [None if each is None else each[0] for each in asked] == [2, None, 3, None, 1]
    assert asked[0] == (2, BodyRequest(b"x"))
    assert requests.retry_times(600) == [1_800]
    assert requests.arrived(b"x")
    assert not requests.arrived(b"x")
    assert Requests().body(b"x", 0, 600) is None


def test_one_liar_of_two_others_does_not_make_a_clock_doubted() -> None:
    time = keeper()
    time.judge(certificate(5_000, 5_000, 9_000_000), 0, Now(0, 5_000))
    assert time.wall_ms(Now(0, 5_000)) == 5_000


def test_where_all_doubt_their_clocks_they_say_them_again_and_find_that_they_agree() -> None:
    time = keeper()
    time.judge(certificate(90_000, 5_000, 5_000), 0, Now(0, 90_000))
    assert time.wall_ms(Now(0, 90_000)) is None
    assert time.vote_ms(certificate(0, 0, 0), Now(10, 90_010)) == 90_010
    time.judge(certificate(90_010, 90_020, 90_000), 0, Now(20, 90_020))
    assert time.wall_ms(Now(20, 90_020)) == 90_020
