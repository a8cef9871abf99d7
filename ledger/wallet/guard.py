"""The rule that refuses two votes in one view. Pure: what it decides is recorded durably before a signature leaves.

It knows nothing of the chain. Votes may only move forward: a view below the highest one voted in gets nothing new, the same
vote gets the same signature again, and in one view there is at most one NOTARIZE, one proposal, one FINALIZE, no FINALIZE with a
NULLIFY, and no NOTARIZE after a NULLIFY. (What tmkms and CometBFT's private validator do for height, round and step.)
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

from ledger.base import codec
from ledger.base.crypto import HASH_BYTES, SIGNATURE_BYTES
from ledger.base.errors import DecodeError, SignerRefused
from ledger.base.votes import PROPOSE, Kind

NOTARIZE, NULLIFY, FINALIZE = Kind.NOTARIZE, Kind.NULLIFY, Kind.FINALIZE
_WORDS: Final[dict[int, str]] = {PROPOSE: "PROPOSE", NOTARIZE: "NOTARIZE", NULLIFY: "NULLIFY", FINALIZE: "FINALIZE"}
VIEWS_KEPT: Final = 64  # views whose signatures can be repeated after a restart


class Signed(NamedTuple):
    """One signature that was given: what it says, and its bytes."""

    kind: int
    epoch: int
    view: int
    block_hash: bytes
    time_ms: int
    signature: bytes

    def encoded(self) -> bytes:
        """Canonical bytes for the journal."""
        return codec.encode(tuple(self))


def decode_signed(raw: bytes) -> Signed:
    """A record of the journal. Raises `DecodeError`."""
    kind, epoch, view, block_hash, time_ms, signature = codec.want(
        codec.decode(raw, bytes_max=512), int, int, int, bytes, int, bytes
    )
    if kind not in _WORDS or len(block_hash) != HASH_BYTES or len(signature) != SIGNATURE_BYTES:
        raise DecodeError("a record of the vote journal that is none")
    return Signed(kind, epoch, view, block_hash, time_ms, signature)


class Guard:
    """What was signed, and what may be."""

    def __init__(self, records: Iterable[Signed] = ()) -> None:
        self._given: dict[tuple[int, int], dict[int, Signed]] = {}
        self._highest: tuple[int, int] = (0, 0)
        for record in records:
            self.note(record)

    def check(self, kind: int, epoch: int, view: int, block_hash: bytes) -> Signed | None:
        """The signature given before for exactly this; None if a new one may be given. Raises `SignerRefused`."""
        given = self._given.get((epoch, view), {})
        before = given.get(kind)
        if before is not None:
            if before.block_hash == block_hash:
                return before
            raise SignerRefused(
                "double_sign", f"already signed {_WORDS[kind]} for another block in view {view}; refusing a second"
            )
        if (epoch, view) < self._highest:
            raise SignerRefused("old_view", f"view {view} is behind view {self._highest[1]}, in which this key voted")
        if kind == FINALIZE and NULLIFY in given:
            raise SignerRefused("double_sign", f"already nullified view {view}; refusing to finalize in it")
        if kind == NULLIFY and FINALIZE in given:
            raise SignerRefused("double_sign", f"already finalized in view {view}; refusing to nullify it")
        if kind == NOTARIZE and NULLIFY in given:
            raise SignerRefused("double_sign", f"already nullified view {view}; refusing to notarize in it")
        return None

    def knows(self, kind: int, epoch: int, view: int, block_hash: bytes) -> bool:
        """Whether this key's record has a vote that came from outside, or is too young to tell of it.

        False means that the card is a copy, or was put back: what else it signed is not known either.
        """
        given = self._given.get((epoch, view))
        if given is None:
            return bool(self._given) and (epoch, view) < min(self._given)
        return kind in given and given[kind].block_hash == block_hash

    def note(self, record: Signed) -> None:
        """Remember a signature that is durable now."""
        point = (record.epoch, record.view)
        self._given.setdefault(point, {})[record.kind] = record
        self._highest = max(self._highest, point)
        for old in [p for p in self._given if p[0] < record.epoch or p[1] + VIEWS_KEPT < self._highest[1]]:
            del self._given[old]

    def live(self) -> list[Signed]:
        """What the journal must still hold."""
        return [record for _, given in sorted(self._given.items()) for _, record in sorted(given.items())]
