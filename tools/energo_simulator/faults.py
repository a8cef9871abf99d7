"""What goes wrong in a world, drawn from its seed; and the named scenarios, each with one kind of fault."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, replace

YEARS_MS = (-53 * 365 * 86_400_000, 80 * 365 * 86_400_000)  # about 1970 and 2106, from the worlds' year


@dataclass(frozen=True)
class Faults:
    """Rates are per thousand unless said otherwise. Everything but loss, delay and order ends when the world heals."""

    loss: int = 0
    duplicate: int = 0
    delay_ms_max: int = 20
    partitions: bool = False  # some homes on one side, for seconds
    one_way: bool = False  # where a partition is, frames still pass in one direction
    clogs: bool = False  # single links stop and come back in another order
    slow_ms: int = 0  # one member's frames take so much longer
    crash: int = 0  # per ten thousand steps of a node
    blackout: bool = False  # the whole street at one instant
    skew_ms: int = 50
    clockless: int = 0  # members without a trusted clock
    odd_clocks: int = 0  # members whose clock is years off, or jumps by an hour
    villain: str = ""
    villains: int = 0
    churn: bool = False  # seats are given up and taken back, homes nominate
    seats: int = 0  # fewer seats than homes, the others follow; 0: all have one
    away: int = 0  # members that are off for most of the faults
    restored: int = 0  # members whose card is put back to an older image
    cloned: int = 0  # members whose card is copied, both on


Scenario = Callable[[random.Random, int, int], Faults]  # (random, homes, liars) to faults

LIARS = ("equivocator", "forger", "mutator", "nullifier", "replayer", "withholder")


def _swarm(rng: random.Random, homes: int, liars: int) -> Faults:
    """Every kind of fault is off in many worlds, so that the others show what they do alone."""
    faults = Faults(
        loss=rng.choice((0, 0, 50, 300)),
        duplicate=rng.choice((0, 100, 300)),
        delay_ms_max=rng.choice((10, 100, 400, 1_500)),
        partitions=rng.random() < 0.5,
        one_way=rng.random() < 0.3,
        clogs=rng.random() < 0.2,
        slow_ms=rng.choice((0, 0, 0, 1_000)),
        crash=rng.choice((0, 0, 10, 40)),
        blackout=rng.random() < 0.3,
        skew_ms=rng.choice((0, 50, 300)),
        clockless=rng.choice((0, 0, 1)),
    )
    odd = rng.choice(("", "liar", "liar", "liar", "clock", "card", "copy", "seats"))
    return _one_odd(rng, faults, odd, homes, liars)


def _one_odd(rng: random.Random, faults: Faults, odd: str, homes: int, liars: int) -> Faults:
    """One kind of member that is not as it should be: together they would be more than a committee survives."""
    few = min(1, (homes - 1) // 3)
    # A card that was put back or copied is told by neighbors that stayed on and hear it: nobody can where a blackout made them
    # forget what it said, or where the network keeps them apart.
    heard = replace(
        faults,
        delay_ms_max=min(200, faults.delay_ms_max),
        loss=min(50, faults.loss),
        slow_ms=0,
        partitions=False,
        one_way=False,
        clogs=False,
        crash=0,
        blackout=False,
    )
    match odd:
        case "liar":
            return replace(faults, villain=rng.choice(LIARS), villains=liars)
        case "clock":
            return replace(faults, clockless=0, odd_clocks=few)
        case "card":
            return replace(heard, restored=few)
        case "copy":
            return replace(heard, cloned=few)
        case "seats":
            return replace(faults, churn=homes > 1, seats=rng.choice((0, 4)) if homes > 4 else 0)
    return faults


def _liar(name: str) -> Scenario:
    def draw(rng: random.Random, homes: int, liars: int) -> Faults:
        return Faults(
            villain=name,
            villains=liars,
            partitions=rng.random() < 0.5,
            delay_ms_max=rng.choice((100, 200, 300)),
            loss=rng.choice((0, 0, 100, 300)),
        )

    return draw


def _odd(odd: str) -> Scenario:
    def draw(rng: random.Random, homes: int, liars: int) -> Faults:
        base = Faults(delay_ms_max=rng.choice((20, 100)), partitions=rng.random() < 0.4, crash=rng.choice((0, 0, 10)))
        return _one_odd(rng, base, odd, homes, liars)

    return draw


SCENARIOS: dict[str, Scenario] = {
    "calm": lambda rng, homes, f: Faults(),
    "loss": lambda rng, homes, f: Faults(loss=rng.randrange(300), duplicate=rng.randrange(300), delay_ms_max=400),
    "partition": lambda rng, homes, f: Faults(partitions=True, delay_ms_max=200),
    "one-way": lambda rng, homes, f: Faults(partitions=True, one_way=True, clogs=True, delay_ms_max=100),
    "crash": lambda rng, homes, f: Faults(crash=rng.choice((5, 20, 60)), delay_ms_max=50),
    "blackout": lambda rng, homes, f: Faults(blackout=True, crash=5, delay_ms_max=50),
    "slow": lambda rng, homes, f: Faults(slow_ms=1_500, delay_ms_max=50),
    "clock": _odd("clock"),
    "restored": _odd("card"),
    "cloned": _odd("copy"),
    "seats": _odd("seats"),
    "away": lambda rng, homes, f: Faults(
        away=min(1, f), churn=True, delay_ms_max=rng.choice((20, 200)), loss=rng.choice((0, 50))
    ),
    **{name: _liar(name) for name in LIARS},
    "swarm": _swarm,
}
