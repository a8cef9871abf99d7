"""The clearing's times as a picture: both axes logarithmic, a line a shape, the yardsticks dashed. SVG by hand."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, Final
from xml.sax.saxutils import escape

WIDTH, HEIGHT = 860, 520
LEFT, RIGHT, TOP, BOTTOM = 76, 210, 48, 60
INK, PALE = "#334155", "#e2e8f0"
LABELS: Final = {
    "one": "one bus",
    "street": "street, 25 homes a feeder",
    "path": "path",
    "star": "star",
    "tree": "balanced tree",
}
COLORS: Final = {"one": "#2563eb", "street": "#059669", "path": "#d97706", "star": "#9333ea", "tree": "#dc2626"}
BESIDE: Final = (("flow_ms", "OR-tools, street", "4 4"), ("lp_ms", "HiGHS, street", "1 4"))

Point = tuple[float, float]


def _decades(values: Iterable[float]) -> tuple[int, int]:
    listed = list(values)
    low, high = math.floor(math.log10(min(listed))), math.ceil(math.log10(max(listed)))
    return low, max(high, low + 1)


def _duration(ms: float) -> str:
    if ms < 1:
        return f"{ms * 1e3:g} µs"
    return f"{ms:g} ms" if ms < 1e3 else f"{ms / 1e3:g} s"


def picture(rows: Sequence[dict[str, Any]]) -> str:
    """The picture of a table of `clearing.table`, as SVG text. Needs at least one row."""
    lines: list[tuple[str, str, str, list[Point]]] = []
    for shape, label in LABELS.items():
        own = [(row["orders"], row["ms"]) for row in rows if row["shape"] == shape]
        if own:
            lines.append((label, COLORS[shape], "", own))
    one = [(row["orders"], row["sort_ms"]) for row in rows if row["shape"] == "one"]
    if one:
        lines.append(("a sort of the orders", INK, "6 3", one))
    for key, label, dashes in BESIDE:
        theirs = [(row["orders"], row[key]) for row in rows if row["shape"] == "street" and row[key] is not None]
        if theirs:
            lines.append((label, INK, dashes, theirs))
    points = [point for *_, line in lines for point in line]
    x_low, x_high = _decades(x for x, _ in points)
    y_low, y_high = _decades(y for _, y in points)
    right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM

    def x_of(orders: float) -> float:
        return LEFT + (math.log10(orders) - x_low) / (x_high - x_low) * (right - LEFT)

    def y_of(ms: float) -> float:
        return bottom - (math.log10(ms) - y_low) / (y_high - y_low) * (bottom - TOP)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="system-ui, sans-serif" '
        f'font-size="13" fill="{INK}" role="img">',
        "<title>How long one clearing takes</title>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
        f'<text x="{LEFT}" y="26" font-size="16" font-weight="600">How long one clearing takes</text>',
    ]
    for power in range(x_low, x_high + 1):
        x = x_of(10**power)
        parts.append(f'<line x1="{x:.1f}" y1="{TOP}" x2="{x:.1f}" y2="{bottom}" stroke="{PALE}"/>')
        parts.append(f'<text x="{x:.1f}" y="{bottom + 20}" text-anchor="middle">{10**power:,}</text>')
    for power in range(y_low, y_high + 1):
        y = y_of(10.0**power)
        parts.append(f'<line x1="{LEFT}" y1="{y:.1f}" x2="{right}" y2="{y:.1f}" stroke="{PALE}"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{_duration(10.0**power)}</text>')
    parts.append(f'<text x="{(LEFT + right) / 2:.1f}" y="{HEIGHT - 14}" text-anchor="middle">orders in the slot</text>')
    taken: list[float] = []
    for label, color, dashes, line in sorted(lines, key=lambda item: y_of(item[3][-1][1])):
        path = " ".join(f"{x_of(x):.1f},{y_of(y):.1f}" for x, y in line)
        dash = f' stroke-dasharray="{dashes}"' if dashes else ""
        parts.append(f'<polyline points="{path}" fill="none" stroke="{color}" stroke-width="2"{dash}/>')
        parts += [f'<circle cx="{x_of(x):.1f}" cy="{y_of(y):.1f}" r="2.5" fill="{color}"/>' for x, y in line]
        end, y = x_of(line[-1][0]), y_of(line[-1][1]) + 4
        if end < right:  # it got no further: its name stands there
            parts.append(f'<text x="{end + 8:.1f}" y="{y:.1f}" fill="{color}">{escape(label)}</text>')
            continue
        while any(abs(y - other) < 16 for other in taken):  # labels beside the ends, none over another
            y += 2
        taken.append(y)
        parts.append(f'<text x="{right + 12}" y="{y:.1f}" fill="{color}">{escape(label)}</text>')
        parts.append(
            f'<line x1="{end + 4:.1f}" y1="{y_of(line[-1][1]):.1f}" x2="{right + 8}" y2="{y - 4:.1f}" stroke="{color}" '
            'stroke-width="0.6"/>'
        )
    parts.append("</svg>")
    return "\n".join(parts) + "\n"
