"""`ledger verify`: replay a data folder from the genesis to its tip, from the files alone, and name the first thing that is wrong.

Every block is decoded, linked, its certificates' signatures checked, its time checked, executed with the given matchers, and its
roots and events compared with what is stored; at the end the rows of the state are compared too. Where old bodies are pruned, or
the node began at a snapshot, there is nothing to replay from: then headers are linked to each other, bodies and events to their
headers, and the rows to the last header, and the result says from which height.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ledger.base import codec
from ledger.base.errors import ConfigError, DecodeError, EnergoError, InvalidBlock
from ledger.base.genesis import Genesis
from ledger.base.recovery import decode_recovery
from ledger.base.votes import Certificate, Committee, Kind, block_time_ms, certificate_is_valid, decode_certificate
from ledger.state.blocks import Block, decode_block
from ledger.state.events import to_item
from ledger.state.origin import genesis_block
from ledger.state.rules.membership import committee_of, epoch_of
from ledger.state.transition import Context, Executed, Matchers, apply_block

from .store import Store


def _certificate(
    raw: bytes, block_hash: bytes, view: int, context: Context, committee: Committee, kinds: tuple[Kind, ...]
) -> Certificate:
    certificate = decode_certificate(raw)
    if certificate.block_hash != block_hash or certificate.view != view or certificate.kind not in kinds:
        raise InvalidBlock("certificate", certificate.block_hash, block_hash)
    if not certificate_is_valid(certificate, context.chain_id, committee, context.scheme):
        raise InvalidBlock("certificate", "signatures that do not hold", "a quorum of the committee's")
    return certificate


def _check(context: Context, parent: Executed, block: Block, certificate: bytes | None) -> Executed:
    committee = committee_of(parent.state)
    if block.recovery:
        agreed = decode_recovery(block.recovery)
        committee = Committee(agreed.epoch, agreed.committee, committee.trusted)
    link: Certificate | None = None
    if block.header.parent_view:
        kinds = (Kind.NOTARIZE, Kind.FINALIZE)
        link = _certificate(block.parent_certificate, parent.hash, parent.header.view, context, committee, kinds)
    expected = block_time_ms(parent.header.time_ms, link, committee)
    if block.header.time_ms != expected:
        raise InvalidBlock("block time", block.header.time_ms, expected)
    if certificate is not None:
        _certificate(certificate, block.hash, block.view, context, committee, (Kind.FINALIZE,))
    return apply_block(context, parent, block)


def verify(
    data_folder: Path, genesis: Genesis, matchers: Matchers, progress: Callable[[int, int], None] = lambda at, of: None
) -> dict[str, Any]:
    """`{"ok", "height", "state_root", "from_height", "replayed", "first_bad": {"height", "what"} or None}`.

    `from_height` is the first block that was there to look at; `replayed` whether it was done from the genesis. Progress
    gets (height, last height).
    """
    try:
        store = Store.open(data_folder, genesis, read_only=True)
    except ConfigError:
        raise
    except EnergoError as error:
        return _bad(0, genesis_block(genesis), str(error))
    tip = genesis_block(genesis)
    context = Context(genesis, matchers)
    try:
        last = store.height()
        certified = 0
        if store.first_body() > 1:
            return _linked(store, tip, progress)
        for height, body, certificate, events in store.raw_blocks():
            if height != tip.header.height + 1:
                return _bad(tip.header.height + 1, tip, "the block is missing")
            try:
                executed = _check(context, tip, decode_block(body), certificate)
            except (DecodeError, InvalidBlock, AssertionError) as error:
                return _bad(height, tip, str(error))
            if events is not None and codec.encode(tuple(to_item(event) for event in executed.events)) != events:
                return _bad(height, tip, "the stored events are not those of the block")
            tip.state.settle(executed.state)
            bottom = tip.state
            tip = Executed(executed.header, executed.hash, bottom, executed.peaks, executed.events, executed.block)
            sealed = (
                epoch_of(tip.state).number > tip.header.epoch
            )  # its proof stands apart, or in the epoch that follows
            certified = height if certificate is not None or sealed else certified
            progress(height, last)
        if certified != last:
            return _bad(last, tip, "the last block has no finalization")
        if tip.state.rows() != store.state_rows():
            return _bad(last, tip, "the stored rows of the state are not those that the blocks make")
    except EnergoError as error:
        return _bad(tip.header.height + 1, tip, str(error))
    finally:
        store.close()
    return {
        "ok": True,
        "height": tip.header.height,
        "state_root": tip.header.state_root.hex(),
        "from_height": 1,
        "replayed": True,
        "first_bad": None,
    }


def _linked(store: Store, first: Executed, progress: Callable[[int, int], None]) -> dict[str, Any]:
    """What can be said of a ledger whose beginning is not there."""
    last, lowest = store.height(), store.first_header()
    parent: bytes | None = None
    height = lowest
    try:
        for height in range(lowest, last + 1):
            header = store.header(height)
            assert header is not None, "the height lies between the first and the last"
            if parent is not None and header.parent_hash != parent:
                return _bad(height, first, "the block does not extend the one before it", lowest)
            parent = header.hash()
            store.events(height)
            store.body(height)
            progress(height, last)
        tip, certificate = store.final()
        if certificate is not None and certificate.block_hash != tip.hash:
            return _bad(last, tip, "the last block has the finalization of another one", lowest)
    except EnergoError as error:
        return _bad(height, first, str(error), lowest)
    return {
        "ok": True,
        "height": last,
        "state_root": tip.header.state_root.hex(),
        "from_height": lowest,
        "replayed": False,
        "first_bad": None,
    }


def _bad(height: int, tip: Executed, what: str, from_height: int = 1) -> dict[str, Any]:
    return {
        "ok": False,
        "height": tip.header.height,
        "state_root": tip.header.state_root.hex(),
        "from_height": from_height,
        "replayed": from_height == 1,
        "first_bad": {"height": height, "what": what},
    }
