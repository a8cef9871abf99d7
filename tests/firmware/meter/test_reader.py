"""The reader's work, with a clock, a meter and a node in the test's hand; and over real Modbus at the end."""

import asyncio
import json
import logging
from collections.abc import Callable
from pathlib import Path

import pytest

from energo_demo import street, world
from firmware.meter import models
from firmware.meter.drivers import Endpoint, MeterUnreadable, ModbusLink
from firmware.meter.models import Model
from firmware.meter.queue import Queue
from firmware.meter.reader import IN_FLIGHT_MAX, RESUBMIT_MS, UNSAVED_MAX, Feed, Reader, limits_of
from firmware.meter.registers import Follower
from ledger.base.crypto import ED25519, ZERO_HASH, sha256
from ledger.base.errors import DiskFailed, NodeRefused, NodeUnavailable
from ledger.base.genesis import (
    GENESIS_VERSION,
    NO_CAPACITY,
    Bus,
    Consensus,
    Device,
    Genesis,
    Home,
    Market,
    Role,
    Timing,
)
from ledger.base.intents import FLAG_GAP, Reading, decode_transaction

ORIGIN_MS = 1_000_000
SLOT_MS = 1_500
SEED = bytes(range(32))
KEY = ED25519.public(SEED)


def genesis(slot_count: int = 0, devices: tuple[str, ...] = ("home1",)) -> Genesis:
    return Genesis(
        GENESIS_VERSION,
        "Teststreet",
        "EUR",
        "2021-03-24",
        Timing(ORIGIN_MS - 1, ORIGIN_MS, SLOT_MS, slot_count, SLOT_MS, 500),
        Consensus(300, 8, 100, 100, 600_000, 10_000),
        Market(30_000, 8_000, 10_000, 0, 500, 1_000, True, 0, 10**11),
        (Bus("root", "", 0, NO_CAPACITY, NO_CAPACITY),),
        (Home("home1", KEY, KEY, KEY, "root", 10**10),),
        tuple(Device(name, KEY, int(Role.CONNECTION), "home1", "root") for name in devices),
        (),
        (),
    )


class FakeLink:
    """A meter whose registers the test sets, Wh; None does not answer. `while_reading` runs during the answer."""

    def __init__(self) -> None:
        self.import_wh: int | None = 5_000
        self.export_wh = 9_000
        self.while_reading: Callable[[], None] = lambda: None
        self.reads = 0

    async def read(self, unit: int, model: Model, quantities: tuple[str, ...]) -> dict[str, int | None]:
        self.reads += 1
        self.while_reading()
        if self.import_wh is None:
            raise MeterUnreadable("meter:502: cannot be reached; check power, cabling and address")
        return {"import_wh": self.import_wh * 1000, "export_wh": self.export_wh * 1000}

    def close(self) -> None:
        pass


class FakeNode:
    """A ledger of feeds: takes readings in order, makes them final when told."""

    def __init__(self) -> None:
        self.away = False
        self.refuse: NodeRefused | None = None
        self.final: dict[str, int] = {}
        self.pending: dict[str, list[Reading]] = {}
        self.numbers: list[int] = []
        self.hashes: dict[str, bytes] = {}
        self.chain_id = genesis().chain_id

    def get(self, target: str) -> object:
        if self.away:
            raise NodeUnavailable("no node answers at node.sock; is energo-node running?")
        name = target.removeprefix("/v1/feeds/")
        return {"device": name, "seq": self.final.get(name, 0)}

    def submit(self, raw: bytes) -> str:
        if self.away:
            raise NodeUnavailable("no node answers at node.sock; is energo-node running?")
        if self.refuse:
            raise self.refuse
        envelope = decode_transaction(raw)
        assert isinstance(envelope.intent, Reading)
        assert ED25519.verify(KEY, envelope.signature, envelope.signing_bytes(self.chain_id))
        assert envelope.valid_until_height == 0
        name = envelope.intent.device
        known = self.final.get(name, 0) + len(self.pending.get(name, []))
        self.numbers.append(envelope.nonce)
        if envelope.nonce <= known:
            raise NodeRefused("known", "recorded already")
        assert envelope.nonce == known + 1, "a feed has no gaps"
        assert envelope.intent.previous == self.hashes.get(name, ZERO_HASH)
        self.hashes[name] = sha256(raw)
        self.pending.setdefault(name, []).append(envelope.intent)
        return sha256(raw).hex()

    def finalize(self) -> list[Reading]:
        """Everything that is pending becomes final."""
        done = [reading for readings in self.pending.values() for reading in readings]
        for name, readings in self.pending.items():
            self.final[name] = self.final.get(name, 0) + len(readings)
        self.pending.clear()
        return done

    def lose(self) -> None:
        """The node restarts and forgets what was pending."""
        self.pending.clear()
        for name in list(self.hashes):
            if not self.final.get(name):
                del self.hashes[name]


class Bench:
    """A reader of one device with everything around it; `restart` gives a new process on the same folder."""

    def __init__(self, folder: Path, slot_count: int = 0) -> None:
        self.folder, self.genesis = folder, genesis(slot_count)
        self.now_ms = ORIGIN_MS
        self.link, self.node = FakeLink(), FakeNode()
        self.node.chain_id = self.genesis.chain_id
        self.queue = Queue(folder, self.genesis.chain_id)
        self.reader = self.make()

    def make(self) -> Reader:
        device, model = self.genesis.devices[0], models.load("iem3155")
        position = self.queue.position("home1")
        follower = Follower(limits_of(self.genesis, device, model, 25_000), position.track)
        self.feed = Feed(device, SEED, model, self.link, 1, follower, position.seq, position.hash)
        self.feed.commissioned = position.track is not None
        return Reader(self.genesis, self.queue, self.node, [self.feed], poll_ms=100, now_ms=lambda: self.now_ms)

    def restart(self) -> None:
        self.queue.close()
        self.queue = Queue(self.folder, self.genesis.chain_id)
        self.reader = self.make()

    def poll(self, slot: int, import_wh: int | None = None, *, ms: int = 0) -> None:
        """One poll while a slot runs."""
        self.now_ms = ORIGIN_MS + slot * SLOT_MS + ms
        if import_wh is not None:
            self.link.import_wh = import_wh
        asyncio.run(self.reader.poll())

    def deliver(self) -> bool:
        return asyncio.run(self.reader.deliver())


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def shown(readings: list[Reading]) -> list[tuple[int, int, int]]:
    return [(reading.slot, reading.import_wh, reading.flags) for reading in readings]


def test_each_slot_is_delivered_once_and_forgotten_when_it_is_final(bench: Bench) -> None:
    for slot in range(4):
        bench.poll(slot, 5_000 + 10 * slot)
        bench.poll(slot, ms=700)
        bench.deliver()
    assert shown(bench.node.finalize()) == [(0, 10, 0), (1, 20, 0), (2, 30, 0)]
    assert bench.queue.length() == 3
    assert not bench.deliver()
    assert bench.queue.length() == 0
    assert bench.node.numbers == [1, 2, 3]


def test_a_node_that_is_away_costs_nothing_but_time(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    bench.node.away = True
    for slot in range(6):
        bench.poll(slot, 5_000 + 10 * slot)
        bench.deliver()
    warnings = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(warnings) == 1
    assert "Readings wait on disk" in warnings[0].getMessage()
    bench.restart()
    bench.node.away = False
    bench.poll(6, 5_060)
    assert bench.deliver()
    assert shown(bench.node.finalize()) == [(slot, 10 * slot + 10, 0) for slot in range(6)]


def test_a_reader_without_power_leaves_one_reading_that_spans(bench: Bench) -> None:
    bench.poll(0, 5_000)
    bench.poll(1, 5_010)
    bench.restart()
    bench.poll(9, 5_500)
    bench.poll(10, 5_510)
    bench.deliver()
    assert shown(bench.node.finalize()) == [(0, 10, 0), (8, 500, FLAG_GAP), (9, 510, 0)]


def test_no_more_than_a_bounded_number_is_under_way(bench: Bench) -> None:
    bench.node.away = True
    for slot in range(IN_FLIGHT_MAX + 20):
        bench.poll(slot, 5_000 + slot)
    bench.node.away = False
    bench.deliver()
    bench.deliver()
    assert len(bench.node.numbers) == IN_FLIGHT_MAX
    bench.node.finalize()
    bench.deliver()
    assert bench.node.numbers == list(range(1, IN_FLIGHT_MAX + 20))


def test_a_node_that_forgot_gets_its_readings_again(bench: Bench) -> None:
    bench.poll(0, 5_000)
    bench.poll(1, 5_010)
    bench.deliver()
    bench.node.lose()
    bench.poll(2, 5_020)
    bench.node.refuse = NodeRefused("gap", "reading 1 must come before 2")
    bench.deliver()
    bench.node.refuse = None
    bench.now_ms += RESUBMIT_MS
    bench.deliver()
    assert bench.node.numbers == [1, 1, 2]
    assert shown(bench.node.finalize()) == [(0, 10, 0), (1, 20, 0)]


def test_a_slot_end_during_the_answer_proves_nothing(bench: Bench) -> None:
    bench.poll(0, 5_000)

    def crosses() -> None:
        bench.now_ms = ORIGIN_MS + 2 * SLOT_MS

    bench.link.while_reading = crosses
    bench.poll(1, 5_020, ms=SLOT_MS - 1)
    bench.link.while_reading = lambda: None
    assert bench.queue.length() == 0
    bench.poll(2, 5_020)
    bench.deliver()
    assert shown(bench.node.finalize()) == [(1, 20, FLAG_GAP)]


def test_an_unreadable_meter_is_said_once_and_nothing_is_lost(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    bench.poll(0, 5_000)
    bench.poll(1, 5_010)
    bench.link.import_wh = None
    for ms in range(0, 1_500, 100):
        bench.poll(2, ms=ms)
    bench.poll(3, 5_030)
    said = [record.getMessage() for record in caplog.records if record.getMessage().startswith("meter home1")]
    assert said == [
        "meter home1: commissioned; energy is counted from here",
        "meter home1: meter:502: cannot be reached; check power, cabling and address",
        "meter home1: works again",
    ]
    bench.deliver()
    assert shown(bench.node.finalize()) == [(0, 10, 0), (2, 30, FLAG_GAP)]


def test_a_full_disk_keeps_readings_in_memory_and_hands_over_none(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    bench.poll(0, 5_000)
    append = bench.queue.append

    def full(entries: object) -> None:
        raise DiskFailed("queue.sqlite: database or disk is full; free space")

    monkeypatch.setattr(bench.queue, "append", full)
    for slot in range(1, UNSAVED_MAX + 10):
        bench.poll(slot, 5_000 + 10 * slot)
        bench.deliver()
    assert bench.node.numbers == []
    assert len(bench.feed.unsaved) == UNSAVED_MAX
    assert sum("disk is full" in record.getMessage() for record in caplog.records) == 1
    monkeypatch.setattr(bench.queue, "append", append)
    bench.reader.save()
    bench.poll(UNSAVED_MAX + 10, 7_000)
    for _ in range(4):
        bench.deliver()
        bench.node.finalize()
    assert bench.node.final == {"home1": UNSAVED_MAX + 1}
    assert bench.queue.position("home1").seq == UNSAVED_MAX + 1


def test_nothing_is_read_twice_after_the_last_slot(tmp_path: Path) -> None:
    bench = Bench(tmp_path, slot_count=2)
    for slot in range(6):
        bench.poll(slot, 5_000 + 10 * slot)
    bench.deliver()
    assert shown(bench.node.finalize()) == [(0, 10, 0), (1, 20, 0)]
    assert bench.reader.due_in_ms() == 500


def test_polls_are_due_at_slot_ends_and_in_between_now_and_then(bench: Bench) -> None:
    assert bench.reader.due_in_ms() == 100, "not commissioned yet"
    bench.poll(0, 5_000)
    assert bench.reader.due_in_ms() == 500
    bench.now_ms = ORIGIN_MS + SLOT_MS - 30
    assert bench.reader.due_in_ms() == 30
    bench.now_ms = ORIGIN_MS + SLOT_MS
    assert bench.reader.due_in_ms() == 100, "a slot has ended that is not taken"


def test_a_ledger_that_knows_more_than_the_folder_stops_the_feed(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.node.final["home1"] = 40
    for slot in range(3):
        bench.poll(slot, 5_000 + 10 * slot)
        bench.deliver()
    assert bench.node.numbers == []
    errors = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert len(errors) == 1
    assert "commission the meter under a new name" in errors[0]


def test_a_refusal_is_said_once_and_tried_again(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    bench.poll(0, 5_000)
    bench.poll(1, 5_010)
    bench.node.refuse = NodeRefused("bad_sender", "not signed with the key of device home1")
    for _ in range(3):
        bench.deliver()
    assert sum("bad_sender" in record.getMessage() for record in caplog.records) == 1
    bench.node.refuse = None
    bench.deliver()
    assert shown(bench.node.finalize()) == [(0, 10, 0)]


def test_run_reads_a_real_meter_over_modbus_until_it_is_stopped(tmp_path: Path) -> None:
    """A street on loopback, its clock moved by the test, read over the wire by the reader's own loop."""

    async def script() -> list[Reading]:
        now_ms = ORIGIN_MS
        clock = lambda: now_ms  # noqa: E731
        homes, ports_file = 1, tmp_path / "ports.json"
        config = world.Config(None, homes, 1, 0, ORIGIN_MS, SLOT_MS, "127.0.0.1", {"home1": 0}, ports_file)
        stop_world, stop = asyncio.Event(), asyncio.Event()
        served = asyncio.create_task(world.serve(config, stop_world, now_ms=clock))
        async with asyncio.timeout(20):
            while not ports_file.exists():
                await asyncio.sleep(0)
        port = json.loads(ports_file.read_text())["home1"]
        link = ModbusLink(Endpoint("127.0.0.1", port), slot_ms=SLOT_MS, now_ms=clock)
        agreed, node = genesis(devices=("home1", "school")), FakeNode()
        node.chain_id = agreed.chain_id
        queue = Queue(tmp_path, agreed.chain_id)
        model = models.load("iem3155")
        feeds = [
            Feed(device, SEED, model, link, unit, Follower(limits_of(agreed, device, model, 25_000)), 0, ZERO_HASH)
            for device, unit in zip(agreed.devices, (street.UNIT_CONNECTION, street.UNIT_GENERATOR), strict=True)
        ]
        reader = Reader(agreed, queue, node, feeds, poll_ms=10, now_ms=clock)
        beats = 0

        def heartbeat() -> None:
            nonlocal beats
            beats += 1

        running = asyncio.create_task(reader.run(stop, heartbeat))
        try:
            async with asyncio.timeout(30):
                for slot in range(40, 44):
                    now_ms = ORIGIN_MS + slot * SLOT_MS
                    while any(feed.follower.track is None or feed.follower.track.slot < slot - 1 for feed in feeds):
                        await asyncio.sleep(0.001)
                while len(node.pending.get("school", [])) < 4 or len(node.pending["home1"]) < 4:
                    await asyncio.sleep(0.001)
        finally:
            stop.set()
            await running
            stop_world.set()
            await served
            queue.close()
        assert beats
        return node.finalize()

    readings = asyncio.run(script())
    truth, _ = world.build(street.expand(homes=1))
    expected: dict[str, list[tuple[int, int]]] = {"home1": [], "school": []}
    zero: dict[str, tuple[int, int]] = {}
    for slot in range(40, 44):
        truth.advance(slot)
        for meter in (truth.homes[0].connection, truth.generators[0].meter):
            start = zero.setdefault(meter.name, (meter.import_wh, meter.export_wh))
            expected[meter.name].append((meter.import_wh - start[0], meter.export_wh - start[1]))
    for name, rows in expected.items():
        mine = [reading for reading in readings if reading.device == name]
        assert [(reading.import_wh, reading.export_wh) for reading in mine] == rows
        assert [reading.slot for reading in mine] == [39, 40, 41, 42]
    assert expected["school"][-1][1] > 0
