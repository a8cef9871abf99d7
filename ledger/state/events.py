"""What a block did, as data: receipts of its transactions and what its slots brought. The receipts root covers them.

Each event is a positional record that begins with its kind; the store keeps them as one blob a block, and every list that
a person sees (slots, trades, payouts) is read from here.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from ledger.base.errors import DecodeError
from ledger.base.units import Money, Price, Wh


class Receipt(NamedTuple):
    """A transaction's outcome: an empty code is success."""

    transaction_id: bytes
    code: str
    message: str


class Trade(NamedTuple):
    """A fill of the exchange. `cost` = price x quantity, paid to the seller; `fee` comes on top from the buyer."""

    instrument: str
    price: Price
    quantity_wh: Wh
    buyer: bytes
    seller: bytes
    maker_id: int
    taker_id: int
    cost: Money
    fee: Money


class Rested(NamedTuple):
    """What of an order stays in the book."""

    instrument: str
    order_id: int
    quantity_wh: Wh


class Canceled(NamedTuple):
    """What of an order left the book untraded."""

    instrument: str
    order_id: int
    quantity_wh: Wh
    reason: str


class DeviceSlot(NamedTuple):
    """One settling device in one slot. Energies in Wh, `net` in money units (positive: its account receives).

    What is bought from or sold to the grid is, on an island, what did not clear: the account `balancing` has it.
    """

    device: str
    status: str  # metered, missing
    import_wh: Wh
    export_wh: Wh
    own_wh: Wh
    deposited_wh: Wh
    redeemed_wh: Wh
    bought_local_wh: Wh
    bought_grid_wh: Wh
    sold_local_wh: Wh
    sold_grid_wh: Wh
    fees: Money  # of deposits and redemptions, part of net
    shared: Money  # received (positive) or given when the gain was shared, part of net
    net: Money


class SlotClosed(NamedTuple):
    """A settled slot. The instance and result of the clearing are kept, so that anybody can repeat it.

    `network` is (parent, fee, capacity up, capacity down) per bus after the pool's flows, `ranks` one per bus, `orders`
    (device or "", bus, side, price, quantity) with the grid's two last (an island has none), limits within the outside
    options; `traded`, `prices`, `flows` are the result of the last of `rounds` clearings, the gains those before sharing.
    `informed` is (device, import Wh, export Wh) of the meters that inform or check, of those that reported in time.
    """

    slot: int
    retail: Price  # on an island its `island_buy`, and `feed_in` its `island_sell`
    feed_in: Price
    islanded: bool
    sharing: int  # ten-thousandths
    pricing: int  # matcher_c.settling.Pricing
    ranks: tuple[int, ...]
    network: tuple[tuple[int, Price, Wh, Wh], ...]
    orders: tuple[tuple[str, int, int, Price, Wh], ...]
    traded: tuple[Wh, ...]
    prices: tuple[Price, ...]
    flows: tuple[Wh, ...]
    rounds: int
    gain_buyers: Money
    gain_sellers: Money
    devices: tuple[DeviceSlot, ...]
    informed: tuple[tuple[str, Wh, Wh], ...]
    fees: Money
    grid_sold_wh: Wh
    grid_bought_wh: Wh


class LateSettled(NamedTuple):
    """A reading that came after its slot closed, or that spans several: settled at the outside option."""

    device: str
    span_from: int
    slot: int
    import_wh: Wh
    export_wh: Wh
    own_wh: Wh
    fees: Money
    net: Money


class Minted(NamedTuple):
    """WATT for energy that the pool's meter took."""

    pool: str
    account: bytes
    deposited_wh: Wh
    minted_wh: Wh


class Burned(NamedTuple):
    """WATT destroyed; `reason` is redeemed, sold (discharge that nobody asked for) or loss (a haircut)."""

    pool: str
    account: bytes
    energy_wh: Wh
    reason: str


class PoolState(NamedTuple):
    """What a pool's meter said at a closing, beside the supply of its WATT then."""

    pool: str
    slot: int
    stored_wh: Wh
    supply_wh: Wh


class Payout(NamedTuple):
    """What a generator paid its owners, and what is carried to the next time."""

    generator: str
    total: Money
    carried: Money
    parts: tuple[tuple[bytes, Money], ...]


class DueMade(NamedTuple):
    """What could not be paid."""

    debtor: bytes
    creditor: bytes
    amount: Money
    slot: int


class DuePaid(NamedTuple):
    """A due, or a part of one, that was paid."""

    debtor: bytes
    creditor: bytes
    amount: Money
    slot: int


class ReadingFlagged(NamedTuple):
    """A reading that was recorded and not settled: its registers ran backwards, jumped, or changed their epoch."""

    device: str
    seq: int
    slot: int
    why: str


class Discrepancy(NamedTuple):
    """A check meter that disagrees with the sum behind it by more than the allowance; residual = meter - sum, in Wh."""

    device: str
    slot: int
    residual_wh: int
    allowance_wh: Wh


class Suspended(NamedTuple):
    """A home whose node signed what no honest member signs, in that view; its seat ends with the epoch."""

    account: bytes
    view: int


class EpochSealed(NamedTuple):
    """This block seals its epoch; the committee of `epoch` makes the next one."""

    epoch: int


Event = (
    Receipt
    | Trade
    | Rested
    | Canceled
    | SlotClosed
    | LateSettled
    | Minted
    | Burned
    | PoolState
    | Payout
    | DueMade
    | DuePaid
    | ReadingFlagged
    | Discrepancy
    | Suspended
    | EpochSealed
)

_KINDS: Final[tuple[type[Event], ...]] = (
    Receipt,
    Trade,
    Rested,
    Canceled,
    SlotClosed,
    LateSettled,
    Minted,
    Burned,
    PoolState,
    Payout,
    DueMade,
    DuePaid,
    ReadingFlagged,
    Discrepancy,
    Suspended,
    EpochSealed,
)
_NUMBERS: Final = {kind: number for number, kind in enumerate(_KINDS)}


def to_item(event: Event) -> tuple[object, ...]:
    """The positional record with its kind number in front."""
    return (_NUMBERS[type(event)], *event)


def from_item(item: tuple[object, ...]) -> Event:
    """The event of a frozen record that this ledger stored. Raises `DecodeError` where it has not the form of one."""
    if not item or type(item[0]) is not int or not 0 <= item[0] < len(_KINDS):
        raise DecodeError("a stored event begins with its kind")
    kind = _KINDS[item[0]]
    _fits(kind, item[1:])
    if kind is SlotClosed:
        slot = SlotClosed(*item[1:])  # type: ignore[arg-type]
        if not isinstance(slot.devices, tuple):
            raise DecodeError("a stored slot has a list of devices")
        for device in slot.devices:
            _fits(DeviceSlot, device)
        return slot._replace(devices=tuple(DeviceSlot(*device) for device in slot.devices))
    return kind(*item[1:])  # type: ignore[arg-type]


def _fits(kind: Any, fields: object) -> None:
    if not isinstance(fields, tuple) or len(fields) != len(kind._fields):
        raise DecodeError(f"a stored {kind.__name__} has {len(kind._fields)} fields")
