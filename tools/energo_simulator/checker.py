"""What must hold in every world, checked on the wire and on every commit; the first breach is reported with its seed.

The numbers are those of the consensus design, section 11.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NoReturn, Protocol

from ledger.base.crypto import ZERO_HASH, Scheme, sha256
from ledger.base.errors import InvalidBlock
from ledger.base.genesis import Genesis
from ledger.base.intents import BUY, CHAIN_PREFIX_BYTES, Reading, Ready, decode_transaction
from ledger.base.votes import Certificate, Kind, Vote, certificate_is_valid
from ledger.node.core import Core
from ledger.simplex.bodies import BODIES_MAX
from ledger.simplex.effects import Committed
from ledger.simplex.evidence import WAITING_MAX
from ledger.simplex.messages import Proposal
from ledger.state.blocks import Block
from ledger.state.chain import Chain
from ledger.state.events import EpochSealed, Suspended
from ledger.state.origin import genesis_block
from ledger.state.rules.balances import conservation_breach
from ledger.state.rules.membership import committee_of
from ledger.state.state import State
from ledger.state.tables import BALANCE, CASH, INSTRUMENT, ORDER
from ledger.state.transition import Context, Matchers, apply_block, build_block, draft_of
from ledger.wallet.guard import Signed

from .disk import Disk

VIEWS_HELD_MAX = 40  # above the last final one, with everything final: the open one, and some of a view's length ahead
JOURNALS_BYTES_MAX = 256 * 1024


class Bounded(Protocol):
    """What the checks on bounds look at."""

    core: Core | None
    disk: Disk


class Violation(Exception):
    """A check failed: its number, and what was seen."""


class Checker:
    """Observes honest nodes' sends and commits, and all votes."""

    def __init__(self, genesis: Genesis, scheme: Scheme, honest: set[int], matchers: Matchers) -> None:
        self.genesis, self.scheme, self.honest = genesis, scheme, honest
        self._replay = Chain(Context(genesis, matchers, scheme), genesis_block(genesis))
        self._used: dict[bytes, int] = {}  # the last nonce of every key
        self._carried: set[bytes] = set()
        self._feeds: dict[str, bytes] = {}  # the last reading of every device
        self.committees = {0: genesis.committee}
        self.members = {home.node_key: place for place, home in enumerate(genesis.homes)}
        self._accounts = {genesis.accounts[home.name]: place for place, home in enumerate(genesis.homes)}
        self._last_epoch: dict[int, int] = {}
        self.latest_ms = 0  # the latest honest clock there is; the world moves it on
        self.by_height: dict[int, tuple[bytes, bytes, int]] = {}
        self.heights: dict[tuple[int, int], int] = {}  # by member and card
        self.times: dict[int, int] = {}
        self.sent: dict[tuple[int, int, int], dict[str, bytes]] = {}
        self.notarizers: dict[tuple[int, int], dict[bytes, set[int]]] = {}
        self.certified: dict[tuple[int, int, Kind], bytes] = {}
        self.nullified: set[tuple[int, int]] = set()
        self.finalized: dict[tuple[int, int], bytes] = {}
        self.proposed: dict[bytes, Proposal] = {}
        self._validated: set[bytes] = set()
        self.history: list[bytes] = []  # of commits, for the trace

    def _fail(self, number: int, text: str) -> NoReturn:
        raise Violation(f"check {number}: {text}")

    def sends_vote(self, member: int, vote: Vote, disk: Disk | None) -> None:
        """A vote leaves a member."""
        committee = self.committees.get(vote.epoch)
        if committee is None:
            self._fail(16, f"member {member} votes in epoch {vote.epoch}, which no final block has begun")
        if vote.kind == Kind.NOTARIZE:
            voters = self.notarizers.setdefault((vote.epoch, vote.view), {})
            voters.setdefault(vote.block_hash, set()).add(vote.signer)
            full = [h for h, signers in voters.items() if len(signers) >= committee.quorum]
            if len(full) > 1:
                self._fail(3, f"view {vote.view} has two blocks with a quorum of NOTARIZE")
        signer = self.members.get(committee.keys[vote.signer])
        if member not in self.honest or signer != member:
            return
        if vote.epoch < self._last_epoch.setdefault(member, vote.epoch):
            self._fail(16, f"member {member} votes in epoch {vote.epoch} after epoch {self._last_epoch[member]}")
        self._last_epoch[member] = vote.epoch
        said = self.sent.setdefault((member, vote.epoch, vote.view), {})
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
        if not disk.votes.holds(record.encoded()):
            self._fail(6, f"member {member} sent a {name} of view {vote.view} that is not durable")

    def sends_proposal(self, member: int, proposal: Proposal) -> None:
        """A proposal leaves a member."""
        if member not in self.honest:
            return
        header = proposal.block.header
        said = self.sent.setdefault((member, header.epoch, header.view), {})
        if said.setdefault("PROPOSE", proposal.block.hash) != proposal.block.hash:
            self._fail(4, f"member {member} sent two PROPOSE in view {proposal.block.view}")

    def sends_certificate(self, member: int, certificate: Certificate) -> None:
        """A certificate leaves an honest member."""
        if member not in self.honest:
            return
        if certificate.encoded not in self._validated:
            self._validated.add(certificate.encoded)
            if len(set(certificate.signers)) != len(certificate.signers):
                self._fail(
                    5, f"member {member} sent a certificate for view {certificate.view} that counts a vote twice"
                )
            committee = self.committees.get(certificate.epoch)
            if committee is None or not certificate_is_valid(
                certificate, self.genesis.chain_id, committee, self.scheme
            ):
                self._fail(5, f"member {member} sent a certificate for view {certificate.view} that does not hold")
        place = (certificate.epoch, certificate.view)
        key = (*place, certificate.kind)
        if self.certified.setdefault(key, certificate.block_hash) != certificate.block_hash:
            self._fail(3, f"view {certificate.view} has two certificates of one kind for different blocks")
        if certificate.kind == Kind.NULLIFY:
            self.nullified.add(place)
        if certificate.kind == Kind.FINALIZE:
            self.finalized[place] = certificate.block_hash
        if place in self.nullified and place in self.finalized:
            self._fail(2, f"view {certificate.view} is both nullified and finalized")

    def put_back(self, member: int, card: int, height: int) -> None:
        """A card with an older image, or a copy, is in a member's Pi now."""
        self.heights[member, card] = height

    def commits(self, member: int, committed: Committed, card: int = 0) -> None:
        """A block becomes final at an honest member."""
        if member not in self.honest:
            return
        executed = committed.executed
        header = executed.header
        committee = committee_of(executed.state)
        if self.committees.setdefault(committee.epoch, committee) != committee:
            self._fail(16, f"epoch {committee.epoch} begins with two committees")
        seals = any(isinstance(event, EpochSealed) for event in executed.events)
        if seals and committed.certificate is None:
            self._fail(16, f"member {member} holds no proof of the block that seals epoch {header.epoch}")
        self.history.append(bytes((member,)) + executed.hash)
        before = self.heights.get((member, card), 0)
        if header.height < before:
            self._fail(11, f"member {member} fell back from height {before} to {header.height}")
        if header.height not in (before + 1, before):
            self._fail(1, f"member {member} went from height {before} to {header.height}")
        self.heights[member, card] = header.height
        known = self.by_height.setdefault(header.height, (executed.hash, header.state_root, header.view))
        if known[:2] != (executed.hash, header.state_root):
            self._fail(1, f"height {header.height} has two final blocks or state roots")
        parent = self.by_height.get(header.height - 1)
        if parent is not None and parent[0] != header.parent_hash:
            self._fail(1, f"height {header.height} does not extend the final block below")
        for view in range(header.parent_view + 1, header.view):
            if (header.epoch, view) in self.finalized:
                self._fail(2, f"view {view} was finalized between a final parent and its child")
        if parent is not None and header.time_ms > max(self.latest_ms, self.times[header.height - 1] + 1):
            self._fail(15, f"block time of height {header.height} is ahead of every honest clock")
        self.times[header.height] = header.time_ms
        breach = conservation_breach(executed.state)
        if breach is not None:
            self._fail(8, f"at height {header.height}: {breach}")
        if header.height == self._replay.final.header.height + 1:  # once for all members, whose blocks are equal
            assert executed.block is not None, "block 0 is never committed"
            self._check_transactions(executed.block)
            self._check_escrow(executed.state, header.height)
            self._check_replay(executed.block)
            for event in executed.events:
                if isinstance(event, Suspended) and self._accounts.get(event.account) in self.honest:
                    self._fail(
                        17, f"height {header.height} suspends member {self._accounts[event.account]}, who is honest"
                    )

    def settles(self, one: bytes, rival: bytes) -> None:
        """Two transactions with one number were handed to two nodes."""
        if sha256(one) in self._carried and sha256(rival) in self._carried:
            self._fail(9, "two transactions of one sender with one number are both final")

    def _check_transactions(self, block: Block) -> None:
        """Validity, judged anew and by nothing that the rules remember."""
        where = f"height {block.height}"
        for raw in block.transactions:
            envelope = decode_transaction(raw)
            self._carried.add(envelope.transaction_id)
            message = envelope.signing_bytes(self.genesis.chain_id)
            if envelope.chain_prefix != self.genesis.chain_id[:CHAIN_PREFIX_BYTES]:
                self._fail(7, f"{where} carries a transaction of another chain")
            if not self.scheme.verify(envelope.sender, envelope.signature, message):
                self._fail(7, f"{where} carries a transaction with a signature that does not hold")
            if not isinstance(envelope.intent, Ready) and envelope.nonce != self._used.get(envelope.sender, 0) + 1:
                self._fail(7, f"{where} carries nonce {envelope.nonce} after {self._used.get(envelope.sender, 0)}")
            self._used[envelope.sender] = envelope.nonce
            reading = envelope.intent
            if isinstance(reading, Reading):
                device = self.genesis.device(reading.device)
                if device is None or device.key != envelope.sender:
                    self._fail(7, f"{where} carries a reading that its device did not sign")
                if reading.previous != self._feeds.get(reading.device, ZERO_HASH):
                    self._fail(7, f"{where} carries a reading that does not follow the one before it")
                self._feeds[reading.device] = envelope.transaction_id
            elif not isinstance(reading, Ready) and envelope.valid_until_height < block.height:
                self._fail(7, f"{where} carries a transaction valid until {envelope.valid_until_height}")

    def _check_escrow(self, state: State, height: int) -> None:
        """What is set aside is what the open orders need, and nobody has less than nothing."""
        needed: dict[tuple[bytes, str], int] = {}
        for key, order in state.scan(ORDER):
            row = state.need(INSTRUMENT, (key[0],))
            place = (order.account, CASH if order.side == BUY else row.asset)
            needed[place] = needed.get(place, 0) + order.escrow
        for (account, asset), held in state.scan(BALANCE):
            assert isinstance(account, bytes) and isinstance(asset, str), "balances are keyed by account and asset"
            if held.free < 0 or held.escrowed != needed.pop((account, asset), 0):
                self._fail(8, f"at height {height}: a balance of {asset} is negative or sets aside what no order needs")
        if any(needed.values()):
            self._fail(8, f"at height {height}: an open order has nothing set aside")

    def _check_replay(self, block: Block) -> None:
        """From block 0 on, by the blocks; and by another engine, which has its own leaders and views and the same transactions.

        The second is what an engine behind ABCI is given: transactions, time, whose votes came, who lied. The state may depend
        on nothing else.
        """
        header, below = block.header, self._replay.final
        try:
            applied = apply_block(self._replay.context, below, block)
        except InvalidBlock as error:
            self._fail(10, f"height {header.height} does not apply when it is replayed from block 0: {error}")
        draft = draft_of(block)
        other = build_block(
            self._replay.context,
            below,
            [decode_transaction(raw) for raw in block.transactions],
            replace(draft, leader=draft.leader + 1, view=draft.view + 1_000),
            bytes_max=2 * sum(len(raw) for raw in block.transactions) + 1_000,
        )
        if other.header.tx_root != header.tx_root:
            self._fail(18, f"height {header.height} carries what another engine does not take")
        if (other.header.state_root, other.header.receipts_root) != (header.state_root, header.receipts_root):
            self._fail(18, f"height {header.height} has another state under another engine")
        self._replay.finalize(applied)

    def has_bounds(self, member: int, node: Bounded) -> None:
        """What an honest node holds when everything is final."""
        core = node.core
        if core is None:
            return
        machine = core.machine
        held = {
            "views": (len(machine.register.views), VIEWS_HELD_MAX),
            "bodies": (len(list(machine.bodies)), BODIES_MAX),
            "evidence": (len(list(machine.evidence)), WAITING_MAX),
            "bytes of journals": (node.disk.journal.size + node.disk.votes.size, JOURNALS_BYTES_MAX),
        }
        for what, (count, most) in held.items():
            if count > most:
                self._fail(14, f"member {member} holds {count} {what}, and {most} are enough")
