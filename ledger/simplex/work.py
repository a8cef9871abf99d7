"""When there is work: the clauses of on-demand blocks, which wake a view although nobody has proposed or voted in it.

Without them a street makes no blocks; with one too many it never sleeps. Pure arithmetic on what the machine knows.
"""

from __future__ import annotations

from typing import NamedTuple

from ledger.base.genesis import Consensus
from ledger.base.units import Millis
from ledger.state.mempool import Mempool
from ledger.state.rules.slots import next_boundary_ms
from ledger.state.transition import Executed


class Situation(NamedTuple):
    """What the clauses look at. `estimate_ms` is ledger time; the other times are monotonic."""

    consensus: Consensus
    mempool: Mempool
    tip: Executed  # the block that the view would extend
    tip_is_final: bool
    tip_seals: bool  # the epoch's sealing block is on the branch: nothing more can happen in this epoch
    accuses: bool  # evidence waits that a block on the tip may carry
    now_ms: Millis
    estimate_ms: Millis
    entered_ms: Millis
    nonempty_notarized_ms: Millis
    timeout_ms: Millis
    recovers: bool = False  # the first block of a recovery epoch is to be made


def has_work(at: Situation) -> bool:
    """Whether the current view is to make a block.

    A notarized ancestor is not final two timeouts after the view was entered (sooner, every view would open before its
    predecessor is final, and empty blocks would follow one another for ever); evidence waits, or a recovery epoch begins; a
    slot's boundary lies behind us; the heartbeat is due; or a transaction may go in and the interval of its kind has passed
    since the last non-empty block.
    """
    if not at.tip_is_final and at.now_ms - at.entered_ms >= 2 * at.timeout_ms:
        return True
    if at.tip_seals:
        return False
    if at.accuses or at.recovers:
        return True
    boundary_ms = next_boundary_ms(at.tip.state)
    if boundary_ms is not None and boundary_ms <= at.estimate_ms:
        return True
    agree = at.consensus
    if at.estimate_ms - at.tip.header.time_ms >= agree.heartbeat_ms:
        return True
    quiet_ms = at.now_ms - at.nonempty_notarized_ms
    if not len(at.mempool) or quiet_ms < min(agree.min_interval_orders_ms, agree.min_interval_readings_ms):
        return False
    reading, other = at.mempool.due(at.tip, at.estimate_ms)
    by_order = other and quiet_ms >= agree.min_interval_orders_ms
    return by_order or (reading and quiet_ms >= agree.min_interval_readings_ms)


def work_times(at: Situation) -> list[Millis]:
    """Monotonic times at which `has_work` may change its answer without any message."""
    agree = at.consensus
    if at.tip_seals:
        return [at.entered_ms + 2 * at.timeout_ms]
    times = [at.now_ms + at.tip.header.time_ms + agree.heartbeat_ms - at.estimate_ms]
    if not at.tip_is_final:
        times.append(at.entered_ms + 2 * at.timeout_ms)
    boundary_ms = next_boundary_ms(at.tip.state)
    if boundary_ms is not None:
        times.append(at.now_ms + boundary_ms - at.estimate_ms)
    if len(at.mempool):
        times.append(at.nonempty_notarized_ms + agree.min_interval_orders_ms)
        times.append(at.nonempty_notarized_ms + agree.min_interval_readings_ms)
        times.append(at.now_ms + agree.min_interval_readings_ms + 1)  # a reading may become admissible
    return times
