"""A home's three keys on disk, each a file of its own with rights 0600: owner's (spends), node's (votes), transport's (links).

They are not encrypted yet: whoever holds the card holds the keys. Beside them stands the vote journal; `votes.begun`
says that a vote stands in it, so that a lost journal is noticed and this key never votes again.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ledger.base.crypto import ED25519
from ledger.base.errors import DecodeError, DiskFailed, EnergoError
from ledger.base.files import create_key, load_key, write_private

from .guard import Guard, Signed, decode_signed
from .journal import DamagedLog, DurableLog

NAMES = ("owner", "node", "transport")
_WAY_BACK = (
    "this key will not vote again. `energoctl member rotate` makes a new one, which has a seat from the next epoch on"
)
JOURNAL_BYTES_MAX = 1024 * 1024  # rewritten with what still matters beyond this


class Amnesia(EnergoError):
    """What this key signed before is not known, so it must not vote."""

    code = "amnesia"


@dataclass(frozen=True)
class Keys:
    """Seeds of 32 bytes."""

    owner: bytes
    node: bytes
    transport: bytes

    def public(self) -> tuple[bytes, bytes, bytes]:
        """Public keys in the same order."""
        return ED25519.public(self.owner), ED25519.public(self.node), ED25519.public(self.transport)


def create_keys(folder: Path) -> tuple[bytes, bytes, bytes]:
    """Make a home's keys; the public ones are returned. Raises `ConfigError` where there are some already."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    owner, node, transport = (create_key(folder / f"{name}.key") for name in NAMES)
    return owner, node, transport


def load_keys(folder: Path) -> Keys:
    """Raises `ConfigError`."""
    return Keys(*(load_key(folder / f"{name}.key") for name in NAMES))


def retire_node_key(folder: Path) -> None:
    """Put the node's key and its record of votes aside and make a new key. Raises `DiskFailed`."""
    number = 1 + max((int(p.suffix[1:]) for p in folder.glob("retired.*") if p.suffix[1:].isdigit()), default=0)
    aside = folder / f"retired.{number}"
    try:
        aside.mkdir(mode=0o700)
        for name in ("votes.journal", "votes.begun", "votes.forgotten", "node.key"):  # the key last: it says it is done
            if (folder / name).exists():
                (folder / name).replace(aside / name)
        create_key(folder / "node.key")
    except OSError as error:
        raise DiskFailed(f"{folder}: {error.strerror}; free space or check the card, then start again") from None


class VoteJournal:
    """The guard and its durable record."""

    def __init__(self, folder: Path) -> None:
        begun, journal, self._forgotten = folder / "votes.begun", folder / "votes.journal", folder / "votes.forgotten"
        self._begun = begun
        if self._forgotten.exists():
            raise Amnesia(f"{self._forgotten}: {self._forgotten.read_text().strip()}; {_WAY_BACK}")
        if begun.exists() and not journal.exists():
            raise Amnesia(f"{journal}: the record of this key's votes is gone; {_WAY_BACK}")
        try:
            self._log = DurableLog(journal, witnessed=True)
            if self._log.begun and begun.exists():
                self._log.close()
                raise DamagedLog("the record of this key's votes begins anew")
            self.guard = Guard(decode_signed(raw) for raw in self._log.records)
        except (DamagedLog, DecodeError) as error:
            raise Amnesia(f"{journal}: {error}; {_WAY_BACK}") from None
        if self._log.records:
            self._has_begun()

    def _has_begun(self) -> None:
        """From the first vote on a journal without one is a lost journal; before it, a wallet may start as often as it likes."""
        if not self._begun.exists():
            write_private(self._begun, "a vote stands in the journal beside this file\n")

    def forget(self, why: str) -> Amnesia:
        """This key signed what the record lacks: it never votes again, after a restart neither."""
        if not self._forgotten.exists():
            write_private(self._forgotten, f"{why}\n")
        self._log.close()
        return Amnesia(f"{self._forgotten}: {why}; {_WAY_BACK}")

    def sign(
        self, kind: int, epoch: int, view: int, block_hash: bytes, time_ms: int, seed: bytes, message: bytes
    ) -> tuple[bytes, int]:
        """(signature, the time it covers): recorded durably before it is released. Raises `SignerRefused`, `DiskFailed`."""
        given = self.guard.check(kind, epoch, view, block_hash)
        if given is None:
            given = Signed(kind, epoch, view, block_hash, time_ms, ED25519.sign(seed, message))
            self._log.append([given.encoded()])
            self._has_begun()
            self.guard.note(given)
            if self._log.size > JOURNAL_BYTES_MAX:
                self._log.rewrite(record.encoded() for record in self.guard.live())
        return given.signature, given.time_ms

    def close(self) -> None:
        """Close the journal."""
        self._log.close()
