"""The signer's process: `energo-wallet --config FILE`, and `energo-wallet init --keys DIR` to make a home's keys.

Three Unix sockets, one a role; a request is one length-prefixed canonical CBOR array, its answer `[true, value]` or `[false, code,
message]`. It opens no other socket and reads no network.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any, NoReturn

import sdnotify

from ledger.base import codec, units
from ledger.base.crypto import ED25519, HASH_BYTES, link_message
from ledger.base.errors import ConfigError, DecodeError, DiskFailed, EnergoError, SignerRefused
from ledger.base.files import FolderLock, load_genesis, load_toml
from ledger.base.genesis import Genesis
from ledger.base.intents import Ready, parse_intent, transaction_bytes
from ledger.base.limits import AMOUNT_MAX, COMMITTEE_MAX, LOCAL_REQUEST_BYTES_MAX, TIME_MAX_MS
from ledger.base.recovery import decode_recovery
from ledger.base.votes import PROPOSE, Kind, Vote, decode_vote, proposal_message, vote_message
from ledger.client import LENGTH_BYTES, socket_path

from .keystore import Amnesia, VoteJournal, create_keys, load_keys, retire_node_key
from .limits import DailyUse, Limits
from .rules import Role, check_may_rotate, check_may_sign, check_may_vote

WATCHDOG_S = 10.0  # a third of the unit's WatchdogSec


class Wallet:
    """What the signer does for whom."""

    def __init__(self, genesis: Genesis, folder: Path, agent_use: DailyUse) -> None:
        self.genesis, self.folder, self.agent_use = genesis, folder, agent_use
        self._open()

    def _open(self) -> None:
        self.keys = load_keys(self.folder)
        self.owner_key, self.node_key, self.transport_key = self.keys.public()
        self.journal: VoteJournal | Amnesia
        try:
            self.journal = VoteJournal(self.folder)
        except Amnesia as error:
            self._say(error)

    def _say(self, amnesia: Amnesia) -> None:
        print(f"energo-wallet: {amnesia}", file=sys.stderr, flush=True)
        self.journal = amnesia

    def answer(self, role: Role, raw: bytes) -> bytes:
        """The answer to one request. Never raises for what was asked; `DiskFailed` ends the process, not the request."""
        try:
            value = self._do(role, codec.decode(raw, bytes_max=LOCAL_REQUEST_BYTES_MAX))
        except DiskFailed:
            raise  # what is on the disk is unknown: only a new start, which reads it, may sign again
        except EnergoError as error:
            return codec.encode((False, error.code, str(error)))
        return codec.encode((True, value))

    def _do(self, role: Role, request: Any) -> object:
        match request:
            case ["keys"]:
                return (self.owner_key, self.node_key, self.transport_key)
            case ["vote", int(kind), int(epoch), int(view), bytes(block_hash), int(time_ms), int(seat)]:
                check_may_vote(role)
                return self._vote(kind, epoch, view, block_hash, time_ms, seat)
            case ["own", bytes(raw)]:
                check_may_vote(role)
                return self._knows(decode_vote(raw))
            case ["clone"]:
                check_may_vote(role)
                return self._forget("another card with this key is on: both stop")
            case ["ready", int(epoch), bytes(committee)]:
                check_may_vote(role)
                return self._ready(epoch, committee)
            case ["rotate"]:
                check_may_rotate(role)
                return self._rotate()
            case ["recovery", bytes(raw)]:
                check_may_rotate(role)
                return ED25519.sign(self.keys.owner, decode_recovery(raw).message(self.genesis.chain_id))
            case ["link", int(dialed), bytes(client_nonce), bytes(server_nonce), bytes(peer), bytes(certificate_hash)]:
                check_may_vote(role)
                codec.in_range(dialed, 0, 1, "end of the link")
                for part in (client_nonce, server_nonce, peer, certificate_hash):
                    codec.of_length(part, HASH_BYTES, "a part of a link's proof")
                message = link_message(
                    self.genesis.chain_id,
                    dialed,
                    client_nonce,
                    server_nonce,
                    self.transport_key,
                    peer,
                    certificate_hash,
                )
                return ED25519.sign(self.keys.transport, message)
            case ["transaction", int(kind), list(body), int(nonce), int(valid_until)]:
                check_may_sign(role, kind)
                return self._transaction(role, kind, body, nonce, valid_until)
        raise DecodeError(
            "the wallet knows keys, vote, own, clone, ready, rotate, recovery, link and transaction, each with its own fields"
        )

    def _vote(self, kind: int, epoch: int, view: int, block_hash: bytes, time_ms: int, seat: int) -> object:
        if isinstance(self.journal, Amnesia):
            raise SignerRefused(self.journal.code, str(self.journal))
        codec.in_range(epoch, 0, 2**32 - 1, "epoch")
        codec.in_range(view, 1, AMOUNT_MAX, "view")
        codec.in_range(time_ms, 0, TIME_MAX_MS, "vote's time")
        codec.in_range(seat, 0, COMMITTEE_MAX - 1, "seat")
        codec.of_length(block_hash, HASH_BYTES, "block hash")
        chain_id = self.genesis.chain_id
        if kind == PROPOSE:
            message = proposal_message(chain_id, epoch, view, block_hash)
        elif kind in tuple(Kind):
            message = vote_message(chain_id, kind, epoch, view, block_hash, time_ms, seat)
        else:
            raise DecodeError(f"no vote has kind {kind}")
        return self.journal.sign(kind, epoch, view, block_hash, time_ms, self.keys.node, message)

    def _knows(self, vote: Vote) -> bool:
        """Whether a vote of this key that came from outside stands in the record; where not, the key never votes again."""
        message = vote_message(self.genesis.chain_id, *vote[:6])
        if isinstance(self.journal, Amnesia) or not ED25519.verify(self.node_key, vote.signature, message):
            return not isinstance(self.journal, Amnesia)
        if self.journal.guard.knows(vote.kind, vote.epoch, vote.view, vote.block_hash):
            return True
        return self._forget(
            f"a vote of this key in view {vote.view} of epoch {vote.epoch} stands in no record here: "
            "the card was put back or copied"
        )

    def _forget(self, why: str) -> bool:
        if isinstance(self.journal, VoteJournal):
            self._say(self.journal.forget(why))
        return False

    def _rotate(self) -> tuple[bytes, bytes, bytes]:
        if isinstance(self.journal, VoteJournal):
            self.journal.close()
        retire_node_key(self.folder)
        self._open()
        return self.owner_key, self.node_key, self.transport_key

    def _ready(self, epoch: int, committee: bytes) -> bytes:
        codec.in_range(epoch, 1, 2**32 - 1, "epoch")
        return transaction_bytes(
            Ready(codec.of_length(committee, HASH_BYTES, "committee's hash")),
            chain_id=self.genesis.chain_id,
            sender=self.node_key,
            nonce=epoch,
            valid_until_height=0,
            sign=lambda message: ED25519.sign(self.keys.node, message),
        )

    def _transaction(self, role: Role, kind: int, body: Any, nonce: int, valid_until: int) -> bytes:
        intent = parse_intent(kind, body)
        codec.in_range(nonce, 1, 2**63 - 1, "nonce")
        codec.in_range(valid_until, 1, 2**63 - 1, "expiry height")
        if role == Role.AGENT:
            self.agent_use.charge(intent, int(time.time()))  # type: ignore[arg-type]
        return transaction_bytes(
            intent,
            chain_id=self.genesis.chain_id,
            sender=self.owner_key,
            nonce=nonce,
            valid_until_height=valid_until,
            sign=lambda message: ED25519.sign(self.keys.owner, message),
        )


async def _serve(wallet: Wallet, sockets: dict[Role, Path]) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    failure: list[BaseException] = []
    open_links: dict[asyncio.StreamWriter, asyncio.Event] = {}

    def handler(role: Role) -> Any:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            ended = open_links[writer] = asyncio.Event()
            try:
                while True:
                    size = int.from_bytes(await reader.readexactly(LENGTH_BYTES), "big")
                    if size > LOCAL_REQUEST_BYTES_MAX:
                        break
                    answer = wallet.answer(role, await reader.readexactly(size))
                    writer.write(len(answer).to_bytes(LENGTH_BYTES, "big") + answer)
                    await writer.drain()
            except (asyncio.IncompleteReadError, ConnectionError):
                pass  # the other end is done
            except (AssertionError, DiskFailed) as error:
                failure.append(error)
                stop.set()
            finally:
                writer.close()
                del open_links[writer]
                ended.set()

        return serve

    servers: list[asyncio.AbstractServer] = []
    for role, path in sockets.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        address, folder = socket_path(path)
        before = os.umask(0o117)
        try:
            servers.append(await asyncio.start_unix_server(handler(role), address))
        finally:
            os.umask(before)
            if folder is not None:
                os.close(folder)
    notifier = sdnotify.SystemdNotifier()
    notifier.notify("READY=1")
    print("energo-wallet: ready", file=sys.stderr, flush=True)
    while not stop.is_set():
        notifier.notify("WATCHDOG=1")
        try:
            await asyncio.wait_for(stop.wait(), WATCHDOG_S)
        except TimeoutError:
            continue
    for server in servers:
        server.close()
    for writer, ended in list(open_links.items()):
        writer.close()
        await ended.wait()
    for path in sockets.values():
        path.unlink(missing_ok=True)
    if failure:
        raise failure[0]


def _run(config: Path) -> None:
    top = load_toml(config)
    table, socket_table, agent = top.table("wallet"), top.table("sockets"), top.table("agent", optional=True)
    name = table.name_of("name")
    genesis = load_genesis(table.file("genesis"))
    folder = table.file("keys")
    sockets = {role: socket_table.file(role.value) for role in Role}
    limits = Limits(
        agent.integer("orders_per_day", 0, 1_000_000, 500),
        agent.integer("commits_per_day", 0, 1_000_000, 500),
        agent.integer("redeems_per_day", 0, 1_000_000, 500),
        agent.parsed("spend_per_day", units.parse_money, "20.00"),
    )
    for each in (table, socket_table, agent, top):
        each.done()
    lock = FolderLock(folder)
    home = next((home for home in genesis.homes if home.name == name), None)
    if home is not None and home.owner_key != load_keys(folder).public()[0]:
        raise ConfigError(f"{config}: the owner's key in {folder} is not that of home {name} in the genesis")
    asyncio.run(_serve(Wallet(genesis, folder, DailyUse(limits)), sockets))
    lock.close()


def main() -> NoReturn:
    """The console script."""
    parser = argparse.ArgumentParser(
        prog="energo-wallet", description="Holds a home's keys and signs what its rules allow."
    )
    parser.add_argument("--config", type=Path, help="the wallet's TOML file")
    commands = parser.add_subparsers(dest="command")
    init = commands.add_parser("init", help="make a home's keys and print the public ones as JSON")
    init.add_argument("--keys", type=Path, required=True, help="the folder for them")
    options = parser.parse_args()
    try:
        if options.command == "init":
            public = create_keys(options.keys)
            names = ("owner_key", "node_key", "transport_key")
            print(json.dumps({name: key.hex() for name, key in zip(names, public, strict=True)}))
        elif options.config is None:
            parser.error("give --config FILE, or init --keys DIR")
        else:
            _run(options.config)
    except EnergoError as error:
        print(f"energo-wallet: {error}", file=sys.stderr)
        sys.exit(1)
    sys.exit(0)


if __name__ == "__main__":
    main()
