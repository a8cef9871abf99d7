"""The agent between a node, a wallet and devices that a test plays: what it does when, and what it says when one is away."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from firmware.der.__main__ import Agent, load_config
from firmware.der.devices import Pool, Standing
from firmware.meter import models
from firmware.meter.drivers import MeterUnreadable
from firmware.meter.models import MILLI, Model
from ledger.base.errors import ConfigError, NodeRefused, NodeUnavailable, SignerRefused, SignerUnavailable
from ledger.base.genesis import (
    GENESIS_VERSION,
    NO_CAPACITY,
    Bus,
    Consensus,
    Device,
    Genesis,
    Home,
    Market,
    Role,
    Timing,
)
from ledger.base.genesis import Pool as GenesisPool
from ledger.base.intents import Commit, Intent, PlaceOrder, Redeem

ORIGIN_MS, SLOT_MS = 1_000_000, 1_500

CONFIG = """
[agent]
home = "home1"
genesis = "genesis.toml"
node = "node.sock"
wallet = "agent.sock"
poll_ms = 200
[rules]
sell_stored_above = "0.20"
keep_wh = 1000
commit_wh_per_slot = 400
"""


def genesis() -> Genesis:
    names = ("home1", "home2")
    return Genesis(
        GENESIS_VERSION,
        "Teststreet",
        "EUR",
        "2021-03-24",
        Timing(ORIGIN_MS - 10_000, ORIGIN_MS, SLOT_MS, 20, SLOT_MS, 500),
        Consensus(300, 8, 100, 100, 600_000, 10_000),
        Market(30_000, 8_000, 10_000, 0, 500, 1_000, True, 0, 10**11),
        (Bus("root", "", 0, NO_CAPACITY, NO_CAPACITY),),
        tuple(Home(name, b"o" + name.encode(), b"n", b"t", "root", 10**10) for name in names),
        (
            *(Device(name, b"k", Role.CONNECTION, name, "root") for name in names),
            Device("pool", b"p", Role.POOL, "pool:pool", "root"),
        ),
        (),
        (GenesisPool("pool", "pool", 20_000, 5_000, 9_000, 0, (), ()),),
    )


class Node:
    """A node that answers what the test says."""

    def __init__(self) -> None:
        self.closed_slot = -1
        self.away = False
        self.refuses = ""
        self.net_wh: dict[int, dict[str, int]] = {}
        self.commitments: dict[str, int] = {}
        self.watt_wh = 0
        self.submitted: list[bytes] = []
        self.outcomes: dict[str, Any] = {}
        self.asked: list[str] = []

    def get(self, target: str) -> Any:
        if self.away:
            raise NodeUnavailable("no node answers.")
        self.asked.append(target)
        match target.split("?")[0]:
            case "/v1/status":
                return {"closed_slot": self.closed_slot, "expiry_height": 77}
            case "/v1/slots":
                return [
                    {"slot": slot, "devices": [self._row(name, net) for name, net in nets.items()]}
                    for slot, nets in sorted(self.net_wh.items(), reverse=True)
                ]
            case "/v1/pools":
                known = {
                    "name": "pool",
                    "capacity_wh": 20_000,
                    "stored_wh": 500,
                    "power_w": 5_000,
                    "efficiency": "0.90",
                }
                return [known | {"commitments": self.commitments, "requests": {"home2": 100}}]
            case "/v1/balance":
                held: list[dict[str, object]] = [{"asset": "CASH", "free": "100.00000000", "escrowed": "0.00000000"}]
                held.append({"asset": "WATT:pool", "free": self.watt_wh, "escrowed": 0})
                held.append({"asset": "TSL:pool", "free": 4_000, "escrowed": 0})
                return {"balances": held, "dues": [], "nonce": 4, "nonce_next": 5}
            case "/v1/orders":
                return []
        return self.outcomes.get(target, {"status": "final"})

    @staticmethod
    def _row(name: str, net_wh: int) -> dict[str, object]:
        return {"device": name, "status": "metered", "import_wh": max(net_wh, 0), "export_wh": max(-net_wh, 0)}

    def submit(self, raw: bytes) -> str:
        if self.refuses:
            raise NodeRefused(self.refuses, "no")
        self.submitted.append(raw)
        return f"id{len(self.submitted)}"


class Wallet:
    """A wallet that notes what it is asked to sign."""

    def __init__(self) -> None:
        self.signed: list[tuple[Intent, int, int]] = []
        self.error: Exception | None = None

    def sign_transaction(self, intent: Intent, *, nonce: int, valid_until_height: int) -> bytes:
        if self.error:
            raise self.error
        self.signed.append((intent, nonce, valid_until_height))
        return b"signed"


class Link:
    """A device on a wire: shows what it was told."""

    def __init__(self, **values: int) -> None:
        self.values = dict(values)
        self.writes: list[dict[str, int]] = []
        self.broken = False

    async def read(self, unit: int, model: Model, quantities: tuple[str, ...]) -> dict[str, int | None]:
        if self.broken:
            raise MeterUnreadable("no answer")
        assert set(quantities) <= set(model.reads), "only what the model has is asked for"
        return {quantity: self.values.get(quantity, 0) * MILLI for quantity in quantities}

    async def write(self, unit: int, model: Model, values: dict[str, int]) -> None:
        if self.broken:
            raise MeterUnreadable("no answer")
        model.command(values)
        self.writes.append(values)
        self.values |= values

    def close(self) -> None:
        """Nothing to close."""


class Play:
    """An agent with everything around it."""

    def __init__(self, folder: Path, *, keeps: bool = False, text: str = CONFIG) -> None:
        (folder / "der.toml").write_text(text)
        self.config = load_config(folder / "der.toml")
        self.node, self.wallet, self.wire = Node(), Wallet(), Link()
        self.now_ms = ORIGIN_MS
        pools = [Pool("pool", self.wire, 12, models.load("energo-pool"))] if keeps else []
        self.standing: list[Standing] = []
        self.agent = Agent(
            self.config, genesis(), self.node, self.wallet, self.standing, pools, now_ms=lambda: self.now_ms
        )

    def at(self, slot: int, offset_ms: int = 10) -> None:
        """One turn at a moment of a slot."""
        self.now_ms = ORIGIN_MS + slot * SLOT_MS + offset_ms
        asyncio.run(self.agent.turn())

    @property
    def intents(self) -> list[Intent]:
        return [intent for intent, _, _ in self.wallet.signed]


def test_it_acts_once_for_each_closed_slot(tmp_path: Path) -> None:
    play = Play(tmp_path)
    play.at(0)
    assert play.intents == []
    play.node.closed_slot, play.node.net_wh, play.node.watt_wh = 0, {0: {"home1": 300}}, 1_500
    play.at(1, 300)
    assert play.wallet.signed == [
        (Commit("pool", 400), 5, 77),
        (PlaceOrder("WATT:pool", 1, 20_000, 500), 6, 77),
        (Redeem("pool", 300), 7, 77),
    ]
    assert play.node.submitted == [b"signed"] * 3
    play.at(1, 500)
    assert len(play.wallet.signed) == 3


def test_it_waits_for_the_next_slot_once_it_acted(tmp_path: Path) -> None:
    play = Play(tmp_path)
    play.at(1)
    assert play.agent.due_in_ms() == 200
    play.node.closed_slot = 0
    play.at(1, 300)
    assert play.agent.due_in_ms() == SLOT_MS - 300
    asked = len(play.node.asked)
    play.at(1, 600)
    assert len(play.node.asked) == asked, "nothing can have changed before the slot ends"


def test_it_does_nothing_after_the_last_slot(tmp_path: Path) -> None:
    play = Play(tmp_path)
    play.node.closed_slot, play.node.net_wh = 19, {19: {"home1": 300}}
    play.at(20)
    assert play.intents == []


def test_a_node_that_is_away_is_said_once_and_tried_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    play = Play(tmp_path)
    play.node.away = True
    with caplog.at_level(logging.INFO):
        play.at(1)
        play.at(1, 200)
        play.node.away, play.node.closed_slot, play.node.net_wh = False, 0, {0: {"home1": 0}}
        play.at(1, 400)
    assert [record.getMessage() for record in caplog.records][:2] == [
        "node: no node answers. The devices keep what they were told; trying again.",
        "Commit pool=pool up_to_wh=400",
    ]
    assert caplog.records[-1].getMessage() == "node: works again"


@pytest.mark.parametrize("error", [SignerUnavailable("no wallet answers."), SignerRefused("daily_limit", "enough")])
def test_a_wallet_that_does_not_sign_is_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    play = Play(tmp_path)
    play.wallet.error = error
    for slot in (1, 2, 3):
        play.node.closed_slot, play.node.net_wh = slot - 1, {slot - 1: {"home1": 0}}
        play.at(slot, 300)
    assert len(caplog.records) == 1
    assert "after the next slot" in caplog.records[0].getMessage()
    play.wallet.error = None
    play.node.closed_slot, play.node.net_wh = 3, {3: {"home1": 0}}
    play.at(4, 300)
    assert play.intents == [Commit("pool", 400)]


def test_what_the_ledger_refused_is_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    play = Play(tmp_path)
    refusal = {"status": "refused", "code": "no_room", "message": "no TSL"}
    play.node.outcomes = {"/v1/transactions/id1": refusal, "/v1/transactions/id2": refusal}
    for slot in (1, 2, 3, 4):
        play.node.closed_slot, play.node.net_wh = slot - 1, {slot - 1: {"home1": 0}}
        play.at(slot, 300)
    assert [record.getMessage() for record in caplog.records] == [
        "Commit (no_room): refused by the ledger: no TSL; decided anew after the next slot"
    ]
    assert play.intents == [Commit("pool", 400)] * 4


def test_a_refused_transaction_holds_back_what_counts_on_it(tmp_path: Path) -> None:
    play = Play(tmp_path)
    play.node.refuses, play.node.closed_slot = "gap", 0
    play.node.net_wh, play.node.watt_wh = {0: {"home1": 300}}, 1_500
    play.at(1, 300)
    assert play.intents == [Commit("pool", 400)]


def test_another_form_of_answer_is_no_traceback(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    play = Play(tmp_path)
    play.node.closed_slot = 0
    play.node.get = lambda target: ["what"]  # type: ignore[method-assign]
    play.at(1)
    assert "is it of another version?" in caplog.records[0].getMessage()


def test_a_keeper_tells_the_pool_in_every_slot(tmp_path: Path) -> None:
    play = Play(tmp_path, keeps=True)
    play.node.commitments = {"home1": 400, "home2": 50}
    play.node.closed_slot, play.node.net_wh = 3, {3: {"home1": -300, "home2": -80}}
    play.at(5)
    play.at(5, 200)
    assert play.wire.writes == [{"setpoint_slot": 5, "setpoint_charge_wh": 350, "setpoint_discharge_wh": 100}]


def test_a_keeper_that_is_late_goes_by_what_stood_when_the_slot_began(tmp_path: Path) -> None:
    play = Play(tmp_path, keeps=True)
    play.node.commitments = {"home1": 400}
    play.node.closed_slot, play.node.net_wh = 3, {3: {"home1": -300}}
    play.at(5)
    play.wire.broken = True
    play.at(6)
    play.wire.broken = False
    play.node.closed_slot, play.node.net_wh, play.node.commitments = 5, {5: {"home1": -1}}, {}
    play.at(6, 900)
    assert play.wire.writes[-1] == {"setpoint_slot": 6, "setpoint_charge_wh": 300, "setpoint_discharge_wh": 100}


def test_a_keeper_without_a_node_lets_the_pool_idle(tmp_path: Path) -> None:
    play = Play(tmp_path, keeps=True)
    play.node.away = True
    play.at(5)
    assert play.wire.writes == []


def test_a_pool_that_does_not_answer_is_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    play = Play(tmp_path, keeps=True)
    play.wire.broken = True
    play.at(5)
    play.at(5, 200)
    assert [record.getMessage() for record in caplog.records] == ["pool pool: no answer; it idles meanwhile"]


def held(play: Play, name: str, model: str, **values: int) -> Standing:
    device = Standing(name, play.wire, 3, models.load(model), values)
    play.standing.append(device)
    return device


def test_a_battery_is_told_only_when_it_shows_something_else(tmp_path: Path) -> None:
    play = Play(tmp_path)
    held(play, "battery", "energo-battery", mode=1, charge_w_max=2_500, discharge_w_max=2_500)
    play.at(1)
    assert play.wire.writes == [{"mode": 1, "charge_w_max": 2_500, "discharge_w_max": 2_500}]
    play.at(2)
    assert len(play.wire.writes) == 1
    play.wire.values["mode"] = 0
    play.at(3)
    assert len(play.wire.writes) == 2


def test_a_car_is_told_though_the_node_is_away(tmp_path: Path) -> None:
    play = Play(tmp_path)
    play.node.away = True
    held(play, "car", "energo-car", mode=1, charge_w_max=3_700)
    play.at(1)
    assert play.wire.values == {"mode": 1, "charge_w_max": 3_700}


def _without(text: str) -> Callable[[str], str]:
    return lambda config: config.replace(text, "")


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda config: config + "wishes = 1\n", "[rules] wishes: is not known here"),
        (_without('home = "home1"\n'), "[agent] home: is missing"),
        (lambda config: config.replace('"0.20"', "0.20"), "must be of type str"),
        (lambda config: config.replace('"0.20"', '"-1"'), "a price for stored energy is above 0"),
        (
            lambda config: config + '[battery]\nhost="h"\nport=1\nmode="fast"\nmax_charge_w=1\nmax_discharge_w=1\n',
            "mode: is 'fast'; it must be idle or own_use",
        ),
    ],
)
def test_a_wrong_configuration_is_one_line(tmp_path: Path, change: Callable[[str], str], problem: str) -> None:
    file = tmp_path / "der.toml"
    file.write_text(change(CONFIG))
    with pytest.raises(ConfigError) as caught:
        load_config(file)
    assert problem in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_whole_configuration_is_read(tmp_path: Path) -> None:
    more = """
[battery]
host = "127.0.0.1"
port = 15021
unit = 3
max_charge_w = 2500
max_discharge_w = 2000
[car]
host = "127.0.0.1"
port = 15021
unit = 4
max_w = 3700
[[pool]]
name = "pool"
host = "127.0.0.1"
port = 15021
unit = 12
"""
    play = Play(tmp_path, text=CONFIG + more)
    config = replace(play.config)
    assert [device.values for device in config.standing] == [
        {"mode": 1, "charge_w_max": 2_500, "discharge_w_max": 2_000},
        {"mode": 1, "charge_w_max": 3_700},
    ]
    assert [(device.name, device.unit, device.model) for device in config.kept] == [("pool", 12, "energo-pool")]
    assert config.rules.sell_stored_above == 20_000
    assert config.rules.buy_stored_below is None
