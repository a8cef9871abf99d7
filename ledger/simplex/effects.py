"""What goes into the machine beside messages, and what comes out: time, requests to sign, and the effects of a step."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from ledger.base.units import Millis
from ledger.state.state import Change
from ledger.state.transition import Executed

from .messages import Certificate, Kind, Message


class Now(NamedTuple):
    """What the driver knows of time: a monotonic clock, and the wall clock where the node trusts one."""

    mono_ms: Millis
    wall_ms: Millis | None


class VoteToSign(NamedTuple):
    """A vote that the wallet is to sign, once the records beside it are durable."""

    kind: Kind
    view: int
    block_hash: bytes
    time_ms: Millis


class ProposalToSign(NamedTuple):
    """A proposal that the wallet is to sign."""

    view: int
    block_hash: bytes


class Committed(NamedTuple):
    """A block that became final, the changed rows, and its own finalization where it has one."""

    executed: Executed
    changes: list[Change]
    certificate: Certificate | None


@dataclass
class Effects:
    """What a step wants done, in the order of the fields. A send to None goes to every other member and follower."""

    records: list[bytes] = field(default_factory=list)
    to_sign: list[VoteToSign | ProposalToSign] = field(default_factory=list)
    sends: list[tuple[int | None, Message]] = field(default_factory=list)
    commits: list[Committed] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)  # for the log: misbehavior and what was done about it

    def __bool__(self) -> bool:
        return bool(self.records or self.to_sign or self.sends or self.commits or self.notes)
