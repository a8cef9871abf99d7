"""Twins: a member's key that runs twice, honestly each time, under every way to part five processes in two, round after round.

After Bano and others, "Twins: BFT Systems Made Robust" (OPODIS 2021): two correct copies of one key equivocate, withhold and vote
on both sides of a view without a line of code that lies. Each process gets a transaction of its own each round, so the copies
propose different blocks. After the rounds everybody hears everybody, and the three others must agree, have kept every rule of
theirs (the checker of the worlds watches them) and make what waits final.
"""

from __future__ import annotations

import argparse
import heapq
import random
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import product
from typing import Final

from ledger.base.intents import Transfer, transaction_bytes
from ledger.base.votes import Vote
from ledger.simplex.effects import Now

from .checker import Checker, Violation
from .node import MATCHERS, Node, Places, Post
from .street import ORIGIN_MS, Street, fake_scheme

MEMBERS: Final = 4
PROCESSES: Final = 5  # the last has the key of the twin
SIDES: Final = 2 ** (PROCESSES - 1)  # process 0 is always on the near side: the other half are the same partitions
ROUND_MS: Final = 1_000  # a view that gets nowhere is nullified within 3 D = 900 ms
DELAY_MS: Final = 10
BEGIN_MS: Final = ORIGIN_MS - 9_000
VOTES_MS: Final = 3_500  # a node that has just started listens for 10 D before it votes
HEAL_MS: Final = 12_000

Rounds = tuple[int, ...]  # of each round, which processes are on the far side, as bits


class Twin(Node):
    """One of two cards with a key; nobody tells it of the other."""

    def _check_own(self, vote: Vote) -> None:
        return


class Scene:
    """Five processes in rounds. `run` raises `Violation`."""

    def __init__(self, street: Street, twin: int, rounds: Rounds) -> None:
        self.street, self.twin, self.rounds = street, twin, rounds
        genesis = street.genesis
        self.homes = genesis.homes
        numbers = {name: number for number, name in enumerate(genesis.accounts)}
        peer_of = {place: numbers[home.name] for place, home in enumerate(self.homes)}
        places = Places(peer_of, {peer: place for place, peer in peer_of.items()})
        self.scheme = fake_scheme()
        self.place = (*range(MEMBERS), twin)
        self.checker = Checker(genesis, self.scheme, set(range(MEMBERS)) - {twin}, MATCHERS)
        self.now_ms = BEGIN_MS
        self._queue: list[tuple[int, int, Callable[[], None]]] = []
        self._order = 0
        self._due: dict[int, int] = {}
        self.nodes = [
            (Twin if place == twin else Node)(
                place,
                genesis,
                self.scheme,
                street.seed(f"{self.homes[place].name} node"),
                self.checker,
                self._poster(process),
                random.Random(place),  # one boot id for both twins
                0,
                places,
            )
            for process, place in enumerate(self.place)
        ]

    def _at(self, time_ms: int, action: Callable[[], None]) -> None:
        self._order += 1
        heapq.heappush(self._queue, (time_ms, self._order, action))

    def _now(self) -> Now:
        return Now(self.now_ms - BEGIN_MS, self.now_ms)

    def _together(self, one: int, other: int) -> bool:
        number = (self.now_ms - BEGIN_MS - VOTES_MS) // ROUND_MS
        far = self.rounds[number] if 0 <= number < len(self.rounds) else 0
        return bool(far >> one & 1) == bool(far >> other & 1)

    def _poster(self, process: int) -> Post:
        def post(sender: int, to: int | None, frame: bytes) -> None:
            for target in range(PROCESSES):
                wanted = to is None or self.place[target] == to
                if wanted and self.place[target] != sender and self._together(process, target):
                    self._at(self.now_ms + DELAY_MS, lambda target=target: self._receive(target, sender, frame))  # type: ignore[misc]

        return post

    def _receive(self, process: int, place: int, frame: bytes) -> None:
        self.nodes[process].receive(place, frame, self._now())
        self._arm(process)

    def _arm(self, process: int) -> None:
        core = self.nodes[process].core
        assert core is not None, "nobody is switched off here"
        due = BEGIN_MS + core.deadline_ms(self._now())
        if self._due.get(process) == due:
            return
        self._due[process] = due

        def fire() -> None:
            if self._due.get(process) != due:
                return
            del self._due[process]
            core.tick(self._now())
            self.nodes[process].drain(self._now())
            self._arm(process)

        self._at(max(due, self.now_ms), fire)

    def _pay(self, number: int) -> None:
        """Everybody wants something of his own; what twins want has one number."""
        payee = self.street.genesis.accounts[self.homes[0].name]
        for process, place in enumerate(self.place):
            seed = self.street.seed(f"{self.homes[place].name} owner")
            raw = transaction_bytes(
                Transfer(payee, "CASH", 1 + process),
                chain_id=self.street.genesis.chain_id,
                sender=self.scheme.public(seed),
                nonce=number + 1,
                valid_until_height=5_000,
                sign=lambda message, seed=seed: self.scheme.sign(seed, message),  # type: ignore[misc]
            )
            self.nodes[process].submit(raw, self._now())
            self._arm(process)

    def run(self) -> int:
        """How high the ledger is in the end."""
        for process, node in enumerate(self.nodes):
            node.boot(self._now())
            self._arm(process)
        for node in self.nodes:
            assert node.core is not None, "it was just started"
            for place in range(MEMBERS):
                if place != node.number:
                    node.core.linked(node.places.peer_of[place])
            node.drain(self._now())
        for number in range(len(self.rounds)):
            self._at(BEGIN_MS + VOTES_MS + number * ROUND_MS, lambda number=number: self._pay(number))  # type: ignore[misc]
        healed_ms = BEGIN_MS + VOTES_MS + len(self.rounds) * ROUND_MS
        while self._queue and self._queue[0][0] <= healed_ms + HEAL_MS:
            self.now_ms, _, action = heapq.heappop(self._queue)
            self.checker.latest_ms = self.now_ms
            action()
            if self.now_ms > healed_ms and self._settled():
                return max(self.checker.by_height, default=0)
        raise Violation(f"check 12: not everything is final {HEAL_MS // 1000} s after the last round: {self._where()}")

    def _honest(self) -> Iterator[Node]:
        return (node for node in self.nodes if node.number != self.twin)

    def _settled(self) -> bool:
        cores = [node.core for node in self._honest() if node.core is not None]
        return len({core.chain.final.hash for core in cores}) == 1 and not any(len(core.mempool) for core in cores)

    def _where(self) -> str:
        cores = [node.core for node in self.nodes if node.core is not None]
        return "; ".join(f"height {core.chain.final.header.height}, view {core.machine.view}" for core in cores)


def swapped(rounds: Rounds, twin: int) -> Rounds:
    """The same with the twins' parts changed, process 0 on the near side."""

    def swap(far: int) -> int:
        one, other = far >> twin & 1, far >> (PROCESSES - 1) & 1
        changed = far & ~(1 << twin | 1 << (PROCESSES - 1)) | other << twin | one << (PROCESSES - 1)
        return changed ^ (2**PROCESSES - 1) if changed & 1 else changed

    return tuple(swap(far) for far in rounds)


def scenes(count: int) -> Iterator[tuple[int, Rounds]]:
    """Every twin and every `count` rounds, those that differ in more than which twin is which."""
    for twin in range(MEMBERS):
        for sides in product(range(SIDES), repeat=count):
            rounds = tuple(far << 1 for far in sides)
            if rounds <= swapped(rounds, twin):
                yield twin, rounds


def play(chosen: Sequence[tuple[int, Rounds]], street: Street) -> int:
    """Run scenes; how many blocks became final in all. Raises `Violation`, which names the scene."""
    blocks = 0
    for twin, rounds in chosen:
        try:
            blocks += Scene(street, twin, rounds).run()
        except (Violation, AssertionError) as violation:
            raise Violation(f"{violation} (twin {twin}, rounds {','.join(map(str, rounds))})") from None
    return blocks


def the_street() -> Street:
    """Four homes, all with a seat."""
    return Street(1, MEMBERS, MEMBERS, fake_scheme())


def main() -> int:
    """`python -m energo_simulator.twins`: all scenes of some rounds, or a sample of them."""
    parser = argparse.ArgumentParser(prog="python -m energo_simulator.twins", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="how many partitions, one after another")
    parser.add_argument("--twin", type=int, choices=range(MEMBERS), help="only with this member's key twice")
    parser.add_argument("--sample", type=int, help="so many scenes, drawn, instead of all")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--replay", nargs=2, metavar=("TWIN", "ROUNDS"), help="one scene, as a violation names it")
    options = parser.parse_args()
    if options.replay:
        chosen = [(int(options.replay[0]), tuple(map(int, options.replay[1].split(","))))]
    elif options.sample:
        rng = random.Random(options.seed)
        chosen = [
            (rng.randrange(MEMBERS), tuple(rng.randrange(SIDES) << 1 for _ in range(options.rounds)))
            for _ in range(options.sample)
        ]
    else:
        chosen = [scene for scene in scenes(options.rounds) if options.twin in (None, scene[0])]
    begun_s = time.monotonic()
    try:
        blocks = play(chosen, the_street())
    except Violation as violation:
        print(violation, file=sys.stderr)
        return 1
    print(f"{len(chosen)} scenes of {options.rounds} rounds, {blocks} final blocks, {time.monotonic() - begun_s:.0f} s")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
