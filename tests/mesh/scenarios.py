"""What is done to the street, as one table. Each returns what it saw, in words; the judge comes after each."""

from __future__ import annotations

import errno
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ledger.client import NodeClient

from . import jumping
from .lan import run
from .street import Failed, Home, Street, until

KILLS: Final = 20
POWER_CUTS: Final = 3
LOSS_PERCENT: Final = 30
NOTICE_S: Final = 45.0  # 15 s of silence end a link, and a loaded machine is slow
CARD: Final = "24m"
COMMAND_S: Final = 90.0  # of one energoctl: it looks for a member for 30 s, and waits for a block for 60
YEARS_80_MS: Final = 80 * 365 * 86_400_000
YEARS_10_S: Final = 10 * 365 * 86_400


def _found_each_other(street: Street) -> str:
    seconds = street.until_linked()
    with street.load():
        street.until_final(8)
    return f"all links ({', '.join(sorted(_families(street)))}) after {seconds:.1f} s"


def _families(street: Street) -> set[str]:
    addresses = [peer["address"] for home in street.homes for peer in home.client.get("/v1/peers")]
    return {"IPv6" if address.startswith("[") else "IPv4" for address in addresses}


def discovery_ipv4(street: Street) -> str:
    """IPv4 only: homes that know no address find each other by multicast."""
    street.lan.families(ipv4=True, ipv6=False)
    street.restart()
    return _found_each_other(street)


def discovery_ipv6(street: Street) -> str:
    """Link-local IPv6 only: the same."""
    street.lan.families(ipv4=False, ipv6=True)
    street.restart()
    return _found_each_other(street)


def change_of_family(street: Street) -> str:
    """IPv4 comes back while everything runs, and IPv6 goes: every link has to find another way."""
    street.lan.families(ipv4=True, ipv6=True)
    street.until_linked()
    street.lan.families(ipv4=True, ipv6=False)
    try:
        seconds = until("every link is one of IPv4", lambda: _families(street) == {"IPv4"}, NOTICE_S)
        return f"after {seconds:.1f} s; {_found_each_other(street)}"
    finally:
        street.lan.families(ipv4=True, ipv6=True)


def cut_cable(street: Street) -> str:
    """One home's cable is pulled out under load, and put in again."""
    away, others = street.homes[-1], street.homes[:-1]
    with street.load(others):
        street.until_final(5)
        street.lan.cut(away.number)
        gap = street.until_final(10)
        noticed = until("the cut home has no links", lambda: away.status()["peers"] == 0, NOTICE_S)
        behind = street.homes[0].status()["height"] - away.status()["height"]
        street.lan.mend(away.number)
        back = street.until_linked()
    return f"10 more final in {gap:.1f} s, noticed after {noticed:.1f} s, {behind} blocks behind; back in {back:.1f} s"


def silent_partition(street: Street) -> str:
    """One home's port hangs on another bridge: its carrier stays, its links fall silent."""
    away, others = street.homes[-1], street.homes[:-1]
    with street.load():
        street.until_final(5)
        street.lan.part({away.number})
        gap = street.until_final(10)
        noticed = until("the home alone has no links", lambda: away.status()["peers"] == 0, NOTICE_S)
        until("the others let its links go", lambda: street.linked(others), NOTICE_S)
        street.lan.part(())
        back = street.until_linked()
    return f"10 more final in {gap:.1f} s, noticed after {noticed:.1f} s; back in {back:.1f} s"


def halves(street: Street) -> str:
    """Two bridges with half of the homes each: nobody has a quorum, nothing may be final."""
    half = street.homes[len(street.homes) // 2 :]
    with street.load():
        street.until_final(5)
        street.lan.part({home.number for home in half})
        until("every home waits for others", lambda: all(h.status()["waiting_for"] > 0 for h in street.homes), NOTICE_S)
        heights = [home.status()["height"] for home in street.homes]
        asked = len(street.told.payments)
        until("more is asked for", lambda: len(street.told.payments) >= asked + len(street.homes), NOTICE_S)
        if heights != [home.status()["height"] for home in street.homes]:
            raise Failed(f"half of the street went on from {heights}")
        street.lan.part(())
        back = street.until_linked()
        street.until_final(10)
    return f"all stood still at {max(heights)}; together again in {back:.1f} s"


def loss(street: Street) -> str:
    """30 of 100 frames to every home are lost."""
    lost_before, sent_before = street.lan.lost()
    street.lan.lose(LOSS_PERCENT)
    try:
        with street.load():
            seconds = street.until_final(20, 240)
    finally:
        street.lan.lose(0)
    lost, sent = street.lan.lost()
    percent = 100 * (lost - lost_before) / max(1, sent - sent_before)
    if not LOSS_PERCENT - 10 < percent < LOSS_PERCENT + 10:
        raise Failed(f"{percent:.0f} % of {sent - sent_before} frames were lost: the LAN did not do what it was told")
    return f"20 final in {seconds:.1f} s; {lost - lost_before} of {sent - sent_before} frames lost"


def kill_loop(street: Street) -> str:
    """kill -9 of a node or a wallet at a time under load, and started again at once."""
    chance = random.Random(1)
    killed = {"node": 0, "wallet": 0}
    with street.load():
        for _ in range(KILLS):
            home = chance.choice(street.homes)
            which = chance.choice(("node", "node", "wallet"))
            home.kill(which)
            home.start(which)
            killed[which] += 1
            street.until_final(1)
    return f"{killed['node']} nodes and {killed['wallet']} wallets killed"


def power_cut(street: Street) -> str:
    """kill -9 of all processes of all homes at once under load, and everything started again."""
    took = []
    for _ in range(POWER_CUTS):
        with street.load():
            street.until_final(10)
            street.kill()
            street.start()
            took.append(street.until_final(1))
    return f"{POWER_CUTS} cuts; the next one final after {max(took):.1f} s at most"


def disk_full(street: Street) -> str:
    """One home's card (a small file system in memory) fills to the last byte under load; then there is room again."""
    home = street.homes[1]
    home.kill()
    away = home.folder.with_name(f"{home.name}.kept")
    home.folder.rename(away)
    home.folder.mkdir()
    run("mount", "-t", "tmpfs", "-o", f"size={CARD}", "tmpfs", str(home.folder))
    try:
        shutil.copytree(away, home.folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("*.sock"))
        home.start()
        street.until_linked()
        filler = home.folder / "filler"
        with street.load([each for each in street.homes if each is not home]):
            until("the home with the full card stands still", lambda: _fill(filler) and _stands(home, street), 120)
            street.until_final(10)
            ended = [process for process, running in home.processes.items() if running.poll() is not None]
            filler.unlink()
            home.revive()
            back = street.until_linked()
            street.until_same_height(home)
    finally:
        home.kill()
        shutil.rmtree(away)
        shutil.copytree(home.folder, away, ignore=shutil.ignore_patterns("*.sock", "filler"))
        run("umount", str(home.folder))
        home.folder.rmdir()
        away.rename(home.folder)
        home.start()
    return f"{' and '.join(ended) or 'nothing'} ended while it was full, the others went on; back in {back:.1f} s"


def _fill(file: Path) -> bool:
    with open(file, "ab", buffering=0) as filler:
        try:
            while filler.write(bytes(4096)):
                continue
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
    return True


def _stands(home: Home, street: Street) -> bool:
    if any(running.poll() is not None for running in home.processes.values()):
        return True
    return bool(street.homes[0].status()["height"] - home.status()["height"] >= 5)


def clock_jumps(street: Street) -> str:
    """One node's wall clock jumps to 2106 and to 1970 while it runs; another's monotonic clock starts ten years on."""
    jumper, later = street.homes[0], street.homes[1]
    file = street.folder / "clock"
    file.write_text("0")
    jumper.kill("node")
    later.kill("node")
    jumper.module["node"] = ["-m", "tests.mesh.jumping"]
    jumper.before = ["env", f"{jumping.OFFSET_FILE}={file}"]
    later.before = ["unshare", "--time", "--monotonic", str(YEARS_10_S), "--boottime", str(YEARS_10_S)]
    try:
        jumper.start("node")
        later.start("node")
        street.until_linked()
        before = street.homes[2].status()["block_time"]
        with street.load():
            for offset_ms in (YEARS_80_MS, -YEARS_80_MS, 0):
                fresh = file.with_suffix(".new")
                fresh.write_text(str(offset_ms))
                fresh.replace(file)  # the node reads it all the time
                street.until_final(10)
        years = {int(home.status()["block_time"][:4]) - int(before[:4]) for home in street.homes}
        if years != {0}:
            raise Failed(f"the ledger's time followed a clock by {years} years")
    finally:
        for home in (jumper, later):
            home.kill("node")
            home.module["node"], home.before = ["-m", "ledger.node"], []
            home.start("node")
    return "the ledger's time went on as before"


def join_by_code(street: Street) -> str:
    """A home that knows nothing but a code finds the members by multicast, joins, is admitted by all, and catches up."""
    member, number = street.homes[0], len(street.homes) + 1
    name, new, card = f"home{number}", street.folder / f"home{number}", street.folder / "card.json"
    begin = time.monotonic()
    invite = _ctl(street, member.number, "member", "invite", "--yes", "--save", str(card), *_sockets(member))
    assert invite.stdout is not None, "its words are read here"
    code = next(line.split(" join ")[1].split()[0] for line in invite.stdout if " join " in line)
    _done(_ctl(street, number, "member", "join", code, "--dir", str(new), "--name", name))
    _done(invite)
    for home in street.homes[1:]:
        _done(
            _ctl(street, home.number, "member", "admit", str(card), *_sockets(home)), refusals=("takes part already",)
        )
    node = _ctl(street, number, "node", "start", str(new))
    try:
        client = NodeClient(new / "run" / "node.sock")
        with street.load():
            street.until_final(10)
        until(f"{name} has links to all", lambda: client.get("/v1/status")["peers"] >= number - 1, NOTICE_S)
        until(
            f"{name} is where the others are", lambda: client.get("/v1/status")["head"] == member.status()["head"], 60
        )
        seat = client.get("/v1/status")["seat"]
    finally:
        node.terminate()
        node.communicate()
    seated = "no seat yet" if seat is None else "with a seat"
    return f"joined, admitted, caught up after {time.monotonic() - begin:.1f} s, {seated}"


def _sockets(home: Home) -> tuple[str, ...]:
    run_folder = home.folder / "run"
    return ("--node", str(run_folder / "node.sock"), "--wallet", str(run_folder / "w" / "owner.sock"))


def _ctl(street: Street, number: int, *words: str) -> subprocess.Popen[str]:
    """energoctl in a home's namespace."""
    command = street.lan.command(number, [sys.executable, "-m", "energoctl.main", *words])
    return subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def _done(process: subprocess.Popen[str], refusals: tuple[str, ...] = ()) -> None:
    """Wait for a command. Raises `Failed` with its last line, but for refusals that are none here."""
    said, _ = process.communicate(timeout=COMMAND_S)
    if process.returncode and not any(word in said for word in refusals):
        raise Failed(said.strip().splitlines()[-1])


@dataclass(frozen=True)
class Scenario:
    """A row of the table."""

    name: str
    act: Callable[[Street], str]

    @property
    def what(self) -> str:
        """What is done, in words."""
        return (self.act.__doc__ or "").strip().rstrip(".")


SCENARIOS: Final = tuple(
    Scenario(name, act)
    for name, act in (
        ("discovery, IPv4 only", discovery_ipv4),
        ("discovery, IPv6 only", discovery_ipv6),
        ("change of family", change_of_family),
        ("cut cable", cut_cable),
        ("silent partition", silent_partition),
        ("two halves", halves),
        ("30 % loss", loss),
        ("kill -9 in a loop", kill_loop),
        ("power cut of all", power_cut),
        ("full disk", disk_full),
        ("clock jumps", clock_jumps),
        ("a home joins by a code", join_by_code),  # the last: the street has a home more after it
    )
)
