"""Sixteen measured homes, 45 days, a roof on every other: sharing gives the street what the plain price does, more evenly."""

import csv
from pathlib import Path

import pytest

import matcher_c
from matcher_c.settling import SHARING_WHOLE, Edge, Offer, settle

DATA = Path(__file__).resolve().parents[2] / "tools" / "energo_demo" / "data"
RETAIL, FEED_IN, KWP = 30_000, 8_000, 5
EUR = 10**8


def column(folder: str) -> list[list[float]]:
    """The second column of each file, files by name."""
    found = []
    for path in sorted((DATA / folder).glob("*.csv")):
        with path.open(encoding="utf-8", newline="") as file:
            found.append([float(row[1]) for row in list(csv.reader(file))[1:]])
    return found


@pytest.fixture(scope="module")
def slots() -> list[list[tuple[int, int]]]:
    """Per slot and home what its meter counted in and out, in Wh; what a quarter hour leaves of a Wh is carried."""
    loads, plants = column("load"), column("pv")
    left = [[0, 0] for _ in loads]
    counted = []
    for s in range(len(loads[0])):
        row = []
        for home, load in enumerate(loads):
            made_w = round(plants[home % 3][s] * 10**6) * KWP // 1000 if home % 2 == 0 else 0
            net_w = round(load[s]) - made_w
            left[home] = [left[home][0] + max(net_w, 0), left[home][1] + max(-net_w, 0)]
            row.append((left[home][0] // 4, left[home][1] // 4))
            left[home] = [left[home][0] % 4, left[home][1] % 4]
        counted.append(row)
    return counted


@pytest.mark.parametrize(
    ("sharing", "roofs_eur", "others_eur"), [(0, (5, 9), (16, 43)), (SHARING_WHOLE, (12, 21), (10, 25))]
)
def test_what_a_street_gains_and_who_gains_it(
    slots: list[list[tuple[int, int]]], sharing: int, roofs_eur: tuple[int, int], others_eur: tuple[int, int]
) -> None:
    gains = [0] * 16
    grid = [Offer(0, 0, FEED_IN, -1, FEED_IN), Offer(0, 1, RETAIL, -1, RETAIL)]
    for row in slots:
        offers, whose = [], []
        for home, (import_wh, export_wh) in enumerate(row):
            net = import_wh - export_wh
            if net:
                outside = RETAIL if net > 0 else FEED_IN
                offers.append(Offer(0, int(net < 0), outside, abs(net), outside))
                whose.append(home)
        settled = settle(matcher_c.clear_arrays, [Edge(-1, 0, -1, -1)], offers + grid, ranks=[0], sharing=sharing)
        for i, home in enumerate(whose):
            sign = 1 if offers[i].side else -1
            gains[home] += settled.net[i] - sign * offers[i].quantity * offers[i].outside
    assert round(sum(gains) / EUR) == 242
    for homes, expected in ((gains[::2], roofs_eur), (gains[1::2], others_eur)):
        assert (round(min(homes) / EUR), round(max(homes) / EUR)) == expected
