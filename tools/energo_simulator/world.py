"""One world from one seed: members, a network that loses, delays, duplicates and splits, power cuts, liars, a workload.

Two phases: faults for a while, then everything heals and every transaction must become final on every honest member. Time is
virtual; the same seed gives the same trace hash, on any machine.
"""

from __future__ import annotations

import hashlib
import heapq
import random
from collections.abc import Callable

from ledger.base.crypto import ZERO_HASH
from ledger.base.genesis import Role
from ledger.base.intents import Intent, Reading, Transfer, transaction_bytes
from ledger.node.catchup import SNAPSHOT_BEHIND
from ledger.simplex.effects import Now
from ledger.state.tables import ACCOUNT, FEED

from .checker import Checker, Violation
from .faults import SCENARIOS, YEARS_MS
from .node import MATCHERS, Crash, Node, Places, Post
from .street import ORIGIN_MS, SLOT_MS, SLOTS, Street, Wanted, fake_scheme
from .villains import VILLAINS
from .villains.forger import Forger

FAULTS_MS = 25_000
QUIET_FROM_MS = 8_000  # cap-free timeouts and a word of a node that is given again: what is under way comes to its end
QUIET_MS = 20_000  # and then nothing happens for so long
HEAL_MS = 60_000  # everything must be final so long after the faults ended
FEW_BLOCKS = 6  # behind, from which on a node of every other world begins anew at a neighbor's snapshot
RELINK_MS = (
    400  # of two cards with one key, each takes the links of the other about so often: a lost link is redialed at once
)
HOUR_MS = 3_600_000


class World:
    """The world of one seed. `run` returns the trace hash or raises `Violation`."""

    def __init__(self, seed: int, *, nodes: int | None, byzantine: int | None, scenario: str) -> None:
        self.seed = seed
        self.rng = random.Random(seed)
        count = nodes or self.rng.choice((1, 2, 4, 4, 4, 5, 7, 7, 10))
        self.faulty_max = (count - 1) // 3
        liars = min(self.faulty_max, 1) if byzantine is None else byzantine
        self.faults = SCENARIOS[scenario](self.rng, count, liars)
        self.scheme = fake_scheme()
        self.street = Street(seed, count, self.faults.seats, self.scheme)
        self.genesis = self.street.genesis
        self.homes = list(self.genesis.homes)
        numbers = {name: number for number, name in enumerate(self.genesis.accounts)}
        peer_of = {place: numbers[home.name] for place, home in enumerate(self.homes)}
        self.places = Places(peer_of, {peer: place for place, peer in peer_of.items()})
        odd = self.rng.sample(range(count), self.faults.villains + self.faults.restored + self.faults.cloned)
        bad = set(odd[: self.faults.villains])
        self.copied = set(odd[self.faults.villains :])  # honest, and stopped for good once it shows
        self.honest = set(range(count)) - bad
        self.checker = Checker(self.genesis, self.scheme, self.honest, MATCHERS)
        self.now_ms = ORIGIN_MS - 5_000
        self.begin_ms = self.now_ms
        self.nodes: list[Node] = []
        for number in range(count):
            kind = VILLAINS[self.faults.villain] if number in bad else Node
            self.nodes.append(self._node(kind, number, 0, 0 if number in bad else self.faults.crash))
        self.twins: dict[int, Node] = {}  # the other card with a member's key
        self._front: dict[tuple[int, int], int] = {}  # (peer, member): which of its cards the peer is linked with
        self._boots: dict[Node, int] = {}
        self._heard: dict[tuple[Node, Node], int] = {}  # the start of a node of which another has heard last
        self.skews = [self.rng.randint(-self.faults.skew_ms, self.faults.skew_ms) for _ in range(count)]
        self.clockless = set(self.rng.sample(range(count), min(self.faults.clockless, self.faulty_max)))
        self.odd_clocks = set(self.rng.sample(range(count), self.faults.odd_clocks))
        for number in sorted(self.odd_clocks):
            self.skews[number] = self.rng.choice((*YEARS_MS, -HOUR_MS, HOUR_MS))
        self.slow = {self.rng.randrange(count): self.faults.slow_ms} if self.faults.slow_ms else {}
        self.cut_off: set[int] = set()
        self.clogged: set[tuple[int, int]] = set()
        self._queue: list[tuple[int, int, Callable[[], None]]] = []
        self._order = 0
        self._trace = hashlib.sha256()
        self._healed = False
        self._timers: dict[Node, int] = {}
        self._outbox: list[Wanted] = []
        self._nonces: dict[str, int] = {}
        self._feeds: dict[str, tuple[int, bytes, int, int]] = {}

    def _node(self, kind: type[Node], number: int, card: int, crash: int) -> Node:
        home = self.homes[number].name
        node = kind(
            number,
            self.genesis,
            self.scheme,
            self.street.seed(f"{home} node"),
            self.checker,
            self._poster(card),
            random.Random(self.seed * 1_000 + number + 500 * card),
            crash,
            self.places,
        )
        node.card = card
        node.snapshot_behind = SNAPSHOT_BEHIND if self.seed % 2 else FEW_BLOCKS
        if isinstance(node, Forger):
            node.owner_seed = self.street.seed(f"{home} owner")
        return node

    # ---- events

    def _at(self, time_ms: int, action: Callable[[], None]) -> None:
        self._order += 1
        heapq.heappush(self._queue, (time_ms, self._order, action))

    def _later(self, lowest_ms: int, highest_ms: int, action: Callable[[], None]) -> None:
        self._at(self.now_ms + self.rng.randint(lowest_ms, highest_ms), action)

    def _now(self, number: int) -> Now:
        trusted = number not in self.clockless
        return Now(self.now_ms - self.begin_ms, self.now_ms + self.skews[number] if trusted else None)

    def _connected(self, a: int, b: int) -> bool:
        if (a, b) in self.clogged:
            return False
        if (a in self.cut_off) == (b in self.cut_off):
            return True
        return self.faults.one_way and a in self.cut_off

    def _card(self, peer: int, number: int) -> Node:
        """The node that a peer reaches when it sends to a member."""
        return self.twins[number] if self._front.get((peer, number)) else self.nodes[number]

    def _poster(self, card: int) -> Post:
        def post(sender: int, to: int | None, frame: bytes) -> None:
            for target in range(len(self.nodes)) if to is None else (to,):
                if target != sender and self._front.get((target, sender), 0) == card:
                    self._post(sender, target, frame)

        return post

    def _post(self, sender: int, target: int, frame: bytes) -> None:
        copies = 1
        if not self._healed:
            if self.rng.randrange(1_000) < self.faults.loss or not self._connected(sender, target):
                return
            copies += self.rng.randrange(1_000) < self.faults.duplicate
        for _ in range(copies):
            delay_ms = 2 if self._healed else self.rng.randint(1, self.faults.delay_ms_max) + self.slow.get(sender, 0)
            self._at(self.now_ms + delay_ms, self._delivery(sender, target, frame))

    def _delivery(self, sender: int, target: int, frame: bytes) -> Callable[[], None]:
        origin = self._card(target, sender)
        boot = self._boots.get(origin, 0)

        def deliver() -> None:
            node = self._card(sender, target)
            if node.core is None or boot < self._heard.get((node, origin), 0):
                return  # off; or what a link of the sender's last run still held
            self._trace.update(f"{self.now_ms} {sender}>{target} ".encode() + hashlib.sha256(frame).digest()[:4])
            self._guarded(node, lambda: node.receive(sender, frame, self._now(target)))

        return deliver

    def _guarded(self, node: Node, action: Callable[[], None]) -> None:
        """Run a step of a node; where the power failed in it, switch the node off and on again later."""
        try:
            action()
        except Crash:
            node.cut()
            self._later(50, 6_000, lambda: self._boot(node))
            return
        self._arm(node)

    def _boot(self, node: Node) -> None:
        if node.core is not None or (self._healed and node in self.twins.values()):
            return
        self._boots[node] = self._boots.get(node, 0) + 1
        self._guarded(node, lambda: node.boot(self._now(node.number)))
        for peer in range(len(self.nodes)):
            if peer != node.number:
                self._link(node, self._card(node.number, peer))

    def _link(self, a: Node, b: Node) -> None:
        """A link comes up between two that are on, in both directions."""
        for one, other in ((a, b), (b, a)):
            if one.core is not None and other.core is not None and self._card(other.number, one.number) is one:
                self._heard[one, other] = self._boots[other]
                one.core.linked(self.places.peer_of[other.number])
                self._guarded(one, lambda one=one: one.drain(self._now(one.number)))  # type: ignore[misc]

    def _arm(self, node: Node) -> None:
        core = node.core
        if core is None:
            return
        due = self.begin_ms + core.deadline_ms(self._now(node.number))
        if self._timers.get(node) == due:
            return
        self._timers[node] = due

        def fire() -> None:
            if self._timers.get(node) != due or node.core is None:
                return
            self._timers.pop(node)
            core = node.core

            def tick() -> None:
                core.tick(self._now(node.number))
                node.drain(self._now(node.number))

            self._guarded(node, tick)

        self._at(due, fire)

    # ---- the workload: readings of every slot, and what homes want

    def _signed(self, name: str, intent: Intent | Reading, seed: bytes, nonce: int) -> bytes:
        return transaction_bytes(
            intent,
            chain_id=self.genesis.chain_id,
            sender=self.scheme.public(seed),
            nonce=nonce,
            valid_until_height=0 if isinstance(intent, Reading) else 5_000,
            sign=lambda message: self.scheme.sign(seed, message),
        )

    def _read(self, slot: int) -> None:
        for device in self.genesis.devices:
            seq, previous, imported, exported = self._feeds.get(device.name, (0, ZERO_HASH, 0, 0))
            pool = device.role == Role.POOL
            imported += 0 if pool or device.role == Role.GENERATOR else self.rng.randrange(900)
            exported += 0 if pool else self.rng.randrange(700)
            reading = Reading(device.name, previous, slot, 0, imported, exported, 0 if pool else None, 0)
            keeper = next((i for i, home in enumerate(self.homes) if home.name == device.name), 0)
            raw = self._signed(device.name, reading, self.street.seed(f"{device.name} meter"), seq + 1)
            self._outbox.append(Wanted(keeper, raw, seq + 1, device.name))
            self._feeds[device.name] = (seq + 1, hashlib.sha256(raw).digest(), imported, exported)

    def _wish(self) -> None:
        number = self.rng.randrange(len(self.homes))
        home = self.homes[number].name
        seed = self.street.seed(f"{home} owner")
        nonce = self._nonces[home] = self._nonces.get(home, 0) + 1
        seats = self.faults.churn and self.rng.random() < 0.5
        intent = self.street.wish_for_seats(self.rng) if seats else self.street.wish(self.rng)
        rival = b""
        if self.rng.random() < 0.2:
            other = Transfer(self.genesis.accounts[self.homes[0].name], "CASH", self.rng.randrange(1, 10**6))
            rival = self._signed(home, other, seed, nonce)
        self._outbox.append(Wanted(number, self._signed(home, intent, seed, nonce), nonce, "", rival))

    def _resubmit(self) -> None:
        """Every home hands its node what that node does not know to be final; a rival goes to the node of a neighbor."""
        for wanted in self._outbox:
            if not self._is_final(wanted.home, wanted):
                self._submit(wanted.home, wanted.raw)
            neighbor = (wanted.home + 1) % len(self.nodes)
            if wanted.rival and not self._is_final(neighbor, wanted):
                self._submit(neighbor, wanted.rival)
        self._at(self.now_ms + 400, self._resubmit)

    def _submit(self, home: int, raw: bytes) -> None:
        node = self.nodes[home]
        if node.core is not None:
            self._guarded(node, lambda: node.submit(raw, self._now(home)))

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
        if not self._healed:
            size = self.rng.randint(0, len(self.nodes) - 1)
            self.cut_off = set(self.rng.sample(range(len(self.nodes)), size))
            self._later(500, 6_000, self._split)

    def _clog(self) -> None:
        """Links stop one after another and come back in another order."""
        if self._healed:
            return
        links = [(a, b) for a in range(len(self.nodes)) for b in range(len(self.nodes)) if a != b]
        for link in self.rng.sample(links, self.rng.randint(0, len(links) // 2)):
            self._later(0, 1_000, lambda link=link: self.clogged.add(link))  # type: ignore[misc]
            self._later(1_000, 5_000, lambda link=link: self.clogged.discard(link))  # type: ignore[misc]
        self._later(5_000, 9_000, self._clog)

    def _blackout(self) -> None:
        for number, node in enumerate(self.nodes):
            if number in self.honest and node.core is not None:
                node.cut()
                self._later(100, 3_000, lambda node=node: self._boot(node))  # type: ignore[misc]

    def _leave(self, numbers: list[int]) -> None:
        """Some are off for long and come back shortly before the world heals."""
        for number in numbers:
            node = self.nodes[number]
            self._later(2_500, 6_000, node.cut)
            self._later(FAULTS_MS - 3_000, FAULTS_MS, lambda node=node: self._boot(node))  # type: ignore[misc]

    def _take_image(self, number: int) -> None:
        """Copy a member's card while it runs; later it is put back."""
        image = self.nodes[number].disk.copy()

        def put_back() -> None:
            node = self.nodes[number]
            if node.core is not None:
                node.cut()
            node.disk = image
            self.checker.put_back(number, 0, image.height)
            self._later(200, 3_000, lambda: self._boot(node))

        self._later(1, 8_000, put_back)

    def _clone(self, number: int) -> None:
        """Copy a member's card and switch the copy on beside it: both redial, and each takes the other's links in turn."""
        twin = self._node(Node, number, 1, 0)
        twin.disk = self.nodes[number].disk.copy()
        self.twins[number] = twin
        self.checker.put_back(number, 1, twin.disk.height)
        for peer in range(len(self.nodes)):
            self._front[peer, number] = self.rng.randrange(2)
        self._boot(twin)
        self._relink(number)

    def _relink(self, number: int) -> None:
        if self._healed:
            return
        for peer in range(len(self.nodes)):
            if peer != number and self.rng.random() < 0.5:
                self._front[peer, number] ^= 1
                self._link(self._card(peer, number), self._card(number, peer))
        self._later(RELINK_MS // 2, RELINK_MS, lambda: self._relink(number))

    def _jump(self) -> None:
        """A clock that is wrong becomes wrong in another way."""
        for number in sorted(self.odd_clocks):
            self.skews[number] = self.rng.choice((*YEARS_MS, -HOUR_MS, HOUR_MS, 0))

    def _heal(self) -> None:
        self._healed = True
        self.cut_off, self.clogged, self._front = set(), set(), {}
        for twin in self.twins.values():
            if twin.core is not None:
                twin.cut()
        for node in self.nodes:
            node.calm()
            self._boot(node)
        for a in range(len(self.nodes)):
            for b in range(a):
                self._link(self.nodes[a], self.nodes[b])

    # ---- the run

    def _plan(self) -> None:
        """Everything that happens at a time of its own."""
        for node in self.nodes:
            self._later(0, 2_000, lambda node=node: self._boot(node))  # type: ignore[misc]
        for slot in range(SLOTS):
            end_ms = ORIGIN_MS + (slot + 1) * SLOT_MS
            self._at(end_ms + self.rng.randint(0, 300), lambda slot=slot: self._read(slot))  # type: ignore[misc]
        for _ in range(15 if not self.faults.churn else 30):
            self._later(3_000, FAULTS_MS, self._wish)
        if self.faults.partitions:
            self._later(4_000, 4_000, self._split)
        if self.faults.clogs:
            self._later(4_000, 6_000, self._clog)
        if self.faults.blackout:
            self._later(5_000, FAULTS_MS, self._blackout)
        if self.faults.away:
            self._leave(self.rng.sample(sorted(self.honest), self.faults.away))
        if self.odd_clocks:
            self._later(6_000, FAULTS_MS, self._jump)
        for place, number in enumerate(sorted(self.copied)):
            image = self._take_image if place < self.faults.restored else self._clone
            self._later(3_000, FAULTS_MS - 9_000, lambda number=number, image=image: image(number))  # type: ignore[misc]
        self._at(self.now_ms + 400, self._resubmit)
        self._at(self.begin_ms + FAULTS_MS, self._heal)

    def run(self) -> str:
        """The trace hash. Raises `Violation`."""
        self._plan()
        end_ms = self.begin_ms + FAULTS_MS + HEAL_MS
        while self._queue and self._queue[0][0] <= end_ms:
            self._step()
            if self._healed and self.now_ms % 5 == 0 and self._settled():
                break
        if not self._settled():
            raise Violation(
                f"check 12: not everything is final {HEAL_MS // 1000} s after the faults ended: {self._where()}"
            )
        for wanted in self._outbox:
            if wanted.rival:
                self.checker.settles(wanted.raw, wanted.rival)
        for number in sorted(self.honest - self.copied):
            core = self.nodes[number].core
            if core is not None and core.silent:
                raise Violation(f"check 17: member {number} is honest, has one card, and was made to stop voting")
        for number in sorted(self.honest):
            self.checker.has_bounds(number, self.nodes[number])
        if len(self.honest) == len(self.nodes):
            self._stay_quiet()
        self._trace.update(b"".join(self.checker.history))
        return self._trace.hexdigest()

    def _step(self) -> None:
        self.now_ms, _, action = heapq.heappop(self._queue)
        skews = [skew for number, skew in enumerate(self.skews) if number not in self.odd_clocks]
        self.checker.latest_ms = self.now_ms + max(skews)
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

    def _views(self) -> list[tuple[int, int]]:
        return [(n.core.machine.epoch, n.core.machine.view) for n in self.nodes if n.core is not None]

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
            if core is None:
                where = "off"
            else:
                seat = "silent" if core.silent else "follows" if core.machine.me is None else "votes"
                where = f"{seat}, height {core.chain.final.header.height} epoch {core.machine.epoch} view {core.machine.view}"
            parts.append(f"{number}: {where}{'' if number in self.honest else ' (villain)'}")
        return "; ".join(parts)
