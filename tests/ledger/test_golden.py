"""Golden bytes: what is hashed, signed and stored does not change by accident. A change here is a change of the format.

`tests/vectors/ledger.json` was made by this test's own `produce()`; `vectors.lock` holds the digest of every vector file.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from ledger.base import codec
from ledger.base.crypto import ED25519, sha256
from ledger.base.files import load_genesis
from ledger.base.intents import (
    BUY,
    Admit,
    AnyIntent,
    CancelOrder,
    Commit,
    Nominate,
    Park,
    PlaceOrder,
    Reading,
    Ready,
    Redeem,
    Remove,
    RotateKey,
    SetLimits,
    Transfer,
    transaction_bytes,
)
from ledger.base.recovery import Recovery
from ledger.base.votes import Kind, certificate_of, claim_of, encode_vote, evidence_of
from ledger.wallet.guard import Signed
from tests.ledger.genesis_text import genesis_toml
from tests.ledger.gossip.test_frames import vote
from tests.ledger.streets import ORIGIN_MS, Ledger, street

VECTORS = Path(__file__).parents[1] / "vectors"


def produce(folder: Path) -> dict[str, object]:
    """Every format of the ledger in one document of hexadecimal text."""
    genesis_file = folder / "genesis.toml"
    genesis_file.write_text(genesis_toml())
    seed, chain = sha256(b"golden"), sha256(b"chain")
    intents: dict[str, AnyIntent] = {
        "transfer": Transfer(bytes(range(20)), "CASH", 12_345),
        "place": PlaceOrder("WATT:pool", BUY, 22_000, 500),
        "cancel": CancelOrder(7),
        "limits": SetLimits(28_000, None),
        "commit": Commit("pool", 400),
        "redeem": Redeem("pool", 250),
        "admit": Admit("home9", seed, sha256(b"n"), sha256(b"t"), "root", sha256(b"m")),
        "remove": Remove(bytes(range(20))),
        "park": Park(1),
        "rotate": RotateKey(sha256(b"n"), sha256(b"t")),
        "nominate": Nominate((bytes(20), bytes(range(20)))),
        "ready": Ready(sha256(b"committee")),
        "reading": Reading("home1", bytes(32), 3, 0, 1_000, 20, None, 2),
    }
    transactions = {
        name: transaction_bytes(
            intent,
            chain_id=chain,
            sender=ED25519.public(seed),
            nonce=5,
            valid_until_height=0 if name in ("reading", "ready") else 99,
            sign=lambda message: ED25519.sign(seed, message),
        ).hex()
        for name, intent in intents.items()
    }
    lied = evidence_of(0, 7, 1, claim_of(vote(1)), claim_of(vote(1, block=seed)))
    ledger = Ledger(street(3))
    ledger.step(ORIGIN_MS + 1)
    ledger.ask("home1", Commit("pool", 300))
    ledger.ask("home2", PlaceOrder("WATT:pool", BUY, 20_000, 100))
    ledger.step(ORIGIN_MS + 700)
    for device, energy in (
        ("home1", (0, 900)),
        ("home2", (500, 0)),
        ("home3", (200, 50)),
        ("school", (0, 700)),
        ("pool", (0, 0)),
    ):
        ledger.read(device, 0, *energy, stored_wh=0 if device == "pool" else None)
    ledger.step(ledger.end_of(0) + 5)
    return {
        "genesis": load_genesis(genesis_file).chain_id.hex(),
        "transactions": transactions,
        "blocks": [
            {
                "hash": executed.hash.hex(),
                "state_root": executed.header.state_root.hex(),
                "receipts_root": executed.header.receipts_root.hex(),
                "history_root": executed.header.history_root.hex(),
                "bytes": executed.block.encoded.hex() if executed.block else "",
            }
            for executed in ledger.blocks
        ],
        "votes": {kind.name: encode_vote(vote(1, kind)).hex() for kind in (Kind.NOTARIZE, Kind.FINALIZE)},
        "certificate": certificate_of([vote(0), vote(1), vote(3)]).encoded.hex(),
        "evidence": codec.encode(lied.item()).hex(),
        "recovery": Recovery(3, 9, seed, (seed,), ((seed, bytes(64)),)).encoded().hex(),
        "vote_journal": Signed(1, 0, 3, bytes(32), 7, bytes(64)).encoded().hex(),
    }


def test_formats_are_what_they_were(tmp_path: Path) -> None:
    assert produce(tmp_path) == json.loads((VECTORS / "ledger.json").read_text())


def test_vector_files_are_what_they_were() -> None:
    lock = dict(line.split("  ")[::-1] for line in (VECTORS / "vectors.lock").read_text().splitlines())
    found = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(VECTORS.glob("*.json"))}
    assert found == lock
