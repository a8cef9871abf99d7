"""What the node holds, as the JSON that the interfaces fix: money and prices as decimal strings, times in the profile's UTC."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, Final

from ledger.base.address import format_address, parse_address
from ledger.base.errors import DecodeError
from ledger.base.genesis import PRICINGS, Device, Genesis, Role, counterparty_name
from ledger.base.intents import BUY, FLAG_NAMES
from ledger.base.units import SLOT_PROFILE_S, Millis, format_money, format_price, format_share
from ledger.base.votes import Committee
from ledger.state.blocks import Block, Header
from ledger.state.events import Burned, Canceled, Event, Minted, Payout, Receipt, Rested, SlotClosed, Trade
from ledger.state.rules import balances
from ledger.state.rules.membership import epoch_of, member_of_key
from ledger.state.state import State
from ledger.state.tables import (
    ACCOUNT,
    APPROVAL,
    BALANCE,
    CASH,
    COMMITMENT,
    COMMITTEE,
    DEVICE,
    DUE,
    FEED,
    GENERATOR,
    NOMINATION,
    ORDER,
    PAID,
    POOL,
    REQUEST,
    gen,
    watt,
)

from .directory import Directory
from .store import ReadingRow


def _day_start_s(day: str) -> int:
    """Unix seconds of an ISO date's midnight in UTC."""
    return int(datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp())


# A demo's slots stand for 600 times their length: a kept street shown years later would be past what RFC 3339 can say.
LAST_S: Final = int(datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC).timestamp())


def format_time(unix_s: int) -> str:
    """RFC 3339 in UTC, whole seconds, from 1970 to the end of 9999."""
    return datetime.fromtimestamp(max(0, min(unix_s, LAST_S)), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class Names:
    """Accounts, devices, buses and times in words. `update` follows the state, to which homes may be added."""

    def __init__(self, genesis: Genesis) -> None:
        self.genesis = genesis
        self.devices = {device.name: device for device in genesis.devices}
        self._accounts = dict(genesis.accounts)
        self._names = {account: name for name, account in self._accounts.items()}

    def update(self, state: State) -> None:
        """Take in the accounts and devices that came after the genesis."""
        for (account,), row in state.scan(ACCOUNT):
            assert isinstance(account, bytes), "accounts are keyed by account"
            self._accounts[row.name], self._names[account] = account, row.name
        for (name,), device in state.scan(DEVICE):
            bus, owner = self.genesis.buses[device.bus].name, self._names.get(device.account, "")
            self.devices.setdefault(str(name), Device(str(name), device.key, device.role, owner, bus))

    def of(self, account: bytes) -> str:
        """An account's short name, else its address."""
        return self._names.get(account) or format_address(account)

    def account(self, text: str) -> bytes | None:
        """The account that a name or an address means."""
        named = self._accounts.get(text)
        if named is not None:
            return named
        try:
            return parse_address(text)
        except DecodeError:
            return None

    def leader(self, header: Header, state: State) -> str:
        """The home whose node proposed a block."""
        row = state.get(COMMITTEE, (header.epoch,))
        found = None if row is None else member_of_key(state, row.keys[header.leader])
        return f"seat {header.leader} of epoch {header.epoch}" if found is None else self.of(found[0])

    def slot_start(self, slot: int) -> str:
        """When a slot starts in the profile."""
        return format_time(_day_start_s(self.genesis.day) + slot * SLOT_PROFILE_S)

    def time(self, time_ms: Millis) -> str:
        """A time of the ledger in the profile: slots stand for 15 minutes each."""
        timing = self.genesis.timing
        start_s = _day_start_s(self.genesis.day)
        return format_time(start_s + (time_ms - timing.origin_ms) * SLOT_PROFILE_S // timing.slot_ms)


def amount(asset: str, value: int) -> str | int:
    """CASH as a money string, energy and shares as they are."""
    return format_money(value) if asset == CASH else value


def balance(state: State, names: Names, account: bytes, nonce_next: int) -> dict[str, Any]:
    """An account's holdings, dues and limits."""
    row = state.need(ACCOUNT, (account,))
    held = [(str(key[1]), b) for key, b in state.scan(BALANCE) if key[0] == account]
    return {
        "account": format_address(account),
        "name": row.name,
        "balances": [
            {"asset": asset, "free": amount(asset, b.free), "escrowed": amount(asset, b.escrowed)} for asset, b in held
        ],
        "dues": [
            {"to": names.of(due.creditor), "amount": format_money(due.amount), "slot": due.slot}
            for _, due in state.scan(DUE)
            if due.debtor == account
        ],
        "limits": {
            "buy_below": None if row.buy_below is None else format_price(row.buy_below),
            "sell_above": None if row.sell_above is None else format_price(row.sell_above),
        },
        "nonce": row.nonce,
        "nonce_next": nonce_next,
    }


def flags(value: int) -> list[str]:
    """A reading's flags in words."""
    return [name for bit, name in FLAG_NAMES.items() if value & bit]


def reading(row: ReadingRow, names: Names, status: str) -> dict[str, Any]:
    """A reading."""
    device = names.devices.get(row.device)
    return {
        "device": row.device,
        "role": "" if device is None else Role(device.role).name.lower(),
        "seq": row.seq,
        "slot": row.slot,
        "import_wh": row.import_wh,
        "export_wh": row.export_wh,
        "stored_wh": row.stored_wh,
        "flags": flags(row.flags),
        "height": row.height or None,
        "status": status,
    }


def feed(state: State, device: str) -> dict[str, Any] | None:
    """Where a device's feed stands in the final state."""
    row = state.get(FEED, (device,))
    if row is None:
        return None
    return {
        "device": device,
        "seq": row.seq,
        "hash": row.hash.hex(),
        "slot": row.slot,
        "import_wh": row.import_wh,
        "export_wh": row.export_wh,
    }


def _kind(names: Names, name: str) -> dict[str, str]:
    device = names.devices.get(name)
    assert device is not None, "a device that reported is known"
    return {"role": Role(device.role).name.lower(), "account": device.owner, "bus": device.bus}


def slot(closed: SlotClosed, names: Names, height: int) -> dict[str, Any]:
    """A closed slot."""
    genesis = names.genesis
    prices = {bus.name: format_price(price) for bus, price in zip(genesis.buses, closed.prices, strict=True)}
    informed = {name: (import_wh, export_wh) for name, import_wh, export_wh in closed.informed}
    roots = [d for d in genesis.devices if d.role == Role.FEEDER and d.bus == genesis.buses[0].name]
    root: dict[str, int] | None = None
    if roots and roots[0].name in informed:
        import_wh, export_wh = informed[roots[0].name]
        behind = sum(device.import_wh - device.export_wh for device in closed.devices)
        root = {"import_wh": import_wh, "export_wh": export_wh, "residual_wh": import_wh - export_wh - behind}
    devices = []
    for settled in closed.devices:
        devices.append(
            {
                **settled._asdict(),
                **_kind(names, settled.device),
                "fees": format_money(settled.fees),
                "shared": format_money(settled.shared),
                "net": format_money(settled.net),
            }
        )
    return {
        "slot": closed.slot,
        "start": names.slot_start(closed.slot),
        "closed_height": height,
        "price": format_price(closed.prices[0]),
        "prices": prices,
        "pricing": PRICINGS[closed.pricing],
        "sharing": format_share(closed.sharing),
        "shared": format_money(sum(max(0, settled.shared) for settled in closed.devices)),
        "gain_buyers": format_money(closed.gain_buyers),
        "gain_sellers": format_money(closed.gain_sellers),
        "rounds": closed.rounds,
        "local_wh": sum(device.bought_local_wh for device in closed.devices),
        "counterparty": counterparty_name(closed.islanded),  # whose energy all that is called the grid's is
        "from_grid_wh": closed.grid_sold_wh,
        "to_grid_wh": closed.grid_bought_wh,
        "fees": format_money(closed.fees),
        "devices": devices,
        "informed": {n: {**_kind(names, n), "import_wh": i, "export_wh": e} for n, (i, e) in informed.items()},
        "root": root,
    }


def block(each: Block, size: int, names: Names, leader: str) -> dict[str, Any]:
    """A final block; `leader` is the home that proposed it."""
    header = each.header
    return {
        "height": header.height,
        "hash": each.hash.hex(),
        "epoch": header.epoch,
        "view": header.view,
        "time": names.time(header.time_ms),
        "leader": leader,
        "transactions": len(each.transactions),
        "state_root": header.state_root.hex(),
        "bytes": size,
    }


def members(state: State, directory: Directory, committee: Committee, names: Names) -> dict[str, Any]:
    """Who votes, who may, and what waits for approval."""
    epoch = epoch_of(state)
    nominations: dict[bytes, int] = {}
    for _, row in state.scan(NOMINATION):
        for home in row.homes:
            nominations[home] = nominations.get(home, 0) + 1
    return {
        "epoch": committee.epoch,
        "committee": len(committee),
        "quorum": committee.quorum,
        "next_committee": len(epoch.coming) or None,
        "ready": len(epoch.ready),
        "members": [
            {
                "name": peer.name,
                "account": format_address(peer.account),
                "status": peer.status.name.lower(),
                "seat": committee.seat(peer.node_key),
                "nominations": nominations.get(peer.account, 0),
                "node_key": peer.node_key.hex(),
                "transport_key": peer.transport_key.hex(),
            }
            for _, peer in sorted(directory.peers.items())
        ],
        "approvals": [
            {
                "what": bytes(key[0]).hex(),  # type: ignore[arg-type]  # keyed by a hash
                "households": [names.of(account) for account in row.accounts],
                "until_height": row.until_height,
            }
            for key, row in state.scan(APPROVAL)
        ],
    }


def orders(state: State, names: Names, own: bytes) -> list[dict[str, Any]]:
    """Every resting order."""
    return [
        {
            "id": key[1],
            "instrument": key[0],
            "account": format_address(order.account),
            "name": names.of(order.account),
            "side": "buy" if order.side == BUY else "sell",
            "price": format_price(order.price),
            "quantity_wh": order.quantity_wh,
            "mine": order.account == own,
        }
        for key, order in state.scan(ORDER)
    ]


def trade(event: Trade, names: Names, height: int, time_ms: Millis) -> dict[str, Any]:
    """A fill of the exchange."""
    return {
        "height": height,
        "time": names.time(time_ms),
        "instrument": event.instrument,
        "price": format_price(event.price),
        "quantity_wh": event.quantity_wh,
        "buyer": names.of(event.buyer),
        "seller": names.of(event.seller),
        "cost": format_money(event.cost),
        "fee": format_money(event.fee),
    }


def generators(state: State, names: Names) -> list[dict[str, Any]]:
    """What each generator made, earned and paid."""
    found = []
    for key, row in state.scan(GENERATOR):
        name = str(key[0])
        paid = {names.of(_account(k[1])): format_money(p.amount) for k, p in state.scan(PAID) if k[0] == name}
        shares = {names.of(account): held.free + held.escrowed for account, held in balances.holders(state, gen(name))}
        found.append(
            {
                "name": name,
                "made_wh": state.need(FEED, (row.device,)).export_wh,
                "earned": format_money(row.earned),
                "paid": paid,
                "carried": format_money(balances.free(state, row.account, CASH)),
                "shares": shares,
            }
        )
    return found


def pools(state: State, names: Names) -> list[dict[str, Any]]:
    """What each pool stores, for whom."""
    found = []
    for key, row in state.scan(POOL):
        name = str(key[0])
        found.append(
            {
                "name": name,
                "stored_wh": row.stored_wh,
                "minted_wh": row.minted_wh,
                "burned_wh": row.burned_wh,
                "supply_wh": balances.supply(state, watt(name)),
                "capacity_wh": row.capacity_wh,
                "power_w": row.power_w,
                "efficiency": format_share(row.efficiency),
                "commitments": {
                    names.of(_account(k[1])): e.energy_wh for k, e in state.scan(COMMITMENT) if k[0] == name
                },
                "requests": {names.of(_account(k[1])): e.energy_wh for k, e in state.scan(REQUEST) if k[0] == name},
            }
        )
    return found


def _account(value: object) -> bytes:
    assert isinstance(value, bytes), "accounts are bytes"
    return value


def receipt(events: Iterable[Event], transaction_id: bytes, names: Names) -> tuple[str, str, list[dict[str, Any]]]:
    """(code, message, what the transaction did) from the events of its block."""
    found: Receipt | None = None
    did: list[dict[str, Any]] = []
    for event in events:
        if isinstance(event, Receipt):
            if found is not None:
                break
            found = event if event.transaction_id == transaction_id else None
        elif found is not None:
            match event:
                case Trade():
                    did.append(
                        {
                            "traded": {
                                "price": format_price(event.price),
                                "quantity_wh": event.quantity_wh,
                                "buyer": names.of(event.buyer),
                                "seller": names.of(event.seller),
                            }
                        }
                    )
                case Rested():
                    did.append({"rests": {"id": event.order_id, "quantity_wh": event.quantity_wh}})
                case Canceled():
                    did.append({"canceled": {"id": event.order_id, "quantity_wh": event.quantity_wh}})
                case Minted() | Burned() | Payout():
                    break
                case _:
                    break
    assert found is not None, "the index named this block for the transaction"
    return found.code, found.message, did
