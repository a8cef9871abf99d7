"""Villains, a file each: they run the honest core and lie on the wire, with no guard and no shame."""

from __future__ import annotations

from ..node import Node
from .equivocator import Equivocator
from .forger import Forger
from .mutator import Mutator
from .nullifier import Nullifier
from .replayer import Replayer
from .withholder import Withholder

VILLAINS: dict[str, type[Node]] = {
    "equivocator": Equivocator,
    "forger": Forger,
    "mutator": Mutator,
    "nullifier": Nullifier,
    "replayer": Replayer,
    "withholder": Withholder,
}
