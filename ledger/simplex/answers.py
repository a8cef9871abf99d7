"""What a member tells others without being made to by a rule: answers, and what it repeats while nothing moves."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ledger.base import codec
from ledger.base.votes import Certificate, Kind
from ledger.state.blocks import Header
from ledger.state.transition import Draft

from .effects import ProposalToSign, VoteToSign
from .messages import ECHO_VOTES_MAX, REQUEST_VIEWS_MAX, Echo, Status

if TYPE_CHECKING:
    from .machine import Machine

Tail = tuple[Header, ...]


def certificates(machine: Machine, number: int) -> list[Certificate]:
    """What is held of a view, the last final one included."""
    if number == machine.final_view and machine.final_certificate is not None:
        return [machine.final_certificate]
    return machine.register.certificates(number)


def answer_status(machine: Machine, peer: int, seat: int | None, status: Status) -> None:
    """A peer of the same epoch told where it stands: it gets what it lacks."""
    if status.asks and seat is not None:
        machine.send(Echo(machine.epoch, tuple(machine.register.votes_of(seat)[:ECHO_VOTES_MAX])), peer)
    if status.final_height < machine.chain.final.header.height and machine.final_certificate is not None:
        machine.send(machine.final_certificate, peer)
    lacking = range(max(status.view, machine.final_view + 1), machine.view)
    for number in lacking[-REQUEST_VIEWS_MAX:]:
        for certificate in machine.register.certificates(number):
            machine.send(certificate, peer)
    if status.view <= machine.view:
        send_own(machine, peer)


def send_own(machine: Machine, to: int | None) -> None:
    """Own proposal and votes of the current view, and own FINALIZE votes that are not confirmed."""
    if machine.me is None:
        return
    for number in range(machine.final_view + 1, machine.view + 1):
        view = machine.register.views.get(number)
        if view is None:
            continue
        if number == machine.view and view.proposal is not None and view.own.proposed is not None:
            machine.send(view.proposal, to)
        for kind, vote in view.own.signed.items():
            if number < machine.view and kind != Kind.FINALIZE:
                continue
            if vote.signature:
                machine.send(vote, to)
            else:
                machine.sign_again(VoteToSign(kind, machine.epoch, number, vote.block_hash, vote.time_ms, vote.signer))


def retransmit(machine: Machine) -> None:
    """Own proposal, votes, evidence and status again, to everybody."""
    view = machine.register.view(machine.view)
    if machine.me is not None and view.own.proposed is not None and view.proposal is None:
        machine.sign_again(ProposalToSign(machine.epoch, machine.view, view.own.proposed))
    send_own(machine, None)
    for evidence in machine.evidence:
        machine.send(evidence)
    machine.send(machine.status())


def bytes_beside_transactions(draft: Draft) -> int:
    """How much of a block is taken before its first transaction."""
    return len(codec.encode((draft.certificate, tuple(e.item() for e in draft.evidence), draft.recovery)))
