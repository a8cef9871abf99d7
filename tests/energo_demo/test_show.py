"""What a person sees of a run: lines, the live table, the report."""

import io
from typing import Any

from rich.console import Console

from energo_demo import street
from energo_demo.folders import HomeFolder
from energo_demo.report import kwh, money, print_report
from energo_demo.run import HomeRun, Now, Outage
from energo_demo.show import LiveShow, PlainShow
from ledger.client import NodeClient

CHECKS = ("same_head", "same_state_root", "conserved", "energy_balanced", "clearings_reverified", "replayed")


def row(device: str, role: str, **values: Any) -> dict[str, Any]:
    keys = ("import_wh", "export_wh", "deposited_wh", "redeemed_wh", "bought_local_wh", "sold_local_wh")
    zeros: dict[str, Any] = dict.fromkeys((*keys, "bought_grid_wh", "sold_grid_wh"), 0)
    return {"device": device, "role": role, "status": "metered", "net": "0.00000000"} | zeros | values


def closed(slot: int) -> dict[str, Any]:
    return {
        "slot": slot,
        "start": "2021-03-24T10:00:00Z",
        "price": "0.12345",
        "local_wh": 120,
        "informed": {
            "home1-pv": {"role": "generation", "account": "home1", "import_wh": 0, "export_wh": 700},
            "home1-battery": {"role": "battery", "account": "home1", "import_wh": 0, "export_wh": 50},
            "root": {"role": "feeder", "account": "", "import_wh": 0, "export_wh": 1},
        },
        "devices": [
            row("home1", "connection", export_wh=500, sold_grid_wh=380, sold_local_wh=120, net="0.01234500"),
            row("home2", "connection", status="missing"),
            row("home3", "connection", import_wh=120, bought_local_wh=120, net="-0.01500000"),
            row("school", "generator", export_wh=1_200, sold_grid_wh=1_200),
            row("pool", "pool", import_wh=100, redeemed_wh=100),
        ],
    }


def now(slot: int, **changes: Any) -> Now:
    plan = street.expand(homes=3)
    homes = [
        HomeRun(
            h.name, h.role, HomeFolder(street.HERE), {}, NodeClient(street.HERE), None, {"height": 55, "syncing": False}
        )
        for h in plan.homes
    ]
    homes[1].away, homes[1].status = Outage("home2", 10, 30, True), None
    fields: dict[str, Any] = {"closed": closed(slot), "waiting_for": 0, "pools": [{"name": "pool", "stored_wh": 4_321}]}
    return Now(plan, slot + 1, 96, homes, **(fields | changes))


def test_lines_come_now_and_then() -> None:
    out = io.StringIO()
    show = PlainShow(out)
    show.say("waiting")
    show.tick(now(0, closed=None))
    for slot in range(96):
        show.tick(now(slot))
        show.tick(now(slot))
    lines = out.getvalue().splitlines()
    assert len(lines) == 1 + 12
    assert lines[1] == (
        "2021-03-24 10:00 slot 1/96: made 1900 Wh, used 320 Wh, 120 Wh among neighbors, price 0.12345, height 55"
    )


def test_the_live_table_says_who_makes_buys_and_is_away() -> None:
    out = io.StringIO()
    show = LiveShow(Console(file=out, force_terminal=True, width=130, height=40, color_system=None))
    show.say("home2 is without power")
    show.tick(now(40))
    show.tick(now(41, waiting_for=1))
    show.close()
    text = out.getvalue()
    for part in ("solar roof", "no power until slot 39", "4321 Wh stored", "0.12345 EUR/kWh", "home2 is without power"):
        assert part in text
    assert "waits for 1 more" in text
    assert "missing" in text


def test_amounts_are_rounded_to_the_nearest() -> None:
    assert [money(text) for text in ("1.00500000", "-1.00600000", "0.00000001", "-0.01000000")] == [
        "1.01",
        "-1.01",
        "0.00",
        "-0.01",
    ]
    assert [kwh(energy_wh) for energy_wh in (0, 4, 5, 1_234, -1_235)] == ["0.00", "0.00", "0.01", "1.23", "-1.24"]


def report(**changes: Any) -> str:
    energies = ("used", "made", "deposited", "redeemed", "bought_local", "sold_local", "bought_grid", "sold_grid")
    home = {"name": "home1", "cost": "-1.25000000", "cost_grid_only": "1.00000000", "missing_slots": 3}
    home |= {"gain_shared": "-0.37000000"}
    home |= {f"{key}_wh": 1_000 for key in energies} | {"stored_wh_change": 500}
    document: dict[str, Any] = {
        "street": {"currency": "EUR", "counterparty": "grid"},
        "homes": [home],
        "totals": {
            "slots": 96,
            "local_wh": 1_000,
            "self_sufficiency": "0.7470",
            "self_consumption": None,
            "saved": "2.25000000",
            "grid_fees": "0.50000000",
        },
        "generators": [
            {
                "name": "school",
                "made_wh": 1_000,
                "earned": "0.30000001",
                "paid": {"home1": "0.30000000"},
                "carried": "0.00000001",
                "sold_local_wh": 1_000,
                "sold_grid_wh": 0,
            }
        ],
        "pools": [{"name": "pool", "stored_wh": 10, "minted_wh": 20, "burned_wh": 10, "supply_wh": 10}],
        "exchange": {"trades": 2, "watt_wh": 500, "volume": "0.10000000"},
        "nodes": [{"name": "home1", "height": 400, "head": "ab" * 32, "state_root": "cd" * 32}],
        "checks": dict.fromkeys(CHECKS, True),
        "problems": {},
        "finality_ms": {"p50": 50, "p95": 70, "max": 99},
        "wall_s": 160.0,
    }
    out = io.StringIO()
    print_report(document | changes, Console(file=out, width=130, highlight=False))
    return out.getvalue()


def test_the_report_says_what_was_saved_paid_and_proved() -> None:
    text = report()
    for part in (
        "74.7 %",
        "saved 2.25 EUR",
        "0.30000001",
        "2 trades moved 0.50 kWh",
        "50 ms (median)",
        "no neighbors",
        "-0.37",
    ):
        assert part in text
    assert text.count("✓") == len(CHECKS)


def test_the_report_says_what_failed_and_why() -> None:
    checks = dict.fromkeys(CHECKS, True) | {"replayed": False}
    text = report(checks=checks, problems={"replayed": ["home2: block [7]: it is not what it was"]})
    assert "✗ the chain replayed" in text
    assert "home2: block [7]: it is not what it was" in text


def test_without_a_grid_the_report_names_balancing_in_its_place() -> None:
    text = report(street={"currency": "EUR", "counterparty": "balancing"})
    for heading in ("from balancing", "to balancing", "with balancing alone"):
        assert heading in text
    assert "grid" not in text
    assert "with the grid alone" in report()
