"""The report of a run as tables, from its JSON document. rich is imported where it is used."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from ledger.base import units
from ledger.base.genesis import GRID

if TYPE_CHECKING:
    from rich.console import Console

PROOF: Final = {
    "same_head": "every node has the same last block",
    "same_state_root": "every node has the same state root",
    "conserved": "nothing appeared or vanished: each asset's supply is the sum of its balances",
    "energy_balanced": "each slot's energy balances: the root's meter agrees with those behind it",
    "clearings_reverified": "every clearing and its sharing repeated by the reference, with the same result",
    "replayed": "the chain replayed from its genesis on every node's files",
    "paid_exactly": "each generator paid its owners what it earned, the remainder carried",
    "pool_backed": "no more WATT at any time than the pool's meter said is stored",
}


def money(text: str) -> str:
    """A money string with two decimals, rounded to the nearest cent."""
    cents = (units.parse_money(text) * 100 + units.MONEY_UNIT // 2) // units.MONEY_UNIT
    sign = "-" if cents < 0 else ""
    return f"{sign}{abs(cents) // 100}.{abs(cents) % 100:02d}"


def kwh(energy_wh: int) -> str:
    """Wh as kWh with two decimals."""
    sign = "-" if energy_wh < 0 else ""
    hundredths = (abs(energy_wh) + 5) // 10
    return f"{sign}{hundredths // 100}.{hundredths % 100:02d}"


def _percent(ratio: str | None) -> str:
    return "-" if ratio is None else f"{units.parse_share(ratio) / 100:.1f} %" if not ratio.startswith("-") else ratio


def print_report(document: dict[str, Any], console: Console) -> None:
    """All of it."""
    from rich import box
    from rich.table import Table

    currency = document["street"]["currency"]
    totals = document["totals"]
    other = document["street"]["counterparty"]
    alone = f"with the {other} alone" if other == GRID else f"with {other} alone"

    def table(title: str, *columns: str) -> Table:
        made = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left", title_style="bold")
        for number, column in enumerate(columns):
            made.add_column(column, justify="left" if number == 0 else "right")
        return made

    sources = ("from pool", "from neighbors", f"from {other}")
    sinks = ("to pool", "to neighbors", f"to {other}")
    energy = table("Energy, kWh", "", "made", "used", "of its own", *sources, *sinks)
    bought = ("redeemed_wh", "bought_local_wh", "bought_grid_wh")
    sold = ("deposited_wh", "sold_local_wh", "sold_grid_wh")
    for home in document["homes"]:
        own = home["used_wh"] - sum(home[key] for key in bought)
        sums = [home["made_wh"], home["used_wh"], own, *(home[key] for key in bought + sold)]
        energy.add_row(home["name"], *(kwh(energy_wh) for energy_wh in sums))
    for plant in document["generators"]:
        cells = [kwh(plant["made_wh"]), *[""] * 6, kwh(plant["sold_local_wh"]), kwh(plant["sold_grid_wh"])]
        energy.add_row(plant["name"], *cells)
    console.print(energy)

    cash = table(
        f"Money, {currency}",
        "",
        "paid",
        alone,
        "saved",
        "of it by sharing",
        "stored, kWh",
        "slots missed",
    )
    for home in document["homes"]:
        saved = units.parse_money(home["cost_grid_only"]) - units.parse_money(home["cost"])
        costs = [money(home["cost"]), money(home["cost_grid_only"]), money(units.format_money(saved))]
        cash.add_row(
            home["name"], *costs, money(home["gain_shared"]), kwh(home["stored_wh_change"]), str(home["missing_slots"])
        )
    console.print(cash)

    for plant in document["generators"]:
        shares = table(f"{plant['name']}, {currency}", "to", "paid")
        for owner, amount in plant["paid"].items():
            shares.add_row(owner, amount)
        shares.add_row("carried", plant["carried"])
        shares.add_row("earned", plant["earned"])
        console.print(shares)

    stored = table("Stored energy, kWh", "pool", "WATT minted", "burned", "in being", "stored")
    for pool in document["pools"]:
        stored.add_row(pool["name"], *(kwh(pool[f"{key}_wh"]) for key in ("minted", "burned", "supply", "stored")))
    console.print(stored)

    exchange, finality = document["exchange"], document["finality_ms"]
    say = console.print
    say(
        f"In {totals['slots']} slots {kwh(totals['local_wh'])} kWh went from neighbor to neighbor. The street covered "
        f"{_percent(totals['self_sufficiency'])} of its use itself, used {_percent(totals['self_consumption'])} of what it "
        f"made, and saved {money(totals['saved'])} {currency}; the lines' operator received {money(totals['grid_fees'])}."
    )
    say(
        f"On the exchange {exchange['trades']} trades moved {kwh(exchange['watt_wh'])} kWh of stored energy "
        f"for {money(exchange['volume'])} {currency}."
    )
    if finality["p50"] is not None:
        say(f"Final after {finality['p50']} ms (median), {finality['p95']} ms (95 %), {finality['max']} ms at most.")
    if len(document["homes"]) == 1:
        say("This street has one home: it has no neighbors to trade with.")
    say("")
    for name, holds in document["checks"].items():
        say(f"[{'green]✓' if holds else 'bold red]✗'}[/] {PROOF.get(name, name)}")
        for problem in document["problems"].get(name, []):
            say(f"    {problem}", markup=False)
    node = document["nodes"][0]
    say(
        f"height {node['height']}, head {node['head'][:16]}…, state root {node['state_root'][:16]}…, {document['wall_s']} s in all"
    )
