"""What waits: bounded, one per number, chosen alike everywhere; readings are accepted exactly once."""

from __future__ import annotations

import pytest

from ledger.base.errors import InvalidTransaction
from ledger.base.intents import Commit, Reading
from ledger.base.limits import MEMPOOL_PER_SENDER_MAX
from ledger.state.mempool import Mempool
from ledger.state.tables import FEED
from tests.ledger.streets import ORIGIN_MS, Ledger, street


def code_of(mempool: Mempool, ledger: Ledger, raw: bytes) -> str:
    try:
        return "waits already" if mempool.add(raw, ledger.tip) is None else "taken"
    except InvalidTransaction as error:
        return error.code


def test_a_number_is_taken_once_and_a_second_reading_with_it_is_ignored() -> None:
    ledger = Ledger(street(2))
    mempool = Mempool(ledger.context)
    first = ledger.read("home1", 0, 100, 0)
    ledger._feeds["home1"] = (0, bytes(32))
    second = ledger.read("home1", 0, 999, 0)
    assert code_of(mempool, ledger, first) == "taken"
    assert code_of(mempool, ledger, first) == "waits already"
    assert code_of(mempool, ledger, second) == "conflict"
    ledger._pending = [first]
    ledger.step(ledger.end_of(0) + 1)
    mempool.prune(ledger.tip)
    assert len(mempool) == 0
    assert code_of(mempool, ledger, first) == "known"
    assert code_of(mempool, ledger, second) == "conflict"
    assert ledger.tip.state.need(FEED, ("home1",)).import_wh == 100


def test_readings_of_an_outage_wait_in_their_row_and_all_go_in_together() -> None:
    ledger = Ledger(street(2))
    mempool = Mempool(ledger.context)
    raws = [ledger.read("home1", slot, 100 * slot, 0) for slot in range(6)]
    for raw in reversed(raws):
        assert code_of(mempool, ledger, raw) == "taken"
    assert [envelope.raw for envelope in mempool.candidates(ledger.tip)] == raws
    reading, other = mempool.due(ledger.tip, ledger.end_of(5))
    assert (reading, other) == (True, False)
    ledger.step(ledger.end_of(5))
    mempool.prune(ledger.tip)
    assert len(mempool) == 0
    assert ledger.tip.state.need(FEED, ("home1",)).seq == 6


def test_a_reading_of_a_slot_that_has_not_ended_is_no_work_yet() -> None:
    ledger = Ledger(street(2))
    mempool = Mempool(ledger.context)
    mempool.add(ledger.read("home1", 3, 5, 0), ledger.tip)
    assert mempool.due(ledger.tip, ORIGIN_MS) == (False, False)
    assert mempool.due(ledger.tip, ledger.end_of(3)) == (True, False)


def test_one_sender_cannot_fill_the_mempool() -> None:
    ledger = Ledger(street(2))
    mempool = Mempool(ledger.context)
    codes = [
        code_of(mempool, ledger, ledger.ask("home1", Commit("pool", n))) for n in range(MEMPOOL_PER_SENDER_MAX + 1)
    ]
    assert codes == ["taken"] * MEMPOOL_PER_SENDER_MAX + ["full"]


def test_what_has_expired_or_was_used_elsewhere_leaves() -> None:
    ledger = Ledger(street(2))
    mempool = Mempool(ledger.context)
    mempool.add(ledger.ask("home1", Commit("pool", 1)), ledger.tip)
    ledger._pending.clear()
    for number in range(101):
        ledger.step(ORIGIN_MS - 9_000 + number)
    mempool.prune(ledger.tip)
    assert len(mempool) == 0


@pytest.mark.parametrize(
    ("change", "code"),
    [({"previous": bytes(range(32))}, "forked"), ({"slot": 99}, "bad_slot"), ({"device": "nobody"}, "unknown_device")],
)
def test_readings_that_do_not_fit_their_feed_are_refused(change: dict[str, object], code: str) -> None:
    from dataclasses import replace

    from ledger.base.crypto import ED25519
    from ledger.base.intents import transaction_bytes
    from tests.ledger.streets import seed_of

    ledger = Ledger(street(2))
    seed = seed_of("home1 meter")
    reading = replace(Reading("home1", bytes(32), 0, 0, 5, 5, None, 0), **change)  # type: ignore[arg-type]
    raw = transaction_bytes(
        reading,
        chain_id=ledger.context.chain_id,
        sender=ED25519.public(seed),
        nonce=1,
        valid_until_height=0,
        sign=lambda message: ED25519.sign(seed, message),
    )
    assert code_of(Mempool(ledger.context), ledger, raw) == code
