"""How keys come into a Worker: the operator asks, Attestation answers, and nothing else ever counts.

The verdicts are sent as if from the network's Attestation; `attestation/test_whole_way.py` has real quotes judged.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
from actors import actor, blob, digest, key
from channel import DAY
from hostile import DEATHS, small_order_keys
from outcome import Outcome
from test_worker import bring_to
from world import MEASUREMENT, RULES, TON, WorkerSide, World

from cocoon.deployment import Deployment
from cocoon.wire.attestation import QuoteRefused, QuoteVerified, SignedDocument, VerifyQuote
from cocoon.wire.common import AttestedKeys, Excesses
from cocoon.wire.registry import ChangePolicy
from cocoon.wire.worker import (
    ApproveMeasurement,
    Attest,
    BeginUnbond,
    ChangeOperator,
    PauseWorker,
    WorkerPeople,
    WorkerStatus,
)

NOBODY = AttestedKeys(0, 0, 0)
LATER = key("after a reboot")


def ask(worker: WorkerSide, body: Attest | None = None, value: int | None = None) -> Outcome:
    """Attest by the operator, whose quote the Attestation of these tests refuses: what is awaited stays awaited."""
    return worker.by_operator(body or worker.quote(), worker.attest_fees if value is None else value)


def changes_of(done: Outcome) -> list[int]:
    """Query ids of the change that was sent."""
    return [body.query_id for body in done.every(Excesses)]


# ---- asking ----


def test_attest_sends_the_quote_on_and_awaits_exactly_its_keys(world: World) -> None:
    """W-11: under the next number, to the network's Attestation, with the measurement the owner approved."""
    worker = world.register()
    body = replace(worker.quote(), gpu_evidence_digest=77)
    done = ask(worker, body)
    assert done.first.success
    (sent,) = done.first.out_msgs
    assert (sent.dst, sent.bounce) == (world.attestation, True)
    expected = VerifyQuote(1, worker.session.public, digest(worker.hpke), 77, body.evidence)
    assert VerifyQuote.from_cell(sent.body) == expected
    people = worker.state.people
    assert people.awaited == AttestedKeys(worker.session.public, digest(worker.hpke), MEASUREMENT)
    assert (people.attest_seq, people.keys, worker.state.key_epoch) == (1, NOBODY, 0)
    assert worker.state.status == WorkerStatus.PENDING


def test_attest_again_counts_on_and_awaits_the_last_keys_only(worker: WorkerSide) -> None:
    """W-11."""
    ask(worker)
    ask(worker, worker.quote(LATER))
    people = worker.state.people
    assert people.attest_seq == 3  # the first made it active
    assert people.awaited is not None
    assert people.awaited.session_key == LATER.public


def test_attest_least_value_suffices_and_one_less_is_refused(worker: WorkerSide) -> None:
    """B.16."""
    ask(worker, value=worker.attest_fees - 1).assert_refused(207)
    assert ask(worker).first.success


@pytest.mark.parametrize("sender", ["thief", "client", "worker payout", "worker owner"])
def test_attest_by_anyone_but_the_operator_refused(worker: WorkerSide, sender: str) -> None:
    """B.1, W-11."""
    worker.world.send(actor(sender), worker.address, worker.quote(), TON).assert_refused(204)


@pytest.mark.parametrize(("name", "public"), small_order_keys().items(), ids=small_order_keys().keys())
def test_attest_low_order_key_refused(world: World, name: str, public: int) -> None:
    """B.14."""
    worker = world.register()
    ask(worker, replace(worker.quote(), session_key=public)).assert_refused(209)


@pytest.mark.parametrize("status", [WorkerStatus.CLOSED, WorkerStatus.JAILED])
def test_attest_when_gone_or_jailed_refused(worker: WorkerSide, status: WorkerStatus) -> None:
    bring_to(worker, status)
    ask(worker).assert_refused(213)


def test_attest_retired_key_refused(worker: WorkerSide) -> None:
    """W-4: before anybody pays for its verification."""
    old = worker.session
    worker.attest(LATER).assert_succeeded()
    ask(worker, worker.quote(old)).assert_refused(210)


def test_attest_beyond_the_key_table_refused_until_one_lapses(worker: WorkerSide) -> None:
    """B.17: filled to the cap; the least value still suffices there. W-4."""
    for number in range(4):
        worker.attest(key(f"rotated {number}")).assert_succeeded()
        worker.world.ledger.advance(60)
    ask(worker, worker.quote(key("one too many"))).assert_refused(212)
    worker.attest().assert_succeeded()  # renewing needs no room
    worker.world.ledger.advance(worker.world.rules.unbonding_sec)
    worker.attest(key("one too many")).assert_succeeded()
    assert len(worker.state.people.slashable.old_keys) == 1


def test_attest_whose_quote_is_too_large_for_its_value_changes_nothing(worker: WorkerSide) -> None:
    """B.8: the way to Attestation cannot be paid, so nothing was asked, and the value goes back."""
    body = worker.quote(LATER)
    heavy = SignedDocument(0, bytes(64), body.evidence.report.hint, blob("text", 1500))
    done = ask(worker, replace(body, evidence=replace(body.evidence, report=heavy)))
    assert done.exit_code == 0
    assert done.first.aborted
    done.assert_returned()
    assert [message.dst for message in done.first.out_msgs] == [worker.operator]


# ---- the verdict ----


def test_verdict_for_the_first_keys_activates(world: World) -> None:
    """W-11."""
    worker = world.register()
    ask(worker)
    verdict = worker.verdict(tcb_date=1_600_000_000, block_seqno=7)
    done = worker.give_verdict(verdict).assert_succeeded()
    state, people = worker.state, worker.state.people
    assert (state.status, state.key_epoch, state.lease_end) == (WorkerStatus.ACTIVE, 1, verdict.platform.lease_end)
    assert people.keys == AttestedKeys(worker.session.public, digest(worker.hpke), MEASUREMENT)
    assert (people.attest_seq, people.block_seqno, people.tcb_date) == (1, 7, 1_600_000_000)
    assert (people.awaited, people.slashable.old_keys) == (None, {})
    assert changes_of(done) == [1]
    assert 0 < done.change(worker.operator) < TON // 100


def test_verdict_for_the_same_key_renews_the_lease(worker: WorkerSide) -> None:
    worker.world.ledger.advance(DAY)
    worker.attest().assert_succeeded()
    assert worker.state.lease_end == worker.world.ledger.now + worker.world.rules.lease_sec
    assert worker.state.key_epoch == 1
    assert worker.state.people.slashable.old_keys == {}


def test_verdict_for_a_new_key_retires_the_old_one(worker: WorkerSide) -> None:
    """W-4: the old key stays slashable for the unbonding time."""
    old = worker.session
    worker.attest(LATER).assert_succeeded()
    assert worker.state.key_epoch == 2
    slashable_until = worker.world.ledger.now + worker.world.rules.unbonding_sec
    assert worker.state.people.slashable.old_keys == {old.public: slashable_until}


@pytest.mark.parametrize("status", [WorkerStatus.PAUSED, WorkerStatus.UNBONDING])
def test_verdict_leaves_a_leaving_worker_what_it_is(worker: WorkerSide, status: WorkerStatus) -> None:
    """W-8: a reboot must not make it miss the jobs it still owes."""
    bring_to(worker, status)
    worker.attest(LATER).assert_succeeded()
    assert (worker.state.status, worker.state.key_epoch) == (status, 2)


@pytest.mark.parametrize(
    "sender",
    ["thief", "operator", "owner", "client", "registry", "governor", "slashing", "Attestation of another network"],
)
def test_verdict_from_anyone_but_attestation_refused(worker: WorkerSide, sender: str) -> None:
    """B.1, A-1, W-11."""
    world = worker.world
    ask(worker, worker.quote(LATER))
    senders = {
        "operator": worker.operator,
        "owner": worker.owner,
        "registry": world.registry,
        "governor": world.governor,
        "slashing": world.slashing,
        "Attestation of another network": Deployment.of(replace(RULES, owner=actor("another"))).attestation,
    }
    source = senders.get(sender, actor(sender))
    world.send(source, worker.address, worker.verdict(LATER), TON // 100).assert_refused(208)


def assert_ignored(worker: WorkerSide, verdict: QuoteVerified, *, still_awaited: bool) -> None:
    """The keys stay what they were; the change goes to the operator all the same."""
    before = worker.state
    done = worker.give_verdict(verdict).assert_succeeded()
    assert changes_of(done) == [verdict.attest_seq]
    assert 0 < done.change(worker.operator) < TON // 100
    awaited = before.people.awaited if still_awaited else None
    assert worker.state == replace(before, people=replace(before.people, awaited=awaited))


def test_verdict_nobody_asked_for_is_ignored(world: World) -> None:
    """W-11: a Worker that has asked nothing takes nothing, whatever Attestation says one day."""
    worker = world.register()
    assert_ignored(worker, worker.verdict(), still_awaited=True)


@pytest.mark.parametrize("seq", [-1, 1, 2**63])
def test_verdict_on_another_quote_is_ignored_and_the_last_one_still_counts(worker: WorkerSide, seq: int) -> None:
    """W-11, W-12: verdicts may overtake each other."""
    ask(worker, worker.quote(LATER))
    asked = worker.state.people.attest_seq
    assert_ignored(worker, worker.verdict(LATER, attest_seq=asked + seq), still_awaited=True)
    worker.give_verdict(worker.verdict(LATER)).assert_succeeded()
    assert worker.state.people.keys.session_key == LATER.public


def test_verdict_on_the_quote_before_the_last_is_ignored(worker: WorkerSide) -> None:
    """W-12: the operator has asked for other keys since."""
    ask(worker, worker.quote(LATER))
    late = worker.verdict(LATER)
    ask(worker, worker.quote(key("the latest")))
    assert_ignored(worker, late, still_awaited=True)


def test_verdict_twice_counts_once(worker: WorkerSide) -> None:
    """W-12, B.6: the second does not even renew the lease."""
    ask(worker, worker.quote(LATER))
    verdict = worker.verdict(LATER)
    worker.give_verdict(verdict).assert_succeeded()
    later = replace(verdict, platform=replace(verdict.platform, lease_end=2**32 - 1, block_seqno=2**32 - 1))
    assert_ignored(worker, later, still_awaited=True)


@pytest.mark.parametrize("field", ["session_key", "hpke_key_hash", "measurement"])
def test_verdict_on_keys_that_differ_in_one_field_is_ignored(worker: WorkerSide, field: str) -> None:
    """W-11: whoever replaces the code of Attestation confirms exactly what was asked for, or nothing."""
    ask(worker, worker.quote(LATER))
    verdict = worker.verdict(LATER)
    keys = replace(verdict.platform.keys, **{field: key("thief").public})
    assert_ignored(worker, replace(verdict, platform=replace(verdict.platform, keys=keys)), still_awaited=False)


@pytest.mark.parametrize(("later", "taken"), [(-1, False), (0, False), (1, True)])
def test_verdict_must_name_a_later_block(worker: WorkerSide, later: int, taken: bool) -> None:
    """W-12: so that no earlier keys return."""
    ask(worker)
    worker.give_verdict(worker.verdict(block_seqno=1000)).assert_succeeded()
    ask(worker, worker.quote(LATER))
    verdict = worker.verdict(LATER, block_seqno=1000 + later)
    if taken:
        worker.give_verdict(verdict).assert_succeeded()
        assert worker.state.people.block_seqno == 1001
    else:
        assert_ignored(worker, verdict, still_awaited=False)


@pytest.mark.parametrize("status", [WorkerStatus.CLOSED, WorkerStatus.JAILED])
def test_verdict_after_the_end_is_ignored(worker: WorkerSide, status: WorkerStatus) -> None:
    """W-12: the stake left, or was slashed, while the quote was on its way."""
    ask(worker, worker.quote(LATER))
    bring_to(worker, status)
    assert_ignored(worker, worker.verdict(LATER), still_awaited=False)


@pytest.mark.parametrize("body", [PauseWorker(1), BeginUnbond(1)], ids=lambda b: type(b).__name__)
def test_verdict_after_pausing_or_leaving_is_taken(worker: WorkerSide, body: PauseWorker | BeginUnbond) -> None:
    """W-8."""
    ask(worker, worker.quote(LATER))
    worker.by_owner(body).assert_succeeded()
    status = worker.state.status
    worker.give_verdict(worker.verdict(LATER)).assert_succeeded()
    assert (worker.state.status, worker.state.people.keys.session_key) == (status, LATER.public)


def test_verdict_of_an_attestation_that_was_replaced_meanwhile_refused_and_asking_again_works(
    worker: WorkerSide,
) -> None:
    """W-11, P-6: a policy with another Attestation code reached the worker while its quote was on its way."""
    world, policy = worker.world, worker.world.policy(2)
    ask(worker, worker.quote(LATER))
    moved = replace(policy.children, attestation_code_hash=7, attestation_code_depth=1)
    world.adopt(ChangePolicy(replace(policy, children=moved))).assert_succeeded()
    world.sync(worker).assert_succeeded()
    assert worker.give_verdict(worker.verdict(LATER)).exit_code == 208
    assert worker.state.people.keys.session_key == worker.session.public
    (address,) = world.ledger.get(world.registry, "get_attestation_address")
    now_at = address.load_address()
    asked = ask(worker, worker.quote(LATER))
    assert [message.dst for message in asked.first.out_msgs] == [now_at]
    world.send(now_at, worker.address, worker.verdict(LATER), TON // 100, bounce=False).assert_succeeded()
    assert worker.state.people.keys.session_key == LATER.public


def test_verdict_that_cannot_pay_for_its_change_changes_nothing(worker: WorkerSide) -> None:
    """B.8: all of it or none: the operator asks again."""
    ask(worker, worker.quote(LATER))
    verdict, start = worker.verdict(LATER), worker.world.ledger.snapshot()
    gas = worker.give_verdict(verdict).first.gas_used
    worker.world.ledger.restore(start)
    prices = worker.world.ledger.prices()
    done = worker.give_verdict(verdict, prices.gas.fee(gas) + prices.forward.lump - 1)
    assert done.exit_code == 0
    assert done.first.aborted
    assert not done.changed
    worker.give_verdict(verdict).assert_succeeded()
    assert worker.state.people.keys.session_key == LATER.public


def test_change_goes_to_the_operator_of_now(worker: WorkerSide) -> None:
    """A.14: also when the owner replaced the one that paid; the key is still the one it asked for."""
    ask(worker, worker.quote(LATER))
    worker.by_owner(ChangeOperator(1, actor("new operator"))).assert_succeeded()
    done = worker.give_verdict(worker.verdict(LATER)).assert_succeeded()
    assert done.change(actor("new operator")) > 0
    assert done.received(worker.operator) == 0


# ---- refusals ----


def test_refusal_changes_nothing_and_returns_the_change(worker: WorkerSide) -> None:
    """W-12."""
    ask(worker, worker.quote(LATER))
    before = worker.state
    done = worker.give_verdict(QuoteRefused(before.people.attest_seq, 564)).assert_succeeded()
    assert (changes_of(done), worker.state) == ([2], before)
    assert 0 < done.change(worker.operator) < TON // 100


def test_refusal_by_a_stranger_costs_only_the_stranger(worker: WorkerSide) -> None:
    """B.1, W-12: whoever says so, nothing was taken; the verdict itself still comes."""
    ask(worker, worker.quote(LATER))
    before = worker.state
    done = worker.world.send(actor("thief"), worker.address, QuoteRefused(5, 1), TON).assert_succeeded()
    assert (done.received(actor("thief")), worker.state) == (0, before)
    worker.give_verdict(worker.verdict(LATER)).assert_succeeded()
    assert worker.state.key_epoch == 2


@pytest.mark.parametrize("death", ["absent", "throws"])
def test_quote_that_bounces_returns_the_change_to_the_operator(worker: WorkerSide, death: str) -> None:
    """B.3, W-12: Attestation is not deployed, or refuses at once."""
    DEATHS[death](worker.world.ledger, worker.world.attestation)
    before = worker.state
    done = ask(worker, worker.quote(LATER), TON)
    assert changes_of(done) == [2]
    assert TON - TON // 20 < done.change(worker.operator) < TON
    after = worker.state
    assert (after.people.keys, after.key_epoch, after.lease_end) == (before.people.keys, 1, before.lease_end)
    assert worker.balance >= worker.owed


def test_quote_swallowed_by_an_endless_attestation_leaves_the_worker_as_it_was(worker: WorkerSide) -> None:
    """B.7: no change is left to return; asking again works as soon as Attestation does."""
    world, start = worker.world, worker.world.ledger.snapshot()
    DEATHS["out of gas"](world.ledger, world.attestation)
    ask(worker, worker.quote(LATER))
    assert (worker.state.key_epoch, worker.balance >= worker.owed) == (1, True)
    world.ledger.restore(start)
    worker.attest(LATER).assert_succeeded()
    assert worker.state.key_epoch == 2


# ---- what the owner approves ----


def test_approved_measurement_is_what_later_quotes_must_say(worker: WorkerSide) -> None:
    """W-11: the keys that are there stay; keys of the old measurement do not come any more."""
    before = worker.state
    done = worker.by_owner(ApproveMeasurement(9, 5)).assert_succeeded()
    assert changes_of(done) == [9]
    slashable = replace(before.people.slashable, measurement=5)
    assert worker.state == replace(before, people=replace(before.people, slashable=slashable))
    ask(worker, worker.quote(LATER))
    assert worker.state.people.awaited == AttestedKeys(LATER.public, digest(worker.hpke), 5)
    assert_ignored(worker, worker.verdict(LATER, measurement=MEASUREMENT), still_awaited=False)
    worker.measurement = 5
    worker.attest(LATER).assert_succeeded()
    assert worker.state.people.keys.measurement == 5


def test_approving_another_measurement_ends_the_waiting_for_keys_of_the_old_one(worker: WorkerSide) -> None:
    """W-11: from now on means from now on, also for a quote that is on its way."""
    ask(worker, worker.quote(LATER))
    worker.by_owner(ApproveMeasurement(1, 5)).assert_succeeded()
    assert worker.state.people.awaited is None
    assert_ignored(worker, worker.verdict(LATER), still_awaited=True)


@pytest.mark.parametrize("sender", ["thief", "worker operator", "worker payout"])
def test_approve_measurement_by_anyone_but_the_owner_refused(worker: WorkerSide, sender: str) -> None:
    """B.1, W-11: not the hot wallet either."""
    worker.world.send(actor(sender), worker.address, ApproveMeasurement(1, 5), TON).assert_refused(203)


def test_approve_measurement_least_value(worker: WorkerSide) -> None:
    """B.16."""
    worker.by_owner(ApproveMeasurement(1, 5), worker.manage_fees - 1).assert_refused(207)
    worker.by_owner(ApproveMeasurement(1, 5), worker.manage_fees).assert_succeeded()


def test_get_worker_data_tells_keys_approval_and_the_last_quote(worker: WorkerSide) -> None:
    ask(worker)
    worker.give_verdict(worker.verdict(block_seqno=12, tcb_date=34)).assert_succeeded()
    worker.by_owner(ApproveMeasurement(1, 5)).assert_succeeded()
    told = worker.world.ledger.get(worker.address, "get_worker_data")
    assert told[7] == worker.state.key_epoch == 1
    people = WorkerPeople.from_cell(told[14])
    assert [people.owner, people.operator_wallet, people.payout] == [worker.owner, worker.operator, worker.payout]
    assert people.keys == AttestedKeys(worker.session.public, digest(worker.hpke), MEASUREMENT)
    assert (people.slashable.measurement, people.attest_seq, people.block_seqno, people.tcb_date) == (5, 2, 12, 34)
