"""The Mountain Range over headers: equal histories have equal roots, and any difference shows."""

from __future__ import annotations

from ledger.state import history


def grow(leaves: list[bytes]) -> history.Peaks:
    peaks: history.Peaks = ()
    for leaf in leaves:
        peaks = history.append(peaks, leaf)
    return peaks


def test_mountains_are_the_binary_digits_of_the_count() -> None:
    for count in range(1, 40):
        sizes = [size for size, _ in grow([bytes([i]) for i in range(count)])]
        assert sizes == sorted(sizes, reverse=True)
        assert sum(sizes) == count
        assert all(size & (size - 1) == 0 for size in sizes)
        assert len(set(sizes)) == len(sizes)


def test_every_leaf_and_its_place_count() -> None:
    leaves = [bytes([i]) * 32 for i in range(11)]
    roots = {history.root(grow(leaves[:n])) for n in range(1, 12)}
    assert len(roots) == 11
    for at in range(11):
        other = leaves.copy()
        other[at] = b"x" * 32
        assert history.root(grow(other)) not in roots
    assert history.root(grow(leaves[::-1])) not in roots
