"""What goes into the machine beside messages, and what comes out: time, requests to sign, and the effects of a step."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from ledger.base.units import Millis
from ledger.base.votes import Certificate, Kind, Vote
from ledger.state.blocks import Header
from ledger.state.state import Change
from ledger.state.transition import Executed

from .messages import Message


class Now(NamedTuple):
    """What the driver knows of time: a monotonic clock, and the wall clock where the node trusts one."""

    mono_ms: Millis
    wall_ms: Millis | None


class VoteToSign(NamedTuple):
    """A vote that the wallet is to sign for this seat, once the records beside it are durable."""

    kind: Kind
    epoch: int
    view: int
    block_hash: bytes
    time_ms: Millis
    seat: int


class ProposalToSign(NamedTuple):
    """A proposal that the wallet is to sign."""

    epoch: int
    view: int
    block_hash: bytes


class ReadyToSign(NamedTuple):
    """The word that this node is ready for an epoch's committee; signed, it comes back as a transaction."""

    epoch: int
    committee_hash: bytes


ToSign = VoteToSign | ProposalToSign | ReadyToSign


class Committed(NamedTuple):
    """A block that became final, the changed rows, and what proves it final.

    `certificate` is its own finalization where it has one. A sealing block always has a proof: where it was finalized by a
    descendant, `certificate` is the descendant's and `tail` the headers from the sealing block's child to it.
    """

    executed: Executed
    changes: list[Change]
    certificate: Certificate | None
    tail: tuple[Header, ...] = ()


@dataclass
class Effects:
    """What a step wants done, in the order of the fields. A send to None goes to every linked node.

    `own_votes` are votes of this node's key that came from others and stand in no record here: the wallet must know them, or
    this card is a copy and must not sign.
    """

    records: list[bytes] = field(default_factory=list)
    own_votes: list[Vote] = field(default_factory=list)
    to_sign: list[ToSign] = field(default_factory=list)
    sends: list[tuple[int | None, Message]] = field(default_factory=list)
    commits: list[Committed] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)  # for the log: misbehavior and what was done about it

    def __bool__(self) -> bool:
        return bool(self.records or self.own_votes or self.to_sign or self.sends or self.commits or self.notes)
