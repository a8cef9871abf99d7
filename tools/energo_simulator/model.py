"""The protocol as a dozen rules, explored whole: four members of whom one lies, three views, every order of events. Pure.

Votes once sent may reach anybody at any later time or never, and the liar adds its vote to whatever it likes; so a certificate is
at hand as soon as `quorum - 1` honest members voted for it. Nobody has a clock: what a timer allows may happen at any moment.
Every order of deliveries, losses and timeouts is therefore among the steps here. `Rules` are those that safety rests on; the tests
drop one after the other, and each time a state is found that must not be.

What is left out cannot break anything that what is kept does not: guards ask for votes and never for their absence (but for a
member's own), so of two behaviors the one with more votes can do all that the other can. Hence a member that leaves a view
nullifies it unless it finalizes it, and notarizes before that if there is anything to notarize; nobody jumps over views (where a
later one is final, each before it has a notarization or a nullification, by which it is left). Honest members are alike: their
order is forgotten, and a leader may propose before it came to its view.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import Any, Final, NamedTuple

HONEST: Final = 3
VIEWS: Final = 3
STATES_MAX: Final = 2_000_000  # some 2 GB: beyond it the question was put wrongly
NAMES: Final = (0, 1)  # of a liar's blocks with one parent; a third would be to the others what the second is

Block = tuple[
    Any, ...
]  # (view, name, parent); () is the last final block, and stands for none where one may be missing
Did = tuple[
    tuple[Block, ...], bool, Block
]  # of one member in one view: what it notarized, whether it nullified, what it finalized
Member = tuple[Did, ...]
State = tuple[tuple[Member, ...], tuple[Block, ...]]  # honest members; what honest leaders proposed


class Rules(NamedTuple):
    """What honest members keep to (consensus design, section 3.3)."""

    quorum: int = 3
    finalizes_unnullified: bool = True  # R5: FINALIZE only where it did not NULLIFY
    nullifies_unfinalized: bool = True  # R6: NULLIFY only where it did not FINALIZE
    notarizes_once: bool = True  # R4: the first proposal of a view
    proves_parent: bool = True  # R3, R4: the parent is notarized
    proves_gap: bool = True  # R3, R4: every view between the parent's and this one is nullified


class Held(NamedTuple):
    """The certificates of a view that are at hand."""

    notarized: list[Block]
    nullified: bool
    finalized: list[Block]


class Explored(NamedTuple):
    """How many states and steps there are, and the first breach (empty: none)."""

    states: int
    steps: int
    breach: str


class Model:
    """Seat `liar` lies; view v is led by seat v, so 0 is a liar that never leads."""

    def __init__(self, liar: int, rules: Rules = Rules(), views: int = VIEWS) -> None:  # noqa: B008 - it is immutable
        self.liar, self.rules, self.views = liar, rules, views

    def start(self) -> State:
        """Nobody did anything."""
        nothing: Did = ((), False, ())
        return ((nothing,) * self.views,) * HONEST, ((),) * self.views

    def held(self, members: Iterable[Member], view: int) -> Held:
        """The certificates of a view that are at hand."""
        notarize: dict[Block, int] = {}
        finalize: dict[Block, int] = {}
        nullify = 0
        for member in members:
            notarized, nullified, finalized = member[view - 1]
            for block in notarized:
                notarize[block] = notarize.get(block, 0) + 1
            if finalized:
                finalize[finalized] = finalize.get(finalized, 0) + 1
            nullify += nullified
        enough = self.rules.quorum - 1
        return Held(
            [block for block, count in notarize.items() if count >= enough],
            nullify >= enough,
            [block for block, count in finalize.items() if count >= enough],
        )

    def _parents(self, view: int, held: list[Held], proposals: list[list[Block]]) -> Iterator[Block]:
        """What a block of this view may stand on."""
        for parent in range(view - 1, -1, -1):
            if parent == 0:
                yield ()
            elif self.rules.proves_parent:
                yield from held[parent - 1].notarized
            else:
                yield from proposals[parent - 1]
            if parent and self.rules.proves_gap and not held[parent - 1].nullified:
                return

    def _liars_blocks(self, view: int, parents: list[Block], members: tuple[Member, ...]) -> list[Block]:
        """What a lying leader may show; a second block on one parent once the first was of use."""
        used = {block for member in members for block in member[view - 1][0]}
        return [
            (view, name, parent)
            for parent in parents
            for name in NAMES
            if name == 0 or (view, name - 1, parent) in used
        ]

    def steps(self, state: State, held: list[Held]) -> Iterator[tuple[int, int, Any]]:
        """What may happen next: (place, view, what a member did there then), or (-1, view, what its leader proposed)."""
        members, proposed = state
        proposals: list[list[Block]] = []
        for view in range(1, self.views + 1):
            parents = list(self._parents(view, held, proposals))
            if view == self.liar:
                proposals.append(self._liars_blocks(view, parents, members))
            elif block := proposed[view - 1]:
                proposals.append([block] if block[2] in parents else [])
            else:
                proposals.append([])
                for parent in parents:
                    yield -1, view, (view, 0, parent)
        for place, member in enumerate(members):
            if member in members[:place]:
                continue
            for view in range(1, self.views + 1):
                here = held[view - 1]
                for did in self._acts(member[view - 1], here, proposals[view - 1]):
                    yield place, view, did
                _, nullified, finalized = member[view - 1]
                if not (finalized or (nullified and (here.nullified or here.notarized))):
                    break  # this is the view that it is in

    def _acts(self, did: Did, held: Held, proposals: list[Block]) -> Iterator[Did]:
        """What a member may do next in a view that it has come to. Where it did both or left, that is what rules are for."""
        notarized, nullified, finalized = did
        if not nullified and not finalized:
            fresh = [block for block in proposals if block not in notarized]
            if not notarized or not self.rules.notarizes_once:
                for block in fresh:
                    yield tuple(sorted((*notarized, block))), False, ()
            for block in held.notarized:
                yield notarized, False, block
            if notarized or not fresh:
                yield notarized, True, ()
        elif nullified and not finalized and not self.rules.finalizes_unnullified:
            for block in held.notarized:
                yield notarized, True, block
        elif finalized and not nullified and not self.rules.nullifies_unfinalized:
            yield notarized, True, finalized

    def breach(self, held: list[Held]) -> str:
        """Empty, or which promise is broken: agreement, one block a view, never final and nullified."""
        final: list[Block] = []
        for view, here in enumerate(held, 1):
            if here.finalized and here.nullified:
                return f"view {view} is both finalized and nullified"
            if len(here.notarized) > 1:
                return f"view {view} has two notarized blocks"
            final += here.finalized
        for lower, higher in pairwise(final):
            if not _extends(higher, lower):
                return f"{lower} and {higher} are both final, and neither stands on the other"
        return ""

    def explore(self) -> Explored:
        """Breadth first, until nothing is new or a promise is broken."""
        members, proposed = Numbers(), Numbers()  # states are compared by numbers: four small ones each
        start = self.start()
        first = (*(members.of(member) for member in start[0]), proposed.of(start[1]))
        known = {first}
        frontier = [(first, [self.held(start[0], view) for view in range(1, self.views + 1)])]
        steps = 0
        while frontier:
            fresh = []
            for here, held in frontier:
                state = tuple(members.rows[each] for each in here[:HONEST]), proposed.rows[here[HONEST]]
                for place, view, what in self.steps(state, held):
                    steps += 1
                    if place < 0:
                        after = (*here[:HONEST], proposed.of(_with(state[1], view - 1, what)))
                    else:
                        changed = list(here[:HONEST])
                        changed[place] = members.of(_with(state[0][place], view - 1, what))
                        after = (*sorted(changed), here[HONEST])
                    if after in known:
                        continue
                    known.add(after)
                    then = held
                    if place >= 0:
                        then = list(held)
                        then[view - 1] = self.held((members.rows[each] for each in after[:HONEST]), view)
                        breach = self.breach(then)
                        if breach:
                            return Explored(len(known), steps, breach)
                    fresh.append((after, then))
            frontier = fresh
            assert len(known) <= STATES_MAX, f"more than {STATES_MAX} states"
        return Explored(len(known), steps, "")


class Numbers:
    """A number for each row, in the order in which they came."""

    def __init__(self) -> None:
        self.rows: list[Any] = []
        self._numbers: dict[Any, int] = {}

    def of(self, row: Any) -> int:
        """The row's number."""
        number = self._numbers.setdefault(row, len(self.rows))
        if number == len(self.rows):
            self.rows.append(row)
        return number


def _with(row: tuple[Any, ...], place: int, value: object) -> tuple[Any, ...]:
    return (*row[:place], value, *row[place + 1 :])


def _extends(block: Block, lower: Block) -> bool:
    while block and block != lower:
        block = block[2]
    return bool(block)
