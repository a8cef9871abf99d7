"""What the agent knows of its home and street: the node's answers as whole numbers. Pure.

Prices are money units per Wh, money is in units of 10^-8, energy in Wh. Raises `KeyError`, `TypeError` or `ValueError` for an
answer of another form: the caller says that the node is of another version.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ledger.base import units
from ledger.base.genesis import Genesis, Role
from ledger.base.intents import BUY, SELL
from ledger.base.units import Money, Price, Wh

SIDES = {"buy": BUY, "sell": SELL}


@dataclass(frozen=True)
class OwnOrder:
    """A resting order of this home; `quantity_wh` is what is left of it."""

    order_id: int
    side: int
    price: Price
    quantity_wh: Wh


@dataclass(frozen=True)
class PoolView:
    """A pool as the ledger has it. Commitments (Wh a slot) and requests (Wh in all) by home."""

    name: str
    capacity_wh: Wh
    stored_wh: Wh
    power_w: int
    efficiency: int  # ten-thousandths
    commitments: Mapping[str, Wh]
    requests: Mapping[str, Wh]


@dataclass(frozen=True)
class Holding:
    """What this home has in one pool: WATT free and at rest in asks, the TSL that allow it, and its orders."""

    free_wh: Wh
    escrowed_wh: Wh
    tsl_wh: Wh
    orders: tuple[OwnOrder, ...]


@dataclass(frozen=True)
class StreetView:
    """The street at one moment. `net_wh` has, for each of the newest closed slots, what each metered home took (positive) or
    gave (negative) at its connection after its own use."""

    closed_slot: int
    pools: tuple[PoolView, ...]
    net_wh: Mapping[int, Mapping[str, Wh]]


@dataclass(frozen=True)
class HomeView:
    """This home at one moment; `net_wh` is its last closed slot's, None where its reading was missing."""

    net_wh: Wh | None
    cash_free: Money
    owes: bool
    holdings: Mapping[str, Holding]


def street_view(genesis: Genesis, closed_slot: int, slots: Sequence[Any], pools: Sequence[Any]) -> StreetView:
    """From `/v1/status`, `/v1/slots` and `/v1/pools`."""
    homes = {device.name: device.owner for device in genesis.devices if device.role == Role.CONNECTION}
    net_wh = {
        int(record["slot"]): {
            homes[row["device"]]: int(row["import_wh"]) - int(row["export_wh"])
            for row in record["devices"]
            if row["device"] in homes and row["status"] == "metered"
        }
        for record in slots
    }
    return StreetView(closed_slot, tuple(_pool(pool) for pool in pools), net_wh)


def _pool(pool: Any) -> PoolView:
    return PoolView(
        str(pool["name"]),
        int(pool["capacity_wh"]),
        int(pool["stored_wh"]),
        int(pool["power_w"]),
        units.parse_share(pool["efficiency"]),
        {str(home): int(wh) for home, wh in pool["commitments"].items()},
        {str(home): int(wh) for home, wh in pool["requests"].items()},
    )


def home_view(home: str, street: StreetView, balance: Any, orders: Sequence[Any]) -> HomeView:
    """From `/v1/balance?account=self` and `/v1/orders`."""
    held = {str(row["asset"]): row for row in balance["balances"]}
    cash = held.get("CASH")
    return HomeView(
        street.net_wh.get(street.closed_slot, {}).get(home),
        units.parse_money(cash["free"]) if cash else 0,
        bool(balance["dues"]),
        {pool.name: _holding(pool.name, held, orders) for pool in street.pools},
    )


def _holding(pool: str, held: Mapping[str, Any], orders: Sequence[Any]) -> Holding:
    watt, tsl = held.get(f"WATT:{pool}"), held.get(f"TSL:{pool}")
    return Holding(
        int(watt["free"]) if watt else 0,
        int(watt["escrowed"]) if watt else 0,
        int(tsl["free"]) + int(tsl["escrowed"]) if tsl else 0,
        tuple(
            OwnOrder(int(row["id"]), SIDES[row["side"]], units.parse_price(row["price"]), int(row["quantity_wh"]))
            for row in orders
            if row["mine"] and row["instrument"] == f"WATT:{pool}"
        ),
    )
