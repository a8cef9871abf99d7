"""The live market: how a slot is settled, to the last Wh and unit of money.

What is metered is settled: own energy, the pool's, what the market clears (matcher_c.settling), and the rest at
the outside option, with the public grid or, on an island, with the account `balancing` (clearing design, section 3).
"""

from __future__ import annotations

from typing import Final

from ledger.base.crypto import DOMAIN_RANK, sha256
from ledger.base.genesis import SETTLING, Role
from ledger.base.intents import BUY, SELL
from ledger.base.units import SHARE_UNIT, Money, Wh
from matcher_c.network import ClearArrays
from matcher_c.settling import Offer, Pricing, Settlement, settle
from matcher_c.shares import split, split_capped

from ..events import DeviceSlot, Discrepancy, Event, SlotClosed
from ..state import State
from ..tables import CASH, DEVICE, INTERVAL, NO_KEY, PARAMS, POOL, TERMS, DeviceRow, Interval, Tariff, Terms, watt
from . import balances, dues, generators, storage
from .network import Network
from .outside import OPERATOR, at_outside, counterparty

CHECK_ALLOWANCE_WH: Final = 1  # a meter and slot: registers are whole Wh


def settling_devices(state: State) -> list[tuple[str, DeviceRow]]:
    """The devices whose energy is settled, in order of the genesis."""
    found = [(str(key[0]), row) for key, row in state.scan(DEVICE) if row.role in SETTLING]
    return sorted(found, key=lambda item: item[1].position)


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
        self.shared: Money = 0
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
            self.shared,
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


def close_slot(state: State, slot: int, clear: ClearArrays) -> tuple[list[tuple[str, Interval]], list[Event]]:
    """Settle a slot that has ended: the readings that span slots and are settled apart, and what happened."""
    closing = _Closing(state, slot)
    for row in closing.rows:
        if row.device.role == Role.POOL and row.interval is not None:
            closing.settle_pool(row, row.interval)
    tree = closing.network.remaining()
    trading, offers = closing.offers()
    terms = closing.terms
    settled = settle(clear, tree, offers, ranks=closing.ranks, sharing=terms.sharing, pricing=Pricing(terms.pricing))
    closing.book(trading, offers, settled)
    closing.share_proceeds()
    closing.pay()
    names = [row.name for row in trading] + [""] * (len(offers) - len(trading))
    closed = SlotClosed(
        slot,
        terms.retail,
        terms.feed_in,
        closing.islanded,
        terms.sharing,
        terms.pricing,
        tuple(closing.ranks),
        tree,
        tuple(
            (name, offer.bus, offer.side, offer.effective_limit, offer.quantity)
            for name, offer in zip(names, offers, strict=True)
        ),
        settled.traded,
        settled.prices,
        settled.flows,
        settled.rounds,
        settled.gain_buyers,
        settled.gain_sellers,
        tuple(row.record() for row in closing.rows),
        closing.informed(),
        closing.net[OPERATOR],
        sum(row.bought_grid_wh for row in closing.rows),
        sum(row.sold_grid_wh for row in closing.rows),
    )
    return closing.lumps, [*closing.events, closed, *closing.discrepancies()]


class _Closing:
    """A slot while it is settled. `net` is what each account receives in it, all netted."""

    def __init__(self, state: State, slot: int) -> None:
        self.state, self.slot = state, slot
        self.terms: Terms = state.need(TERMS, (slot,))
        self.network = Network(state)
        self.ranks = bus_ranks(self.terms.seed, slot, self.network)
        self.rows: list[_Row] = []
        self.lumps: list[tuple[str, Interval]] = []
        for name, device in settling_devices(state):
            interval = state.get(INTERVAL, (slot, name))
            if interval is not None and interval.span_from < slot:
                self.lumps.append((name, interval))
                interval = None
            self.rows.append(_Row(name, device, interval))
        self.islanded = bool(state.need(PARAMS, NO_KEY).islanded)
        self.other = counterparty(state)
        self.net: dict[bytes, Money] = {self.other: 0, OPERATOR: 0}
        self.events: list[Event] = []
        self._proceeds: list[tuple[_Row, Wh, list[tuple[bytes, Wh]]]] = []

    def _receive(self, account: bytes, amount: Money) -> None:
        self.net[account] = self.net.get(account, 0) + amount

    def settle_pool(self, row: _Row, interval: Interval) -> None:
        """Allocate what the pool took and gave; mint, burn and cut WATT; the pool's own rest stays in its row."""
        name, pool = next((str(k[0]), p) for k, p in self.state.scan(POOL) if p.device == row.name)
        homes = [r for r in self.rows if r.device.role == Role.CONNECTION]
        rank = [self.ranks[home.device.bus] for home in homes]
        accounts = [home.device.account for home in homes]
        committed = {account: energy for pool_name, account, energy in self.terms.commitments if pool_name == name}
        asked = {account: energy for pool_name, account, energy in self.terms.requests if pool_name == name}
        supply_before = balances.supply(self.state, watt(name))
        rooms = [
            storage.room_wh(self.state, account, name) * SHARE_UNIT // max(1, pool.efficiency) for account in accounts
        ]
        charge_caps = [
            min(committed.get(account, 0), home.offer_wh, room)
            for account, home, room in zip(accounts, homes, rooms, strict=True)
        ]
        give_caps = [
            min(asked.get(account, 0), home.need_wh, balances.free(self.state, account, watt(name)))
            for account, home in zip(accounts, homes, strict=True)
        ]
        charged = split_capped(row.import_wh, charge_caps, rank)
        given = split_capped(row.export_wh, give_caps, rank)
        for home, taken_wh, given_wh in zip(homes, charged, given, strict=True):
            home.deposited_wh += taken_wh
            home.offer_wh -= taken_wh
            home.redeemed_wh += given_wh
            home.need_wh -= given_wh
            fee = self.network.carry(home.device.bus, row.device.bus, taken_wh) * taken_wh
            fee += self.network.carry(row.device.bus, home.device.bus, given_wh) * given_wh
            home.fees += fee
            home.net -= fee
            self._receive(home.device.account, -fee)
            self._receive(OPERATOR, fee)
        _, minted = storage.mint_for(self.state, name, accounts, charged, rank)
        self.events += minted
        self.events += storage.burn_redeemed(self.state, name, accounts, given)
        row.redeemed_wh, row.deposited_wh = sum(charged), sum(given)  # in the pool's own books: it took for, gave to
        row.need_wh, row.offer_wh = row.import_wh - sum(charged), row.export_wh - sum(given)
        row.own_wh = min(row.need_wh, row.offer_wh)
        row.need_wh -= row.own_wh
        row.offer_wh -= row.own_wh
        owners_wh = max(0, pool.stored_wh - supply_before)
        if row.offer_wh > owners_wh:  # discharge that nobody asked for, beyond the owner's energy: the holders sold it
            cuts, cut_events = storage.cut(self.state, name, row.offer_wh - owners_wh, "sold")
            self._proceeds.append((row, sum(energy for _, energy in cuts), cuts))
            self.events += cut_events
        if interval.stored_wh is not None:
            self.events += storage.measured(self.state, name, self.slot, interval.stored_wh)

    def offers(self) -> tuple[list[_Row], list[Offer]]:
        """The rows that have something left to trade, and their orders, followed by the grid's two where there is a grid."""
        limits = {account: (buy, sell) for account, buy, sell in self.terms.limits}
        trading: list[_Row] = []
        offers: list[Offer] = []
        for row in self.rows:
            account, bus = row.device.account, row.device.bus
            if dues.in_arrears(self.state, account):
                continue
            fee = self.network.fee_to_root(bus)
            buy_below, sell_above = limits.get(account, (None, None))
            if row.need_wh:
                outside = self.terms.retail + fee
                offer = Offer(bus, BUY, outside if buy_below is None else buy_below, row.need_wh, outside)
                if offer.effective_limit > 0:  # it may pay its limit for all of it, after sharing
                    affordable = balances.free(self.state, account, CASH) // offer.effective_limit
                    offer = offer._replace(quantity=min(offer.quantity, affordable))
            elif row.offer_wh:
                outside = self.terms.feed_in - fee
                offer = Offer(bus, SELL, outside if sell_above is None else sell_above, row.offer_wh, outside)
            else:
                continue
            if offer.quantity:
                trading.append(row)
                offers.append(offer)
        if not self.islanded:
            offers.append(Offer(0, BUY, self.terms.feed_in, -1, self.terms.feed_in))
            offers.append(Offer(0, SELL, self.terms.retail, -1, self.terms.retail))
        return trading, offers

    def book(self, trading: list[_Row], offers: list[Offer], settled: Settlement) -> None:
        """Write what was settled into the rows and `net`, and settle at the outside option what no order stood for."""
        self._receive(self.other, settled.grid)
        self._receive(OPERATOR, settled.operator)
        for i, row in enumerate(trading):
            local_wh = settled.local_wh(i)
            grid_wh = offers[i].quantity - local_wh
            if offers[i].side == BUY:
                row.bought_local_wh, row.bought_grid_wh = local_wh, grid_wh
                row.need_wh -= offers[i].quantity
            else:
                row.sold_local_wh, row.sold_grid_wh = local_wh, grid_wh
                row.offer_wh -= offers[i].quantity
            row.shared = settled.shared[i]
            row.net += settled.net[i]
            self._receive(row.device.account, settled.net[i])
        tariff = Tariff(self.terms.retail, self.terms.feed_in)
        for row in self.rows:
            row.bought_grid_wh += row.need_wh
            row.sold_grid_wh += row.offer_wh
            fee = self.network.fee_to_root(row.device.bus)
            row.net += at_outside(self.net, self.other, row.device.account, row.need_wh, row.offer_wh, tariff, fee)

    def share_proceeds(self) -> None:
        """Give those whose WATT was sold their part of what the pool's sale brought."""
        for row, holders_wh, cuts in self._proceeds:
            sold_wh = row.sold_local_wh + row.sold_grid_wh
            part = row.net * holders_wh // sold_wh if sold_wh and row.net > 0 else 0
            for (account, _), amount in zip(cuts, split(part, [energy for _, energy in cuts]), strict=True):
                self._receive(account, amount)
                self._receive(row.device.account, -amount)

    def pay(self) -> None:
        """Pay what each account receives or owes in all."""
        for account, amount in self.net.items():
            generators.earn(self.state, account, amount)
        rank = {row.device.account: self.ranks[row.device.bus] for row in self.rows}
        self.events += dues.settle_net(self.state, self.net, self.slot, rank)

    def informed(self) -> tuple[tuple[str, Wh, Wh], ...]:
        """What the meters said that inform or check, of those that reported in time."""
        found: list[tuple[str, Wh, Wh]] = []
        for key, device in self.state.scan(DEVICE):
            interval = self.state.get(INTERVAL, (self.slot, key[0]))
            if device.role not in SETTLING and interval is not None and interval.span_from == self.slot:
                found.append((str(key[0]), interval.import_wh, interval.export_wh))
        return tuple(found)

    def discrepancies(self) -> list[Event]:
        """Hold every check meter that reported against the sum behind it, where all of that reported too."""
        events: list[Event] = []
        for key, device in self.state.scan(DEVICE):
            interval = self.state.get(INTERVAL, (self.slot, key[0]))
            if device.role != Role.FEEDER or interval is None or interval.span_from != self.slot:
                continue
            behind = self.network.behind(device.bus)
            counted = [row for row in self.rows if row.device.bus in behind]
            if any(row.status != "metered" for row in counted):
                continue
            measured = interval.import_wh - interval.export_wh
            residual = measured - sum(row.import_wh - row.export_wh for row in counted)
            allowance = CHECK_ALLOWANCE_WH * (len(counted) + 1) * 2  # import and export registers each
            if abs(residual) > allowance:
                events.append(Discrepancy(str(key[0]), self.slot, residual, allowance))
        return events
