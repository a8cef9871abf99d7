"""`apply_block(parent, block)`: the order of events in a block, and the table of rules. Read this first.

A block happens in this order:
1. the terms of slots that have started since the parent are stored, from the state before the block;
2. its transactions, in the one order that `canonical_order` allows: readings by device and number, then the rest account by
   account in the order of SHA-256(tag, parent hash, account), each account's by nonce. A proposer chooses none of it;
3. slots that have ended are marked, and those that may close are cleared and settled, oldest first;
4. readings whose slot had closed before are settled late;
5. dues are paid from what is free now, and generators pay their owners;
6. supply = sum of balances is checked for every asset; a breach stops the node.
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
    CancelOrder,
    Commit,
    Envelope,
    PlaceOrder,
    Reading,
    Redeem,
    SetLimits,
    Transfer,
    decode_transaction,
)
from ledger.base.limits import BLOCK_TRANSACTIONS_MAX, BOOK_CAPACITY
from ledger.base.units import Millis
from matcher_c.exchange import Book
from matcher_c.network import ClearArrays

from . import history
from .blocks import BLOCK_VERSION, Block, Header, link_hash, tx_root
from .events import Event, Receipt, to_item
from .rules import balances, devices, dues, exchange, generators, outside, slots, storage, transfer
from .state import State
from .tables import ACCOUNT, INSTRUMENT, INTERVAL, NO_KEY, ORDER, OWNER, PARAMS


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

    @property
    def committee_hash(self) -> bytes:
        """SHA-256 over the committee's keys."""
        return sha256(codec.encode(self.genesis.committee))


VERIFIED_MAX: Final = 20_000  # remembered ids: bounds memory; forgetting one costs a verification


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
    (an earlier nonce is missing), expired, too_far (expiry too far ahead); for readings see `rules.devices.check`.
    """
    if isinstance(envelope.intent, Reading):
        devices.check(state, envelope, time_ms)
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


def _run(state: State, account: bytes, envelope: Envelope, books: _Books) -> list[Event]:
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
        case _:
            raise AssertionError(f"no rule for {type(envelope.intent).__name__}")
    return []


def _transact(state: State, envelope: Envelope, books: _Books) -> tuple[list[Event], tuple[int, str] | None]:
    """Carry out one admissible transaction on `state`: its receipt and events, and a late reading's key."""
    if isinstance(envelope.intent, Reading):
        reading_events, late = devices.record(state, envelope)
        return [Receipt(envelope.transaction_id, "", ""), *reading_events], late
    account = account_of_sender(state, envelope)
    row = state.need(ACCOUNT, (account,))
    state.put(ACCOUNT, (account,), row._replace(nonce=envelope.nonce))
    attempt = state.fork()
    try:
        done = _run(attempt, account, envelope, books)
    except Refused as refusal:
        return [Receipt(envelope.transaction_id, refusal.code, str(refusal))], None
    state.absorb(attempt)
    return [Receipt(envelope.transaction_id, "", ""), *done], None


class _Run:
    """A block under way: a new layer above its parent's, and what has happened on it."""

    def __init__(self, context: Context, parent: Executed, time_ms: Millis) -> None:
        self.context, self.parent, self.time_ms = context, parent, time_ms
        self.height = parent.header.height + 1
        self.state = parent.state.fork()
        self.events: list[Event] = []
        self.late: list[tuple[int, str]] = []
        self.books = _Books(context.matchers)
        slots.open_terms(self.state, time_ms, parent.hash)

    def carry(self, envelope: Envelope) -> None:
        """One more transaction. Raises `InvalidTransaction` and changes nothing if the block may not carry it."""
        verify_signature(self.context, envelope)
        check_admissible(self.state, envelope, height=self.height, time_ms=self.time_ms)
        events, late = _transact(self.state, envelope, self.books)
        self.events += events
        if late is not None:
            self.late.append(late)

    def finish(self) -> None:
        """Everything that happens after the transactions."""
        slots.mark_ended(self.state, self.time_ms)
        self.events += slots.close_due(self.state, self.time_ms, self.context.matchers.clear_arrays)
        for slot, device in self.late:
            interval = self.state.need(INTERVAL, (slot, device))
            self.events += outside.settle_late(self.state, slot, device, interval)
            self.state.delete(INTERVAL, (slot, device))
        self.events += dues.collect(self.state)
        self.events += generators.pay_out(self.state)
        breach = balances.conservation_breach(self.state)
        assert breach is None, f"supply is not conserved at height {self.height}: {breach}"

    def header(self, *, view: int, leader: int, transactions: tuple[bytes, ...], certificate: bytes) -> Header:
        """The header that commits to all of it."""
        return Header(
            BLOCK_VERSION,
            self.context.chain_id[:CHAIN_PREFIX_BYTES],
            0,
            view,
            self.height,
            self.parent.hash,
            self.parent.header.view,
            self.time_ms,
            leader,
            tx_root(transactions),
            self.state.root(),
            merkle_root([codec.encode(to_item(event)) for event in self.events]),
            history.root(self.parent.peaks),
            self.context.committee_hash,
            link_hash(certificate),
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
    context: Context,
    parent: Executed,
    candidates: Iterable[Envelope],
    *,
    view: int,
    leader: int,
    time_ms: Millis,
    certificate: bytes,
    bytes_max: int,
) -> Executed:
    """A new block on `parent` with those candidates that it may carry and hold, executed."""
    run = _Run(context, parent, time_ms)
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
    header = run.header(view=view, leader=leader, transactions=transactions, certificate=certificate)
    return run.executed(Block(header, transactions, certificate))


def apply_block(context: Context, parent: Executed, block: Block) -> Executed:
    """Execute a block on its parent. Raises `InvalidBlock` with what disagreed. Time and certificate are checked elsewhere."""
    header = block.header
    _same("parent", header.parent_hash, parent.hash)
    _same("height", header.height, parent.header.height + 1)
    if header.time_ms <= parent.header.time_ms:
        raise InvalidBlock("block time", header.time_ms, f"more than {parent.header.time_ms}")
    run = _Run(context, parent, header.time_ms)
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
    expected = run.header(
        view=header.view, leader=header.leader, transactions=block.transactions, certificate=block.parent_certificate
    )
    for name in Header._fields:
        _same(name, getattr(header, name), getattr(expected, name))
    return run.executed(block)


def _same(what: str, found: object, expected: object) -> None:
    if found != expected:
        raise InvalidBlock(what, found, expected)
