"""Small streets for the ledger's tests: keys from names, a genesis in one call, readings and transactions signed."""

from __future__ import annotations

import hashlib

import matcher_c
from ledger.base.crypto import ED25519, Scheme
from ledger.base.genesis import (
    GENESIS_VERSION,
    NO_CAPACITY,
    Bus,
    Consensus,
    Device,
    Generator,
    Genesis,
    Home,
    Market,
    Pool,
    Role,
    Timing,
)
from ledger.base.intents import Intent, Reading, transaction_bytes
from ledger.state.origin import genesis_block
from ledger.state.transition import Context, Draft, Executed, Matchers, build_block

MATCHERS = Matchers(matcher_c.clear_arrays, matcher_c.OrderBook)
SLOT_MS = 1_500
ORIGIN_MS = 1_000_000


def seed_of(name: str) -> bytes:
    """A 32-byte key seed that follows from a name."""
    return hashlib.sha256(name.encode()).digest()


def street(
    homes: int = 3,
    *,
    scheme: Scheme = ED25519,
    slot_count: int = 20,
    cash: int = 100 * 10**8,
    tsl_required: bool = True,
    fee: int = 500,
    sharing: int = 10_000,
    island: tuple[int, int] | None = None,
) -> Genesis:
    """root - f1 - one bus a home, a school at f1 and a pool at f1; every key follows from a name.

    `island` is what a Wh costs and brings there that does not clear; without it there is a public grid.
    """
    retail, feed_in = island or (30_000, 8_000)

    def key(name: str) -> bytes:
        return scheme.public(seed_of(name))

    names = [f"home{i}" for i in range(1, homes + 1)]
    equal = tuple((name, 10_000 // homes + (1 if i < 10_000 % homes else 0)) for i, name in enumerate(names))
    tsl = tuple((name, 20_000 // homes) for name in names)
    return Genesis(
        GENESIS_VERSION,
        "Teststreet",
        "EUR",
        "2021-03-24",
        Timing(ORIGIN_MS - 10_000, ORIGIN_MS, SLOT_MS, slot_count, SLOT_MS, 500),
        Consensus(300, 8, 100, 100, 600_000, 10_000),
        Market(retail, feed_in, sharing, 0, 500, 1_000, tsl_required, 0, 1_000 * 10**8, islanded=island is not None),
        (
            Bus("root", "", 0, NO_CAPACITY, NO_CAPACITY),
            Bus("f1", "root", fee, NO_CAPACITY, NO_CAPACITY),
            *(Bus(name, "f1", 0, NO_CAPACITY, NO_CAPACITY) for name in names),
        ),
        tuple(
            Home(name, key(f"{name} owner"), key(f"{name} node"), key(f"{name} transport"), name, cash)
            for name in names
        ),
        (
            *(Device(name, key(f"{name} meter"), Role.CONNECTION, name, name) for name in names),
            Device("school", key("school meter"), Role.GENERATOR, "gen:school", "f1"),
            Device("pool", key("pool meter"), Role.POOL, "pool:pool", "f1"),
            Device("root", key("root meter"), Role.FEEDER, "", "root"),
        ),
        (Generator("school", "school", equal),),
        (Pool("pool", "pool", 20_000, 5_000, 9_000, 50 * 10**8, equal, tsl),),
    )


class Ledger:
    """A chain driven by hand: submit, then `step` to a block time."""

    def __init__(self, genesis: Genesis, matchers: Matchers = MATCHERS, scheme: Scheme = ED25519) -> None:
        self.context = Context(genesis, matchers, scheme)
        self.scheme = scheme
        self.tip: Executed = genesis_block(genesis)
        self.blocks: list[Executed] = [self.tip]
        self._pending: list[bytes] = []
        self._nonces: dict[str, int] = {}
        self._feeds: dict[str, tuple[int, bytes]] = {}

    def ask(self, home: str, intent: Intent) -> bytes:
        """Sign and queue what a home wants."""
        self._nonces[home] = nonce = self._nonces.get(home, 0) + 1
        seed = seed_of(f"{home} owner")
        raw = transaction_bytes(
            intent,
            chain_id=self.context.chain_id,
            sender=self.scheme.public(seed),
            nonce=nonce,
            valid_until_height=self.tip.header.height + 100,
            sign=lambda message: self.scheme.sign(seed, message),
        )
        self._pending.append(raw)
        return raw

    def read(
        self,
        device: str,
        slot: int,
        import_wh: int,
        export_wh: int,
        *,
        stored_wh: int | None = None,
        flags: int = 0,
        epoch: int = 0,
    ) -> bytes:
        """Sign and queue a reading of cumulative registers."""
        seq, previous = self._feeds.get(device, (0, bytes(32)))
        seed = seed_of(f"{device} meter")
        raw = transaction_bytes(
            Reading(device, previous, slot, epoch, import_wh, export_wh, stored_wh, flags),
            chain_id=self.context.chain_id,
            sender=self.scheme.public(seed),
            nonce=seq + 1,
            valid_until_height=0,
            sign=lambda message: self.scheme.sign(seed, message),
        )
        self._feeds[device] = (seq + 1, hashlib.sha256(raw).digest())
        self._pending.append(raw)
        return raw

    def step(self, time_ms: int) -> Executed:
        """One block at that time with everything queued that it may carry."""
        from ledger.base.intents import decode_transaction

        candidates = [decode_transaction(raw) for raw in self._pending]
        view = self.tip.header.view + 1
        self.tip = build_block(
            self.context,
            self.tip,
            candidates,
            Draft(self.tip.header.epoch, view, 0, time_ms),
            bytes_max=60_000,
        )
        assert self.tip.block is not None
        carried = set(self.tip.block.transactions)
        self._pending = [raw for raw in self._pending if raw not in carried]
        self.blocks.append(self.tip)
        return self.tip

    def end_of(self, slot: int) -> int:
        """The time at which a slot ends."""
        return ORIGIN_MS + (slot + 1) * SLOT_MS

    @property
    def waiting(self) -> int:
        """How many queued transactions no block could carry yet."""
        return len(self._pending)
