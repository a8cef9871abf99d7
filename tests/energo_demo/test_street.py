"""The demo's street: what the file says, how it repeats, and what is refused."""

from pathlib import Path

import pytest

from energo_demo import street
from ledger.base.errors import ConfigError

TEXT = street.DEFAULT_FILE.read_text()


def changed(folder: Path, old: str, new: str) -> Path:
    """The demo's file with one thing changed."""
    assert old in TEXT
    file = folder / "street.toml"
    file.write_text(TEXT.replace(old, new, 1))
    return file


def test_five_homes_are_the_five_roles() -> None:
    plan = street.expand(homes=5)
    assert [bool(home.pv_profile) for home in plan.homes] == [True, True, False, False, False]
    assert [bool(home.battery) for home in plan.homes] == [False, True, False, False, False]
    assert [bool(home.car) for home in plan.homes] == [False, False, False, False, True]
    assert plan.homes[1].battery == street.Battery(5_000, 2_500)
    assert plan.slot_count == 96
    assert plan.start_s == 1_616_544_000
    assert (plan.market.retail, plan.market.feed_in) == (30_000, 8_000)
    assert [(bus.name, bus.parent, bus.fee) for bus in plan.buses[:4]] == [
        ("root", "", 0),
        ("t1", "root", 1_000),
        ("f1", "t1", 500),
        ("f2", "t1", 500),
    ]
    assert [(bus.name, bus.parent, bus.fee) for bus in plan.buses[4:6]] == [("home1", "f1", 0), ("home2", "f2", 0)]


def test_roles_and_profiles_repeat() -> None:
    plan = street.expand(homes=37)
    assert plan.homes[5].role == plan.homes[0].role
    assert plan.homes[16].load_profile == plan.homes[0].load_profile
    assert plan.homes[5].pv_profile == plan.homes[2 * 3 + 5].pv_profile  # homes 6 and 12: both (i - 1) mod 3 = 2
    car5, car9_later = plan.homes[4].car, plan.homes[24].car
    assert car5 is not None
    assert car9_later is not None
    assert car5.profile == car9_later.profile  # homes 5 and 25: (i - 1) mod 4 = 0


def test_what_is_shared_is_shared_equally_to_the_last_unit() -> None:
    plan = street.expand(homes=7)
    (school,), (pool,) = plan.generators, plan.pools
    assert [shares for _, shares in school.shares] == [1429, 1429, 1429, 1429, 1428, 1428, 1428]
    assert sum(wh for _, wh in pool.tsl_wh) == 20_000
    assert (school.keeper, pool.keeper) == ("home1", "home2")


def test_a_street_of_one_home_keeps_everything_itself() -> None:
    plan = street.expand(homes=1)
    assert [meter.name for meter in plan.meters_of("home1")] == ["home1", "home1-pv", "school", "root", "pool"]
    assert len({meter.unit for meter in plan.meters_of("home1")}) == 5


def test_devices_have_the_owners_that_the_genesis_wants() -> None:
    plan = street.expand(homes=2)
    assert {meter.name: (meter.role, meter.owner, meter.bus) for meter in plan.meters} == {
        "home1": ("connection", "home1", "home1"),
        "home1-pv": ("generation", "home1", "home1"),
        "home2": ("connection", "home2", "home2"),
        "home2-pv": ("generation", "home2", "home2"),
        "home2-battery": ("battery", "home2", "home2"),
        "school": ("generator", "gen:school", "f1"),
        "root": ("feeder", "", "root"),
        "pool": ("pool", "pool:pool", "f2"),
    }


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('parent = "root"', 'parent = "up"', "parent 'up'"),
        ('feeders = ["f1", "f2"]', 'feeders = ["f9"]', "'f9' is no bus"),
        ('feeders = ["f1", "f2"]', "feeders = []", "is empty"),
        ("battery_w = 2500", "", "needs both"),
        ('retail = "0.30"', 'retail = "0.03"', "below feed_in"),
        ('retail = "0.30"', "retail = 0.30", "type str"),
        ('retail = "0.30"', 'island_buy = "0.30"', "island_buy: cannot stand beside feed_in"),
        ('id = "f2"', 'id = "f1"', "stands twice"),
        ("[homes]", '[[bus]]\nid = "home2"\nparent = "root"\n\n[homes]', "every home has a bus"),
        ("tsl_wh = 20000", "tsl_wh = 20001", "tsl_wh"),
        ("keeper = 1", "keeper = 0", "keeper"),
        ('day = "2021-03-24"', 'day = "2022-03-24"', "not in the measured profiles"),
        ('day = "2021-03-24"', 'day = "24 March"', "day"),
        ("pv_profile = 0", "pv_profile = 3", "pv_profile"),
        ("car_w = 3700", "car_kw = 4", "car_kw"),
        ('name = "pool"', 'name = "home1"', "two devices"),
        ('efficiency = "0.90"', 'efficiency = "0"', "more than 0"),
    ],
)
def test_a_wrong_file_is_named_with_what_to_do(tmp_path: Path, old: str, new: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        street.expand(changed(tmp_path, old, new), homes=5)


def test_a_street_without_a_public_grid_has_prices_of_its_own(tmp_path: Path) -> None:
    file = changed(tmp_path, 'retail = "0.30"', 'island_buy = "0.45"')
    file.write_text(file.read_text().replace('feed_in = "0.08"', 'island_sell = "0.04"'))
    market = street.expand(file, homes=2).market
    assert (market.islanded, market.retail, market.feed_in) == (True, 45_000, 4_000)
    assert not street.expand(homes=2).market.islanded


def test_counts_out_of_range_are_refused() -> None:
    for homes, days, seed in ((0, 1, 0), (street.HOMES_MAX + 1, 1, 0), (5, 0, 0), (5, 8, 0), (5, 1, -1)):
        with pytest.raises(ConfigError):
            street.expand(homes=homes, days=days, seed=seed)
    assert street.expand(homes=5, days=7).slot_count == 672
