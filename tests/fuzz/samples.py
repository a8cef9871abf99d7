"""The corpus: what each parser must take, built by the project's own encoders, and what it must refuse, one thing wrong in each.

`python -m tests.fuzz --write-corpus` writes it; all of it follows from names, so that it comes out the same on every machine.
"""

from __future__ import annotations

import json
import shutil
import zlib
from pathlib import Path
from typing import Any, Final

import matcher_c
from firmware.meter import models
from ledger.base import codec
from ledger.base.address import PREFIX, bech32m_encode, format_address
from ledger.base.crypto import LINK_VERSION, ZERO_HASH, sha256
from ledger.base.intents import (
    Admit,
    CancelOrder,
    Commit,
    Nominate,
    Park,
    PlaceOrder,
    Redeem,
    Remove,
    RotateKey,
    SetLimits,
    Transfer,
)
from ledger.base.recovery import Recovery
from ledger.base.votes import Kind, Vote, certificate_of, claim_of, encode_vote, evidence_of
from ledger.gossip import frames, joining, presence
from ledger.gossip.flood import FeedClock, Have, Transaction, Want
from ledger.gossip.presence import PEERS_MAX, Known, Peers, PeersRequest, Ping, Pong
from ledger.gossip.seals import Head, Proof, Seal, Seals, SealsRequest
from ledger.gossip.sync import NOTHING, RangeRequest, SnapshotChunk, SnapshotRequest, make_range
from ledger.node import pointer
from ledger.node.peers import Address, encode_cache
from ledger.simplex import records
from ledger.simplex.effects import ProposalToSign, VoteToSign
from ledger.simplex.messages import BodyRequest, CertificateRequest, Echo, Proposal, Status, encode_echo
from ledger.state.events import to_item
from ledger.state.snapshot import make_manifest
from ledger.wallet import journal
from ledger.wallet.guard import Signed
from matcher_c import pack_commands
from tests.ledger.genesis_text import genesis_toml
from tests.ledger.streets import ORIGIN_MS, Ledger, street

from .mutate import deep, head

Samples = dict[str, bytes]  # by file name

HASH: Final = sha256(b"sample")
BOOT: Final = bytes(range(8))
CBOR_BOMBS: Final[Samples] = {
    "refused-empty": b"",
    "refused-deep": b"\x81" * 4_000,
    "refused-long-array": b"\x9b" + b"\xff" * 8,
    "refused-long-bytes": b"\x5a\xff\xff\xff\xff" + bytes(9),
    "refused-long-text": b"\x7b\x7f" + b"\xff" * 7,
    "refused-map": b"\xa1\x00\x00",
    "refused-endless": b"\x9f\x00\xff",
}


def write(folder: Path) -> int:
    """The whole corpus, anew; how many bytes it has."""
    if folder.exists():
        shutil.rmtree(folder)
    written = 0
    for name, files in corpus().items():
        (folder / name).mkdir(parents=True)
        for file, data in files.items():
            (folder / name / file).write_bytes(data)
            written += len(data)
    (folder / ".gitattributes").write_text("* -text\n")  # no line ends are changed on the way
    return written


def corpus() -> dict[str, Samples]:
    """The samples of every parser."""
    return _chain() | _wallet() | _plain() | _texts() | _matcher()


def _wrapped(item: Any) -> Samples:
    """One valid form and the forms of the same that are not canonical."""
    good = codec.encode(item)
    return {
        "taken": good,
        "refused-behind": good + b"\x00",
        "refused-cut": good[:-1],
        "refused-long-head": head(4, len(item), 1) + good[1:],
        "refused-endless": b"\x9f" + good[1:] + b"\xff",
        "refused-tag": b"\xc6" + good,
        "refused-one-more": codec.encode([*item, 0]),
        "refused-one-less": codec.encode(list(item)[:-1]),
    }


def _about_links() -> dict[str, Samples]:
    known = Known(sha256(b"peer"), "10.77.0.12", 4_711)
    row = {"host": known.host, "port": known.port, "key": known.key.hex()}
    sent: dict[str, presence.Presence] = {
        "ping": Ping(7),
        "pong": Pong(2**63 - 1),
        "ask": PeersRequest(),
        "peers": Peers((known,) * PEERS_MAX),
    }

    def peers(*fields: Any) -> bytes:
        return bytes((presence.PEERS,)) + codec.encode([fields])

    return {
        "presence": {
            **{f"taken-{name}": presence.encode(message)[frames.LENGTH_BYTES :] for name, message in sent.items()},
            "refused-empty": b"",
            "refused-type": b"\x63\x80",
            "refused-deep": bytes((presence.PEERS,)) + b"\x81" * 4_000,
            "refused-many": bytes((presence.PEERS,)) + codec.encode([tuple(known)] * (PEERS_MAX + 1)),
            "refused-number": bytes((presence.PING,)) + codec.encode((-1,)),
            "refused-name": peers(known.key, "example.org", 4_711),
            "refused-long-host": peers(known.key, "1" * 46, 4_711),
            "refused-port": peers(known.key, known.host, 0),
            "refused-key": peers(bytes(31), known.host, 4_711),
        },
        "known-addresses": {
            "taken": encode_cache([Address(known.host, known.port, known.key), Address("fe80::1%1", 1, known.key)]),
            "taken-none": b"[]",
            "refused-empty": b"",
            "refused-deep": b"[" * 5_000,
            "refused-scope": json.dumps([row | {"host": "fe80::1"}]).encode(),
            "refused-name": json.dumps([row | {"host": "example.org"}]).encode(),
            "refused-everywhere": json.dumps([row | {"host": "0.0.0.0"}]).encode(),
            "refused-port": json.dumps([row | {"port": 70_000}]).encode(),
            "refused-key": json.dumps([row | {"key": "00"}]).encode(),
            "refused-more": json.dumps([row | {"fixed": True}]).encode(),
            "refused-many": json.dumps([row] * 65).encode(),
            "refused-long-number": b'[{"port": ' + b"9" * 5_000 + b"}]",
        },
    }


def _about_joining() -> dict[str, Samples]:
    key = sha256(b"key")
    ask = joining.Ask(key, key, key, b"A" + bytes(32))
    card = joining.Card("home6", "root", key, key, key, key)
    said: dict[str, joining.Message] = {
        "answer": joining.Answer(b"B" + bytes(32)),
        "proof": joining.Proof(key),
        "street": joining.Street(7, key, key, 5_000, "root"),
        "piece": joining.Piece(b"[street]"),
        "card": joining.SignedCard(card, (bytes(64),) * 4),
        "welcome": joining.End(""),
        "refusal": joining.End("nobody is invited here now"),
    }
    trusted = pointer.encode(pointer.Pointer(key, 7, key, key))
    return {
        "join-ask": _wrapped(["join", joining.VERSION, *ask])
        | {
            "refused-version": codec.encode(("join", 2, *ask)),
            "refused-long": codec.encode(("join", 1, key, key, key, bytes(300))),
        },
        "join": {f"taken-{name}": joining.encode(message) for name, message in said.items()}
        | {
            "refused-empty": b"",
            "refused-number": codec.encode((9, b"")),
            "refused-long": codec.encode((2, bytes(2_000))),
            "refused-genesis": codec.encode((3, 7, key, key, 2**40, "root")),
            "refused-no-piece": codec.encode((4, b"")),
            "refused-lines": codec.encode((6, "two\nlines")),
        },
        "trusted-block": {
            "taken": trusted,
            "refused-empty": b"",
            "refused-more": trusted[:-1] + b', "more": 1}',
            "refused-height": trusted.replace(b": 7", b": true"),
            "refused-hash": trusted.replace(key.hex().encode(), b"00", 1),
            "refused-deep": b"[" * 1_000,
        },
        "codes-made": {
            "taken": b"[1795277966398, 1795277966399]",
            "taken-none": b"[]",
            "refused-empty": b"",
            "refused-text": b'["1"]',
            "refused-truth": b"[true]",
            "refused-deep": b"[" * 1_000,
        },
    }


def _chain() -> dict[str, Samples]:
    ledger = Ledger(street(2))
    intents = (
        Transfer(bytes(20), "EUR", 5 * 10**8),
        PlaceOrder("spot", 0, 20_000, 1_000),
        CancelOrder(1),
        SetLimits(28_000, None),
        Commit("pool", 500),
        Redeem("pool", 250),
        Admit("home9", HASH, sha256(b"node"), sha256(b"link"), "root", sha256(b"meter")),
        Remove(bytes(20)),
        Park(1),
        RotateKey(HASH, sha256(b"link")),
        Nominate((bytes(20), b"\1" * 20)),
    )
    asked = {f"taken-{type(intent).__name__.lower()}": ledger.ask("home1", intent) for intent in intents}
    asked["taken-reading"] = ledger.read("home1", 0, 7, 0, flags=0)
    asked["taken-reading-pool"] = ledger.read("pool", 0, 7, 900, stored_wh=800, flags=3)
    ledger.step(ORIGIN_MS - 5_000)
    ledger.step(ledger.end_of(0) + 2_000)
    ledger.step(ledger.end_of(1) + 2_000)
    made = [executed.block for executed in ledger.blocks[1:] if executed.block is not None]
    first, second = made[0], made[1]
    fields = (tuple(first.header), first.transactions, first.parent_certificate, (), b"")
    loud = codec.decode(asked["taken-transfer"], bytes_max=4_096)

    def vote(kind: Kind, signer: int, block_hash: bytes = HASH) -> Vote:
        nothing = kind is Kind.NULLIFY
        return Vote(
            kind, 0, 7, ZERO_HASH if nothing else block_hash, 0 if nothing else 9_000, signer, bytes([signer]) * 64
        )

    certificates = {kind.name.lower(): certificate_of([vote(kind, s) for s in (0, 2, 3)]) for kind in Kind}
    proposal = Proposal(first, (certificates["nullify"],), bytes(64))
    last = certificate_of([vote(Kind.FINALIZE, signer, ledger.tip.hash) for signer in range(3)])
    linked = make_range([first.encoded, second.encoded], [b.header for b in made[2:]], last.encoded)
    lied = evidence_of(0, 7, 1, claim_of(vote(Kind.NOTARIZE, 1)), claim_of(vote(Kind.NOTARIZE, 1, sha256(b"other"))))
    twice = [0, 7, 1, list(lied.first), list(lied.first)]
    agreed = Recovery(3, 9, HASH, tuple(sorted((HASH, sha256(b"node")))), ((HASH, bytes(64)),))
    proof = Proof((second.header,), certificates["finalize"])
    seal, newest = Seal(second.header, first.header, proof, (HASH,)), Head(second.header, proof)
    keys = codec.decode(seal.encoded(), bytes_max=4_096)
    sent: dict[str, frames.AnyMessage] = {
        "seals-request": SealsRequest(3),
        "seals": Seals((seal.encoded(),), newest.encoded()),
        "seals-none": Seals((), b""),
        "snapshot-request": SnapshotRequest(10_000, 3),
        "snapshot-chunk": SnapshotChunk(10_000, 3, b"piece"),
        "snapshot-none": SnapshotChunk(0, 0, b""),
        "feed-clock": FeedClock(((0, 7), (3, 0), (4, 2**40))),
        "range-none": NOTHING,
        "vote": vote(Kind.NOTARIZE, 1),
        "certificate": certificates["finalize"],
        "proposal": proposal,
        "status": Status(0, 5, 6, HASH, 7, 1, BOOT),
        "certificate-request": CertificateRequest((1, 2)),
        "body-request": BodyRequest(HASH),
        "body": first,
        "range-request": RangeRequest(4),
        "range": linked,
        "transaction": Transaction(asked["taken-transfer"]),
        "evidence": lied,
        "echo": Echo(1, (vote(Kind.NOTARIZE, 1), vote(Kind.NULLIFY, 1))),
        "have": Have((BOOT, bytes(8))),
        "want": Want((BOOT,)),
    }
    kept: dict[str, records.Record] = {
        "body": records.Body(first),
        "vote": VoteToSign(Kind.FINALIZE, 0, 7, HASH, 9_000, 2),
        "certificate": records.Held(certificates["notarize"]),
        "proposed": ProposalToSign(0, 7, HASH),
        "evidence": records.Found(lied),
    }
    raw_vote = encode_vote(vote(Kind.FINALIZE, 1))
    events = [to_item(event) for executed in ledger.blocks for event in executed.events]
    return {
        "codec": {
            "taken-edges": codec.encode([0, 23, 24, 255, 256, 65_535, 65_536, 2**32, 2**64 - 1, -1, -(2**64)]),
            "taken-kinds": codec.encode([b"", b"x" * 24, "", "é", None, True, False, [], [[[[[1]]]]]]),
            "taken-one": b"\x00",
            **CBOR_BOMBS,
            "refused-deeper": codec.encode(deep(0, 7)),
            "refused-float": b"\xf9\x3c\x00",
            "refused-undefined": b"\xf7",
            "refused-simple": b"\xf8\xff",
            "refused-text": b"\x62\xff\xfe",
            "refused-surrogate": b"\x63\xed\xa0\x80",
            "refused-bignum": b"\xc2\x49\x01" + bytes(8),
            "refused-chunks": b"\x5f\x41\x00\xff",
            "refused-behind": b"\x00\x00",
            **{
                f"refused-wide-{major}-{w}": head(major, 1, w) + b"\x00"
                for major in (0, 1, 2, 3, 4)
                for w in (1, 2, 4, 8)
            },
        },
        "transaction": {
            **asked,
            **{name: data for name, data in _wrapped(loud).items() if name != "taken"},
            "refused-no-nonce": codec.encode([*loud[:4], 0, *loud[5:]]),
            "refused-amount": codec.encode([*loud[:6], [bytes(20), "EUR", 2**63], loud[7]]),
            "refused-kind": codec.encode([*loud[:2], 12, *loud[3:]]),
            "refused-nominated-twice": codec.encode([*loud[:2], 11, *loud[3:6], [[bytes(20), bytes(20)]], loud[7]]),
            "refused-parked": codec.encode([*loud[:2], 9, *loud[3:6], [2], loud[7]]),
        },
        "block": {
            "taken-first": first.encoded,
            "taken-second": second.encoded,
            "refused-root": codec.encode([fields[0], [b"x"], *fields[2:]]),
            "refused-evidence": codec.encode([*fields[:3], [0], b""]),
            **CBOR_BOMBS,
        },
        "vote": {
            **{f"taken-{kind.name.lower()}": encode_vote(vote(kind, 30)) for kind in Kind},
            "refused-kind": b"\x04" + raw_vote[1:],
            "refused-view": raw_vote[:5] + bytes(8) + raw_vote[13:],
            "refused-nullify": b"\x02" + raw_vote[1:],
            "refused-cut": raw_vote[:-1],
            "refused-longer": raw_vote + b"\x00",
            "refused-empty": b"",
        },
        "certificate": {
            **{f"taken-{name}": certificate.encoded for name, certificate in certificates.items()},
            "refused-nobody": codec.encode([3, 0, 7, HASH, 0, [], b""]),
            "refused-number-32": codec.encode([3, 0, 7, HASH, 1 << 31, [0], bytes(64)]),
            "refused-short": codec.encode([3, 0, 7, HASH, 3, [1, 2], bytes(64)]),
            **CBOR_BOMBS,
        },
        "evidence": {
            **_wrapped(lied.item()),
            "refused-no-conflict": codec.encode(twice),
            "refused-turned": codec.encode([0, 7, 1, list(lied.second), list(lied.first)]),
            **CBOR_BOMBS,
        },
        "echo": {
            "taken": encode_echo(Echo(0, (vote(Kind.FINALIZE, 3),))),
            "taken-none": encode_echo(Echo(2, ())),
            "refused-many": codec.encode([0, [raw_vote] * 65]),
            "refused-cut": codec.encode([0, [raw_vote[:-1]]]),
            **CBOR_BOMBS,
        },
        "recovery": {
            **_wrapped(codec.decode(agreed.encoded(), bytes_max=4_096)),
            "refused-nobody": codec.encode([3, 9, HASH, [], []]),
            "refused-order": codec.encode([3, 9, HASH, [b"\1" * 32, bytes(32)], []]),
            "refused-signed-twice": codec.encode([3, 9, HASH, [HASH], [[HASH, bytes(64)], [HASH, bytes(64)]]]),
            **CBOR_BOMBS,
        },
        "proposal": {
            "taken": proposal.encoded,
            "taken-plain": Proposal(second, (), bytes(64)).encoded,
            "refused-many": codec.encode([second.encoded, [certificates["nullify"].encoded] * 9, bytes(64)]),
            **CBOR_BOMBS,
        },
        "record": {
            **{f"taken-{name}": records.encode_record(record) for name, record in kept.items()},
            "refused-kind": codec.encode([6, 0, 7, HASH]),
            "refused-true": codec.encode([4, 0, True, HASH]),
            "refused-true-kind": codec.encode([True, first.encoded]),
            **CBOR_BOMBS,
        },
        "range": {
            "taken": codec.encode(tuple(linked)),
            "refused-none": codec.encode([[], [], last.encoded]),
            "refused-twice": codec.encode([[first.encoded, first.encoded], [], last.encoded]),
            "refused-turned": codec.encode([[second.encoded, first.encoded], [], last.encoded]),
            **CBOR_BOMBS,
        },
        "frame": {
            **{f"taken-{name}": frames.encode(message)[4:] for name, message in sent.items()},
            "refused-empty": b"",
            "refused-type": b"\x63\x80",
            "refused-deep": bytes((frames.HAVE,)) + b"\x81" * 4_000,
            "refused-no-transaction": bytes((frames.TRANSACTION,)),
            "refused-clock-turned": bytes((frames.FEED_CLOCK,)) + codec.encode([3, 0, 0, 7]),
            "refused-clock-odd": bytes((frames.FEED_CLOCK,)) + codec.encode([3, 0, 4]),
            "refused-piece": bytes((frames.SNAPSHOT_REQUEST,)) + codec.encode([1, 1_024]),
            "refused-seals": bytes((frames.SEALS,)) + codec.encode([[b""] * 65, b""]),
            "refused-epoch": bytes((frames.SEALS_REQUEST,)) + codec.encode([2**32]),
        },
        "seal": {
            **_wrapped(keys),
            "taken-first": seal._replace(parent=None, proof=Proof((), certificates["finalize"])).encoded(),
            "refused-nobody": seal._replace(keys=()).encoded(),
            "refused-twice": seal._replace(keys=(HASH, HASH)).encoded(),
            "refused-long": seal._replace(proof=Proof((second.header,) * 33, certificates["finalize"])).encoded(),
            **CBOR_BOMBS,
        },
        "head": {
            **_wrapped(codec.decode(newest.encoded(), bytes_max=4_096)),
            "refused-certificate": codec.encode((tuple(second.header), [], b"")),
            **CBOR_BOMBS,
        },
        "state-rows": {
            "taken": codec.encode([part for pair in ledger.blocks[0].state.rows()[:40] for part in pair]),
            "taken-none": b"\x80",
            "refused-table": codec.encode([codec.encode((99, [])), codec.encode([])]),
            "refused-key": codec.encode([codec.encode((1, 0)), codec.encode([])]),
            "refused-row": codec.encode([codec.encode((1, [])), codec.encode([])]),
            "refused-no-row": codec.encode([codec.encode((1, [])), codec.encode(0)]),
            **CBOR_BOMBS,
        },
        "events": {"taken": codec.encode(events), "taken-none": b"\x80", **CBOR_BOMBS}
        | {
            f"refused-{number}": codec.encode(item)
            for number, item in enumerate((0, [0], [[]], [[99]], [[0]], [["x"]]))
        },
    }


def _wallet() -> dict[str, Samples]:
    signed = Signed(1, 0, 7, HASH, 9_000, bytes(64))
    link = ("link", 1, HASH, HASH, HASH, HASH)
    vote = ("vote", 3, 0, 7, HASH, 9_000, 2)
    order = ("transaction", 2, PlaceOrder("spot", 0, 20_000, 1_000).body(), 1, 100)

    def framed(payload: bytes) -> bytes:
        return len(payload).to_bytes(4, "big") + zlib.crc32(payload).to_bytes(4, "big") + payload

    log = journal.MAGIC + framed(signed.encoded()) + framed(b"second")
    hello = (LINK_VERSION, HASH, bytes(32), sha256(b"peer"), 4_711)
    return {
        "hello": _wrapped(hello)
        | CBOR_BOMBS
        | {
            "refused-short": codec.encode([*hello[:3], bytes(31), 0]),
            "refused-port": codec.encode([*hello[:4], 65_536]),
        },
        **_about_links(),
        **_about_joining(),
        "welcome": {
            "taken": codec.encode((True, "")),
            "taken-refusal": codec.encode((False, "there is a link already")),
            "refused-two-minds": codec.encode((True, "no")),
            "refused-silent": codec.encode((False, "")),
            "refused-lines": codec.encode((False, "no\nready on port 1")),
            **CBOR_BOMBS,
        },
        "wallet-request": {
            "taken-keys": codec.encode(("keys",)),
            "taken-link": codec.encode(link),
            "taken-vote": codec.encode(vote),
            "taken-proposal": codec.encode(("vote", 0, *vote[2:])),
            "taken-order": codec.encode(order),
            "taken-transfer": codec.encode(("transaction", 1, Transfer(bytes(20), "EUR", 1).body(), 1, 100)),
            "taken-short-hash": codec.encode((*vote[:4], HASH[:-1], 9_000, 2)),
            "taken-long-hash": codec.encode((*vote[:4], HASH + b"x", 9_000, 2)),
            "taken-no-view": codec.encode((*vote[:3], -1, HASH, 9_000, 2)),
            "taken-late": codec.encode((*vote[:5], 2**64 - 1, 2)),
            "taken-no-epoch": codec.encode((*vote[:2], 2**32, *vote[3:])),
            "taken-no-seat": codec.encode((*vote[:6], 31)),
            "taken-own": codec.encode(("own", bytes([1, *bytes(4), *bytes(7), 5, *bytes(105)]))),
            "taken-ready": codec.encode(("ready", 1, HASH)),
            "taken-rotate": codec.encode(("rotate",)),
            "taken-clone": codec.encode(("clone",)),
            "taken-third-end": codec.encode(("link", 256, *link[2:])),
            "taken-short-nonce": codec.encode((*link[:2], bytes(31), *link[3:])),
            "refused-word": codec.encode(("sign", HASH)),
            **CBOR_BOMBS,
        },
        "wallet-answer": {
            "taken": codec.encode((True, [HASH, 9])),
            "refused-double": codec.encode((False, "double_sign", "already signed")),
            "refused-form": codec.encode((2, 3)),
            **CBOR_BOMBS,
        },
        "signed": _wrapped(signed) | {"refused-hash": codec.encode((*signed[:3], HASH + b"x", *signed[4:]))},
        "log": {
            "taken": log,
            "taken-new": b"",
            "taken-torn": log[:-1],
            "taken-zeros": log + bytes(100),
            "refused-middle": journal.MAGIC + b"\x01" + log[len(journal.MAGIC) + 1 :],
            "refused-other": b"another file\n",
        },
        "vote-log": _vote_log(signed.encoded()),
        "manifest": _manifest(),
    }


def _vote_log(signed: bytes) -> Samples:
    frame = len(signed).to_bytes(4, "big") + zlib.crc32(signed).to_bytes(4, "big") + signed
    head = journal.WITNESSED_MAGIC.ljust(1_024, b"\0") + journal._place(4_096, frame).ljust(1_024, b"\0")
    log = head.ljust(4_096, b"\0") + frame
    return {
        "taken": log,
        "taken-new": b"",
        "taken-cut": log[:1_000],  # as if it had been cut while it was made: the keystore knows that it was made before
        "refused-lost": head.replace(frame[8:], frame[8:][::-1]) + log[len(head) :],
        "refused-other": b"another file\n",
    }


def _manifest() -> Samples:
    ledger = Ledger(street(2))
    below = ledger.tip.peaks
    header = ledger.step(ORIGIN_MS + 10).header
    manifest = make_manifest(header, b"proof", below, [b"one piece", b"another"])
    return {
        "taken": manifest.encoded(),
        "refused-history": manifest._replace(peaks=((1, HASH),)).encoded(),
        "refused-empty": manifest._replace(hashes=()).encoded(),
        "refused-hash": manifest._replace(hashes=(HASH[1:],)).encoded(),
    }


def _plain() -> dict[str, Samples]:
    account = bytes(range(20))
    text = format_address(account)
    return {
        "address": {
            "taken": text.encode(),
            "taken-capitals": text.upper().encode(),
            "refused-mixed": text.replace("energo", "Energo").encode(),
            "refused-typo": text.replace("q", "p", 1).encode(),
            "refused-kelvin": format_address(b"\xb5" * 20).upper().replace("K", "\u212a").encode(),
            "refused-other": bech32m_encode("bc", [0] * 32).encode(),
            "refused-long": bech32m_encode(PREFIX, [0] * 60).encode(),
            "refused-empty": b"",
            "refused-bytes": b"\xff" + text.encode(),
        },
        "amount": {
            **{
                f"taken-{i}": t
                for i, t in enumerate((b"0.28", b"-1", b"101.50000000", b"0", b"0.0500", b"92233720368.54775807"))
            },
            **{
                f"refused-{i}": t.encode()
                for i, t in enumerate(
                    (
                        "",
                        "-",
                        ".",
                        "1.",
                        ".5",
                        "1e3",
                        "+1",
                        " 1",
                        "1_0",
                        "²",
                        "٣",
                        "nan",
                        "1.123456789",
                        "9" * 13,
                        "9" * 5_000,
                    )
                )
            },
        },
        "registers": {
            "taken-zeros": bytes(2),
            "taken-ones": b"\xff\xff",
            "taken-nan": b"\x7f\xc0\x00\x00",
            "taken-infinity": b"\x7f\x80\x00\x00",
            "taken-large": b"\x7f\x7f\xff\xff",
            "taken-tiny": b"\x00\x00\x00\x01",
            "taken-lowest": b"\x80\x00\x00\x00",
            "refused-none": b"",
        },
        "http-body": {
            "taken": b'{"transaction": "00ff"}',
            "refused-empty": b"",
            "refused-list": b"[]",
            "refused-number": b'{"transaction": 1}',
            "refused-digits": b'{"transaction": "0g"}',
            "refused-deep": b"[" * 5_000,
            "refused-long-number": b'{"transaction": ' + b"9" * 5_000 + b"}",
            "refused-bytes": b"\xff\xfe{",
        },
    }


def _texts() -> dict[str, Samples]:
    genesis = genesis_toml().encode()
    wrong = {
        "refused-nothing": b"",
        "refused-bytes": b"\xff\xfe",
        "refused-deep": b"a = " + b"[" * 4_000,
        "refused-long-number": b"a = " + b"9" * 5_000,
        "refused-date": b"a = 2021-02-30",
    }
    node = b"""[node]
name = "home1"
genesis = "genesis.toml"
data = "node"
[api]
operators = "run/node.sock"
view = "run/view.sock"
[wallet]
socket = "run/wallet.sock"
[network]
listen = "127.0.0.1"
port = 4711
zeroconf = false
interfaces = ["127.0.0.1"]
peers = ["127.0.0.1:4712", "[::1]:4713"]
redial_ms_max = 1000
[clock]
trusted = true
"""
    meter = b"""[meter]
name = "home1"
genesis = "genesis.toml"
data = "meter"
node = "run/node.sock"
poll_ms = 500
[[device]]
name = "home1"
key = "home1.key"
model = "sdm630"
host = "127.0.0.1"
port = 502
unit = 1
slot_energy_wh_max = 5000
[[device]]
name = "school"
key = "school.key"
model = "iem3155"
serial = "/dev/ttyUSB0"
baudrate = 19200
parity = "E"
"""
    agent = b"""[agent]
home = "home1"
genesis = "genesis.toml"
node = "run/node.sock"
wallet = "run/agent.sock"
poll_ms = 500
[rules]
sell_stored_above = "0.20"
buy_stored_below = "0.15"
keep_wh = 1000
commit_wh_per_slot = 250
[battery]
host = "127.0.0.1"
port = 502
unit = 3
mode = "own_use"
max_charge_w = 5000
max_discharge_w = 5000
[[pool]]
name = "pool"
host = "127.0.0.1"
"""
    panel = b'[panel]\nnode = "run/view.sock"\nrotate_ms = 8000\nrefresh_ms = 1000\n'
    model = (models.FOLDER / "energo-battery.toml").read_bytes()
    hexadecimal = b"0x" + b"f" * 5_000
    return {
        "genesis": {
            "taken-street": genesis,
            "refused-hexadecimal": genesis.replace(b"slot_ms = 1500", b"slot_ms = " + hexadecimal),
            "refused-day": genesis.replace(b"2021-03-24", b"2021-02-30"),
            **wrong,
        },
        "node-config": {
            "taken": node,
            "refused-port": node.replace(b":4712", b":\xc2\xb2"),
            "refused-path": node.replace(b'"genesis.toml"', b'"\\u0000"'),
            "refused-hexadecimal": node.replace(b"port = 4711", b"port = " + hexadecimal),
            "refused-hexadecimal-interface": node.replace(
                b'interfaces = ["127.0.0.1"]', b"interfaces = [" + hexadecimal + b"]"
            ),
            "refused-hexadecimal-list": node.replace(
                b'peers = ["127.0.0.1:4712", ', b"peers = [" + hexadecimal + b", "
            ),
            **wrong,
        },
        "meter-config": {
            "taken": meter,
            "refused-long-path": meter.replace(b'"home1.key"', b'"\\u0000"'),
            "refused-parity": meter.replace(b'"E"', b'"M"'),
            **wrong,
        },
        "agent-config": {"taken": agent, "refused-price": agent.replace(b'"0.20"', b'"1e9"'), **wrong},
        "panel-config": {"taken": panel, "refused-fast": panel.replace(b"1000", b"1"), **wrong},
        "meter-model": {
            "taken-battery": model,
            "taken-meter": (models.FOLDER / "sdm630.toml").read_bytes(),
            "refused-factor": model.replace(b'factor = "', b'factor = "1e9999999', 1),
            "refused-factor-small": model.replace(b'factor = "', b'factor = "1e-9999999', 1),
            **wrong,
        },
    }


def _matcher() -> dict[str, Samples]:
    document = {
        "buses": [{"id": "root"}, {"id": "f1", "parent": "root", "fee": "0.01", "capacity_up_wh": 500}],
        "orders": [
            {"id": "retail", "bus": "root", "side": "sell", "price": "0.30", "quantity_wh": None},
            {"id": "feed_in", "bus": "root", "side": "buy", "price": "0.08", "quantity_wh": None},
            {"id": "a", "bus": "f1", "side": "sell", "price": "0.12", "quantity_wh": 900},
            {"id": "b", "bus": "f1", "side": "buy", "price": "0.26", "quantity_wh": 700, "outside": "0.31"},
        ],
        "sharing": "0.5",
    }
    one_bus = {"buses": document["buses"][:1], "orders": document["orders"][:2], "pricing": "midpoint"}
    lines: list[dict[str, object]] = [
        {"op": "limit", "id": 1, "owner": 7, "side": "buy", "price": "0.20", "quantity_wh": 500, "lifetime": 3},
        {"op": "limit", "id": 2, "side": "sell", "price": "0.18", "quantity_wh": 200, "tif": "ioc"},
        {"op": "market", "id": 3, "side": "sell", "quantity_wh": 100},
        {"op": "replace", "id": 1, "price": "0.21", "quantity_wh": 50},
        {"op": "reduce", "id": 1, "quantity_wh": 40},
        {"op": "height", "height": 5},
        {"op": "cancel", "id": 1},
        {"op": "limit", "id": 4, "side": "buy", "price": "-0.201", "quantity_wh": 1, "tif": "post-only"},
    ]
    text = json.dumps(document, indent=1).encode()
    wrong = {
        "refused-bytes": b"\xff",
        "refused-list": b"[]",
        "refused-deep": b"[" * 5_000,
        "refused-long-number": b'{"a": ' + b"9" * 5_000 + b"}",
    }
    book = matcher_c.OrderBook(capacity=4, tick=10, lowest=-1_000, highest=1_000)
    book.submit(1, owner=7, side=0, quantity=500, price=100, kind=matcher_c.Kind.LIMIT, lifetime=9)
    book.submit(2, owner=8, side=0, quantity=300, price=100, kind=matcher_c.Kind.LIMIT, lifetime=0)
    book.submit(3, owner=7, side=1, quantity=200, price=200, kind=matcher_c.Kind.LIMIT, lifetime=0)
    kept = book.to_bytes()
    row = len(pack_commands([(1, 1, 1, 1, 0, 0, 0)]))
    books = {
        "taken": kept,
        "taken-empty": matcher_c.OrderBook(capacity=1, tick=1, lowest=0, highest=0).to_bytes(),
        "refused-cut": kept[:-1],
        "refused-twice": kept + kept[-row:],
        "taken-turned": kept[: -3 * row] + kept[-2 * row : -row] + kept[-3 * row : -2 * row] + kept[-row:],
        "refused-turned": kept[: -3 * row] + kept[-row:] + kept[-3 * row : -row],
        "refused-empty": b"",
        "refused-magic": b"EBK1" + kept[4:],
        "refused-capacity": kept[:4] + b"\xff\xff\xff\xff" + kept[8:],
    }
    return {
        "clearing": {
            "taken": text,
            "taken-one-bus": json.dumps(one_bus).encode(),
            "refused-deep-fee": text.replace(b'"0.01"', b"[" * 900 + b"]" * 900),
            "refused-capacity": text.replace(b": 500", b": 1" + b"0" * 4_000),
            "refused-quantity": text.replace(b": 900", b": 18446744073709551616"),
            **wrong,
        },
        "stream": {
            "taken": b"\n".join(json.dumps(line).encode() for line in lines),
            "taken-none": b"",
            **wrong,
            "taken-height": b'{"op": "height", "height": 1' + b"0" * 4_000 + b"}",
        },
        "book": books,
        "reference-book": books,
    }
