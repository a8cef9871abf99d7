"""A Merkle Mountain Range over header hashes: one final header proves any older one with about log2(height) hashes."""

from __future__ import annotations

from ledger.base.crypto import sha256

Peaks = tuple[tuple[int, bytes], ...]  # (leaves below, hash) from the largest mountain to the smallest


def append(peaks: Peaks, leaf: bytes) -> Peaks:
    """The range with one more 32-byte leaf."""
    stack = [*peaks, (1, sha256(b"\0", leaf))]
    while len(stack) > 1 and stack[-1][0] == stack[-2][0]:
        size, right = stack.pop()
        _, left = stack.pop()
        stack.append((2 * size, sha256(b"\1", left, right)))
    return tuple(stack)


def root(peaks: Peaks) -> bytes:
    """The peaks bagged from the right with the number of leaves; 32 bytes."""
    bagged = b""
    for _, peak in reversed(peaks):
        bagged = sha256(b"\1", peak, bagged) if bagged else peak
    leaves = sum(size for size, _ in peaks)
    return sha256(b"\2", leaves.to_bytes(8, "big"), bagged)
