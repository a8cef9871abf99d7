"""The street's tree of buses: paths, their fees, and what a pool's flows leave of the capacities."""

from __future__ import annotations

from ledger.base.genesis import NO_CAPACITY
from ledger.base.units import Price, Wh
from matcher_c.settling import Edge

from ..state import State
from ..tables import BUS, BusRow


class Network:
    """The buses by position; position 0 is the root."""

    def __init__(self, state: State) -> None:
        self.buses: list[BusRow] = [row for _, row in state.scan(BUS)]
        self.pool_flow_wh: list[Wh] = [0] * len(self.buses)  # positive towards the root

    def ancestors(self, bus: int) -> list[int]:
        """The edges (named by their child bus) from a bus up to the root."""
        edges: list[int] = []
        while bus > 0:
            edges.append(bus)
            bus = self.buses[bus].parent
        return edges

    def fee_to_root(self, bus: int) -> Price:
        """Fees per Wh on the way to the public grid."""
        return sum(self.buses[edge].fee for edge in self.ancestors(bus))

    def carry(self, source: int, sink: int, energy_wh: Wh) -> Price:
        """Let energy flow from bus to bus, using capacity up before the clearing. The fees per Wh of that path."""
        up, down = self.ancestors(source), self.ancestors(sink)
        while up and down and up[-1] == down[-1]:
            up.pop()
            down.pop()
        for edge in up:
            self.pool_flow_wh[edge] += energy_wh
        for edge in down:
            self.pool_flow_wh[edge] -= energy_wh
        return sum(self.buses[edge].fee for edge in up + down)

    def remaining(self) -> tuple[Edge, ...]:
        """The buses for the clearing, with what is left of their capacities, which is never below 0."""
        return tuple(
            Edge(bus.parent, bus.fee, _left(bus.capacity_up_wh, flow), _left(bus.capacity_down_wh, -flow))
            for bus, flow in zip(self.buses, self.pool_flow_wh, strict=True)
        )

    def behind(self, bus: int) -> set[int]:
        """The buses of the subtree at `bus`, itself among them (for membership only)."""
        found = {bus}
        for position, row in enumerate(self.buses):  # parents stand before their children
            if row.parent in found:
                found.add(position)
        return found


def _left(capacity_wh: Wh, used_wh: Wh) -> Wh:
    return capacity_wh if capacity_wh == NO_CAPACITY else max(0, capacity_wh - max(0, used_wh))
