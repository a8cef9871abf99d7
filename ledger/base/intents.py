"""The closed set of what a person or a process may want, and its bytes.

A transaction on the wire is `[version, chain8, kind, sender key, nonce, valid_until_height, body, signature]`; the
signature covers the domain tag, the whole genesis hash and every field before it, so nothing replays in another
street. `body` is the positional form of one of the intents below. A reading is a transaction too: its sender is the device's
key, its nonce the feed's sequence number, and it never expires.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar, Final

from . import codec
from .codec import Item, in_range, of_length, short_text, want, want_list
from .crypto import (
    ACCOUNT_BYTES,
    DOMAIN_TRANSACTION,
    HASH_BYTES,
    KEY_BYTES,
    SIGNATURE_BYTES,
    sha256,
)
from .errors import DecodeError
from .limits import AMOUNT_MAX, COMMITTEE_MAX, NAME_BYTES_MAX, PRICE_MAX, QUANTITY_MAX, TRANSACTION_BYTES_MAX

VERSION: Final = 1
CHAIN_PREFIX_BYTES: Final = 8

BUY: Final = 0
SELL: Final = 1

# How long an order lives.
GOOD_TIL_CANCELED: Final = 0
IMMEDIATE_OR_CANCEL: Final = 1
FILL_OR_KILL: Final = 2
POST_ONLY: Final = 3

# Flags of a reading (bits).
FLAG_ESTIMATED: Final = 1
FLAG_GAP: Final = 2  # the reader was away: this reading spans several slots
FLAG_LOW_RESOLUTION: Final = 4
FLAG_QUARANTINED: Final = 8  # the register jumped or fell; its energy is not settled until readings agree
FLAG_CLOCK_UNSURE: Final = 16
FLAGS_ALL: Final = 31
FLAG_NAMES: Final = {
    FLAG_ESTIMATED: "estimated",
    FLAG_GAP: "gap",
    FLAG_LOW_RESOLUTION: "low_resolution",
    FLAG_QUARANTINED: "quarantined",
    FLAG_CLOCK_UNSURE: "clock_unsure",
}


def _name(value: str, what: str) -> str:
    return short_text(value, what, bytes_max=NAME_BYTES_MAX)


@dataclass(frozen=True)
class Transfer:
    """Move `amount` (the asset's own unit) to the 20-byte account `to`."""

    KIND: ClassVar[int] = 1
    to: bytes
    asset: str
    amount: int

    def body(self) -> tuple[object, ...]:
        """Positional fields."""
        return (self.to, self.asset, self.amount)

    @staticmethod
    def parse(item: Item) -> Transfer:
        """Raises `DecodeError`."""
        to, asset, amount = want(item, bytes, str, int)
        of_length(to, ACCOUNT_BYTES, "payee")
        return Transfer(to, _name(asset, "asset"), in_range(amount, 1, AMOUNT_MAX, "amount"))


@dataclass(frozen=True)
class PlaceOrder:
    """An order in an instrument's book, at `price` or better.

    What does not trade at once rests, is dropped (IMMEDIATE_OR_CANCEL), or the whole order is refused (FILL_OR_KILL); a
    POST_ONLY order is refused where it would trade at once.
    `price` is in money units per Wh, `quantity_wh` in Wh; `side` is BUY or SELL.
    """

    KIND: ClassVar[int] = 2
    instrument: str
    side: int
    price: int
    quantity_wh: int
    tif: int = GOOD_TIL_CANCELED

    def body(self) -> tuple[object, ...]:
        """Positional fields."""
        return (self.instrument, self.side, self.price, self.quantity_wh, self.tif)

    @staticmethod
    def parse(item: Item) -> PlaceOrder:
        """Raises `DecodeError`."""
        instrument, side, price, quantity_wh, tif = want(item, str, int, int, int, int)
        in_range(side, BUY, SELL, "side")
        in_range(tif, GOOD_TIL_CANCELED, POST_ONLY, "time in force")
        in_range(price, -PRICE_MAX, PRICE_MAX, "price")
        in_range(quantity_wh, 1, QUANTITY_MAX, "quantity")
        return PlaceOrder(_name(instrument, "instrument"), side, price, quantity_wh, tif)


@dataclass(frozen=True)
class CancelOrder:
    """Take an own resting order out of its book."""

    KIND: ClassVar[int] = 3
    order_id: int

    def body(self) -> tuple[object, ...]:
        """Positional fields."""
        return (self.order_id,)

    @staticmethod
    def parse(item: Item) -> CancelOrder:
        """Raises `DecodeError`."""
        (order_id,) = want(item, int)
        return CancelOrder(in_range(order_id, 1, AMOUNT_MAX, "order id"))


@dataclass(frozen=True)
class SetLimits:
    """Standing limits of the live market, money units per Wh: buy at most at, sell at least at. None: the default."""

    KIND: ClassVar[int] = 4
    buy_below: int | None
    sell_above: int | None

    def body(self) -> tuple[object, ...]:
        """Positional fields."""
        return (self.buy_below, self.sell_above)

    @staticmethod
    def parse(item: Item) -> SetLimits:
        """Raises `DecodeError`."""
        buy_below, sell_above = want(item, object, object)
        for limit in (buy_below, sell_above):
            if limit is not None:
                if type(limit) is not int:
                    raise DecodeError("a price limit is an integer or null")
                in_range(limit, -PRICE_MAX, PRICE_MAX, "price limit")
        return SetLimits(buy_below, sell_above)


@dataclass(frozen=True)
class Commit:
    """Give up to so many Wh of each slot's surplus to a pool, until changed; 0 ends it."""

    KIND: ClassVar[int] = 5
    pool: str
    up_to_wh: int

    def body(self) -> tuple[object, ...]:
        """Positional fields."""
        return (self.pool, self.up_to_wh)

    @staticmethod
    def parse(item: Item) -> Commit:
        """Raises `DecodeError`."""
        pool, up_to_wh = want(item, str, int)
        return Commit(_name(pool, "pool"), in_range(up_to_wh, 0, QUANTITY_MAX, "commitment"))


@dataclass(frozen=True)
class Redeem:
    """Ask a pool for this much stored energy in all; it counts down as the meters show delivery; 0 ends it."""

    KIND: ClassVar[int] = 6
    pool: str
    energy_wh: int

    def body(self) -> tuple[object, ...]:
        """Positional fields."""
        return (self.pool, self.energy_wh)

    @staticmethod
    def parse(item: Item) -> Redeem:
        """Raises `DecodeError`."""
        pool, energy_wh = want(item, str, int)
        return Redeem(_name(pool, "pool"), in_range(energy_wh, 0, QUANTITY_MAX, "request"))


@dataclass(frozen=True)
class Reading:
    """One feed item: cumulative registers in Wh at the end of `slot`, counted from commissioning.

    `previous` is the hash of the feed's previous reading (32 zero bytes before the first). `stored_wh` is what a pool can
    still deliver at its meter. `register_epoch` rises when a register fell for good; no energy is settled across that.
    """

    KIND: ClassVar[int] = 16
    device: str
    previous: bytes
    slot: int
    register_epoch: int
    import_wh: int
    export_wh: int
    stored_wh: int | None
    flags: int

    def body(self) -> tuple[object, ...]:
        """Positional fields."""
        return (
            self.device,
            self.previous,
            self.slot,
            self.register_epoch,
            self.import_wh,
            self.export_wh,
            self.stored_wh,
            self.flags,
        )

    @staticmethod
    def parse(item: Item) -> Reading:
        """Raises `DecodeError`."""
        device, previous, slot, epoch, import_wh, export_wh, stored_wh, flags = want(
            item, str, bytes, int, int, int, int, object, int
        )
        of_length(previous, HASH_BYTES, "hash of the previous reading")
        in_range(slot, 0, AMOUNT_MAX, "slot")
        in_range(epoch, 0, QUANTITY_MAX, "register epoch")
        in_range(import_wh, 0, AMOUNT_MAX, "import register")
        in_range(export_wh, 0, AMOUNT_MAX, "export register")
        in_range(flags, 0, FLAGS_ALL, "flags")
        if stored_wh is not None:
            if type(stored_wh) is not int:
                raise DecodeError("stored energy is an integer or null")
            in_range(stored_wh, 0, AMOUNT_MAX, "stored energy")
        return Reading(_name(device, "device"), previous, slot, epoch, import_wh, export_wh, stored_wh, flags)


@dataclass(frozen=True)
class Admit:
    """Approve that a home takes part: its owner's, node's and transport's key, its bus, and its connection's meter.

    The same words from a quorum of the voters' households admit it; for a home that was suspended or removed they give it a
    seat again, with the node key that they name.
    """

    KIND: ClassVar[int] = 7
    name: str
    owner_key: bytes
    node_key: bytes
    transport_key: bytes
    bus: str
    device_key: bytes

    def body(self) -> tuple[object, ...]:
        """Positional fields."""
        return (self.name, self.owner_key, self.node_key, self.transport_key, self.bus, self.device_key)

    @staticmethod
    def parse(item: Item) -> Admit:
        """Raises `DecodeError`."""
        name, owner_key, node_key, transport_key, bus, device_key = want(item, str, bytes, bytes, bytes, str, bytes)
        for key in (owner_key, node_key, transport_key, device_key):
            of_length(key, KEY_BYTES, "key")
        return Admit(_name(name, "home"), owner_key, node_key, transport_key, _name(bus, "bus"), device_key)


@dataclass(frozen=True)
class Remove:
    """Approve that a home loses its seat and its links; its account stays. It takes a quorum of the voters' households."""

    KIND: ClassVar[int] = 8
    home: bytes

    def body(self) -> tuple[object, ...]:
        """Positional fields."""
        return (self.home,)

    @staticmethod
    def parse(item: Item) -> Remove:
        """Raises `DecodeError`."""
        (home,) = want(item, bytes)
        return Remove(of_length(home, ACCOUNT_BYTES, "home's account"))


@dataclass(frozen=True)
class Park:
    """Give up the own seat from the next epoch on before a planned night (`parked` 1), or ask for it again (0)."""

    KIND: ClassVar[int] = 9
    parked: int

    def body(self) -> tuple[object, ...]:
        """Positional fields."""
        return (self.parked,)

    @staticmethod
    def parse(item: Item) -> Park:
        """Raises `DecodeError`."""
        (parked,) = want(item, int)
        return Park(in_range(parked, 0, 1, "parked"))


@dataclass(frozen=True)
class RotateKey:
    """A new node key and transport key for the own home, from the next epoch on: after a lost record of votes, or at will."""

    KIND: ClassVar[int] = 10
    node_key: bytes
    transport_key: bytes

    def body(self) -> tuple[object, ...]:
        """Positional fields."""
        return (self.node_key, self.transport_key)

    @staticmethod
    def parse(item: Item) -> RotateKey:
        """Raises `DecodeError`."""
        node_key, transport_key = want(item, bytes, bytes)
        return RotateKey(of_length(node_key, KEY_BYTES, "key"), of_length(transport_key, KEY_BYTES, "key"))


@dataclass(frozen=True)
class Nominate:
    """The homes, by account, whose nodes this account would have vote; replaces what it said before, none takes it back."""

    KIND: ClassVar[int] = 11
    homes: tuple[bytes, ...]

    def body(self) -> tuple[object, ...]:
        """Positional fields."""
        return (self.homes,)

    @staticmethod
    def parse(item: Item) -> Nominate:
        """Raises `DecodeError`."""
        (homes,) = want(item, list)
        want_list(homes, bytes, length_max=COMMITTEE_MAX)
        for home in homes:
            of_length(home, ACCOUNT_BYTES, "home's account")
        if list(homes) != sorted(set(homes)):
            raise DecodeError("nominated homes stand in rising order, each once")
        return Nominate(tuple(homes))


@dataclass(frozen=True)
class Ready:
    """A node's word that it holds the chain up to now and will vote in the committee with this hash, in the epoch to come.

    Signed by the node's key; its nonce is that epoch's number. From a node that was parked for missing votes it is the wish to
    have its seat again, whatever committee it names.
    """

    KIND: ClassVar[int] = 17
    committee_hash: bytes

    def body(self) -> tuple[object, ...]:
        """Positional fields."""
        return (self.committee_hash,)

    @staticmethod
    def parse(item: Item) -> Ready:
        """Raises `DecodeError`."""
        (committee_hash,) = want(item, bytes)
        return Ready(of_length(committee_hash, HASH_BYTES, "committee's hash"))


Intent = (
    Transfer | PlaceOrder | CancelOrder | SetLimits | Commit | Redeem | Admit | Remove | Park | RotateKey | Nominate
)
AnyIntent = Intent | Reading | Ready

PARSERS: Final[dict[int, Callable[[Item], AnyIntent]]] = {
    Transfer.KIND: Transfer.parse,
    PlaceOrder.KIND: PlaceOrder.parse,
    CancelOrder.KIND: CancelOrder.parse,
    SetLimits.KIND: SetLimits.parse,
    Commit.KIND: Commit.parse,
    Redeem.KIND: Redeem.parse,
    Admit.KIND: Admit.parse,
    Remove.KIND: Remove.parse,
    Park.KIND: Park.parse,
    RotateKey.KIND: RotateKey.parse,
    Nominate.KIND: Nominate.parse,
    Reading.KIND: Reading.parse,
    Ready.KIND: Ready.parse,
}


def parse_intent(kind: int, body: Item) -> AnyIntent:
    """The intent of a kind number and its positional body. Raises `DecodeError`."""
    parser = PARSERS.get(kind)
    if parser is None:
        raise DecodeError(f"no transaction has kind {kind}")
    return parser(body)


def signing_bytes(intent: AnyIntent, *, chain_id: bytes, sender: bytes, nonce: int, valid_until_height: int) -> bytes:
    """What the sender signs: domain tag, genesis hash, canonical bytes of the seven fields before the signature."""
    fields = (VERSION, chain_id[:CHAIN_PREFIX_BYTES], intent.KIND, sender, nonce, valid_until_height, intent.body())
    return DOMAIN_TRANSACTION + chain_id + codec.encode(fields)


def transaction_bytes(
    intent: AnyIntent,
    *,
    chain_id: bytes,
    sender: bytes,
    nonce: int,
    valid_until_height: int,
    sign: Callable[[bytes], bytes],
) -> bytes:
    """The signed transaction's canonical bytes; `sign` maps the signing bytes to a 64-byte signature."""
    message = signing_bytes(
        intent, chain_id=chain_id, sender=sender, nonce=nonce, valid_until_height=valid_until_height
    )
    fields = (
        VERSION,
        chain_id[:CHAIN_PREFIX_BYTES],
        intent.KIND,
        sender,
        nonce,
        valid_until_height,
        intent.body(),
        sign(message),
    )
    return codec.encode(fields)


@dataclass(frozen=True)
class Envelope:
    """A decoded transaction. `transaction_id` is SHA-256 of `raw`; nothing of it is verified yet but its form."""

    raw: bytes
    transaction_id: bytes
    chain_prefix: bytes
    sender: bytes
    nonce: int
    valid_until_height: int
    intent: AnyIntent
    signature: bytes

    def signing_bytes(self, chain_id: bytes) -> bytes:
        """What the signature must cover in the chain with this id."""
        return signing_bytes(
            self.intent,
            chain_id=chain_id,
            sender=self.sender,
            nonce=self.nonce,
            valid_until_height=self.valid_until_height,
        )


@lru_cache(maxsize=1_024)  # taken in, proposed, executed and stored: the same bytes each time; some 1 MB
def decode_transaction(raw: bytes) -> Envelope:
    """The transaction in canonical bytes from outside. Raises `DecodeError` and nothing else."""
    version, prefix, kind, sender, nonce, valid_until, body, signature = want(
        codec.decode(raw, bytes_max=TRANSACTION_BYTES_MAX), int, bytes, int, bytes, int, int, list, bytes
    )
    if version != VERSION:
        raise DecodeError(f"transaction version {version}; this software knows {VERSION}")
    of_length(prefix, CHAIN_PREFIX_BYTES, "chain prefix")
    of_length(sender, KEY_BYTES, "sender's key")
    of_length(signature, SIGNATURE_BYTES, "signature")
    in_range(nonce, 1, AMOUNT_MAX, "nonce")
    in_range(valid_until, 0, AMOUNT_MAX, "expiry height")
    return Envelope(raw, sha256(raw), prefix, sender, nonce, valid_until, parse_intent(kind, body), signature)
