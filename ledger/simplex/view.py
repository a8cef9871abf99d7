"""One view: what was proposed and voted in it, and what this voter itself did."""

from __future__ import annotations

from dataclasses import dataclass, field

from ledger.base.units import Millis
from ledger.base.votes import Certificate, Kind, Vote

from .messages import Proposal


@dataclass
class OwnVotes:
    """What this voter did in a view; times stand with votes so that a repeat has the same bytes."""

    proposed: bytes | None = None
    notarized: bytes | None = None
    finalized: bytes | None = None
    nullified: bool = False
    signed: dict[Kind, Vote] = field(default_factory=dict)

    def remember(self, vote: Vote) -> None:
        """A vote was decided on; its signature follows."""
        self.signed[vote.kind] = vote
        match vote.kind:
            case Kind.NOTARIZE:
                self.notarized = vote.block_hash
            case Kind.FINALIZE:
                self.finalized = vote.block_hash
            case Kind.NULLIFY:
                self.nullified = True


@dataclass
class View:
    """Votes are verified ones, the first of each signer and kind. `equivocated`: the leader proposed two blocks."""

    proposal: Proposal | None = None
    equivocated: bool = False
    rejected: bool = False
    votes: dict[Kind, dict[int, Vote]] = field(default_factory=lambda: {kind: {} for kind in Kind})
    certificates: dict[Kind, Certificate] = field(default_factory=dict)
    own: OwnVotes = field(default_factory=OwnVotes)
    work_since_ms: Millis | None = None

    @property
    def notarization(self) -> Certificate | None:
        """q NOTARIZE votes for one block."""
        return self.certificates.get(Kind.NOTARIZE)

    @property
    def nullification(self) -> Certificate | None:
        """q NULLIFY votes."""
        return self.certificates.get(Kind.NULLIFY)

    @property
    def finalization(self) -> Certificate | None:
        """q FINALIZE votes for one block."""
        return self.certificates.get(Kind.FINALIZE)

    def parent_certificate(self) -> Certificate | None:
        """What proves that this view's block may be extended."""
        return self.notarization or self.finalization

    def tally(self, kind: Kind) -> dict[bytes, list[Vote]]:
        """Votes of a kind by block."""
        found: dict[bytes, list[Vote]] = {}
        for _, vote in sorted(self.votes[kind].items()):
            found.setdefault(vote.block_hash, []).append(vote)
        return found
