"""The tree of executed blocks above the last final one: what may still become final, each on a layer of its own."""

from __future__ import annotations

from ledger.base.errors import InvalidBlock

from .blocks import Block
from .state import Change
from .transition import Context, Executed, apply_block


class Chain:
    """Executed blocks by hash. `final` is the last final block; its state is the bottom layer."""

    def __init__(self, context: Context, final: Executed) -> None:
        self.context = context
        self.final = final
        self._branches: dict[bytes, Executed] = {final.hash: final}

    def get(self, block_hash: bytes) -> Executed | None:
        """An executed block that is the last final one or stands above it."""
        return self._branches.get(block_hash)

    def add(self, executed: Executed) -> None:
        """Keep a block that was just built here."""
        self._branches[executed.hash] = executed

    def execute(self, block: Block) -> Executed:
        """Execute a block whose parent is known. Raises `InvalidBlock`."""
        known = self._branches.get(block.hash)
        if known is not None:
            return known
        parent = self._branches.get(block.header.parent_hash)
        if parent is None:
            raise InvalidBlock("parent", block.header.parent_hash, "a block that was executed here")
        executed = apply_block(self.context, parent, block)
        self._branches[executed.hash] = executed
        return executed

    def path(self, block_hash: bytes) -> list[Executed] | None:
        """The blocks above the last final one up to this hash, oldest first; None where one is missing."""
        found: list[Executed] = []
        while block_hash != self.final.hash:
            executed = self._branches.get(block_hash)
            if executed is None:
                return None
            found.append(executed)
            block_hash = executed.header.parent_hash
        return found[::-1]

    def finalize(self, executed: Executed) -> list[Change]:
        """Make the child of the final block final: its rows sink into the bottom layer, its siblings are dropped."""
        assert executed.header.parent_hash == self.final.hash, "blocks become final one after another"
        bottom = self.final.state
        changes = bottom.settle(executed.state)
        self.final = Executed(executed.header, executed.hash, bottom, executed.peaks, executed.events, executed.block)
        kept = {executed.hash: self.final}
        for block_hash, branch in self._branches.items():  # parents stand before their children
            if branch.header.parent_hash in kept and block_hash != executed.hash:
                kept[block_hash] = branch
                if branch.header.parent_hash == executed.hash:
                    branch.state.rebase(bottom)
        self._branches = kept
        return changes
