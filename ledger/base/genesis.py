"""The genesis: everything that a street agrees on before its first block, as one frozen value.

Its SHA-256 over canonical bytes is the chain id and the hash of block 0. Nothing here is derived at run time: every
duration stands in it in milliseconds. Field order is documented in docs/parameters.md and is part of the hash.
"""

from __future__ import annotations

from enum import IntEnum
from functools import cached_property
from typing import Final, NamedTuple

from . import codec
from .crypto import DOMAIN_GENESIS, account_of_key, account_of_name, sha256
from .limits import COMMITTEE_DEFAULT_MAX
from .units import Millis, Money, Price, Wh
from .votes import Committee

GENESIS_VERSION: Final = 1
NO_CAPACITY: Final = -1
PRICINGS: Final = ("uniform", "pay-as-bid", "midpoint")  # by number: matcher_c.settling.Pricing
UNIFORM: Final = 0

GRID: Final = "grid"
BALANCING: Final = "balancing"
STREET_ACCOUNTS: Final = (GRID, BALANCING, "operator", "treasury")  # of the first two a street has the one it needs


def counterparty_name(islanded: bool) -> str:
    """The account with which energy is settled that no neighbor buys or sells: the public grid's, or an island's own."""
    return BALANCING if islanded else GRID


class Role(IntEnum):
    """What a device's registers mean. The first three settle; the others inform or check."""

    CONNECTION = 0  # a home's connection point: settled
    GENERATOR = 1  # a plant that feeds the street: settled, its income is its owners'
    POOL = 2  # a shared battery: settled, mints and burns WATT
    GENERATION = 3  # a plant behind a connection: information
    BATTERY = 4  # a battery behind a connection: information
    FEEDER = 5  # a check meter on an edge or at the root


SETTLING: Final = (Role.CONNECTION, Role.GENERATOR, Role.POOL)


class Bus(NamedTuple):
    """A point of the network and the edge to its parent. `fee` is money units per Wh; capacities in Wh per slot, -1 none."""

    name: str
    parent: str  # "" for the root, which comes first
    fee: Price
    capacity_up_wh: Wh
    capacity_down_wh: Wh


class Home(NamedTuple):
    """A household: its account follows from its owner's key; its node's key votes; its transport key proves its links."""

    name: str
    owner_key: bytes
    node_key: bytes
    transport_key: bytes
    bus: str
    cash: Money


class Device(NamedTuple):
    """A meter with a key of its own. `owner` is the name of the account whose energy it counts ("" for a check meter)."""

    name: str
    key: bytes
    role: int
    owner: str
    bus: str


class Generator(NamedTuple):
    """A plant that the street owns: 10,000 shares in all, as (home, shares)."""

    name: str
    device: str
    shares: tuple[tuple[str, int], ...]


class Pool(NamedTuple):
    """A shared battery. `efficiency` in ten-thousandths; `shares` and `tsl_wh` as (home, amount)."""

    name: str
    device: str
    capacity_wh: Wh
    power_w: int
    efficiency: int
    cash: Money
    shares: tuple[tuple[str, int], ...]
    tsl_wh: tuple[tuple[str, int], ...]


class Timing(NamedTuple):
    """Slots and the age of stamps, all in ms; `slot_count` 0 means endless."""

    created_ms: Millis
    origin_ms: Millis
    slot_ms: Millis
    slot_count: int
    grace_ms: Millis
    stale_ms: Millis


class Consensus(NamedTuple):
    """Timeouts of the agreement (consensus design, sections 3 and 8), all in ms but `timeout_factor_max`, `expiry_max`."""

    timeout_ms: Millis
    timeout_factor_max: int
    min_interval_orders_ms: Millis
    min_interval_readings_ms: Millis
    heartbeat_ms: Millis
    expiry_max: int  # how many heights ahead a transaction may expire


class Membership(NamedTuple):
    """Who votes (consensus design, sections 3.4 and 10). Counts of blocks and epochs, not times."""

    committee_max: int = COMMITTEE_DEFAULT_MAX  # seats; further active homes follow and verify
    epoch_blocks_min: int = (
        16  # between two changes of the committee: a member that comes and goes does not make it churn
    )
    park_misses_max: int = 500  # certificates in a row without a member's vote: its seat is parked
    evidence_epochs: int = 16  # evidence counts for so many epochs
    trusted_household: bool = False  # two or three nodes of one household: a majority is enough, a liar is not survived
    recovery_notice_ms: Millis = 86_400_000  # how long a recovery epoch stands on every screen before it begins


class Market(NamedTuple):
    """Prices in money units per Wh, fractions in ten-thousandths, `credit_limit` in money units.

    An islanded street has no public grid: `retail` is then its `island_buy` and `feed_in` its `island_sell`, what a Wh
    costs and brings at the root that no neighbor buys or sells, and `grid_cash` belongs to the account `balancing`.
    """

    retail: Price
    feed_in: Price
    sharing: int  # how much of the difference between both sides' gains is evened out
    pricing: int  # of PRICINGS
    exchange_fee: int
    exchange_fee_treasury: int  # the treasury's part of the exchange fee; the rest is the operator's
    tsl_required: bool
    credit_limit: Money
    grid_cash: Money
    islanded: bool = False


class GenesisFields(NamedTuple):
    """The positional form that is hashed."""

    version: int
    street: str
    currency: str
    day: str
    timing: Timing
    consensus: Consensus
    market: Market
    buses: tuple[Bus, ...]
    homes: tuple[Home, ...]
    devices: tuple[Device, ...]
    generators: tuple[Generator, ...]
    pools: tuple[Pool, ...]
    membership: Membership = Membership()


class Genesis(GenesisFields):
    """`GenesisFields` with what follows from them."""

    @cached_property
    def chain_id(self) -> bytes:
        """The 32-byte genesis hash."""
        return sha256(DOMAIN_GENESIS, codec.encode(tuple(self)))

    @cached_property
    def committee(self) -> Committee:
        """The voters of epoch 0: the first homes' nodes."""
        keys = (home.node_key for home in self.homes[: self.membership.committee_max])
        return Committee(0, tuple(sorted(keys)), self.membership.trusted_household)

    @cached_property
    def accounts(self) -> dict[str, bytes]:
        """Every account by name, in genesis order: the street's own, homes, generators, pools."""
        own = (counterparty_name(self.market.islanded), "operator", "treasury")
        named = {name: account_of_name(name) for name in own}
        named |= {home.name: account_of_key(home.owner_key) for home in self.homes}
        named |= {f"gen:{g.name}": account_of_name(f"gen:{g.name}") for g in self.generators}
        named |= {f"pool:{p.name}": account_of_name(f"pool:{p.name}") for p in self.pools}
        return named

    def device(self, name: str) -> Device | None:
        """The device of that name."""
        return next((device for device in self.devices if device.name == name), None)

    def slot_of(self, time_ms: Millis) -> int:
        """The slot that is running at `time_ms`; negative before the origin."""
        return (time_ms - self.timing.origin_ms) // self.timing.slot_ms

    def slot_start_ms(self, slot: int) -> Millis:
        """When a slot starts; `slot_start_ms(s + 1)` is when s ends."""
        return self.timing.origin_ms + slot * self.timing.slot_ms

    def is_slot(self, slot: int) -> bool:
        """Whether this street ever settles that slot."""
        return slot >= 0 and (self.timing.slot_count == 0 or slot < self.timing.slot_count)
