"""Evidence that waits for a block: one piece a seat and epoch, kept until a final block carries it or it is out of date."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from ledger.base.votes import Evidence
from ledger.state.blocks import EVIDENCE_MAX
from ledger.state.rules.membership import check_evidence
from ledger.state.state import State

WAITING_MAX: Final = 64  # more seats than two committees have: a flood of it costs no more memory


class EvidencePool:
    """What waits, by (epoch, seat), the first piece of each."""

    def __init__(self) -> None:
        self._waiting: dict[tuple[int, int], Evidence] = {}

    def __iter__(self) -> Iterator[Evidence]:
        return iter(self._waiting.values())

    def __contains__(self, evidence: object) -> bool:
        return isinstance(evidence, Evidence) and (evidence.epoch, evidence.signer) in self._waiting

    def add(self, evidence: Evidence) -> None:
        """Keep it; it was verified."""
        if len(self._waiting) < WAITING_MAX:
            self._waiting.setdefault((evidence.epoch, evidence.signer), evidence)

    def against(self, state: State) -> tuple[Evidence, ...]:
        """What a block on this state may carry, in order of epoch and seat."""
        fit = [evidence for _, evidence in sorted(self._waiting.items()) if check_evidence(state, evidence) is not None]
        return tuple(fit[:EVIDENCE_MAX])

    def prune(self, state: State) -> None:
        """Forget what a final block carried or what is out of date."""
        self._waiting = {k: e for k, e in self._waiting.items() if check_evidence(state, e) is not None}
