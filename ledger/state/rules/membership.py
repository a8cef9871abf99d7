"""Who votes: admission, seats given up and taken back, evidence, and the change of the committee from epoch to epoch.

One home has one node, and admission is by the voters: a quorum of their households approves the same words. What follows for the
committee is drawn from the state after each block: `coming` names the committee that would follow; when a quorum *of it* has said
that it is ready, that very block is the sealing block, and the next epoch begins with its child. A set that is off or still
fetching cannot be switched in. (Consensus design, sections 3.4 and 10; the sealing block is Ava Labs' Simplex's.)
"""

from __future__ import annotations

from typing import Final

from ledger.base import codec
from ledger.base.crypto import ZERO_HASH, account_of_key, sha256
from ledger.base.errors import InvalidTransaction, Refused
from ledger.base.genesis import Role
from ledger.base.intents import Admit, Envelope, Nominate, Park, Ready, Remove, RotateKey
from ledger.base.limits import HOMES_MAX
from ledger.base.recovery import Recovery
from ledger.base.votes import Committee, Evidence, faulty_max

from ..state import State
from ..tables import (
    ACCOUNT,
    APPROVAL,
    BUS,
    COMMITTEE,
    DEVICE,
    EPOCH,
    FAULT,
    FEED,
    MEMBER,
    MISSES,
    NO_KEY,
    NODE_KEY,
    NOMINATION,
    OWNER,
    PARAMS,
    Account,
    Approval,
    CommitteeRow,
    DeviceRow,
    Epoch,
    Fault,
    Feed,
    Member,
    Misses,
    NodeKey,
    Nomination,
    Owner,
    Status,
)

APPROVAL_BLOCKS: Final = 20_000  # an approval that nobody joins is out of date after so many blocks: some weeks
APPROVALS_MAX: Final = 64  # open at once: bounds the table, more than a street ever discusses
SEATS_MIN: Final = 4  # parking for missing votes leaves so many: fewer have no room for a liar


# ---- asking


def epoch_of(state: State) -> Epoch:
    """The epoch of the next block."""
    return state.need(EPOCH, NO_KEY)


def committee_of(state: State) -> Committee:
    """Who makes the next block."""
    epoch = epoch_of(state)
    return Committee(epoch.number, epoch.committee, bool(state.need(PARAMS, NO_KEY).trusted_household))


def committee_hash(keys: tuple[bytes, ...]) -> bytes:
    """SHA-256 over a committee's keys: what headers and ready nodes name it by."""
    return sha256(codec.encode(keys))


def member_of_key(state: State, node_key: bytes) -> tuple[bytes, Member] | None:
    """(account, member) whose node has or had this key."""
    row = state.get(NODE_KEY, (node_key,))
    return None if row is None else (row.account, state.need(MEMBER, (row.account,)))


def members(state: State) -> list[tuple[int, bytes, Member]]:
    """(peer number, account, member) of every home that may have links, in order of number."""
    found: list[tuple[int, bytes, Member]] = []
    for (account,), member in state.scan(MEMBER):
        assert isinstance(account, bytes), "members are keyed by account"
        if member.status != Status.REMOVED:
            found.append((state.need(ACCOUNT, (account,)).number, account, member))
    return sorted(found)


# ---- how the tables are filled


def enter(state: State, account: bytes, node_key: bytes, transport_key: bytes) -> None:
    """Give a home its place among the nodes."""
    state.put(MEMBER, (account,), Member(node_key, transport_key, Status.ACTIVE))
    state.put(NODE_KEY, (node_key,), NodeKey(account))


def begin(state: State, number: int, first_height: int, keys: tuple[bytes, ...]) -> None:
    """An epoch begins; what is older than evidence counts is forgotten."""
    state.put(EPOCH, NO_KEY, Epoch(number, first_height, keys, (), (), 0))
    state.put(MISSES, NO_KEY, Misses((0,) * len(keys)))
    state.put(COMMITTEE, (number,), CommitteeRow(keys))
    oldest = number - state.need(PARAMS, NO_KEY).evidence_epochs
    for key, _ in state.scan(COMMITTEE):
        if key[0] < oldest:  # type: ignore[operator]  # keyed by epoch
            state.delete(COMMITTEE, key)
    for key, _ in state.scan(FAULT):
        if key[0] < oldest:  # type: ignore[operator]  # keyed by epoch and seat
            state.delete(FAULT, key)


# ---- what households ask for


def _voter(state: State, account: bytes) -> None:
    member = state.get(MEMBER, (account,))
    if member is None or member.node_key not in epoch_of(state).committee:
        raise Refused("no_voter", "only the household of a node that votes now can approve this")


def _approve(state: State, account: bytes, subject: bytes, height: int) -> bool:
    """Note an approval; whether that makes a quorum of the voters' households."""
    _voter(state, account)
    rows = state.scan(APPROVAL)
    for key, row in rows:
        if row.until_height < height:
            state.delete(APPROVAL, key)
    known = state.get(APPROVAL, (subject,))
    if known is None and sum(row.until_height >= height for _, row in rows) >= APPROVALS_MAX:
        raise Refused("full", f"{APPROVALS_MAX} matters wait for approval already; settle one of them first")
    accounts = () if known is None else known.accounts
    if account in accounts:
        raise Refused("known", "this household approved the same already")
    accounts = tuple(sorted((*accounts, account)))
    committee = committee_of(state)
    voting = [a for a in accounts if state.need(MEMBER, (a,)).node_key in committee.keys]
    if len(voting) < committee.quorum:
        state.put(APPROVAL, (subject,), Approval(accounts, height + APPROVAL_BLOCKS))
        return False
    state.delete(APPROVAL, (subject,))
    return True


def _free_node_key(state: State, node_key: bytes, transport_key: bytes, account: bytes) -> None:
    if state.get(NODE_KEY, (node_key,)) is not None:
        raise Refused("key_used", "this node key was used before; make a new one")
    for _, other, member in members(state):
        if other != account and member.transport_key == transport_key:
            raise Refused("key_used", "another home's node has this transport key")


def admit(state: State, account: bytes, intent: Admit, height: int) -> None:
    """Approve a new home, or one that lost its seat. Raises `Refused`."""
    home = account_of_key(intent.owner_key)
    owner = state.get(OWNER, (intent.owner_key,))
    if owner is not None:
        home = owner.account
        member = state.get(MEMBER, (home,))
        if member is None or member.status in (Status.ACTIVE, Status.PARKED, Status.ABSENT):
            raise Refused("known", "that household takes part already")
    else:
        check_new_home(state, intent)
    _free_node_key(state, intent.node_key, intent.transport_key, home)
    if not _approve(state, account, sha256(codec.encode((Admit.KIND, intent.body()))), height):
        return
    if owner is None:
        _add_home(state, home, intent)
    enter(state, home, intent.node_key, intent.transport_key)


def check_new_home(state: State, intent: Admit) -> None:
    """Whether there is room and a name for it. Raises `Refused`."""
    if all(bus.name != intent.bus for _, bus in state.scan(BUS)):
        raise Refused("unknown_bus", f"no bus is called {intent.bus}")
    if any(row.name == intent.name for _, row in state.scan(ACCOUNT)) or state.get(DEVICE, (intent.name,)) is not None:
        raise Refused("name_taken", f"something in this street is called {intent.name} already")
    if any(row.key == intent.device_key for _, row in state.scan(DEVICE)):
        raise Refused("key_used", "another device has this key")
    if len(state.scan(ACCOUNT)) >= HOMES_MAX:
        raise Refused("full", f"a street has at most {HOMES_MAX} accounts")


def _add_home(state: State, home: bytes, intent: Admit) -> None:
    position = next(key[0] for key, bus in state.scan(BUS) if bus.name == intent.bus)
    assert isinstance(position, int), "buses are keyed by position"
    number = 1 + max(row.number for _, row in state.scan(ACCOUNT))
    state.put(ACCOUNT, (home,), Account(intent.name, number, intent.owner_key, 0, None, None))
    state.put(OWNER, (intent.owner_key,), Owner(home))
    place = 1 + max((row.position for _, row in state.scan(DEVICE)), default=-1)
    state.put(DEVICE, (intent.name,), DeviceRow(place, intent.device_key, Role.CONNECTION, home, position))
    state.put(FEED, (intent.name,), Feed(0, ZERO_HASH, -1, 0, -1, 0, 0, None))


def remove(state: State, account: bytes, intent: Remove, height: int) -> None:
    """Approve that a home loses its seat. Raises `Refused`."""
    member = state.get(MEMBER, (intent.home,))
    if member is None or member.status == Status.REMOVED:
        raise Refused("unknown_home", "no home that takes part has this account")
    if _approve(state, account, sha256(codec.encode((Remove.KIND, intent.body()))), height):
        state.put(MEMBER, (intent.home,), member._replace(status=int(Status.REMOVED)))


def _own(state: State, account: bytes) -> Member:
    member = state.get(MEMBER, (account,))
    if member is None or member.status in (Status.SUSPENDED, Status.REMOVED):
        raise Refused("no_member", "this account's node takes no part; ask the voters to admit it")
    return member


def park(state: State, account: bytes, intent: Park) -> None:
    """Give up the own seat for a while, or ask for it again. Raises `Refused`."""
    status = Status.PARKED if intent.parked else Status.ACTIVE
    state.put(MEMBER, (account,), _own(state, account)._replace(status=int(status)))


def rotate(state: State, account: bytes, intent: RotateKey) -> None:
    """New keys for the own node. Raises `Refused`."""
    member = _own(state, account)
    _free_node_key(state, intent.node_key, intent.transport_key, account)
    state.put(MEMBER, (account,), Member(intent.node_key, intent.transport_key, member.status))
    state.put(NODE_KEY, (intent.node_key,), NodeKey(account))


def nominate(state: State, account: bytes, intent: Nominate) -> None:
    """Say whose nodes should vote. Raises `Refused`."""
    for home in intent.homes:
        if state.get(MEMBER, (home,)) is None:
            raise Refused("unknown_home", "a nominated account has no node")
    if intent.homes:
        state.put(NOMINATION, (account,), Nomination(intent.homes))
    else:
        state.delete(NOMINATION, (account,))


# ---- what nodes say


def check_ready(state: State, envelope: Envelope) -> None:
    """Whether a block may carry this node's word. Raises `InvalidTransaction`: unknown_node, known, gap, not_wanted."""
    intent, epoch = envelope.intent, epoch_of(state)
    assert isinstance(intent, Ready), "only words of nodes come here"
    found = member_of_key(state, envelope.sender)
    if found is None or found[1].node_key != envelope.sender or envelope.valid_until_height != 0:
        raise InvalidTransaction("unknown_node", "no home's node has this key")
    if envelope.nonce != epoch.number + 1:
        raise InvalidTransaction("known", f"the epoch to come is {epoch.number + 1}, not {envelope.nonce}")
    if found[1].status == Status.ABSENT and intent.committee_hash == committee_hash(epoch.committee):
        return
    if envelope.sender in epoch.ready:
        raise InvalidTransaction("known", "this node said so already")
    if envelope.sender not in epoch.coming or intent.committee_hash != committee_hash(epoch.coming):
        raise InvalidTransaction("not_wanted", "no such committee is to come")


def ready(state: State, envelope: Envelope) -> None:
    """Carry out an admissible word of a node."""
    found = member_of_key(state, envelope.sender)
    assert found is not None, "check_ready came first"
    account, member = found
    if member.status == Status.ABSENT:
        state.put(MEMBER, (account,), member._replace(status=int(Status.ACTIVE)))
        return
    epoch = epoch_of(state)
    state.put(EPOCH, NO_KEY, epoch._replace(ready=tuple(sorted((*epoch.ready, envelope.sender)))))


# ---- what every block does


def count_misses(state: State, signers: tuple[int, ...]) -> None:
    """The parent's certificate tells whose votes came; a seat that misses too many in a row is parked.

    At most f seats an epoch and never below four or half of the admitted: an eclipsing minority must not shrink the
    committee to itself.
    """
    epoch, row, params = epoch_of(state), state.need(MISSES, NO_KEY), state.need(PARAMS, NO_KEY)
    counts = [0 if seat in signers else count + 1 for seat, count in enumerate(row.counts)]
    for seat, count in enumerate(counts):
        if count < params.park_misses_max:
            continue
        counts[seat] = 0
        found = member_of_key(state, epoch.committee[seat])
        assert found is not None, "voters are members"
        account, member = found
        if member.node_key != epoch.committee[seat]:
            continue  # its new key has a seat from the next epoch on
        admitted = [m for _, _, m in members(state) if m.status != Status.SUSPENDED]
        active = sum(m.status == Status.ACTIVE for m in admitted)
        if (
            member.status == Status.ACTIVE
            and epoch.parked < faulty_max(len(epoch.committee))
            and active - 1 >= max(SEATS_MIN, (len(admitted) + 1) // 2)
        ):
            state.put(MEMBER, (account,), member._replace(status=int(Status.ABSENT)))
            epoch = epoch._replace(parked=epoch.parked + 1)
            state.put(EPOCH, NO_KEY, epoch)
    if tuple(counts) != row.counts:
        state.put(MISSES, NO_KEY, Misses(tuple(counts)))


def check_evidence(state: State, evidence: Evidence) -> tuple[bytes, ...] | None:
    """The committee that evidence is about, where it still counts and is new; else None."""
    row = state.get(COMMITTEE, (evidence.epoch,))
    if row is None or evidence.signer >= len(row.keys) or state.get(FAULT, (evidence.epoch, evidence.signer)):
        return None
    return row.keys


def punish(state: State, evidence: Evidence, height: int) -> bytes:
    """Suspend the seat of whoever signed both, from the next epoch on; its account."""
    keys = check_evidence(state, evidence)
    assert keys is not None, "evidence was checked"
    found = member_of_key(state, keys[evidence.signer])
    assert found is not None, "voters are members"
    account, member = found
    state.put(FAULT, (evidence.epoch, evidence.signer), Fault(height))
    if member.status != Status.REMOVED:
        state.put(MEMBER, (account,), member._replace(status=int(Status.SUSPENDED)))
    return account


def _ranked(state: State) -> tuple[bytes, ...]:
    """The committee that the state asks for: active homes, the most nominated first, then the longest there."""
    weight: dict[bytes, int] = {}
    for _, nomination in state.scan(NOMINATION):
        for home in nomination.homes:
            weight[home] = weight.get(home, 0) + 1
    active = [(number, a, m.node_key) for number, a, m in members(state) if m.status == Status.ACTIVE]
    active.sort(key=lambda each: (-weight.get(each[1], 0), each[0]))
    return tuple(sorted(key for _, _, key in active[: state.need(PARAMS, NO_KEY).committee_max]))


def advance(state: State, height: int) -> bool:
    """After a block's transactions: note which committee is to come; whether this block seals the epoch."""
    epoch, params = epoch_of(state), state.need(PARAMS, NO_KEY)
    due = height == epoch.first_height + params.epoch_blocks_min
    if not (due or state.touches(MEMBER) or state.touches(NOMINATION) or state.touches(EPOCH)):
        return False  # what the committee follows from has not changed
    wanted = _ranked(state)
    if wanted == epoch.committee or not wanted or height - epoch.first_height < params.epoch_blocks_min:
        wanted = ()
    if wanted != epoch.coming:
        epoch = epoch._replace(coming=wanted, ready=())
        state.put(EPOCH, NO_KEY, epoch)
    if not wanted or len(epoch.ready) < Committee(0, wanted, bool(params.trusted_household)).quorum:
        return False
    begin(state, epoch.number + 1, height + 1, wanted)
    return True


def recover(state: State, recovery: Recovery, height: int) -> None:
    """Begin the epoch that more than half of the households agreed on after a quorum was lost for good."""
    for _, account, member in members(state):
        if member.status == Status.ACTIVE and member.node_key not in recovery.committee:
            state.put(MEMBER, (account,), member._replace(status=int(Status.ABSENT)))
    begin(state, recovery.epoch, height, recovery.committee)
