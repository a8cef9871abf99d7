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
from ledger.base.errors import ConfigError, DecodeError, DiskFailed, EnergoError
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
    fresh, file = folder / f"{FILE_NAME}.new", folder / FILE_NAME
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with open(fresh, "wb") as out:
            out.write(encode(pointer))
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
            pointer = decode(found.read(FILE_BYTES_MAX + 1))
    except FileNotFoundError:
        return None
    except (OSError, DecodeError) as error:
        raise ConfigError(f"{file}: cannot be used ({error}); join anew with a new code") from None
    if pointer.chain_id != chain_id:
        raise ConfigError(f"{file}: is of another street than the genesis; join anew with a new code")
    return pointer


def encode(pointer: Pointer) -> bytes:
    """What stands in the file."""
    rest = [part.hex() if isinstance(part, bytes) else part for part in pointer]
    return json.dumps(dict(zip(Pointer._fields, rest, strict=True))).encode()


def decode(raw: bytes) -> Pointer:
    """Raises `DecodeError`."""
    try:
        if len(raw) > FILE_BYTES_MAX:
            raise ValueError(f"more than {FILE_BYTES_MAX} bytes")
        document = json.loads(raw)
        if not isinstance(document, dict) or document.keys() != set(Pointer._fields):
            raise ValueError("a chain id, a height and two hashes were expected")
        height = document["height"]
        hashes = {name: bytes.fromhex(document[name]) for name in Pointer._fields if name != "height"}
        if type(height) is not int or not 0 <= height <= AMOUNT_MAX:
            raise ValueError("the height is no number of a block")
        if any(len(each) != HASH_BYTES for each in hashes.values()):
            raise ValueError(f"a hash has {HASH_BYTES} bytes")
    except (ValueError, TypeError, RecursionError) as error:
        raise DecodeError(f"not a pointer to a block: {error}") from None
    return Pointer(height=height, **hashes)
