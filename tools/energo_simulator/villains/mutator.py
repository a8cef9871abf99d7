"""The mutator: every fourth frame leaves it with a byte changed; what still decodes must be refused for what it says."""

from __future__ import annotations

from ledger.gossip import frames

from ..node import Node


class Mutator(Node):
    """Changes bytes behind the frame's length."""

    def send(self, to: int | None, message: frames.AnyMessage) -> None:
        """As it is, or not."""
        frame = bytearray(frames.encode(message))
        if self._rng.randrange(4) == 0:
            at = self._rng.randrange(frames.LENGTH_BYTES, len(frame))
            frame[at] ^= 1 << self._rng.randrange(8)
        self.post(self.number, None if to is None else self.places.place_of.get(to), bytes(frame))
