"""The exchange: limit order books against CASH, matched by price and time at the resting order's price.

An order's whole cost is set aside when it is placed: quantity x price and the fee on it for a bid, the energy for an ask. The
buyer pays the fee (rounded down) on top of each fill; the operator and the treasury share it.
"""

from __future__ import annotations

from typing import Final, Protocol

from ledger.base.crypto import account_of_name
from ledger.base.errors import Refused
from ledger.base.intents import (
    BUY,
    FILL_OR_KILL,
    GOOD_TIL_CANCELED,
    IMMEDIATE_OR_CANCEL,
    POST_ONLY,
    CancelOrder,
    PlaceOrder,
)
from ledger.base.limits import AMOUNT_MAX, BOOK_CAPACITY, ORDERS_PER_ACCOUNT_MAX
from ledger.base.units import SHARE_UNIT, Money, Price, Wh
from matcher_c.errors import CommandRejected
from matcher_c.exchange import Book, Fill, Kind, Reason, Rest
from matcher_c.exchange import Canceled as BookCanceled

from ..events import Canceled, Event, Rested, Trade
from ..state import State
from ..tables import ACCOUNT, CASH, CLOCK, INSTRUMENT, NO_KEY, ORDER, PARAMS, Instrument, Order
from . import balances, dues, storage

KINDS: Final = {
    GOOD_TIL_CANCELED: Kind.LIMIT,
    IMMEDIATE_OR_CANCEL: Kind.IOC,
    FILL_OR_KILL: Kind.FOK,
    POST_ONLY: Kind.POST_ONLY,
}


def book_owner(state: State, account: bytes) -> int:
    """An account's number in a book, where 0 is nobody."""
    return state.need(ACCOUNT, (account,)).number + 1


def cost_with_fee(state: State, price: Price, quantity_wh: Wh) -> Money:
    """What a bid sets aside."""
    cost: Money = price * quantity_wh
    fee: Money = cost * state.need(PARAMS, NO_KEY).exchange_fee // SHARE_UNIT
    return cost + fee


def _instrument(state: State, name: str) -> Instrument:
    row = state.get(INSTRUMENT, (name,))
    if row is None:
        known = ", ".join(str(key[0]) for key, _ in state.scan(INSTRUMENT)) or "none"
        raise Refused("no_such_instrument", f"there is no book for {name}; there is {known}")
    return row


def place(state: State, sender: bytes, intent: PlaceOrder, open_book: OpenBook) -> list[Event]:
    """Refused: no such book, price outside its band, too many orders, dues, too little free, no TSL room; or not all of a
    fill-or-kill order could trade, or a post-only order would."""
    instrument = _instrument(state, intent.instrument)
    if not instrument.lowest <= intent.price <= instrument.highest:
        raise Refused("price_out_of_band", f"a price here lies between {instrument.lowest} and {instrument.highest}")
    resting = [key for key, order in state.scan(ORDER) if order.account == sender]
    if len(resting) >= ORDERS_PER_ACCOUNT_MAX:
        raise Refused("too_many_orders", f"an account may have {ORDERS_PER_ACCOUNT_MAX} orders at rest; cancel one")
    if len([key for key, _ in state.scan(ORDER) if key[0] == intent.instrument]) >= BOOK_CAPACITY:
        raise Refused("book_full", "the book is full; wait until orders leave it")
    if intent.side == BUY:
        dues.refuse_debtor(state, sender)
        escrow = cost_with_fee(state, intent.price, intent.quantity_wh)
        if escrow > AMOUNT_MAX:
            raise Refused("too_large", "the order costs more than the ledger can hold")
        room_wh = storage.room_wh(state, sender, instrument.pool)
        if room_wh < intent.quantity_wh:
            raise Refused("no_room", f"the account has TSL for {room_wh} Wh more in {instrument.pool}")
        balances.escrow(state, sender, CASH, escrow)
    else:
        escrow = intent.quantity_wh
        balances.escrow(state, sender, instrument.asset, escrow)
    clock = state.need(CLOCK, NO_KEY)
    order_id = clock.next_order_id
    state.put(CLOCK, NO_KEY, clock._replace(next_order_id=order_id + 1))
    book = open_book(state, intent.instrument)
    own = Order(sender, intent.side, intent.price, intent.quantity_wh, escrow)
    state.put(ORDER, (intent.instrument, order_id), own)
    try:
        results = book.submit(
            order_id,
            owner=book_owner(state, sender),
            side=intent.side,
            price=intent.price,
            quantity=intent.quantity_wh,
            kind=KINDS[intent.tif],
        )
    except CommandRejected as rejected:
        raise Refused(rejected.code.name.lower(), rejected.sentence) from None
    events: list[Event] = []
    for result in results:
        if isinstance(result, Fill):
            events.append(_settle_fill(state, intent.instrument, instrument, result, intent.side))
        elif isinstance(result, BookCanceled):
            met_itself = result.reason is Reason.SELF_TRADE
            reason = "own order on the other side" if met_itself else "nothing more at that price"
            events += _take_out(state, intent.instrument, result.order_id, reason)
        else:
            assert isinstance(result, Rest), f"the matcher rejected what the rules let pass: {result}"
            events.append(Rested(intent.instrument, order_id, result.quantity))
    return events


def _settle_fill(state: State, name: str, instrument: Instrument, fill: Fill, taker_side: int) -> Trade:
    buyer_id, seller_id = (fill.taker, fill.maker) if taker_side == BUY else (fill.maker, fill.taker)
    bid, ask = state.need(ORDER, (name, buyer_id)), state.need(ORDER, (name, seller_id))
    cost = fill.price * fill.quantity
    params = state.need(PARAMS, NO_KEY)
    fee = cost * params.exchange_fee // SHARE_UNIT
    to_treasury = fee * params.exchange_fee_treasury // SHARE_UNIT
    balances.spend_escrow(state, bid.account, ask.account, CASH, cost)
    balances.spend_escrow(state, bid.account, account_of_name("treasury"), CASH, to_treasury)
    balances.spend_escrow(state, bid.account, account_of_name("operator"), CASH, fee - to_treasury)
    balances.spend_escrow(state, ask.account, bid.account, instrument.asset, fill.quantity)
    left_wh = bid.quantity_wh - fill.quantity
    needed = cost_with_fee(state, bid.price, left_wh)
    balances.release(state, bid.account, CASH, bid.escrow - cost - fee - needed)
    _keep(state, name, buyer_id, bid._replace(quantity_wh=left_wh, escrow=needed))
    left_wh = ask.quantity_wh - fill.quantity
    _keep(state, name, seller_id, ask._replace(quantity_wh=left_wh, escrow=left_wh))
    return Trade(name, fill.price, fill.quantity, bid.account, ask.account, fill.maker, fill.taker, cost, fee)


def _keep(state: State, name: str, order_id: int, order: Order) -> None:
    if order.quantity_wh:
        state.put(ORDER, (name, order_id), order)
    else:
        state.delete(ORDER, (name, order_id))


def _take_out(state: State, name: str, order_id: int, reason: str) -> list[Event]:
    order = state.need(ORDER, (name, order_id))
    asset = CASH if order.side == BUY else state.need(INSTRUMENT, (name,)).asset
    balances.release(state, order.account, asset, order.escrow)
    state.delete(ORDER, (name, order_id))
    return [Canceled(name, order_id, order.quantity_wh, reason)]


def cancel(state: State, sender: bytes, intent: CancelOrder, open_book: OpenBook) -> list[Event]:
    """Refused: no such resting order, or it is somebody else's."""
    found = [key for key, _ in state.scan(ORDER) if key[1] == intent.order_id]
    if not found or state.need(ORDER, found[0]).account != sender:
        raise Refused("no_such_order", f"the account has no resting order {intent.order_id}")
    name = found[0][0]
    assert isinstance(name, str), "orders are keyed by instrument and id"
    open_book(state, name).cancel(intent.order_id)
    return _take_out(state, name, intent.order_id, "canceled by its owner")


class OpenBook(Protocol):
    """Gives the book of an instrument as it stands in a state; kept open for the block."""

    def __call__(self, state: State, instrument: str) -> Book:
        """The matcher's book with every resting order in it."""
