"""Measured profiles as whole numbers, exactly as the fixed interface says."""

import csv
from fractions import Fraction
from pathlib import Path

import pytest

from energo_demo import profiles, street
from ledger.base.errors import ConfigError

DATA = street.HERE / "data"
START_S = 1_616_544_000  # 2021-03-24, 00:00 UTC


def column(path: Path, start_s: int, count: int, number: int = 1) -> list[str]:
    """Cells of a file, read without the code under test."""
    with path.open(newline="") as file:
        rows = [row for row in csv.reader(file) if row[0] != "timestamp" and int(float(row[0])) >= start_s]
    return [row[number] for row in rows[:count]]


def test_a_load_in_w_is_quarter_wh_a_slot() -> None:
    for path in sorted((DATA / "load").glob("*.csv")):
        assert list(profiles.load_qwh(path, START_S, 96)) == [int(cell) for cell in column(path, START_S, 96)]


def test_pv_is_rounded_to_a_millionth_before_it_is_scaled() -> None:
    for path in sorted((DATA / "pv").glob("*.csv")):
        cells = [Fraction(cell) for cell in column(path, START_S, 700)]
        assert list(profiles.pv_qwh(path, 5, START_S, 700)) == [round(cell * 10**6) * 5 // 1000 for cell in cells]
    assert sum(profiles.pv_qwh(sorted((DATA / "pv").glob("*.csv"))[0], 10, START_S, 96)) > 0


def test_a_cars_energy_stands_in_the_slot_of_its_return() -> None:
    for path in sorted((DATA / "ev").glob("*.csv")):
        slots = profiles.car_slots(path, START_S, 700)
        assert sum(debt for _, debt in slots) == 4 * sum(int(c) for c in column(path, START_S, 700, 2))
        assert all(plugged_in for plugged_in, debt in slots if debt)


def test_seed_0_is_the_measurement_and_others_stay_within_a_fifth() -> None:
    path = sorted((DATA / "load").glob("*.csv"))[0]
    measured = profiles.load_qwh(path, START_S, 96)
    assert profiles.vary(measured, 0, "home1/load") == measured
    varied = profiles.vary(measured, 7, "home1/load")
    assert varied == profiles.vary(measured, 7, "home1/load")
    assert varied not in (measured, profiles.vary(measured, 8, "home1/load"), profiles.vary(measured, 7, "home2/load"))
    for before, after in zip(measured, varied, strict=True):
        assert before * 800 // 1000 <= after <= before * 1200 // 1000


def test_coverage_is_counted_in_whole_slots() -> None:
    path = sorted((DATA / "load").glob("*.csv"))[0]
    assert profiles.slots_from(path, START_S) == 760
    assert profiles.slots_from(path, START_S + 1) == 0
    assert profiles.slots_from(path, 0) == 0
    with pytest.raises(ConfigError, match="does not cover"):
        profiles.load_qwh(path, START_S, 761)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("timestamp,w\n0,1\n900,2\n2700,3\n", "row 4"),
        ("timestamp,w\n0,1\n900,x\n", "cannot be read"),
        ("timestamp,w\n0,1\n900,-1\n", "no profile"),
        ("timestamp,w\n0,1\n900\n", "no profile"),
        ("timestamp,w\n", "no profile"),
        ("timestamp,w\n0,é\n", "cannot be read"),
    ],
)
def test_a_damaged_profile_is_named(tmp_path: Path, text: str, says: str) -> None:
    file = tmp_path / "damaged.csv"
    file.write_text(text, encoding="latin-1")
    with pytest.raises(ConfigError, match=says):
        profiles.slots_from(file, 0)
