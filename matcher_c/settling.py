"""Settling one cleared slot: what every order pays or receives, with the gain shared, to the last unit of money.

`settle` clears the orders (with the clearing that it is handed, the C or the reference's), settles with the public grid
what did not clear, and shares the gain between the two sides. It promises that nobody passes its limit, that nobody is
worse off than with the grid alone, and that money in equals money out. It is a pure function of whole numbers. It refuses
what the clearing refuses, and rules for one bus on a network.

A buyer's outside option is what the public grid asks at the buyer's bus, a seller's what the grid pays there; in an
islanded street it is whatever stands in its place. A limit looser than the outside option counts as the outside option.

Units: Wh; money units; prices, fees, limits and outside options in money units per Wh.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Final, NamedTuple

from .errors import NetworkRefused
from .network import BUY, SELL, rent_of
from .shares import split

if TYPE_CHECKING:
    from .network import ClearArrays

SHARING_WHOLE: Final = 10_000
"""`sharing` is in ten-thousandths: this much evens both sides' gains out."""


class Pricing(IntEnum):
    """What a Wh that cleared is paid with. All three rules settle the same allocation."""

    UNIFORM = 0
    """One price a bus, that of the clearing; then the gain is shared."""
    PAY_AS_BID = 1
    """Everybody at its own limit; what lies between is the operator's. One bus only."""
    MIDPOINT = 2
    """The highest bid with the lowest ask, each pair at the mean of the two. One bus only."""


class Edge(NamedTuple):
    """A bus and its edge to the parent; the root comes first, parents before children."""

    parent: int
    """-1: the root."""
    fee: int
    capacity_up: int
    """Wh towards the root; -1: none."""
    capacity_down: int


class Offer(NamedTuple):
    """An order as it comes to be settled."""

    bus: int
    side: int
    limit: int
    quantity: int
    """Wh; -1 is without limit: the public grid."""
    outside: int
    """What a Wh costs, or brings, that does not clear. Of the grid's own orders it is not looked at."""

    @property
    def is_grid(self) -> bool:
        return self.quantity == -1

    @property
    def effective_limit(self) -> int:
        """The limit that it is cleared with: the own one, or the outside option where that is better."""
        if self.is_grid:
            return self.limit
        return min(self.limit, self.outside) if self.side == BUY else max(self.limit, self.outside)


@dataclass(frozen=True, slots=True)
class Settlement:
    """A settled slot, by place of the offers or buses that went in. Money: positive receives."""

    traded: tuple[int, ...]
    """Wh, of the last clearing."""
    prices: tuple[int, ...]
    """By bus, of the last clearing."""
    flows: tuple[int, ...]
    """Wh by child bus, positive towards the root, of the last clearing."""
    payments: tuple[int, ...]
    """For what cleared, before sharing."""
    shared: tuple[int, ...]
    """Received (positive) or given when the gain was shared."""
    net: tuple[int, ...]
    """All in all: payments, what was shared, and what did not clear at the outside option."""
    from_grid_wh: tuple[int, ...]
    """How much of what it traded is called the public grid's energy; 0 for the grid's own orders."""
    dropped: tuple[int, ...]
    """Offers that sharing would have taken past their own limits, in the order in which they went."""
    rounds: int
    """Clearings."""
    gain_buyers: int
    """Over the outside option, in the last clearing, before sharing."""
    gain_sellers: int
    grid: int
    """What the public grid, or on an island whoever stands in its place, receives: its own orders, and the energy that did
    not clear, less the path's fees."""
    operator: int
    """What the network's operator receives: fees and congestion, and fees for the energy that did not clear."""

    def local_wh(self, i: int) -> int:
        """What an offer of a home traded with neighbors; all else of it is the public grid's energy."""
        return self.traded[i] - self.from_grid_wh[i]


def path_fees(network: Iterable[Edge]) -> list[int]:
    """What a Wh pays on its way between each bus and the root."""
    fees: list[int] = []
    for edge in network:
        fees.append(fees[edge.parent] + edge.fee if fees else 0)
    return fees


def settle(
    clear_arrays: ClearArrays,
    network: Sequence[Edge],
    offers: Sequence[Offer],
    *,
    ranks: Sequence[int],
    sharing: int = 0,
    pricing: Pricing = Pricing.UNIFORM,
) -> Settlement:
    """Clear and settle one slot.

    `ranks` has one number a bus, for ties (equal ranks go by bus); `sharing` is in ten-thousandths and is for uniform
    prices only: the other rules have shared already, in their way.

    Raises NetworkRefused or OrderRefused.
    """
    assert 0 <= sharing <= SHARING_WHOLE, "sharing is a fraction"
    if pricing != Pricing.UNIFORM and len(network) > 1:
        name = pricing.name.lower().replace("_", "-")
        raise NetworkRefused(f"use uniform prices on a network of {len(network)} buses; {name} is for one bus", None)
    ranking = sorted(range(len(network)), key=lambda b: (ranks[b], b))
    place_of_bus = {bus: place for place, bus in enumerate(ranking)}
    columns = [array("q", (edge[field] for edge in network)) for field in range(len(Edge._fields))]
    dropped: list[int] = []
    rounds = 0
    while True:
        rounds += 1
        gone = set(dropped)  # for membership only
        kept = [i for i in range(len(offers)) if i not in gone]
        traded, prices, flows = _cleared(clear_arrays, columns, offers, kept, ranks)
        payments = _PAYMENTS[pricing](offers, traded, prices)
        rent = rent_of(columns[0], prices, flows)
        assert pricing != Pricing.UNIFORM or rent + sum(payments) == 0, "the edges earn what the payments leave over"
        gains = _gains(offers, traded, payments)
        shared = [0] * len(offers)
        if pricing == Pricing.UNIFORM:
            shared = _share(offers, traded, gains, sharing, [place_of_bus[offer.bus] for offer in offers])
        too_far = [i for i in kept if _past_limit(offers[i], traded[i], payments[i] + shared[i])]
        if not too_far:
            break
        dropped += (
            too_far  # for good: there is at most one round more than there are offers, and the last shares nothing
        )
    return _settled(network, offers, traded, prices, flows, payments, shared, gains, dropped, rounds)


def _cleared(
    clear_arrays: ClearArrays,
    network: list[array[int]],
    offers: Sequence[Offer],
    kept: list[int],
    ranks: Sequence[int],
) -> tuple[list[int], list[int], list[int]]:
    """(traded by offer, price by bus, flow by bus); what is not kept trades nothing."""
    book = [offers[i] for i in kept]
    parent, fee, capacity_up, capacity_down = network
    some, prices, flows = clear_arrays(
        parent,
        fee,
        capacity_up,
        capacity_down,
        array("q", (offer.bus for offer in book)),
        array("q", (offer.side for offer in book)),
        array("q", (offer.effective_limit for offer in book)),
        array("q", (offer.quantity for offer in book)),
        array("q", ranks),
    )
    traded = [0] * len(offers)
    for i, energy in zip(kept, some, strict=True):
        traded[i] = energy
    return traded, list(prices), list(flows)


def _sign(offer: Offer) -> int:
    return 1 if offer.side == SELL else -1


def _at_uniform_prices(offers: Sequence[Offer], traded: Sequence[int], prices: Sequence[int]) -> list[int]:
    return [_sign(offer) * energy * prices[offer.bus] for offer, energy in zip(offers, traded, strict=True)]


def _as_bid(offers: Sequence[Offer], traded: Sequence[int], _: Sequence[int]) -> list[int]:
    return [_sign(offer) * energy * offer.effective_limit for offer, energy in zip(offers, traded, strict=True)]


def _at_midpoints(offers: Sequence[Offer], traded: Sequence[int], _: Sequence[int]) -> list[int]:
    """The highest bid with the lowest ask, homes before the grid. Offers with one limit share what their pairs pay, pro rata.

    A pair's money is the floor of energy x (bid + ask) / 2: one sum, paid by one side and received by the other.
    """
    bids = _ladder(offers, traded, BUY)
    asks = _ladder(offers, traded, SELL)
    paid, received = [0] * len(bids), [0] * len(asks)
    b = a = 0
    left_bid, left_ask = (sum(traded[i] for i in ladder[0][1]) if ladder else 0 for ladder in (bids, asks))
    while b < len(bids) and a < len(asks):
        energy = min(left_bid, left_ask)
        money = energy * (bids[b][0] + asks[a][0]) >> 1
        paid[b] += money
        received[a] += money
        left_bid -= energy
        left_ask -= energy
        if left_bid == 0:
            b += 1
            left_bid = sum(traded[i] for i in bids[b][1]) if b < len(bids) else 0
        if left_ask == 0:
            a += 1
            left_ask = sum(traded[i] for i in asks[a][1]) if a < len(asks) else 0
    payments = [0] * len(offers)
    for ladder, sums, sign in ((bids, paid, -1), (asks, received, 1)):
        for (_limit, rung), money in zip(ladder, sums, strict=True):
            for i, part in zip(rung, split(money, [traded[i] for i in rung]), strict=True):
                payments[i] = sign * part
    return payments


def _ladder(offers: Sequence[Offer], traded: Sequence[int], side: int) -> list[tuple[int, list[int]]]:
    """(limit, offers that traded at it), best limit first, homes before the grid at one limit."""
    rungs: dict[tuple[int, bool], list[int]] = {}
    for i, offer in enumerate(offers):
        if offer.side == side and traded[i]:
            rungs.setdefault((offer.effective_limit, offer.is_grid), []).append(i)
    best = sorted(rungs, key=lambda rung: (-rung[0] if side == BUY else rung[0], rung[1]))
    return [(limit, rungs[limit, grid]) for limit, grid in best]


_PAYMENTS: Final = {
    Pricing.UNIFORM: _at_uniform_prices,
    Pricing.PAY_AS_BID: _as_bid,
    Pricing.MIDPOINT: _at_midpoints,
}


def _gains(offers: Sequence[Offer], traded: Sequence[int], payments: Sequence[int]) -> list[int]:
    """What each is better off with what it traded than with its outside option. The grid's orders gain nothing."""
    return [
        0 if offer.is_grid else payment - _sign(offer) * energy * offer.outside
        for offer, energy, payment in zip(offers, traded, payments, strict=True)
    ]


def _of_side(offers: Sequence[Offer], side: int) -> list[int]:
    return [i for i, offer in enumerate(offers) if offer.side == side and not offer.is_grid]


def _share(
    offers: Sequence[Offer], traded: Sequence[int], gains: Sequence[int], sharing: int, places: Sequence[int]
) -> list[int]:
    """What each receives (positive) or gives, so that the two sides' gains come nearer to each other.

    Taken pro rata to gain, which nobody can change by shading a limit, as long as it trades; given pro rata to energy.
    """
    buys, sells = _of_side(offers, BUY), _of_side(offers, SELL)
    difference = sum(gains[i] for i in buys) - sum(gains[i] for i in sells)
    givers, takers = (buys, sells) if difference > 0 else (sells, buys)
    moved = sharing * abs(difference) // (2 * SHARING_WHOLE)
    shared = [0] * len(offers)
    if not any(traded[i] for i in takers):
        return shared
    for side, weights, sign in ((givers, gains, -1), (takers, traded, 1)):
        parts = split(moved, [weights[i] for i in side], [places[i] for i in side])
        for i, part in zip(side, parts, strict=True):
            shared[i] = sign * part
    return shared


def _past_limit(offer: Offer, traded: int, received: int) -> bool:
    return received < _sign(offer) * traded * offer.effective_limit


def _settled(
    network: Sequence[Edge],
    offers: Sequence[Offer],
    traded: list[int],
    prices: list[int],
    flows: list[int],
    payments: list[int],
    shared: list[int],
    gains: list[int],
    dropped: list[int],
    rounds: int,
) -> Settlement:
    fees = path_fees(network)
    net = [payment + moved for payment, moved in zip(payments, shared, strict=True)]
    grid = operator = 0
    for i, offer in enumerate(offers):
        if offer.is_grid:
            grid += payments[i]
            continue
        rest = offer.quantity - traded[i]
        at_outside = _sign(offer) * rest * offer.outside
        net[i] += at_outside
        operator += rest * fees[offer.bus]
        grid -= at_outside + rest * fees[offer.bus]
    operator -= sum(payments)  # fees and congestion on the edges; what lies between the bids and the asks
    assert sum(net[i] for i in range(len(offers)) if not offers[i].is_grid) + grid + operator == 0, "money balances"
    return Settlement(
        traded=tuple(traded),
        prices=tuple(prices),
        flows=tuple(flows),
        payments=tuple(payments),
        shared=tuple(shared),
        net=tuple(net),
        from_grid_wh=tuple(_attributed(offers, traded)),
        dropped=tuple(dropped),
        rounds=rounds,
        gain_buyers=sum(gains[i] for i in _of_side(offers, BUY)),
        gain_sellers=sum(gains[i] for i in _of_side(offers, SELL)),
        grid=grid,
        operator=operator,
    )


def _attributed(offers: Sequence[Offer], traded: Sequence[int]) -> list[int]:
    """A clearing does not say whose energy was whose: the grid's is everybody's, pro rata to what each traded."""
    from_grid = [0] * len(offers)
    for side in (BUY, SELL):
        other_side = sum(traded[i] for i, offer in enumerate(offers) if offer.is_grid and offer.side != side)
        own = _of_side(offers, side)
        for i, part in zip(own, split(other_side, [traded[i] for i in own]), strict=True):
            from_grid[i] = part
    return from_grid
