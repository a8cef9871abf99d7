"""What the two ends of a link say about the link itself: that they are there, and where others are.

PING and PONG carry a number that comes back. PEERS answers PEERS_REQUEST with addresses at which the sender reached members
itself: hints for a dialer, nothing more. `decode` is the door for such bytes: a value or `DecodeError`.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from ledger.base import codec
from ledger.base.codec import in_range, of_length, want, want_list
from ledger.base.crypto import KEY_BYTES
from ledger.base.errors import DecodeError
from ledger.base.limits import FRAME_BYTES_MAX

from .frames import LENGTH_BYTES

PING: Final = 1
PONG: Final = 2
PEERS_REQUEST: Final = 3
PEERS: Final = 4
KINDS: Final = frozenset((PING, PONG, PEERS_REQUEST, PEERS))

NUMBER_MAX: Final = 2**63 - 1
PEERS_MAX: Final = 64  # addresses in an answer: every member of the largest committee twice
HOST_BYTES_MAX: Final = 45  # the longest IPv6 address in text


class Ping(NamedTuple):
    """Are you there? `number` comes back in a `Pong`."""

    number: int


class Pong(NamedTuple):
    """I am here."""

    number: int


class PeersRequest(NamedTuple):
    """Where are the others?"""


class Known(NamedTuple):
    """A member's transport key and an address at which it was reached."""

    key: bytes
    host: str
    port: int


class Peers(NamedTuple):
    """Where others were reached."""

    known: tuple[Known, ...]


Presence = Ping | Pong | PeersRequest | Peers


def encode(message: Presence) -> bytes:
    """A whole frame."""
    match message:
        case Ping(number):
            kind, payload = PING, codec.encode((number,))
        case Pong(number):
            kind, payload = PONG, codec.encode((number,))
        case PeersRequest():
            kind, payload = PEERS_REQUEST, codec.encode(())
        case Peers(known):
            assert len(known) <= PEERS_MAX, "our own answers keep the bound that peers hold us to"
            kind, payload = PEERS, codec.encode(tuple(tuple(each) for each in known))
    return (len(payload) + 1).to_bytes(LENGTH_BYTES, "big") + bytes((kind,)) + payload


def decode(frame: bytes) -> Presence:
    """The message of a frame without its length. Raises `DecodeError`."""
    kind = frame[0] if frame else 0
    if kind not in KINDS:
        raise DecodeError(f"no frame about a link has type {kind}")
    item = codec.decode(frame[1:], bytes_max=FRAME_BYTES_MAX)
    if kind == PEERS_REQUEST:
        want(item)
        return PeersRequest()
    if kind == PEERS:
        if not isinstance(item, list):
            raise DecodeError("addresses come as a list")
        return Peers(tuple(_known(each) for each in want_list(item, list, length_max=PEERS_MAX)))
    (number,) = want(item, int)
    in_range(number, 0, NUMBER_MAX, "number of a ping")
    return Ping(number) if kind == PING else Pong(number)


def _known(item: codec.Item) -> Known:
    key, host, port = want(item, bytes, str, int)
    of_length(key, KEY_BYTES, "transport key")
    if not 0 < len(host.encode()) <= HOST_BYTES_MAX or not host.isascii() or set(host) - set("0123456789abcdef.:"):
        raise DecodeError("a host is an IPv4 or IPv6 address in lower case")
    return Known(key, host, in_range(port, 1, 65_535, "port"))
