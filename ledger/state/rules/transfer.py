"""Moving assets between accounts, and a household's standing price limits."""

from __future__ import annotations

from ledger.base.errors import Refused
from ledger.base.intents import SetLimits, Transfer

from ..state import State
from ..tables import ACCOUNT, SUPPLY
from . import balances, dues, storage


def transfer(state: State, sender: bytes, intent: Transfer) -> None:
    """Refused: no such account or asset, to oneself, dues, too little free, no TSL room for WATT, TSL that covers WATT."""
    if state.get(ACCOUNT, (intent.to,)) is None:
        raise Refused("no_such_account", "nobody in this street has the payee's address")
    if intent.to == sender:
        raise Refused("same_account", "payer and payee are the same account")
    if state.get(SUPPLY, (intent.asset,)) is None:
        raise Refused("no_such_asset", f"this street has no asset {intent.asset}")
    dues.refuse_debtor(state, sender)
    storage.refuse_transfer(state, sender, intent.to, intent.asset, intent.amount)
    balances.move(state, sender, intent.to, intent.asset, intent.amount)


def set_limits(state: State, sender: bytes, intent: SetLimits) -> None:
    """Standing limits of the live market, from the next slot that begins."""
    account = state.need(ACCOUNT, (sender,))
    state.put(ACCOUNT, (sender,), account._replace(buy_below=intent.buy_below, sell_above=intent.sell_above))
