"""The replayer: keeps what it saw and says it again later, old certificates and statuses first of all."""

from __future__ import annotations

from ledger.gossip import frames
from ledger.simplex.effects import Now

from ..node import Node

KEPT = 200
AGAIN = 3  # old frames for each that it sends itself


class Replayer(Node):
    """Everything that it was sent comes back, to somebody else."""

    def receive(self, peer: int, frame: bytes, now: Now) -> None:
        """Keep it, and send something old."""
        kept: list[bytes] = self.__dict__.setdefault("_kept", [])
        if len(kept) < KEPT:
            kept.append(frame)
        else:
            kept[self._rng.randrange(KEPT)] = frame
        super().receive(peer, frame, now)

    def send(self, to: int | None, message: frames.AnyMessage) -> None:
        """What is to be sent, and old frames beside it."""
        super().send(to, message)
        kept: list[bytes] = self.__dict__.setdefault("_kept", [])
        for _ in range(AGAIN if kept and self._rng.randrange(4) == 0 else 0):
            others = [place for place in self.places.peer_of if place != self.number]
            if others:
                self.post(self.number, self._rng.choice(others), self._rng.choice(kept))
