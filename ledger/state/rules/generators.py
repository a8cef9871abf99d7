"""Generators that the street owns: what a slot pays them goes to the holders of their shares in the same block.

Each share gets the same whole number of units; what is left of fewer than 10,000 units stays on the generator's account and
is carried into the next payout. Nothing is rounded away.
"""

from __future__ import annotations

from ledger.base.units import SHARES_TOTAL, Money

from ..events import Event, Payout
from ..state import State
from ..tables import CASH, GENERATOR, PAID, Paid, gen
from . import balances, dues


def earn(state: State, account: bytes, amount: Money) -> None:
    """Book what a slot paid (or cost) the generator whose account this is; nothing for other accounts."""
    for key, row in state.scan(GENERATOR):
        if row.account == account:
            state.put(GENERATOR, key, row._replace(earned=row.earned + amount))


def pay_out(state: State) -> list[Event]:
    """Pay every generator's free CASH to those who hold its shares now, once its dues are paid."""
    events: list[Event] = []
    for (name,), row in state.scan(GENERATOR):
        assert isinstance(name, str), "generators are keyed by name"
        per_share, carried = divmod(balances.free(state, row.account, CASH), SHARES_TOTAL)
        if per_share == 0 or dues.owed_by(state, row.account):
            continue
        parts: list[tuple[bytes, Money]] = []
        for holder, held in balances.holders(state, gen(name)):
            amount = per_share * (held.free + held.escrowed)
            balances.move(state, row.account, holder, CASH, amount)
            before = state.get(PAID, (name, holder)) or Paid(0)
            state.put(PAID, (name, holder), Paid(before.amount + amount))
            parts.append((holder, amount))
        total = sum(amount for _, amount in parts)
        state.put(GENERATOR, (name,), row._replace(paid=row.paid + total))
        events.append(Payout(name, total, carried, tuple(parts)))
    return events
