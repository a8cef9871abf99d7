"""The panel's screens: sixteen characters a line whatever the node says, and the figures a homeowner expects."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware.panel.screens import (
    WIDTH,
    Figures,
    Screen,
    figures,
    line,
    no_node,
    of_newest_day,
    screens,
)

STATUS: dict[str, Any] = {
    "name": "home1",
    "currency": "EUR",
    "waiting_for": 0,
    "syncing": False,
    "time_unsure": False,
    "height": 12,
    "closed_slot": 3,
}
BALANCE: dict[str, Any] = {
    "balances": [
        {"asset": "CASH", "free": "101.50500000", "escrowed": "1.00000000"},
        {"asset": "WATT:pool", "free": 5, "escrowed": 0},
    ],
    "dues": [],
    "limits": {"buy_below": None, "sell_above": None},
}


def test_what_a_street_must_not_forget_stands_on_the_glass() -> None:
    status = STATUS | {"recovery_in_ms": 22 * 3_600_000 + 1, "stopped": True, "trusted_household": True}
    shown = {screen.name: screen.lines for screen in screens(status, BALANCE, [])}
    assert shown["recovery"] == ("New voters by   ", "hand     in 23 h")
    assert shown["stopped"] == ("Card copied or  ", "old: no votes   ")
    assert shown["trusted"] == ("Trusted house:  ", "nobody may lie  ")
    assert not {"recovery", "stopped", "trusted"} & {screen.name for screen in screens(STATUS, BALANCE, [])}


def record(slot: int = 3, **connection: object) -> dict[str, Any]:
    """A slot record with home1's connection, a neighbor's, and home1's plant."""
    own = {
        "device": "home1",
        "role": "connection",
        "account": "home1",
        "bus": "home1",
        "status": "metered",
        "import_wh": 0,
        "export_wh": 200,
        "net": "0.02000000",
    }
    return {
        "slot": slot,
        "start": f"2021-03-24T{slot // 4:02d}:{slot % 4 * 15:02d}:00Z",
        "price": "0.20",
        "prices": {"root": "0.20", "home1": "0.185", "home2": "0.21"},
        "devices": [own | connection, own | {"device": "home2", "account": "home2", "bus": "home2"}],
        "informed": {
            "home1-pv": {"import_wh": 0, "export_wh": 300, "role": "generation", "account": "home1"},
            "home2-pv": {"import_wh": 0, "export_wh": 900, "role": "generation", "account": "home2"},
            "home1-battery": {"import_wh": 50, "export_wh": 0, "role": "battery", "account": "home1"},
        },
    }


def shown(today: list[Figures], **status: object) -> dict[str, tuple[str, str]]:
    return {screen.name: screen.lines for screen in screens(STATUS | status, BALANCE, today)}


def test_a_slot_is_read_for_the_home_alone() -> None:
    assert figures(record(), "home1") == Figures(3, "2021-03-24T00:45:00Z", "0.185", True, 0, 200, 300, 2_000_000)
    assert figures(record(), "home2").made_wh == 900
    assert not figures(record(), "home9").heard


def test_the_home_screens() -> None:
    assert shown([figures(record(2), "home1"), figures(record(3), "home1")]) == {
        "now": ("Making   1.20 kW", "Using      400 W"),
        "today": ("Today made   0.6", "kWh   used   0.2"),
        "balance": ("EUR       101.51", "today      +0.04"),
        "price": ("Price  0.185/kWh", "no limits set   "),
    }


def test_without_a_meter_of_its_own_plants_the_net_is_shown() -> None:
    bare = record() | {"informed": {}}
    assert shown([figures(bare, "home1")])["now"] == ("Selling    800 W", "at 00:45 - 01:00")
    bare = record(95, import_wh=1_250, export_wh=0) | {"informed": {}}
    pages = shown([figures(bare, "home1")])
    assert pages["now"] == ("Using    5.00 kW", "at 23:45 - 00:00")
    assert pages["today"] == ("Today sold   0.0", "kWh bought   1.3")


def test_a_meter_that_was_not_heard_is_said() -> None:
    assert shown([figures(record(status="missing"), "home1")])["now"] == ("Meter not heard ", "at 00:45 - 01:00")


def test_before_the_first_slot() -> None:
    assert shown([]) == {
        "now": ("Waiting for the ", "first slot      "),
        "balance": ("EUR       101.51", "today      +0.00"),
    }


@pytest.mark.parametrize(
    ("status", "name", "lines"),
    [
        ({"waiting_for": 2}, "waiting", ("Street is away  ", "2 homes missing ")),
        ({"waiting_for": 1}, "waiting", ("Street is away  ", "1 home missing  ")),
        ({"syncing": True}, "catching up", ("Catching up     ", "block         12")),
        ({"time_unsure": True}, "clock", ("Clock not set   ", "time is unsure  ")),
    ],
)
def test_what_is_wrong_comes_first(status: dict[str, object], name: str, lines: tuple[str, str]) -> None:
    first = screens(STATUS | status, BALANCE, [figures(record(), "home1")])[0]
    assert first == Screen(name, lines)


def test_no_node() -> None:
    assert no_node() == [Screen("no node", ("No node answers ", "still trying    "))]


def test_dues_and_limits_take_the_second_line() -> None:
    balance = BALANCE | {
        "dues": [{"to": "grid", "amount": "1.25000000", "slot": 1}],
        "limits": {"buy_below": "0.25", "sell_above": "0.12345"},
    }
    pages = {page.name: page.lines for page in screens(STATUS, balance, [figures(record(), "home1")])}
    assert pages["balance"][1] == "You owe     1.25"
    assert pages["price"][1] == "B<0.25   S>0.123"


def test_today_is_the_newest_slots_day() -> None:
    late = figures(record(95), "home1")
    next_day = figures(record(96) | {"start": "2021-03-25T00:00:00Z"}, "home1")
    assert of_newest_day([next_day, late]) == [next_day]
    assert of_newest_day([]) == []


@given(st.text(max_size=30), st.text(max_size=30))
def test_a_line_always_fits_the_glass(left: str, right: str) -> None:
    drawn = line(left, right)
    assert len(drawn) == WIDTH
    assert all(" " <= c <= "}" and c != "\\" for c in drawn)


@given(
    st.text(max_size=20),
    st.integers(-(10**12), 10**12),
    st.integers(0, 10**9),
    st.integers(0, 10**9),
    st.one_of(st.none(), st.integers(-(10**6), 10**9)),
    st.sampled_from(["0.19", "-21474.83647", "0.00001", "12345.6"]),
    st.integers(0, 30),
)
def test_every_screen_fits_whatever_the_figures(
    currency: str, cash: int, imported: int, exported: int, made: int | None, price: str, missing: int
) -> None:
    sign = "-" if cash < 0 else ""
    money = f"{sign}{abs(cash) // 10**8}.{abs(cash) % 10**8:08d}"
    balance = {
        "balances": [{"asset": "CASH", "free": money, "escrowed": "0"}],
        "dues": [],
        "limits": {"buy_below": price, "sell_above": None},
    }
    one = Figures(0, "2021-03-24T00:00:00Z", price, True, imported, exported, made, cash)
    for screen in screens(STATUS | {"currency": currency, "waiting_for": missing}, balance, [one]):
        assert [len(text) for text in screen.lines] == [WIDTH, WIDTH]


def test_a_document_of_another_form_is_an_expected_error() -> None:
    with pytest.raises((KeyError, TypeError, ValueError)):
        screens({}, {}, [])
    with pytest.raises((KeyError, TypeError, ValueError)):
        figures({"devices": []}, "home1")
