"""What the driver must write for a case, worked out with the reference."""

from __future__ import annotations

import struct

from matcher_c import COMMAND, RESULT, MatcherRefused, NetworkRefused, OrderRefused, ResultsTooSmall, reference
from matcher_c.errors import Fault, refusal_of

from .vectors import CLEARING

EMPTY = -(2**63)  # the best price of an empty side
LEVELS = 8
_REFUSALS = [fault for fault in Fault if fault not in (Fault.FINE, Fault.SMALL_WORKSPACE, Fault.BROKEN)]


def _words(*values: int) -> bytes:
    return struct.pack(f"<{len(values)}q", *values)


def results_of(case: bytes) -> bytes:
    """The words of one case's results."""
    return _clearing(case) if case[0] == CLEARING else _exchange(case)


def _fault_of(refused: MatcherRefused) -> Fault:
    assert isinstance(refused, NetworkRefused | OrderRefused)
    for fault in _REFUSALS:
        try:
            same = refusal_of(fault, 0)
        except AssertionError:  # no refusal of a network or an order
            continue
        if type(same) is type(refused) and same.reason == refused.reason:
            return fault
    raise AssertionError(refused)


def _clearing(case: bytes) -> bytes:
    words = [value for (value,) in struct.iter_unpack("<q", case)]
    _, buses, orders, ranked, *rest = words
    columns = []
    for length in [buses] * (5 if ranked else 4) + [orders] * 4:
        columns.append(rest[:length])
        rest = rest[length:]
    rank = columns.pop(4) if ranked else None
    try:
        parent, fee, up, down, bus, side, limit, quantity = columns
        traded, price, flow = reference.clear_arrays(parent, fee, up, down, bus, side, limit, quantity, rank)
    except (NetworkRefused, OrderRefused) as refused:
        return _words(_fault_of(refused), refused.index or 0)
    return _words(0, 0, *traded, *price, *flow)


def _exchange(case: bytes) -> bytes:
    head = 9 * 8
    _, capacity, lowest, ticks, key_low, key_high, quiet, room, _ = struct.unpack_from("<9q", case)
    book = reference.OrderBook(
        capacity=capacity,
        tick=1,
        lowest=lowest,
        highest=lowest + ticks,
        hash_key=struct.pack("<2q", key_low, key_high),
    )
    left, out = memoryview(case)[head:], bytearray()
    while left:
        results = bytearray(room * RESULT.size)
        try:
            consumed, written = book.run(left, results, bool(quiet))
        except ResultsTooSmall:
            consumed = written = 0
            room *= 2
        out += _words(consumed, written) + results[: written * RESULT.size]
        left = left[consumed * COMMAND.size :]
    live = len(book)
    out += _words(live, book.height, live) + book.to_bytes()[-live * COMMAND.size :] * bool(live)
    for best, levels in zip(book.best(), book.depth(LEVELS), strict=True):  # buys, then sells
        out += _words(EMPTY if best is None else best, len(levels))
        for column in zip(*levels, strict=True):
            out += _words(*column)
    return bytes(out)
