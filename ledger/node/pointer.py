"""The one final block that a newcomer was told to trust when it joined, kept in the node's data folder.

A ledger that a newcomer has not watched grow can be forged by those who once had a quorum's keys. So a member names a recent final
block over the authenticated tunnel of the joining, and this node refuses every ledger that has another one there, for good.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Final, NamedTuple

from ledger.base.crypto import HASH_BYTES
from ledger.base.errors import ConfigError, DiskFailed, EnergoError
from ledger.base.limits import AMOUNT_MAX

FILE_NAME: Final = "trusted.json"
FILE_BYTES_MAX: Final = 1_024


class Contradiction(EnergoError):
    """A ledger that is not the one which the newcomer was told to trust."""

    code = "contradiction"


class Pointer(NamedTuple):
    """A final block: which street's, where, which, and the hash of the committee after it."""

    chain_id: bytes
    height: int
    block_hash: bytes
    committee_hash: bytes

    def check(self, height: int, block_hash: bytes, committee_hash: bytes) -> None:
        """Whether a final block of another node may be one of this ledger. Raises `Contradiction`."""
        if height == self.height and (block_hash, committee_hash) != (self.block_hash, self.committee_hash):
            raise Contradiction(
                f"block {height} is {block_hash.hex()[:16]}, and the member who invited this home named "
                f"{self.block_hash.hex()[:16]}: one of the two ledgers is forged; ask your neighbors, and join anew"
            )


def save(folder: Path, pointer: Pointer) -> None:
    """Replace the file whole. Raises `DiskFailed`."""
    rest = [part.hex() if isinstance(part, bytes) else part for part in pointer]
    fresh, file = folder / f"{FILE_NAME}.new", folder / FILE_NAME
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with open(fresh, "w", encoding="ascii") as out:
            json.dump(dict(zip(Pointer._fields, rest, strict=True)), out)
            out.flush()
            os.fsync(out.fileno())
        os.replace(fresh, file)
    except OSError as error:
        raise DiskFailed(f"{file}: cannot be written ({error.strerror}); free space or check rights") from None


def load(folder: Path, chain_id: bytes) -> Pointer | None:
    """The pointer of this node, None where it needs none. Raises `ConfigError` where it is damaged or of another street."""
    file = folder / FILE_NAME
    try:
        with open(file, "rb") as found:
            pointer = _parse(json.loads(found.read(FILE_BYTES_MAX)))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(f"{file}: cannot be used ({error}); join anew with a new code") from None
    if pointer.chain_id != chain_id:
        raise ConfigError(f"{file}: is of another street than the genesis; join anew with a new code")
    return pointer


def _parse(document: object) -> Pointer:
    """Raises `ValueError`."""
    match document:
        case {
            "chain_id": str(chain),
            "height": int(height),
            "block_hash": str(block),
            "committee_hash": str(committee),
        }:
            pointer = Pointer(bytes.fromhex(chain), height, bytes.fromhex(block), bytes.fromhex(committee))
            hashes = (pointer.chain_id, pointer.block_hash, pointer.committee_hash)
            if 0 <= height <= AMOUNT_MAX and all(len(each) == HASH_BYTES for each in hashes):
                return pointer
    raise ValueError("a chain id, a height and two hashes were expected")
