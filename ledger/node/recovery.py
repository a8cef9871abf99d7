"""Opening a data folder's ledger without a person: a damaged file is set aside, and what is sound begins in its place.

Damaged is what SQLite or our own checks find so, what the last run condemned, and what the card cannot read twice. It is renamed
to `ledger.damaged-N` (the newest two are kept, for whoever wants to look). The new file begins at the newest sound snapshot
of the folder, or at the genesis; the neighbors have the rest. A disk that is full is waited for by starting again.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

from ledger.base.errors import DecodeError, DiskFailed
from ledger.base.genesis import Genesis

from .database import MACHINE, DamagedStore, Opener
from .snapshots import Snapshots
from .store import FILE_NAME, KEPT, Retention, Store

ASIDE: Final = "ledger.damaged-"
ASIDE_KEPT: Final = 2  # each may be as large as the ledger
_PARTS: Final = ("", "-wal", "-shm", "-condemned")


def open_sound(
    folder: Path,
    genesis: Genesis,
    *,
    note: Callable[[str], None],
    retention: Retention = KEPT,
    opener: Opener = MACHINE,
) -> Store:
    """A store that has been checked. Raises `DiskFailed`, and `ConfigError` for the file of another street or version."""
    try:
        return _checked(folder, genesis, retention, opener)
    except DamagedStore as error:
        why = str(error)
    except DiskFailed as error:
        if "IOERR_READ" not in str(error):
            raise
        why = f"{error} (a part of the card cannot be read)"
    name = set_aside(folder)
    note(f"{why}. It is kept as {name} and a new one is begun")
    return _begin(folder, genesis, note, retention, opener)


def _checked(folder: Path, genesis: Genesis, retention: Retention, opener: Opener) -> Store:
    path = folder / FILE_NAME
    if opener.is_condemned(path):
        raise DamagedStore(f"{path}: was found damaged while it was in use")
    if _is_emptied(path):
        raise DamagedStore(f"{path}: is empty")
    store = Store.open(folder, genesis, retention=retention, opener=opener)
    try:
        store.check_quickly()
    except BaseException:
        store.close()
        raise
    return store


def _is_emptied(path: Path) -> bool:
    """Whether there is a file with nothing in it: cut off, or its making was; either way there is no ledger in it."""
    log = path.with_name(f"{path.name}-wal")
    return path.exists() and not path.stat().st_size and not (log.exists() and log.stat().st_size)


def _begin(folder: Path, genesis: Genesis, note: Callable[[str], None], retention: Retention, opener: Opener) -> Store:
    """A new file, from a snapshot of our own where there is one."""
    store = Store.open(folder, genesis, retention=retention, opener=opener)
    newest = Snapshots(folder).newest()
    if newest is not None:
        manifest, rows = newest
        try:
            if manifest.header.chain_prefix != genesis.chain_id[: len(manifest.header.chain_prefix)]:
                raise DecodeError("a snapshot of another street")
            store.install_snapshot(manifest, rows)
            note(f"the ledger begins at this home's own snapshot of block {manifest.height}")
        except DecodeError as error:
            note(f"this home's snapshot of block {manifest.height} is not used: {error}")
    store.check_quickly()
    return store


def set_aside(folder: Path) -> str:
    """Rename the ledger's files; the new name. Raises `DiskFailed`."""
    try:
        names = [path.name.removeprefix(ASIDE) for path in folder.glob(f"{ASIDE}*")]
        taken = sorted(int(name) for name in names if name.isdecimal() and len(name) < 10)
        number = taken[-1] + 1 if taken else 1
        for part in _PARTS:
            path = folder / f"{FILE_NAME}{part}"
            if path.exists():
                path.replace(folder / f"{ASIDE}{number}{part}")
        for old in taken[: len(taken) + 1 - ASIDE_KEPT] if len(taken) >= ASIDE_KEPT else []:
            for part in _PARTS:
                (folder / f"{ASIDE}{old}{part}").unlink(missing_ok=True)
    except OSError as error:
        raise DiskFailed(
            f"{folder}: the damaged ledger cannot be set aside ({error.strerror}); check the card"
        ) from None
    return f"{ASIDE}{number}"
