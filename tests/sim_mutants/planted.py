"""Bugs on purpose, each a change that the tests make to the running code, and what notices it. The product carries no switches.

A bug is planted by replacing functions of the real rooms for a while. `search` then runs worlds of the simulator from seed 1 on, or
another test, until something notices; it must be the thing that the table names, within the stated number of seeds.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from energo_simulator import node as simulated
from energo_simulator import world
from energo_simulator.checker import Violation
from energo_simulator.disk import Disk, Log
from energo_simulator.disk_files import DiskFiles
from energo_simulator.villains.forger import OLD_CHAIN
from energo_simulator.world import World
from ledger.base import votes
from ledger.base.crypto import ED25519, Scheme
from ledger.base.errors import InvalidBlock, InvalidTransaction
from ledger.base.intents import CHAIN_PREFIX_BYTES, Envelope, Reading
from ledger.base.votes import Certificate, Kind, Vote, decode_certificate
from ledger.gossip import joining, seals, sync
from ledger.node import catchup, core, transport
from ledger.simplex import machine, register, voter
from ledger.simplex.bodies import Bodies
from ledger.simplex.effects import Now, ToSign
from ledger.simplex.view import View
from ledger.simplex.work import has_work
from ledger.state import transition
from ledger.state.blocks import Block, Header, decode_block
from ledger.state.origin import genesis_block
from ledger.state.rules import balances, membership
from ledger.state.state import State
from ledger.state.tables import CASH, EPOCH, NO_KEY, PARAMS, Balance
from ledger.wallet.guard import Guard
from ledger.wallet.journal import DurableLog
from tests.ledger.gossip.test_joining import test_a_wrong_code_is_found_out_by_both_ends as wrong_code
from tests.ledger.node import test_catchup as away
from tests.ledger.node.test_transport import test_a_proof_without_the_key_does_not_pass as link_without_the_key
from tests.ledger.simplex.test_machine import (
    test_f_plus_one_nullifies_are_joined_at_once_and_one_alone_is_not_work as joins_f_plus_one,
)
from tests.ledger.simplex.test_protocol import (
    test_r14_3_an_own_vote_from_outside_is_shown_to_the_wallet as own_votes,
)
from tests.ledger.state.test_membership import (
    test_a_quorum_of_households_admits_a_home_with_account_meter_and_seat as admits,
)
from tests.ledger.state.test_membership import (
    test_evidence_counts_for_some_epochs_and_not_for_ever as counts_for_epochs,
)
from tests.ledger.wallet import test_guard as guard_tests
from tests.ledger.wallet.test_durable_log import test_what_was_appended_is_synced_before_append_returns as syncs

ROOT = Path(__file__).resolve().parent.parent.parent
Patch = pytest.MonkeyPatch


@dataclass(frozen=True)
class Found:
    """What noticed, and in which seed's world (1: the first)."""

    seeds: int
    what: str


Search = Callable[[int], Found | None]


@dataclass(frozen=True)
class Planted:
    """`plant` changes the running code; `search(bound)` looks for what `noticed` names, within `seeds` seeds."""

    name: str
    change: str
    plant: Callable[[Patch], None]
    noticed: str  # what the message of the one who notices has in it
    seeds: int
    search: Search

    def find(self) -> Found | None:
        """Plant it, look, and take it out again."""
        with pytest.MonkeyPatch.context() as patch:
            self.plant(patch)
            return self.search(self.seeds)


NOT_THERE_YET = (("used token after credit", "there are no prepaid tokens"),)


def worlds(scenario: str, *, nodes: int = 4, byzantine: int | None = None) -> Search:
    """Worlds of this scenario from seed 1 on."""

    def search(bound: int) -> Found | None:
        for seed in range(1, bound + 1):
            try:
                World(seed, nodes=nodes, byzantine=byzantine, scenario=scenario).run()
            except (Violation, AssertionError) as violation:
                return Found(seed, str(violation))
        return None

    return search


def one_test(test: Callable[[], None], name: str) -> Search:
    """A test of another room, which takes no seeds."""

    def search(bound: int) -> Found | None:
        try:
            test()
        except (AssertionError, pytest.fail.Exception):
            return Found(1, name)
        return None

    return search


def a_vote_on_disk() -> None:
    """The wallet's own test, in a folder of its own."""
    with tempfile.TemporaryDirectory() as folder:
        guard_tests.test_a_vote_is_on_disk_before_its_signature_is_given(Path(folder))


def three_hash_seeds(name: str) -> Search:
    """The same seed's world in three processes, whose sets are ordered differently."""

    def search(bound: int) -> Found | None:
        for seed in range(1, bound + 1):
            if len(traces(name, seed)) > 1:
                return Found(seed, "trace: it differs between hash seeds")
        return None

    return search


def traces(name: str, seed: int) -> set[str]:
    """The traces of a seed's calm world under three hash seeds, with this bug planted (none: empty)."""
    found = set()
    for hash_seed in "123":
        command = [sys.executable, "-m", "tests.sim_mutants", "--trace", str(seed), "--planted", name]
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": os.pathsep.join((".", "tools"))}
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
        found.add(done.stdout)
    return found


# ---- the disk


def send_before_log(patch: Patch) -> None:
    sign, drain = simulated.Node._sign, simulated.Node.drain
    late: dict[int, list[bytes]] = {}

    def sign_first(self: simulated.Node, request: ToSign, now: Now) -> None:
        held = late.setdefault(self.number, [])
        with pytest.MonkeyPatch.context() as inner:
            inner.setattr(Log, "append", lambda log, records: held.extend(records))
            sign(self, request, now)

    def write_afterwards(self: simulated.Node, now: Now) -> None:
        drain(self, now)
        self.disk.votes.append(late.pop(self.number, []))

    patch.setattr(simulated.Node, "_sign", sign_first)
    patch.setattr(simulated.Node, "drain", write_afterwards)


def no_fsync(patch: Patch) -> None:
    patch.setattr(DiskFiles, "sync", lambda self, file: None)


def write_at_the_next_append(patch: Patch) -> None:
    append = DurableLog.append
    held: list[bytes] = []

    def late(self: DurableLog, payloads: Sequence[bytes]) -> None:
        append(self, list(held))
        held[:] = payloads

    patch.setattr(DurableLog, "append", late)


def no_fsync_in_the_real_log(patch: Patch) -> None:
    patch.setattr(DurableLog, "_sync", lambda self: None)


def boot_from_block_0(patch: Patch) -> None:
    patch.setattr(Disk, "final", lambda self: (genesis_block(self.genesis), None))


# ---- the votes


def quorum_2f(patch: Patch) -> None:
    patch.setattr(votes, "quorum", lambda members: 2 * votes.faulty_max(members))


def votes_count_twice(patch: Patch) -> None:
    tally = View.tally

    def twice(self: View, kind: Kind) -> dict[bytes, list[Vote]]:
        return {block_hash: votes + votes for block_hash, votes in tally(self, kind).items()}

    patch.setattr(View, "tally", twice)


def _allow_all(self: Guard, kind: int, epoch: int, view: int, block_hash: bytes) -> None:
    return None


def forgetful_signer(patch: Patch) -> None:
    patch.setattr(Guard, "check", _allow_all)
    patch.setattr(machine.Machine, "recover", lambda self, records, now: self.progress(now))


def notarize_after_nullify(patch: Patch) -> None:
    notarize = machine.Machine._notarize

    def careless(self: machine.Machine, view: View, now: Now) -> None:
        nullified, view.own.nullified = view.own.nullified, False
        notarize(self, view, now)
        view.own.nullified |= nullified

    patch.setattr(machine.Machine, "_notarize", careless)
    patch.setattr(Guard, "check", _allow_all)


def finalize_after_nullify(patch: Patch) -> None:
    def careless(self: machine.Machine, view: View, notarization: Certificate, now: Now) -> None:
        if view.own.finalized is None:
            self._vote(view, Kind.FINALIZE, notarization.block_hash, now)

    patch.setattr(machine.Machine, "_finalize", careless)
    patch.setattr(Guard, "check", _allow_all)


def nobody_joins(patch: Patch) -> None:
    time_out = machine.Machine._time_out

    def alone(self: machine.Machine, view: View, now: Now) -> None:
        held, view.votes[Kind.NULLIFY] = view.votes[Kind.NULLIFY], {}
        time_out(self, view, now)
        view.votes[Kind.NULLIFY] = held | view.votes[Kind.NULLIFY]

    patch.setattr(machine.Machine, "_time_out", alone)


def unchecked_votes(patch: Patch) -> None:
    sign = simulated.Node._sign

    def forge(self: simulated.Node, request: ToSign, now: Now) -> None:
        honest = self.scheme
        self.scheme = type(honest)(honest.public, lambda seed, message: bytes(64), honest.verify)
        sign(self, request, now)
        self.scheme = honest

    patch.setattr(register, "vote_is_valid", lambda *arguments: True)
    patch.setattr(register, "certificate_is_valid", lambda *arguments: True)
    patch.setattr(simulated.Node, "_sign", forge)


# ---- the blocks


def _unequal(patch: Patch, ignored: str) -> None:
    same = transition._same

    def careless(what: str, found: object, expected: object) -> None:
        if what != ignored:
            same(what, found, expected)

    patch.setattr(transition, "_same", careless)


def height_unchecked(patch: Patch) -> None:
    _unequal(patch, "height")


def root_unchecked(patch: Patch) -> None:
    _unequal(patch, "state_root")


def gap_unchecked(patch: Patch) -> None:
    may_notarize = machine.Machine._may_notarize

    def careless(self: machine.Machine, block: Block, now: Now) -> bool:
        final = self.final_certificate
        skipped = range(max(block.header.parent_view, self.final_view) + 1, block.view)
        unproven = [view for n in skipped if final and (view := self._view(n)).nullification is None]
        for view in unproven:
            assert final is not None, "there is one"
            view.certificates[Kind.NULLIFY] = final  # any certificate passes for the one that is missing
        try:
            return may_notarize(self, block, now)
        finally:
            for view in unproven:
                view.certificates.pop(Kind.NULLIFY, None)

    patch.setattr(machine.Machine, "_may_notarize", careless)


def finalization_of_another(patch: Patch) -> None:
    def careless(answer: sync.Range, parent_hash: bytes | None) -> tuple[list[Block], tuple[Header, ...], Certificate]:
        return [decode_block(raw) for raw in answer.blocks], (), decode_certificate(answer.certificate)

    patch.setattr(catchup, "check_range", careless)


def link_proof_unread(patch: Patch) -> None:
    patch.setattr(transport, "ED25519", Scheme(ED25519.public, ED25519.sign, lambda key, proof, message: True))


def key_unconfirmed(patch: Patch) -> None:
    patch.setattr(joining, "is_same", lambda ours, theirs: True)


def seals_unproven(patch: Patch) -> None:
    patch.setattr(seals.Trail, "_proves", lambda self, header, proof: True)


def discarded_blocks_taken(patch: Patch) -> None:
    patch.setattr(seals.Trail, "is_final", lambda self, header, proof: self._proves(header, proof))


def snapshots_unproven(patch: Patch) -> None:
    patch.setattr(seals.Trail, "is_final", lambda self, header, proof: True)


def future_stamps(patch: Patch) -> None:
    honest = votes.block_time_ms
    patch.setattr(Bodies, "check_time", lambda self, block, certificate: None)
    patch.setattr(voter, "block_time_ms", lambda *arguments: honest(*arguments) + 3_600_000)


def local_clock(patch: Patch) -> None:
    guarded, check_time = World._guarded, Bodies.check_time
    clock_ms = [0]

    def look(self: World, node: simulated.Node, action: Callable[[], None]) -> None:
        clock_ms[0] = self.now_ms + self.skews[node.number]
        guarded(self, node, action)

    def judge(self: Bodies, block: Block, certificate: Certificate | None) -> None:
        check_time(self, block, certificate)
        if block.transactions and block.header.time_ms < clock_ms[0] - 2_000:
            raise InvalidBlock("block time", block.header.time_ms, "a younger one")

    patch.setattr(World, "_guarded", look)
    patch.setattr(Bodies, "check_time", judge)


def never_sleeping(patch: Patch) -> None:
    """Each view opens before its predecessor is final: empty blocks follow one another for ever."""
    late_ms = world.FAULTS_MS - 3_000  # the street wakes once more by then, and a short while is enough to see it
    patch.setattr(world, "QUIET_FROM_MS", 0)
    patch.setattr(world, "QUIET_MS", 500)
    patch.setattr(voter, "has_work", lambda at: (at.now_ms > late_ms and not at.tip_is_final) or has_work(at))


def votes_at_once(patch: Patch) -> None:
    patch.setattr(machine.Machine, "votes", property(lambda self: self.me is not None))


def own_votes_unread(patch: Patch) -> None:
    patch.setattr(machine.Machine, "_saw_own", lambda self, vote: None)


def clones_untold(patch: Patch) -> None:
    own_votes_unread(patch)
    patch.setattr(core.Core, "_on_clone_seen", lambda self, peer, message: None)


def short_evidence(patch: Patch) -> None:
    honest = membership.check_evidence
    patch.setattr(
        membership,
        "check_evidence",
        lambda state, evidence: (
            None if evidence.epoch != membership.epoch_of(state).number else honest(state, evidence)
        ),
    )


def lonely_seal(patch: Patch) -> None:
    """One word of the committee to come is enough."""

    def careless(state: State, height: int) -> bool:
        epoch, params = membership.epoch_of(state), state.need(PARAMS, NO_KEY)
        wanted = membership._ranked(state)
        if wanted == epoch.committee or height - epoch.first_height < params.epoch_blocks_min:
            wanted = ()
        if wanted != epoch.coming:
            epoch = epoch._replace(coming=wanted, ready=())
            state.put(EPOCH, NO_KEY, epoch)
        if not wanted or not epoch.ready:
            return False
        membership.begin(state, epoch.number + 1, height + 1, wanted)
        return True

    patch.setattr(membership, "advance", careless)


# ---- the rules


def _admit_also(patch: Patch, *codes: str, expired_by: int | None = None) -> None:
    honest = transition.check_admissible

    def careless(state: State, envelope: Envelope, *, height: int, time_ms: int) -> None:
        try:
            honest(state, envelope, height=height, time_ms=time_ms)
        except InvalidTransaction as error:
            far = expired_by is not None and envelope.valid_until_height + expired_by < height
            if error.code not in codes or isinstance(envelope.intent, Reading) or far:
                raise

    patch.setattr(transition, "check_admissible", careless)


def nonce_unchecked(patch: Patch) -> None:
    _admit_also(patch, "known", "gap")


def expiry_off_by_one(patch: Patch) -> None:
    _admit_also(patch, "expired", expired_by=1)


def old_chain(patch: Patch) -> None:
    honest = transition.verify_signature

    def careless(context: transition.Context, envelope: Envelope) -> None:
        old = envelope.chain_prefix == OLD_CHAIN[:CHAIN_PREFIX_BYTES]
        message = envelope.signing_bytes(OLD_CHAIN)
        if not (old and context.scheme.verify(envelope.sender, envelope.signature, message)):
            honest(context, envelope)

    patch.setattr(transition, "verify_signature", careless)


def unchecked_transactions(patch: Patch) -> None:
    def careless(context: transition.Context, envelope: Envelope) -> None:
        if envelope.chain_prefix != context.chain_id[:CHAIN_PREFIX_BYTES]:
            raise InvalidTransaction("wrong_chain", "the transaction was made for another street's ledger")

    patch.setattr(transition, "verify_signature", careless)


def rounding_to_the_proposer(patch: Patch) -> None:
    header = transition._Run.header

    def round_down(self: transition._Run, transactions: tuple[bytes, ...]) -> Header:
        genesis = self.context.genesis
        keys = genesis.committee.keys
        key = keys[self.draft.leader % len(keys)]
        home = next(home for home in genesis.homes if home.node_key == key)
        grid = genesis.accounts["grid"]
        rest = balances.free(self.state, grid, CASH) % 10_000
        balances.move(self.state, grid, genesis.accounts[home.name], CASH, rest)
        return header(self, transactions)

    patch.setattr(transition._Run, "header", round_down)


def overflow_wraps(patch: Patch) -> None:
    def wrapped(state: State, account: bytes, asset: str, amount: int) -> None:
        old = balances.balance(state, account, asset)
        balances._set(state, account, asset, Balance((old.free - amount) % 2**63, old.escrowed))

    patch.setattr(balances, "debit", wrapped)


def money_from_nothing(patch: Patch) -> None:
    honest, built = balances.credit, world.World.run

    def generous(state: State, account: bytes, asset: str, amount: int) -> None:
        honest(state, account, asset, amount + (1 if amount > 1 else 0))

    def run(self: World) -> str:  # only the block's own credits: the genesis is minted with the honest function
        with pytest.MonkeyPatch.context() as inner:
            inner.setattr(balances, "credit", generous)
            return built(self)

    patch.setattr(World, "run", run)


def sets_in_their_order(patch: Patch) -> None:
    finish = transition._Run.finish

    def unordered(self: transition._Run) -> None:
        finish(self)
        self.events = list(set(self.events))

    patch.setattr(transition._Run, "finish", unordered)


LOG_TEST = "tests/ledger/wallet/test_durable_log.py::test_what_was_appended_is_synced_before_append_returns"
VOTE_TEST = "tests/ledger/wallet/test_guard.py::test_a_vote_is_on_disk_before_its_signature_is_given"
JOIN_TEST = "tests/ledger/simplex/test_machine.py::" + joins_f_plus_one.__name__
AWAY_TESTS = "tests/ledger/node/test_catchup.py: "
CODE_TEST = "tests/ledger/gossip/test_joining.py::test_a_wrong_code_is_found_out_by_both_ends"
LINK_TEST = "tests/ledger/node/test_transport.py::test_a_proof_without_the_key_does_not_pass"

EVIDENCE_TEST = "tests/ledger/state/test_membership.py::" + counts_for_epochs.__name__
OWN_TEST = "tests/ledger/simplex/test_protocol.py::" + own_votes.__name__
ADMIT_TEST = "tests/ledger/state/test_membership.py::" + admits.__name__

PLANTED = [
    Planted("send before log", "a signed vote is written down after it was sent", send_before_log, "check 6:", 1,
            worlds("calm")),
    Planted("send before log: the real signer", "a signature is given and its record written with the next one",
            write_at_the_next_append, VOTE_TEST, 1, one_test(a_vote_on_disk, VOTE_TEST)),
    Planted("fsync skipped", "sync of the journals does nothing", no_fsync, "check 6:", 1, worlds("calm")),
    Planted("fsync skipped: the real log", "the file is written and not synced", no_fsync_in_the_real_log, LOG_TEST, 1,
            one_test(syncs, LOG_TEST)),
    Planted("counter reset at boot", "a node starts at block 0, whatever its disk holds", boot_from_block_0,
            "check 11:", 3, worlds("crash")),
    Planted("quorum 2f", "2f votes make a certificate", quorum_2f, ": view ", 5, worlds("equivocator")),
    Planted("duplicate votes counted", "each vote is tallied twice", votes_count_twice, "check 5:", 1, worlds("calm")),
    Planted("forgetful signer", "neither guard nor journal remembers a vote after a crash", forgetful_signer,
            "check 4:", 40, worlds("crash")),
    Planted("stale lock", "NOTARIZE in a view that this member nullified", notarize_after_nullify, "check 4:", 20,
            worlds("loss")),
    Planted("unlock on timeout", "FINALIZE in a view that this member nullified", finalize_after_nullify, "check 4:",
            30, worlds("loss")),
    Planted("nobody joins", "f+1 NULLIFY of others are no reason to nullify", nobody_joins, JOIN_TEST, 1,
            one_test(joins_f_plus_one, JOIN_TEST)),
    Planted("votes' signatures unchecked", "votes carry zeros and nobody looks", unchecked_votes, "check 5:", 1,
            worlds("calm")),
    Planted("no height check", "a header's height is not compared", height_unchecked, "check 1:", 5, worlds("forger")),
    Planted("state root not compared", "a header's state root is not compared", root_unchecked, "check 18:", 5,
            worlds("forger")),
    Planted("gap not proven", "a view may be passed over without its nullification", gap_unchecked, "check 12:", 10,
            worlds("forger")),
    Planted("proof not compared: blocks", "a range's finalization may be of another block", finalization_of_another,
            "check 1:", 40, worlds("forger")),
    Planted("proof not compared: link", "the proof of who is at the other end is not read", link_proof_unread,
            LINK_TEST, 1, one_test(link_without_the_key, LINK_TEST)),
    Planted("no key confirmation", "the proofs of the key that a code makes are not compared", key_unconfirmed, CODE_TEST,
            1, one_test(wrong_code, CODE_TEST)),
    Planted("proof not compared: seals", "whatever is shown with a seal proves it", seals_unproven, AWAY_TESTS + "a_seal",
            1, one_test(lambda: away.test_a_seal_is_followed_only_in_its_turn_and_with_its_quorum(away.Past()),
                        AWAY_TESTS + "a_seal")),
    Planted("discarded block taken", "a block above a sealing block counts as final", discarded_blocks_taken,
            AWAY_TESTS + "discarded", 1,
            one_test(lambda: away.test_a_final_block_that_was_discarded_above_a_seal_proves_nothing(away.Past()),
                     AWAY_TESTS + "discarded")),
    Planted("proof not compared: snapshots", "a snapshot is taken whatever its proof says", snapshots_unproven,
            AWAY_TESTS + "a_state", 1,
            one_test(lambda: away.test_a_state_that_no_quorum_signed_is_never_taken(away.Past()), AWAY_TESTS + "a_state")),
    Planted("future stamps", "a leader adds an hour to block time, nobody compares", future_stamps, "check 15:", 2,
            worlds("calm")),
    Planted("local clock in validity", "a block 2 s behind the local clock is invalid for ever", local_clock, "check 12:", 3,
            worlds("partition")),
    Planted("votes at once", "a started member does not wait for what others hold of its votes", votes_at_once,
            "check 4:", 60, worlds("restored")),
    Planted("own votes unread", "an own vote that stands in no record here is not asked about", own_votes_unread,
            OWN_TEST, 1, one_test(own_votes, OWN_TEST)),
    Planted("clones untold", "neither votes of its own nor its neighbors tell a copied card", clones_untold, "check 4:", 60,
            worlds("cloned")),
    Planted("evidence window short", "evidence counts in its own epoch alone", short_evidence, EVIDENCE_TEST, 1,
            one_test(counts_for_epochs, EVIDENCE_TEST)),
    Planted("sealed by one", "one ready node of the next committee is enough", lonely_seal, ADMIT_TEST, 1,
            one_test(admits, ADMIT_TEST)),
    Planted("never sleeping", "an unfinal ancestor is work at once", never_sleeping, "check 13:", 1, worlds("calm")),
    Planted("nonce not checked", "used and later nonces are admitted", nonce_unchecked, "carries nonce", 10,
            worlds("forger")),
    Planted("expiry off by one", "admitted one height after its end", expiry_off_by_one, "valid until", 10,
            worlds("forger")),
    Planted("old chain id accepted", "transactions of the ledger before count", old_chain, "of another chain", 5,
            worlds("forger")),
    Planted("transactions' signatures unchecked", "nobody looks at them", unchecked_transactions,
            "a signature that does not hold", 5, worlds("forger")),
    Planted("rounding to the proposer", "what the grid has below 0.0001 goes to the leader",
            rounding_to_the_proposer, "check 18:", 10, worlds("calm", byzantine=0)),
    Planted("overflow wraps", "a debit wraps around at 2^63 instead of being refused", overflow_wraps, "supply", 5,
            worlds("calm")),
    Planted("money from nothing", "each credit adds a unit", money_from_nothing, "supply", 1, worlds("calm")),
    Planted("iterate a set", "a block's events in the order of a set", sets_in_their_order, "trace", 1,
            three_hash_seeds("iterate a set")),
]  # fmt: skip
