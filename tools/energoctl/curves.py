"""The supply and demand curves of a clearing as a picture: SVG, or plain characters for a terminal.

Every limit stands where it is worth the same at the root: moved by the difference between the root's price and that of its own
bus (fees on the way, and congestion). So the curves cross at the root's price and at the energy that trades, on any network.
Orders that sharing dropped are left out; the public grid is a step without an end.

The same clearing gives the same bytes on every machine.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

from ledger.base.units import MONEY_UNIT, PRICE_UNIT, format_price
from matcher_c import BUY, SELL
from matcher_c.documents import Cleared

WIDTH, HEIGHT = 760, 480  # of the SVG, in its own units
LEFT, RIGHT, TOP, BOTTOM = 70, 24, 122, 58  # its margins
COLUMNS, ROWS = 64, 18  # of the picture in characters
FAR: Final = (
    8  # limits so many times further from the price than the middle one would flatten the picture: they run off it
)

BLUE, ORANGE, GREEN = "#0b63c5", "#cf4a12", "#1a7f37"
INK, PALE, LINE = "#1f2328", "#59636e", "#e4e7eb"


@dataclass(frozen=True)
class Step:
    """Orders at one limit; `start` and `end` in Wh along the curve, `end` None where the grid has no end."""

    price: int
    start: int
    end: int | None


@dataclass(frozen=True)
class Picture:
    """What is drawn: prices in money units per Wh as at the root, energy in Wh."""

    root: str
    demand: tuple[Step, ...]
    supply: tuple[Step, ...]
    grid_asks: int | None
    grid_pays: int | None
    price: int
    traded: int
    lowest: int
    highest: int
    furthest: int
    notes: tuple[str, ...]


def picture_of(cleared: Cleared) -> Picture:
    """The curves of a clearing, its price and its energy."""
    clearing, settlement = cleared.clearing, cleared.settlement
    root = next(iter(clearing.prices))
    price = clearing.prices[root]
    dropped = set(settlement.dropped) if settlement else set()  # for membership only
    limits: dict[int, list[tuple[int, int | None]]] = {BUY: [], SELL: []}
    grid: dict[int, int] = {}
    for i, order in enumerate(cleared.orders):
        if i not in dropped:
            limits[order.side].append((order.price + price - clearing.prices[order.bus], order.quantity))
            if order.quantity is None:
                grid[order.side] = order.price
    traded = sum(clearing.traded[order.id] for order in cleared.orders if order.side == BUY)
    demand, supply = _curve(limits[BUY], falling=True), _curve(limits[SELL], falling=False)
    ends = [step.start if step.end is None else step.end for step in demand + supply]
    lowest, highest = _heights(price, demand + supply, [*grid.values()])
    return Picture(
        root,
        demand,
        supply,
        grid.get(SELL),
        grid.get(BUY),
        price,
        traded,
        lowest,
        highest,
        max(1, max([traded, *ends]) * 27 // 25),
        tuple(_notes(cleared)),
    )


def _curve(limits: Sequence[tuple[int, int | None]], *, falling: bool) -> tuple[Step, ...]:
    """Best limit first; homes before the grid, which nothing comes behind."""
    steps: list[Step] = []
    at = 0
    for price, quantity in sorted(limits, key=lambda o: (-o[0] if falling else o[0], o[1] is None)):
        end = None if quantity is None else at + quantity
        if steps and steps[-1].price == price:
            steps[-1] = Step(price, steps[-1].start, end)
        else:
            steps.append(Step(price, at, end))
        if end is None:
            break
        at = end
    return tuple(steps)


def _heights(price: int, steps: Sequence[Step], grid: Sequence[int]) -> tuple[int, int]:
    """The prices between which everything is drawn that is not far off."""
    away = sorted(abs(step.price - price) for step in steps)
    reach = max([FAR * away[len(away) // 2] if away else 0, *(abs(each - price) for each in grid)])
    near = [step.price for step in steps if abs(step.price - price) <= reach]
    lowest, highest = min([price, *grid, *near]), max([price, *grid, *near])
    room = max(1, (highest - lowest) * 8 // 100)
    return min(0, lowest) if 0 <= lowest <= highest // 2 else lowest - room, highest + room


def _notes(cleared: Cleared) -> Iterator[str]:
    settlement = cleared.settlement
    if settlement is None:
        return
    averages = []
    for side, verb in ((BUY, "pay"), (SELL, "receive")):
        homes = [i for i, order in enumerate(cleared.orders) if order.side == side and order.quantity is not None]
        energy = sum(settlement.traded[i] for i in homes)
        money = sum(settlement.payments[i] + settlement.shared[i] for i in homes)
        if energy:
            averages.append(f"{'buyers' if side == BUY else 'sellers'} {verb} {format_price(abs(money) // energy)}")
    giving = {order.side for order, amount in zip(cleared.orders, settlement.shared, strict=True) if amount < 0}
    if giving:
        moved = sum(amount for amount in settlement.shared if amount > 0)
        ways = "from the buyers to the sellers" if BUY in giving else "from the sellers to the buyers"
        yield f"sharing the gain moves {_cents(moved)} {ways}"
    if averages:
        yield f"on average {' and '.join(averages)} per kWh"
    if settlement.dropped:
        count = len(settlement.dropped)
        whose = (
            "1 order would have passed its own limit"
            if count == 1
            else f"{count} orders would have passed their limits"
        )
        yield f"{whose} by sharing, and did not trade"


def _cents(amount: int) -> str:
    """Money with as many of four decimals as it needs, at least two."""
    rounded = (amount * 10_000 + MONEY_UNIT // 2) // MONEY_UNIT
    return format_price(rounded * (PRICE_UNIT // 10_000))


def _energy(energy_wh: int) -> str:
    return f"{energy_wh} Wh" if energy_wh < 1_000 else f"{energy_wh / 1_000:.3f}".rstrip("0").rstrip(".") + " kWh"


def _headline(picture: Picture) -> str:
    return f"{_energy(picture.traded)} trade at {format_price(picture.price)} per kWh"


def _ticks(lowest: int, highest: int, most: int) -> list[int]:
    """At most so many round numbers, 1, 2 or 5 times a power of ten apart."""
    steps = (scale * factor for scale in (10**n for n in range(20)) for factor in (1, 2, 5))
    step = next(step for step in steps if (highest - lowest) // step < most)
    return list(range(-(-lowest // step) * step, highest + 1, step))


# ---- SVG


@dataclass(frozen=True)
class _Frame:
    """Where prices and energies stand in the SVG."""

    picture: Picture

    def x(self, energy_wh: int) -> str:
        across = (WIDTH - LEFT - RIGHT) * min(energy_wh, self.picture.furthest) / self.picture.furthest
        return f"{LEFT + across:.1f}"

    def y(self, price: int, shift: float = 0) -> str:
        lowest, highest = self.picture.lowest, self.picture.highest
        down = (HEIGHT - TOP - BOTTOM) * (highest - min(max(price, lowest), highest)) / (highest - lowest)
        return f"{TOP + down + shift:.1f}"

    def line(self, steps: Sequence[Step], until: int) -> list[str]:
        """The corners of a curve from the left, as far as `until`."""
        corners: list[str] = []
        for step in steps:
            if step.start <= until:
                end = until if step.end is None else min(step.end, until)
                corners += [f"{self.x(step.start)},{self.y(step.price)}", f"{self.x(end)},{self.y(step.price)}"]
        return corners

    def gain(self, steps: Sequence[Step]) -> str:
        """The area between a curve and the price, up to what trades."""
        at_price = self.y(self.picture.price)
        left, right = f"{self.x(0)},{at_price}", f"{self.x(self.picture.traded)},{at_price}"
        return "M" + " L".join([left, *self.line(steps, self.picture.traded), right]) + " Z"


def _text(x: str, y: str, words: str, *, size: int = 13, color: str = PALE, anchor: str = "start") -> str:
    weight = ' font-weight="600"' if color != PALE else ""
    return (
        f'<text x="{x}" y="{y}" font-size="{size}" fill="{color}" text-anchor="{anchor}"{weight}>{escape(words)}</text>'
    )


def _label(x: str, y: str, words: str, color: str, anchor: str) -> Iterator[str]:
    """Words over the lines of the picture, with a white edge around them."""
    text = _text(x, y, words, color=color, anchor=anchor)
    yield text.replace("<text", '<text stroke="#ffffff" stroke-width="5" stroke-linejoin="round"', 1)
    yield text


def svg(picture: Picture) -> str:
    """The picture as an SVG file."""
    frame = _Frame(picture)
    curves = ((picture.supply, ORANGE, "5"), (picture.demand, BLUE, "2.5"))
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        'font-family="system-ui, -apple-system, Segoe UI, Roboto, DejaVu Sans, sans-serif" role="img">',
        f"<title>{escape(f'Supply and demand at {picture.root}: {_headline(picture)}')}</title>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" rx="10" fill="#ffffff"/>',
        _text(str(LEFT), "30", f"Supply and demand at {picture.root}", size=18, color=INK),
        _text(str(LEFT), "53", _headline(picture), size=15, color=GREEN),
        *(_text(str(LEFT), str(74 + 18 * line), note) for line, note in enumerate(picture.notes)),
        *_legend(),
        *_axes(frame),
    ]
    if picture.traded:
        parts += [f'<path d="{frame.gain(steps)}" fill="{color}" fill-opacity="0.13"/>' for steps, color, _ in curves]
    for steps, color, width in curves:
        if steps:
            corners = " L".join(frame.line(steps, picture.furthest))
            parts.append(
                f'<path d="M{corners}" fill="none" stroke="{color}" stroke-width="{width}" '
                'stroke-linejoin="round" stroke-linecap="round"/>'
            )
    parts += [*_grid_labels(frame), *_mark(frame), "</svg>"]
    return "\n".join(parts) + "\n"


def _legend() -> Iterator[str]:
    for number, (words, color, width) in enumerate((("who buys", BLUE, "2.5"), ("who sells", ORANGE, "5"))):
        x = WIDTH - RIGHT - 236 + 122 * number
        yield f'<path d="M{x},25 h22" stroke="{color}" stroke-width="{width}" stroke-linecap="round"/>'
        yield _text(str(x + 30), "30", words, color=color)


def _axes(frame: _Frame) -> Iterator[str]:
    picture = frame.picture
    bottom, right = HEIGHT - BOTTOM, WIDTH - RIGHT
    for price in _ticks(picture.lowest, picture.highest, 8):
        yield f'<path d="M{LEFT},{frame.y(price)} H{right}" stroke="{LINE}"/>'
        yield _text(str(LEFT - 9), frame.y(price, 4), format_price(price), anchor="end")
    whole = picture.furthest >= 1_000
    for energy in _ticks(0, picture.furthest, 10):
        yield f'<path d="M{frame.x(energy)},{bottom} v5" stroke="{PALE}"/>'
        label = f"{energy / 1_000:g}" if whole else str(energy)
        yield _text(frame.x(energy), str(bottom + 20), label, anchor="middle")
    yield _text(str(right), str(HEIGHT - 14), f"energy, {'kWh' if whole else 'Wh'}", anchor="end")
    yield _text(str(LEFT - 9), str(TOP - 9), "per kWh", anchor="end")
    yield f'<path d="M{LEFT},{TOP} V{bottom} H{right}" fill="none" stroke="{PALE}"/>'


def _grid_labels(frame: _Frame) -> Iterator[str]:
    asks, pays = frame.picture.grid_asks, frame.picture.grid_pays
    right = str(WIDTH - RIGHT - 4)
    if asks is not None:
        yield from _label(right, frame.y(asks, -9), f"the public grid asks {format_price(asks)}", ORANGE, "end")
    if pays is not None:
        yield from _label(right, frame.y(pays, 20), f"the public grid pays {format_price(pays)}", BLUE, "end")


def _mark(frame: _Frame) -> Iterator[str]:
    """The price and the energy that trades, led to both axes."""
    picture = frame.picture
    x, y = frame.x(picture.traded), frame.y(picture.price)
    yield f'<path d="M{LEFT},{y} H{x} V{HEIGHT - BOTTOM}" fill="none" stroke="{GREEN}" stroke-dasharray="2 5"/>'
    yield f'<circle cx="{x}" cy="{y}" r="6.5" fill="{GREEN}" stroke="#ffffff" stroke-width="2"/>'


# ---- plain characters


def plain(picture: Picture) -> str:
    """The picture in plain characters: o who buys, # who sells, = where both are, @ the price and the energy that trades."""
    span = picture.highest - picture.lowest

    def row(price: int) -> int:
        inside = min(max(price, picture.lowest), picture.highest)
        return (ROWS - 1) * (picture.highest - inside) // span

    cells = [[" "] * COLUMNS for _ in range(ROWS)]
    for steps, sign in ((picture.supply, "#"), (picture.demand, "o")):
        before: int | None = None
        for column in range(COLUMNS):
            energy = picture.furthest * (2 * column + 1) // (2 * COLUMNS)
            step = next((s for s in steps if s.end is None or energy < s.end), None)
            if step is None:
                break
            here = row(step.price)
            upright = range(min(here, before), max(here, before) + 1) if before is not None else (here,)
            for line in upright:
                cells[line][column] = "=" if cells[line][column] in "#=" and sign == "o" else sign
            before = here
    cells[row(picture.price)][min(COLUMNS - 1, COLUMNS * picture.traded // picture.furthest)] = "@"
    marked = {row(price): format_price(price) for price in _ticks(picture.lowest, picture.highest, 6)}
    lines = [f"Supply and demand at {picture.root}: {_headline(picture)}", *picture.notes, ""]
    lines += [f"{marked.get(number, ''):>10} |{''.join(line).rstrip()}" for number, line in enumerate(cells)]
    lines.append(" " * 11 + "+" + "-" * COLUMNS)
    lines.append(f"{'':11}0{_energy(picture.furthest):>{COLUMNS}}")
    lines.append("o who buys, # who sells, = both, @ what trades, and its price per kWh")
    return "\n".join(line.rstrip() for line in lines) + "\n"
