"""What a node does for its disk beside its work: looks at a part of the ledger each hour, prunes in small steps.

Each step takes milliseconds and runs between the node's other events, so that only one thing writes at any time. Damaged blocks
stay in `Store.damaged` until neighbors have given them; damage of anything else ends the node, and its next start sets the
file aside. `Ballast` is a file that only takes room: when a disk is full it is let go, so that there is room to end in order.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from ledger.base.errors import DiskFailed
from ledger.base.votes import Certificate
from ledger.gossip.seals import TAIL_MAX, Proof
from ledger.simplex.effects import Committed
from ledger.state.blocks import Header
from ledger.state.events import EpochSealed
from ledger.state.transition import Executed

from .catchup import Arrived
from .store import Store

SCRUB_S: Final = 3_600.0
PRUNE_S: Final = 60.0  # a step of 64 blocks a minute is a hundred times what a street makes
PRUNE_MORE_S: Final = 0.5  # while there is more to do, as after a change of what is kept
SNAPSHOT_BLOCKS: Final = 10_000
BALLAST_NAME: Final = "ballast"


def commit(store: Store, commits: Sequence[Committed], snapshot_blocks: int = SNAPSHOT_BLOCKS) -> None:
    """Final blocks into the store, and a snapshot behind each that seals an epoch or whose height is a multiple of that number.

    So all homes have the same ones, and a neighbor can be given its pieces by several. Raises `DiskFailed`, `DamagedStore`.
    """
    begin = 0
    for place, committed in enumerate(commits):
        executed = committed.executed
        seals = any(isinstance(event, EpochSealed) for event in executed.events)
        if not seals and executed.header.height % snapshot_blocks:
            continue
        proof = _proof(commits, place)
        if proof is not None:
            store.commit_all(commits[begin : place + 1])
            store.write_snapshot(proof.encoded())
            begin = place + 1
    store.commit_all(commits[begin:])


def begin_at(store: Store, arrived: Arrived) -> tuple[Executed, Certificate | None]:
    """Replace the ledger by a snapshot, which this home can give from then on too; its block, as `Store.final` gives it.

    Raises `DecodeError` where it cannot be used, `DiskFailed`, `DamagedStore`.
    """
    final, certificate = store.install_snapshot(arrived.manifest, arrived.rows, arrived.seals)
    store.write_snapshot(arrived.manifest.proof)
    return final, certificate


def _proof(commits: Sequence[Committed], place: int) -> Proof | None:
    """What proves a block final: its own finalization, or that of a block above it, which is among the same commits."""
    header = commits[place].executed.header
    tail: list[Header] = []
    for above in commits[place : place + TAIL_MAX]:
        if above.executed.header.epoch != header.epoch:
            return None
        if above is not commits[place]:
            tail.append(above.executed.header)
        if above.certificate is not None:
            return Proof((*tail, *above.tail), above.certificate)
    return None


async def keep_up(store: Store, note: Callable[[str], None]) -> None:
    """Until canceled. Raises `DamagedStore`, `DiskFailed`."""
    loop = asyncio.get_running_loop()
    scrub_at = loop.time() + SCRUB_S
    known: set[int] = set()
    while True:
        more = store.prune()
        if loop.time() >= scrub_at:
            store.scrub()
            scrub_at = loop.time() + SCRUB_S
        fresh = set(store.damaged()) - known
        known = set(store.damaged())
        if fresh:
            note(f"{len(fresh)} blocks on disk are damaged, the newest {max(fresh)}; they are fetched from neighbors")
        await asyncio.sleep(PRUNE_MORE_S if more else PRUNE_S)


class Ballast:
    """Room on the card that is held for the day on which it is full; of 0 bytes: none."""

    def __init__(self, folder: Path, size: int) -> None:
        self.path, self.size = folder / BALLAST_NAME, size

    def hold(self) -> bool:
        """Take the room, if there is enough beside it; whether it is held. Raises nothing: a full disk is met elsewhere."""
        try:
            if not self.size:
                self.path.unlink(missing_ok=True)
                return False
            if self.path.exists() and self.path.stat().st_size == self.size:
                return True
            room = os.statvfs(self.path.parent)
            if room.f_bavail * room.f_frsize < 2 * self.size:
                return False
            with self.path.open("wb") as file:
                os.posix_fallocate(file.fileno(), 0, self.size)
        except OSError:
            self.free()
            return False
        return True

    def free(self) -> bool:
        """Give the room back; whether there was any."""
        try:
            self.path.unlink()
        except OSError:
            return False
        return True


def await_room(folder: Path, bytes_wanted: int) -> None:
    """Raises `DiskFailed` while a card has less room than what a start writes: the service is started again until it has."""
    try:
        room = os.statvfs(folder)
    except OSError as error:
        raise DiskFailed(f"{folder}: cannot be looked at ({error.strerror}); check the card") from None
    free = room.f_bavail * room.f_frsize
    if free < bytes_wanted:
        raise DiskFailed(
            f"{folder}: only {free // 1024} KiB are free and {bytes_wanted // 1024} are needed; free space, "
            "the node goes on by itself"
        )
