"""What must hold in every world, checked on the wire and on every commit; the first breach is reported with its seed.

The numbers are those of the consensus design, section 11.
"""

from __future__ import annotations

from ledger.base.crypto import Scheme
from ledger.base.genesis import Genesis
from ledger.simplex.messages import (
    Certificate,
    Kind,
    Proposal,
    Vote,
    certificate_is_valid,
    quorum,
)
from ledger.state.rules.balances import conservation_breach
from ledger.state.transition import Executed
from ledger.wallet.guard import Signed

from .disk import Disk


class Violation(Exception):
    """A check failed: its number, and what was seen."""


class Checker:
    """Observes honest nodes' sends and commits, and all votes."""

    def __init__(self, genesis: Genesis, scheme: Scheme, honest: set[int]) -> None:
        self.genesis, self.scheme, self.honest = genesis, scheme, honest
        self.quorum = quorum(len(genesis.committee))
        self.latest_ms = 0  # the latest honest clock there is; the world moves it on
        self.by_height: dict[int, tuple[bytes, bytes, int]] = {}
        self.heights: dict[int, int] = {}
        self.times: dict[int, int] = {}
        self.sent: dict[tuple[int, int], dict[str, bytes]] = {}
        self.notarizers: dict[int, dict[bytes, set[int]]] = {}
        self.certified: dict[tuple[int, Kind], bytes] = {}
        self.nullified: set[int] = set()
        self.finalized: dict[int, bytes] = {}
        self.proposed: dict[bytes, Proposal] = {}
        self._validated: set[bytes] = set()
        self.history: list[bytes] = []  # of commits, for the trace

    def _fail(self, number: int, text: str) -> None:
        raise Violation(f"check {number}: {text}")

    def sends_vote(self, member: int, vote: Vote, disk: Disk | None) -> None:
        """A vote leaves a member."""
        if vote.kind == Kind.NOTARIZE:
            voters = self.notarizers.setdefault(vote.view, {})
            voters.setdefault(vote.block_hash, set()).add(vote.signer)
            full = [h for h, signers in voters.items() if len(signers) >= self.quorum]
            if len(full) > 1:
                self._fail(3, f"view {vote.view} has two blocks with a quorum of NOTARIZE")
        if member not in self.honest or vote.signer != member:
            return
        said = self.sent.setdefault((member, vote.view), {})
        name = vote.kind.name
        if said.setdefault(name, vote.block_hash) != vote.block_hash:
            self._fail(4, f"member {member} sent two {name} in view {vote.view}")
        if "NULLIFY" in said and "FINALIZE" in said:
            self._fail(4, f"member {member} sent NULLIFY and FINALIZE in view {vote.view}")
        if name == "NOTARIZE" and "NULLIFY" in said and "NOTARIZE-first" not in said:
            self._fail(4, f"member {member} sent NOTARIZE after NULLIFY in view {vote.view}")
        if name == "NOTARIZE" and "NULLIFY" not in said:
            said["NOTARIZE-first"] = b""
        assert disk is not None, "an honest member has a disk"
        record = Signed(int(vote.kind), vote.epoch, vote.view, vote.block_hash, vote.time_ms, vote.signature)
        if record.encoded() not in disk.votes.durable:
            self._fail(6, f"member {member} sent a {name} of view {vote.view} that is not durable")

    def sends_proposal(self, member: int, proposal: Proposal) -> None:
        """A proposal leaves a member."""
        if member not in self.honest:
            return
        said = self.sent.setdefault((member, proposal.block.view), {})
        if said.setdefault("PROPOSE", proposal.block.hash) != proposal.block.hash:
            self._fail(4, f"member {member} sent two PROPOSE in view {proposal.block.view}")

    def sends_certificate(self, member: int, certificate: Certificate) -> None:
        """A certificate leaves an honest member."""
        if member not in self.honest:
            return
        if certificate.encoded not in self._validated:
            self._validated.add(certificate.encoded)
            if not certificate_is_valid(certificate, self.genesis.chain_id, self.genesis.committee, self.scheme):
                self._fail(5, f"member {member} sent a certificate for view {certificate.view} that does not hold")
        key = (certificate.view, certificate.kind)
        if self.certified.setdefault(key, certificate.block_hash) != certificate.block_hash:
            self._fail(3, f"view {certificate.view} has two certificates of one kind for different blocks")
        if certificate.kind == Kind.NULLIFY:
            self.nullified.add(certificate.view)
        if certificate.kind == Kind.FINALIZE:
            self.finalized[certificate.view] = certificate.block_hash
        if certificate.view in self.nullified and certificate.view in self.finalized:
            self._fail(2, f"view {certificate.view} is both nullified and finalized")

    def commits(self, member: int, executed: Executed) -> None:
        """A block becomes final at an honest member."""
        if member not in self.honest:
            return
        header = executed.header
        self.history.append(bytes((member,)) + executed.hash)
        before = self.heights.get(member, 0)
        if header.height not in (before + 1, before):
            self._fail(1, f"member {member} went from height {before} to {header.height}")
        self.heights[member] = header.height
        known = self.by_height.setdefault(header.height, (executed.hash, header.state_root, header.view))
        if known[:2] != (executed.hash, header.state_root):
            self._fail(1, f"height {header.height} has two final blocks or state roots")
        parent = self.by_height.get(header.height - 1)
        if parent is not None and parent[0] != header.parent_hash:
            self._fail(1, f"height {header.height} does not extend the final block below")
        for view in range(header.parent_view + 1, header.view):
            if view in self.finalized:
                self._fail(2, f"view {view} was finalized between a final parent and its child")
        if parent is not None and header.time_ms > max(self.latest_ms, self.times[header.height - 1] + 1):
            self._fail(15, f"block time of height {header.height} is ahead of every honest clock")
        self.times[header.height] = header.time_ms
        breach = conservation_breach(executed.state)
        if breach is not None:
            self._fail(8, f"at height {header.height}: {breach}")
