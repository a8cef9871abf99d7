"""What was said in an epoch's views: verified votes, each signer's first of a kind; certificates; and who contradicted himself.

Nothing here knows of time or work: it verifies, counts and keeps. Views below the last final one are forgotten.
"""

from __future__ import annotations

from ledger.base.crypto import Scheme
from ledger.base.votes import (
    PROPOSE,
    Certificate,
    Claim,
    Committee,
    Evidence,
    Kind,
    Vote,
    certificate_is_valid,
    certificate_of,
    claim_of,
    encode_vote,
    evidence_of,
    proposal_message,
    vote_is_valid,
)

from .messages import Proposal
from .view import View

_CONTRADICTED_BY = {Kind.NULLIFY: Kind.FINALIZE, Kind.FINALIZE: Kind.NULLIFY}


class Register:
    """The views of one epoch, from the last final one on. `found` collects evidence until it is taken."""

    def __init__(self, chain_id: bytes, committee: Committee, scheme: Scheme) -> None:
        self.committee = committee
        self._chain_id, self._scheme = chain_id, scheme
        self.views: dict[int, View] = {}
        self.highest_final: Certificate | None = None
        self.found: list[Evidence] = []

    def view(self, number: int) -> View:
        """A view, empty where nothing was said in it yet."""
        view = self.views.get(number)
        if view is None:
            view = self.views[number] = View()
        return view

    def add_vote(self, vote: Vote) -> str | None:
        """Keep a vote; None where it is new and counts, else why not ("" where it is known)."""
        votes = self.view(vote.view).votes
        known = votes[vote.kind].get(vote.signer)
        if known is not None and known.block_hash == vote.block_hash:
            return ""
        if not vote_is_valid(vote, self._chain_id, self.committee, self._scheme):
            return f"a vote for view {vote.view} with a bad signature was dropped"
        opposite = votes[_CONTRADICTED_BY[vote.kind]].get(vote.signer) if vote.kind in _CONTRADICTED_BY else None
        for other in (known, opposite):
            if other is not None:
                self._contradicts(vote.view, vote.signer, claim_of(other), claim_of(vote))
        if known is not None:
            return f"member {vote.signer} voted twice in view {vote.view}; the first vote counts"
        votes[vote.kind][vote.signer] = vote
        return None

    def add_proposal(self, proposal: Proposal) -> str | None:
        """Keep a leader's first proposal; None where it is new and counts, else why not ("" where it is known)."""
        header = proposal.block.header
        view = self.view(header.view)
        block_hash = proposal.block.hash
        if view.proposal is not None and view.proposal.block.hash == block_hash:
            return ""
        message = proposal_message(self._chain_id, header.epoch, header.view, block_hash)
        if not self._scheme.verify(self.committee.keys[header.leader], proposal.signature, message):
            return f"a proposal for view {header.view} with a bad signature was dropped"
        if view.proposal is not None:
            view.equivocated = True
            first = Claim(PROPOSE, view.proposal.block.hash, 0, view.proposal.signature)
            self._contradicts(header.view, header.leader, first, Claim(PROPOSE, block_hash, 0, proposal.signature))
            return f"the leader of view {header.view} proposed two blocks; it is not finalized by us"
        view.proposal = proposal
        return None

    def _contradicts(self, view: int, signer: int, one: Claim, other: Claim) -> None:
        self.found.append(evidence_of(self.committee.epoch, view, signer, one, other))

    def holds(self, certificate: Certificate) -> bool:
        """Whether a quorum of this epoch's committee signed it."""
        view = self.views.get(certificate.view)
        known = frozenset(encode_vote(v) for v in view.votes[certificate.kind].values()) if view else frozenset()
        return certificate_is_valid(certificate, self._chain_id, self.committee, self._scheme, known)

    def holds_vote(self, vote: Vote) -> bool:
        """Whether a member of this epoch signed it."""
        return vote_is_valid(vote, self._chain_id, self.committee, self._scheme)

    def keep(self, certificate: Certificate) -> None:
        """Keep a certificate that holds."""
        self.view(certificate.view).certificates[certificate.kind] = certificate
        final = self.highest_final
        if certificate.kind == Kind.FINALIZE and (final is None or certificate.view > final.view):
            self.highest_final = certificate

    def formed(self, first: int, last: int) -> list[Certificate]:
        """Certificates that the votes in views first..last make now and that are not kept yet."""
        found: list[Certificate] = []
        for number in [n for n in self.views if first <= n <= last]:
            view = self.views[number]
            for kind in view.votes:
                if kind in view.certificates or len(view.votes[kind]) < self.committee.quorum:
                    continue
                for votes in view.tally(kind).values():
                    if len(votes) >= self.committee.quorum:
                        found.append(certificate_of(votes))
        return found

    def fullest(self, certificate: Certificate) -> Certificate:
        """The certificate with every vote for the same that is held: whose votes came is counted from it."""
        view = self.views.get(certificate.view)
        if view is None:
            return certificate
        votes = {vote.signer: vote for vote in certificate.votes()}
        for vote in view.tally(certificate.kind).get(certificate.block_hash, []):
            votes.setdefault(vote.signer, vote)
        return certificate if len(votes) == len(certificate.signers) else certificate_of(list(votes.values()))

    def certificates(self, number: int) -> list[Certificate]:
        """What is held of a view."""
        view = self.views.get(number)
        return [] if view is None else list(view.certificates.values())

    def votes_of(self, signer: int) -> list[Vote]:
        """A member's votes in the views that are held, the newest views first."""
        return [
            view.votes[kind][signer]
            for _, view in sorted(self.views.items(), reverse=True)
            for kind in Kind
            if signer in view.votes[kind]
        ]

    def prune(self, final_view: int) -> None:
        """Forget the views below the last final one; late FINALIZE votes for it are still of use."""
        self.views = {number: view for number, view in self.views.items() if number >= final_view}
