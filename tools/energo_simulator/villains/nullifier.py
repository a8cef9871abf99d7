"""The nullifier: says NULLIFY in every view, and nothing else; as leader it proposes nothing."""

from __future__ import annotations

from ledger.base.crypto import ZERO_HASH
from ledger.base.votes import Kind
from ledger.simplex.effects import Now, ProposalToSign, ToSign, VoteToSign

from ..node import Node


class Nullifier(Node):
    """One liar must not keep the street awake, nor stop it."""

    def _sign(self, request: ToSign, now: Now) -> None:
        if isinstance(request, VoteToSign):
            super()._sign(request._replace(kind=Kind.NULLIFY, block_hash=ZERO_HASH, time_ms=0), now)
        elif not isinstance(request, ProposalToSign):
            super()._sign(request, now)
