"""`apply_block(parent, block)`: the order of events in a block, and the table of rules. Read this first.

A block happens in this order:
0. the first block of a recovery epoch puts its committee in place; a block after the sealing block of its own epoch does
   nothing at all, because it will be discarded;
1. the terms of slots that have started since the parent are stored, from the state before the block, and the parent's
   certificate tells whose votes are missing;
2. its transactions, in the one order that `canonical_order` allows: readings by device and number, then the rest account by
   account in the order of SHA-256(tag, parent hash, account), each account's by nonce. A proposer chooses none of it;
3. slots that have ended are marked, and those that may close are cleared and settled, oldest first;
4. readings whose slot had closed before are settled late;
5. dues are paid from what is free now, and generators pay their owners;
6. evidence suspends seats; where a quorum of the committee to come is ready, this block seals the epoch;
7. supply = sum of balances is checked for every asset; a breach stops the node.
Nothing here reads a clock, a file, a random number or the order of a set.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from ledger.base import codec
from ledger.base.crypto import DOMAIN_ORDERING, ED25519, Scheme, account_of_key, merkle_root, sha256
from ledger.base.errors import DecodeError, InvalidBlock, InvalidTransaction, Refused
from ledger.base.genesis import Genesis
from ledger.base.intents import (
    CHAIN_PREFIX_BYTES,
    Admit,
    CancelOrder,
    Commit,
    Envelope,
    Nominate,
    Park,
    PlaceOrder,
    Reading,
    Ready,
    Redeem,
    Remove,
    RotateKey,
    SetLimits,
    Transfer,
    decode_transaction,
)
from ledger.base.limits import BLOCK_TRANSACTIONS_MAX, BOOK_CAPACITY
from ledger.base.recovery import Recovery, decode_recovery, signers_of
from ledger.base.units import Millis
from ledger.base.votes import Evidence, evidence_is_valid, signers_of_certificate
from matcher_c.exchange import Book
from matcher_c.network import ClearArrays

from . import history
from .blocks import BLOCK_VERSION, Block, Header, link_hash, tx_root
from .events import EpochSealed, Event, Receipt, Suspended, to_item
from .rules import balances, devices, dues, exchange, generators, membership, outside, slots, storage, transfer
from .state import State
from .tables import ACCOUNT, INSTRUMENT, INTERVAL, NO_KEY, ORDER, OWNER, PARAMS, Status


class Matchers(NamedTuple):
    """The matchers a ledger runs with: matcher_c's, or the reference's for an audit. Same signatures, same results."""

    clear_arrays: ClearArrays
    order_book: Callable[..., Book]


@dataclass
class Context:
    """What stays the same for every block of a chain. `verified` remembers signatures that were checked already."""

    genesis: Genesis
    matchers: Matchers
    scheme: Scheme = ED25519
    verified: dict[bytes, None] = field(default_factory=dict)

    @property
    def chain_id(self) -> bytes:
        """The genesis hash."""
        return self.genesis.chain_id


VERIFIED_MAX: Final = 8_192  # remembered ids, twice what waits at the most: 1 MB; forgetting one costs a verification


@dataclass(frozen=True)
class Executed:
    """A block that was executed: its header, the layer of state it left, and what happened in it."""

    header: Header
    hash: bytes
    state: State
    peaks: history.Peaks  # of the history below and including this block
    events: tuple[Event, ...]
    block: Block | None  # None: block 0


def verify_signature(context: Context, envelope: Envelope) -> None:
    """Raises `InvalidTransaction` for another chain or a bad signature."""
    if envelope.transaction_id in context.verified:
        return
    if envelope.chain_prefix != context.chain_id[:CHAIN_PREFIX_BYTES]:
        raise InvalidTransaction("wrong_chain", "the transaction was made for another street's ledger")
    if not context.scheme.verify(envelope.sender, envelope.signature, envelope.signing_bytes(context.chain_id)):
        raise InvalidTransaction("bad_signature", "the signature does not fit the sender's key and the content")
    while len(context.verified) >= VERIFIED_MAX:
        context.verified.pop(next(iter(context.verified)))
    context.verified[envelope.transaction_id] = None


def account_of_sender(state: State, envelope: Envelope) -> bytes:
    """The account that a key spends from. Raises `InvalidTransaction`."""
    owner = state.get(OWNER, (envelope.sender,))
    if owner is None:
        raise InvalidTransaction("unknown_sender", "the sender's key belongs to no account of this street")
    return owner.account


def check_admissible(state: State, envelope: Envelope, *, height: int, time_ms: Millis) -> None:
    """Whether a block of this height and time may carry the transaction next. Raises `InvalidTransaction`.

    The signature is checked elsewhere (`verify_signature`). Codes for accounts: unknown_sender, known (nonce used), gap
    (an earlier nonce is missing), expired, too_far (expiry too far ahead); for readings see `rules.devices.check`, for words of
    nodes `rules.membership.check_ready`.
    """
    if isinstance(envelope.intent, Reading):
        devices.check(state, envelope, time_ms)
        return
    if isinstance(envelope.intent, Ready):
        membership.check_ready(state, envelope)
        return
    account = state.need(ACCOUNT, (account_of_sender(state, envelope),))
    if envelope.nonce <= account.nonce:
        raise InvalidTransaction("known", f"nonce {envelope.nonce} was used; the next one is {account.nonce + 1}")
    if envelope.nonce > account.nonce + 1:
        raise InvalidTransaction("gap", f"nonce {account.nonce + 1} must come before {envelope.nonce}")
    if envelope.valid_until_height < height:
        raise InvalidTransaction("expired", f"valid until height {envelope.valid_until_height}, now at {height}")
    if envelope.valid_until_height > height + state.need(PARAMS, NO_KEY).expiry_max:
        raise InvalidTransaction("too_far", f"expiry {envelope.valid_until_height} is too far ahead of height {height}")


def ordering_key(envelope: Envelope, parent_hash: bytes) -> tuple[int, bytes, int]:
    """Where a transaction stands among those of a block."""
    if isinstance(envelope.intent, Reading):
        return (0, envelope.intent.device.encode(), envelope.nonce)
    if isinstance(envelope.intent, Ready):
        return (2, envelope.sender, envelope.nonce)
    account = account_of_key(envelope.sender)
    return (1, sha256(DOMAIN_ORDERING, parent_hash, account), envelope.nonce)


class _Books:
    """The exchange's books of one block, opened from the state when an order first needs one."""

    def __init__(self, matchers: Matchers) -> None:
        self._matchers, self._open = matchers, dict[str, Book]()

    def __call__(self, state: State, instrument: str) -> Book:
        if instrument not in self._open:
            row = state.need(INSTRUMENT, (instrument,))
            book: Book = self._matchers.order_book(
                capacity=BOOK_CAPACITY, tick=1, lowest=row.lowest, highest=row.highest
            )
            for key, order in state.scan(ORDER):
                if key[0] == instrument:
                    assert isinstance(key[1], int), "orders are keyed by instrument and id"
                    owner = exchange.book_owner(state, order.account)
                    book.submit(key[1], owner=owner, side=order.side, price=order.price, quantity=order.quantity_wh)
            self._open[instrument] = book
        return self._open[instrument]


def _run(state: State, account: bytes, envelope: Envelope, books: _Books, height: int) -> list[Event]:
    """The rule of a transaction's kind."""
    match envelope.intent:
        case Transfer() as intent:
            transfer.transfer(state, account, intent)
        case SetLimits() as intent:
            transfer.set_limits(state, account, intent)
        case PlaceOrder() as intent:
            return exchange.place(state, account, intent, books)
        case CancelOrder() as intent:
            return exchange.cancel(state, account, intent, books)
        case Commit() as intent:
            storage.commit(state, account, intent)
        case Redeem() as intent:
            storage.redeem(state, account, intent)
        case Admit() as intent:
            membership.admit(state, account, intent, height)
        case Remove() as intent:
            membership.remove(state, account, intent, height)
        case Park() as intent:
            membership.park(state, account, intent)
        case RotateKey() as intent:
            membership.rotate(state, account, intent)
        case Nominate() as intent:
            membership.nominate(state, account, intent)
        case _:
            raise AssertionError(f"no rule for {type(envelope.intent).__name__}")
    return []


def _transact(
    state: State, envelope: Envelope, books: _Books, height: int
) -> tuple[list[Event], tuple[int, str] | None]:
    """Carry out one admissible transaction on `state`: its receipt and events, and a late reading's key."""
    if isinstance(envelope.intent, Reading):
        reading_events, late = devices.record(state, envelope)
        return [Receipt(envelope.transaction_id, "", ""), *reading_events], late
    if isinstance(envelope.intent, Ready):
        membership.ready(state, envelope)
        return [Receipt(envelope.transaction_id, "", "")], None
    account = account_of_sender(state, envelope)
    row = state.need(ACCOUNT, (account,))
    state.put(ACCOUNT, (account,), row._replace(nonce=envelope.nonce))
    attempt = state.fork()
    try:
        done = _run(attempt, account, envelope, books, height)
    except Refused as refusal:
        return [Receipt(envelope.transaction_id, refusal.code, str(refusal))], None
    state.absorb(attempt)
    return [Receipt(envelope.transaction_id, "", ""), *done], None


def check_recovery(context: Context, final: Executed, recovery: Recovery) -> None:
    """Whether this recovery begins the next epoch above that block. Raises `InvalidBlock`."""
    state = final.state
    _same("epoch of the recovery", recovery.epoch, membership.epoch_of(state).number + 1)
    _same("recovery's block", (recovery.height, recovery.block_hash), (final.header.height, final.hash))
    admitted = {state.need(ACCOUNT, (account,)).owner_key for _, account, _ in membership.members(state)}
    nodes = {m.node_key for _, _, m in membership.members(state) if m.status != Status.SUSPENDED}
    signed = admitted.intersection(signers_of(recovery, context.chain_id, context.scheme))
    if 2 * len(signed) <= len(admitted):
        raise InvalidBlock("households that signed the recovery", len(signed), f"more than half of {len(admitted)}")
    if not nodes.issuperset(recovery.committee):
        raise InvalidBlock("committee of the recovery", "a key of no member", "members' node keys")


@dataclass(frozen=True)
class Draft:
    """What a block says beside its transactions: its place, its leader, and what it carries of the agreement."""

    epoch: int
    view: int
    leader: int
    time_ms: Millis
    certificate: bytes = b""
    evidence: tuple[Evidence, ...] = ()
    recovery: bytes = b""


class _Run:
    """A block under way: a new layer above its parent's, and what has happened on it."""

    def __init__(self, context: Context, parent: Executed, draft: Draft) -> None:
        self.context, self.parent, self.draft = context, parent, draft
        self.time_ms = draft.time_ms
        self.height = parent.header.height + 1
        self.state = parent.state.fork()
        self.events: list[Event] = []
        self.late: list[tuple[int, str]] = []
        self.books = _Books(context.matchers)
        self.idle = self._enter_epoch()
        if self.idle:
            return
        slots.open_terms(self.state, self.time_ms, parent.hash)
        if draft.certificate and parent.header.epoch == draft.epoch:
            membership.count_misses(self.state, signers_of_certificate(draft.certificate))

    def _enter_epoch(self) -> bool:
        """Whether the block follows the sealing block in its own epoch and so does nothing. Raises `InvalidBlock`."""
        draft, epoch = self.draft, membership.epoch_of(self.parent.state)
        if draft.recovery:
            recovery = decode_recovery(draft.recovery)
            _same("epoch", draft.epoch, recovery.epoch)
            check_recovery(self.context, self.parent, recovery)
            membership.recover(self.state, recovery, self.height)
            return False
        if draft.epoch == epoch.number:
            first = self.height == epoch.first_height
            if first != (draft.epoch != self.parent.header.epoch or self.height == 1):
                raise InvalidBlock("epoch", draft.epoch, "the parent's, or a new one above its sealing block")
            return False
        _same("epoch", draft.epoch, epoch.number - 1)
        _same("epoch of the parent", self.parent.header.epoch, draft.epoch)
        return True

    def carry(self, envelope: Envelope) -> None:
        """One more transaction. Raises `InvalidTransaction` and changes nothing if the block may not carry it."""
        if self.idle:
            raise InvalidTransaction("sealed", "the epoch is sealed; the next one carries it")
        verify_signature(self.context, envelope)
        check_admissible(self.state, envelope, height=self.height, time_ms=self.time_ms)
        events, late = _transact(self.state, envelope, self.books, self.height)
        self.events += events
        if late is not None:
            self.late.append(late)

    def finish(self) -> None:
        """Everything that happens after the transactions. Raises `InvalidBlock` for evidence that does not hold."""
        if self.idle:
            _same("evidence above a sealing block", self.draft.evidence, ())
            return
        slots.mark_ended(self.state, self.time_ms)
        self.events += slots.close_due(self.state, self.time_ms, self.context.matchers.clear_arrays)
        for slot, device in self.late:
            interval = self.state.need(INTERVAL, (slot, device))
            self.events += outside.settle_late(self.state, slot, device, interval)
            self.state.delete(INTERVAL, (slot, device))
        self.events += dues.collect(self.state)
        self.events += generators.pay_out(self.state)
        for evidence in self.draft.evidence:
            keys = membership.check_evidence(self.state, evidence)
            if keys is None or not evidence_is_valid(evidence, self.context.chain_id, keys, self.context.scheme):
                raise InvalidBlock("evidence", f"against seat {evidence.signer}", "new evidence that holds")
            self.events.append(Suspended(membership.punish(self.state, evidence, self.height), evidence.view))
        if membership.advance(self.state, self.height):
            self.events.append(EpochSealed(membership.epoch_of(self.state).number))
        breach = balances.conservation_breach(self.state)
        assert breach is None, f"supply is not conserved at height {self.height}: {breach}"

    def header(self, transactions: tuple[bytes, ...]) -> Header:
        """The header that commits to all of it."""
        draft, parent = self.draft, self.parent.header
        return Header(
            BLOCK_VERSION,
            self.context.chain_id[:CHAIN_PREFIX_BYTES],
            draft.epoch,
            draft.view,
            self.height,
            self.parent.hash,
            parent.view if parent.epoch == draft.epoch else 0,
            self.time_ms,
            draft.leader,
            tx_root(transactions),
            self.state.root(),
            merkle_root([codec.encode(to_item(event)) for event in self.events]),
            history.root(self.parent.peaks),
            membership.committee_hash(membership.epoch_of(self.state).committee),
            link_hash(draft.certificate, draft.evidence, draft.recovery),
        )

    def executed(self, block: Block) -> Executed:
        """The finished block with its state."""
        return Executed(
            block.header,
            block.hash,
            self.state,
            history.append(self.parent.peaks, block.hash),
            tuple(self.events),
            block,
        )


def build_block(
    context: Context, parent: Executed, candidates: Iterable[Envelope], draft: Draft, *, bytes_max: int
) -> Executed:
    """A new block on `parent` with those candidates that it may carry and hold, executed.

    Evidence in the draft must be new and hold (`membership.check_evidence`).
    """
    run = _Run(context, parent, draft)
    carried: list[bytes] = []
    size = 0
    for envelope in sorted(candidates, key=lambda e: ordering_key(e, parent.hash)):
        if len(carried) >= BLOCK_TRANSACTIONS_MAX or size + len(envelope.raw) > bytes_max:
            continue
        try:
            run.carry(envelope)
        except InvalidTransaction:  # not now: it waits in the mempool, or is dropped there
            continue
        carried.append(envelope.raw)
        size += len(envelope.raw) + 3
    run.finish()
    transactions = tuple(carried)
    header = run.header(transactions)
    return run.executed(Block(header, transactions, draft.certificate, draft.evidence, draft.recovery))


def draft_of(block: Block) -> Draft:
    """What a block says beside its transactions."""
    header = block.header
    return Draft(
        header.epoch,
        header.view,
        header.leader,
        header.time_ms,
        block.parent_certificate,
        block.evidence,
        block.recovery,
    )


def apply_block(context: Context, parent: Executed, block: Block) -> Executed:
    """Execute a block on its parent. Raises `InvalidBlock` with what disagreed. Time and certificate are checked elsewhere."""
    header = block.header
    _same("parent", header.parent_hash, parent.hash)
    _same("height", header.height, parent.header.height + 1)
    if header.time_ms <= parent.header.time_ms:
        raise InvalidBlock("block time", header.time_ms, f"more than {parent.header.time_ms}")
    try:
        run = _Run(context, parent, draft_of(block))
    except DecodeError as error:
        raise InvalidBlock("body", str(error), "a canonical certificate and recovery") from None
    previous: tuple[int, bytes, int] | None = None
    for raw in block.transactions:
        try:
            envelope = decode_transaction(raw)
            place = ordering_key(envelope, parent.hash)
            if previous is not None and place <= previous:
                raise InvalidBlock("order of transactions", place[1], "the canonical order")
            previous = place
            run.carry(envelope)
        except (DecodeError, InvalidTransaction) as error:
            raise InvalidBlock("transaction", str(error), "one that this block may carry") from None
    run.finish()
    expected = run.header(block.transactions)
    for name in Header._fields:
        _same(name, getattr(header, name), getattr(expected, name))
    return run.executed(block)


def _same(what: str, found: object, expected: object) -> None:
    if found != expected:
        raise InvalidBlock(what, found, expected)
