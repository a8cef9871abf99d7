"""Chains of final blocks for what is kept on disk: long ones made quickly, with readings, trades, closed slots and certificates."""

from __future__ import annotations

from collections.abc import Iterator

from energo_simulator.street import fake_scheme
from ledger.base.genesis import Genesis
from ledger.base.intents import Commit, PlaceOrder, SetLimits, Transfer
from ledger.base.votes import Certificate, Kind, Vote, certificate_of
from ledger.simplex.effects import Committed
from ledger.state.transition import Executed
from tests.ledger.streets import MATCHERS, SLOT_MS, Ledger, street

SCHEME = fake_scheme()


def quick_street(homes: int, slot_count: int = 0) -> Genesis:
    """A street whose keys and signatures cost nothing."""
    return street(homes, scheme=SCHEME, slot_count=slot_count)


class Chain(Ledger):
    """Blocks that become final as they are made."""

    def __init__(self, genesis: Genesis) -> None:
        super().__init__(genesis, MATCHERS, SCHEME)
        self.genesis = genesis
        self.registers: dict[str, list[int]] = {}
        self.slot = 0

    def finalize(self, time_ms: int, *, certified: bool = True) -> Committed:
        """The next block, with everything that is queued, as a node hands it to its store."""
        bottom = self.tip.state
        executed = self.step(time_ms)
        changes = bottom.settle(executed.state)
        final = Executed(executed.header, executed.hash, bottom, executed.peaks, executed.events, executed.block)
        self.tip = self.blocks[-1] = final
        return Committed(final, changes, self._certificate(final) if certified else None)

    def _certificate(self, executed: Executed) -> Certificate:
        members = range(len(self.genesis.committee))
        view = executed.header.view
        return certificate_of(
            [
                Vote(Kind.FINALIZE, 0, view, executed.hash, executed.header.time_ms, signer, bytes(64))
                for signer in members
            ]
        )

    def read_all(self) -> None:
        """A reading of every device for the slot that ended."""
        for device in self.genesis.devices:
            total = self.registers.setdefault(device.name, [0, 0])
            number = sum(device.name.encode()) + self.slot
            stored = None
            if device.name == "pool":
                total[0] += 100
                stored = 90 * (self.slot + 1)
            else:
                total[0] += 200 + number % 97
                total[1] += 400 + number % 89
            self.read(device.name, self.slot, total[0], total[1], stored_wh=stored)

    def day(self, slots: int, *, blocks: int = 4, trades: int = 2) -> Iterator[Committed]:
        """So many slots of a street's life, each with some blocks, all devices' readings and some trades."""
        homes = [home.name for home in self.genesis.homes]
        if self.slot == 0:
            for place, home in enumerate(homes):
                self.ask(home, Commit("pool", 100))
                self.ask(home, SetLimits(20_000 + place, 15_000 - place))
            yield self.finalize(self.end_of(-1) + 1)
        for _ in range(slots):
            ended = self.end_of(self.slot)
            for trade in range(trades):
                seller, buyer = homes[(self.slot + trade) % len(homes)], homes[(self.slot + trade + 1) % len(homes)]
                self.ask(seller, Transfer(self.genesis.accounts[buyer], "CASH", 5 + trade))
                self.ask(seller, PlaceOrder("WATT:pool", 1, 20_000, 3))
                self.ask(buyer, PlaceOrder("WATT:pool", 0, 20_000, 3))
            self.read_all()
            for block in range(blocks):
                yield self.finalize(ended + 10 + block * (SLOT_MS // (blocks + 2)), certified=block != 1)
            self.slot += 1
