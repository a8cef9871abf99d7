"""Who may ask for which intent: one table. A role is the socket on which a request came; file rights decide who may open it."""

from __future__ import annotations

from enum import Enum
from typing import Final

from ledger.base.errors import SignerRefused
from ledger.base.intents import (
    Admit,
    CancelOrder,
    Commit,
    Nominate,
    Park,
    PlaceOrder,
    Redeem,
    Remove,
    RotateKey,
    SetLimits,
    Transfer,
)


class Role(Enum):
    """The processes that know the wallet."""

    NODE = "node"  # votes, proposals and link proofs; it never spends
    AGENT = "agent"  # places, cancels, commits, redeems, within limits a day
    OWNER = "owner"  # the household: panel and energoctl


MAY_SIGN: Final[dict[Role, tuple[int, ...]]] = {
    Role.NODE: (),
    Role.AGENT: (PlaceOrder.KIND, CancelOrder.KIND, Commit.KIND, Redeem.KIND),
    Role.OWNER: (
        Transfer.KIND,
        PlaceOrder.KIND,
        CancelOrder.KIND,
        SetLimits.KIND,
        Commit.KIND,
        Redeem.KIND,
        Admit.KIND,
        Remove.KIND,
        Park.KIND,
        RotateKey.KIND,
        Nominate.KIND,
    ),
}

MAY_VOTE: Final = (Role.NODE,)


def check_may_sign(role: Role, kind: int) -> None:
    """Raises `SignerRefused` where the table does not allow it."""
    if kind not in MAY_SIGN[role]:
        raise SignerRefused("not_allowed", f"the {role.value} may not ask for a transaction of kind {kind}")


def check_may_vote(role: Role) -> None:
    """Raises `SignerRefused` for anybody but the node."""
    if role not in MAY_VOTE:
        raise SignerRefused("not_allowed", f"the {role.value} may not ask for votes or link proofs")


def check_may_rotate(role: Role) -> None:
    """Raises `SignerRefused` for anybody but the household: new keys and recoveries are its own decision."""
    if role != Role.OWNER:
        raise SignerRefused("not_allowed", f"the {role.value} may not ask for new keys or recoveries")
