"""The live market: when a slot's terms are stored, when it closes, how it is cleared and settled, to the last Wh and unit.

A slot has ended from the first block whose time is at or after its end; it closes, oldest first, once every settling device has
reported it or the grace is over. What is metered is settled: own energy, the pool's, the market's at one price a bus, and
the rest with the public grid at the outside option (clearing design, section 3).
"""

from __future__ import annotations

from array import array
from collections.abc import Callable
from typing import Any, Final

from ledger.base.crypto import DOMAIN_RANK, account_of_name, sha256
from ledger.base.genesis import SETTLING, Role
from ledger.base.intents import BUY, SELL
from ledger.base.units import SHARE_UNIT, Millis, Money, Price, Wh

from ..events import DeviceSlot, Discrepancy, Event, LateSettled, SlotClosed
from ..shares import split, split_capped
from ..state import State
from ..tables import (
    ACCOUNT,
    CASH,
    CLOCK,
    COMMITMENT,
    DEVICE,
    FEED,
    INTERVAL,
    NO_KEY,
    PARAMS,
    POOL,
    REQUEST,
    TARIFF,
    TERMS,
    Clock,
    DeviceRow,
    Interval,
    Params,
    Tariff,
    Terms,
    watt,
)
from . import balances, dues, generators, storage
from .devices import end_ms
from .network import Network

ClearArrays = Callable[..., tuple[Any, Any, Any]]  # matcher_c.clear_arrays, or the reference's

CLOSINGS_MAX: Final = 96  # slots that one block settles: bounds the work of the first block after a long outage
OPENINGS_MAX: Final = 960  # slots (10 days) whose terms one block stores: likewise
TARIFFS_KEPT: Final = 2_976  # slots (31 days) for which a late reading still finds its own tariff
CHECK_ALLOWANCE_WH: Final = 1  # a meter and slot: registers are whole Wh

GRID: Final = account_of_name("grid")
OPERATOR: Final = account_of_name("operator")


def open_terms(state: State, time_ms: Millis, seed: bytes) -> None:
    """Store the terms of every slot that starts at or before `time_ms`, from the state before the block."""
    params, clock = state.need(PARAMS, NO_KEY), state.need(CLOCK, NO_KEY)
    slot = clock.next_terms_slot
    if not _is_slot(params, slot) or params.origin_ms + slot * params.slot_ms > time_ms:
        return
    limits = tuple(
        (_bytes(key[0]), row.buy_below, row.sell_above)
        for key, row in state.scan(ACCOUNT)
        if row.buy_below is not None or row.sell_above is not None
    )
    commitments = tuple((str(k[0]), _bytes(k[1]), row.energy_wh) for k, row in state.scan(COMMITMENT))
    requests = tuple((str(k[0]), _bytes(k[1]), row.energy_wh) for k, row in state.scan(REQUEST))
    last = slot + OPENINGS_MAX
    while slot < last and _is_slot(params, slot) and params.origin_ms + slot * params.slot_ms <= time_ms:
        terms = Terms(seed, 0, params.retail, params.feed_in, limits, commitments, requests)
        state.put(TERMS, (slot,), terms)
        slot += 1
    state.put(CLOCK, NO_KEY, clock._replace(next_terms_slot=slot))


def _is_slot(params: Params, slot: int) -> bool:
    return params.slot_count == 0 or slot < params.slot_count


def _bytes(value: object) -> bytes:
    assert isinstance(value, bytes), "accounts are bytes"
    return value


def mark_ended(state: State, time_ms: Millis) -> None:
    """Note the time of the first block at or after a slot's end."""
    params = state.need(PARAMS, NO_KEY)
    for key, terms in state.scan(TERMS):
        slot = key[0]
        assert isinstance(slot, int), "terms are keyed by slot"
        if terms.ended_ms == 0 and end_ms(params, slot) <= time_ms:
            state.put(TERMS, key, terms._replace(ended_ms=time_ms))


def settling_devices(state: State) -> list[tuple[str, DeviceRow]]:
    """The devices whose energy is settled, in order of the genesis."""
    found = [(str(key[0]), row) for key, row in state.scan(DEVICE) if row.role in SETTLING]
    return sorted(found, key=lambda item: item[1].position)


def _may_close(state: State, clock: Clock, params: Params, time_ms: Millis) -> bool:
    terms = state.get(TERMS, (clock.next_close_slot,))
    if terms is None or terms.ended_ms == 0:
        return False
    if time_ms >= terms.ended_ms + params.grace_ms:
        return True
    return all(state.need(FEED, (name,)).slot >= clock.next_close_slot for name, _ in settling_devices(state))


def close_due(state: State, time_ms: Millis, clear: ClearArrays) -> list[Event]:
    """Close every slot that may be closed now, oldest first."""
    events: list[Event] = []
    params = state.need(PARAMS, NO_KEY)
    for _ in range(CLOSINGS_MAX):
        clock = state.need(CLOCK, NO_KEY)
        if not _may_close(state, clock, params, time_ms):
            break
        events += _close(state, clock.next_close_slot, clear)
    return events


def next_boundary_ms(state: State) -> Millis | None:
    """The earliest block time at which the slots need a block: a start, an end, or an end of grace. None: no more slots."""
    params, clock = state.need(PARAMS, NO_KEY), state.need(CLOCK, NO_KEY)
    found: list[Millis] = []
    if _is_slot(params, clock.next_terms_slot):
        found.append(params.origin_ms + clock.next_terms_slot * params.slot_ms)
    for key, terms in state.scan(TERMS):
        slot = key[0]
        assert isinstance(slot, int), "terms are keyed by slot"
        found.append(terms.ended_ms + params.grace_ms if terms.ended_ms else end_ms(params, slot))
    return min(found, default=None)


class _Row:
    """One settling device while its slot is being settled."""

    def __init__(self, name: str, device: DeviceRow, interval: Interval | None) -> None:
        self.name, self.device, self.interval = name, device, interval
        metered = interval is not None
        self.import_wh: Wh = interval.import_wh if interval else 0
        self.export_wh: Wh = interval.export_wh if interval else 0
        self.status = "metered" if metered else "missing"
        is_pool = device.role == Role.POOL
        self.own_wh = 0 if is_pool else min(self.import_wh, self.export_wh)
        self.need_wh = self.import_wh - self.own_wh  # what is still to be bought
        self.offer_wh = self.export_wh - self.own_wh  # what is still to be sold
        self.deposited_wh = self.redeemed_wh = 0
        self.bought_local_wh = self.bought_grid_wh = self.sold_local_wh = self.sold_grid_wh = 0
        self.fees: Money = 0
        self.net: Money = 0

    def record(self) -> DeviceSlot:
        return DeviceSlot(
            self.name,
            self.status,
            self.import_wh,
            self.export_wh,
            self.own_wh,
            self.deposited_wh,
            self.redeemed_wh,
            self.bought_local_wh,
            self.bought_grid_wh,
            self.sold_local_wh,
            self.sold_grid_wh,
            self.fees,
            self.net,
        )


def bus_ranks(seed: bytes, slot: int, network: Network) -> list[int]:
    """The lottery of the slot: buses ranked by SHA-256(tag, seed, slot, bus); one rank a bus, 0 first."""
    order = sorted(
        range(len(network.buses)),
        key=lambda b: sha256(DOMAIN_RANK, seed, slot.to_bytes(8, "big"), network.buses[b].name.encode()),
    )
    ranks = [0] * len(order)
    for rank, bus in enumerate(order):
        ranks[bus] = rank
    return ranks


def _close(state: State, slot: int, clear: ClearArrays) -> list[Event]:
    terms = state.need(TERMS, (slot,))
    network = Network(state)
    ranks = bus_ranks(terms.seed, slot, network)
    rows: list[_Row] = []
    lumps: list[tuple[str, Interval]] = []
    for name, device in settling_devices(state):
        interval = state.get(INTERVAL, (slot, name))
        if interval is not None and interval.span_from < slot:
            lumps.append((name, interval))
            interval = None
        rows.append(_Row(name, device, interval))
    by_account = {row.device.account: row for row in rows}
    account_rank = {row.device.account: ranks[row.device.bus] for row in rows}
    net: dict[bytes, Money] = {GRID: 0, OPERATOR: 0}
    events: list[Event] = []
    proceeds: list[tuple[_Row, Wh, list[tuple[bytes, Wh]]]] = []
    for row in rows:
        if row.device.role == Role.POOL and row.interval is not None:
            events += _settle_pool(state, slot, terms, network, ranks, row, by_account, net, proceeds)
    orders = _orders(state, terms, network, rows)
    tree = network.remaining()
    columns = [array("q", column) for column in zip(*tree, strict=True)]
    book = [array("q", column) for column in zip(*(order[1:] for order in orders), strict=True)]
    traded, prices, flows = clear(*columns, *book, array("q", ranks))
    _pay_orders(terms, network, rows, orders, traded, prices, flows, net)
    for row, holders_wh, cuts in proceeds:
        _share_proceeds(row, holders_wh, cuts, net)
    for account, amount in net.items():
        generators.earn(state, account, amount)
    events += dues.settle_net(state, net, slot, account_rank)
    grid_bought = sum(row.sold_grid_wh for row in rows)
    grid_sold = sum(row.bought_grid_wh for row in rows)
    closed = SlotClosed(
        slot,
        terms.retail,
        terms.feed_in,
        tuple(ranks),
        tree,
        tuple(orders),
        tuple(traded),
        tuple(prices),
        tuple(flows),
        tuple(row.record() for row in rows),
        _informed(state, slot),
        net[OPERATOR],
        grid_sold,
        grid_bought,
    )
    events.append(closed)
    events += _check_meters(state, slot, network, rows)
    _forget(state, slot, terms)
    for name, interval in lumps:
        events += settle_late(state, slot, name, interval)
    return events


def _forget(state: State, slot: int, terms: Terms) -> None:
    state.delete(TERMS, (slot,))
    state.put(TARIFF, (slot,), Tariff(terms.retail, terms.feed_in))
    state.delete(TARIFF, (slot - TARIFFS_KEPT,))
    for key, _ in state.scan(INTERVAL):
        if key[0] == slot:
            state.delete(INTERVAL, key)
    clock = state.need(CLOCK, NO_KEY)
    state.put(CLOCK, NO_KEY, clock._replace(next_close_slot=slot + 1))


def _settle_pool(
    state: State,
    slot: int,
    terms: Terms,
    network: Network,
    ranks: list[int],
    row: _Row,
    by_account: dict[bytes, _Row],
    net: dict[bytes, Money],
    proceeds: list[tuple[_Row, Wh, list[tuple[bytes, Wh]]]],
) -> list[Event]:
    """Allocate what the pool took and gave; mint, burn and cut WATT; the pool's own rest stays in its row."""
    name, pool = next((str(k[0]), p) for k, p in state.scan(POOL) if p.device == row.name)
    homes = [r for r in by_account.values() if r.device.role == Role.CONNECTION]
    rank = [ranks[home.device.bus] for home in homes]
    accounts = [home.device.account for home in homes]
    committed = {account: energy for pool_name, account, energy in terms.commitments if pool_name == name}
    asked = {account: energy for pool_name, account, energy in terms.requests if pool_name == name}
    supply_before = balances.supply(state, watt(name))
    rooms = [storage.room_wh(state, account, name) * SHARE_UNIT // max(1, pool.efficiency) for account in accounts]
    charge_caps = [
        min(committed.get(account, 0), home.offer_wh, room)
        for account, home, room in zip(accounts, homes, rooms, strict=True)
    ]
    give_caps = [
        min(asked.get(account, 0), home.need_wh, balances.free(state, account, watt(name)))
        for account, home in zip(accounts, homes, strict=True)
    ]
    charged = split_capped(row.import_wh, charge_caps, rank)
    given = split_capped(row.export_wh, give_caps, rank)
    for home, taken_wh, given_wh in zip(homes, charged, given, strict=True):
        home.deposited_wh += taken_wh
        home.offer_wh -= taken_wh
        home.redeemed_wh += given_wh
        home.need_wh -= given_wh
        fee = network.carry(home.device.bus, row.device.bus, taken_wh) * taken_wh
        fee += network.carry(row.device.bus, home.device.bus, given_wh) * given_wh
        home.fees += fee
        home.net -= fee
        net[home.device.account] = net.get(home.device.account, 0) - fee
        net[OPERATOR] += fee
    _, events = storage.mint_for(state, name, accounts, charged, rank)
    events += storage.burn_redeemed(state, name, accounts, given)
    row.redeemed_wh, row.deposited_wh = sum(charged), sum(given)  # the pool's own books: it imported for, exported to
    row.need_wh, row.offer_wh = row.import_wh - sum(charged), row.export_wh - sum(given)
    row.own_wh = min(row.need_wh, row.offer_wh)
    row.need_wh -= row.own_wh
    row.offer_wh -= row.own_wh
    owners_wh = max(0, pool.stored_wh - supply_before)
    if row.offer_wh > owners_wh:  # discharge that nobody asked for, beyond the owner's energy: the holders sold it
        cuts, cut_events = storage.cut(state, name, row.offer_wh - owners_wh, "sold")
        proceeds.append((row, sum(energy for _, energy in cuts), cuts))
        events += cut_events
    assert row.interval is not None, "only a pool that reported is settled"
    if row.interval.stored_wh is not None:
        events += storage.measured(state, name, slot, row.interval.stored_wh)
    return events


def _orders(state: State, terms: Terms, network: Network, rows: list[_Row]) -> list[tuple[str, int, int, Price, Wh]]:
    """(device, bus, side, limit, quantity) of every device with something left, then the grid's two."""
    limits = {account: (buy, sell) for account, buy, sell in terms.limits}
    orders: list[tuple[str, int, int, Price, Wh]] = []
    for row in rows:
        account, bus = row.device.account, row.device.bus
        if dues.in_arrears(state, account):
            continue
        fee = network.fee_to_root(bus)
        buy_below, sell_above = limits.get(account, (None, None))
        if row.need_wh:
            outside = terms.retail + fee
            limit = outside if buy_below is None else min(buy_below, outside)
            quantity = row.need_wh
            if limit > 0:
                quantity = min(quantity, balances.free(state, account, CASH) // limit)
            if quantity:
                orders.append((row.name, bus, BUY, limit, quantity))
        if row.offer_wh:
            outside = terms.feed_in - fee
            limit = outside if sell_above is None else max(sell_above, outside)
            orders.append((row.name, bus, SELL, limit, row.offer_wh))
    orders.append(("", 0, BUY, terms.feed_in, -1))
    orders.append(("", 0, SELL, terms.retail, -1))
    return orders


def _pay_orders(
    terms: Terms,
    network: Network,
    rows: list[_Row],
    orders: list[tuple[str, int, int, Price, Wh]],
    traded: Any,
    prices: Any,
    flows: Any,
    net: dict[bytes, Money],
) -> None:
    """Book the clearing and, for what did not clear, the outside option; attribute grid energy pro rata."""
    by_name = {row.name: row for row in rows}
    buys = [i for i, order in enumerate(orders[:-2]) if order[2] == BUY]
    sells = [i for i, order in enumerate(orders[:-2]) if order[2] == SELL]
    from_grid = dict(zip(buys, split(traded[-1], [traded[i] for i in buys]), strict=True))
    to_grid = dict(zip(sells, split(traded[-2], [traded[i] for i in sells]), strict=True))
    for i, (name, bus, side, _, _) in enumerate(orders[:-2]):
        row, amount = by_name[name], traded[i] * prices[bus]
        if side == BUY:
            row.bought_grid_wh += from_grid[i]
            row.bought_local_wh += traded[i] - from_grid[i]
            row.need_wh -= traded[i]
            row.net -= amount
        else:
            row.sold_grid_wh += to_grid[i]
            row.sold_local_wh += traded[i] - to_grid[i]
            row.offer_wh -= traded[i]
            row.net += amount
        net[row.device.account] = net.get(row.device.account, 0) + (amount if side == SELL else -amount)
    net[GRID] += (traded[-1] - traded[-2]) * prices[0]
    for bus in range(1, len(network.buses)):
        rent = flows[bus] * (prices[network.buses[bus].parent] - prices[bus])
        assert rent >= 0, "an edge never costs its operator money"
        net[OPERATOR] += rent
    for row in rows:
        fee = network.fee_to_root(row.device.bus)
        buying, selling = row.need_wh, row.offer_wh
        row.bought_grid_wh += buying
        row.sold_grid_wh += selling
        amount = selling * (terms.feed_in - fee) - buying * (terms.retail + fee)
        row.net += amount
        net[row.device.account] = net.get(row.device.account, 0) + amount
        net[GRID] += buying * terms.retail - selling * terms.feed_in
        net[OPERATOR] += (buying + selling) * fee


def _share_proceeds(row: _Row, holders_wh: Wh, cuts: list[tuple[bytes, Wh]], net: dict[bytes, Money]) -> None:
    """Give those whose WATT was sold their part of what the pool's sale brought."""
    sold_wh = row.sold_local_wh + row.sold_grid_wh
    part = row.net * holders_wh // sold_wh if sold_wh and row.net > 0 else 0
    for (account, _), amount in zip(cuts, split(part, [energy for _, energy in cuts]), strict=True):
        net[account] = net.get(account, 0) + amount
        net[row.device.account] -= amount


def _informed(state: State, slot: int) -> tuple[tuple[str, Wh, Wh], ...]:
    found: list[tuple[str, Wh, Wh]] = []
    for key, device in state.scan(DEVICE):
        interval = state.get(INTERVAL, (slot, key[0]))
        if device.role not in SETTLING and interval is not None and interval.span_from == slot:
            found.append((str(key[0]), interval.import_wh, interval.export_wh))
    return tuple(found)


def _check_meters(state: State, slot: int, network: Network, rows: list[_Row]) -> list[Event]:
    """Hold every check meter that reported against the sum behind it, where all of that reported too."""
    events: list[Event] = []
    for key, device in state.scan(DEVICE):
        interval = state.get(INTERVAL, (slot, key[0]))
        if device.role != Role.FEEDER or interval is None or interval.span_from != slot:
            continue
        behind = network.behind(device.bus)
        counted = [row for row in rows if row.device.bus in behind]
        if any(row.status != "metered" for row in counted):
            continue
        measured = interval.import_wh - interval.export_wh
        residual = measured - sum(row.import_wh - row.export_wh for row in counted)
        allowance = CHECK_ALLOWANCE_WH * (len(counted) + 1) * 2  # import and export registers each
        if abs(residual) > allowance:
            events.append(Discrepancy(str(key[0]), slot, residual, allowance))
    return events


def settle_late(state: State, slot: int, name: str, interval: Interval) -> list[Event]:
    """Settle energy whose slot closed without it, or that spans slots, with the grid at the outside option.

    One slot: own energy is netted, at that slot's prices. A span: nothing is netted, import at the dearest and export at the
    lowest price of the slots spanned, so that withholding a reading never pays.
    """
    device = state.need(DEVICE, (name,))
    events: list[Event] = []
    if device.role not in SETTLING:
        return events
    tariffs = [_tariff(state, s) for s in range(max(interval.span_from, slot - TARIFFS_KEPT), slot + 1)]
    spans = interval.span_from < slot
    own = 0 if spans else min(interval.import_wh, interval.export_wh)
    buying, selling = interval.import_wh - own, interval.export_wh - own
    fee = Network(state).fee_to_root(device.bus)
    retail, feed_in = max(t.retail for t in tariffs), min(t.feed_in for t in tariffs)
    fees = (buying + selling) * fee
    amount = selling * feed_in - buying * retail - fees
    net = {GRID: buying * retail - selling * feed_in, OPERATOR: fees, device.account: amount}
    generators.earn(state, device.account, amount)
    events += dues.settle_net(state, net, slot, {})
    events.append(
        LateSettled(name, interval.span_from, slot, interval.import_wh, interval.export_wh, own, fees, amount)
    )
    if device.role == Role.POOL and interval.stored_wh is not None:
        pool = next(str(key[0]) for key, row in state.scan(POOL) if row.device == name)
        events += storage.measured(state, pool, slot, interval.stored_wh)
    return events


def _tariff(state: State, slot: int) -> Tariff:
    row = state.get(TARIFF, (slot,))
    if row is not None:
        return row
    params = state.need(PARAMS, NO_KEY)
    return Tariff(params.retail, params.feed_in)
