"""How a run shows itself: a live table on a terminal, a line now and then anywhere else. rich is imported where it is used."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Final, TextIO

from ledger.base import units
from ledger.base.genesis import counterparty_name

from .run import HomeRun, Now

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

PLAIN_LINES: Final = 12  # of a whole run, apart from what happens
SAYINGS_SHOWN: Final = 4
WIDE_COLUMNS: Final = 118  # of a terminal; a narrower one does without what the homes have


class PlainShow:
    """Sentences as lines, and a line for every so many slots."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stdout
        self._next_slot = 0

    def say(self, text: str) -> None:
        """A line."""
        print(text, file=self._stream, flush=True)

    def tick(self, now: Now) -> None:
        """A line if enough slots have been settled since the last."""
        closed = now.closed
        if closed is None or int(closed["slot"]) < self._next_slot:
            return
        every = max(1, now.slot_count // PLAIN_LINES)
        self._next_slot = (int(closed["slot"]) // every + 1) * every
        made, used = _street_sums(closed)
        self.say(
            f"{_clock(closed)} slot {int(closed['slot']) + 1}/{now.slot_count}: made {made} Wh, used {used} Wh, "
            f"{closed['local_wh']} Wh among neighbors, price {closed['price']}, height {_height(now)}"
        )

    def close(self) -> None:
        """Nothing to close."""


class LiveShow:
    """A table that is drawn anew in place."""

    def __init__(self, console: Console) -> None:
        from rich.live import Live

        self._sayings: list[str] = []
        self._now: Now | None = None
        self._live = Live(console=console, auto_refresh=False, transient=True)
        self._live.start()

    def say(self, text: str) -> None:
        """A line below the table."""
        self._sayings = [*self._sayings, text][-SAYINGS_SHOWN:]
        self._draw()

    def tick(self, now: Now) -> None:
        """The table anew."""
        self._now = now
        self._draw()

    def _draw(self) -> None:
        from rich.console import Group
        from rich.text import Text

        wide = self._live.console.width >= WIDE_COLUMNS
        parts: list[RenderableType] = [] if self._now is None else [_head(self._now), _table(self._now, wide=wide)]
        parts += [Text(saying, style="dim") for saying in self._sayings]
        self._live.update(Group(*parts), refresh=True)

    def close(self) -> None:
        """Leave the terminal as it was."""
        self._live.stop()


def _clock(closed: dict[str, Any]) -> str:
    return str(closed["start"])[:16].replace("T", " ")


def _height(now: Now) -> int:
    return max((home.status["height"] for home in now.homes if home.status), default=0)


def _row(closed: dict[str, Any], device: str) -> dict[str, Any] | None:
    return next((row for row in closed["devices"] if row["device"] == device), None)


def made_wh(closed: dict[str, Any], home: str) -> int:
    """What a home's plants made in a slot, where their meters reported it."""
    behind = [each for each in closed["informed"].values() if each["account"] == home]
    return sum(int(each["export_wh"]) for each in behind if each["role"] == "generation")


def _street_sums(closed: dict[str, Any]) -> tuple[int, int]:
    """Wh made and used by all homes and the generators in a slot."""
    made = used = 0
    for row in closed["devices"]:
        if row["role"] == "connection":
            plant_wh = made_wh(closed, str(row["device"]))
            made += plant_wh
            used += plant_wh + row["import_wh"] - row["export_wh"]
        elif row["role"] == "generator":
            made += row["export_wh"]
    return made, used


def _head(now: Now) -> RenderableType:
    from rich.console import Group
    from rich.progress_bar import ProgressBar
    from rich.text import Text

    closed = now.closed
    text = Text(f"{now.street.name}  ", style="bold")
    if closed is None:
        text.append(f"{now.street.day}, before the first slot")
    else:
        text.append(
            f"{_clock(closed)} UTC   slot {now.slot}/{now.slot_count}   price {closed['price']} {now.street.currency}/kWh"
        )
        text.append(f"   {closed['local_wh']} Wh among neighbors")
    text.append(f"   height {_height(now)}")
    if now.waiting_for:
        text.append(f"   waits for {now.waiting_for} more homes", style="bold red")
    settled = 0 if closed is None else int(closed["slot"]) + 1
    return Group(text, ProgressBar(total=now.slot_count, completed=settled, width=72))


def _table(now: Now, *, wide: bool) -> RenderableType:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE, pad_edge=False)
    table.add_column("Wh")
    if wide:
        table.add_column("has", no_wrap=True)
    other = counterparty_name(now.street.market.islanded)
    for title in ("makes", "uses", "of pool", "buys", "sells", f"of {other}", now.street.currency, "height"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    rows = [_home_cells(now, home) for home in now.homes]
    rows += [
        [plant.name, "the street's", *_device_cells(now, plant.name, plant=True), "", ""]
        for plant in now.street.generators
    ]
    for pool in now.street.pools:
        stored = next((str(each["stored_wh"]) for each in now.pools if each["name"] == pool.name), "0")
        rows.append([pool.name, "the street's", *_device_cells(now, pool.name), "", f"{stored} Wh stored"])
    for name, has, *cells in rows:
        table.add_row(name, *[has] * wide, *cells)
    return table


def _home_cells(now: Now, home: HomeRun) -> list[str]:
    height = "" if home.status is None else str(home.status["height"])
    if home.away:
        note = f"[red]{'no power' if home.away.power else 'off'} until slot {home.away.last}[/red]"
    elif home.status is None:
        note = "[yellow]starting[/yellow]"
    else:
        note = "catching up" if home.status["syncing"] else ""
    return [home.name, home.role, *_device_cells(now, home.name), height, note]


def _device_cells(now: Now, device: str, *, plant: bool = False) -> list[str]:
    """makes, uses, pool, buys, sells, grid, money of one slot; Wh but the last."""
    row = _row(now.closed, device) if now.closed else None
    if now.closed is None or row is None:
        return [""] * 7
    if row["status"] != "metered":
        return ["", "", "", "", "", "missing", ""]
    made = row["export_wh"] if plant else made_wh(now.closed, device)
    used = 0 if plant or row["role"] == "pool" else made + row["import_wh"] - row["export_wh"]
    grid = row["bought_grid_wh"] - row["sold_grid_wh"]
    stored = row["redeemed_wh"] - row["deposited_wh"]
    money = units.parse_money(row["net"]) * 1_000 // units.MONEY_UNIT
    cells = [_number(n) for n in (made, used, stored, row["bought_local_wh"], row["sold_local_wh"], grid)]
    sign = "-" if money < 0 else ""
    return [*cells, f"{sign}{abs(money) // 1_000}.{abs(money) % 1_000:03d}"]


def _number(value: int) -> str:
    return str(value) if value else "·"
