"""Block 0: the state that a genesis describes, and the header whose hash is the chain id."""

from __future__ import annotations

from ledger.base.crypto import ZERO_HASH, account_of_key
from ledger.base.genesis import Genesis, counterparty_name
from ledger.base.limits import INSTRUMENT_PRICE_MAX
from ledger.base.units import SHARES_TOTAL

from . import history
from .blocks import BLOCK_VERSION, Header
from .rules import balances, membership
from .state import State
from .tables import (
    ACCOUNT,
    BUS,
    CASH,
    CLOCK,
    DEVICE,
    FEED,
    GENERATOR,
    INSTRUMENT,
    NO_KEY,
    OWNER,
    PARAMS,
    POOL,
    SUPPLY,
    Account,
    BusRow,
    Clock,
    DeviceRow,
    Feed,
    GeneratorRow,
    Instrument,
    Owner,
    Params,
    PoolRow,
    Supply,
    gen,
    tsl,
    watt,
)
from .transition import Executed


def genesis_state(genesis: Genesis) -> State:
    """The rows that stand before the first block."""
    state = State()
    market, timing, seats = genesis.market, genesis.timing, genesis.membership
    state.put(
        PARAMS,
        NO_KEY,
        Params(
            market.retail,
            market.feed_in,
            int(market.islanded),
            market.sharing,
            market.pricing,
            market.exchange_fee,
            market.exchange_fee_treasury,
            int(market.tsl_required),
            market.credit_limit,
            timing.slot_ms,
            timing.origin_ms,
            timing.slot_count,
            timing.grace_ms,
            timing.stale_ms,
            genesis.consensus.expiry_max,
            seats.committee_max,
            seats.epoch_blocks_min,
            seats.park_misses_max,
            seats.evidence_epochs,
            int(seats.trusted_household),
        ),
    )
    state.put(CLOCK, NO_KEY, Clock(0, 0, 1, 1))
    positions = {bus.name: position for position, bus in enumerate(genesis.buses)}
    for position, bus in enumerate(genesis.buses):
        parent = positions.get(bus.parent, -1)
        state.put(BUS, (position,), BusRow(bus.name, parent, bus.fee, bus.capacity_up_wh, bus.capacity_down_wh))
    owners = {home.name: home.owner_key for home in genesis.homes}
    for number, (name, account) in enumerate(genesis.accounts.items()):
        key = owners.get(name, b"")
        state.put(ACCOUNT, (account,), Account(name, number, key, 0, None, None))
        if key:
            assert account_of_key(key) == account, "a home's account follows from its first key"
            state.put(OWNER, (key,), Owner(account))
    state.put(SUPPLY, (CASH,), Supply(0))
    balances.mint(state, genesis.accounts[counterparty_name(market.islanded)], CASH, market.grid_cash)
    for home in genesis.homes:
        balances.mint(state, genesis.accounts[home.name], CASH, home.cash)
    for position, device in enumerate(genesis.devices):
        owner = genesis.accounts.get(device.owner, b"")
        state.put(DEVICE, (device.name,), DeviceRow(position, device.key, device.role, owner, positions[device.bus]))
        state.put(FEED, (device.name,), Feed(0, ZERO_HASH, -1, 0, -1, 0, 0, None))
    for home in genesis.homes:
        membership.enter(state, genesis.accounts[home.name], home.node_key, home.transport_key)
    membership.begin(state, 0, 1, genesis.committee.keys)
    for generator in genesis.generators:
        account = genesis.accounts[f"gen:{generator.name}"]
        state.put(GENERATOR, (generator.name,), GeneratorRow(generator.device, account, 0, 0))
        for home_name, shares in generator.shares:
            balances.mint(state, genesis.accounts[home_name], gen(generator.name), shares)
        assert balances.supply(state, gen(generator.name)) == SHARES_TOTAL, "a generator has 10,000 shares"
    for pool in genesis.pools:
        account = genesis.accounts[f"pool:{pool.name}"]
        meter = genesis.device(pool.device)
        assert meter is not None, "the genesis was checked"
        state.put(
            POOL,
            (pool.name,),
            PoolRow(
                pool.device,
                account,
                positions[meter.bus],
                pool.capacity_wh,
                pool.power_w,
                pool.efficiency,
                0,
                0,
                0,
                0,
            ),
        )
        balances.mint(state, account, CASH, pool.cash)
        state.put(SUPPLY, (watt(pool.name),), Supply(0))
        for home_name, energy_wh in pool.tsl_wh:
            balances.mint(state, genesis.accounts[home_name], tsl(pool.name), energy_wh)
        for home_name, shares in pool.shares:
            balances.mint(state, genesis.accounts[home_name], gen(f"pool:{pool.name}"), shares)
        instrument = watt(pool.name)
        state.put(INSTRUMENT, (instrument,), Instrument(instrument, pool.name, 0, INSTRUMENT_PRICE_MAX))
    state.root()
    return state


def genesis_block(genesis: Genesis) -> Executed:
    """Block 0. Its hash is the chain id; its header is not hashed, only its time and height are used."""
    return from_final(genesis, genesis_header(genesis), genesis.chain_id, genesis_state(genesis), ())


def genesis_header(genesis: Genesis) -> Header:
    """The header that stands for block 0."""
    return Header(
        BLOCK_VERSION,
        genesis.chain_id[:8],
        0,
        0,
        0,
        ZERO_HASH,
        0,
        genesis.timing.created_ms,
        0,
        ZERO_HASH,
        genesis_state(genesis).root(),
        ZERO_HASH,
        ZERO_HASH,
        ZERO_HASH,
        ZERO_HASH,
    )


def from_final(genesis: Genesis, header: Header, block_hash: bytes, state: State, peaks: history.Peaks) -> Executed:
    """A final block from its stored parts; block 0's own leaf opens the history."""
    if header.height == 0:
        peaks = history.append((), genesis.chain_id)
    return Executed(header, block_hash, state, peaks, (), None)
