"""Seeded damage to everything that a home keeps on disk, and the judgement of what comes of it.

A folder with a ledger (closed in order, or cut off with its log beside it), the node's journal and the wallet's votes gets
one damage: flipped bits, sectors zeroed, filled, swapped or put back as they once were, a cut or stretched end. Then it is
opened and everything is read. Good is: the same answers as before; those of an earlier final block, where the end of the log
was hit or so much was put back that the file is whole as it once was (neighbors have the rest, the signer its own record);
an error that says damage; a ledger set aside; a block that is missing until it is repaired, and the same answers after. Bad
is any other answer and any other exception.
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from ledger.base.crypto import sha256
from ledger.base.errors import DiskFailed
from ledger.base.genesis import Genesis
from ledger.node import journal
from ledger.node.journal import Journal
from ledger.node.recovery import ASIDE, open_sound
from ledger.node.store import FILE_NAME, DamagedStore, Store
from ledger.state.blocks import Block
from ledger.wallet.keystore import Amnesia, VoteJournal
from tests.ledger.chains import Chain, quick_street

SECTOR: Final = 512
SLOTS: Final = 12
VOTES: Final = 40
VOTE_FILE: Final = "votes.journal"
TARGETS: Final = (FILE_NAME, f"{FILE_NAME}-wal", journal.FILE_NAME, VOTE_FILE)
UNHARMED, LOST_END, SET_ASIDE, REPAIRED, REFUSED = (
    "the same answers",
    "an earlier final block",
    "set aside",
    "repaired from a neighbor",
    "clean stop",
)


class Wrong(AssertionError):
    """An answer that was never true, or damage that nothing noticed."""


@dataclass
class Street:
    """A folder in both states, an older file of the same ledger, and what the truth is."""

    genesis: Genesis
    closed: Path
    cut: Path
    older: Path
    raws: dict[int, bytes] = field(default_factory=dict)
    truth: dict[str, Any] = field(default_factory=dict)
    tips: dict[int, bytes] = field(default_factory=dict)
    records: list[bytes] = field(default_factory=list)
    votes: list[bytes] = field(default_factory=list)


def build(root: Path) -> Street:
    """Some sixty blocks, twice."""
    genesis = quick_street(3)
    found = Street(genesis, root / "closed", root / "cut", root / "older")
    writing = root / "writing"
    writing.mkdir(parents=True)
    store = Store.open(writing, genesis)
    chain = Chain(genesis)
    for number, committed in enumerate(chain.day(SLOTS), 1):
        store.commit(committed)
        block = committed.executed.block
        assert block is not None
        found.raws[number], found.tips[number] = block.encoded, committed.executed.hash
        if number == 40:
            store._database.checkpoint()
            found.older.mkdir()
            shutil.copy(writing / FILE_NAME, found.older / FILE_NAME)
        if number == 20:
            store.write_snapshot(b"proof")
    found.tips[0] = genesis.chain_id
    log = Journal(writing, lambda text: None)
    found.records = [bytes([number]) * (90 + number) for number in range(1, 60)]
    for at in range(0, len(found.records), 3):
        log.append(found.records[at : at + 3])
    log.close()
    wallet = VoteJournal(writing)
    for view in range(1, VOTES + 1):
        wallet.sign(1, 0, view, bytes([view]) * 32, 1_000 + view, bytes(32), b"message %d" % view)
    found.votes = [each.encoded() for each in wallet.guard.live()]
    wallet.close()
    shutil.copytree(writing, found.cut)
    store.close()
    shutil.copytree(writing, found.closed)
    sound = Store.open(found.closed, genesis)
    found.truth = answers(sound, sound.height(), _plainly)
    sound.close()
    return found


Ask = Callable[[Callable[..., Any], Any], Any]


def answers(store: Store, height: int, ask: Ask) -> dict[str, Any]:
    """Everything that can be asked of a store up to a height; `ask` calls each question with its argument."""
    found: dict[str, Any] = {}
    for at in range(1, height + 1):
        found[f"header {at}"] = ask(store.header, at)
        found[f"events {at}"] = ask(store.events, at)
        found[f"range {at}"] = ask(store.range, at)
        block = found[f"body {at}"] = ask(store.body, at)
        if isinstance(block, Block):
            found[f"by hash {at}"] = ask(store.block, block.hash)
            for raw in block.transactions:
                found[f"transaction {sha256(raw).hex()}"] = ask(store.height_of_transaction, sha256(raw))
    found["unknown"] = ask(store.height_of_transaction, bytes(32))
    for each in (store.readings, store.slots, store.trades):
        found[each.__name__] = ask(each, 10_000)
    return found


def _plainly(read: Callable[..., Any], argument: Any) -> Any:
    return read(argument)


def damage(chance: random.Random, raw: bytes, older: bytes) -> tuple[str, bytes]:
    """(what was done, the bytes after it)."""
    changed = bytearray(raw)
    sectors = max(1, len(raw) // SECTOR)
    kind = chance.choice(
        ["bit", "bit", "bits", "zero", "fill", "swap", "stale", "cut", "cut at sector", "longer", "byte"]
    )
    at = chance.randrange(sectors) * SECTOR
    if kind == "bit":
        changed[chance.randrange(len(raw))] ^= 1 << chance.randrange(8)
    elif kind == "bits":
        for _ in range(chance.randrange(2, 40)):
            changed[chance.randrange(len(raw))] ^= 1 << chance.randrange(8)
    elif kind == "byte":
        changed[chance.randrange(len(raw))] = chance.randrange(256)
    elif kind in ("zero", "fill", "swap", "stale"):
        length = chance.choice([SECTOR, SECTOR, 4_096, 4_096, 16_384])
        at = at // length * length
        end = min(len(raw), at + length)
        if kind == "zero":
            changed[at:end] = bytes(end - at)
        elif kind == "fill":
            changed[at:end] = chance.randbytes(end - at)
        elif kind == "swap":
            other = chance.randrange(sectors) * SECTOR // length * length
            piece = raw[other : other + end - at]
            changed[at : at + len(piece)] = piece
        else:
            piece = older[at:end]
            changed[at : at + len(piece)] = piece
    elif kind == "cut":
        del changed[chance.randrange(len(raw)) :]
    elif kind == "cut at sector":
        del changed[at:]
    else:
        changed += chance.randbytes(chance.randrange(1, 9_000))
    return kind, bytes(changed)


def one_case(street: Street, seed: int, folder: Path) -> tuple[str, str]:
    """(where and how, what came of it) of one damage. Raises `Wrong`."""
    chance = random.Random(seed)
    target = chance.choices(TARGETS, [6, 3, 1, 1])[0]
    source = street.cut if target.endswith("-wal") or chance.random() < 0.3 else street.closed
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(source, folder)
    path = folder / target
    older = (street.older / FILE_NAME).read_bytes() if target == FILE_NAME else b""
    kind, changed = damage(chance, path.read_bytes(), older)
    path.write_bytes(changed)
    where = f"{target}, {kind}"
    try:
        if target == VOTE_FILE:
            return where, judge_votes(street, folder)
        if target == journal.FILE_NAME:
            return where, judge_journal(street, folder)
        return where, judge_ledger(street, folder, may_end_earlier=source == street.cut or kind == "stale")
    except Wrong as wrong:
        raise Wrong(f"seed {seed}: {where}: {wrong}") from None
    except Exception as error:
        raise Wrong(f"seed {seed}: {where}: {type(error).__name__}: {error}") from error


def judge_votes(street: Street, folder: Path) -> str:
    """The wallet votes with its whole record, or never again."""
    try:
        wallet = VoteJournal(folder)
    except Amnesia:
        return REFUSED
    live = [each.encoded() for each in wallet.guard.live()]
    wallet.close()
    if live == street.votes:
        return UNHARMED
    raise Wrong(f"{len(live)} of {len(street.votes)} votes are known")


def judge_journal(street: Street, folder: Path) -> str:
    """The node's journal gives what it held, without the end that was cut, or is set aside."""
    log = Journal(folder, lambda text: None)
    records = log.records
    log.append([b"new"])
    log.close()
    if (folder / "consensus.damaged").exists():
        return SET_ASIDE if not records else _wrong("a journal was set aside and used")
    if records != street.records[: len(records)]:
        raise Wrong("records that were never written")
    return UNHARMED if len(records) == len(street.records) else LOST_END


def _wrong(text: str) -> str:
    raise Wrong(text)


def judge_ledger(street: Street, folder: Path, *, may_end_earlier: bool) -> str:
    """See the module."""
    notes: list[str] = []
    try:
        store = open_sound(folder, street.genesis, note=notes.append)
    except DiskFailed as error:
        raise Wrong(f"taken for a disk that fails: {error}") from None
    try:
        height = store.height()
        final, _ = store.final()
        if final.hash != street.tips.get(height):
            raise Wrong("another last block")
        if any(path.name.startswith(ASIDE) for path in folder.iterdir()):
            if not notes or height not in (0, 20):
                raise Wrong("set aside without a word, or not begun anew")
            return SET_ASIDE
        return _compare(street, store, height, may_end_earlier)
    finally:
        store.close()


def _compare(street: Street, store: Store, height: int, may_end_earlier: bool) -> str:
    best = max(street.tips)
    if height != best and not may_end_earlier:
        raise Wrong("final blocks are gone without a word")
    truth = street.truth if height == best else {}
    stopped = False

    def ask(read: Callable[..., Any], argument: Any) -> Any:
        nonlocal stopped
        try:
            return read(argument)
        except DamagedStore as error:
            if store._database._opener.is_condemned(store.path):
                stopped = True
            return error

    given = answers(store, height, ask)
    if stopped:
        return REFUSED  # the node ends, and the next start sets the file aside
    for key, value in given.items():
        if isinstance(value, DamagedStore) or not truth or value == truth.get(key):
            continue
        if key.startswith("range") and _is_shorter(value, truth[key]):
            continue
        if key.startswith("by hash") and value is None:
            continue
        raise Wrong(f"{key} is {value!r:.200} and was {truth.get(key)!r:.200}")
    if not truth:
        _check_bodies(street, store, height)
    harmed = any(isinstance(value, DamagedStore) for value in given.values())
    if harmed and not store.damaged():
        raise Wrong("damage was met and is not remembered")
    if not harmed:
        return UNHARMED if height == best else LOST_END
    for at in store.damaged():
        if store.repair(at, street.raws[at + 1 if at < best else at - 1]):
            raise Wrong(f"another block was taken for block {at}")
        if not store.repair(at, street.raws[at]):
            raise Wrong(f"block {at} could not be repaired")
    if store.damaged():
        raise Wrong("damage remains after the repair")
    lost = {at for at in range(1, height + 1) if truth and store.events(at) != truth[f"events {at}"]}
    if any(store.events(at) for at in lost):
        raise Wrong("events that never were")
    for key, value in answers(store, height, _plainly).items():
        of_events = key in ("slots", "trades") or key.startswith("events")
        if truth and value != truth[key] and not (lost and of_events) and not key.startswith("range"):
            raise Wrong(f"{key} after the repair is {value!r:.200} and was {truth[key]!r:.200}")
    return REPAIRED


def _check_bodies(street: Street, store: Store, height: int) -> None:
    for at in range(1, height + 1):
        block = store.body(at)
        if block is None or block.encoded != street.raws[at]:
            raise Wrong(f"block {at} is another one")


def _is_shorter(value: Any, whole: Any) -> bool:
    """Whether a range gives less than it could, but nothing else."""
    if value is None:
        return True
    blocks: tuple[bytes, ...] = whole.blocks
    return bool(value.blocks == blocks[: len(value.blocks)]) or bool(blocks == value.blocks[: len(blocks)])
