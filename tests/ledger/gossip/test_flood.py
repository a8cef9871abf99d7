"""What waits is found by every neighbor, whatever a link lost, and nothing is sent to one twice for long."""

from __future__ import annotations

from collections import Counter

import pytest

from energo_simulator.disk import Disk
from ledger.base.crypto import sha256
from ledger.base.intents import Transfer
from ledger.gossip.flood import ANNOUNCE_MS, CLOCK_MS, MEMORY_MAX, RESEND_MS, FeedClock, Have, Memory, Transaction
from tests.ledger.finals import SCHEME, Neighbor, Net, far_street
from tests.ledger.streets import MATCHERS, ORIGIN_MS, Ledger

MINUTE_MS = 60_000


class Street:
    """Three neighbors and what their homes hand in; nobody signs, so that all of it goes on waiting."""

    def __init__(self) -> None:
        genesis = far_street(4)
        self.hand = Ledger(genesis, MATCHERS, SCHEME)
        self.net = Net(genesis, ORIGIN_MS - 5_000)
        self.nodes = [self.net.add(Neighbor(self.net, f"home{i}", Disk(genesis))) for i in (1, 2, 3)]
        self.payee = genesis.accounts["home2"]
        self.net.run(1_000)

    def reading(self, at: int) -> bytes:
        raw = self.hand.read("home1", at, at + 1, at + 2)
        self.submit(raw)
        return raw

    def payment(self) -> bytes:
        raw = self.hand.ask("home1", Transfer(self.payee, "CASH", 5))
        self.submit(raw)
        return raw

    def submit(self, raw: bytes) -> None:
        self.nodes[0].core.submit(raw, self.net.now)
        self.nodes[0].drain()

    def lacking(self, raws: list[bytes]) -> int:
        """How many (node, transaction) pairs are not there yet."""
        return sum(node.core.mempool.get(sha256(raw)[:8]) is None for node in self.nodes for raw in raws)

    def copies(self) -> Counter[tuple[int, int, bytes]]:
        """How often each transaction was sent from one to another."""
        return Counter((a, b, m.raw) for _, a, b, m in self.net.sent if isinstance(m, Transaction))

    def lose(self, *kinds: type) -> None:
        self.net.lost = lambda sender, to, message: isinstance(message, kinds)


def test_a_new_link_tells_at_once_what_each_end_lacks() -> None:
    street = Street()
    first, last = street.nodes[0].peer, street.nodes[2].peer
    for other in (street.nodes[0].peer, street.nodes[1].peer):
        street.net.unlink(other, last)
    raws = [street.reading(0), street.reading(1), street.payment(), street.payment()]
    street.net.run(1_000)
    assert street.lacking(raws) == len(raws)
    street.net.link(first, last)
    assert street.net.run(100, lambda: not street.lacking(raws))
    assert set(street.copies().values()) == {1}


@pytest.mark.parametrize(("what", "within_ms"), [("reading", CLOCK_MS), ("payment", ANNOUNCE_MS)])
def test_what_got_lost_on_a_link_that_stayed_up_is_found_soon(what: str, within_ms: int) -> None:
    street = Street()
    street.lose(Transaction)
    raws = [street.reading(0) if what == "reading" else street.payment()]
    street.net.run(100)
    street.lose()
    assert street.lacking(raws) == 2
    assert street.net.run(within_ms + 100, lambda: not street.lacking(raws))


def test_what_everybody_has_is_not_told_again() -> None:
    street = Street()
    raws = [street.reading(0), street.payment()]
    street.net.run(2 * CLOCK_MS)
    assert street.lacking(raws) == 0
    before = len(street.net.sent)
    street.net.run(10 * MINUTE_MS)
    later = [message for *_, message in street.net.sent[before:]]
    assert set(street.copies().values()) == {1}
    assert sum(isinstance(message, FeedClock) for message in later) == 6 * 10 * MINUTE_MS // CLOCK_MS
    assert sum(isinstance(message, Have) for message in later) <= 2 * 10 * MINUTE_MS // ANNOUNCE_MS, "receivers only"


def test_where_it_never_arrives_it_is_sent_less_and_less_often() -> None:
    street = Street()
    street.lose(Transaction)
    raws = [street.reading(at) for at in range(3)]
    street.net.run(60 * MINUTE_MS)
    assert street.lacking(raws) == 6
    assert max(street.copies().values()) <= 12


def test_a_gap_is_filled_in_order_and_a_device_that_is_not_known_there_is_left_alone() -> None:
    street = Street()
    street.lose(Transaction)
    raws = [street.reading(at) for at in range(5)]
    street.lose()
    street.net.run(RESEND_MS)
    core = street.nodes[0].core
    clock = core._flood.clock(core.chain.final.state)
    assert max(number for _, number in clock.held) == 5
    to = street.nodes[1].peer
    before = len(street.net.sent)
    core.receive(to, FeedClock(((99, 0),)), street.net.now)
    street.nodes[0].drain()
    assert len(street.net.sent) == before
    core.receive(
        to, FeedClock(tuple((position, 2 if number == 5 else 0) for position, number in clock.held)), street.net.now
    )
    street.nodes[0].drain()
    assert [m.raw for *_, m in street.net.sent[before:] if isinstance(m, Transaction)] == raws[2:]


def test_a_peers_memory_is_bounded() -> None:
    memory = Memory()
    for number in range(3 * MEMORY_MAX):
        short = number.to_bytes(8, "big")
        memory.note(short)
        assert memory.may_send(short, 0)
    assert len(memory._has) == len(memory._sent) == MEMORY_MAX
    assert not memory.has(bytes(8))


def test_what_waits_no_more_is_forgotten_and_what_waits_is_not_sent_again() -> None:
    street = Street()
    street.lose(Transaction)
    raw = street.reading(0)
    flood = street.nodes[0].core._flood
    peer = street.nodes[1].peer
    gone = bytes(8)
    flood.came(peer, gone)
    flood._peers[peer].may_send(gone, street.net.now.mono_ms)
    flood._peers[peer].forget(street.nodes[0].core.mempool)
    assert not flood._peers[peer].has(gone)
    assert list(flood._peers[peer]._sent) == [sha256(raw)[:8]]
    assert not flood._peers[peer].may_send(sha256(raw)[:8], street.net.now.mono_ms)
