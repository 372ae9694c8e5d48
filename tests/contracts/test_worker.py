"""Keys, offer, pause, stake and bond of a Worker."""

from __future__ import annotations

from dataclasses import replace

import pytest
from actors import actor, blob, digest, key
from channel import DAY, Channel
from outcome import Paid
from pytoniq_core import begin_cell
from world import MODEL, TERMS, TON, WorkerSide, World

from cocoon.contracts_build import load
from cocoon.wire.codec import Struct
from cocoon.wire.common import ModelTerms, PaymentReason, state_init
from cocoon.wire.escrow import JobStatus, SignedReceipt
from cocoon.wire.registry import ChangePolicy
from cocoon.wire.slashing import SubmitEquivocation
from cocoon.wire.worker import (
    ApproveMeasurement,
    BeginUnbond,
    ChangeOperator,
    InitWorker,
    PauseWorker,
    ResumeWorker,
    SetOffer,
    SlashWorker,
    TopUpStake,
    UpdatePolicy,
    WithdrawStake,
    WorkerIdentityData,
    WorkerStatus,
)
from cocoon_sandbox.dictionary import write_dict
from cocoon_sandbox.ledger import Ledger

# ---- initialisation ----


def test_init_from_anyone_but_the_registry_refused(world: World) -> None:
    """B.2: deploying a worker's address oneself gives nothing."""
    thief = actor("thief")
    address = world.deployment.worker(0)
    init = state_init(load("Worker").code, WorkerIdentityData(world.registry, 0).to_cell())
    body = InitWorker(1, thief, 10 * TON, 2 * TON, world.registration().roles, world.policy(1))
    world.send(thief, address, body, 20 * TON, state_init=init).assert_refused(202)


def test_predeployed_worker_address_is_still_registered(world: World) -> None:
    """B.2: somebody who deploys the next worker's bare state does not block the registration."""
    address = world.deployment.worker(0)
    init = state_init(load("Worker").code, WorkerIdentityData(world.registry, 0).to_cell())
    world.send(actor("thief"), address, begin_cell().end_cell(), TON, state_init=init).assert_succeeded()
    assert world.ledger.get(address, "get_worker_data")[0] == 0
    assert world.register().state.status == WorkerStatus.PENDING


def test_init_with_another_message_first_refused(world: World) -> None:
    address = world.deployment.worker(0)
    init = state_init(load("Worker").code, WorkerIdentityData(world.registry, 0).to_cell())
    body = UpdatePolicy(1, world.policy(1))
    world.send(world.registry, address, body, TON, state_init=init).assert_refused(200)


def test_init_twice_refused(worker: WorkerSide) -> None:
    body = InitWorker(1, actor("thief"), 0, 0, worker.world.registration().roles, worker.world.policy(1))
    worker.world.send(worker.world.registry, worker.address, body, TON).assert_refused(201)


def test_init_below_the_least_value_refused(world: World) -> None:
    """The Registry prices a deployment so that this never happens; the Worker checks all the same."""
    address = world.deployment.worker(0)
    init = state_init(load("Worker").code, WorkerIdentityData(world.registry, 0).to_cell())
    body = InitWorker(1, actor("owner"), 10 * TON, 2 * TON, world.registration().roles, world.policy(1))
    done = world.send(world.registry, address, body, 12 * TON, state_init=init)
    assert done.exit_code == 207
    assert not done.changed


# ---- offer ----


def test_set_offer_replaces_the_whole_offer(worker: WorkerSide) -> None:
    other = replace(TERMS, prompt_nano=1)
    worker.set_offer({5: other, 6: TERMS}, slots=3).assert_succeeded()
    assert worker.state.models == {5: other, 6: TERMS}
    assert worker.state.forced_slots == 3


def test_set_offer_at_the_caps_succeeds_with_the_least_value(worker: WorkerSide) -> None:
    """B.16, B.17."""
    models = {digest(blob(f"model {number}")): TERMS for number in range(8)}
    worker.set_offer(models, slots=8).assert_succeeded()
    assert worker.state.models == models


def test_set_offer_empty_withdraws_everything(worker: WorkerSide) -> None:
    worker.set_offer({}, slots=0).assert_succeeded()
    assert worker.state.models == {}
    assert worker.world.ledger.get(worker.address, "get_worker_data")[13] is None


@pytest.mark.parametrize(
    ("models", "slots", "exit_code"),
    [
        ({digest(blob(f"model {number}")): TERMS for number in range(9)}, 2, 214),
        ({MODEL: TERMS}, 9, 214),
        ({MODEL: replace(TERMS, min_duration_sec=0)}, 2, 215),
    ],
    ids=["nine models", "nine slots", "no minimum duration"],
)
def test_set_offer_beyond_limits_refused(
    worker: WorkerSide, models: dict[int, ModelTerms], slots: int, exit_code: int
) -> None:
    """B.17, B.30."""
    worker.by_operator(SetOffer(1, slots, models), TON).assert_refused(exit_code)


def test_set_offer_malformed_entry_refused(worker: WorkerSide) -> None:
    """B.22: an entry with trailing data could break a binding later."""
    long_terms = begin_cell().store_cell(TERMS.to_cell()).store_uint(1, 8).end_cell()
    body = begin_cell().store_uint(SetOffer.PREFIX[0], 32).store_uint(1, 64).store_uint(2, 8)
    body.store_bit(1).store_ref(write_dict({MODEL: long_terms}, 256))
    done = worker.by_operator(body.end_cell(), TON)
    assert done.exit_code == 9
    done.assert_returned()


# ---- pause ----


@pytest.mark.parametrize("by", ["operator", "owner"])
def test_pause_and_resume_by_either_party(worker: WorkerSide, by: str) -> None:
    send = worker.by_operator if by == "operator" else worker.by_owner
    send(PauseWorker(1)).assert_succeeded()
    assert worker.state.status == WorkerStatus.PAUSED
    done = send(ResumeWorker(2)).assert_succeeded()
    assert worker.state.status == WorkerStatus.ACTIVE
    assert done.received(getattr(worker, by)) > 0


@pytest.mark.parametrize("status", [s for s in WorkerStatus if s != WorkerStatus.ACTIVE])
def test_pause_when_not_active_refused(worker: WorkerSide, status: WorkerStatus) -> None:
    worker = bring_to(worker, status)
    worker.by_owner(PauseWorker(1)).assert_refused(213)


@pytest.mark.parametrize("status", [s for s in WorkerStatus if s != WorkerStatus.PAUSED])
def test_resume_when_not_paused_refused(worker: WorkerSide, status: WorkerStatus) -> None:
    worker = bring_to(worker, status)
    worker.by_owner(ResumeWorker(1)).assert_refused(213)


# ---- stake ----


def test_top_up_stake_by_anyone_adds_to_both_pots(worker: WorkerSide) -> None:
    before = worker.state
    friend = actor("friend")
    done = worker.world.send(friend, worker.address, TopUpStake(1, TON, TON // 2), 2 * TON).assert_succeeded()
    assert worker.state.stake_nano == before.stake_nano + TON
    assert worker.state.bond_nano == before.bond_nano + TON // 2
    assert done.balance_after - done.balance_before >= TON + TON // 2 - done.first.storage_fees
    assert done.change(friend) > TON // 2 - TON // 100


def test_top_up_stake_least_value(worker: WorkerSide) -> None:
    """B.16."""
    body = TopUpStake(1, TON, TON)
    least = 2 * TON + worker.manage_fees
    worker.by_owner(body, least - 1).assert_refused(207)
    worker.by_owner(body, least).assert_succeeded()


def test_top_up_stake_of_nothing_refused(worker: WorkerSide) -> None:
    worker.by_owner(TopUpStake(1, 0, 0), TON).assert_refused(221)


def test_top_up_stake_more_than_sent_refused(worker: WorkerSide) -> None:
    """B.20, B.21: amounts are promises until the value covers them."""
    worker.by_owner(TopUpStake(1, 2**64 - 1, 2**64 - 1), 5 * TON).assert_refused(207)


@pytest.mark.parametrize("status", [WorkerStatus.CLOSED, WorkerStatus.JAILED])
def test_top_up_stake_of_a_dead_worker_refused(worker: WorkerSide, status: WorkerStatus) -> None:
    """A.1: money added while it is closing would be somebody's loss."""
    bring_to(worker, status)
    worker.by_owner(TopUpStake(1, TON, TON), 3 * TON).assert_refused(213)


def test_unbond_and_withdraw_returns_stake_and_bond_to_the_owner(worker: WorkerSide) -> None:
    """W-2."""
    worker.by_owner(BeginUnbond(1)).assert_succeeded()
    assert worker.state.status == WorkerStatus.UNBONDING
    assert worker.state.unbond_at == worker.world.ledger.now + worker.world.rules.unbonding_sec
    owed = worker.owed
    worker.world.ledger.advance(worker.world.rules.unbonding_sec)
    done = worker.by_owner(WithdrawStake(2)).assert_succeeded()
    assert done.payments() == [Paid(worker.owner, PaymentReason.WITHDRAWAL, owed)]
    assert (worker.state.status, worker.owed) == (WorkerStatus.CLOSED, 0)


def test_withdraw_one_second_early_refused(worker: WorkerSide) -> None:
    """B.15, W-2."""
    worker.by_owner(BeginUnbond(1)).assert_succeeded()
    worker.world.ledger.advance(worker.world.rules.unbonding_sec - 1)
    worker.by_owner(WithdrawStake(2)).assert_refused(216)


def test_withdraw_without_unbonding_refused(worker: WorkerSide) -> None:
    worker.by_owner(WithdrawStake(1)).assert_refused(217)


def test_withdraw_twice_refused(worker: WorkerSide) -> None:
    bring_to(worker, WorkerStatus.CLOSED)
    worker.by_owner(WithdrawStake(2)).assert_refused(217)


@pytest.mark.parametrize("status", [WorkerStatus.UNBONDING, WorkerStatus.CLOSED])
def test_unbond_twice_refused(worker: WorkerSide, status: WorkerStatus) -> None:
    """Restarting the clock, or stopping it, is nobody's right."""
    bring_to(worker, status)
    worker.by_owner(BeginUnbond(2)).assert_refused(213)


def test_unbonding_is_never_delayed_by_open_channels_or_jobs(job: Channel) -> None:
    """W-2: no client can hold a stake hostage."""
    worker = job.worker
    worker.by_owner(BeginUnbond(1)).assert_succeeded()
    worker.world.ledger.advance(worker.world.rules.unbonding_sec)
    done = worker.by_owner(WithdrawStake(2)).assert_succeeded()
    assert done.paid(worker.owner) == worker.world.rules.min_stake_nano + worker.world.rules.min_bond_nano


def test_withdraw_jailed_returns_the_bond_and_stays_jailed(worker: WorkerSide) -> None:
    """W-3."""
    bring_to(worker, WorkerStatus.JAILED)
    worker.by_owner(BeginUnbond(1)).assert_succeeded()
    worker.world.ledger.advance(worker.world.rules.unbonding_sec)
    done = worker.by_owner(WithdrawStake(2)).assert_succeeded()
    assert done.payments() == [Paid(worker.owner, PaymentReason.WITHDRAWAL, worker.world.rules.min_bond_nano)]
    assert worker.state.status == WorkerStatus.JAILED
    again = worker.by_owner(WithdrawStake(3))
    assert again.paid(worker.owner) == 0


def test_change_operator_by_the_owner(worker: WorkerSide) -> None:
    worker.by_owner(ChangeOperator(1, actor("new operator"))).assert_succeeded()
    assert worker.state.people.operator_wallet == actor("new operator")
    assert worker.state.people.payout == worker.payout
    worker.by_operator(PauseWorker(2)).assert_refused(204)


def test_change_operator_to_the_masterchain_refused(worker: WorkerSide) -> None:
    """B.23."""
    worker.by_owner(ChangeOperator(1, actor("abroad", -1))).assert_refused(222)
    assert worker.state.people.operator_wallet == worker.operator


# ---- who and with how much ----

OPERATOR_MESSAGES: list[Struct] = [SetOffer(1, 2, {MODEL: TERMS})]
OWNER_MESSAGES = [BeginUnbond(1), WithdrawStake(1), ChangeOperator(1, actor("x")), ApproveMeasurement(1, 5)]
EITHER_MESSAGES = [PauseWorker(1), ResumeWorker(1)]


@pytest.mark.parametrize("body", OPERATOR_MESSAGES + EITHER_MESSAGES, ids=lambda b: type(b).__name__)
@pytest.mark.parametrize("sender", ["thief", "client", "worker payout"])
def test_operator_message_from_a_stranger_refused(worker: WorkerSide, body: Struct, sender: str) -> None:
    """B.1, A.2."""
    worker.world.send(actor(sender), worker.address, body, TON).assert_refused(204)


@pytest.mark.parametrize("body", OPERATOR_MESSAGES, ids=lambda b: type(b).__name__)
def test_operator_message_from_the_owner_refused(worker: WorkerSide, body: Struct) -> None:
    worker.by_owner(body).assert_refused(204)


@pytest.mark.parametrize("body", OWNER_MESSAGES, ids=lambda b: type(b).__name__)
@pytest.mark.parametrize("sender", ["thief", "worker operator", "worker payout"])
def test_owner_message_from_anyone_else_refused(worker: WorkerSide, body: Struct, sender: str) -> None:
    """B.1, A.3: the hot wallet never reaches the stake."""
    worker.world.send(actor(sender), worker.address, body, TON).assert_refused(203)


@pytest.mark.parametrize("body", OPERATOR_MESSAGES + EITHER_MESSAGES, ids=lambda b: type(b).__name__)
def test_operator_message_below_the_least_value_refused(worker: WorkerSide, body: Struct) -> None:
    """B.16."""
    worker.by_operator(body, worker.manage_fees - 1).assert_refused(207)


@pytest.mark.parametrize("body", OWNER_MESSAGES, ids=lambda b: type(b).__name__)
def test_owner_message_below_the_least_value_refused(worker: WorkerSide, body: Struct) -> None:
    """B.16."""
    worker.by_owner(body, worker.manage_fees - 1).assert_refused(207)


def test_policy_from_anyone_but_the_registry_refused(worker: WorkerSide) -> None:
    policy = worker.world.policy(9, slash_reporter_bps=0)
    worker.world.send(actor("thief"), worker.address, UpdatePolicy(1, policy), TON).assert_refused(202)


def test_policy_older_than_the_known_one_refused(worker: WorkerSide) -> None:
    """B.6: two policies on their way may overtake each other."""
    registry, send = worker.world.registry, worker.world.send
    newer, older = worker.world.policy(3, dispute_sec=7200), worker.world.policy(2)
    send(registry, worker.address, UpdatePolicy(1, newer), TON).assert_succeeded()
    send(registry, worker.address, UpdatePolicy(1, older), TON).assert_refused(220)
    assert worker.state.policy == newer


def test_policy_with_other_children_changes_neither_escrow_code_nor_slashing(worker: WorkerSide) -> None:
    """P-6, W-5: a policy cannot disown the escrows of today or appoint another judge."""
    channel = worker.world.open_channel(worker, term_sec=20 * DAY)
    thief = actor("thief")
    policy = worker.world.policy(2)
    policy = replace(policy, children=replace(policy.children, escrow_code_hash=7, slashing=thief))
    worker.world.adopt(ChangePolicy(policy)).assert_succeeded()
    worker.world.sync(worker).assert_succeeded()
    worker.world.send(thief, worker.address, SlashWorker(1, worker.session.public, thief, thief), TON).assert_refused(
        206
    )
    worker.attest().assert_succeeded()
    channel.post().assert_succeeded()
    assert channel.job == JobStatus.OPEN


# ---- helpers ----


def bring_to(worker: WorkerSide, status: WorkerStatus) -> WorkerSide:
    """Lead an active worker (for PENDING: another one) to `status` by real messages."""
    if status == WorkerStatus.PENDING:
        return worker.world.register("newcomer")
    if status == WorkerStatus.PAUSED:
        worker.by_owner(PauseWorker(1)).assert_succeeded()
    if status in (WorkerStatus.UNBONDING, WorkerStatus.CLOSED):
        worker.by_owner(BeginUnbond(1)).assert_succeeded()
    if status == WorkerStatus.CLOSED:
        worker.world.ledger.advance(worker.world.rules.unbonding_sec)
        worker.by_owner(WithdrawStake(1)).assert_succeeded()
    if status == WorkerStatus.JAILED:
        jail(worker)
    assert worker.state.status == status
    return worker


def jail(worker: WorkerSide) -> None:
    """Slash the worker for two receipts under its key."""
    channel = worker.world.channel(worker)
    receipts: list[SignedReceipt] = []
    for fee in (1, 2):
        receipts.append(channel.receipt(fee_nano=fee, epoch=1, key_epoch=1))
    identity = worker.world.deployment.escrow_identity(channel.client, worker.address, channel.salt)
    evidence = SubmitEquivocation(1, worker.session.public, identity, *receipts)
    worker.world.send(actor("reporter"), worker.world.slashing, evidence, TON).assert_succeeded()


def test_worker_rent_covers_a_full_worker_for_a_year(ledger: Ledger) -> None:
    """B.18: with offer, key table and job slots at their caps."""
    world = World(ledger).deploy()
    worker = world.register()
    rent = worker.balance - worker.owed
    worker.attest().assert_succeeded()
    worker.set_offer({digest(blob(f"model {number}")): TERMS for number in range(8)}, slots=8).assert_succeeded()
    for number in range(4):
        worker.attest(key(f"rotated {number}")).assert_succeeded()
    worker.by_owner(TopUpStake(1, 0, 10 * TON), 11 * TON).assert_succeeded()
    worker.set_offer({MODEL: TERMS} | {digest(blob(f"model {n}")): TERMS for n in range(7)}, slots=8).assert_succeeded()
    for number in range(8):
        world.open_channel(worker, salt=number).post().assert_succeeded()
    assert len(worker.state.open_jobs) == 8
    used = ledger.account(worker.address).storage_used
    prices = ledger.prices().storage
    assert prices.fee(used.cells, used.bits, 365 * DAY) <= rent


# ---- what a Registry may send, whatever code it runs one day ----


@pytest.mark.parametrize(
    "change",
    [
        {"unbonding_sec": 180 * DAY + 1},
        {"unbonding_sec": 44 * DAY},
        {"miss_client_bps": 2001},
        {"slash_reporter_bps": 10_000},
        {"key_loss_nano": 10**18},
        {"volume_burn_bps": 9},
        {"notice_sec": 31 * DAY},
    ],
    ids=lambda change: next(iter(change)),
)
def test_policy_out_of_bounds_refused_by_the_worker_itself(worker: WorkerSide, change: dict[str, int]) -> None:
    """P-6, R-7, W-5: even an upgraded Registry can't freeze a stake, free it early, or make a staged fault pay."""
    world = worker.world
    body = UpdatePolicy(1, world.policy(2, **change))
    world.send(world.registry, worker.address, body, TON).assert_refused(223)
    assert worker.state.policy.version == 1
