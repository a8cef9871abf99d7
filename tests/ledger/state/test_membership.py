"""Who votes: admission, seats given up and taken back, evidence, the change of the committee, and the recovery by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest

from energo_simulator.street import fake_scheme
from ledger.base.crypto import sha256
from ledger.base.errors import InvalidBlock
from ledger.base.genesis import Genesis, Membership
from ledger.base.intents import Admit, Intent, Nominate, Park, Ready, Remove, RotateKey, Transfer, transaction_bytes
from ledger.base.recovery import Recovery
from ledger.base.votes import (
    PROPOSE,
    Claim,
    Evidence,
    Kind,
    Vote,
    certificate_of,
    claim_of,
    evidence_of,
    proposal_message,
    vote_message,
)
from ledger.state.events import EpochSealed, Receipt, Suspended
from ledger.state.rules import membership
from ledger.state.rules.membership import committee_hash, committee_of, epoch_of, members
from ledger.state.tables import ACCOUNT, MEMBER, Status
from ledger.state.transition import Draft, Executed, apply_block, build_block
from tests.ledger.streets import MATCHERS, ORIGIN_MS, Ledger, seed_of, street

SCHEME = fake_scheme()
NEW = "home9"


def key(name: str) -> bytes:
    return SCHEME.public(seed_of(name))


class Town(Ledger):
    """A street of homes, its blocks one millisecond apart, with the words of its nodes."""

    def __init__(self, homes: int, **seats: int) -> None:
        usual = {"epoch_blocks_min": 2, **seats}
        genesis = Genesis(*street(homes, scheme=SCHEME)[:-1], Membership(**usual))  # type: ignore[arg-type]
        super().__init__(genesis, MATCHERS, SCHEME)
        self.genesis = genesis
        self.time_ms = ORIGIN_MS - 9_000
        self.extra: dict[str, object] = {}

    @property
    def state(self):  # type: ignore[no-untyped-def]
        return self.tip.state

    def block(self, **draft: object) -> Executed:
        self.time_ms += 1
        epoch = epoch_of(self.tip.state)
        first = epoch.number != self.tip.header.epoch
        view = 1 if first else self.tip.header.view + 1
        place = Draft(epoch.number, view, 0, self.time_ms)
        return self.carry(replace(place, **draft))  # type: ignore[arg-type]

    def carry(self, draft: Draft) -> Executed:
        from ledger.base.intents import decode_transaction

        candidates = [decode_transaction(raw) for raw in self._pending]
        self.tip = build_block(self.context, self.tip, candidates, draft, bytes_max=60_000)
        assert self.tip.block is not None
        carried = set(self.tip.block.transactions)
        self._pending = [raw for raw in self._pending if raw not in carried]
        self.blocks.append(self.tip)
        return self.tip

    def blocks_of(self, count: int) -> None:
        for _ in range(count):
            self.block()

    def want(self, home: str, intent: Intent) -> str:
        """Ask, make a block, and the code of the receipt."""
        raw = self.ask(home, intent)
        self.block()
        receipt = next(e for e in self.tip.events if isinstance(e, Receipt) and e.transaction_id == sha256(raw))
        return receipt.code

    def ready(self, home: str, keys: tuple[bytes, ...] | None = None) -> None:
        """A node's word for the committee to come."""
        epoch = epoch_of(self.state)
        seed = seed_of(f"{home} node")
        raw = transaction_bytes(
            Ready(committee_hash(epoch.coming if keys is None else keys)),
            chain_id=self.context.chain_id,
            sender=SCHEME.public(seed),
            nonce=epoch.number + 1,
            valid_until_height=0,
            sign=lambda message: SCHEME.sign(seed, message),
        )
        self._pending.append(raw)

    def all_ready(self, *homes: str) -> Executed:
        for home in homes:
            self.ready(home)
        return self.block()

    def status(self, home: str) -> Status:
        return Status(self.state.need(MEMBER, (self.genesis.accounts[home],)).status)

    @property
    def seats(self) -> set[str]:
        names = {
            member.node_key: self.state.need(ACCOUNT, (account,)).name for _, account, member in members(self.state)
        }
        return {names[k] for k in committee_of(self.state).keys}


def newcomer() -> Admit:
    return Admit(NEW, key(f"{NEW} owner"), key(f"{NEW} node"), key(f"{NEW} link"), "f1", key(f"{NEW} meter"))


def test_a_quorum_of_households_admits_a_home_with_account_meter_and_seat() -> None:
    town = Town(4)
    for home in ("home1", "home2"):
        assert town.want(home, newcomer()) == ""
    assert len(members(town.state)) == 4
    assert town.want("home2", newcomer()) == "known"
    assert town.want("home3", newcomer()) == ""
    assert [number for number, _, _ in members(town.state)][-1] == max(
        row.number for _, row in town.state.scan(ACCOUNT)
    )
    town._nonces[NEW] = 0
    town.block()
    assert town.want("home1", Transfer(members(town.state)[-1][1], "CASH", 500)) == ""
    assert town.want(NEW, Transfer(town.genesis.accounts["home1"], "CASH", 400)) == ""
    assert epoch_of(town.state).coming
    town.all_ready("home1", "home2", "home3")
    assert epoch_of(town.state).number == 0, "three of five are no quorum of the committee to come"
    sealing = town.all_ready(NEW)
    assert EpochSealed(1) in sealing.events
    assert town.seats == {"home1", "home2", "home3", "home4", NEW}


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"bus": "nowhere"}, "unknown_bus"),
        ({"name": "home1"}, "name_taken"),
        ({"name": "pool"}, "name_taken"),
        ({"node_key": key("home1 node")}, "key_used"),
        ({"transport_key": key("home1 transport")}, "key_used"),
        ({"device_key": key("home1 meter")}, "key_used"),
        ({"owner_key": key("home1 owner")}, "known"),
    ],
)
def test_an_admission_that_does_not_fit_is_refused(change: dict[str, object], code: str) -> None:
    town = Town(1)
    assert town.want("home1", replace(newcomer(), **change)) == code  # type: ignore[arg-type]


def test_only_households_whose_nodes_vote_approve() -> None:
    town = Town(5, committee_max=4)
    outside = ({"home1", "home2", "home3", "home4", "home5"} - town.seats).pop()
    assert town.want(outside, newcomer()) == "no_voter"


def test_an_approval_that_is_out_of_date_counts_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(membership, "APPROVAL_BLOCKS", 3)
    town = Town(4)
    town.want("home1", newcomer())
    town.blocks_of(4)
    for home in ("home2", "home3"):
        assert town.want(home, newcomer()) == ""
    assert len(members(town.state)) == 4, "two of four: the first is out of date"
    assert town.want("home1", newcomer()) == ""
    assert len(members(town.state)) == 5


def test_a_removed_home_loses_seat_and_links_and_keeps_its_account() -> None:
    town = Town(5)
    for home in ("home1", "home2", "home3", "home4"):
        assert town.want(home, Remove(town.genesis.accounts["home5"])) == ""
    assert town.status("home5") == Status.REMOVED
    assert len(members(town.state)) == 4
    assert town.want("home5", Transfer(town.genesis.accounts["home1"], "CASH", 1)) == ""
    assert town.want("home5", Park(0)) == "no_member"
    town.all_ready("home1", "home2", "home3")
    assert town.seats == {"home1", "home2", "home3", "home4"}


def test_a_parked_seat_ends_with_the_epoch_and_comes_back_with_another() -> None:
    town = Town(5)
    assert town.want("home5", Park(1)) == ""
    assert town.status("home5") == Status.PARKED
    town.blocks_of(2)
    assert town.seats == {f"home{i}" for i in range(1, 6)}, "until a quorum of the others is ready it votes"
    town.all_ready("home1", "home2", "home3")
    assert town.seats == {f"home{i}" for i in range(1, 5)}
    assert town.want("home5", Park(0)) == ""
    town.blocks_of(2)
    town.all_ready("home5", "home1", "home2", "home4")
    assert town.seats == {f"home{i}" for i in range(1, 6)}


def test_the_least_length_of_an_epoch_is_kept() -> None:
    town = Town(4, epoch_blocks_min=10)
    town.want("home4", Park(1))
    town.blocks_of(8)
    assert not epoch_of(town.state).coming
    town.blocks_of(2)
    assert epoch_of(town.state).coming


def test_a_word_counts_once_for_the_committee_to_come_alone() -> None:
    town = Town(4)
    town.want("home4", Park(1))
    town.blocks_of(1)
    for words in (("home4", None), ("home1", (key("home1 node"),))):
        town.ready(*words)
        town.block()
        assert epoch_of(town.state).ready == ()
        town._pending.clear()
    town.ready("home1")
    town.block()
    town.ready("home1")
    town.block()
    assert len(epoch_of(town.state).ready) == 1


def test_a_change_of_mind_takes_the_words_back() -> None:
    town = Town(5)
    town.want("home5", Park(1))
    town.blocks_of(1)
    town.all_ready("home1", "home2")
    town.want("home4", Park(1))
    assert epoch_of(town.state).ready == ()


def test_nominations_rank_homes_where_there_are_more_than_seats() -> None:
    town = Town(6, committee_max=4)
    before = town.seats
    outside = sorted({f"home{i}" for i in range(1, 7)} - before)
    accounts = town.genesis.accounts
    for home in ("home1", "home2"):
        assert town.want(home, Nominate(tuple(sorted(accounts[name] for name in outside)))) == ""
    town.blocks_of(2)
    rest = sorted(before)[:2]
    town.all_ready(*outside, *rest, *sorted(before)[2:])
    assert set(outside) < town.seats
    assert town.want("home1", Nominate((bytes(20),))) == "unknown_home"


def test_a_rotated_key_votes_from_the_next_epoch_on_and_the_old_one_never_again() -> None:
    town = Town(4)
    fresh = key("home1 node again")
    assert town.want("home1", RotateKey(fresh, key("home1 transport"))) == ""
    assert town.want("home2", RotateKey(key("home1 node"), key("x"))) == "key_used"
    assert town.want("home2", RotateKey(key("y"), key("home3 transport"))) == "key_used"
    town.blocks_of(1)
    town.all_ready("home2", "home3", "home4")
    assert fresh in committee_of(town.state).keys
    assert key("home1 node") not in committee_of(town.state).keys


# ---- evidence


def lie(town: Town, seat: int, epoch: int = 0) -> Evidence:
    """Two NOTARIZE of one seat in one view."""
    keys = town.genesis.committee.keys
    seeds = {key(f"home{i} node"): seed_of(f"home{i} node") for i in range(1, 8)}
    claims = []
    for block in (sha256(b"a"), sha256(b"b")):
        message = vote_message(town.context.chain_id, Kind.NOTARIZE, epoch, 7, block, 5, seat)
        claims.append(Claim(int(Kind.NOTARIZE), block, 5, SCHEME.sign(seeds[keys[seat]], message)))
    return evidence_of(epoch, 7, seat, *claims)


def test_evidence_suspends_a_seat_from_the_next_epoch_on_and_counts_once() -> None:
    town = Town(5)
    evidence = lie(town, 2)
    executed = town.block(evidence=(evidence,))
    liar = next(e.account for e in executed.events if isinstance(e, Suspended))
    name = town.state.need(ACCOUNT, (liar,)).name
    assert town.status(name) == Status.SUSPENDED
    with pytest.raises(InvalidBlock, match="evidence"):
        town.block(evidence=(evidence,))
    with pytest.raises(InvalidBlock, match="evidence"):
        town.block(evidence=(lie(town, 2)._replace(view=8),))
    others = [f"home{i}" for i in range(1, 6) if f"home{i}" != name]
    town.blocks_of(2)
    town.all_ready(*others[:3])
    assert town.seats == set(others)
    assert town.want(name, Park(0)) == "no_member"


def test_evidence_of_another_key_or_that_no_one_signed_is_invalid() -> None:
    town = Town(4)
    evidence = lie(town, 1)
    for bad in (
        evidence._replace(signer=2),
        evidence._replace(epoch=1),
        evidence._replace(first=evidence.first._replace(time_ms=6)),
    ):
        with pytest.raises(InvalidBlock, match="evidence"):
            town.block(evidence=(bad,))


def test_each_kind_of_contradiction_is_evidence_and_nothing_else_is() -> None:
    from ledger.base.errors import DecodeError
    from ledger.base.votes import conflict, decode_evidence

    a, b, zero = sha256(b"a"), sha256(b"b"), bytes(32)

    def claim(kind: int, block: bytes) -> Claim:
        return Claim(kind, block, 0 if kind in (PROPOSE, Kind.NULLIFY) else 5, bytes(64))

    lies = [(k, a, k, b) for k in (PROPOSE, Kind.NOTARIZE, Kind.FINALIZE)]
    lies.append((Kind.NULLIFY, zero, Kind.FINALIZE, a))
    honest = [
        (Kind.NOTARIZE, a, Kind.FINALIZE, a),
        (Kind.NOTARIZE, a, Kind.NULLIFY, zero),
        (PROPOSE, a, Kind.NOTARIZE, b),
    ]
    for k1, h1, k2, h2 in lies:
        assert conflict(claim(k1, h1), claim(k2, h2))
        evidence = evidence_of(0, 3, 1, claim(k1, h1), claim(k2, h2))
        sides = [[int(side.kind), *side[1:]] for side in (evidence.first, evidence.second)]
        assert decode_evidence([evidence.epoch, 3, 1, *sides]) == evidence
    for k1, h1, k2, h2 in honest:
        assert not conflict(claim(k1, h1), claim(k2, h2))
        first, second = sorted((claim(k1, h1), claim(k2, h2)))
        with pytest.raises(DecodeError):
            decode_evidence([0, 3, 1, list(first), list(second)])


def test_evidence_counts_for_some_epochs_and_not_for_ever() -> None:
    town = Town(5, evidence_epochs=2, epoch_blocks_min=1)
    evidence = lie(town, 3)
    liar = town.genesis.committee.keys[3]
    others = [f"home{i}" for i in range(1, 6) if key(f"home{i} node") != liar]
    flag = 1
    for number in range(1, 4):  # a seat is given up and taken back: an epoch each
        town.want(others[3], Park(flag))
        flag ^= 1
        town.blocks_of(1)
        everybody = [f"home{i}" for i in range(1, 6) if key(f"home{i} node") in epoch_of(town.state).coming]
        town.all_ready(*everybody)
        assert epoch_of(town.state).number == number
        state = town.state
        from ledger.state.rules.membership import check_evidence

        assert (check_evidence(state, evidence) is None) == (number > 2)


# ---- missing votes


def test_a_seat_that_misses_too_many_certificates_is_parked_and_its_own_word_brings_it_back() -> None:
    town = Town(7, park_misses_max=3)
    keys = town.genesis.committee.keys

    def certified(*missing: int) -> bytes:
        votes = [
            Vote(Kind.NOTARIZE, 0, max(1, town.tip.header.view), town.tip.hash, 1, seat, bytes(64))
            for seat in range(7)
            if seat not in missing
        ]
        return certificate_of(votes).encoded

    town.block()
    for _ in range(2):
        town.block(certificate=certified(4, 5))
    town.block(certificate=certified(5))  # the other one voted: it counts anew
    town.block(certificate=certified(4, 5))
    absent = [account for _, account, m in members(town.state) if m.status == Status.ABSENT]
    assert len(absent) == 1
    assert town.state.need(MEMBER, (absent[0],)).node_key == keys[5]
    name = town.state.need(ACCOUNT, (absent[0],)).name
    town.ready(name, keys)
    town.block()
    assert town.status(name) == Status.ACTIVE


def test_no_more_than_f_seats_are_parked_in_an_epoch_and_never_below_four() -> None:
    for homes, parked in ((4, 0), (5, 1), (7, 2)):
        town = Town(homes, park_misses_max=1)
        town.block()
        votes = [Vote(Kind.NOTARIZE, 0, 1, town.tip.hash, 1, seat, bytes(64)) for seat in range(homes // 3)]
        town.block(certificate=certificate_of(votes).encoded)
        assert sum(m.status == Status.ABSENT for _, _, m in members(town.state)) == parked


# ---- sealing blocks


def sealed() -> Town:
    town = Town(4)
    town.want("home4", Park(1))
    town.blocks_of(2)
    town.all_ready("home1", "home2", "home3")
    assert epoch_of(town.state).number == 1
    return town


def test_the_header_names_the_next_committee() -> None:
    town = sealed()
    assert town.tip.header.epoch == 0
    assert town.tip.header.committee_hash == committee_hash(committee_of(town.state).keys)


def test_above_a_sealing_block_its_own_epoch_carries_nothing() -> None:
    town = sealed()
    seal = town.tip
    town.ask("home1", Transfer(town.genesis.accounts["home2"], "CASH", 5))
    tail = town.carry(Draft(0, seal.header.view + 1, 0, town.time_ms + 1))
    assert tail.block is not None
    assert tail.block.transactions == ()
    assert tail.header.state_root == seal.header.state_root
    with pytest.raises(InvalidBlock, match="evidence above"):
        town.carry(Draft(0, seal.header.view + 2, 0, town.time_ms + 2, evidence=(lie(town, 1),)))


def test_the_next_epoch_stands_on_the_sealing_block_and_on_nothing_else() -> None:
    town = sealed()
    seal = town.tip
    first = town.block()
    assert (first.header.epoch, first.header.view, first.header.parent_view) == (1, 1, 0)
    town.tip = seal
    with pytest.raises(InvalidBlock, match="epoch"):
        town.carry(Draft(2, 1, 0, town.time_ms + 5))
    town.carry(Draft(0, seal.header.view + 1, 0, town.time_ms + 6))
    with pytest.raises(InvalidBlock, match="epoch"):
        town.carry(Draft(1, 1, 0, town.time_ms + 7))
    early = Town(4)
    early.block()
    with pytest.raises(InvalidBlock, match="epoch"):
        early.carry(Draft(1, 1, 0, early.time_ms + 7))


# ---- recovery


def recovery(town: Town, homes: tuple[str, ...], signers: tuple[str, ...], height: int | None = None) -> Recovery:
    committee = tuple(sorted(key(f"{home} node") for home in homes))
    epoch = epoch_of(town.state).number + 1
    plain = Recovery(epoch, town.tip.header.height if height is None else height, town.tip.hash, committee, ())
    message = plain.message(town.context.chain_id)
    pairs = [(key(f"{home} owner"), SCHEME.sign(seed_of(f"{home} owner"), message)) for home in signers]
    return plain._replace(signatures=tuple(sorted(pairs)))


def test_more_than_half_of_the_households_begin_again_with_fewer_nodes() -> None:
    town = Town(5)
    town.block()
    agreed = recovery(town, ("home1", "home2"), ("home1", "home2", "home5"))
    town.time_ms += 1
    executed = town.carry(Draft(1, 1, 0, town.time_ms, recovery=agreed.encoded()))
    assert town.seats == {"home1", "home2"}
    assert [town.status(f"home{i}") for i in (3, 4, 5)] == [Status.ABSENT] * 3
    again = apply_block(town.context, town.blocks[-2], executed.block)  # type: ignore[arg-type]
    assert again.hash == executed.hash
    town.blocks_of(2)
    town.ready("home3", committee_of(town.state).keys)
    town.block()
    assert town.status("home3") == Status.ACTIVE


@pytest.mark.parametrize(
    ("homes", "signers", "height"),
    [
        (("home1", "home2"), ("home1", "home2"), None),  # half of four is not more than half
        (("home1", "home9"), ("home1", "home2", "home3"), None),
        (("home1",), ("home1", "home2", "home3"), 0),
    ],
)
def test_a_recovery_of_too_few_of_strangers_or_of_another_block_is_invalid(
    homes: tuple[str, ...], signers: tuple[str, ...], height: int | None
) -> None:
    town = Town(4)
    town.block()
    agreed = recovery(town, homes, signers, height)
    with pytest.raises(InvalidBlock):
        town.carry(Draft(1, 1, 0, town.time_ms + 1, recovery=agreed.encoded()))


def test_a_claim_is_its_vote() -> None:
    vote = Vote(Kind.FINALIZE, 1, 2, sha256(b"x"), 9, 3, bytes(64))
    assert claim_of(vote) == Claim(3, sha256(b"x"), 9, bytes(64))
    assert proposal_message(bytes(32), 0, 1, bytes(32)) != vote_message(bytes(32), 0, 0, 1, bytes(32), 0, 0)
