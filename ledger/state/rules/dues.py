"""What cannot be paid at once: dues, a table beside the balances, paid oldest first from the next free CASH of any origin.

`settle_net` pays a slot's netted sums. A payer that is short pays what it has; the rest becomes dues to those who should have
received it, so that every unit is either paid or owed.
"""

from __future__ import annotations

from ledger.base.errors import Refused
from ledger.base.units import Money
from matcher_c.shares import split

from ..events import DueMade, DuePaid, Event
from ..state import State
from ..tables import CASH, CLOCK, DUE, NO_KEY, PARAMS, Due
from . import balances


def owed_by(state: State, account: bytes) -> Money:
    """The sum of an account's dues."""
    return sum(due.amount for _, due in state.scan(DUE) if due.debtor == account)


def in_arrears(state: State, account: bytes) -> bool:
    """Whether its dues are above the credit limit: then all its energy goes at the outside option."""
    return owed_by(state, account) > state.need(PARAMS, NO_KEY).credit_limit


def refuse_debtor(state: State, account: bytes) -> None:
    """Raises `Refused` for an account that owes something."""
    owed = owed_by(state, account)
    if owed:
        raise Refused("dues", f"the account owes {owed} money units from earlier slots; they are paid first")


def settle_net(state: State, net: dict[bytes, Money], slot: int, rank: dict[bytes, int]) -> list[Event]:
    """Pay what each account receives (positive) or owes (negative); the sums are zero. Ties by `rank`."""
    assert sum(net.values()) == 0, "a slot's money balances to the last unit"
    events: list[Event] = []
    creditors = sorted((a for a, amount in net.items() if amount > 0), key=lambda a: (rank.get(a, 0), a))
    debtors = sorted((a for a, amount in net.items() if amount < 0), key=lambda a: (rank.get(a, 0), a))
    remaining = [net[a] for a in creditors]
    for debtor in debtors:
        owed = -net[debtor]
        paid = min(owed, balances.free(state, debtor, CASH))
        balances.debit(state, debtor, CASH, paid)
        short = split(owed - paid, remaining) if owed > paid else [0] * len(creditors)
        for place, amount in enumerate(short):
            if amount:
                _record(state, Due(debtor, creditors[place], amount, slot))
                events.append(DueMade(debtor, creditors[place], amount, slot))
                remaining[place] -= amount
    for creditor, amount in zip(creditors, remaining, strict=True):
        balances.credit(state, creditor, CASH, amount)
    return events


def _record(state: State, due: Due) -> None:
    clock = state.need(CLOCK, NO_KEY)
    state.put(DUE, (clock.next_due_id,), due)
    state.put(CLOCK, NO_KEY, clock._replace(next_due_id=clock.next_due_id + 1))


def collect(state: State) -> list[Event]:
    """Pay dues, oldest first, from what is free now."""
    events: list[Event] = []
    for key, due in state.scan(DUE):
        paid = min(due.amount, balances.free(state, due.debtor, CASH))
        if paid == 0:
            continue
        balances.move(state, due.debtor, due.creditor, CASH, paid)
        events.append(DuePaid(due.debtor, due.creditor, paid, due.slot))
        if paid == due.amount:
            state.delete(DUE, key)
        else:
            state.put(DUE, key, due._replace(amount=due.amount - paid))
    return events
