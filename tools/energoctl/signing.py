"""How a wish becomes final: the wallet signs it with the account's next number, the node takes it, and a block carries it.

The agent signs with the same key, so a number may be taken between asking for it and using it; then it is tried again with
the next one. Nothing is ever sent twice after a node took it. `receipt` asks later what became of one.
"""

from __future__ import annotations

import time
from typing import Any, Final
from urllib.parse import quote

import click

from ledger.base.address import format_address
from ledger.base.crypto import account_of_key, sha256
from ledger.base.errors import EnergoError, NodeRefused, NodeUnavailable
from ledger.base.intents import Intent
from ledger.client import NodeClient, WalletClient

from . import answers
from .commands import NodeCommand, client, get, node_path, wallet_path

NUMBER_TRIES: Final = 5  # the agent acts a few times a slot; it does not win five races in a row
FINAL_S: Final = 60.0  # a street in step takes a second or two; beyond this a person wants the prompt back
POLL_S: Final = 8.0  # of one long poll, below the client's own timeout
UNKNOWN_POLLS: Final = 2  # in a row: a block that carries it may be written in the very moment of one


class NotDone(EnergoError):
    """What was asked for did not happen, or is not known to have happened. `more` goes into the JSON."""

    def __init__(self, code: str, message: str, **more: object) -> None:
        super().__init__(message)
        self.code, self.more = code, more


def carry_out(ctx: click.Context, intent: Intent, words: str) -> None:
    """Have it signed, hand it over, wait until it is final, print the receipt. Raises `EnergoError`."""
    node = client(ctx)
    transaction_id = _hand_over(node, WalletClient(wallet_path(ctx)), intent)
    if ctx.find_root().obj.get("no_wait"):
        found: dict[str, Any] = {"id": transaction_id, "status": "pending"}
    else:
        found = _wait(node, transaction_id)
    _print(ctx, found, words)


def _hand_over(node: NodeClient, wallet: WalletClient, intent: Intent) -> str:
    """The id of the transaction that the node took."""
    owner_key, _, _ = wallet.public_keys()
    account = format_address(account_of_key(owner_key))
    for attempt in range(1, NUMBER_TRIES + 1):
        expiry_height = int(node.get("/v1/status")["expiry_height"])
        nonce = int(node.get(f"/v1/balance?account={quote(account)}")["nonce_next"])
        raw = wallet.sign_transaction(intent, nonce=nonce, valid_until_height=expiry_height)
        try:
            return node.submit(raw)
        except NodeRefused as error:
            if error.code not in ("known", "conflict", "gap") or attempt == NUMBER_TRIES:
                raise
        except NodeUnavailable as error:
            raise NodeUnavailable(
                f"{error} Whether it took the transaction is not known; ask it later: energoctl receipt {sha256(raw).hex()}"
            ) from None
    raise AssertionError("the last attempt returns or raises")


def _wait(node: NodeClient, transaction_id: str) -> dict[str, Any]:
    """The receipt. Raises `NotDone` when it is not final in time."""
    until = time.monotonic() + FINAL_S
    unknown = 0
    while (left_s := until - time.monotonic()) > 0:
        found: dict[str, Any] = node.wait(transaction_id, min(POLL_S, left_s))
        if found["status"] in ("final", "refused"):
            return found
        unknown = unknown + 1 if found["status"] == "unknown" else 0
        if unknown == UNKNOWN_POLLS:
            raise NotDone("dropped", "the node holds the transaction no longer and no block carries it; do it again")
    missing = int(node.get("/v1/status")["waiting_for"])
    why = f"the street waits for {missing} more homes" if missing else "no block has carried it"
    raise NotDone(
        "not_final",
        f"not final after {FINAL_S:.0f} s ({why}); it stays valid, ask later: energoctl receipt {transaction_id}",
        id=transaction_id,
    )


def _print(ctx: click.Context, found: dict[str, Any], words: str) -> None:
    if found["status"] == "refused":
        raise NotDone(found["code"], f"refused: {found['message']}", receipt=found)
    if answers.wants_json(ctx):
        answers.write_json(found)
        return
    answers.write_facts(_facts(found, words))


def _facts(found: dict[str, Any], words: str) -> list[tuple[str, object]]:
    facts: list[tuple[str, object]] = [("done" if found["status"] == "final" else "asked for", words)] if words else []
    facts.append(("status", found["status"]))
    if found.get("height"):
        facts.append(("height", found["height"]))
    facts += [(name, did) for event in found.get("events", []) for name, did in event.items()]
    facts.append(("id", found["id"]))
    return facts


@click.command(cls=NodeCommand)
@click.argument("transaction_id", metavar="ID")
@click.pass_context
def receipt(ctx: click.Context, transaction_id: str) -> None:
    """Show what became of the transaction with this ID."""
    found = get(ctx, f"/v1/transactions/{quote(transaction_id, safe='')}")
    if found["status"] == "unknown":
        raise NotDone("unknown", f"the node at {node_path(ctx)} knows no such transaction", receipt=found)
    _print(ctx, found, "")
