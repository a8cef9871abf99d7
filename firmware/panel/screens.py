"""What stands on the glass: the node's documents as screens of two lines of sixteen characters. Pure.

Promises that every line has exactly `WIDTH` printable ASCII characters, whatever the node says, since an HD44780 has no
others. Shows what is settled: "now" is the last closed slot, as power over its quarter of an hour. Refuses nothing; what it
does not know it leaves out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from ledger.base.units import MONEY_UNIT, SLOT_PROFILE_S, Money, Wh, format_money, parse_money

WIDTH: Final = 16
SLOTS_PER_DAY: Final = 86_400 // SLOT_PROFILE_S
SECONDS_PER_HOUR: Final = 3_600
MONEY_PER_CENT: Final = MONEY_UNIT // 100


@dataclass(frozen=True)
class Screen:
    """One page of the glass. `name` stays the same while its lines change."""

    name: str
    lines: tuple[str, str]


@dataclass(frozen=True)
class Figures:
    """What a closed slot was for one home. Energies in Wh, `received` in money units, `price` as the node writes it."""

    slot: int
    start: str
    price: str
    heard: bool  # whether the connection's meter was heard in time
    imported_wh: Wh
    exported_wh: Wh
    made_wh: Wh | None  # by the home's own plants; None where no meter of theirs was heard
    received: Money

    @property
    def day(self) -> str:
        """The profile's date."""
        return self.start[:10]

    @property
    def used_wh(self) -> Wh:
        """What the home used, battery losses included."""
        return max(0, (self.made_wh or 0) + self.imported_wh - self.exported_wh)


def figures(record: Mapping[str, Any], home: str) -> Figures:
    """A home's part of a slot record. Raises `KeyError`, `TypeError` or `ValueError` where it is no such record."""
    own = [device for device in record["devices"] if device["account"] == home and device["role"] == "connection"]
    plants = [
        meter
        for meter in record["informed"].values()
        if meter.get("account") == home and meter.get("role") == "generation"
    ]
    return Figures(
        int(record["slot"]),
        str(record["start"]),
        str(record["prices"].get(own[0]["bus"], record["price"]) if own else record["price"]),
        bool(own) and all(device["status"] != "missing" for device in own),
        sum(int(device["import_wh"]) for device in own),
        sum(int(device["export_wh"]) for device in own),
        sum(int(meter["export_wh"]) - int(meter["import_wh"]) for meter in plants) if plants else None,
        sum(parse_money(device["net"]) for device in own),
    )


def of_newest_day(known: Iterable[Figures]) -> list[Figures]:
    """Those of the day of the newest, oldest first: what "today" means on the glass."""
    ordered = sorted(known, key=lambda each: each.slot)
    return [each for each in ordered if each.day == ordered[-1].day][-SLOTS_PER_DAY:]


def no_node() -> list[Screen]:
    """When nothing answers."""
    return [_screen("no node", "No node answers", "", "still trying", "")]


def screens(status: Mapping[str, Any], balance: Mapping[str, Any], today: Sequence[Figures]) -> list[Screen]:
    """The home screens in their order: what is wrong, if anything, then now, today, balance, price.

    `today` as `of_newest_day` gives it. Raises `KeyError`, `TypeError` or `ValueError` for documents of another form.
    """
    return [*_troubles(status), _now(today), *_today(today), _balance(status, balance, today), *_price(balance, today)]


def _troubles(status: Mapping[str, Any]) -> list[Screen]:
    found = []
    missing = int(status["waiting_for"])
    if missing > 0:
        found.append(_screen("waiting", "Street is away", "", f"{missing} home{'s'[: missing > 1]} missing", ""))
    if status["syncing"]:
        found.append(_screen("catching up", "Catching up", "", "block", str(int(status["height"]))))
    if status["time_unsure"]:
        found.append(_screen("clock", "Clock not set", "", "time is unsure", ""))
    left_ms = status.get("recovery_in_ms")
    if left_ms is not None:
        hours = -(-int(left_ms) // (1_000 * SECONDS_PER_HOUR))
        found.append(_screen("recovery", "New voters by", "", "hand", f"in {hours} h" if hours else "now"))
    if status.get("stopped"):
        found.append(_screen("stopped", "Card copied or", "", "old: no votes", ""))
    if status.get("trusted_household"):
        found.append(_screen("trusted", "Trusted house:", "", "nobody may lie", ""))
    return found


def _now(today: Sequence[Figures]) -> Screen:
    if not today:
        return _screen("now", "Waiting for the", "", "first slot", "")
    last = today[-1]
    if not last.heard:
        return _screen("now", "Meter not heard", "", *_quarter(last))
    if last.made_wh is not None:
        return _screen("now", "Making", _power(last.made_wh), "Using", _power(last.used_wh))
    if last.exported_wh > last.imported_wh:
        return _screen("now", "Selling", _power(last.exported_wh - last.imported_wh), *_quarter(last))
    return _screen("now", "Using", _power(last.imported_wh - last.exported_wh), *_quarter(last))


def _today(today: Sequence[Figures]) -> list[Screen]:
    if not today:
        return []
    if any(each.made_wh is not None for each in today):
        made_wh, used_wh = sum(each.made_wh or 0 for each in today), sum(each.used_wh for each in today)
        return [_screen("today", "Today made", _kwh(made_wh), "kWh   used", _kwh(used_wh))]
    sold_wh, bought_wh = sum(each.exported_wh for each in today), sum(each.imported_wh for each in today)
    return [_screen("today", "Today sold", _kwh(sold_wh), "kWh bought", _kwh(bought_wh))]


def _balance(status: Mapping[str, Any], balance: Mapping[str, Any], today: Sequence[Figures]) -> Screen:
    free = sum(parse_money(held["free"]) for held in balance["balances"] if held["asset"] == "CASH")
    owed = sum(parse_money(due["amount"]) for due in balance["dues"])
    second = ("You owe", _money(owed)) if owed else ("today", _signed(sum(each.received for each in today)))
    return _screen("balance", str(status["currency"]), _money(free), *second)


def _price(balance: Mapping[str, Any], today: Sequence[Figures]) -> list[Screen]:
    if not today:
        return []
    limits = balance["limits"]
    buy, sell = limits["buy_below"], limits["sell_above"]
    second = ("no limits set", "") if buy is None and sell is None else (f"B<{_limit(buy)}", f"S>{_limit(sell)}")
    return [_screen("price", "Price", f"{_shortened(today[-1].price, 6)}/kWh", *second)]


def _quarter(last: Figures) -> tuple[str, str]:
    """When the slot was, such as `at 00:45 - 01:00`."""
    hour, minute = int(last.start[11:13]), int(last.start[14:16])
    end = (hour * 60 + minute + SLOT_PROFILE_S // 60) % 1_440
    return f"at {hour:02d}:{minute:02d} - {end // 60:02d}:{end % 60:02d}", ""


def _power(energy_wh: Wh) -> str:
    """Energy of a slot as the power that made it."""
    power_w = energy_wh * SECONDS_PER_HOUR // SLOT_PROFILE_S
    if -1_000 < power_w < 1_000:
        return f"{power_w} W"
    kilo, rest = divmod(abs(power_w), 1_000)
    return f"{'-' if power_w < 0 else ''}{kilo}.{rest // 10:02d} kW"


def _kwh(energy_wh: Wh) -> str:
    """kWh with one decimal, without it where six places do not suffice."""
    tenths = (abs(energy_wh) + 50) // 100
    text = f"{'-' if energy_wh < 0 else ''}{tenths // 10}.{tenths % 10}"
    return text if len(text) <= 6 else text[:-2]


def _money(amount: Money) -> str:
    """The currency with two decimals, rounded to the nearest; the ledger keeps eight."""
    cents = (abs(amount) + MONEY_PER_CENT // 2) // MONEY_PER_CENT
    return format_money((-cents if amount < 0 else cents) * MONEY_PER_CENT)[:-6]


def _signed(amount: Money) -> str:
    text = _money(amount)
    return text if text.startswith("-") else f"+{text}"


def _limit(price: str | None) -> str:
    return "any" if price is None else _shortened(price, 5)


def _shortened(price: str, width: int) -> str:
    """A price in that many places; decimals that do not fit are left out."""
    return price[:width].rstrip(".")


def _screen(name: str, left: str, right: str, left_below: str, right_below: str) -> Screen:
    return Screen(name, (line(left, right), line(left_below, right_below)))


def line(left: str, right: str = "") -> str:
    """Exactly `WIDTH` characters: `right` at the right edge, `left` before it, cut where it does not fit."""
    left, right = _plain(left), _plain(right)[-WIDTH:]
    room = WIDTH - len(right)
    return left[: room - 1 if right else room].ljust(room) + right if room else right


def _plain(text: str) -> str:
    """Printable ASCII that every glass has: no backslash and no tilde, which the common one draws as something else."""
    return "".join(c if " " <= c <= "}" and c != "\\" else "?" for c in text)
