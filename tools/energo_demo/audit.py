"""What a street did, computed from its ledger alone: figures of homes, generators, pools, and the checks on them. Pure.

Input is what any node holds: the genesis, its blocks' transactions and events, and the final state. Nothing is asserted;
a check is the list of everything that contradicts it, in words, and it holds when that list is empty.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Final

from ledger.base.genesis import SETTLING, Device, Genesis, Role
from ledger.base.intents import BUY, Reading, Transfer, decode_transaction
from ledger.base.units import SHARES_TOTAL, Money, Price, Wh, format_money, format_ratio
from ledger.state.events import (
    Burned,
    DeviceSlot,
    DueMade,
    DuePaid,
    Event,
    LateSettled,
    Minted,
    Payout,
    PoolState,
    Receipt,
    SlotClosed,
    Trade,
)
from ledger.state.rules import balances, dues
from ledger.state.state import State
from ledger.state.tables import CASH, GENERATOR, POOL, SUPPLY, gen, watt
from matcher_c import settling
from matcher_c.network import ClearArrays
from matcher_c.settling import Edge, Offer, Pricing, settle

METER_ERROR_WH: Final = 1  # a device and slot: registers are whole Wh, rounded down
PROBLEMS_MAX: Final = 5  # of one check: the first few tell a person enough


@dataclass
class Settled:
    """A settling device's sums over all that was settled of it, Wh and money units."""

    own_wh: Wh = 0
    deposited_wh: Wh = 0
    redeemed_wh: Wh = 0
    bought_local_wh: Wh = 0
    bought_grid_wh: Wh = 0
    sold_local_wh: Wh = 0
    sold_grid_wh: Wh = 0
    net: Money = 0
    shared: Money = 0  # received (positive) or given when gains were shared, part of net
    missing_slots: int = 0
    grid_only: Money = 0  # what its net energy would have cost (negative: brought) at the outside option alone
    export_value: Money = 0  # of its net exports alone, likewise

    @property
    def imported_wh(self) -> Wh:
        """All that came in."""
        return self.own_wh + self.redeemed_wh + self.bought_local_wh + self.bought_grid_wh

    @property
    def exported_wh(self) -> Wh:
        """All that went out."""
        return self.own_wh + self.deposited_wh + self.sold_local_wh + self.sold_grid_wh


@dataclass
class History:
    """Everything that a chain tells, sorted by kind; `settled` by device, `readings` by device in order."""

    genesis: Genesis
    settled: dict[str, Settled]
    readings: dict[str, list[Reading]]
    slots: list[SlotClosed] = field(default_factory=list)
    late: list[LateSettled] = field(default_factory=list)
    trades: list[Trade] = field(default_factory=list)
    minted: list[Minted] = field(default_factory=list)
    burned: list[Burned] = field(default_factory=list)
    pool_states: list[PoolState] = field(default_factory=list)
    payouts: list[Payout] = field(default_factory=list)
    owed: dict[bytes, Money] = field(default_factory=dict)  # dues to each account that are not paid
    sent: dict[bytes, Money] = field(default_factory=dict)  # CASH by plain transfers, less what came by them

    def last(self, device: str) -> Reading | None:
        """A device's last reading."""
        return self.readings[device][-1] if self.readings[device] else None


def gather(genesis: Genesis, blocks: Iterable[tuple[Sequence[bytes], Sequence[Event]]]) -> History:
    """The history in (transactions, events) of every block above block 0, lowest first."""
    history = History(
        genesis,
        {device.name: Settled() for device in genesis.devices if device.role in SETTLING},
        {device.name: [] for device in genesis.devices},
    )
    fees = path_fees(genesis)
    senders = {home.owner_key: genesis.accounts[home.name] for home in genesis.homes}
    tariffs: dict[int, tuple[Price, Price]] = {}
    for transactions, events in blocks:
        done = {event.transaction_id for event in events if isinstance(event, Receipt) and not event.code}
        for raw in transactions:
            envelope = decode_transaction(raw)
            if isinstance(envelope.intent, Reading):
                history.readings[envelope.intent.device].append(envelope.intent)
                continue
            sent = envelope.intent
            if isinstance(sent, Transfer) and sent.asset == CASH and envelope.transaction_id in done:
                _add(history.sent, senders[envelope.sender], sent.amount)
                _add(history.sent, sent.to, -sent.amount)
        for event in events:
            _book(history, event, fees, tariffs)
    return history


def _add(sums: dict[bytes, Money], account: bytes, amount: Money) -> None:
    sums[account] = sums.get(account, 0) + amount


def _book(history: History, event: Event, fees: dict[str, Price], tariffs: dict[int, tuple[Price, Price]]) -> None:
    match event:
        case SlotClosed():
            history.slots.append(event)
            tariffs[event.slot] = (event.retail, event.feed_in)
            for row in event.devices:
                _book_row(history.settled[row.device], row, event, fees[_bus(history, row.device)])
        case LateSettled():
            history.late.append(event)
            spanned = [tariffs[slot] for slot in range(event.span_from, event.slot + 1) if slot in tariffs]
            market = history.genesis.market
            retail = max((r for r, _ in spanned), default=market.retail)
            feed_in = min((f for _, f in spanned), default=market.feed_in)
            sums, fee = history.settled[event.device], fees[_bus(history, event.device)]
            sums.own_wh += event.own_wh
            sums.bought_grid_wh += event.import_wh - event.own_wh
            sums.sold_grid_wh += event.export_wh - event.own_wh
            sums.net += event.net
            _grid_only(
                sums, event.import_wh - event.own_wh, event.export_wh - event.own_wh, retail + fee, feed_in - fee
            )
        case Trade():
            history.trades.append(event)
        case Minted():
            history.minted.append(event)
        case Burned():
            history.burned.append(event)
        case PoolState():
            history.pool_states.append(event)
        case Payout():
            history.payouts.append(event)
        case DueMade():
            _add(history.owed, event.creditor, event.amount)
        case DuePaid():
            _add(history.owed, event.creditor, -event.amount)


def _book_row(sums: Settled, row: DeviceSlot, slot: SlotClosed, fee: Price) -> None:
    sums.own_wh += row.own_wh
    sums.deposited_wh += row.deposited_wh
    sums.redeemed_wh += row.redeemed_wh
    sums.bought_local_wh += row.bought_local_wh
    sums.bought_grid_wh += row.bought_grid_wh
    sums.sold_local_wh += row.sold_local_wh
    sums.sold_grid_wh += row.sold_grid_wh
    sums.net += row.net
    sums.shared += row.shared
    sums.missing_slots += row.status != "metered"
    _grid_only(sums, row.import_wh - row.own_wh, row.export_wh - row.own_wh, slot.retail + fee, slot.feed_in - fee)


def _grid_only(sums: Settled, buying_wh: Wh, selling_wh: Wh, buying: Price, selling: Price) -> None:
    sums.grid_only += buying_wh * buying - selling_wh * selling
    sums.export_value += selling_wh * selling


def _bus(history: History, name: str) -> str:
    device = history.genesis.device(name)
    assert device is not None, "a settled device is in the genesis"
    return device.bus


def path_fees(genesis: Genesis) -> dict[str, Price]:
    """Fees per Wh from each bus to the public grid."""
    fees: dict[str, Price] = {"": 0}
    for bus in genesis.buses:  # parents stand before their children
        fees[bus.name] = bus.fee + fees[bus.parent]
    return fees


def connection_of(genesis: Genesis, home: str) -> Device:
    """The meter at a home's connection."""
    return next(device for device in genesis.devices if device.role == Role.CONNECTION and device.owner == home)


# ---- figures


def figures(history: History, state: State) -> dict[str, Any]:
    """`homes`, `totals`, `generators`, `pools` and `exchange` as interfaces.md has them, money as decimal strings."""
    genesis = history.genesis
    homes = [_home(history, state, home.name) for home in genesis.homes]
    generators = [_generator(history, state, g.name, g.device) for g in genesis.generators]
    used = sum(home["used_wh"] for home in homes)
    bought_grid = sum(home["bought_grid_wh"] for home in homes)
    made = sum(each["made_wh"] for each in homes + generators)
    plants = [history.settled[generator.device] for generator in genesis.generators]
    sold_grid = sum(home["sold_grid_wh"] for home in homes) + sum(plant.sold_grid_wh for plant in plants)
    saved = sum(_cost_grid_only(history, state, h.name) - _cost(history, state, h.name) for h in genesis.homes)
    operator = genesis.accounts["operator"]
    received = _cash(state, operator) + history.sent.get(operator, 0)
    totals = {
        "slots": len(history.slots),
        "local_wh": sum(home["bought_local_wh"] for home in homes),
        "self_sufficiency": format_ratio(used - bought_grid, used),
        "self_consumption": format_ratio(made - sold_grid, made),
        "saved": format_money(saved),
        "grid_fees": format_money(received),
    }
    exchange = {
        "trades": len(history.trades),
        "watt_wh": sum(trade.quantity_wh for trade in history.trades),
        "volume": format_money(sum(trade.cost for trade in history.trades)),
    }
    pools = [_pool(history, state, pool.name, pool.device) for pool in genesis.pools]
    return {"homes": homes, "totals": totals, "generators": generators, "pools": pools, "exchange": exchange}


def _cash(state: State, account: bytes) -> Money:
    held = balances.balance(state, account, CASH)
    return held.free + held.escrowed


def _cost(history: History, state: State, home: str) -> Money:
    """What its CASH fell by, dues added, plain transfers left out."""
    genesis = history.genesis
    account = genesis.accounts[home]
    first = next(h.cash for h in genesis.homes if h.name == home)
    return first - history.sent.get(account, 0) - _cash(state, account) + dues.owed_by(state, account)


def _cost_grid_only(history: History, state: State, home: str) -> Money:
    """The same without neighbors: its net energy and its shares of the generators' at the outside option."""
    genesis = history.genesis
    cost = history.settled[connection_of(genesis, home).name].grid_only
    for generator in genesis.generators:
        held = balances.balance(state, genesis.accounts[home], gen(generator.name))
        value = history.settled[generator.device].export_value
        cost -= value * (held.free + held.escrowed) // SHARES_TOTAL
    return cost


def _home(history: History, state: State, home: str) -> dict[str, Any]:
    genesis = history.genesis
    sums = history.settled[connection_of(genesis, home).name]
    behind = [device for device in genesis.devices if device.owner == home]
    made = sum(_last_export(history, d.name) for d in behind if d.role == Role.GENERATION)
    battery = [history.last(d.name) for d in behind if d.role == Role.BATTERY]
    battery_wh = sum(reading.stored_wh or 0 for reading in battery if reading)
    held = [balances.balance(state, genesis.accounts[home], watt(pool.name)) for pool in genesis.pools]
    watt_wh = sum(each.free + each.escrowed for each in held)
    return {
        "name": home,
        "used_wh": made + sums.imported_wh - sums.exported_wh,
        "made_wh": made,
        "own_wh": sums.own_wh,
        "deposited_wh": sums.deposited_wh,
        "redeemed_wh": sums.redeemed_wh,
        "bought_local_wh": sums.bought_local_wh,
        "sold_local_wh": sums.sold_local_wh,
        "bought_grid_wh": sums.bought_grid_wh,
        "sold_grid_wh": sums.sold_grid_wh,
        "cost": format_money(_cost(history, state, home)),
        "cost_grid_only": format_money(_cost_grid_only(history, state, home)),
        "gain_shared": format_money(sums.shared),
        "stored_wh_change": watt_wh + battery_wh,  # both begin empty
        "watt_wh": watt_wh,
        "battery_wh": battery_wh,
        "missing_slots": sums.missing_slots,
    }


def _last_export(history: History, device: str) -> Wh:
    last = history.last(device)
    return last.export_wh if last else 0


def _generator(history: History, state: State, name: str, device: str) -> dict[str, Any]:
    names = {account: home for home, account in history.genesis.accounts.items()}
    paid: dict[str, Money] = {}
    for payout in history.payouts:
        if payout.generator == name:
            for account, amount in payout.parts:
                paid[names[account]] = paid.get(names[account], 0) + amount
    return {
        "name": name,
        "made_wh": _last_export(history, device),
        "earned": format_money(history.settled[device].net),
        "paid": {home: format_money(paid[home]) for home in names.values() if home in paid},
        "carried": format_money(_cash(state, history.genesis.accounts[f"gen:{name}"])),
        "sold_local_wh": history.settled[device].sold_local_wh,
        "sold_grid_wh": history.settled[device].sold_grid_wh,
    }


def _pool(history: History, state: State, name: str, device: str) -> dict[str, Any]:
    row, sums = state.need(POOL, (name,)), history.settled[device]
    return {
        "name": name,
        "stored_wh": row.stored_wh,
        "minted_wh": sum(event.minted_wh for event in history.minted if event.pool == name),
        "burned_wh": sum(event.energy_wh for event in history.burned if event.pool == name),
        "supply_wh": balances.supply(state, watt(name)),
        "bought_local_wh": sums.bought_local_wh,
        "bought_grid_wh": sums.bought_grid_wh,
        "sold_local_wh": sums.sold_local_wh,
        "sold_grid_wh": sums.sold_grid_wh,
        "cash": format_money(_cash(state, history.genesis.accounts[f"pool:{name}"])),
    }


# ---- checks: each gives what contradicts it


def not_conserved(genesis: Genesis, history: History, state: State) -> list[str]:
    """Every asset's supply is the sum of its balances; CASH and shares are the genesis's, WATT is minted less burned."""
    breach = balances.conservation_breach(state)
    found = [breach] if breach else []
    cash = genesis.market.grid_cash + sum(h.cash for h in genesis.homes) + sum(p.cash for p in genesis.pools)
    expected = {CASH: cash} | {gen(generator.name): SHARES_TOTAL for generator in genesis.generators}
    for pool in genesis.pools:
        minted = sum(event.minted_wh for event in history.minted if event.pool == pool.name)
        burned = sum(event.energy_wh for event in history.burned if event.pool == pool.name)
        expected[watt(pool.name)] = minted - burned
    for asset, amount in expected.items():
        row = state.get(SUPPLY, (asset,))
        if row is None or row.amount != amount:
            found.append(f"{asset}: the supply is {row.amount if row else 'missing'}, it should be {amount}")
    return found


def energy_unbalanced(history: History) -> list[str]:
    """The meter at the root agrees with the sum of the devices; what was settled of a device is what its registers rose by."""
    found: list[str] = []
    for name, sums in history.settled.items():
        last = history.last(name)
        registers = (last.import_wh, last.export_wh) if last else (0, 0)
        if registers != (sums.imported_wh, sums.exported_wh):
            settled = f"{sums.imported_wh}/{sums.exported_wh}"
            found.append(f"{name}: {settled} Wh in/out are settled, the registers say {registers[0]}/{registers[1]}")
    return found + _root_disagrees(history)


def _root_disagrees(history: History) -> list[str]:
    genesis = history.genesis
    feeders = [d for d in genesis.devices if d.role == Role.FEEDER and d.bus == genesis.buses[0].name]
    if not feeders:
        return []  # a street without a meter at the root has only its devices' own registers
    root = _net_by_slot(history, feeders[0].name)
    devices = [_net_by_slot(history, name) for name in history.settled]
    common = sorted(slot for slot in root if all(slot in nets for nets in devices))
    last = history.slots[-1].slot if history.slots else -1
    found: list[str] = []
    if common[-1] != last:
        found.append(f"slot {last}: not every meter has reported it, the last that all did is {common[-1]}")
    for before, slot in pairwise(common):
        measured = root[slot] - root[before]
        counted = sum(nets[slot] - nets[before] for nets in devices)
        allowed = METER_ERROR_WH * (len(devices) + 1) * (slot - before)
        if abs(measured - counted) > allowed:
            slots = f"slot {slot}" if slot == before + 1 else f"slots {before + 1} to {slot}"
            found.append(f"{slots}: the root's meter says {measured} Wh, the meters behind it {counted} Wh")
    return found


def _net_by_slot(history: History, device: str) -> dict[int, Wh]:
    """Import less export since commissioning, at the end of every slot that was reported (-1: the start)."""
    return {-1: 0} | {r.slot: r.import_wh - r.export_wh for r in history.readings[device]}


def not_repeatable(history: History, clear_arrays: ClearArrays) -> list[str]:
    """Every slot settled once more from what its event says alone comes to the same trades, prices, flows and shares."""
    found: list[str] = []
    for event in history.slots:
        network = [Edge(*bus) for bus in event.network]
        fees = settling.path_fees(network)
        offers = [
            Offer(bus, side, limit, energy, event.retail + fees[bus] if side == BUY else event.feed_in - fees[bus])
            for _, bus, side, limit, energy in event.orders
        ]
        again = settle(
            clear_arrays,
            network,
            offers,
            ranks=event.ranks,
            sharing=event.sharing,
            pricing=Pricing(event.pricing),
        )
        shared = {row.device: row.shared for row in event.devices}
        told = [shared.get(name, 0) for name, *_ in event.orders]
        compared = (
            ("traded", again.traded, event.traded),
            ("prices", again.prices, event.prices),
            ("flows", again.flows, event.flows),
            ("shared", list(again.shared), told),
            ("gains", (again.gain_buyers, again.gain_sellers), (event.gain_buyers, event.gain_sellers)),
        )
        for what, ours, theirs in compared:
            if ours != theirs:
                found.append(f"slot {event.slot}: {what} {theirs}, settled again {ours}")
    return found


def unevenly_paid(history: History, state: State) -> list[str]:
    """What a generator paid and what it still carries is what it earned, and each owner got the same a share."""
    found: list[str] = []
    for generator in history.genesis.generators:
        account = history.genesis.accounts[f"gen:{generator.name}"]
        earned = history.settled[generator.device].net
        paid = sum(event.total for event in history.payouts if event.generator == generator.name)
        kept = _cash(state, account) + history.owed.get(account, 0) - dues.owed_by(state, account)
        if earned != paid + kept:
            found.append(f"{generator.name}: earned {earned}, paid {paid} and holds {kept} money units")
        row = state.need(GENERATOR, (generator.name,))
        if (row.earned, row.paid) != (earned, paid):
            found.append(f"{generator.name}: the ledger has {row.earned}/{row.paid}, the events {earned}/{paid}")
        for event in history.payouts:
            if event.generator == generator.name and event.total != sum(amount for _, amount in event.parts):
                found.append(f"{generator.name}: a payout of {event.total} does not add up")
    return found


def pool_unbacked(history: History) -> list[str]:
    """At every closing there was no more WATT than the pool's meter said is stored."""
    return [
        f"{event.pool}, slot {event.slot}: {event.supply_wh} Wh of WATT, {event.stored_wh} Wh stored"
        for event in history.pool_states
        if event.supply_wh > event.stored_wh
    ]
