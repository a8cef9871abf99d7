"""Energy that is settled at the outside option: what no order of the market stands for, and late readings.

Buying it costs the public grid's retail price, selling it brings its feed-in price, both less favorable by the fees of the way
to the root, which are the operator's. On an island it is what the genesis says instead, with the account `balancing`.
"""

from __future__ import annotations

from typing import Final

from ledger.base.crypto import account_of_name
from ledger.base.genesis import SETTLING, Role, counterparty_name
from ledger.base.units import Money, Price, Wh

from ..events import Event, LateSettled
from ..state import State
from ..tables import DEVICE, NO_KEY, PARAMS, POOL, TARIFF, Interval, Tariff
from . import dues, generators, storage
from .network import Network

TARIFFS_KEPT: Final = 2_976  # slots (31 days) for which a late reading still finds its own tariff

OPERATOR: Final = account_of_name("operator")


def counterparty(state: State) -> bytes:
    """The account that has the other side of the outside option."""
    return account_of_name(counterparty_name(bool(state.need(PARAMS, NO_KEY).islanded)))


def at_outside(
    net: dict[bytes, Money], other: bytes, account: bytes, buying_wh: Wh, selling_wh: Wh, tariff: Tariff, fee: Price
) -> Money:
    """Book energy that an account trades with `other`, the counterparty, into `net`; what it receives, negative where it pays."""
    fees = (buying_wh + selling_wh) * fee
    received = selling_wh * tariff.feed_in - buying_wh * tariff.retail - fees
    net[other] += buying_wh * tariff.retail - selling_wh * tariff.feed_in
    net[OPERATOR] += fees
    net[account] = net.get(account, 0) + received
    return received


def settle_late(state: State, slot: int, name: str, interval: Interval) -> list[Event]:
    """Settle energy whose slot closed without it, or that spans slots.

    One slot: own energy is netted, at that slot's prices. A span: nothing is netted, import at the dearest and export at the
    lowest price of the slots spanned, so that withholding a reading never pays.
    """
    device = state.need(DEVICE, (name,))
    if device.role not in SETTLING:
        return []
    tariffs = [_tariff(state, s) for s in range(max(interval.span_from, slot - TARIFFS_KEPT), slot + 1)]
    worst = Tariff(max(t.retail for t in tariffs), min(t.feed_in for t in tariffs))
    own = 0 if interval.span_from < slot else min(interval.import_wh, interval.export_wh)
    buying, selling = interval.import_wh - own, interval.export_wh - own
    fee = Network(state).fee_to_root(device.bus)
    other = counterparty(state)
    net: dict[bytes, Money] = {other: 0, OPERATOR: 0}
    received = at_outside(net, other, device.account, buying, selling, worst, fee)
    generators.earn(state, device.account, received)
    events = dues.settle_net(state, net, slot, {})
    events.append(
        LateSettled(
            name,
            interval.span_from,
            slot,
            interval.import_wh,
            interval.export_wh,
            own,
            (buying + selling) * fee,
            received,
        )
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
