"""`energoctl member invite` and `energoctl member join`: a code carried from a member's screen to a newcomer's keyboard.

`invite` runs beside a member's node and ends with the household's approval; `join` runs at the new home, before it has a node on
the street: it makes the keys that are missing, speaks the exchange itself, and leaves a data folder that `energoctl node start`
takes. Neither sends a key's secret anywhere.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

import click

from ledger.base.errors import ConfigError, DiskFailed, EnergoError

from . import answers
from .commands import SignedCommand, client, json_option
from .signing import NotDone, carry_out

if TYPE_CHECKING:
    from ledger.gossip.joining import Card, Street

POLL_S: Final = 0.5
SEARCH_S: Final = 30.0  # a query a second at first; who has not answered by then does not hear multicast
PLACES_MAX: Final = 64  # addresses that are tried: a flood of announcements costs no more
LOOPBACK: Final = "127.0.0.1"


# ---- at the member


@click.command(cls=SignedCommand)
@click.option("--qr", is_flag=True, help="A secret of 128 bits for a machine to carry, instead of six digits.")
@click.option("--bus", default="", help="The bus that the new home is on (default: this home's).")
@click.option("--yes", is_flag=True, help="Approve whoever comes with the code, without asking.")
@click.option("--save", type=click.Path(path_type=Path, dir_okay=False), help="Write the newcomer's card to this file.")
@click.pass_context
def invite(ctx: click.Context, qr: bool, bus: str, yes: bool, save: Path | None) -> None:
    """Make a code for a new home, wait for it, and approve its card; the code is good for two minutes and one attempt."""
    node = client(ctx)
    made = node.post("/v1/invitations", {"long": qr, "bus": bus})
    for_people = not answers.wants_json(ctx)
    click.echo(f"at the new home, within {made['expires_in_ms'] // 1000} s:", err=not for_people)
    click.echo(f"  energoctl member join {made['code']} --dir DIR --name NAME", err=not for_people)
    while (found := node.get("/v1/invitations"))["state"] in ("open", "talking"):
        time.sleep(POLL_S)
    if found["state"] != "joined":
        raise NotDone(found["state"], f"nobody joined: {found['words']}; {found['codes_left']} more codes this hour")
    card = found["card"]
    if save is not None:
        _write(save, json.dumps(card, indent=1) + "\n")
    if for_people:
        answers.write_facts(card.items())
    if not yes and not click.confirm(f"admit {card['name']}?", err=not for_people):
        raise NotDone("declined", f"{card['name']} was not approved; with its card: energoctl member admit CARD")
    from ledger.base.intents import Admit

    keys = {name: bytes.fromhex(value) for name, value in card.items() if name.endswith("_key")}
    intent = Admit(
        card["name"], keys["owner_key"], keys["node_key"], keys["transport_key"], card["bus"], keys["device_key"]
    )
    carry_out(ctx, intent, f"approved that {card['name']} takes part; the others' households approve its card too")


# ---- at the newcomer


class Place(NamedTuple):
    """Where a member's node may be."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def _place(ctx: click.Context, parameter: click.Parameter, value: str | None) -> Place | None:
    if value is None:
        return None
    host, _, port = value.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 65_536:
        raise click.BadParameter(f"{value!r} is not an address such as 192.168.1.20:4711", ctx, parameter)
    return Place(host.removeprefix("[").removesuffix("]"), int(port))


class Home:
    """The new home's folder: its keys, made where they are missing, and what the joining leaves in it."""

    def __init__(self, folder: Path, name: str) -> None:
        from ledger.base.crypto import ED25519
        from ledger.base.files import create_key, load_key
        from ledger.wallet.keystore import create_keys, load_keys

        if (folder / "genesis.toml").exists():
            raise ConfigError(f"{folder}: belongs to a street already; name another folder, nothing is overwritten")
        self.folder, self.name = folder, name
        wallet, device = folder / "wallet", folder / "meter" / f"{name}.key"
        try:
            if not (wallet / "owner.key").exists():
                create_keys(wallet)
            if not device.exists():
                device.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
                create_key(device)
        except OSError as error:
            raise DiskFailed(
                f"{error.filename}: cannot be made ({error.strerror}); free space or name another folder"
            ) from None
        keys = load_keys(wallet)
        self._seeds = (keys.owner, keys.node, keys.transport, load_key(device))
        self.keys = tuple(ED25519.public(seed) for seed in self._seeds)

    def sign(self, message: bytes) -> tuple[bytes, ...]:
        """By each key of the card, in its order."""
        from ledger.base.crypto import ED25519

        return tuple(ED25519.sign(seed, message) for seed in self._seeds)

    def describe(self, genesis: bytes, chain_id: bytes, street: Street, bus: str) -> Card:
        """The card of this home in the street of this genesis. Raises `ConfigError` where it is not the member's."""
        from ledger.base.files import load_genesis
        from ledger.gossip.joining import Card
        from ledger.node.joining import check_card

        fresh = self.folder / "genesis.toml.new"
        try:
            fresh.write_bytes(genesis)
        except OSError as error:
            raise DiskFailed(f"{fresh}: cannot be written ({error.strerror}); free space first") from None
        try:
            read = load_genesis(fresh)
            if read.chain_id != chain_id:
                raise ConfigError("the genesis that the member sent is not that of its own street; tell it to look")
            card = Card(self.name, bus or street.bus, *self.keys)
            check_card(card, read)
        except EnergoError:
            fresh.unlink()
            raise
        return card

    def settle(self, card: Card, chain_id: bytes, street: Street, listen: str, at: Place) -> None:
        """Write what a start needs. The genesis comes last: it says that the folder is whole."""
        from ledger.node import pointer

        trusted = pointer.Pointer(chain_id, street.height, street.block_hash, street.committee_hash)
        pointer.save(self.folder / "node", trusted)
        (self.folder / "run" / "wallet").mkdir(parents=True, exist_ok=True)
        plain = {name: part if isinstance(part, str) else part.hex() for name, part in card._asdict().items()}
        _write(self.folder / "card.json", json.dumps(plain, indent=1) + "\n")
        _write(self.folder / "config" / "wallet.toml", _wallet_text(self.name))
        _write(self.folder / "config" / "node.toml", _node_text(self.name, listen, at))
        (self.folder / "genesis.toml.new").replace(self.folder / "genesis.toml")


def _wallet_text(name: str) -> str:
    return (
        f'[wallet]\nname = {json.dumps(name)}\ngenesis = "../genesis.toml"\nkeys = "../wallet"\n\n'
        '[sockets]\nnode = "../run/wallet/node.sock"\nagent = "../run/wallet/agent.sock"\n'
        'owner = "../run/wallet/owner.sock"\n'
    )


def _node_text(name: str, listen: str, at: Place) -> str:
    lines = [f"listen = {json.dumps(listen)}", f"peers = [{json.dumps(str(at))}]"]
    if listen == LOOPBACK:
        lines.append(f'interfaces = ["{LOOPBACK}"]')
    return (
        f'[node]\nname = {json.dumps(name)}\nadmitted = true\ngenesis = "../genesis.toml"\ndata = "../node"\n\n'
        '[api]\noperators = "../run/node.sock"\nview = "../run/view.sock"\n\n'
        '[wallet]\nsocket = "../run/wallet/node.sock"\n\n[network]\n' + "\n".join(lines) + "\n"
    )


def _write(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise DiskFailed(f"{path}: cannot be written ({error.strerror}); free space or name another folder") from None


@click.command()
@click.argument("code")
@click.option(
    "--dir",
    "folder",
    type=click.Path(path_type=Path),
    required=True,
    help="The new home's folder; keys in it are used.",
)
@click.option("--name", required=True, help="What the street is to call this home.")
@click.option("--bus", default="", help="The bus that it is on (default: what the member says).")
@click.option("--at", metavar="HOST:PORT", callback=_place, help="The member's node (default: looked for by zeroconf).")
@click.option("--listen", default="::", help="The address at which this home's node will listen (default: all).")
@click.pass_context
def join(ctx: click.Context, code: str, folder: Path, name: str, bus: str, at: Place | None, listen: str) -> None:
    """Bring a new home to the member that shows CODE, and make its data folder; the households then approve its card."""
    from ledger.gossip.joining import JoinFailed, secret_of
    from ledger.node.joining import CodeUsed
    from ledger.node.joining import join as join_at

    secret = secret_of(code)
    home = Home(folder, name)
    notes: list[str] = []

    async def attempt(place: Place) -> tuple[bytes, Street, Card] | None:
        try:
            return await join_at(
                place.host,
                place.port,
                secret=secret,
                owner_key=home.keys[0],
                transport_key=home.keys[2],
                describe=lambda genesis, chain_id, street: home.describe(genesis, chain_id, street, bus),
                sign=home.sign,
            )
        except CodeUsed:
            raise
        except JoinFailed as error:
            notes.append(str(error))  # who does not know of the code has not used it up
            return None

    place, (chain_id, street, card) = asyncio.run(_first(attempt, at, notes))
    home.settle(card, chain_id, street, listen, place)
    found: dict[str, object] = {"name": card.name, "bus": card.bus, "chain_id": chain_id.hex(), "member": str(place)}
    found |= {"trusts_height": street.height, "trusts_block": street.block_hash.hex(), "folder": str(folder)}
    if answers.wants_json(ctx):
        answers.write_json(found)
        return
    answers.write_facts(found.items())
    click.echo(f"once the households approved its card, {folder / 'card.json'}: energoctl node start {folder}")


join.params.append(json_option())

Joined = tuple[bytes, "Street", "Card"]
Attempt = Callable[[Place], Awaitable[Joined | None]]


async def _first(attempt: Attempt, at: Place | None, notes: list[str]) -> tuple[Place, Joined]:
    """The first place where the joining came to a good end. Raises `JoinFailed`, `CodeUsed`."""
    from ledger.gossip.joining import JoinFailed
    from ledger.node.discovery import Search

    if at is not None:
        done = await attempt(at)
        if done is None:
            raise JoinFailed(notes[-1])
        return at, done
    heard: asyncio.Queue[Place] = asyncio.Queue()
    search = Search(interfaces=(), on_peer=lambda host, port: heard.put_nowait(Place(host, port)), note=notes.append)
    known: set[Place] = set()
    until = time.monotonic() + SEARCH_S
    await search.start("::", 0)
    try:
        while len(known) < PLACES_MAX:
            try:
                place = await asyncio.wait_for(heard.get(), until - time.monotonic())
            except TimeoutError:
                break
            if place not in known:
                known.add(place)
                if (done := await attempt(place)) is not None:
                    return place, done
    finally:
        await search.close()
    why = f": {notes[-1]}" if notes else ""
    raise JoinFailed(
        f"nobody was found who waits for this code within {SEARCH_S:.0f} s{why}; name a member by --at HOST:PORT"
    )
