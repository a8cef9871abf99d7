"""Meter tables: every one loads, reads back what it says, and a wrong one is refused in words."""

from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware.meter import models
from ledger.base.errors import ConfigError

BLUEPRINT = (models.FOLDER / "blueprint.toml").read_text()


def words_of(model: models.Model, values: dict[str, Fraction | int]) -> dict[int, int]:
    """Registers by address that say these values."""
    words: dict[int, int] = {}
    for quantity, value in values.items():
        register = model.reads[quantity]
        words |= dict(enumerate(model.encode(register, value), register.address))
    return words


@pytest.mark.parametrize("name", models.names())
def test_every_table_loads_and_reads_back(name: str) -> None:
    model = models.load(name)
    assert (models.FOLDER / f"{name}.toml").read_text().startswith("# Data sheet: ")
    words = words_of(model, dict.fromkeys(model.reads, 123_456))
    for quantity in model.reads:
        exact = model.decode(quantity, words)
        assert exact is not None
        step = 16 if model.reads[quantity].kind == "float32" else 0
        assert abs(exact - 123_456_000) <= step * 1000
    fetched = {address + n for address, count in model.blocks() for n in range(count)}
    assert fetched == set(words)
    for _, count in model.blocks():
        assert count <= models.REGISTERS_PER_READ_MAX


def test_known_addresses_of_known_meters() -> None:
    assert models.load("iem3155").blocks(("import_wh", "export_wh")) == [(3203, 8)]
    assert models.load("sdm630").blocks(("import_wh", "export_wh")) == [(0x48, 4)]
    assert models.load("sdm630").function == 4


def test_words_of_a_real_reading() -> None:
    """1234.5 kWh as IEEE 754 single, high word first, as an SDM630 sends it."""
    model = models.load("sdm630")
    assert model.decode("import_wh", {0x48: 0x449A, 0x49: 0x5000}) == 1_234_500_000


@given(st.integers(0, 2**63 - 1))
def test_64_bit_registers_are_exact_at_any_age(value: int) -> None:
    model = models.load("iem3155")
    assert model.decode("import_wh", words_of(model, {"import_wh": value})) == value * 1000


@given(st.integers(0, 2**24), st.integers(0, 1000))
def test_a_float_register_never_falls_when_the_energy_grows(value: int, more: int) -> None:
    model = models.load("sdm630")
    before = model.decode("import_wh", words_of(model, {"import_wh": value}))
    after = model.decode("import_wh", words_of(model, {"import_wh": value + more}))
    assert before is not None
    assert after is not None
    assert before <= after


def test_no_value_is_null_and_never_zero() -> None:
    iem, sdm, pool = (models.load(name) for name in ("iem3155", "sdm630", "energo-pool"))
    assert iem.decode("import_wh", {3203: 0x8000, 3204: 0, 3205: 0, 3206: 0}) is None
    assert pool.decode("stored_wh", dict.fromkeys(range(8, 12), 0xFFFF)) is None
    for nan in (0x7FC0, 0x7F80, 0xFF80):  # NaN, infinity, minus infinity
        assert sdm.decode("import_wh", {0x48: nan, 0x49: 0}) is None


def test_a_command_goes_out_in_one_request() -> None:
    pool = models.load("energo-pool")
    values = {"setpoint_slot": 70_000, "setpoint_charge_wh": 5, "setpoint_discharge_wh": 65_536}
    assert pool.command(values) == [(100, [0, 0, 1, 4464, 0, 5, 1, 0])]
    with pytest.raises(ValueError, match="cannot be told mode"):
        pool.command({"mode": 1})
    with pytest.raises(ValueError, match="does not fit"):
        pool.command({"setpoint_charge_wh": 2**32})


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("function = 4", "function = 5", "function"),
        ('word_order = "big"', 'word_order = "mixed"', "mixed"),
        ('type = "float32"', 'type = "float16"', "float16"),
        ('factor = "1000"', 'factor = "0"', "above 0"),
        ('factor = "1000"', 'factor = "1/0"', "above 0"),
        ("address = 0x004A", "address = 0x0049", "stands on import_wh"),
        ("address = 0x004A", "address = 65535", "does not exist"),
        ("address = 0x004A", "", "is missing"),
        ("[read.export_wh]", "[read.exports]", "exports"),
    ],
)
def test_a_wrong_table_is_refused_in_words(tmp_path: Path, old: str, new: str, says: str) -> None:
    assert old in BLUEPRINT
    file = tmp_path / "wrong.toml"
    file.write_text(BLUEPRINT.replace(old, new, 1))
    with pytest.raises(ConfigError, match=says):
        models.load_file(file)


def test_a_meter_without_energy_is_no_meter(tmp_path: Path) -> None:
    file = tmp_path / "wrong.toml"
    file.write_text('title = "x"\nfunction = 3\n[read.power_w]\naddress = 1\ntype = "int16"\n')
    with pytest.raises(ConfigError, match="import_wh or export_wh"):
        models.load_file(file)
    with pytest.raises(ConfigError, match=r"no meter model 'nonesuch'.*blueprint"):
        models.load("nonesuch")
