"""The ledger's file over a disk that loses power or fails: nothing acknowledged is lost, nothing is half there.

`python -m pytest tests/ledger/node/test_disk_faults.py` with ENERGO_POWER_CUTS=10000 cuts as often as one has time for.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from ledger.base.crypto import sha256
from ledger.base.errors import DiskFailed
from ledger.base.genesis import Genesis
from ledger.node.store import DamagedStore, Store
from ledger.simplex.effects import Committed
from tests.ledger.chains import Chain, quick_street

from .disks import Medium, PowerCut, TestDisk

FOLDER = Path("card")
CUTS = int(os.environ.get("ENERGO_POWER_CUTS", "200"))
FULL, IO_WRITE, IO_SYNC, READ_ONLY = 13, 778, 1034, 8


@cache
def made(slots: int) -> tuple[Genesis, list[Committed]]:
    """A street and its final blocks."""
    genesis = quick_street(2)
    return genesis, list(Chain(genesis).day(slots))


def check(store: Store, blocks: list[Committed], acknowledged: int) -> int:
    """The height, if everything up to it is there, whole, and it is not below what was acknowledged."""
    final, certificate = store.final()
    height = final.header.height
    assert acknowledged <= height <= acknowledged + 1
    if height:
        last = blocks[height - 1]
        assert (final.hash, certificate) == (last.executed.hash, last.certificate)
        assert final.state.root() == last.executed.header.state_root
    for at in range(1, height + 1):
        block = store.body(at)
        assert block == blocks[at - 1].executed.block
        assert tuple(store.events(at)) == blocks[at - 1].executed.events
        assert block is not None
        assert all(store.height_of_transaction(sha256(raw)) == at for raw in block.transactions)
    return height


def cut_power(cuts_wanted: int, opened: Callable[[Store], None] = lambda store: None) -> None:
    """So many power cuts, up to four in the life of a card, each followed by a look at what is there."""
    genesis, blocks = made(10)
    chance = random.Random(5)
    cuts = 0
    while cuts < cuts_wanted:
        medium = Medium(cuts)
        disk = TestDisk(medium)
        acknowledged = 0
        for _ in range(4):
            medium.cut_at = medium.operations + chance.randrange(1, 200)
            try:
                store = Store.open(FOLDER, genesis, opener=disk)
                opened(store)
                store.check_quickly()
                acknowledged = check(store, blocks, acknowledged)
                for committed in blocks[acknowledged:]:
                    store.commit(committed)
                    acknowledged += 1
                    if chance.random() < 0.1:
                        store._database.checkpoint()
                store.close()
            except PowerCut:
                cuts += 1
            disk.let_go()
            medium.cut()
        store = Store.open(FOLDER, genesis, opener=disk)
        store.check_quickly()
        check(store, blocks, acknowledged)
        store.close()


def test_no_power_cut_takes_what_was_acknowledged() -> None:
    cut_power(CUTS)


@pytest.mark.parametrize("setting", ["synchronous = NORMAL", "synchronous = OFF"])
def test_with_fewer_syncs_the_same_cuts_are_noticed(setting: str) -> None:
    with pytest.raises((AssertionError, DamagedStore)):
        cut_power(40, lambda store: store._database.run(f"PRAGMA {setting}"))


@pytest.mark.parametrize("for_good", [False, True], ids=["once", "for good"])
@pytest.mark.parametrize("error", [FULL, IO_WRITE, IO_SYNC, READ_ONLY])
def test_a_disk_that_fails_at_any_write_leaves_the_last_block_whole(error: int, for_good: bool) -> None:
    genesis, blocks = made(2)
    at = failed = 0
    while True:
        at += 1
        medium = Medium(at)
        disk = TestDisk(medium)
        medium.fail_at, medium.fails_on, medium.error = at, for_good, error
        acknowledged = 0
        try:
            store = Store.open(FOLDER, genesis, opener=disk)
            store.check_quickly()
            for committed in blocks:
                store.commit(committed)
                acknowledged += 1
            store.close()
        except DiskFailed:
            failed += 1
        clean = medium.operations < at
        medium.fail_at = None
        disk.let_go()
        again = Store.open(FOLDER, genesis, opener=disk)
        again.check_quickly()
        height = check(again, blocks, acknowledged)
        for committed in blocks[height:]:  # and it goes on once the disk does
            again.commit(committed)
        again.close()
        if clean:
            break
    assert failed > 40
