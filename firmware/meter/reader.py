"""The reader's work: poll meters, take each slot once, keep it on disk, hand it to the node until the ledger has it.

Two tasks share one queue. One polls: a slot is taken from the first valid poll at or after its end; a poll that a slot
end falls into proves nothing and is done again; a poll later than the end of the next slot gives one reading that
spans, flagged `gap`. The other delivers: oldest first, a bounded number under way, kept until the node says that they
are final. Neither waits for the other. What goes wrong is logged once, with what to do, and once when it is over.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Protocol

from ledger.base.crypto import ED25519, sha256
from ledger.base.errors import DiskFailed, NodeRefused, NodeUnavailable
from ledger.base.genesis import Device, Genesis
from ledger.base.intents import Reading, transaction_bytes

from .drivers import MeterUnreadable
from .models import Model
from .queue import Entry, Queue
from .registers import Follower, Limits, Remark, Values

log = logging.getLogger("energo-meter")

QUANTITIES: Final = ("import_wh", "export_wh", "stored_wh")
# Between slot ends a poll only shows that the meter is there.
IDLE_POLL_MS_MAX: Final = 10_000
DELIVER_MS_MIN: Final = 250
DELIVER_MS_MAX: Final = 10_000
RESUBMIT_MS: Final = 5_000  # a node that restarts forgets what waited
IN_FLIGHT_MAX: Final = 32  # of one device: more would only fill the node's memory
QUEUE_MAX: Final = 200_000  # two devices for almost three years; then readings span instead
UNSAVED_MAX: Final = 96  # of one device, while the disk is full; then readings span instead

_REMARKS: Final = {
    Remark.NO_VALUE: "gives no value for its energy; check that the model in meter.toml is the meter's",
    Remark.BACKWARDS: "a register ran backwards; not counted. If the meter was replaced, wait: it is taken over",
    Remark.JUMPED: "a register jumped by more than can have flowed; not counted unless it stays so",
    Remark.NEW_EPOCH: "its registers start anew; no energy is counted across the step",
}


class Link(Protocol):
    """What the reader needs of a connection to a meter."""

    async def read(self, unit: int, model: Model, quantities: tuple[str, ...]) -> dict[str, int | None]:
        """The quantities in thousandths. Raises `MeterUnreadable`."""

    def close(self) -> None:
        """Let the connection go."""


class Node(Protocol):
    """What the reader needs of the node's client; calls block."""

    def get(self, target: str) -> object:
        """A JSON document. Raises `NodeUnavailable`, `NodeRefused`."""

    def submit(self, raw: bytes) -> str:
        """Hand over a transaction. Raises `NodeUnavailable`, `NodeRefused`."""


@dataclass
class Feed:
    """A device, its meter, and where its readings stand. `seq` and `hash` run ahead of the disk by `unsaved`."""

    device: Device
    seed: bytes
    model: Model
    link: Link
    unit: int
    follower: Follower
    seq: int
    hash: bytes
    unsaved: list[Entry] = field(default_factory=list)
    final: int = 0
    sent: int = 0  # the last number handed over
    progress_ms: int = 0  # when the ledger last took one, or everything was handed over anew
    forked: bool = False
    commissioned: bool = False


class OnceLog:
    """Says a trouble once, and once that it is over, however often it is reported."""

    def __init__(self) -> None:
        self._current: dict[str, str] = {}

    def trouble(self, subject: str, text: str) -> None:
        """A warning, unless this subject's trouble has been said."""
        if subject not in self._current:
            log.warning("%s: %s", subject, text)
        self._current[subject] = text

    def over(self, subject: str) -> None:
        """That a subject's trouble is over, if it had one."""
        if self._current.pop(subject, None) is not None:
            log.info("%s: works again", subject)


def limits_of(genesis: Genesis, device: Device, model: Model, slot_energy_wh_max: int) -> Limits:
    """What registers.py needs to know of a device."""
    return Limits(
        "import_wh" in model.reads,
        "export_wh" in model.reads,
        slot_energy_wh_max,
        genesis.timing.slot_ms,
        rests="stored_wh" in model.reads,
    )


class Reader:
    """Reads the feeds of one home. `now_ms` is the wall clock; nothing else in here knows the time."""

    def __init__(
        self, genesis: Genesis, queue: Queue, node: Node, feeds: list[Feed], *, poll_ms: int, now_ms: Callable[[], int]
    ) -> None:
        self.genesis, self.queue, self.node, self.feeds = genesis, queue, node, feeds
        self._poll_ms, self._now_ms = poll_ms, now_ms
        self._once = OnceLog()
        self._news = asyncio.Event()

    # -- polling

    async def poll(self) -> None:
        """One look at every meter, and the readings that this makes possible."""
        links: dict[int, list[Feed]] = {}
        for feed in self.feeds:
            links.setdefault(id(feed.link), []).append(feed)
        await asyncio.gather(*(self._poll_link(feeds) for feeds in links.values()))
        self.save()

    async def _poll_link(self, feeds: list[Feed]) -> None:
        for feed in feeds:
            await self._poll_feed(feed)

    async def _poll_feed(self, feed: Feed) -> None:
        name = feed.device.name
        before_ms = self._now_ms()
        try:
            read = await feed.link.read(feed.unit, feed.model, QUANTITIES)
        except MeterUnreadable as error:
            self._once.trouble(f"meter {name}", str(error))
            return
        now_ms = self._now_ms()
        slot = self.genesis.slot_of(now_ms)
        if slot != self.genesis.slot_of(before_ms):
            return  # a slot ended while the meter answered: on which side it read, nobody knows
        values = Values(read.get("import_wh"), read.get("export_wh"), read.get("stored_wh"))
        remark = feed.follower.observe(values, slot=slot, now_ms=now_ms)
        if remark in _REMARKS:
            self._once.trouble(f"meter {name} ({remark.value})", _REMARKS[remark])
        if remark in (None, Remark.AGREES_AGAIN, Remark.COMMISSIONED, Remark.NEW_EPOCH):
            self._believed(feed, slot)

    def _believed(self, feed: Feed, slot: int) -> None:
        name = feed.device.name
        if not feed.commissioned and not self._commission(feed):
            return
        ended = self._last_ended(slot)
        if ended < 0 or len(feed.unsaved) >= UNSAVED_MAX or feed.forked:
            return
        taken = feed.follower.take(ended)
        if feed.follower.stopped:
            self._once.trouble(f"register of {name}", "has not moved for a day; check that the meter still counts")
        else:
            self._once.over(f"register of {name}")
        if taken is None:
            return
        for subject in (f"meter {name}", *(f"meter {name} ({remark.value})" for remark in _REMARKS)):
            self._once.over(subject)
        reading = Reading(
            name,
            feed.hash,
            taken.slot,
            taken.epoch,
            taken.import_wh,
            taken.export_wh,
            taken.stored_wh,
            taken.flags,
        )
        raw = transaction_bytes(
            reading,
            chain_id=self.genesis.chain_id,
            sender=feed.device.key,
            nonce=feed.seq + 1,
            valid_until_height=0,
            sign=lambda message: ED25519.sign(feed.seed, message),
        )
        feed.seq, feed.hash = feed.seq + 1, sha256(raw)
        assert feed.follower.track, "a reading is taken from registers"
        feed.unsaved.append(Entry(name, feed.seq, feed.hash, raw, feed.follower.track))

    def _commission(self, feed: Feed) -> bool:
        """Keep the zero of a feed before anything is counted from it."""
        assert feed.follower.track, "a valid poll has been"
        try:
            self.queue.commission(feed.device.name, feed.follower.track)
        except DiskFailed as error:
            self._once.trouble("disk", str(error))
            return False
        feed.commissioned = True
        log.info("meter %s: commissioned; energy is counted from here", feed.device.name)
        return True

    def _last_ended(self, slot: int) -> int:
        count = self.genesis.timing.slot_count
        return min(slot, count) - 1 if count else slot - 1

    def save(self) -> None:
        """Make what was taken durable; what the disk does not take stays in memory and is tried again."""
        unsaved = [entry for feed in self.feeds for entry in feed.unsaved]
        if not unsaved:
            return
        try:
            if self.queue.length() + len(unsaved) > QUEUE_MAX:
                raise DiskFailed(f"{self.queue.path}: {QUEUE_MAX} readings wait; see why the node does not take them")
            self.queue.append(unsaved)
        except DiskFailed as error:
            self._once.trouble("disk", str(error))
            return
        self._once.over("disk")
        for feed in self.feeds:
            feed.unsaved.clear()
        self._news.set()

    def due_in_ms(self) -> int:
        """How long until the next poll: soon while a slot has ended that is not taken, else at the next slot end."""
        now_ms = self._now_ms()
        slot = self.genesis.slot_of(now_ms)
        ended = self._last_ended(slot)
        for feed in self.feeds:
            track = feed.follower.track
            if track is None or track.slot < ended or feed.unsaved:
                return self._poll_ms
        idle_ms = max(self._poll_ms, min(IDLE_POLL_MS_MAX, self.genesis.timing.slot_ms // 3))
        return max(1, min(self.genesis.slot_start_ms(slot + 1) - now_ms, idle_ms))

    # -- delivery

    async def deliver(self) -> bool:
        """One round: forget what is final, hand over what is not. Whether anything still waits."""
        finals: dict[str, int] = {}
        waits = False
        try:
            for feed in self.feeds:
                rows = self.queue.waiting(feed.device.name, after=0, count=1)
                if feed.forked or not rows:
                    continue
                final = await self._final_of(feed)
                if final is None:
                    continue
                if final >= rows[0][0]:
                    finals[feed.device.name] = final
                if final > feed.final:
                    feed.final, feed.progress_ms = final, self._now_ms()
                await self._hand_over(feed)
                waits = waits or final < feed.seq
            if finals:
                self.queue.forget(finals)
            self._once.over("node")
        except NodeUnavailable as error:
            self._once.trouble("node", f"{error} Readings wait on disk meanwhile.")
            return True
        except DiskFailed as error:
            self._once.trouble("disk", str(error))
            return True
        return waits

    async def _final_of(self, feed: Feed) -> int | None:
        """The last number of the feed that the ledger has; None if the feed cannot go on."""
        name = feed.device.name
        try:
            document = await asyncio.to_thread(self.node.get, f"/v1/feeds/{name}")
        except NodeRefused as error:
            self._once.trouble(f"feed {name}", f"{error} ({error.code}); is this node of the same street?")
            return None
        final = document.get("seq") if isinstance(document, dict) else None
        if type(final) is not int or final < 0:
            raise NodeUnavailable("the node's answer about a feed has another form; is it of another version?")
        if final > feed.seq:
            self._fork(feed, f"the ledger has reading {final}, this folder only {feed.seq}")
            return None
        self._once.over(f"feed {name}")
        return final

    def _fork(self, feed: Feed, why: str) -> None:
        feed.forked = True
        log.error(
            "feed %s: %s; restore %s, or commission the meter under a new name", feed.device.name, why, self.queue.path
        )

    async def _hand_over(self, feed: Feed) -> None:
        name, now_ms = feed.device.name, self._now_ms()
        if feed.sent <= feed.final or not 0 <= now_ms - feed.progress_ms < RESUBMIT_MS:
            feed.sent, feed.progress_ms = feed.final, now_ms
        room = feed.final + IN_FLIGHT_MAX - feed.sent
        for seq, raw in self.queue.waiting(name, after=feed.sent, count=max(room, 0)):
            try:
                await asyncio.to_thread(self.node.submit, raw)
            except NodeRefused as error:
                if error.code == "forked":
                    self._fork(feed, str(error))
                elif error.code not in ("known", "early", "gap"):
                    self._once.trouble(f"readings of {name}", f"reading {seq} was refused: {error} ({error.code})")
                if error.code != "known":
                    return
            else:
                self._once.over(f"readings of {name}")
            feed.sent = seq

    # -- both, until told to stop

    async def run(self, stop: asyncio.Event, heartbeat: Callable[[], None]) -> None:
        """Polls and delivers until `stop` is set."""
        delivery = asyncio.create_task(self._deliver_until(stop))
        try:
            while not stop.is_set() and not delivery.done():
                await self.poll()
                heartbeat()
                await _wait(stop, self.due_in_ms())
        finally:
            stop.set()
            self._news.set()
            await delivery
            for feed in self.feeds:
                feed.link.close()

    async def _deliver_until(self, stop: asyncio.Event) -> None:
        pause_ms = max(DELIVER_MS_MIN, min(DELIVER_MS_MAX, self.genesis.timing.slot_ms // 3))
        while not stop.is_set():
            self._news.clear()
            waits = await self.deliver()
            if waits:
                await _wait(self._news, pause_ms)
            else:
                await self._news.wait()


async def _wait(event: asyncio.Event, timeout_ms: int) -> None:
    """Until the event is set, at most so long."""
    try:
        await asyncio.wait_for(event.wait(), timeout_ms / 1_000)
    except TimeoutError:
        pass
