"""`energoctl status`: the node, its head, its slot, and whether it can go on."""

from __future__ import annotations

from typing import Any

import click

from . import answers
from .commands import NodeCommand, get


@click.command(cls=NodeCommand)
@click.pass_context
def status(ctx: click.Context) -> None:
    """Show the node, its head, its slot and who it waits for."""
    found = get(ctx, "/v1/status")
    if answers.wants_json(ctx):
        answers.write_json(found)
    else:
        answers.write_facts(_facts(found))


def _part(found: dict[str, Any]) -> str:
    if found["seat"] is None:
        return f"follows epoch {found['epoch']} without a seat"
    if not found["voting"]:
        return f"has a seat in epoch {found['epoch']} and votes once its neighbors told what they hold of its votes"
    return f"votes in epoch {found['epoch']}"


def _facts(found: dict[str, Any]) -> list[tuple[str, object]]:
    finality = found["finality_ms"]
    if found["waiting_for"]:
        homes = "home" if found["waiting_for"] == 1 else "homes"
        going = f"waiting for {found['waiting_for']} more {homes}: nothing becomes final until then"
    elif found["syncing"]:
        going = "fetching blocks that the neighbors have already"
    else:
        going = "in step"
    last = found["slot_count"] - 1
    slot = f"{found['slot']}, {found['closed_slot']} is the last that is settled"
    if found["slot"] < 0:
        slot = "the first has not begun"
    elif 0 <= last < found["slot"]:
        slot = f"the last ({last}) is over, {found['closed_slot']} is the last that is settled"
    facts: list[tuple[str, object]] = [
        ("home", found["name"]),
        ("account", found["account"]),
        ("street", f"{found['street']}, in {found['currency']}"),
        ("state", going),
        ("height", found["height"]),
        ("head", found["head"]),
        ("state root", found["state_root"]),
        ("last block", found["block_time"]),
        ("time", found["time"] + (", unsure: this clock was never set" if found["time_unsure"] else "")),
        ("slot", slot),
        ("voters", f"{found['committee']}, a quorum is {found['quorum']}: {found['promise']}"),
        ("this node", _part(found)),
        ("linked neighbors", found["peers"]),
        ("waiting transactions", found["mempool"]),
    ]
    if finality["p50"] is not None:
        facts.append(("finality", f"{finality['p50']} ms median, {finality['max']} ms at most"))
    return [*facts, ("memory", f"{found['rss_kib'] // 1024} MiB"), ("version", found["version"])]
