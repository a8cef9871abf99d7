"""Who is who among the nodes, as the last final block has it. Pure.

A peer is named by the number of its home's account, which never changes; its keys and its seat may, from block to block.
"""

from __future__ import annotations

from typing import NamedTuple

from ledger.state.rules import membership
from ledger.state.state import State
from ledger.state.tables import ACCOUNT, Status


class Peer(NamedTuple):
    """A home's node."""

    name: str
    account: bytes
    node_key: bytes
    transport_key: bytes
    status: Status


class Directory:
    """Homes that may have links, by number. `update` follows the state; the answers change with it."""

    def __init__(self, state: State) -> None:
        self.peers: dict[int, Peer] = {}
        self._by_transport: dict[bytes, int] = {}
        self._by_node: dict[bytes, int] = {}
        self.update(state)

    def update(self, state: State) -> None:
        """Read the members anew."""
        self.peers = {
            number: Peer(
                state.need(ACCOUNT, (account,)).name,
                account,
                member.node_key,
                member.transport_key,
                Status(member.status),
            )
            for number, account, member in membership.members(state)
        }
        self._by_transport = {peer.transport_key: number for number, peer in self.peers.items()}
        self._by_node = {peer.node_key: number for number, peer in self.peers.items()}

    def peer_of(self, transport_key: bytes) -> int | None:
        """The number of the node that proves its links with this key."""
        return self._by_transport.get(transport_key)

    def peer_of_node(self, node_key: bytes) -> int | None:
        """The number of the node that votes with this key."""
        return self._by_node.get(node_key)

    def name_of(self, peer: int) -> str:
        """Its home's name."""
        known = self.peers.get(peer)
        return f"home number {peer}" if known is None else known.name
