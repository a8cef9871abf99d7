"""Where neighbors may be: what the configuration says, what was heard, and what was proved. Kept on disk as a hint.

An address becomes a member's only when that member has proved itself there. The list on disk is bounded and replaced whole; one
that cannot be read or written is a note, never an end: the neighbors are found anew.
"""

from __future__ import annotations

import ipaddress
import json
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ledger.base.crypto import KEY_BYTES
from ledger.base.errors import DecodeError

ADDRESSES_MAX: Final = 256  # remembered; anybody on the LAN can announce anything
KEPT_MAX: Final = 64  # on disk: two for every member of the largest committee
PER_MEMBER_MAX: Final = 4  # proved addresses of one home: IPv4 and IPv6, of before and after a new router
FILE_BYTES_MAX: Final = 64 * 1024
HOPELESS: Final = 8  # attempts at an address that nobody has proved himself at; discovery will tell of it again
HOST_CHARS_MAX: Final = 64  # an IPv6 address and the name of an interface


@dataclass
class Address:
    """One place to dial. `key` is whose it proved to be; `fixed` ones are never forgotten."""

    host: str
    port: int
    key: bytes | None = None
    fixed: bool = False
    failures: int = 0


def is_dialable(host: str, port: int) -> bool:
    """Whether it is the number of one machine's address (with %interface where link-local) and a port."""
    if not 0 < port < 65_536 or len(host) > HOST_CHARS_MAX:
        return False
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    scoped = isinstance(address, ipaddress.IPv6Address) and address.scope_id is not None
    if isinstance(address, ipaddress.IPv6Address) and address.is_link_local != scoped:
        return False
    return not (address.is_multicast or address.is_unspecified)


def is_for_others(host: str) -> bool:
    """Whether an address means the same on another machine."""
    address = ipaddress.ip_address(host)
    return not (address.is_link_local or address.is_loopback)


def decode_cache(raw: bytes) -> list[Address]:
    """The addresses of a list on disk. Raises `DecodeError` for anything but what `encode_cache` writes."""
    if len(raw) > FILE_BYTES_MAX:
        raise DecodeError(f"{len(raw)} bytes where at most {FILE_BYTES_MAX} are allowed")
    try:
        rows = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise DecodeError(f"not JSON: {error}") from None
    if not isinstance(rows, list) or len(rows) > KEPT_MAX:
        raise DecodeError(f"a list of at most {KEPT_MAX} addresses was expected")
    return [_address(row) for row in rows]


def _address(row: Any) -> Address:
    match row:
        case {"host": str(host), "port": int(port), "key": str(key), **rest} if not rest and is_dialable(host, port):
            try:
                raw = bytes.fromhex(key)
            except ValueError:
                raw = b""
            if len(raw) == KEY_BYTES:
                return Address(host, port, raw)
    raise DecodeError("an address has a host that can be dialed, a port and a key of 64 hexadecimal digits")


def encode_cache(addresses: Iterable[Address]) -> bytes:
    """The list on disk: of the addresses that were proved, as many as are kept."""
    rows = [{"host": at.host, "port": at.port, "key": at.key.hex()} for at in addresses if at.key is not None]
    return json.dumps(rows[-KEPT_MAX:], indent=0).encode()


class AddressBook:
    """All addresses of this run, and the file that the next one begins with (None: no file)."""

    def __init__(self, file: Path | None, note: Callable[[str], None]) -> None:
        self._file, self._note = file, note
        self._addresses: dict[tuple[str, int], Address] = {}
        self._written = b""

    def __iter__(self) -> Iterator[Address]:
        return iter(list(self._addresses.values()))

    def __contains__(self, at: Address) -> bool:
        return self._addresses.get((at.host, at.port)) is at

    def load(self) -> list[Address]:
        """What an earlier run knew; empty, with a note where the file cannot be used."""
        if self._file is None:
            return []
        try:
            with open(self._file, "rb") as file:
                raw = file.read(FILE_BYTES_MAX + 1)
            found = decode_cache(raw)
        except FileNotFoundError:
            return []
        except (OSError, DecodeError) as error:
            words = error.strerror if isinstance(error, OSError) else str(error)
            self._note(f"{self._file}: the known addresses cannot be used ({words}); neighbors are looked for anew")
            return []
        for at in found:
            self._addresses.setdefault((at.host, at.port), at)
        self._written = raw
        return found

    def add(self, host: str, port: int, *, fixed: bool = False) -> Address | None:
        """A place that is new; None where it is known, cannot be dialed, or there is no room for a hint."""
        if (host, port) in self._addresses or not (fixed or is_dialable(host, port)):
            return None
        if len(self._addresses) >= ADDRESSES_MAX:
            return None
        at = self._addresses[host, port] = Address(host, port, fixed=fixed)
        return at

    def forget(self, at: Address) -> None:
        """It leads nowhere."""
        self._addresses.pop((at.host, at.port), None)

    def failed(self, at: Address) -> bool:
        """An attempt failed; True where it was the last one: a hint that never led to anybody."""
        at.failures += 1
        if at.fixed or at.key is not None or at.failures < HOPELESS:
            return False
        self.forget(at)
        return True

    def proved(self, at: Address, key: bytes) -> None:
        """A member was reached there."""
        at.failures = 0
        if at.key != key or next(reversed(self._addresses.values())) is not at:
            at.key = key
            if self._addresses.pop((at.host, at.port), None) is None and len(self._addresses) >= ADDRESSES_MAX:
                return
            self._addresses[at.host, at.port] = at  # the latest last
        older = [each for each in self._addresses.values() if each.key == key and not each.fixed]
        for each in older[:-PER_MEMBER_MAX]:
            self.forget(each)
        self._write()

    def _write(self) -> None:
        raw = encode_cache(sorted(self._addresses.values(), key=lambda at: (at.key or b"", at.host, at.port)))
        if self._file is None or raw == self._written:
            return
        self._written = raw  # also where it fails: a full card is not asked again until there is news
        fresh = self._file.with_name(f"{self._file.name}.new")
        try:
            fresh.write_bytes(raw)
            os.replace(fresh, self._file)
        except OSError as error:
            self._note(f"{self._file}: the known addresses cannot be kept ({error.strerror}); this harms nothing")
