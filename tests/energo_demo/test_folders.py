"""What the demo writes is what the processes read: every file goes through the reader of the process that it is for."""

import random
import socket
from pathlib import Path

import pytest

from energo_demo import folders, street, world
from energo_demo.folders import HomeFolder
from firmware.der import __main__ as agent
from firmware.meter import __main__ as meter
from ledger.base.errors import ConfigError
from ledger.base.files import load_genesis, load_key
from ledger.base.genesis import Genesis, Role
from ledger.node.__main__ import load_settings
from ledger.wallet.keystore import load_keys


def make(root: Path, homes: int) -> tuple[street.Street, Genesis]:
    """A street's keys and genesis on disk, as a run makes them."""
    plan = street.expand(homes=homes)
    home_keys, device_keys = folders.make_keys(plan, lambda home: HomeFolder(root / home))
    text = folders.genesis_text(
        plan, home_keys, device_keys, created_ms=1_000, origin_ms=20_000, slot_ms=1_500, slot_count=96
    )
    for home in plan.homes:
        folders.write(HomeFolder(root / home.name).genesis, text)
    return plan, load_genesis(root / "home1" / "genesis.toml")


@pytest.mark.parametrize("homes", [1, 2, 5, 21])
def test_the_genesis_is_the_streets(tmp_path: Path, homes: int) -> None:
    plan, genesis = make(tmp_path, homes)
    assert genesis.market == plan.market
    assert genesis.buses == plan.buses
    assert (genesis.street, genesis.currency, genesis.day) == (plan.name, plan.currency, plan.day)
    assert [(h.name, h.bus, h.cash) for h in genesis.homes] == [(h.name, h.bus, h.cash) for h in plan.homes]
    assert [(d.name, Role(d.role).name.lower(), d.owner, d.bus) for d in genesis.devices] == [
        (m.name, m.role, m.owner, m.bus) for m in plan.meters
    ]
    assert genesis.generators[0].shares == plan.generators[0].shares
    assert genesis.pools[0].tsl_wh == plan.pools[0].tsl_wh
    assert sum(wh for _, wh in genesis.pools[0].tsl_wh) == genesis.pools[0].capacity_wh == 20_000
    assert (genesis.pools[0].efficiency, genesis.pools[0].cash) == (9_000, 50 * 10**8)
    timing, rules = genesis.timing, genesis.consensus
    assert (timing.slot_ms, timing.grace_ms, timing.stale_ms, timing.slot_count) == (1_500, 1_500, 500, 96)
    assert (rules.timeout_ms, rules.timeout_factor_max, rules.heartbeat_ms, rules.expiry_max) == (
        300,
        8,
        600_000,
        10_000,
    )
    assert (rules.min_interval_orders_ms, rules.min_interval_readings_ms) == (100, 100)


def test_keys_are_the_genesiss_and_private(tmp_path: Path) -> None:
    plan, genesis = make(tmp_path, 2)
    for home in genesis.homes:
        keys = load_keys(HomeFolder(tmp_path / home.name).wallet)
        assert keys.public() == (home.owner_key, home.node_key, home.transport_key)
    for each in plan.meters:
        load_key(HomeFolder(tmp_path / each.keeper).meter / f"{each.name}.key")
    with pytest.raises(ConfigError, match="not overwritten"):
        folders.make_keys(plan, lambda home: HomeFolder(tmp_path / home))


def test_a_shared_device_is_kept_by_its_home(tmp_path: Path) -> None:
    make(tmp_path, 3)
    kept = {
        path.parent.parent.name: path.stem
        for path in tmp_path.glob("home*/meter/*.key")
        if path.stem in ("pool", "root")
    }
    assert kept == {"home1": "root", "home2": "pool"}


def test_every_process_reads_its_configuration(tmp_path: Path) -> None:
    plan, _ = make(tmp_path, 5)
    for number, home in enumerate(plan.homes):
        folder = HomeFolder(tmp_path / home.name)
        folders.write(folder.config("node"), folders.node_text(home, port=4_711 + number, peers=[4_000, 4_001]))
        folders.write(folder.config("meter"), folders.meter_text(plan, home, port=15_020, slot_ms=1_500))
        folders.write(folder.config("der"), folders.agent_text(plan, home, port=15_020, slot_ms=1_500))
        node = load_settings(folder.config("node"))
        assert (node.name, node.network.port, node.network.peers) == (
            home.name,
            4_711 + number,
            (("127.0.0.1", 4_000), ("127.0.0.1", 4_001)),
        )
        assert not node.network.zeroconf  # told the others' addresses, it does not look for them
        assert node.operators == folder.socket.resolve()
        reader = meter.load_config(folder.config("meter"))
        assert [device.name for device in reader.devices] == [each.name for each in plan.meters_of(home.name)]
        assert all(device.key.exists() for device in reader.devices)
        der = agent.load_config(folder.config("der"))
        agent.build(der, load_genesis(folder.genesis))
        assert (der.rules.commit_wh_per_slot > 0) == bool(home.pv_kwp)
        assert (der.rules.sell_stored_above is None) != (der.rules.buy_stored_below is None)
        assert [device.name for device in der.standing] == ["battery"] * bool(home.battery) + ["car"] * bool(home.car)
        assert [device.name for device in der.kept] == ["pool"] * (home.number == 2)
    file = tmp_path / "world" / "world.toml"
    text = folders.world_text(plan, None, origin_ms=20_000, slot_ms=1_500, ports_file=tmp_path / "ports.json")
    folders.write(file, text)
    assert world.load_config(file).ports_file == tmp_path / "ports.json"


def test_names_that_toml_would_take_for_syntax_are_kept(tmp_path: Path) -> None:
    text = street.DEFAULT_FILE.read_text().replace('name = "Lindenweg"', 'name = "Am Bächle 3: Süd"')
    file = tmp_path / "street.toml"
    file.write_text(text.replace("[tariff]", f'profiles = "{street.HERE / "data"}"\n[tariff]', 1))
    plan = street.expand(file, homes=1)
    home_keys, device_keys = folders.make_keys(plan, lambda home: HomeFolder(tmp_path / home))
    genesis = folders.genesis_text(plan, home_keys, device_keys, created_ms=1, origin_ms=2, slot_ms=1_500, slot_count=0)
    folders.write(tmp_path / "genesis.toml", genesis)
    assert load_genesis(tmp_path / "genesis.toml").street == "Am Bächle 3: Süd"


def test_free_ports_are_different_and_below_those_of_outgoing_connections() -> None:
    ports = folders.free_ports(21)
    lowest_ephemeral = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    assert len(set(ports)) == 21
    assert min(ports) >= folders.PORT_LOWEST
    assert max(ports) < lowest_ephemeral


def test_a_port_in_use_is_not_given(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind((folders.HOST, 0))
        used = taken.getsockname()[1]
        draws = iter([used, used + 1, used + 2, used + 3])
        monkeypatch.setattr(random.SystemRandom, "randrange", lambda self, low, high: next(draws))
        assert used not in folders.free_ports(1)


def test_a_folder_with_something_in_it_is_refused(tmp_path: Path) -> None:
    folders.make_folder(tmp_path / "new" / "street")
    (tmp_path / "new" / "street" / "mine").touch()
    with pytest.raises(ConfigError, match="is not empty"):
        folders.make_folder(tmp_path / "new" / "street")
