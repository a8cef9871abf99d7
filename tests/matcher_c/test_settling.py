"""What every settling promises: limits, no loss against the grid alone, equal gains, and money that balances."""

from dataclasses import dataclass, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import matcher_c
from matcher_c import reference
from matcher_c.settling import SHARING_WHOLE, Edge, Offer, Pricing, Settlement, path_fees, settle
from tests.matcher_c.instances import BUY, CAPACITIES, FEES, LIMITS, QUANTITIES, SELL, UNLIMITED, fixed

BOTH = pytest.mark.parametrize("clear_arrays", [matcher_c.clear_arrays, reference.clear_arrays], ids=["c", "reference"])
SHARINGS = st.sampled_from([0, 1, 3_333, 5_000, 9_999, SHARING_WHOLE])


@dataclass(frozen=True)
class Slot:
    """A slot with the public grid, where every outside option is the grid's price and the fees on the way."""

    network: list[Edge]
    offers: list[Offer]
    ranks: list[int]

    def settle(
        self, sharing: int, pricing: Pricing = Pricing.UNIFORM, clear: Any = matcher_c.clear_arrays
    ) -> Settlement:
        return settle(clear, self.network, self.offers, ranks=self.ranks, sharing=sharing, pricing=pricing)

    @property
    def homes(self) -> list[int]:
        return [i for i, offer in enumerate(self.offers) if not offer.is_grid]


@st.composite
def slots(draw: st.DrawFn, *, buses: int = 6, orders: int = 10, islanded: bool = False) -> Slot:
    """A slot that hypothesis can shrink. Islanded: no grid, the outside option of each side is one price."""
    bus_count = draw(st.integers(1, buses))
    network = [Edge(-1, 0, -1, -1)] + [
        Edge(draw(st.integers(0, b - 1)), draw(FEES), draw(CAPACITIES), draw(CAPACITIES)) for b in range(1, bus_count)
    ]
    fees = path_fees(network)
    pays = draw(LIMITS)
    asks = pays + draw(st.integers(0, 25))
    places = st.tuples(st.integers(0, bus_count - 1), st.integers(0, 1), st.none() | st.integers(-5, 30), QUANTITIES)
    offers: list[Offer] = []
    for bus, side, limit, quantity in draw(st.lists(places, max_size=orders)):
        outside = (asks, pays)[side] if islanded else (asks + fees[bus], pays - fees[bus])[side]
        offers.append(
            Offer(bus, side, (-(2**31) + 1 if side else 2**31 - 1) if limit is None else limit, quantity, outside)
        )
    if not islanded:
        offers += [Offer(0, BUY, pays, UNLIMITED, 0), Offer(0, SELL, asks, UNLIMITED, 0)]
    return Slot(network, offers, draw(st.permutations(range(bus_count)).map(list)))


def sign(offer: Offer) -> int:
    return 1 if offer.side == SELL else -1


def cleared_part(slot: Slot, settled: Settlement, i: int) -> int:
    return settled.payments[i] + settled.shared[i]


@fixed
@given(slots(), SHARINGS)
def test_both_clearings_settle_alike(slot: Slot, sharing: int) -> None:
    assert slot.settle(sharing) == slot.settle(sharing, clear=reference.clear_arrays)


@fixed
@given(slots() | slots(islanded=True) | slots(buses=1), SHARINGS, st.sampled_from(Pricing))
def test_money_balances_and_nobody_passes_a_limit_or_loses(slot: Slot, sharing: int, pricing: Pricing) -> None:
    if len(slot.network) > 1:
        pricing = Pricing.UNIFORM
    settled = slot.settle(sharing, pricing)
    assert sum(settled.net[i] for i in slot.homes) + settled.grid + settled.operator == 0
    assert sum(settled.shared) == 0
    for i in slot.homes:
        offer, traded = slot.offers[i], settled.traded[i]
        received = cleared_part(slot, settled, i)
        at_limit, at_outside = sign(offer) * traded * offer.limit, sign(offer) * traded * offer.outside
        assert received >= max(at_limit, at_outside), "neither past its limit nor worse off than with the grid"
        assert settled.net[i] == received + sign(offer) * (offer.quantity - traded) * offer.outside
    for i in settled.dropped:
        assert settled.traded[i] == 0
    assert len(set(settled.dropped)) == len(settled.dropped)
    assert settled.rounds <= len(settled.dropped) + 1


@fixed
@given(slots() | slots(islanded=True), SHARINGS)
def test_gains_come_nearer_by_what_sharing_says(slot: Slot, sharing: int) -> None:
    settled = slot.settle(sharing)
    gains = {BUY: 0, SELL: 0}
    energy = {BUY: 0, SELL: 0}
    for i in slot.homes:
        offer = slot.offers[i]
        gains[offer.side] += cleared_part(slot, settled, i) - sign(offer) * settled.traded[i] * offer.outside
        energy[offer.side] += settled.traded[i]
    before = settled.gain_buyers - settled.gain_sellers
    after = gains[BUY] - gains[SELL]
    assert sum(gains.values()) == settled.gain_buyers + settled.gain_sellers
    if not all(energy.values()):
        assert settled.shared == (0,) * len(slot.offers), "there is nobody to give it to, or nobody gained"
        return
    assert abs(abs(before) * (SHARING_WHOLE - sharing) - abs(after) * SHARING_WHOLE) < 2 * SHARING_WHOLE
    if sharing == SHARING_WHOLE:
        assert abs(after) <= 1, "what buyers gain equals what sellers gain"
    if sharing == 0:
        assert not any(settled.shared)


@fixed
@given(slots(), SHARINGS)
def test_sharing_goes_one_way_pro_rata(slot: Slot, sharing: int) -> None:
    settled = slot.settle(sharing)
    gain = [0] * len(slot.offers)
    for i in slot.homes:
        gain[i] = settled.payments[i] - sign(slot.offers[i]) * settled.traded[i] * slot.offers[i].outside
    givers = [i for i in slot.homes if settled.shared[i] < 0]
    takers = [i for i in slot.homes if settled.shared[i] > 0]
    if not givers:
        assert not takers
        return
    side = slot.offers[givers[0]].side
    assert {slot.offers[i].side for i in givers} == {side}
    assert {slot.offers[i].side for i in takers} == {1 - side}
    moved = sum(settled.shared[i] for i in takers)
    for own_side, weights in ((side, gain), (1 - side, settled.traded)):
        members = [i for i in slot.homes if slot.offers[i].side == own_side]
        whole = sum(weights[i] for i in members)
        for i in members:
            assert abs(abs(settled.shared[i]) * whole - moved * weights[i]) < whole, "within a unit of the exact share"
    assert not any(settled.shared[i] for i, offer in enumerate(slot.offers) if offer.is_grid)


@fixed
@given(slots(), SHARINGS, st.sampled_from(Pricing))
def test_grid_energy_is_everybodys_pro_rata(slot: Slot, sharing: int, pricing: Pricing) -> None:
    if len(slot.network) > 1:
        pricing = Pricing.UNIFORM
    settled = slot.settle(sharing, pricing)
    for side in (BUY, SELL):
        members = [i for i in slot.homes if slot.offers[i].side == side]
        grid = sum(settled.traded[i] for i, o in enumerate(slot.offers) if o.is_grid and o.side != side)
        whole = sum(settled.traded[i] for i in members)
        assert sum(settled.from_grid_wh[i] for i in members) == grid
        for i in members:
            assert 0 <= settled.from_grid_wh[i] <= settled.traded[i]
            assert abs(settled.from_grid_wh[i] * whole - grid * settled.traded[i]) < max(1, whole)


@fixed
@given(slots())
def test_without_sharing_it_is_the_plain_clearing(slot: Slot) -> None:
    settled = slot.settle(0)
    columns = [list(column) for column in zip(*slot.network, strict=True)]
    book = [
        list(column)
        for column in zip(*((o.bus, o.side, o.effective_limit, o.quantity) for o in slot.offers), strict=True)
    ]
    clear: Any = matcher_c.clear_arrays
    traded, prices, flows = clear(*columns, *book, slot.ranks)
    assert (settled.rounds, settled.dropped) == (1, ())
    assert (settled.traded, settled.prices, settled.flows) == (tuple(traded), tuple(prices), tuple(flows))


@fixed
@given(slots(buses=1), SHARINGS, st.sampled_from([Pricing.PAY_AS_BID, Pricing.MIDPOINT]))
def test_the_rules_for_one_bus_settle_the_same_allocation(slot: Slot, sharing: int, pricing: Pricing) -> None:
    uniform, other = slot.settle(0), slot.settle(sharing, pricing)
    assert not any(other.shared)
    assert (uniform.traded, uniform.from_grid_wh) == (other.traded, other.from_grid_wh)
    if pricing == Pricing.MIDPOINT:
        assert other.operator == 0, "each pair pays one sum"
    else:
        assert all(
            other.payments[i] == sign(offer) * other.traded[i] * offer.effective_limit
            for i, offer in enumerate(slot.offers)
        )
        assert other.operator >= 0


def one_bus(*orders: tuple[int, int, int, int], asks: int = 30, pays: int = 8) -> Slot:
    """(side, limit, quantity, outside) of homes, then the grid."""
    homes = [Offer(0, *order) for order in orders]
    return Slot([Edge(-1, 0, -1, -1)], [*homes, Offer(0, BUY, pays, -1, 0), Offer(0, SELL, asks, -1, 0)], [0])


@BOTH
def test_shading_a_limit_does_not_pay(clear_arrays: Any) -> None:
    """One seller of 10 kWh at 8/30 and two buyers of 1 kWh: both pay 19; the one that shades to 12 pays 30."""
    honest = one_bus((SELL, 8, 10_000, 8), (BUY, 30, 1_000, 30), (BUY, 30, 1_000, 30)).settle(
        SHARING_WHOLE, clear=clear_arrays
    )
    assert honest.net == (80_000 + 22_000, -19_000, -19_000, -64_000, 0)
    assert (honest.rounds, honest.gain_buyers, honest.gain_sellers) == (1, 44_000, 0)
    shaded = one_bus((SELL, 8, 10_000, 8), (BUY, 12, 1_000, 30), (BUY, 30, 1_000, 30)).settle(
        SHARING_WHOLE, clear=clear_arrays
    )
    assert shaded.net == (80_000 + 11_000, -30_000, -19_000, -72_000, 0)
    assert (shaded.rounds, shaded.dropped, shaded.gain_buyers) == (2, (1,), 22_000)


@fixed
@given(st.lists(st.tuples(st.integers(0, 1), st.integers(1, 50)), min_size=2, max_size=8), st.integers(0, 35))
def test_on_one_bus_shading_a_default_limit_never_pays(homes: list[tuple[int, int]], limit: int) -> None:
    """Whoever names another limit than the default has at most the rounding's one unit more, and often less."""
    orders = [(side, (30, 8)[side], quantity, (30, 8)[side]) for side, quantity in homes]
    honest = one_bus(*orders).settle(SHARING_WHOLE).net[0]
    side, _, quantity, outside = orders[0]
    shaded = one_bus((side, limit, quantity, outside), *orders[1:]).settle(SHARING_WHOLE).net[0]
    assert shaded <= honest + 1


def test_pairs_trade_at_the_mean_of_their_limits() -> None:
    """Bids 30 (1), 20 (2), asks 8 (2), 13 (1): pairs 30/8 (1), 20/8 (1), 20/13 (1), the last at 16.5, rounded down."""
    slot = one_bus((BUY, 30, 1, 99), (BUY, 20, 2, 99), (SELL, 8, 2, -99), (SELL, 13, 1, -99), asks=99, pays=-99)
    settled = slot.settle(0, Pricing.MIDPOINT)
    assert settled.payments == (-19, -(14 + 16), 19 + 14, 16, 0, 0)


def test_equal_bids_share_what_their_pairs_pay() -> None:
    """Three bids of 30 and one ask of 8 for a third of them: the rest is the grid's at 30; nobody is first by its place."""
    slot = one_bus((BUY, 30, 100, 30), (BUY, 30, 100, 30), (BUY, 30, 100, 30), (SELL, 8, 100, 8))
    settled = slot.settle(0, Pricing.MIDPOINT)
    assert 2_634 + 2_633 + 2_633 == 100 * 19 + 200 * 30
    assert settled.payments == (-2_634, -2_633, -2_633, 1_900, 0, 6_000)
    assert settled.from_grid_wh == (67, 67, 66, 0, 0, 0)


def test_homes_are_paired_before_the_grid_at_one_limit() -> None:
    """Two asks of 30, a home's and the grid's: the home meets the bid of 40."""
    settled = one_bus((BUY, 40, 1, 99), (BUY, 30, 1, 99), (SELL, 30, 1, 8)).settle(0, Pricing.MIDPOINT)
    assert settled.payments == (-35, -30, 35, 0, 30)


def test_where_no_neighbor_sold_there_is_nobody_to_share_with() -> None:
    """Its own outside option is worse than the grid: all that it gains is the grid's price."""
    settled = one_bus((BUY, 45, 100, 40)).settle(SHARING_WHOLE)
    assert (settled.gain_buyers, settled.shared) == (1_000, (0, 0, 0))


def test_what_a_bid_is_above_an_ask_is_the_operators_when_paid_as_bid() -> None:
    settled = one_bus((BUY, 30, 100, 30), (SELL, 10, 100, 8)).settle(0, Pricing.PAY_AS_BID)
    assert (settled.payments[:2], settled.operator, settled.grid) == ((-3_000, 1_000), 2_000, 0)


def test_ties_of_sharing_go_by_the_rank_of_the_bus_and_then_by_order() -> None:
    network = [Edge(-1, 0, -1, -1), Edge(0, 0, -1, -1), Edge(0, 0, -1, -1)]
    offers = [Offer(0, BUY, 1, 3, 1), *(Offer(bus, SELL, 0, 1, 0) for bus in (1, 2, 2))]
    offers += [Offer(0, SELL, 1, -1, 0)]
    for ranks, shared in (([0, 1, 2], (1, 0, 0)), ([0, 2, 1], (0, 1, 0))):
        settled = settle(matcher_c.clear_arrays, network, offers, ranks=ranks, sharing=SHARING_WHOLE)
        assert settled.prices == (0, 0, 0)
        assert settled.shared[1:4] == shared, "one unit of three goes to the sellers"


def test_every_round_drops_somebody_and_then_it_ends() -> None:
    """Buyers with ever lower limits: each round's sharing takes the next past its own."""
    limits = [30, 16, 13, 11, 10, 9]
    slot = one_bus((SELL, 8, 100, 8), *((BUY, limit, 1, 30) for limit in limits))
    settled = slot.settle(SHARING_WHOLE)
    assert settled.rounds <= len(slot.offers) + 1
    assert set(settled.dropped) == {2, 3, 4, 5, 6}
    assert settled.net[1] == -19


def test_rules_for_one_bus_are_refused_on_a_network() -> None:
    network = [Edge(-1, 0, -1, -1), Edge(0, 0, -1, -1)]
    for pricing, name in ((Pricing.PAY_AS_BID, "pay-as-bid"), (Pricing.MIDPOINT, "midpoint")):
        with pytest.raises(
            matcher_c.NetworkRefused, match=f"use uniform prices on a network of 2 buses; {name} is for one bus"
        ):
            settle(matcher_c.clear_arrays, network, [], ranks=[0, 1], pricing=pricing)


def test_nothing_to_settle() -> None:
    settled = replace(one_bus(), offers=[]).settle(SHARING_WHOLE)
    assert (settled.net, settled.grid, settled.operator, settled.rounds) == ((), 0, 0, 1)


def test_numbers_at_their_bounds_are_settled_exactly() -> None:
    most, price = 2**32 - 1, 2**31 - 1
    slot = one_bus((SELL, -price, most, -price), (BUY, price, most, price), asks=price, pays=-price)
    settled = slot.settle(SHARING_WHOLE)
    assert settled.gain_buyers + settled.gain_sellers == 2 * most * price
    assert settled.net[:2] == (0, 0)
