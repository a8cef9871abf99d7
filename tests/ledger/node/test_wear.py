"""What a day of a street of 25 homes writes to a home's card, counted where it is written: at most 100 MB (gate G8)."""

from __future__ import annotations

from pathlib import Path

from ledger.node.journal import FILE_NAME
from ledger.node.store import Store
from ledger.wallet.guard import Signed
from ledger.wallet.journal import DurableLog, Files
from tests.ledger.chains import Chain, quick_street

from .disks import Medium, TestDisk

BUDGET_BYTES = 100_000_000
PAGE_BYTES = 4_096
SLOTS = 96
HEARTBEATS = 144  # one every ten minutes
JOURNAL_BYTES_MAX = 1024 * 1024
VOTES_BYTES_MAX = 256 * 1024


class Counted(Files):
    """Counts what a card writes for each write that is synced: whole pages."""

    def __init__(self) -> None:
        self.bytes = 0

    def write(self, file: int, data: bytes, at: int) -> int:
        taken = super().write(file, data, at)
        self.bytes += ((at + taken - 1) // PAGE_BYTES - at // PAGE_BYTES + 1) * PAGE_BYTES
        return taken


def test_a_day_of_25_homes_is_within_the_budget(tmp_path: Path) -> None:
    genesis = quick_street(25)
    medium = Medium()
    store = Store.open(Path("card"), genesis, opener=TestDisk(medium))
    files = Counted()
    journal = DurableLog(tmp_path / FILE_NAME, files)
    votes = DurableLog(tmp_path / "votes", files, witnessed=True)
    chain = Chain(genesis)
    blocks = 0
    day = [*chain.day(SLOTS, trades=8), *(chain.finalize(chain.end_of(SLOTS) + at * 100) for at in range(HEARTBEATS))]
    for committed in day:
        block, certificate = committed.executed.block, committed.certificate
        assert block is not None
        proof = b"c" * 2_000 if certificate is None else certificate.encoded
        vote = Signed(1, 0, block.view, block.hash, block.header.time_ms, bytes(64)).encoded()
        journal.append([block.encoded, vote])  # body and NOTARIZE, the notarization and FINALIZE, the finalization
        journal.append([proof, vote])
        journal.append([proof])
        votes.append([vote])
        votes.append([vote])
        store.commit(committed)
        blocks += 1
        if journal.size > JOURNAL_BYTES_MAX:
            journal.rewrite([proof])
        if votes.size > VOTES_BYTES_MAX:
            votes.rewrite([vote] * 64)
    store.close()
    assert blocks > SLOTS * 4 + HEARTBEATS
    assert medium.card_bytes + files.bytes < BUDGET_BYTES
    assert medium.card_bytes + files.bytes > 1_000_000, "something was counted"
