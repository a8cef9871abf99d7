"""What the agent may do in a day: a bound on each kind of request and on the CASH that its orders may cost. Pure."""

from __future__ import annotations

from typing import Final, NamedTuple

from ledger.base.errors import SignerRefused
from ledger.base.intents import BUY, CancelOrder, Commit, Intent, PlaceOrder, Redeem
from ledger.base.units import Money

DAY_S: Final = 86_400


class Limits(NamedTuple):
    """Per day, counted from the first request of the day (the wallet's own clock)."""

    orders: int
    commits: int
    redeems: int
    spend: Money  # of bids placed, fees not counted


class DailyUse:
    """What a role asked for today."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._day = -1
        self._counts = {"orders": 0, "commits": 0, "redeems": 0}
        self._spent: Money = 0

    def charge(self, intent: Intent, now_s: int) -> None:
        """Count a request in. Raises `SignerRefused`, counting nothing, where a limit is reached."""
        if now_s // DAY_S != self._day:
            self._day, self._spent = now_s // DAY_S, 0
            self._counts = dict.fromkeys(self._counts, 0)
        match intent:
            case PlaceOrder():
                cost = intent.price * intent.quantity_wh if intent.side == BUY else 0
                if self._spent + cost > self._limits.spend:
                    raise SignerRefused("daily_limit", "the agent's bids of today would cost more than its daily limit")
                self._count("orders", self._limits.orders)
                self._spent += cost
            case CancelOrder():
                return  # taking an order out spends nothing
            case Commit():
                self._count("commits", self._limits.commits)
            case Redeem():
                self._count("redeems", self._limits.redeems)
            case _:
                raise SignerRefused("not_allowed", f"no daily limit stands for a {type(intent).__name__}")

    def _count(self, what: str, limit: int) -> None:
        if self._counts[what] >= limit:
            raise SignerRefused("daily_limit", f"the agent has reached its daily limit of {limit} {what}")
        self._counts[what] += 1
