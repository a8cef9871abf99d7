"""The tables of the state and the rows in them. A row is a flat named tuple of ints, bytes, text and tuples of those.

Each table has a number that is part of every row's key and so of the state root; numbers are never used twice.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Final, Generic, NamedTuple, TypeVar

from ledger.base.units import Millis, Money, Price, Wh

Key = tuple[int | bytes | str, ...]
Row = TypeVar("Row", bound=tuple[object, ...])


@dataclass(frozen=True)
class Table(Generic[Row]):
    """A table: its number, and the type of its rows."""

    number: int
    row: type[Row]


class Params(NamedTuple):
    """What governs the street now; at first the genesis' own figures. Key: none."""

    retail: Price  # on an island its `island_buy`, and `feed_in` its `island_sell`; so in all rows
    feed_in: Price
    islanded: int  # 0 or 1
    sharing: int  # ten-thousandths
    pricing: int  # matcher_c.settling.Pricing
    exchange_fee: int  # ten-thousandths
    exchange_fee_treasury: int  # ten-thousandths of the fee
    tsl_required: int  # 0 or 1
    credit_limit: Money
    slot_ms: Millis
    origin_ms: Millis
    slot_count: int  # 0: endless
    grace_ms: Millis
    stale_ms: Millis
    expiry_max: int
    committee_max: int
    epoch_blocks_min: int
    park_misses_max: int
    evidence_epochs: int
    trusted_household: int  # 0 or 1


class Clock(NamedTuple):
    """Where the slots stand. Key: none."""

    next_terms_slot: int  # the first slot whose terms are not stored yet
    next_close_slot: int  # the first slot that is not closed
    next_order_id: int
    next_due_id: int


class Account(NamedTuple):
    """Key: (account,)."""

    name: str
    number: int  # its place in the genesis: the owner number that the matcher sees
    owner_key: bytes  # empty: an account of the street that no key spends from
    nonce: int  # of its last transaction
    buy_below: Price | None  # standing limits of the live market; None is the outside option
    sell_above: Price | None


class Owner(NamedTuple):
    """Key: (public key,)."""

    account: bytes


class Balance(NamedTuple):
    """Key: (account, asset)."""

    free: int
    escrowed: int


class Supply(NamedTuple):
    """Key: (asset,). Issued less burned."""

    amount: int


class BusRow(NamedTuple):
    """Key: (position,). The root is position 0 and its own parent -1; capacities of -1 are none."""

    name: str
    parent: int
    fee: Price
    capacity_up_wh: Wh
    capacity_down_wh: Wh


class DeviceRow(NamedTuple):
    """Key: (name,)."""

    position: int  # its place in the genesis: the order of settlement
    key: bytes
    role: int
    account: bytes  # empty for a check meter
    bus: int  # position


class Feed(NamedTuple):
    """Key: (device name,). Where a device's readings stand, and the registers up to which energy is settled."""

    seq: int
    hash: bytes
    slot: int  # of the last reading; -1 before the first
    epoch: int
    settled_slot: int  # of the last reading that was not quarantined; -1 before the first
    import_wh: Wh
    export_wh: Wh
    stored_wh: Wh | None


class Interval(NamedTuple):
    """Key: (slot, device name). Energy of a reading whose slot is not closed yet."""

    seq: int
    span_from: int  # the first slot that it covers; equal to its slot when nothing is missing
    import_wh: Wh
    export_wh: Wh
    stored_wh: Wh | None
    flags: int


class Terms(NamedTuple):
    """Key: (slot,). What stood before the slot began; kept until it closes.

    `limits` is (account, buy_below, sell_above) where one is set; `commitments` and `requests` are (pool, account, Wh).
    """

    seed: bytes  # hash of the last block before the slot: nobody who proposes can choose the ranks drawn from it
    ended_ms: Millis  # time of the first block at or after the slot's end; 0 while it runs
    retail: Price
    feed_in: Price
    sharing: int  # ten-thousandths
    pricing: int  # matcher_c.settling.Pricing
    limits: tuple[tuple[bytes, Price | None, Price | None], ...]
    commitments: tuple[tuple[str, bytes, Wh], ...]
    requests: tuple[tuple[str, bytes, Wh], ...]


class Tariff(NamedTuple):
    """Key: (slot,). The outside option's prices in a closed slot, kept for readings that come late."""

    retail: Price
    feed_in: Price


class Order(NamedTuple):
    """Key: (instrument, order id). A resting order; ids rise with time, so they are the priority too."""

    account: bytes
    side: int
    price: Price
    quantity_wh: Wh  # what is left
    escrow: int  # CASH of a bid (with the fee), Wh of an ask


class Instrument(NamedTuple):
    """Key: (name,). A book of an asset against CASH."""

    asset: str
    pool: str
    lowest: Price
    highest: Price


class PoolRow(NamedTuple):
    """Key: (name,)."""

    device: str
    account: bytes
    bus: int
    capacity_wh: Wh
    power_w: int
    efficiency: int  # ten-thousandths
    carry: int  # of minting, ten-thousandths of a Wh
    stored_wh: Wh  # what its meter says it can still deliver
    minted_wh: Wh
    burned_wh: Wh


class Energy(NamedTuple):
    """Key: (pool, account). A standing commitment (Wh a slot) or a request (Wh left)."""

    energy_wh: Wh


class GeneratorRow(NamedTuple):
    """Key: (name,)."""

    device: str
    account: bytes
    earned: Money  # all that slots paid it, costs deducted
    paid: Money  # all that went to its owners


class Paid(NamedTuple):
    """Key: (generator, account)."""

    amount: Money


class Due(NamedTuple):
    """Key: (due id,). What an account could not pay; ids rise with time."""

    debtor: bytes
    creditor: bytes
    amount: Money
    slot: int


class Status(IntEnum):
    """What a home's node may do."""

    ACTIVE = 0  # it may have a seat
    PARKED = 1  # its owner gave the seat up for a while
    ABSENT = 2  # its seat was parked because its votes were missing; its own word brings it back
    SUSPENDED = 3  # it signed what no honest member signs; the voters may admit it again
    REMOVED = 4  # it has no links any more


class Member(NamedTuple):
    """Key: (account,). A home's node; its number among its peers is the account's."""

    node_key: bytes
    transport_key: bytes
    status: int


class NodeKey(NamedTuple):
    """Key: (node key,). Whose it is or was; a key is never used twice."""

    account: bytes


class Epoch(NamedTuple):
    """Key: none. The committee that makes the next block, and the one that may follow it."""

    number: int
    first_height: int  # of its first block
    committee: tuple[bytes, ...]  # node keys, rising
    coming: tuple[bytes, ...]  # empty: no change is due
    ready: tuple[bytes, ...]  # of `coming`, those whose nodes said that they will vote
    parked: int  # seats that were parked for missing votes since the epoch began


class Misses(NamedTuple):
    """Key: none. How many certificates in a row lack the vote of each seat."""

    counts: tuple[int, ...]


class CommitteeRow(NamedTuple):
    """Key: (epoch,). Kept as long as evidence counts."""

    keys: tuple[bytes, ...]


class Fault(NamedTuple):
    """Key: (epoch, seat). Evidence was carried against this seat; once is enough. Kept as long as evidence counts."""

    height: int


class Approval(NamedTuple):
    """Key: (hash of what is approved,). Households that approved, until it has a quorum or is out of date."""

    accounts: tuple[bytes, ...]
    until_height: int


class Nomination(NamedTuple):
    """Key: (account,). Homes whose nodes this account would have vote."""

    homes: tuple[bytes, ...]


PARAMS: Final = Table(1, Params)
CLOCK: Final = Table(2, Clock)
ACCOUNT: Final = Table(3, Account)
OWNER: Final = Table(4, Owner)
BALANCE: Final = Table(5, Balance)
SUPPLY: Final = Table(6, Supply)
BUS: Final = Table(7, BusRow)
DEVICE: Final = Table(8, DeviceRow)
FEED: Final = Table(9, Feed)
INTERVAL: Final = Table(10, Interval)
TERMS: Final = Table(11, Terms)
TARIFF: Final = Table(12, Tariff)
ORDER: Final = Table(13, Order)
INSTRUMENT: Final = Table(14, Instrument)
POOL: Final = Table(15, PoolRow)
COMMITMENT: Final = Table(16, Energy)
REQUEST: Final = Table(17, Energy)
GENERATOR: Final = Table(18, GeneratorRow)
PAID: Final = Table(19, Paid)
DUE: Final = Table(20, Due)
MEMBER: Final = Table(21, Member)
NODE_KEY: Final = Table(22, NodeKey)
EPOCH: Final = Table(23, Epoch)
MISSES: Final = Table(24, Misses)
COMMITTEE: Final = Table(25, CommitteeRow)
FAULT: Final = Table(26, Fault)
APPROVAL: Final = Table(27, Approval)
NOMINATION: Final = Table(28, Nomination)

TABLES: Final = {
    table.number: table.row
    for table in (
        PARAMS,
        CLOCK,
        ACCOUNT,
        OWNER,
        BALANCE,
        SUPPLY,
        BUS,
        DEVICE,
        FEED,
        INTERVAL,
        TERMS,
        TARIFF,
        ORDER,
        INSTRUMENT,
        POOL,
        COMMITMENT,
        REQUEST,
        GENERATOR,
        PAID,
        DUE,
        MEMBER,
        NODE_KEY,
        EPOCH,
        MISSES,
        COMMITTEE,
        FAULT,
        APPROVAL,
        NOMINATION,
    )
}

CASH: Final = "CASH"
NO_KEY: Final[Key] = ()


def watt(pool: str) -> str:
    """The asset of energy stored in a pool, in Wh."""
    return f"WATT:{pool}"


def tsl(pool: str) -> str:
    """The right to keep energy in a pool, in Wh."""
    return f"TSL:{pool}"


def gen(generator: str) -> str:
    """The shares of a generator."""
    return f"GEN:{generator}"
