"""One world from one seed: members, a network that loses, delays, duplicates and splits, power cuts, a villain, a workload.

Two phases: faults for a while, then everything heals and every transaction must become final on every honest member. Time is
virtual; the same seed gives the same trace hash, on any machine.
"""

from __future__ import annotations

import hashlib
import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

from ledger.base.crypto import SIGNATURE_BYTES, ZERO_HASH, Scheme
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
from ledger.base.intents import Commit, Intent, PlaceOrder, Reading, Redeem, Transfer, transaction_bytes
from ledger.simplex.effects import Now
from ledger.state.tables import ACCOUNT, FEED

from .checker import Checker, Violation
from .node import MATCHERS, Crash, Node, Places
from .villains import Equivocator, Forger

SLOT_MS = 1_500
ORIGIN_MS = 1_700_000_000_000
SLOTS = 8
FAULTS_MS = 25_000
QUIET_FROM_MS = 5_000  # five cap-free timeouts and more: what is under way comes to its end
QUIET_MS = 20_000  # and then nothing happens for so long
HEAL_MS = 60_000  # everything must be final so long after the faults ended


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


@dataclass(frozen=True)
class Faults:
    """What goes wrong in a world. Rates are per thousand unless said otherwise."""

    loss: int = 0
    duplicate: int = 0
    delay_ms_max: int = 20
    partitions: bool = False
    crash: int = 0  # per ten thousand steps of a node
    blackout: bool = False
    equivocators: int = 0
    forgers: int = 0
    skew_ms: int = 50
    clockless: int = 0  # members without a trusted clock


def _swarm(rng: random.Random, villains: int) -> Faults:
    """Every kind of fault is off in many worlds, so that the others show what they do alone."""
    faults = Faults(
        loss=rng.choice((0, 0, 50, 300)),
        duplicate=rng.choice((0, 100, 300)),
        delay_ms_max=rng.choice((10, 100, 400, 1_500)),
        partitions=rng.random() < 0.5,
        crash=rng.choice((0, 0, 10, 40)),
        blackout=rng.random() < 0.3,
        equivocators=villains if rng.random() < 0.5 else 0,
        skew_ms=rng.choice((0, 50, 300)),
        clockless=rng.choice((0, 0, 1)),
    )
    forge = rng.random() < 0.4
    return replace(faults, equivocators=0, forgers=faults.equivocators) if forge else faults


SCENARIOS: dict[str, Callable[[random.Random, int], Faults]] = {
    "calm": lambda rng, f: Faults(),
    "loss": lambda rng, f: Faults(loss=rng.randrange(300), duplicate=rng.randrange(300), delay_ms_max=400),
    "partition": lambda rng, f: Faults(partitions=True, delay_ms_max=200),
    "crash": lambda rng, f: Faults(crash=rng.choice((5, 20, 60)), delay_ms_max=50),
    "blackout": lambda rng, f: Faults(blackout=True, crash=5, delay_ms_max=50),
    "equivocator": lambda rng, f: Faults(equivocators=f, delay_ms_max=200, loss=rng.randrange(100)),
    "forger": lambda rng, f: Faults(
        forgers=f, partitions=rng.random() < 0.7, delay_ms_max=rng.choice((100, 300)), loss=rng.choice((0, 0, 100, 300))
    ),
    "swarm": _swarm,
}


class Wanted(NamedTuple):
    """A transaction that a home wants final: a reading of a device, or a wish of its own."""

    home: int
    raw: bytes
    nonce: int
    device: str  # empty: the home's own


class World:
    """The world of one seed. `run` returns the trace hash or raises `Violation`."""

    def __init__(self, seed: int, *, nodes: int | None, byzantine: int | None, scenario: str) -> None:
        self.seed = seed
        self.rng = random.Random(seed)
        count = nodes or self.rng.choice((1, 4, 4, 5, 7))
        self.faulty_max = (count - 1) // 3
        villains = min(self.faulty_max, 1) if byzantine is None else byzantine
        self.faults = SCENARIOS[scenario](self.rng, villains)
        self.scheme = fake_scheme()
        self.genesis = self._genesis(count)
        self.homes = list(self.genesis.homes)  # in the order of seats in epoch 0
        numbers = {name: number for number, name in enumerate(self.genesis.accounts)}
        peer_of = {place: numbers[home.name] for place, home in enumerate(self.homes)}
        self.places = Places(peer_of, {peer: place for place, peer in peer_of.items()})
        bad = set(self.rng.sample(range(count), self.faults.equivocators + self.faults.forgers))
        self.honest = set(range(count)) - bad
        self.checker = Checker(self.genesis, self.scheme, self.honest, MATCHERS)
        self.now_ms = ORIGIN_MS - 5_000
        self.begin_ms = self.now_ms
        self.nodes: list[Node] = []
        for number, home in enumerate(self.homes):
            villain = Forger if self.faults.forgers else Equivocator
            kind = villain if number in bad else Node
            crash = 0 if number in bad else self.faults.crash
            seed_bytes = self._seed(f"{home.name} node")
            self.nodes.append(
                kind(
                    number,
                    self.genesis,
                    self.scheme,
                    seed_bytes,
                    self.checker,
                    self._post,
                    random.Random(seed * 1_000 + number),
                    crash,
                    self.places,
                )
            )
            if isinstance(node := self.nodes[-1], Forger):
                node.owner_seed = self._seed(f"{home.name} owner")
        self.skews = [self.rng.randint(-self.faults.skew_ms, self.faults.skew_ms) for _ in range(count)]
        self.clockless = set(self.rng.sample(range(count), min(self.faults.clockless, self.faulty_max)))
        self.cut_off: set[int] = set()
        self._queue: list[tuple[int, int, Callable[[], None]]] = []
        self._order = 0
        self._trace = hashlib.sha256()
        self._healed = False
        self._timers: dict[int, int] = {}
        self._outbox: list[Wanted] = []
        self._nonces: dict[str, int] = {}
        self._feeds: dict[str, tuple[int, bytes, int, int]] = {}

    # ---- the street

    def _seed(self, name: str) -> bytes:
        return hashlib.sha256(f"{self.seed} {name}".encode()).digest()

    def _key(self, name: str) -> bytes:
        return self.scheme.public(self._seed(name))

    def _genesis(self, count: int) -> Genesis:
        names = [f"home{i}" for i in range(count)]
        equal = tuple((name, 10_000 // count + (1 if i < 10_000 % count else 0)) for i, name in enumerate(names))
        return Genesis(
            GENESIS_VERSION,
            f"World {self.seed}",
            "EUR",
            "2021-03-24",
            Timing(ORIGIN_MS - 10_000, ORIGIN_MS, SLOT_MS, SLOTS, SLOT_MS, 500),
            Consensus(300, 8, 100, 100, 600_000, 100_000),
            Market(30_000, 8_000, 10_000, 0, 500, 1_000, True, 0, 1_000 * 10**8),
            (
                Bus("root", "", 0, NO_CAPACITY, NO_CAPACITY),
                *(Bus(name, "root", 100, NO_CAPACITY, NO_CAPACITY) for name in names),
            ),
            tuple(
                Home(n, self._key(f"{n} owner"), self._key(f"{n} node"), self._key(f"{n} link"), n, 10**10)
                for n in sorted(names, key=lambda name: self._key(f"{name} node"))
            ),
            (
                *(Device(n, self._key(f"{n} meter"), Role.CONNECTION, n, n) for n in names),
                Device("school", self._key("school meter"), Role.GENERATOR, "gen:school", "root"),
                Device("pool", self._key("pool meter"), Role.POOL, "pool:pool", "root"),
            ),
            (Generator("school", "school", equal),),
            (Pool("pool", "pool", 20_000, 5_000, 9_000, 10**10, equal, tuple((n, 20_000 // count) for n in names)),),
            Membership(epoch_blocks_min=4),
        )

    # ---- events

    def _at(self, time_ms: int, action: Callable[[], None]) -> None:
        self._order += 1
        heapq.heappush(self._queue, (time_ms, self._order, action))

    def _now(self, number: int) -> Now:
        trusted = number not in self.clockless
        return Now(self.now_ms - self.begin_ms, self.now_ms + self.skews[number] if trusted else None)

    def _connected(self, a: int, b: int) -> bool:
        return (a in self.cut_off) == (b in self.cut_off)

    def _post(self, sender: int, to: int | None, frame: bytes) -> None:
        targets = range(len(self.nodes)) if to is None else (to,)
        for target in targets:
            if target == sender:
                continue
            copies = 1
            if not self._healed:
                if self.rng.randrange(1_000) < self.faults.loss or not self._connected(sender, target):
                    continue
                copies += self.rng.randrange(1_000) < self.faults.duplicate
            for _ in range(copies):
                delay_ms = 2 if self._healed else self.rng.randint(1, self.faults.delay_ms_max)
                self._at(self.now_ms + delay_ms, self._delivery(sender, target, frame))

    def _delivery(self, sender: int, target: int, frame: bytes) -> Callable[[], None]:
        def deliver() -> None:
            if self.nodes[target].core is not None:
                self._trace.update(f"{self.now_ms} {sender}>{target} ".encode() + hashlib.sha256(frame).digest()[:4])
                self._guarded(target, lambda: self.nodes[target].receive(sender, frame, self._now(target)))

        return deliver

    def _guarded(self, number: int, action: Callable[[], None]) -> None:
        """Run a step of a node; where the power failed in it, switch the node off and on again later."""
        node = self.nodes[number]
        try:
            action()
        except Crash:
            node.cut()
            self._at(self.now_ms + self.rng.randint(50, 6_000), lambda: self._boot(number))
            return
        self._arm(number)

    def _boot(self, number: int) -> None:
        node = self.nodes[number]
        if node.core is not None:
            return
        self._guarded(number, lambda: node.boot(self._now(number)))
        for peer in range(len(self.nodes)):
            if peer != number:
                self._link(number, peer)
                self._link(peer, number)

    def _link(self, a: int, b: int) -> None:
        node = self.nodes[a]
        if node.core is not None and self.nodes[b].core is not None:
            node.core.linked(self.places.peer_of[b])
            self._guarded(a, lambda: node.drain(self._now(a)))

    def _arm(self, number: int) -> None:
        core = self.nodes[number].core
        if core is None:
            return
        due = self.begin_ms + core.deadline_ms(self._now(number))
        if self._timers.get(number) == due:
            return
        self._timers[number] = due

        def fire() -> None:
            node = self.nodes[number]
            if self._timers.get(number) != due or node.core is None:
                return
            self._timers.pop(number)
            core = node.core

            def tick() -> None:
                core.tick(self._now(number))
                node.drain(self._now(number))

            self._guarded(number, tick)

        self._at(due, fire)

    # ---- the workload: readings of every slot, and what homes want

    def _queue_transaction(self, home: int, name: str, intent: Intent | Reading, seed: bytes, nonce: int) -> bytes:
        raw = transaction_bytes(
            intent,
            chain_id=self.genesis.chain_id,
            sender=self.scheme.public(seed),
            nonce=nonce,
            valid_until_height=0 if isinstance(intent, Reading) else 5_000,
            sign=lambda message: self.scheme.sign(seed, message),
        )
        self._outbox.append(Wanted(home, raw, nonce, name if isinstance(intent, Reading) else ""))
        return raw

    def _read(self, slot: int) -> None:
        for device in self.genesis.devices:
            seq, previous, imported, exported = self._feeds.get(device.name, (0, ZERO_HASH, 0, 0))
            pool = device.role == Role.POOL
            imported += 0 if pool or device.role == Role.GENERATOR else self.rng.randrange(900)
            exported += 0 if pool else self.rng.randrange(700)
            reading = Reading(device.name, previous, slot, 0, imported, exported, 0 if pool else None, 0)
            keeper = self._keeper(device.name)
            raw = self._queue_transaction(keeper, device.name, reading, self._seed(f"{device.name} meter"), seq + 1)
            self._feeds[device.name] = (seq + 1, hashlib.sha256(raw).digest(), imported, exported)

    def _keeper(self, device: str) -> int:
        return next((i for i, home in enumerate(self.homes) if home.name == device), 0)

    def _wish(self) -> None:
        number = self.rng.randrange(len(self.homes))
        home = self.homes[number]
        payee = self.rng.choice(self.homes)
        accounts = self.genesis.accounts
        intents: list[Intent] = [
            Transfer(accounts[payee.name], "CASH", self.rng.randrange(1, 10**9)),
            Transfer(accounts[payee.name], "CASH", 10**12),
            Commit("pool", self.rng.randrange(500)),
            PlaceOrder("WATT:pool", self.rng.randrange(2), self.rng.randrange(1, 30_000), self.rng.randrange(1, 900)),
            Redeem("pool", self.rng.randrange(50)),
        ]
        nonce = self._nonces.get(home.name, 0) + 1
        self._nonces[home.name] = nonce
        intent = self.rng.choice(intents)
        self._queue_transaction(number, home.name, intent, self._seed(f"{home.name} owner"), nonce)

    def _resubmit(self) -> None:
        """Every home hands its node what that node does not know to be final."""
        for wanted in self._outbox:
            node = self.nodes[wanted.home]
            if node.core is not None and not self._is_final(wanted.home, wanted):
                self._submit(wanted)
        self._at(self.now_ms + 400, self._resubmit)

    def _submit(self, wanted: Wanted) -> None:
        self._guarded(wanted.home, lambda: self.nodes[wanted.home].submit(wanted.raw, self._now(wanted.home)))

    def _is_final(self, member: int, wanted: Wanted) -> bool:
        core = self.nodes[member].core
        if core is None:
            return False
        state = core.chain.final.state
        if wanted.device:
            return state.need(FEED, (wanted.device,)).seq >= wanted.nonce
        account = self.genesis.accounts[self.homes[wanted.home].name]
        return state.need(ACCOUNT, (account,)).nonce >= wanted.nonce

    # ---- faults

    def _split(self) -> None:
        if self._healed:
            return
        size = self.rng.randint(0, len(self.nodes) - 1)
        self.cut_off = set(self.rng.sample(range(len(self.nodes)), size))
        self._at(self.now_ms + self.rng.randint(500, 6_000), self._split)

    def _blackout(self) -> None:
        for number, node in enumerate(self.nodes):
            if number in self.honest and node.core is not None:
                node.cut()
                self._at(self.now_ms + self.rng.randint(100, 3_000), lambda number=number: self._boot(number))  # type: ignore[misc]

    def _heal(self) -> None:
        self._healed = True
        self.cut_off = set()
        for number, node in enumerate(self.nodes):
            node.calm()
            self._boot(number)
        for a in range(len(self.nodes)):
            for b in range(len(self.nodes)):
                if a != b:
                    self._link(a, b)

    # ---- the run

    def run(self) -> str:
        """The trace hash. Raises `Violation`."""
        for number in range(len(self.nodes)):
            self._at(self.now_ms + self.rng.randint(0, 2_000), lambda number=number: self._boot(number))  # type: ignore[misc]
        for slot in range(SLOTS):
            end_ms = ORIGIN_MS + (slot + 1) * SLOT_MS
            self._at(end_ms + self.rng.randint(0, 300), lambda slot=slot: self._read(slot))  # type: ignore[misc]
        for _ in range(15):
            self._at(self.now_ms + self.rng.randint(3_000, FAULTS_MS), self._wish)
        if self.faults.partitions:
            self._at(self.now_ms + 4_000, self._split)
        if self.faults.blackout:
            self._at(self.now_ms + self.rng.randint(5_000, FAULTS_MS), self._blackout)
        self._at(self.now_ms + 400, self._resubmit)
        self._at(self.begin_ms + FAULTS_MS, self._heal)
        end_ms = self.begin_ms + FAULTS_MS + HEAL_MS
        while self._queue and self._queue[0][0] <= end_ms:
            self._step()
            if self._healed and self.now_ms % 5 == 0 and self._settled():
                break
        if not self._settled():
            raise Violation(
                f"check 12: not everything is final {HEAL_MS // 1000} s after the faults ended: {self._where()}"
            )
        if len(self.honest) == len(self.nodes):
            self._stay_quiet()
        self._trace.update(b"".join(self.checker.history))
        return self._trace.hexdigest()

    def _step(self) -> None:
        self.now_ms, _, action = heapq.heappop(self._queue)
        self.checker.latest_ms = self.now_ms + max(self.skews)
        action()

    def _stay_quiet(self) -> None:
        """With everything final and no slot left, nobody opens a view until the next transaction or the heartbeat."""
        calm_ms = self.now_ms + QUIET_FROM_MS
        while self._queue and self._queue[0][0] <= calm_ms:
            self._step()
        before = self._views()
        while self._queue and self._queue[0][0] <= calm_ms + QUIET_MS:
            self._step()
        if self._views() != before:
            raise Violation(f"check 13: the street does not come to rest: views {before}, later {self._views()}")

    def _views(self) -> list[int]:
        return [node.core.machine.view for node in self.nodes if node.core is not None]

    def _settled(self) -> bool:
        heights = {self.nodes[n].core.chain.final.hash for n in self.honest if self.nodes[n].core is not None}  # type: ignore[union-attr]
        if len(heights) != 1 or any(self.nodes[n].core is None for n in self.honest):
            return False
        closed = self.now_ms > ORIGIN_MS + (SLOTS + 2) * SLOT_MS
        some = min(self.honest)
        return closed and all(self._is_final(some, wanted) for wanted in self._outbox if wanted.home in self.honest)

    def _where(self) -> str:
        parts = []
        for number, node in enumerate(self.nodes):
            core = node.core
            where = "off" if core is None else f"height {core.chain.final.header.height} view {core.machine.view}"
            parts.append(f"{number}: {where}{'' if number in self.honest else ' (villain)'}")
        return "; ".join(parts)
