"""A world in which a test decides what gets lost and when the power fails; everything else is the real thing."""

from __future__ import annotations

from collections.abc import Callable

from energo_simulator.node import decode
from energo_simulator.street import Wanted
from energo_simulator.world import World
from ledger.base.intents import Intent
from ledger.gossip import frames
from ledger.gossip.flood import FeedClock, Have

Lost = Callable[[int, int, frames.AnyMessage], bool]


class Directed(World):
    """No faults but those that the test makes; no workload but what it asks for."""

    def __init__(self, nodes: int, seed: int = 1) -> None:
        super().__init__(seed, nodes=nodes, byzantine=0, scenario="calm")
        self.lost: Lost = lambda sender, target, message: False
        self.frames = 0  # of the agreement: what waits is announced apart
        self.asked: list[tuple[int, bytes]] = []
        for node in self.nodes:
            self._boot(node)

    def _post(self, sender: int, target: int, frame: bytes) -> None:
        message = decode(frame)
        self.frames += self.nodes[target].core is not None and not isinstance(message, Have | FeedClock)
        if not self.lost(sender, target, message):
            super()._post(sender, target, frame)

    def until(self, reached: Callable[[], bool], limit_ms: int) -> bool:
        """Let time pass until something holds; whether it did within the limit."""
        end_ms = self.now_ms + limit_ms
        while not reached() and self._queue and self._queue[0][0] <= end_ms:
            self._step()
        return reached()

    def pass_ms(self, elapsed_ms: int) -> None:
        """Let time pass."""
        end_ms = self.now_ms + elapsed_ms
        self.until(lambda: False, elapsed_ms)
        self.now_ms = max(self.now_ms, end_ms)

    def ask(self, home: int, intent: Intent, *nodes: int) -> Wanted:
        """A home's wish, handed to these nodes (its own where none is named)."""
        name = self.homes[home].name
        nonce = self._nonces[name] = self._nonces.get(name, 0) + 1
        raw = self._signed(name, intent, self.street.seed(f"{name} owner"), nonce)
        wanted = Wanted(home, raw, nonce, "")
        for node in nodes or (home,):
            self._submit(node, raw)
            self.asked.append((node, raw))
        return wanted

    def ask_again(self) -> None:
        """Every home hands its node again what it wanted: a node that was off has forgotten what waited."""
        for node, raw in self.asked:
            self._submit(node, raw)

    def final(self, wanted: Wanted, *nodes: int) -> bool:
        """Whether a wish is final on these nodes (all that are on)."""
        on = [n for n, node in enumerate(self.nodes) if node.core is not None]
        return all(self._is_final(n, wanted) for n in nodes or on)

    def cut(self, *nodes: int) -> None:
        """The power fails."""
        for number in nodes or range(len(self.nodes)):
            if self.nodes[number].core is not None:
                self.nodes[number].cut()

    def start(self, *nodes: int) -> None:
        """It is back."""
        for number in nodes or range(len(self.nodes)):
            self._boot(self.nodes[number])

    def agree(self) -> None:
        """All that are on have the same head and root."""
        cores = [node.core for node in self.nodes if node.core is not None]
        assert len({core.chain.final.hash for core in cores}) == 1
        assert len({core.chain.final.header.state_root for core in cores}) == 1


def nobody(sender: int, target: int, message: frames.AnyMessage) -> bool:
    """Everything arrives."""
    return False
