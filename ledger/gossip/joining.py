"""How a home that is not on the ledger yet meets a member, with a code that a person carries from one to the other. Pure.

Inside a TLS tunnel both ends mix the code into a key exchange (SPAKE2, RFC 9382's idea; the library stands behind `Exchange`)
that is bound to both identities: who each is, the street, and the hash of the server's certificate. A wrong code, or somebody
in the middle with a certificate of his own, makes different keys and no error, so each end proves its key in so many words:
first the newcomer, then the member. A code is worth one attempt, at either end: it is used up before the proof is looked at.

    newcomer                                   member
    Ask (keys, nonce, X)            ->         takes the code, which is used up
                                    <-         Answer (Y)
    Proof (of the key)              ->         compares; else refuses, in words
                                    <-         Proof (of the key), Street (a trusted pointer), Pieces (the genesis file)
    Card (what it wants to be)      ->         checks that the newcomer holds each key that it names
                                    <-         End (welcome, or why not)

Then the households admit the card by transactions; nothing here changes the ledger. `Member` and `Newcomer` are the two ends,
bytes in, bytes out; `Invitations` bounds the codes. Refuses in `JoinFailed`, or in `DecodeError` what no honest end sends.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final, NamedTuple, Protocol

from ledger.base import codec
from ledger.base.codec import in_range, of_length, short_text, want
from ledger.base.crypto import (
    DOMAIN_CARD,
    DOMAIN_JOIN,
    DOMAIN_JOIN_MEMBER,
    DOMAIN_JOIN_NEWCOMER,
    ED25519,
    HASH_BYTES,
    KEY_BYTES,
    SIGNATURE_BYTES,
    is_same,
    keyed_hash,
    sha256,
)
from ledger.base.errors import DecodeError, EnergoError
from ledger.base.intents import Admit
from ledger.base.limits import AMOUNT_MAX, NAME_BYTES_MAX
from ledger.base.units import Millis

VERSION: Final = 1
CODE_DIGITS: Final = 6
SECRET_BYTES: Final = 16  # where a machine carries it: nobody guesses 128 bits
WINDOW_MS: Final = 120_000  # time to walk from one home to the other, and no longer
HOUR_MS: Final = 3_600_000
CODES_PER_HOUR: Final = 3  # with one attempt each: a guesser has 3 in 1,000,000 an hour
ELEMENT_BYTES: Final = 33  # a side and a point
ASK_BYTES_MAX: Final = 256  # what a stranger may say first, as every hello
MESSAGE_BYTES_MAX: Final = 1_024  # of all others but a piece
PIECE_BYTES: Final = 64 * 1024
PIECE_MESSAGE_BYTES_MAX: Final = PIECE_BYTES + 16
GENESIS_BYTES_MAX: Final = 1024 * 1024  # some 2,000 homes; what a newcomer holds in memory for somebody with a code
WORDS_BYTES_MAX: Final = 200

_ASK: Final = "join"
_ASK_BEGINS: Final = b"\x86\x64join"  # an array of six whose first is that word: a link's hello has five


class JoinFailed(EnergoError):
    """Two ends that did not come together, in words."""

    code = "join_failed"


class Exchange(Protocol):
    """One end of one password-authenticated key exchange. A wrong password is no error: the keys just differ."""

    def start(self) -> bytes:
        """The own element, 33 bytes."""

    def finish(self, theirs: bytes) -> bytes:
        """The key. Raises `DecodeError` for what is no element, or the own one."""


Begin = Callable[
    [bytes, bytes], Exchange
]  # of the newcomer's and the member's identity; the secret stays with the caller


# ---- what is said


class Ask(NamedTuple):
    """A newcomer's first words: who it will be, and its element."""

    owner_key: bytes
    transport_key: bytes
    nonce: bytes
    element: bytes


class Answer(NamedTuple):
    """The member's element."""

    element: bytes


class Proof(NamedTuple):
    """That the sender has the same key, of the same exchange."""

    tag: bytes


class Street(NamedTuple):
    """What a newcomer may rely on: a recent final block, how long the genesis file is, and the bus that it is likely on."""

    height: int
    block_hash: bytes
    committee_hash: bytes
    genesis_bytes: int
    bus: str


class Piece(NamedTuple):
    """Some of the genesis file."""

    data: bytes


class Card(NamedTuple):
    """What a new home is to be: the fields of `Admit`."""

    name: str
    bus: str
    owner_key: bytes
    node_key: bytes
    transport_key: bytes
    device_key: bytes


class SignedCard(NamedTuple):
    """A card with a signature by each of its four keys, in the card's order."""

    card: Card
    signatures: tuple[bytes, ...]


class End(NamedTuple):
    """Welcome (no words), or why not. It may come instead of any other answer of the member's."""

    words: str


Message = Answer | Proof | Street | Piece | SignedCard | End
_NUMBERS: Final = {Answer: 1, Proof: 2, Street: 3, Piece: 4, SignedCard: 5, End: 6}


def is_ask(raw: bytes) -> bool:
    """Whether a stranger's first words begin a joining and not a link."""
    return raw.startswith(_ASK_BEGINS)


def encode_ask(ask: Ask) -> bytes:
    """The first words."""
    return codec.encode((_ASK, VERSION, *ask))


def decode_ask(raw: bytes) -> Ask:
    """Raises `DecodeError`."""
    word, version, *fields = want(codec.decode(raw, bytes_max=ASK_BYTES_MAX), str, int, bytes, bytes, bytes, bytes)
    if word != _ASK:
        raise DecodeError("these are not the first words of a joining")
    if version != VERSION:
        raise DecodeError(f"it joins by version {version}, this node by {VERSION}; update the older one")
    ask = Ask(*fields)
    for key in (ask.owner_key, ask.transport_key, ask.nonce):
        of_length(key, KEY_BYTES, "a part of the first words")
    of_length(ask.element, ELEMENT_BYTES, "element")
    return ask


def encode(message: Message) -> bytes:
    """The bytes of all that follows the first words."""
    fields: tuple[object, ...] = tuple(message)
    if isinstance(message, SignedCard):
        fields = (*message.card, *message.signatures)
    return codec.encode((_NUMBERS[type(message)], *fields))


def decode(raw: bytes) -> Message:
    """Raises `DecodeError`."""
    item = codec.decode(raw, bytes_max=PIECE_MESSAGE_BYTES_MAX)
    number = item[0] if isinstance(item, list) and item else None
    if number != _NUMBERS[Piece] and len(raw) > MESSAGE_BYTES_MAX:
        raise DecodeError(f"{len(raw)} bytes where at most {MESSAGE_BYTES_MAX} are allowed")
    match number:
        case 1:
            return Answer(of_length(want(item, int, bytes)[1], ELEMENT_BYTES, "element"))
        case 2:
            return Proof(of_length(want(item, int, bytes)[1], HASH_BYTES, "proof"))
        case 3:
            street = Street(*want(item, int, int, bytes, bytes, int, str)[1:])
            in_range(street.height, 0, AMOUNT_MAX, "height")
            of_length(street.block_hash, HASH_BYTES, "block hash")
            of_length(street.committee_hash, HASH_BYTES, "committee hash")
            in_range(street.genesis_bytes, 1, GENESIS_BYTES_MAX, "size of the genesis file")
            short_text(street.bus, "bus", bytes_max=NAME_BYTES_MAX)
            return street
        case 4:
            (data,) = want(item, int, bytes)[1:]
            in_range(len(data), 1, PIECE_BYTES, "size of a piece")
            return Piece(data)
        case 5:
            return _signed_card(item)
        case 6:
            (words,) = want(item, int, str)[1:]
            if words:
                short_text(words, "what it says", bytes_max=WORDS_BYTES_MAX)  # one line of a log or a screen
            return End(words)
    raise DecodeError("nothing of a joining has this form")


def _signed_card(item: codec.Item) -> SignedCard:
    _, name, bus, owner, node, transport, device, *signatures = want(item, int, str, str, *(bytes,) * 8)
    Admit.parse([name, owner, node, transport, bus, device])
    for signature in signatures:
        of_length(signature, SIGNATURE_BYTES, "signature")
    return SignedCard(Card(name, bus, owner, node, transport, device), tuple(signatures))


# ---- what is bound


@dataclass(frozen=True)
class Parties:
    """Who meets whom, in which tunnel. A relay in the middle has another certificate, so the two ends differ on it."""

    chain_id: bytes
    member_key: bytes  # of the member's links
    member_nonce: bytes
    owner_key: bytes
    transport_key: bytes
    nonce: bytes
    certificate_hash: bytes

    def newcomer(self) -> bytes:
        """The identity that the exchange binds for the newcomer."""
        about = (self.owner_key, self.transport_key, self.nonce)
        return codec.encode((DOMAIN_JOIN, VERSION, "newcomer", self.chain_id, *about, self.certificate_hash))

    def member(self) -> bytes:
        """The same for the member."""
        about = (self.member_key, self.member_nonce)
        return codec.encode((DOMAIN_JOIN, VERSION, "member", self.chain_id, *about, self.certificate_hash))

    def transcript(self, x: bytes, y: bytes) -> bytes:
        """The hash of all that was said and bound until the keys are there."""
        return sha256(DOMAIN_JOIN, codec.encode((self.newcomer(), self.member(), x, y)))


def proofs(key: bytes, transcript: bytes) -> tuple[bytes, bytes]:
    """What the newcomer and what the member says to prove the key: neither can be sent back as the other."""
    newcomer = keyed_hash(key, DOMAIN_JOIN_NEWCOMER + transcript)
    member = keyed_hash(key, DOMAIN_JOIN_MEMBER + transcript)
    return newcomer, member


def card_message(chain_id: bytes, transcript: bytes, card: Card) -> bytes:
    """What each key of a card signs: this card, in this joining of this street."""
    return DOMAIN_CARD + chain_id + codec.encode((transcript, *card))


def secret_of(text: str) -> bytes:
    """The secret that a person types or pastes: six digits, or 32 hexadecimal digits. Raises `JoinFailed`."""
    bare = text.replace(" ", "").replace("-", "").lower()
    if len(bare) == CODE_DIGITS and bare.isascii() and bare.isdigit():
        return bare.encode()
    try:
        if len(bare) == 2 * SECRET_BYTES and bare.isascii():
            return bytes.fromhex(bare)
    except ValueError:
        pass
    raise JoinFailed(
        f"{text!r} is not a code of {CODE_DIGITS} digits, nor a secret of {2 * SECRET_BYTES} hexadecimal ones"
    )


# ---- the two ends


class At(Enum):
    """Where an end of a joining stands: what it waits for."""

    ANSWER = auto()
    PROOF = auto()
    STREET = auto()
    PIECES = auto()
    CARD = auto()
    OWN_CARD = auto()  # nothing is waited for: the caller is to say what the home will be
    END = auto()
    DONE = auto()
    FAILED = auto()


class Member:
    """The member's end, from the first words on. `receive` gives what is to be sent, and raises where it is over."""

    def __init__(self, parties: Parties, ask: Ask, begin: Begin, street: Street, genesis: bytes) -> None:
        assert len(genesis) == street.genesis_bytes <= GENESIS_BYTES_MAX, "the street says how long its genesis is"
        self._parties, self._street, self._genesis = parties, street, genesis
        exchange = begin(parties.newcomer(), parties.member())
        self._element = exchange.start()
        self._key = exchange.finish(ask.element)
        self._transcript = parties.transcript(ask.element, self._element)
        self.at = At.PROOF
        self.card: Card | None = None

    def first(self) -> bytes:
        """What answers the first words."""
        return encode(Answer(self._element))

    def receive(self, raw: bytes) -> list[bytes]:
        """Raises `JoinFailed`, `DecodeError`; after that nothing is received any more."""
        at, self.at = self.at, At.FAILED
        match at, decode(raw):
            case At.PROOF, Proof(tag):
                expected, own = proofs(self._key, self._transcript)
                if not is_same(expected, tag):
                    raise JoinFailed("the code is wrong; it is used up, ask for a new one")
                self.at = At.CARD
                starts = range(0, len(self._genesis), PIECE_BYTES)
                pieces = [encode(Piece(self._genesis[start : start + PIECE_BYTES])) for start in starts]
                return [encode(Proof(own)), encode(self._street), *pieces]
            case At.CARD, SignedCard(card, signatures):
                self._check(card, signatures)
                self.at, self.card = At.DONE, card
                return []
        raise DecodeError("this is not what comes now in a joining")

    def _check(self, card: Card, signatures: tuple[bytes, ...]) -> None:
        if (card.owner_key, card.transport_key) != (self._parties.owner_key, self._parties.transport_key):
            raise JoinFailed("the card names other keys than the newcomer began with")
        message = card_message(self._parties.chain_id, self._transcript, card)
        for key, signature in zip(card[2:], signatures, strict=True):
            if not ED25519.verify(key, signature, message):
                raise JoinFailed("the newcomer does not hold every key that its card names")


class Newcomer:
    """The newcomer's end. `answered` says that the code met somebody: from then on it is used up here too."""

    def __init__(self, begin: Begin, parties: Parties) -> None:
        self._parties = parties
        self._exchange = begin(parties.newcomer(), parties.member())
        self._element = self._exchange.start()
        self._expected = b""
        self._transcript = b""
        self._genesis = bytearray()
        self.street: Street | None = None
        self.answered = False
        self.at = At.ANSWER

    def first(self) -> bytes:
        """The first words."""
        about = self._parties
        return encode_ask(Ask(about.owner_key, about.transport_key, about.nonce, self._element))

    @property
    def genesis(self) -> bytes:
        """The genesis file, once it is whole."""
        return bytes(self._genesis)

    def receive(self, raw: bytes) -> list[bytes]:
        """Raises `JoinFailed`, `DecodeError`; after that nothing is received any more."""
        at, self.at = self.at, At.FAILED
        match at, decode(raw):
            case _, End(words) if words:
                raise JoinFailed(f"the member said no: {words}")
            case At.ANSWER, Answer(element):
                self.answered = True
                key = self._exchange.finish(element)
                self._transcript = self._parties.transcript(self._element, element)
                own, self._expected = proofs(key, self._transcript)
                self.at = At.PROOF
                return [encode(Proof(own))]
            case At.PROOF, Proof(tag):
                if not is_same(self._expected, tag):
                    raise JoinFailed("who answered does not know the code; it is used up, ask for a new one")
                self.at = At.STREET
                return []
            case At.STREET, Street() as street:
                self.street = street
                self.at = At.PIECES
                return []
            case At.PIECES, Piece(data) if self.street is not None:
                self._genesis += data
                if len(self._genesis) > self.street.genesis_bytes:
                    raise DecodeError("the genesis file is longer than was said")
                whole = len(self._genesis) == self.street.genesis_bytes
                self.at = At.OWN_CARD if whole else At.PIECES
                return []
            case At.END, End(""):
                self.at = At.DONE
                return []
        raise DecodeError("this is not what comes now in a joining")

    def present(self, card: Card, sign: Callable[[bytes], tuple[bytes, ...]]) -> bytes:
        """The card to send, with a signature by each of its keys, which `sign` makes."""
        assert self.at is At.OWN_CARD, "a card is shown once the street is known"
        self.at = At.END
        return encode(SignedCard(card, sign(card_message(self._parties.chain_id, self._transcript, card))))


# ---- how many codes


class Invitation(NamedTuple):
    """A code, and until when it may be taken."""

    secret: bytes
    bus: str
    until_ms: Millis


class Invitations:
    """One code at a time, so many an hour, each taken once. `made` begins with what an earlier run made, in ms of `now_ms`."""

    def __init__(self, made_ms: Iterable[Millis] = ()) -> None:
        self.made_ms = sorted(made_ms)[-CODES_PER_HOUR:]
        self._open: Invitation | None = None

    def left(self, now_ms: Millis) -> int:
        """How many codes may be made now."""
        return CODES_PER_HOUR - sum(now_ms - made < HOUR_MS for made in self.made_ms)

    def invite(self, secret: bytes, bus: str, now_ms: Millis) -> Invitation:
        """Open a code; one that was open is void. Raises `JoinFailed` where there were as many as an hour has."""
        if self.left(now_ms) <= 0:
            wait_s = (self.made_ms[0] + HOUR_MS - now_ms + 999) // 1000
            raise JoinFailed(
                f"{CODES_PER_HOUR} codes were made within an hour; the next one in {wait_s // 60 + 1} minutes"
            )
        self.made_ms = [*self.made_ms, now_ms][-CODES_PER_HOUR:]
        self._open = Invitation(secret, bus, now_ms + WINDOW_MS)
        return self._open

    def left_ms(self, now_ms: Millis) -> Millis:
        """How long the code that is open may still be taken; 0: none is."""
        return 0 if self._open is None else max(0, self._open.until_ms - now_ms)

    def take(self, now_ms: Millis) -> Invitation | None:
        """The code that is open, for one attempt: after this it is used up, whatever comes of it."""
        taken, self._open = self._open, None
        return taken if taken is not None and now_ms < taken.until_ms else None
