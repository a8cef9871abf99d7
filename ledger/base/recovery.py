"""The manual recovery epoch: what a street signs by hand when a quorum of its nodes is lost for good.

More than half of the admitted households name the last final block and the nodes that go on. It is the one place where a fork is
possible: should the lost nodes come back and have finalized more, two histories stand. (Consensus design, section 10.)
"""

from __future__ import annotations

from typing import Final, NamedTuple

from . import codec
from .codec import in_range, of_length, want, want_list
from .crypto import DOMAIN_RECOVERY, HASH_BYTES, KEY_BYTES, SIGNATURE_BYTES, Scheme
from .errors import DecodeError
from .limits import AMOUNT_MAX, COMMITTEE_MAX, HOMES_MAX

RECOVERY_BYTES_MAX: Final = 48 * 1024  # signatures of 400 households fit beside the rest of a block


class Recovery(NamedTuple):
    """`epoch` begins above the final block `block_hash` at `height`, with the node keys `committee` (rising).

    `signatures` are (owner's key, signature), in order of key.
    """

    epoch: int
    height: int
    block_hash: bytes
    committee: tuple[bytes, ...]
    signatures: tuple[tuple[bytes, bytes], ...]

    def message(self, chain_id: bytes) -> bytes:
        """What a household signs."""
        fields = (self.epoch, self.height, self.block_hash, self.committee)
        return DOMAIN_RECOVERY + chain_id + codec.encode(fields)

    def encoded(self) -> bytes:
        """Canonical bytes."""
        return codec.encode(tuple(self))


def decode_recovery(raw: bytes) -> Recovery:
    """Form only. Raises `DecodeError`."""
    epoch, height, block_hash, committee, signatures = want(
        codec.decode(raw, bytes_max=RECOVERY_BYTES_MAX), int, int, bytes, list, list
    )
    in_range(epoch, 1, 2**32 - 1, "epoch")
    in_range(height, 0, AMOUNT_MAX, "height")
    of_length(block_hash, HASH_BYTES, "block hash")
    want_list(committee, bytes, length_max=COMMITTEE_MAX)
    for key in committee:
        of_length(key, KEY_BYTES, "key")
    want_list(signatures, list, length_max=HOMES_MAX)
    pairs: list[tuple[bytes, bytes]] = []
    for item in signatures:
        key, signature = want(item, bytes, bytes)
        pairs.append((of_length(key, KEY_BYTES, "key"), of_length(signature, SIGNATURE_BYTES, "signature")))
    if not committee or list(committee) != sorted(set(committee)) or pairs != sorted(dict(pairs).items()):
        raise DecodeError("keys in a recovery stand in rising order, each once")
    return Recovery(epoch, height, block_hash, tuple(committee), tuple(pairs))


def signers_of(recovery: Recovery, chain_id: bytes, scheme: Scheme) -> list[bytes]:
    """The owners' keys whose signatures hold."""
    message = recovery.message(chain_id)
    return [key for key, signature in recovery.signatures if scheme.verify(key, signature, message)]
