"""The withholder: a leader whose block only one other member gets to see, and a voter who tells one member only."""

from __future__ import annotations

from ledger.base.votes import Certificate, Vote
from ledger.gossip import frames
from ledger.simplex.messages import Proposal

from ..node import Node


class Withholder(Node):
    """Tells its proposals, votes and certificates to one peer, another one in each view."""

    def send(self, to: int | None, message: frames.AnyMessage) -> None:
        """To the one of this view."""
        if not isinstance(message, Proposal | Vote | Certificate):
            super().send(to, message)
            return
        view = message.block.view if isinstance(message, Proposal) else message.view
        others = [place for place in self.places.peer_of if place != self.number]
        if others:
            self.post(self.number, others[view % len(others)], frames.encode(message))
