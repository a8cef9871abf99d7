"""What is remembered of where neighbors are: bounded, proved, kept over a restart, and never a reason to end."""

from __future__ import annotations

from pathlib import Path

import pytest

from ledger.node import peers
from ledger.node.peers import ADDRESSES_MAX, HOPELESS, KEPT_MAX, PER_MEMBER_MAX, AddressBook, is_dialable, is_for_others

KEY = bytes(range(32))


def key_of(number: int) -> bytes:
    return number.to_bytes(32, "big")


def book(file: Path | None, notes: list[str]) -> AddressBook:
    return AddressBook(file, notes.append)


def reached(own: AddressBook, host: str, key: bytes) -> None:
    at = own.add(host, 4_711)
    assert at is not None
    own.proved(at, key)


@pytest.mark.parametrize(
    ("host", "port", "dialable"),
    [
        ("10.77.0.12", 4_711, True),
        ("127.0.0.1", 1, True),
        ("fe80::1%eth0", 4_711, True),
        ("2001:db8::1", 65_535, True),
        ("fe80::1", 4_711, False),  # of which interface?
        ("2001:db8::1%eth0", 4_711, False),
        ("0.0.0.0", 4_711, False),
        ("::", 4_711, False),
        ("224.0.0.251", 4_711, False),
        ("ff02::fb", 4_711, False),
        ("example.org", 4_711, False),
        ("10.77.0.12", 0, False),
        ("10.77.0.12", 65_536, False),
        ("fe80::1%" + "e" * 80, 4_711, False),
        ("", 4_711, False),
    ],
)
def test_only_numbers_of_one_machine_are_dialed(host: str, port: int, dialable: bool) -> None:
    assert is_dialable(host, port) is dialable


def test_addresses_that_mean_something_else_elsewhere_are_not_told() -> None:
    assert [is_for_others(host) for host in ("10.77.0.12", "2001:db8::1")] == [True, True]
    assert [is_for_others(host) for host in ("127.0.0.1", "::1", "fe80::1%eth0", "169.254.3.4")] == [False] * 4


def test_what_was_proved_is_known_after_a_restart_and_hints_are_not(tmp_path: Path) -> None:
    notes: list[str] = []
    before = book(tmp_path / "peers.json", notes)
    reached(before, "10.77.0.12", KEY)
    reached(before, "fe80::1%eth0", KEY)
    before.add("10.77.0.99", 4_711)
    found = book(tmp_path / "peers.json", notes).load()
    assert [(at.host, at.port, at.key) for at in found] == [("10.77.0.12", 4_711, KEY), ("fe80::1%eth0", 4_711, KEY)]
    assert [path.name for path in tmp_path.iterdir()] == ["peers.json"]
    assert notes == []


def test_the_file_is_written_only_when_there_is_news(tmp_path: Path) -> None:
    file = tmp_path / "peers.json"
    own = book(file, [])
    reached(own, "10.77.0.12", KEY)
    file.unlink()
    (at,) = own
    own.proved(at, KEY)
    assert not file.exists(), "nothing is new: the card is left alone"
    own.proved(at, key_of(1))
    assert file.exists()


@pytest.mark.parametrize("content", [b"", b"[", b"{}", b"[1]", b"\xff", b"[" * 100_000, b" " * 70_000])
def test_a_damaged_file_is_a_note_and_the_neighbors_are_looked_for_anew(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "peers.json").write_bytes(content)
    notes: list[str] = []
    own = book(tmp_path / "peers.json", notes)
    assert own.load() == []
    assert len(notes) == 1
    assert "looked for anew" in notes[0]
    reached(own, "10.77.0.12", KEY)
    assert len(book(tmp_path / "peers.json", notes).load()) == 1


def test_a_card_that_takes_nothing_is_a_note_once(tmp_path: Path) -> None:
    notes: list[str] = []
    own = book(tmp_path / "away" / "peers.json", notes)
    assert own.load() == []
    reached(own, "10.77.0.12", KEY)
    (at,) = own
    own.proved(at, KEY)
    assert len(notes) == 1
    assert "this harms nothing" in notes[0]


def test_anybody_may_announce_anything_and_costs_no_more_than_the_bound() -> None:
    own = book(None, [])
    added = [own.add(f"10.1.{number // 256}.{number % 256}", 4_711) for number in range(ADDRESSES_MAX + 50)]
    assert sum(at is not None for at in added) == ADDRESSES_MAX
    assert own.add("10.1.0.0", 4_711) is None, "known"


def test_a_hint_that_leads_nowhere_makes_room_and_a_fixed_or_proved_address_stays() -> None:
    own = book(None, [])
    hint, fixed = own.add("10.1.0.1", 4_711), own.add("street.example", 4_711, fixed=True)
    assert hint is not None
    assert fixed is not None
    assert [own.failed(hint) for _ in range(HOPELESS)] == [False] * (HOPELESS - 1) + [True]
    assert not any(own.failed(fixed) for _ in range(3 * HOPELESS))
    reached(own, "10.1.0.2", KEY)
    proved = next(at for at in own if at.key == KEY)
    assert not any(own.failed(proved) for _ in range(3 * HOPELESS))
    assert {at.host for at in own} == {"street.example", "10.1.0.2"}


def test_a_member_that_moves_keeps_a_few_addresses_and_the_file_stays_small(tmp_path: Path) -> None:
    own = book(tmp_path / "peers.json", [])
    for number in range(20):
        reached(own, f"10.1.0.{number}", KEY)
    assert [at.host for at in own] == [f"10.1.0.{number}" for number in range(20 - PER_MEMBER_MAX, 20)]
    for number in range(100):
        reached(own, f"10.2.0.{number}", key_of(number))
    assert len(book(tmp_path / "peers.json", []).load()) == KEPT_MAX
    assert (tmp_path / "peers.json").stat().st_size < peers.FILE_BYTES_MAX
