"""The street of a world: keys from its seed, signatures that cost nothing, a genesis of few slots, and what homes wish for."""

from __future__ import annotations

import hashlib
import random
from typing import NamedTuple

from ledger.base.crypto import SIGNATURE_BYTES, Scheme
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
    Membership,
    Pool,
    Role,
    Timing,
)
from ledger.base.intents import Commit, Intent, Nominate, Park, PlaceOrder, Redeem, Transfer
from ledger.base.limits import COMMITTEE_DEFAULT_MAX

SLOT_MS = 1_500
ORIGIN_MS = 1_700_000_000_000
SLOTS = 8
EPOCH_BLOCKS_MIN = 4  # so that a world of some forty blocks has several epochs


def fake_scheme() -> Scheme:
    """Signatures that a world of one process can afford: a keyed hash whose key is public. Worthless outside."""

    def public(seed: bytes) -> bytes:
        return hashlib.sha256(b"public" + seed).digest()

    def mark(public_key: bytes, message: bytes) -> bytes:
        return hashlib.sha512(public_key + message).digest()[:SIGNATURE_BYTES]

    return Scheme(
        public,
        lambda seed, message: mark(public(seed), message),
        lambda public_key, signature, message: signature == mark(public_key, message),
    )


class Wanted(NamedTuple):
    """A transaction that a home wants final: a reading of a device, or a wish of its own.

    `rival` has the same number and is handed to another node: of the two at most one may become final.
    """

    home: int
    raw: bytes
    nonce: int
    device: str  # empty: the home's own
    rival: bytes = b""


class Street:
    """Keys and genesis of a seed."""

    def __init__(self, seed: int, homes: int, seats: int, scheme: Scheme) -> None:
        self._number, self._scheme = seed, scheme
        names = [f"home{i}" for i in range(homes)]
        equal = tuple((name, 10_000 // homes + (1 if i < 10_000 % homes else 0)) for i, name in enumerate(names))
        self.genesis = Genesis(
            GENESIS_VERSION,
            f"World {seed}",
            "EUR",
            "2021-03-24",
            Timing(ORIGIN_MS - 10_000, ORIGIN_MS, SLOT_MS, SLOTS, SLOT_MS, 500),
            Consensus(300, 8, 100, 100, 600_000, 100_000),
            Market(30_000, 8_000, 10_000, 0, 500, 1_000, True, 0, 1_000 * 10**8),
            (
                Bus("root", "", 0, NO_CAPACITY, NO_CAPACITY),
                *(Bus(name, "root", 100, NO_CAPACITY, NO_CAPACITY) for name in names),
            ),
            tuple(  # in the order of keys: while all have a seat, a home's place is its seat in epoch 0
                Home(n, self.key(f"{n} owner"), self.key(f"{n} node"), self.key(f"{n} link"), n, 10**10)
                for n in sorted(names, key=lambda name: self.key(f"{name} node"))
            ),
            (
                *(Device(n, self.key(f"{n} meter"), Role.CONNECTION, n, n) for n in names),
                Device("school", self.key("school meter"), Role.GENERATOR, "gen:school", "root"),
                Device("pool", self.key("pool meter"), Role.POOL, "pool:pool", "root"),
            ),
            (Generator("school", "school", equal),),
            (Pool("pool", "pool", 20_000, 5_000, 9_000, 10**10, equal, tuple((n, 20_000 // homes) for n in names)),),
            Membership(epoch_blocks_min=EPOCH_BLOCKS_MIN, committee_max=seats or COMMITTEE_DEFAULT_MAX),
        )

    def seed(self, name: str) -> bytes:
        """The secret behind a key."""
        return hashlib.sha256(f"{self._number} {name}".encode()).digest()

    def key(self, name: str) -> bytes:
        """A public key."""
        return self._scheme.public(self.seed(name))

    def wish(self, rng: random.Random) -> Intent:
        """Something that a home may want; some of it is refused."""
        accounts, homes = self.genesis.accounts, self.genesis.homes
        payee = accounts[rng.choice(homes).name]
        wishes: list[Intent] = [
            Transfer(payee, "CASH", rng.randrange(1, 10**9)),
            Transfer(payee, "CASH", 10**12),
            Commit("pool", rng.randrange(500)),
            PlaceOrder("WATT:pool", rng.randrange(2), rng.randrange(1, 30_000), rng.randrange(1, 900)),
            Redeem("pool", rng.randrange(50)),
        ]
        return rng.choice(wishes)

    def wish_for_seats(self, rng: random.Random) -> Intent:
        """Something about who votes."""
        accounts = sorted(self.genesis.accounts[home.name] for home in self.genesis.homes)
        wishes: list[Intent] = [
            Park(1),
            Park(0),
            Park(0),
            Nominate(tuple(sorted(rng.sample(accounts, rng.randint(0, len(accounts)))))),
        ]
        return rng.choice(wishes)
