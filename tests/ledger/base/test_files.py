"""What is read from disk: every mistake names the file, the key and the fix."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ledger.base import files
from ledger.base.crypto import ED25519
from ledger.base.errors import ConfigError, FolderInUse
from ledger.base.genesis import PRICINGS
from matcher_c import documents
from tests.ledger.genesis_text import genesis_toml


@pytest.fixture
def genesis_file(tmp_path: Path) -> Path:
    path = tmp_path / "genesis.toml"
    path.write_text(genesis_toml())
    return path


def test_a_genesis_loads_and_its_hash_depends_on_every_field(genesis_file: Path) -> None:
    genesis = files.load_genesis(genesis_file)
    assert [home.name for home in genesis.homes] == ["home1", "home2"]
    assert genesis.market.retail == 30_000
    text = genesis_file.read_text()
    for old, new in (('retail = "0.30"', 'retail = "0.31"'), ("slot_ms = 1500", "slot_ms = 1600"), ("Test", "Tess")):
        genesis_file.write_text(text.replace(old, new))
        assert files.load_genesis(genesis_file).chain_id != genesis.chain_id


MISTAKES = {
    "not TOML": ("[street]", "[street", "is not TOML"),
    "missing key": ('currency = "EUR"', "", r"\[street\] currency: is missing"),
    "wrong type": ("slot_ms = 1500", 'slot_ms = "1500"', r"\[time\] slot_ms: is '1500'; it must be of type int"),
    "out of range": ("stale_ms = 500", "stale_ms = 499", "between 500"),
    "unknown key": ("slot_ms = 1500", "slot_ms = 1500\nslots = 3", "slots: is not known here"),
    "bad price": ('retail = "0.30"', 'retail = "0.3000001"', "more than 5 decimals"),
    "tariff upside down": ('feed_in = "0.08"', 'feed_in = "0.31"', r"\[tariff\] retail: is below feed_in"),
    "a grid that takes money": ('feed_in = "0.08"', 'feed_in = "-0.01"', r"\[tariff\] feed_in: is negative"),
    "no tariff": (
        'retail = "0.30"\nfeed_in = "0.08"',
        "",
        r"\[tariff\] retail: is missing; .* or island_buy and island_sell",
    ),
    "half a tariff": ('retail = "0.30"', "", r"\[tariff\] retail: is missing"),
    "half an island": ('retail = "0.30"\nfeed_in = "0.08"', 'island_sell = "0.05"', "island_buy: is missing"),
    "other half": ('retail = "0.30"\nfeed_in = "0.08"', 'island_buy = "0.40"', "island_sell: is missing"),
    "grid and island": (
        "[tariff]",
        '[tariff]\nisland_buy = "0.40"\nisland_sell = "0.05"',
        "cannot stand beside retail",
    ),
    "mixed tariff": ('retail = "0.30"', 'island_buy = "0.40"', "island_buy: cannot stand beside feed_in"),
    "island upside down": (
        'retail = "0.30"\nfeed_in = "0.08"',
        'island_buy = "0.05"\nisland_sell = "0.051"',
        r"\[tariff\] island_buy: is below island_sell",
    ),
    "island price too fine": (
        'retail = "0.30"\nfeed_in = "0.08"',
        'island_buy = "0.400001"\nisland_sell = "0.05"',
        "more than 5 decimals",
    ),
    "home called balancing": ('name = "home2"\nowner_key', 'name = "balancing"\nowner_key', "taken by the street"),
    "no such bus": ('bus = "home2"\ncash', 'bus = "nowhere"\ncash', "no bus is called nowhere"),
    "sharing": ('grid_cash = "1000.00"', 'grid_cash = "1000.00"\nsharing = "1.1"', "not between 0 and 1"),
    "pricing": ('grid_cash = "1000.00"', 'grid_cash = "1000.00"\npricing = "auction"', "no rule of pricing"),
    "pricing of a tree": (
        'grid_cash = "1000.00"',
        'grid_cash = "1000.00"\npricing = "midpoint"',
        "midpoint is for a street of one bus; use uniform",
    ),
    "shares": ("home1 = 5000", "home1 = 4999", "add up to 10000"),
    "role": ('role = "generator"', 'role = "windmill"', "is no role"),
    "key": ('key = "', 'key = "zz', "64 hexadecimal digits"),
    "twice": ('name = "home2"\nowner_key', 'name = "home1"\nowner_key', "stands twice"),
    "created late": ("created_ms = 1", "created_ms = 9999999999999", "must lie before origin_ms"),
}


@pytest.mark.parametrize(("old", "new", "words"), MISTAKES.values(), ids=MISTAKES.keys())
def test_each_mistake_is_named(genesis_file: Path, old: str, new: str, words: str) -> None:
    text = genesis_file.read_text()
    assert old in text
    genesis_file.write_text(text.replace(old, new, 1))
    with pytest.raises(ConfigError, match=words) as caught:
        files.load_genesis(genesis_file)
    assert str(genesis_file) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_street_without_a_public_grid_names_the_prices_of_its_own_balancing(genesis_file: Path) -> None:
    grid = files.load_genesis(genesis_file)
    text = genesis_file.read_text()
    prices = (("0.40", "0.05", 40_000, 5_000), ("0.10", "0.10", 10_000, 10_000), ("-0.01", "-0.02", -1_000, -2_000))
    for buy, sell, costs, brings in prices:
        island = f'island_buy = "{buy}"\nisland_sell = "{sell}"'
        genesis_file.write_text(text.replace('retail = "0.30"\nfeed_in = "0.08"', island))
        genesis = files.load_genesis(genesis_file)
        assert (genesis.market.islanded, genesis.market.retail, genesis.market.feed_in) == (True, costs, brings)
        assert list(genesis.accounts)[:3] == ["balancing", "operator", "treasury"]
        assert genesis.chain_id != grid.chain_id
    assert not grid.market.islanded
    assert list(grid.accounts)[:3] == ["grid", "operator", "treasury"]
    same = 'island_buy = "0.30"\nisland_sell = "0.08"'
    genesis_file.write_text(text.replace('retail = "0.30"\nfeed_in = "0.08"', same))
    assert files.load_genesis(genesis_file).chain_id != grid.chain_id, "an island is another street at equal prices"


def test_sharing_is_whole_unless_something_else_is_said(genesis_file: Path) -> None:
    assert files.load_genesis(genesis_file).market.sharing == 10_000
    genesis_file.write_text(genesis_file.read_text().replace("[market]", '[market]\nsharing = "0.25"'))
    assert files.load_genesis(genesis_file).market.sharing == 2_500


def test_a_street_of_one_bus_chooses_how_it_prices(genesis_file: Path) -> None:
    genesis = files.load_genesis(genesis_file)
    one_bus = genesis._replace(
        buses=genesis.buses[:1],
        homes=tuple(home._replace(bus="root") for home in genesis.homes),
        devices=tuple(device._replace(bus="root") for device in genesis.devices),
    )
    assert tuple(PRICINGS) == tuple(documents.PRICINGS)
    for number in documents.PRICINGS.values():
        market = genesis.market._replace(pricing=int(number), sharing=0)
        files.check_genesis(genesis_file, one_bus._replace(market=market))
    market = genesis.market._replace(pricing=documents.PRICINGS["midpoint"])
    with pytest.raises(ConfigError, match="sharing: must be 0 where pricing is midpoint"):
        files.check_genesis(genesis_file, one_bus._replace(market=market))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        files.load_genesis(tmp_path / "none.toml")


def test_keys_are_private_and_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "a.key"
    public = files.create_key(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert ED25519.public(files.load_key(path)) == public
    with pytest.raises(ConfigError, match="exists already"):
        files.create_key(path)
    path.chmod(0o640)
    with pytest.raises(ConfigError, match="chmod 600"):
        files.load_key(path)
    path.chmod(0o600)
    path.write_text("nonsense")
    with pytest.raises(ConfigError, match="64 hexadecimal"):
        files.load_key(path)


def test_a_folder_belongs_to_one_process(tmp_path: Path) -> None:
    lock = files.FolderLock(tmp_path / "data")
    with pytest.raises(FolderInUse, match=f"process {os.getpid()}"):
        files.FolderLock(tmp_path / "data")
    lock.close()
    files.FolderLock(tmp_path / "data").close()
