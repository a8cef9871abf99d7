"""Chains that are final by certificates that hold, through epochs, made quickly; and neighbors on a network of virtual time."""

from __future__ import annotations

import heapq
from collections.abc import Callable

from energo_simulator.disk import Disk
from energo_simulator.street import fake_scheme
from ledger.base.crypto import Scheme
from ledger.base.genesis import Genesis, Membership
from ledger.base.intents import Intent, Park, Ready, Transfer, decode_transaction, transaction_bytes
from ledger.base.recovery import Recovery
from ledger.base.votes import Certificate, Committee, Kind, Vote, block_time_ms, certificate_of, vote_message
from ledger.gossip import frames
from ledger.node.catchup import Arrived
from ledger.node.core import Archive, Core
from ledger.simplex.effects import Committed, Now
from ledger.simplex.elector import leader_of
from ledger.state.blocks import Header
from ledger.state.chain import Chain
from ledger.state.origin import genesis_block
from ledger.state.rules.membership import committee_hash, committee_of, epoch_of
from ledger.state.transition import Context, Draft, Executed, build_block
from tests.ledger.streets import MATCHERS, seed_of, street

SCHEME = fake_scheme()
EPOCH_BLOCKS_MIN = 8
DELAY_MS = 5


def far_street(homes: int = 5) -> Genesis:
    """A street whose keys and signatures cost nothing, with short epochs."""
    return street(homes, scheme=SCHEME)._replace(membership=Membership(epoch_blocks_min=EPOCH_BLOCKS_MIN))


class FinalChain:
    """Blocks that become final one after another; `commits` are told as they are made, because states go on changing."""

    def __init__(self, genesis: Genesis, *told: Callable[[Committed], None], scheme: Scheme = SCHEME) -> None:
        self.genesis, self.told, self.scheme = genesis, told, scheme
        self.context = Context(genesis, MATCHERS, scheme)
        self.chain = Chain(self.context, genesis_block(genesis))
        self.certificate: Certificate | None = None
        self.hashes: list[bytes] = []
        self._seeds = {
            self.scheme.public(seed_of(f"{home.name} node")): seed_of(f"{home.name} node") for home in genesis.homes
        }
        self._nonces: dict[str, int] = {}
        self._waiting: list[bytes] = []

    @property
    def height(self) -> int:
        return self.chain.final.header.height

    def ask(self, home: str, intent: Intent) -> bytes:
        self._nonces[home] = nonce = self._nonces.get(home, 0) + 1
        return self._sign(intent, f"{home} owner", nonce, self.height + 50)

    def nonce(self, home: str) -> int:
        """The last number that a home used."""
        return self._nonces.get(home, 0)

    def _sign(self, intent: Intent | Ready, key: str, nonce: int, valid_until: int) -> bytes:
        raw = transaction_bytes(
            intent,
            chain_id=self.genesis.chain_id,
            sender=self.scheme.public(seed_of(key)),
            nonce=nonce,
            valid_until_height=valid_until,
            sign=lambda message: self.scheme.sign(seed_of(key), message),
        )
        self._waiting.append(raw)
        return raw

    def finalization(self, executed: Executed, committee: Committee | None = None) -> Certificate:
        """By a quorum of the epoch that the block is of."""
        committee = committee or committee_of(self.chain.final.state)
        header, votes = executed.header, []
        for seat in range(committee.quorum):
            place = (header.epoch, header.view, executed.hash, header.time_ms + 40, seat)
            message = vote_message(self.genesis.chain_id, Kind.FINALIZE, *place)
            votes.append(Vote(Kind.FINALIZE, *place, self.scheme.sign(self._seeds[committee.keys[seat]], message)))
        return certificate_of(votes)

    def build(self, parent: Executed, certificate: Certificate | None, raws: list[bytes]) -> Executed:
        """A block in the epoch of the chain's last final block."""
        committee, header = committee_of(self.chain.final.state), parent.header
        view = header.view + 1 if header.epoch == committee.epoch else 1
        draft = Draft(
            committee.epoch,
            view,
            leader_of(view, committee.epoch, len(committee)),
            block_time_ms(header.time_ms, certificate, committee),
            b"" if certificate is None else certificate.encoded,
        )
        return build_block(self.context, parent, [decode_transaction(raw) for raw in raws], draft, bytes_max=60_000)

    def step(self, *, certified: bool = True, by_child: bool = False) -> Committed:
        """One more block. `by_child`: where it seals, a block above it that is discarded afterwards made it final."""
        final = self.chain.final
        executed = self.build(
            final, self.certificate if epoch_of(final.state).number == final.header.epoch else None, self._waiting
        )
        assert executed.block is not None
        carried = set(executed.block.transactions)
        self._waiting = [raw for raw in self._waiting if raw not in carried]
        certificate = self.finalization(executed)
        seals = epoch_of(executed.state).number != executed.header.epoch
        self.chain.add(executed)
        tail: tuple[Header, ...] = ()
        proof: Certificate | None = certificate if certified or seals else None
        if seals and by_child:
            child = self.build(executed, certificate, [])
            proof, tail = self.finalization(child), (child.header,)
        committed = Committed(self.chain.final, self.chain.finalize(executed), proof, tail)
        committed = committed._replace(executed=self.chain.final)
        self.certificate = certificate
        self.hashes.append(executed.hash)
        for tell in self.told:
            tell(committed)
        return committed

    def grow(self, blocks: int) -> None:
        """So many blocks, each with a payment; of some only a later one's finalization is kept."""
        homes = self.genesis.homes
        for at in range(blocks):
            home = homes[at % len(homes)].name
            self.ask(home, Transfer(self.genesis.accounts[homes[0].name], "CASH", 5))
            self.step(certified=at % 7 != 3 or at == blocks - 1)

    def seal(self, home: str, parked: int, *, by_child: bool = False) -> None:
        """A home gives its seat up or takes it back; the committee that follows says that it is ready."""
        self.ask(home, Park(parked))
        self.step()
        epoch = epoch_of(self.chain.final.state)
        assert epoch.coming, "another committee is to come"
        for each in self.genesis.homes:
            if self.scheme.public(seed_of(f"{each.name} node")) in epoch.coming:
                self._sign(Ready(committee_hash(epoch.coming)), f"{each.name} node", epoch.number + 1, 0)
        self.step(by_child=by_child)
        assert epoch_of(self.chain.final.state).number == epoch.number + 1, "the epoch is sealed"

    def recover(self, *homes: str) -> None:
        """A quorum is lost for good: all households agree that the nodes of these homes go on."""
        final, scheme = self.chain.final, self.scheme
        keys = tuple(sorted(scheme.public(seed_of(f"{home} node")) for home in homes))
        agreed = Recovery(epoch_of(final.state).number + 1, self.height, final.hash, keys, ())
        message = agreed.message(self.genesis.chain_id)
        seeds = [seed_of(f"{home.name} owner") for home in self.genesis.homes]
        agreed = agreed._replace(signatures=tuple(sorted((scheme.public(s), scheme.sign(s, message)) for s in seeds)))
        committee = Committee(agreed.epoch, keys)
        time_ms = block_time_ms(final.header.time_ms, None, committee)
        leader = leader_of(1, agreed.epoch, len(committee))
        draft = Draft(agreed.epoch, 1, leader, time_ms, recovery=agreed.encoded())
        executed = build_block(self.context, final, [], draft, bytes_max=60_000)
        certificate = self.finalization(executed, committee)
        self.chain.add(executed)
        changes = self.chain.finalize(executed)
        self.certificate = certificate
        self.hashes.append(executed.hash)
        for tell in self.told:
            tell(Committed(self.chain.final, changes, certificate))


Tamper = Callable[["Net", int, int, frames.AnyMessage], list[frames.AnyMessage]]


class Neighbor:
    """A core with its archive, driven as the process drives it, but that it never signs."""

    def __init__(self, net: Net, name: str, archive: Disk, **options: object) -> None:
        self.net, self.name, self.disk = net, name, archive
        final, certificate = archive.final()
        self.core = Core(
            net.genesis,
            MATCHERS,
            archive,
            final,
            node_key=SCHEME.public(seed_of(f"{name} node")),
            final_certificate=certificate,
            now=net.now,
            scheme=SCHEME,
            **options,  # type: ignore[arg-type]
        )
        self.peer = next(number for number, peer in self.core.directory.peers.items() if peer.name == name)
        self.works: list[int] = []
        self.notes: list[str] = []
        self.tamper: Tamper | None = None

    def commit(self, commits: list[Committed]) -> None:
        for committed in commits:
            self.disk.commit(committed)

    def install(self, arrived: Arrived) -> tuple[Executed, Certificate | None]:
        return self.disk.install(arrived)

    def repair(self, height: int, raw: bytes) -> None:
        raise AssertionError("nothing is damaged here")

    def drain(self) -> None:
        while work := self.core.take_work():
            self.notes += work.notes
            for to, message in work.sends:
                for target in sorted(self.net.links[self.peer]) if to is None else (to,):
                    self.net.post(self, target, message)
            if work.commits:
                self.works.append(len(work.commits))
                self.commit(work.commits)
            for height, raw in work.repairs:
                self.repair(height, raw)
            if work.snapshot is not None:
                self.core.begin_at(*self.install(work.snapshot), self.net.now)


class Net:
    """Neighbors and the frames between them, in virtual time."""

    def __init__(self, genesis: Genesis, wall_ms: int) -> None:
        self.genesis, self.wall_ms = genesis, wall_ms
        self.mono_ms = 0
        self.nodes: dict[int, Neighbor] = {}
        self.links: dict[int, set[int]] = {}
        self.sent: list[tuple[int, int, int, frames.AnyMessage]] = []
        self.lost: Callable[[int, int, frames.AnyMessage], bool] = lambda sender, to, message: False
        self._queue: list[tuple[int, int, int, int, bytes]] = []

    @property
    def now(self) -> Now:
        return Now(self.mono_ms, self.wall_ms + self.mono_ms)

    def add(self, node: Neighbor) -> Neighbor:
        """Switch a node on and link it with everybody."""
        self.nodes[node.peer] = node
        self.links[node.peer] = set()
        for other in [peer for peer in self.nodes if peer != node.peer]:
            self.link(node.peer, other)
        return node

    def link(self, a: int, b: int) -> None:
        for one, other in ((a, b), (b, a)):
            self.links[one].add(other)
            self.nodes[one].core.linked(other)
        for one in (a, b):
            self.nodes[one].drain()

    def unlink(self, a: int, b: int) -> None:
        for one, other in ((a, b), (b, a)):
            self.links[one].discard(other)
            self.nodes[one].core.unlinked(other)
        self._queue = [each for each in self._queue if {each[2], each[3]} != {a, b}]
        heapq.heapify(self._queue)

    def post(self, sender: Neighbor, to: int, message: frames.AnyMessage) -> None:
        if to not in self.links[sender.peer]:
            return
        messages = [message] if sender.tamper is None else sender.tamper(self, sender.peer, to, message)
        for each in messages:
            self.sent.append((self.mono_ms, sender.peer, to, each))
            if not self.lost(sender.peer, to, each):
                heapq.heappush(
                    self._queue, (self.mono_ms + DELAY_MS, len(self.sent), sender.peer, to, frames.encode(each))
                )

    def run(self, for_ms: int, until: Callable[[], bool] = lambda: False) -> bool:
        """Until something holds; whether it does."""
        end_ms = self.mono_ms + for_ms
        while not until():
            due = {peer: node.core.deadline_ms(self.now) for peer, node in self.nodes.items()}
            next_ms = min([*due.values(), *(each[0] for each in self._queue[:1])])
            if next_ms > end_ms:
                self.mono_ms = end_ms
                return until()
            self.mono_ms = max(self.mono_ms, next_ms)
            while self._queue and self._queue[0][0] <= self.mono_ms:
                _, _, sender, to, frame = heapq.heappop(self._queue)
                node = self.nodes[to]
                node.core.receive(sender, frames.decode(frame[frames.LENGTH_BYTES :]), self.now)
                node.drain()
            for peer, node in self.nodes.items():
                if due[peer] <= self.mono_ms:
                    node.core.tick(self.now)
                    node.drain()
        return True


__all__ = ["Archive", "FinalChain", "Neighbor", "Net", "far_street"]
