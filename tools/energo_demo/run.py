"""One run of a street of real processes: made, started, fed with outages, watched to its end, stopped, and audited.

Promises that at its end, however that comes, no process of it runs and no temporary folder of it is left; that every figure and
check is computed from what the nodes have on disk; and that whatever fails is one sentence that says what to do.
"""

from __future__ import annotations

import json
import shutil
import signal
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol

import matcher_c
from ledger.base.errors import ConfigError, DiskFailed, EnergoError, NodeRefused, NodeUnavailable
from ledger.base.files import load_genesis
from ledger.base.genesis import Genesis, counterparty_name
from ledger.base.limits import COMMITTEE_DEFAULT_MAX
from ledger.client import NodeClient
from ledger.node.store import Store
from ledger.node.verify import verify
from ledger.state.blocks import decode_block
from ledger.state.events import Event
from ledger.state.transition import Executed, Matchers
from matcher_c import reference

from . import audit, folders, street
from .folders import HomeFolder
from .processes import Process, Signals, stop_all
from .street import Street

ORIGIN_BASE_MS: Final = 5_000  # from launch to the first slot ...
ORIGIN_HOME_MS: Final = 1_000  # ... and so much more a home
CLIENT_TIMEOUT_S: Final = 3.0
TICK_S: Final = 0.25
REST_TICKS: Final = 3  # heads have to stay equal for so many looks
REST_BASE_S: Final = 30.0  # from the last slot's end until the chain must have come to rest ...
REST_HOME_S: Final = 3.0  # ... and so much more a home
WORLD_READY_S: Final = 15.0
# How far into its first slot a home is switched off at the latest; sooner once the slot before it is closed.
SWITCH_OFF_PARTS: Final = (7, 10)

KINDS: Final = ("wallet", "node", "meter", "der")  # in the order in which they are started
MODULES: Final = {
    "wallet": "ledger.wallet",
    "node": "ledger.node",
    "meter": "firmware.meter",
    "der": "firmware.der",
}

NATIVE: Final = Matchers(matcher_c.clear_arrays, matcher_c.OrderBook)
REFERENCE: Final = Matchers(reference.clear_arrays, reference.OrderBook)


class DemoFailed(EnergoError):
    """The street did not come to where it should."""

    code = "demo_failed"


@dataclass(frozen=True)
class Outage:
    """A home without node, wallet and agent from slot `first` on, for `slots` slots; with `power`, without reader too."""

    home: str
    first: int
    slots: int
    power: bool

    @property
    def last(self) -> int:
        """Its last slot."""
        return self.first + self.slots - 1


@dataclass(frozen=True)
class Options:
    """What a run is started with. `slots` cuts the days short; None: all of them."""

    homes: int = 5
    days: int = 1
    slot_ms: int = 1_500
    seed: int = 0
    outages: tuple[Outage, ...] = ()
    street_file: Path | None = None
    keep: Path | None = None
    slots: int | None = None


@dataclass
class HomeRun:
    """A home while it runs: its processes by kind, and what its node last said (None: it does not answer)."""

    name: str
    role: str
    folder: HomeFolder
    processes: dict[str, Process]
    client: NodeClient
    away: Outage | None = None
    status: dict[str, Any] | None = None


@dataclass
class Now:
    """The street at one moment, for whoever shows it. `closed` is the newest slot record."""

    street: Street
    slot: int
    slot_count: int
    homes: Sequence[HomeRun]
    closed: dict[str, Any] | None
    waiting_for: int
    pools: list[dict[str, Any]] = field(default_factory=list)


class Show(Protocol):
    """Where a run tells how it goes."""

    def say(self, text: str) -> None:
        """A sentence."""

    def tick(self, now: Now) -> None:
        """How the street stands; many times a second at most."""


def parse_outage(text: str) -> Outage:
    """`home3:10:30` or `home3:10:30:power`. Raises `ConfigError`."""
    parts = text.split(":")
    power = len(parts) == 4 and parts[3] == "power"
    digits = all(part.isascii() and part.isdigit() and len(part) < 10 for part in parts[1:3])
    if len(parts) not in (3, 4) or (len(parts) == 4 and not power) or not digits or int(parts[2]) < 1:
        raise ConfigError(f"{text!r} is no outage; write HOME:FROM_SLOT:SLOTS or HOME:FROM_SLOT:SLOTS:power")
    return Outage(parts[0], int(parts[1]), int(parts[2]), power)


def check_options(options: Options) -> Street:
    """The street that the options mean. Raises `ConfigError` for what cannot be run."""
    if not 1 <= options.homes <= COMMITTEE_DEFAULT_MAX:
        raise ConfigError(
            f"--homes {options.homes}: the demo runs 1 to {COMMITTEE_DEFAULT_MAX} homes, all of them voters"
        )
    plan = street.expand(options.street_file, homes=options.homes, days=options.days, seed=options.seed)
    count = _slot_count(options, plan)
    if not 1 <= count <= plan.slot_count:
        raise ConfigError(f"--slots {options.slots}: {plan.days} days have 1 to {plan.slot_count} slots")
    names = {home.name for home in plan.homes}
    for number, outage in enumerate(options.outages):
        if outage.home not in names:
            raise ConfigError(f"--outage {outage.home}: this street has home1 to home{options.homes}")
        if outage.first >= count:
            raise ConfigError(f"--outage {outage.home}:{outage.first}: the slots of this run are 0 to {count - 1}")
        for other in options.outages[:number]:
            if other.home == outage.home and other.first <= outage.last + 1 and outage.first <= other.last + 1:
                raise ConfigError(f"--outage {outage.home}: two outages meet; leave a slot between them or write one")
    return plan


def _slot_count(options: Options, plan: Street) -> int:
    return plan.slot_count if options.slots is None else options.slots


class Run:
    """One run. `signals` is entered by the caller for as long as the run lasts."""

    def __init__(self, options: Options, plan: Street, signals: Signals, show: Show) -> None:
        self.options, self.street, self.signals, self.show = options, plan, signals, show
        self.launched_s = time.monotonic()
        self.slot_count = _slot_count(options, plan)
        self.origin_ms = _wall_ms() + ORIGIN_BASE_MS + ORIGIN_HOME_MS * len(plan.homes)
        self.homes: list[HomeRun] = []
        self.problems: dict[str, list[str]] = {}
        self._world: Process | None = None
        self._genesis: Genesis | None = None
        self._closed: dict[str, Any] | None = None
        self._pools: list[dict[str, Any]] = []
        self._waiting_said = False

    # -- the whole of it

    def run(self) -> dict[str, Any]:
        """From an empty folder to the report's JSON. Raises `EnergoError` in words."""
        keep = self.options.keep
        if keep is not None:
            folders.make_folder(keep)
        root = keep if keep is not None else Path(_temporary_folder())
        try:
            self._make(root)
            self._start(root)
            self._meet()
            self._live()
            statuses = self._rest()
            self._stop_all()
            return self._report(statuses)
        except OSError as error:
            what = f"{error.filename}: " if error.filename else ""
            raise DiskFailed(
                f"{what}{error.strerror or error}; free space or name another folder with --keep"
            ) from None
        finally:
            self._stop_all()
            if keep is None:
                shutil.rmtree(root, ignore_errors=True)

    def _stop_all(self) -> None:
        processes = [process for home in self.homes for process in home.processes.values()]
        stop_all(processes + ([self._world] if self._world else []))

    # -- making and starting

    def _folder(self, root: Path, home: str) -> HomeFolder:
        return HomeFolder(root / home)

    def _make(self, root: Path) -> None:
        """Keys, genesis, and the files of the processes that need no meter."""
        self.show.say(f"making {len(self.street.homes)} homes in {root}")
        home_keys, device_keys = folders.make_keys(self.street, lambda home: self._folder(root, home))
        genesis = folders.genesis_text(
            self.street,
            home_keys,
            device_keys,
            created_ms=_wall_ms(),
            origin_ms=self.origin_ms,
            slot_ms=self.options.slot_ms,
            slot_count=self.slot_count,
        )
        ports = folders.free_ports(len(self.street.homes))
        self._zeroconf = folders.multicast_works()
        if not self._zeroconf:
            self.show.say(
                "no multicast on this machine: each node is told the others' addresses instead of finding them"
            )
        for number, home in enumerate(self.street.homes):
            folder = self._folder(root, home.name)
            folders.write(folder.genesis, genesis)
            folders.write(folder.config("wallet"), folders.wallet_text(home, days=self.street.days))
            others = [] if self._zeroconf else ports[:number] + ports[number + 1 :]
            folders.write(folder.config("node"), folders.node_text(home, port=ports[number], peers=others))
            processes = {
                kind: Process(f"{home.name}'s {kind}", MODULES[kind], folder.config(kind), folder.log(kind))
                for kind in KINDS
            }
            client = NodeClient(folder.socket, CLIENT_TIMEOUT_S)
            self.homes.append(HomeRun(home.name, home.role, folder, processes, client))
        self._genesis = load_genesis(self.homes[0].folder.genesis)

    def _start(self, root: Path) -> None:
        """The world, then every home's processes."""
        ports_file, config = root / "world" / "ports.json", root / "world" / "world.toml"
        text = folders.world_text(
            self.street,
            self.options.street_file,
            origin_ms=self.origin_ms,
            slot_ms=self.options.slot_ms,
            ports_file=ports_file.resolve(),
        )
        folders.write(config, text)
        self._world = Process("the simulated meters", "energo_demo.world", config, root / "world" / "world.log")
        self._world.start()
        for kind in ("wallet", "node"):
            for home in self.homes:
                self.signals.check()
                home.processes[kind].start()
        ports = self._meter_ports(ports_file)
        for home, plan in zip(self.homes, self.street.homes, strict=True):
            port, slot_ms = ports[home.name], self.options.slot_ms
            folders.write(
                home.folder.config("meter"), folders.meter_text(self.street, plan, port=port, slot_ms=slot_ms)
            )
            folders.write(home.folder.config("der"), folders.agent_text(self.street, plan, port=port, slot_ms=slot_ms))
        for kind in ("meter", "der"):
            for home in self.homes:
                self.signals.check()
                home.processes[kind].start()

    def _meter_ports(self, ports_file: Path) -> dict[str, int]:
        until_s = time.monotonic() + WORLD_READY_S
        while not ports_file.exists():
            self._check_processes()
            if time.monotonic() > until_s:
                raise DemoFailed(
                    f"the simulated meters are not ready after {WORLD_READY_S:.0f} s; is this machine busy?"
                )
            self.signals.pause(0.02)
        ports: dict[str, int] = json.loads(ports_file.read_text(encoding="ascii"))
        return ports

    def _meet(self) -> None:
        """Wait until every node is linked to every other. Raises `DemoFailed` if the first slot begins before."""
        self.show.say(f"waiting until the {len(self.homes)} nodes have found one another")
        while True:
            self._look()
            linked = [home for home in self.homes if home.status and home.status["peers"] >= len(self.homes) - 1]
            if len(linked) == len(self.homes):
                break
            if _wall_ms() >= self.origin_ms:
                missing = next(home for home in self.homes if home not in linked)
                heard = "does not answer" if missing.status is None else f"has {missing.status['peers']} neighbors"
                raise DemoFailed(
                    f"the nodes have not found one another before the first slot: {missing.name} {heard} of "
                    f"{len(self.homes) - 1}. Last in its log: {missing.processes['node'].last_words()}. "
                    "Take fewer --homes on this machine; --keep DIR keeps the logs"
                )
            self.signals.pause(0.1)
        self.show.say(f"all nodes are linked after {time.monotonic() - self.launched_s:.1f} s")

    # -- the day

    def _live(self) -> None:
        """Until the last slot has ended: outages, and telling how it goes."""
        while self._slot() < self.slot_count:
            self._drive_outages()
            self._look()
            self._tell()
            self.signals.pause(min(TICK_S, self.options.slot_ms / 4_000))
        for home in self.homes:
            if home.away:
                self._switch_on(home)

    def _slot(self) -> int:
        return (_wall_ms() - self.origin_ms) // self.options.slot_ms

    def _drive_outages(self) -> None:
        slot = self._slot()
        for home in self.homes:
            if home.away and slot > home.away.last:
                self._switch_on(home)
            for outage in self.options.outages:
                if outage.home == home.name and not home.away and outage.first <= slot <= outage.last:
                    self._switch_off_when_due(home, outage, slot)

    def _switch_off_when_due(self, home: HomeRun, outage: Outage, slot: int) -> None:
        """Once the slot before is settled with this home's reading, so that the outage takes the slots that it names."""
        part, parts = SWITCH_OFF_PARTS
        into_ms = _wall_ms() - self.origin_ms - outage.first * self.options.slot_ms
        settled = home.status is not None and home.status["closed_slot"] >= outage.first - 1
        if settled or slot > outage.first or into_ms * parts >= self.options.slot_ms * part:
            self._switch_off(home, outage)

    def _switch_off(self, home: HomeRun, outage: Outage) -> None:
        """With `power`, everything stops at once; else the programs are ended in order."""
        kinds = ["node", "wallet", "der"] + ["meter"] * outage.power
        number = signal.SIGKILL if outage.power else signal.SIGTERM
        stop_all([home.processes[kind] for kind in kinds], number)
        home.away, home.status = outage, None
        what = "without power" if outage.power else "switched off (its meter is still read)"
        self.show.say(f"slot {outage.first}: {home.name} is {what} for {outage.slots} slots")

    def _switch_on(self, home: HomeRun) -> None:
        home.away = None
        for kind in KINDS:
            if not home.processes[kind].is_running:
                home.processes[kind].start()
        self.show.say(f"slot {self._slot()}: {home.name} is back")

    def _check_processes(self) -> None:
        if self._world:
            self._world.check()
        for home in self.homes:
            for process in home.processes.values():
                process.check()

    def _look(self) -> None:
        """Ask every node how it is. Raises `ProcessFailed` when a process has ended by itself."""
        self._check_processes()
        for home in self.homes:
            home.status = None if home.away else _ask(home.client, "/v1/status")

    def _tell(self) -> None:
        up = [home for home in self.homes if home.status is not None]
        waiting = min((home.status["waiting_for"] for home in up if home.status), default=0)
        if waiting and not self._waiting_said:
            nodes = "one more node" if waiting == 1 else f"{waiting} more nodes"
            self.show.say(f"slot {self._slot()}: too few homes are there to agree; the street waits for {nodes}")
        self._waiting_said = bool(waiting)
        best = max(up, key=lambda home: home.status["height"] if home.status else 0, default=None)
        if best is not None and best.status is not None:
            newest = -1 if self._closed is None else int(self._closed["slot"])
            if best.status["closed_slot"] > newest:
                records = _ask(best.client, "/v1/slots?count=1")
                self._closed = records[0] if records else self._closed
                self._pools = _ask(best.client, "/v1/pools") or self._pools
        slot = min(self._slot(), self.slot_count)
        self.show.tick(Now(self.street, slot, self.slot_count, self.homes, self._closed, waiting, self._pools))

    # -- the end

    def _rest(self) -> list[dict[str, Any]]:
        """Every node's status once all readings are settled and the chain is quiet. Raises `DemoFailed` if it is not."""
        self.show.say("the last slot has ended; waiting until the chain is at rest")
        until_s = time.monotonic() + REST_BASE_S + REST_HOME_S * len(self.homes)
        seen: list[tuple[int, str]] = []
        calm = 0
        while True:
            self._look()
            self._tell()
            statuses = [home.status for home in self.homes if home.status is not None]
            heads = sorted((status["height"], status["head"]) for status in statuses)
            calm = calm + 1 if heads == seen and self._is_settled(statuses) else 0
            seen = heads
            if calm >= REST_TICKS:
                return statuses
            if time.monotonic() > until_s:
                raise DemoFailed(f"the chain did not come to rest: {self._unrest()}; --keep DIR keeps the logs")
            self.signals.pause(TICK_S)

    def _is_settled(self, statuses: list[dict[str, Any]]) -> bool:
        if len(statuses) < len(self.homes) or len({status["head"] for status in statuses}) > 1:
            return False
        last = self.slot_count - 1
        if any(status["mempool"] or status["closed_slot"] < last for status in statuses):
            return False
        return not self._unreported()

    def _unreported(self) -> list[str]:
        """The devices whose last reading is not in the ledger yet."""
        client = self.homes[0].client
        feeds = {meter.name: _ask(client, f"/v1/feeds/{meter.name}") for meter in self.street.meters}
        return [name for name, feed in feeds.items() if feed is None or feed["slot"] < self.slot_count - 1]

    def _unrest(self) -> str:
        parts = [
            f"{home.name} at height {home.status['height']}, slot {home.status['closed_slot']} closed, "
            f"{home.status['mempool']} transactions waiting"
            if home.status
            else f"{home.name} does not answer"
            for home in self.homes
        ]
        unreported = self._unreported()
        return "; ".join(parts) + (f"; the last reading of {', '.join(unreported)} is missing" if unreported else "")

    # -- the report

    def _report(self, statuses: list[dict[str, Any]]) -> dict[str, Any]:
        """Figures and checks from the files of the nodes, which have stopped."""
        assert self._genesis is not None, "the street was made"
        genesis = self._genesis
        self.show.say(
            "replaying the chain from its genesis, on every node's files, and once with the reference matchers"
        )
        finals: list[Executed] = []
        for home in self.homes:
            store = Store.open(home.folder.node, genesis, read_only=True)
            try:
                finals.append(store.final()[0])
            finally:
                store.close()
            self.signals.check()
        history = audit.gather(genesis, _blocks(self.homes[0].folder.node, genesis))
        state = finals[0].state
        problems = self.problems
        problems["same_head"] = _differences(self.homes, [f"{f.header.height} {f.hash.hex()[:16]}" for f in finals])
        roots = [final.header.state_root.hex()[:16] for final in finals]
        problems["same_state_root"] = _differences(self.homes, roots)
        problems["conserved"] = [
            f"{home.name}: {breach}"
            for home, final in zip(self.homes, finals, strict=True)
            for breach in audit.not_conserved(genesis, history, final.state)
        ]
        problems["energy_balanced"] = audit.energy_unbalanced(history)
        problems["clearings_reverified"] = [
            *audit.not_repeatable(history, REFERENCE.clear_arrays),
            *self._verify(self.homes[0], genesis, REFERENCE),
        ]
        problems["replayed"] = [bad for home in self.homes for bad in self._verify(home, genesis, NATIVE)]
        problems["paid_exactly"] = audit.unevenly_paid(history, state)
        problems["pool_backed"] = audit.pool_unbacked(history)
        if len(history.slots) != self.slot_count:
            missing = f"{len(history.slots)} slots are settled, {self.slot_count} have been"
            problems["energy_balanced"].append(missing)
        nodes = [
            {
                "name": home.name,
                "height": final.header.height,
                "head": final.hash.hex(),
                "state_root": final.header.state_root.hex(),
                "rss_kib": status["rss_kib"],
            }
            for home, final, status in zip(self.homes, finals, statuses, strict=True)
        ]
        return {
            **audit.figures(history, state),
            "nodes": nodes,
            "checks": {name: not found for name, found in problems.items()},
            "finality_ms": _slowest([status["finality_ms"] for status in statuses]),
            "wall_s": round(time.monotonic() - self.launched_s, 1),
            "street": {
                "name": self.street.name,
                "currency": self.street.currency,
                "day": self.street.day,
                "days": self.street.days,
                "seed": self.street.seed,
                "counterparty": counterparty_name(self.street.market.islanded),
            },
            "problems": {name: found[: audit.PROBLEMS_MAX] for name, found in problems.items() if found},
        }

    def _verify(self, home: HomeRun, genesis: Genesis, matchers: Matchers) -> list[str]:
        """Replay a node's files; what is wrong, in words."""
        result = verify(home.folder.node, genesis, matchers, lambda at, of: self.signals.check())
        bad = result["first_bad"]
        return [] if result["ok"] else [f"{home.name}: block {bad['height']}: {bad['what']}"]


def _blocks(folder: Path, genesis: Genesis) -> list[tuple[tuple[bytes, ...], tuple[Event, ...]]]:
    """(transactions, events) of every block on disk."""
    store = Store.open(folder, genesis, read_only=True)
    try:
        return [
            (decode_block(body).transactions, tuple(store.events(height))) for height, body, _, _ in store.raw_blocks()
        ]
    finally:
        store.close()


def _differences(homes: Sequence[HomeRun], values: Sequence[str]) -> list[str]:
    """Who holds something else than the first home."""
    return [
        f"{home.name} is at {value}, {homes[0].name} at {values[0]}"
        for home, value in zip(homes, values, strict=True)
        if value != values[0]
    ]


def _slowest(finalities: Sequence[dict[str, int | None]]) -> dict[str, int | None]:
    """Of each figure, the slowest node's."""
    return {
        key: max((each[key] for each in finalities if each[key] is not None), default=None)  # type: ignore[type-var]
        for key in ("p50", "p95", "max")
    }


def _ask(client: NodeClient, target: str) -> Any:
    """A node's answer; None if it does not give one now."""
    try:
        return client.get(target)
    except (NodeUnavailable, NodeRefused):
        return None


def _temporary_folder() -> str:
    try:
        return tempfile.mkdtemp(prefix="energo-demo-")
    except OSError as error:
        raise DiskFailed(f"no temporary folder can be made ({error.strerror}); free space or use --keep DIR") from None


def _wall_ms() -> int:
    return time.time_ns() // 1_000_000


def run(options: Options, show: Show) -> dict[str, Any]:
    """Runs a street to its end: the report's JSON. Raises `ConfigError` for options that cannot be, else `EnergoError`."""
    plan = check_options(options)
    with Signals() as signals:
        return Run(options, plan, signals, show).run()
