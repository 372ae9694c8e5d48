"""Forced jobs: posting, admission, and the three ways a job ends."""

from __future__ import annotations

from dataclasses import replace

import pytest
from actors import actor, blob, digest, key
from channel import DAY, DEPOSIT, MAX_FEE, REQUEST, RESPONSE, Channel
from hostile import DEATHS, make_throwing
from outcome import Outcome, Paid
from pytoniq_core import Address, begin_cell
from world import MODEL, TERMS, TON, WorkerSide, World

from cocoon.wire.codec import Struct
from cocoon.wire.common import Kind, PaymentReason
from cocoon.wire.escrow import (
    BeginClose,
    DeliverJob,
    EscrowStatus,
    ExpireJob,
    JobRefusal,
    JobRefused,
    JobStatus,
    MissRecorded,
    PostJob,
    RejectJob,
    RetryReport,
)
from cocoon.wire.registry import ChangePolicy
from cocoon.wire.worker import (
    AdmitJob,
    BeginUnbond,
    JobOutcome,
    PauseWorker,
    ReportMiss,
    SettleJob,
    TopUpStake,
)

BLACK_HOLE = Address((0, bytes(32)))


# ---- posting and admission ----


def test_post_least_value_is_admitted(channel: Channel) -> None:
    """P-7, E-3: the whole cascade on exactly the least value; the job's money is the job's."""
    done = channel.post().assert_succeeded()
    state = channel.state
    assert (channel.job, state.job_seq, state.job_max_fee_nano) == (JobStatus.OPEN, 1, MAX_FEE)
    assert state.job_request_digest == digest(REQUEST)
    assert state.job_deadline == channel.world.ledger.now + 60
    assert MAX_FEE <= state.job_funds_nano <= MAX_FEE + channel.post_fees
    latest = state.job_deadline - TERMS.min_duration_sec + channel.world.rules.grace_sec
    assert done.one(AdmitJob) == AdmitJob(state.epoch, 1, latest, 1, channel.client, channel.salt)
    assert [transaction.account for transaction in done.transactions] == [channel.address, channel.worker.address]
    assert len(channel.worker.state.open_jobs) == 1
    assert channel.balance >= channel.owed


def test_post_one_nano_below_the_least_value_refused(channel: Channel) -> None:
    """B.16, B.20."""
    channel.post(extra=-1).assert_refused(305)


@pytest.mark.parametrize("sender", ["thief", "worker operator", "worker payout"])
def test_post_by_anyone_but_the_client_refused(channel: Channel, sender: str) -> None:
    channel.send(actor(sender), PostJob(1, MAX_FEE, 60, REQUEST), TON).assert_refused(302)


def test_post_while_a_job_is_open_refused(job: Channel) -> None:
    job.post().assert_refused(311)


def test_post_while_closing_refused(channel: Channel) -> None:
    channel.begin_close().assert_succeeded()
    channel.post().assert_refused(308)


@pytest.mark.parametrize(("fee", "ok"), [(TERMS.floor_fee_nano - 1, False), (TERMS.floor_fee_nano, True)])
def test_post_around_the_floor_fee(channel: Channel, fee: int, ok: bool) -> None:
    """B.30: forcing costs at least what the worker asked for."""
    done = channel.post(max_fee=fee)
    done.assert_succeeded() if ok else done.assert_refused(313)


@pytest.mark.parametrize(
    ("duration", "exit_code"), [(TERMS.min_duration_sec - 1, 314), (TERMS.min_duration_sec, None), (0, 314)]
)
def test_post_around_the_least_duration(channel: Channel, duration: int, exit_code: int | None) -> None:
    """B.30: no impossible deadlines."""
    done = channel.post(duration=duration)
    done.assert_succeeded() if exit_code is None else done.assert_refused(exit_code)


@pytest.mark.parametrize(("late", "exit_code"), [(0, None), (1, 315)])
def test_post_around_the_channels_end(channel: Channel, late: int, exit_code: int | None) -> None:
    """B.15."""
    done = channel.post(duration=DAY + late)
    done.assert_succeeded() if exit_code is None else done.assert_refused(exit_code)


def test_post_longest_duration_refused(channel: Channel) -> None:
    """B.21: deadline arithmetic does not wrap around."""
    channel.post(duration=2**32 - 1).assert_refused(315)


def test_post_largest_request_never_spends_other_money(channel: Channel) -> None:
    """B.20: hashing and measuring a request at the limit is paid by its own message."""
    spare = channel.balance - channel.owed
    done = channel.post(request=blob("large", 250))
    assert channel.job == JobStatus.OPEN
    assert channel.balance - channel.owed >= spare - done.first.storage_fees


@pytest.mark.parametrize("cells", [400, 1000])
def test_post_oversized_request_refused(channel: Channel, cells: int) -> None:
    """B.30."""
    channel.post(request=blob("too large", cells)).assert_refused(316)


def test_post_fills_every_slot_with_the_least_value(world: World, worker: WorkerSide) -> None:
    """B.17: at MAX_FORCED_SLOTS admissions, settlements and misses still run on what the jobs prepaid."""
    worker.set_offer({digest(blob(f"model {n}")): TERMS for n in range(7)} | {MODEL: TERMS}, slots=8)
    worker.by_owner(TopUpStake(1, 0, 8 * TON), 9 * TON).assert_succeeded()
    channels = [world.open_channel(worker, salt=number) for number in range(9)]
    for channel in channels[:8]:
        channel.post().assert_succeeded()
    assert len(worker.state.open_jobs) == worker.state.open_count == 8
    refused = channels[8].post()
    assert refused.one(JobRefused).reason == JobRefusal.NO_FREE_SLOT
    channels[0].deliver().assert_succeeded()
    channels[1].reject().assert_succeeded()
    channels[2].pass_deadline()
    for channel in channels[2:8]:
        channel.expire().assert_succeeded()
        assert channel.job == JobStatus.NONE
    state = worker.state
    assert (len(state.open_jobs), state.open_count) == (0, 0)
    assert (state.jobs, state.rejections, state.misses) == (1, 1, 6)


def assert_job_refunded(channel: Channel, done: object, least: int = MAX_FEE) -> None:
    """Everything but the posting's own costs went back to the client."""
    assert isinstance(done, Outcome)
    assert channel.job == JobStatus.NONE
    assert channel.state.job_funds_nano == 0
    assert done.paid(channel.client, PaymentReason.REFUND) >= least
    assert channel.balance >= channel.owed


def test_post_worker_without_slots_refunded(world: World, worker: WorkerSide) -> None:
    channel = world.open_channel(worker)
    worker.set_offer(slots=0).assert_succeeded()
    done = channel.post()
    assert done.one(JobRefused).reason == JobRefusal.NO_FREE_SLOT
    assert_job_refunded(channel, done)


@pytest.mark.parametrize("leave", [PauseWorker(1), BeginUnbond(1)], ids=["pause", "unbond"])
@pytest.mark.parametrize(("late", "refused"), [(-1, False), (0, True), (1, True)])
def test_post_around_the_notice_of_a_leaving_worker(
    world: World, worker: WorkerSide, leave: Struct, late: int, refused: bool
) -> None:
    """W-8, A.6, B.15: a channel keeps its worker for the notice, whatever the owner does."""
    channel = world.open_channel(worker, term_sec=10 * DAY)
    worker.by_owner(leave).assert_succeeded()
    assert worker.state.notice_end == world.ledger.now + world.rules.notice_sec
    world.ledger.advance(world.rules.notice_sec + late)
    done = channel.post()
    if refused:
        assert done.one(JobRefused).reason == JobRefusal.NOT_ACTIVE
        assert_job_refunded(channel, done)
    else:
        assert not done.every(JobRefused)
        assert worker.state.open_count == 1
        channel.deliver().assert_succeeded()


def test_post_pausing_before_unbonding_gives_one_notice(world: World, worker: WorkerSide) -> None:
    """W-8: a notice that ran out is not given again by another way of leaving, nor shortened by it."""
    channel = world.open_channel(worker, term_sec=10 * DAY)
    worker.by_owner(PauseWorker(1)).assert_succeeded()
    end = worker.state.notice_end
    world.ledger.advance(DAY // 2)
    worker.by_owner(BeginUnbond(1)).assert_succeeded()
    assert worker.state.notice_end == end
    channel.post().assert_succeeded()
    assert worker.state.open_count == 1


def test_post_after_the_lease_refunded(world: World, worker: WorkerSide) -> None:
    channel = world.open_channel(worker, term_sec=20 * DAY)
    world.ledger.advance(world.rules.lease_sec)
    done = channel.post()
    assert done.one(JobRefused).reason == JobRefusal.LEASE_EXPIRED
    assert_job_refunded(channel, done)


def test_post_channel_bound_to_a_replaced_key_refunded(channel: Channel) -> None:
    """W-6: a worker is never made to answer for a key it no longer has."""
    channel.worker.attest(key("after the reboot")).assert_succeeded()
    done = channel.post()
    assert done.one(JobRefused).reason == JobRefusal.KEY_REPLACED
    assert_job_refunded(channel, done)


def test_job_admitted_before_the_rotation_is_delivered_under_its_key(job: Channel) -> None:
    """P-3: the receipt verifies under the key the channel was bound to."""
    bound = job.worker.session
    job.worker.attest(key("after the reboot")).assert_succeeded()
    job.deliver(signer=job.worker.session).assert_refused(317)
    assert job.deliver(signer=bound).assert_succeeded().paid(job.worker.payout) == MAX_FEE // 2
    assert job.worker.state.jobs == 1


def test_post_bond_covers_each_open_job_once(world: World, worker: WorkerSide) -> None:
    """W-6: a bond of two penalties backs two open jobs."""
    worker.set_offer(slots=8).assert_succeeded()
    channels = [world.open_channel(worker, salt=number) for number in range(3)]
    for channel in channels[:2]:
        channel.post().assert_succeeded()
        assert channel.job == JobStatus.OPEN
    done = channels[2].post()
    assert done.one(JobRefused).reason == JobRefusal.BOND_TOO_LOW
    assert_job_refunded(channels[2], done)


def test_post_again_after_a_refusal_takes_the_next_seq(channel: Channel) -> None:
    """E-5: a seq is never assigned twice, so no client can provoke two signatures for one."""
    channel.worker.set_offer(slots=0).assert_succeeded()
    channel.post()
    assert (channel.state.job_seq, channel.job) == (1, JobStatus.NONE)
    channel.worker.set_offer(slots=1).assert_succeeded()
    channel.post().assert_succeeded()
    assert channel.state.job_seq == 2


# ---- delivery ----


def test_deliver_least_value_pays_worker_and_frees_the_slot(job: Channel) -> None:
    """P-3, E-3, E-4: the fee to the payout address, the rest stays the client's, the carrier pays nothing."""
    before = job.state
    done = job.deliver().assert_succeeded()
    fee = MAX_FEE // 2
    assert done.payments() == [Paid(job.worker.payout, PaymentReason.EARNINGS, fee)]
    assert done.change(job.worker.operator) > 0
    state = job.state
    assert (job.job, state.job_funds_nano) == (JobStatus.NONE, 0)
    assert state.deposit_nano >= before.deposit_nano + MAX_FEE - fee
    assert state.deposit_nano <= before.deposit_nano + before.job_funds_nano - fee
    assert job.balance >= job.owed
    assert done.one(SettleJob).outcome == JobOutcome.DELIVERED
    worker = job.worker.state
    assert (worker.jobs, worker.open_jobs, worker.bond_nano) == (1, {}, job.world.rules.min_bond_nano)


def test_deliver_with_change_to_the_payout_sends_one_payment(job: Channel) -> None:
    body = DeliverJob(4, True, job.forced_receipt(MAX_FEE), RESPONSE)
    done = job.send(job.worker.operator, body, job.end_job_fees).assert_succeeded()
    assert done.paid(job.worker.payout) >= MAX_FEE
    assert done.change(job.worker.operator) == 0
    assert job.balance >= job.owed


@pytest.mark.parametrize("fee", [0, 1, MAX_FEE])
def test_deliver_any_fee_up_to_the_maximum(job: Channel, fee: int) -> None:
    done = job.deliver(fee).assert_succeeded()
    assert done.paid(job.worker.payout) == fee
    assert job.balance >= job.owed


def test_deliver_fee_above_the_maximum_refused(job: Channel) -> None:
    """A.5: the declared maximum holds, whatever was signed."""
    job.deliver(MAX_FEE + 1).assert_refused(323)
    job.deliver(2**64 - 1).assert_refused(323)


def test_deliver_below_the_least_value_refused(job: Channel) -> None:
    """B.16."""
    body = DeliverJob(4, False, job.forced_receipt(), RESPONSE)
    job.send(actor("anyone"), body, job.end_job_fees - 1).assert_refused(305)


@pytest.mark.parametrize(
    "flaw",
    [
        {"tag": 0x43434E32},
        {"kind": Kind.STREAM_RECEIPT},
        {"kind": Kind.VOUCHER},
        {"global_id": -239},
        {"contract": actor("a clone")},
        {"epoch": 1},
        {"key_epoch": 0},
        {"key_epoch": 2},
    ],
    ids=str,
)
def test_deliver_receipt_of_another_domain_refused(job: Channel, flaw: dict[str, object]) -> None:
    """B.13."""
    job.deliver(**flaw).assert_refused(318)


@pytest.mark.parametrize(
    ("flaw", "exit_code"),
    [
        ({"seq": 0}, 319),
        ({"seq": 2}, 319),
        ({"request_digest": 5}, 320),
        ({"response_digest": 5}, 321),
        ({"model_id": MODEL + 1}, 322),
        ({"signer": key("stranger")}, 317),
        ({"signer": key("client key")}, 317),
    ],
    ids=str,
)
def test_deliver_wrong_receipt_refused(job: Channel, flaw: dict[str, object], exit_code: int) -> None:
    """E-4: everything that the chain can check of what was signed is checked."""
    job.deliver(**flaw).assert_refused(exit_code)


def test_deliver_another_response_than_signed_refused(job: Channel) -> None:
    body = DeliverJob(4, False, job.forced_receipt(), blob("another response"))
    job.send(job.worker.operator, body, job.end_job_fees).assert_refused(321)


def test_deliver_receipt_altered_after_signing_refused(job: Channel) -> None:
    signed = job.forced_receipt(1)
    dearer = replace(signed, receipt=replace(signed.receipt, fee_nano=MAX_FEE))
    job.send(actor("anyone"), DeliverJob(4, False, dearer, RESPONSE), job.end_job_fees).assert_refused(317)


@pytest.mark.parametrize("where", ["receipt", "outcome"])
def test_deliver_receipt_with_trailing_data_refused(job: Channel, where: str) -> None:
    """B.22: a receipt that a strict reader could not read is not paid, though its signature is good."""
    receipt = job.forced_receipt().receipt.to_cell()
    outcome = receipt.refs[0]
    if where == "outcome":
        outcome = begin_cell().store_cell(outcome).store_bit(1).end_cell()
    longer = begin_cell().store_bits(receipt.bits).store_ref(outcome)
    if where == "receipt":
        longer.store_bit(1)
    cell = longer.end_cell()
    body = begin_cell().store_uint(DeliverJob.PREFIX[0], 32).store_uint(1, 64).store_bit(0)
    body.store_ref(cell).store_bytes(job.worker.session.sign(cell)).store_ref(RESPONSE)
    job.send(actor("anyone"), body.end_cell(), job.end_job_fees).assert_refused(9)


def test_deliver_twice_refused(job: Channel) -> None:
    body = DeliverJob(4, False, job.forced_receipt(), RESPONSE)
    job.send(actor("anyone"), body, job.end_job_fees).assert_succeeded()
    job.send(actor("anyone"), body, job.end_job_fees).assert_refused(312)


def test_deliver_copied_by_a_front_runner_pays_the_worker(job: Channel) -> None:
    """B.12: the thief saves the worker the trouble and gains nothing."""
    done = job.deliver(MAX_FEE, sender=actor("thief")).assert_succeeded()
    assert done.paid(job.worker.payout) == MAX_FEE
    assert done.received(actor("thief")) <= job.end_job_fees


def test_deliver_replayed_for_the_next_job_refused(job: Channel) -> None:
    """E-5: the same request again is another seq."""
    body = DeliverJob(4, False, job.forced_receipt(), RESPONSE)
    job.send(actor("anyone"), body, job.end_job_fees).assert_succeeded()
    job.post().assert_succeeded()
    job.send(actor("anyone"), body, job.end_job_fees).assert_refused(319)


def test_deliver_without_a_job_refused(channel: Channel) -> None:
    channel.deliver().assert_refused(312)


def test_deliver_overtaking_the_admission_frees_the_slot(channel: Channel) -> None:
    """B.6: messages between two accounts keep their order, so the slot is taken first and freed then."""
    hold_admission(channel)
    body = DeliverJob(4, False, channel.forced_receipt(), RESPONSE)
    channel.world.put(channel.worker.operator, channel.address, body, channel.end_job_fees)
    channel.world.step(1)
    assert channel.job == JobStatus.NONE
    channel.world.run()
    state = channel.worker.state
    assert (state.jobs, state.open_jobs, state.open_count) == (1, {}, 0)


def test_deliver_late_is_valid_until_expiry_executes(job: Channel) -> None:
    """B.15: a race that the worker can still win."""
    job.pass_deadline()
    job.world.ledger.advance(DAY)
    job.deliver().assert_succeeded()
    assert job.job == JobStatus.NONE
    assert job.worker.state.misses == 0


def test_deliver_while_closing_is_paid(job: Channel) -> None:
    """P-3: closing does not undo a job that was admitted."""
    job.begin_close().assert_succeeded()
    assert job.deliver().paid(job.worker.payout) == MAX_FEE // 2


def test_deliver_worker_contract_gone_still_pays(job: Channel) -> None:
    """P-3."""
    make_throwing(job.world.ledger, job.worker.address)
    done = job.deliver()
    assert done.paid(job.worker.payout) == MAX_FEE // 2
    assert job.job == JobStatus.NONE
    assert job.balance >= job.owed


# ---- rejection ----


@pytest.mark.parametrize("reason", [1, 2, 3, 4, 5])
def test_reject_each_reason_refunds_and_is_counted(job: Channel, reason: int) -> None:
    """B.31, E-4: visible on chain; the worker earns nothing, the client's money stays the client's."""
    deposit = job.state.deposit_nano
    done = job.reject(reason).assert_succeeded()
    assert done.paid(job.worker.payout) == 0
    assert job.state.deposit_nano >= deposit + MAX_FEE
    assert (job.job, job.state.job_funds_nano) == (JobStatus.NONE, 0)
    assert done.one(SettleJob).outcome == JobOutcome.REJECTED
    state = job.worker.state
    assert (state.rejections, state.jobs, state.open_jobs) == (1, 0, {})
    assert job.balance >= job.owed


@pytest.mark.parametrize("reason", [0, 6, 255])
def test_reject_unknown_reason_refused(job: Channel, reason: int) -> None:
    """B.31: only the client's enumerated faults; the enum refuses others when the message is read."""
    job.reject(reason).assert_refused(5)


@pytest.mark.parametrize(
    "flaw",
    [
        {"tag": 1},
        {"kind": Kind.FORCED_RECEIPT},
        {"global_id": -239},
        {"contract": actor("a clone")},
        {"epoch": 1},
        {"key_epoch": 2},
        {"request_digest": 5},
        {"signer": key("stranger")},
        {"signer": key("client key")},
    ],
    ids=str,
)
def test_reject_signed_for_something_else_refused(job: Channel, flaw: dict[str, object]) -> None:
    """B.13."""
    job.send(actor("anyone"), job.rejection(**flaw), job.end_job_fees).assert_refused(317)


def test_reject_wrong_seq_refused(job: Channel) -> None:
    job.send(actor("anyone"), job.rejection(seq=2), job.end_job_fees).assert_refused(319)


def test_reject_other_reason_than_signed_refused(job: Channel) -> None:
    job.send(actor("anyone"), replace(job.rejection(1), reason=2), job.end_job_fees).assert_refused(317)


def test_reject_below_the_least_value_refused(job: Channel) -> None:
    """B.16."""
    job.send(actor("anyone"), job.rejection(), job.end_job_fees - 1).assert_refused(305)


def test_reject_without_a_job_refused(channel: Channel) -> None:
    channel.send(actor("anyone"), RejectJob(1, 0, 1, bytes(64)), channel.end_job_fees).assert_refused(312)


# ---- expiry and misses ----


@pytest.mark.parametrize(("late", "ok"), [(-1, False), (0, True), (1, True)])
def test_expire_around_deadline_and_grace(job: Channel, late: int, ok: bool) -> None:
    """B.15."""
    job.pass_deadline()
    job.world.ledger.now += late
    done = job.expire()
    done.assert_succeeded() if ok else done.assert_refused(310)


def test_expire_least_value_refunds_the_client_and_charges_the_bond(job: Channel) -> None:
    """P-5, W-6: a fifth of the penalty to the client, the rest burned, once."""
    rules, worker = job.world.rules, job.worker
    funds, deposit = job.state.job_funds_nano, job.state.deposit_nano
    job.pass_deadline()
    done = job.expire().assert_succeeded()
    assert MAX_FEE <= done.paid(job.client, PaymentReason.REFUND) <= funds
    share = rules.miss_penalty_nano * rules.miss_client_bps // 10_000
    assert done.paid(job.client, PaymentReason.MISS_COMPENSATION) == share
    assert done.paid(BLACK_HOLE, PaymentReason.BURN) == rules.miss_penalty_nano - share
    assert done.one(MissRecorded) == MissRecorded(job.state.epoch, 1)
    state = worker.state
    assert (state.misses, state.bond_nano, state.open_jobs) == (1, rules.min_bond_nano - rules.miss_penalty_nano, {})
    assert state.stake_nano == rules.min_stake_nano
    assert (job.job, job.state.job_funds_nano, job.state.deposit_nano) == (JobStatus.NONE, 0, deposit)
    assert job.balance >= job.owed
    assert worker.balance >= worker.owed
    assert done.change(actor("anyone")) > 0


def test_expire_twice_refused(job: Channel) -> None:
    """A.9: nothing is counted or paid twice."""
    job.pass_deadline()
    job.expire().assert_succeeded()
    job.expire().assert_refused(312)


def test_expire_without_a_job_refused(channel: Channel) -> None:
    channel.expire().assert_refused(312)


def test_expire_below_the_least_value_refused(job: Channel) -> None:
    """B.16."""
    job.pass_deadline()
    job.send(actor("anyone"), ExpireJob(1), job.end_job_fees - 1).assert_refused(305)


def test_admission_too_late_is_refused_and_blames_nobody(channel: Channel) -> None:
    """P-2, W-6, B.6: AdmitJob was slow. The client is refunded at once; the report behind it finds no admitted job."""
    hold_admission(channel)
    channel.pass_deadline()
    channel.world.put(actor("anyone"), channel.address, ExpireJob(5), channel.end_job_fees)
    expired = channel.world.step(1)
    assert expired.success
    refund = next(m for m in expired.out_msgs if m.dst == channel.client)
    assert refund.value >= MAX_FEE
    assert channel.job == JobStatus.MISSED
    done = channel.world.run()
    refused = [JobRefused.from_cell(m.body) for t in done for m in t.out_msgs if m.opcode == JobRefused.PREFIX[0]]
    assert [refusal.reason for refusal in refused] == [JobRefusal.TOO_LATE]
    assert channel.job == JobStatus.NONE
    state = channel.worker.state
    assert (state.misses, state.bond_nano, state.open_jobs) == (0, channel.world.rules.min_bond_nano, {})


@pytest.mark.parametrize(("late", "admitted"), [(0, True), (1, False)])
def test_admission_around_the_latest_moment(channel: Channel, late: int, admitted: bool) -> None:
    """B.15, B.30: an admitted worker always has its minimum duration left."""
    hold_admission(channel)
    state, rules = channel.state, channel.world.rules
    latest = state.job_deadline - TERMS.min_duration_sec + rules.grace_sec
    channel.world.ledger.advance(latest - channel.world.ledger.now + late)
    channel.world.run()
    assert (len(channel.worker.state.open_jobs), channel.job) == (
        (1, JobStatus.OPEN) if admitted else (0, JobStatus.NONE)
    )
    if admitted:
        left = state.job_deadline + rules.grace_sec - channel.world.ledger.now
        assert left >= TERMS.min_duration_sec


@pytest.mark.parametrize("body", [JobRefused(1, 1, 1), MissRecorded(1, 1)], ids=lambda b: type(b).__name__)
@pytest.mark.parametrize("sender", ["thief", "client", "worker operator"])
def test_forged_reply_refused(job: Channel, body: object, sender: str) -> None:
    """B.2."""
    fresh = replace(body, epoch=job.state.epoch)  # type: ignore[type-var]
    job.send(actor(sender), fresh, TON).assert_refused(303)


@pytest.mark.parametrize("stale", [{"epoch": 1}, {"seq": 0}, {"seq": 2}], ids=str)
@pytest.mark.parametrize("kind", [JobRefused, MissRecorded], ids=lambda kind: kind.__name__)
def test_stale_reply_changes_nothing(job: Channel, kind: type, stale: dict[str, int]) -> None:
    """B.6, E-6."""
    state = job.state
    body = JobRefused(state.epoch, 1, 1) if kind is JobRefused else kind(state.epoch, 1)
    job.send(job.worker.address, replace(body, **stale), TON)
    assert job.state == state


def test_refusal_after_the_end_changes_nothing(job: Channel) -> None:
    """B.6: a late refusal does not refund a job that was paid."""
    job.deliver().assert_succeeded()
    state = job.state
    job.send(job.worker.address, JobRefused(state.epoch, 1, 1), TON).assert_succeeded()
    assert job.state == state


def test_miss_acknowledged_before_it_happened_changes_nothing(job: Channel) -> None:
    state = job.state
    job.send(job.worker.address, MissRecorded(state.epoch, 1), TON).assert_succeeded()
    assert job.state == state


@pytest.mark.parametrize("death", ["absent", "throws", "out of gas"])
def test_miss_report_lost_is_retried_by_anyone(job: Channel, death: str) -> None:
    """A.9, B.3, W-6: the client is refunded at once; the report survives until it is acknowledged, and is counted
    once."""
    ledger, worker = job.world.ledger, job.worker
    before = ledger.accounts[worker.address]
    DEATHS[death](ledger, worker.address)
    job.pass_deadline()
    done = job.expire()
    assert done.paid(job.client, PaymentReason.REFUND) >= MAX_FEE
    assert job.job == JobStatus.MISSED
    assert job.balance >= job.owed
    ledger.minted += before.balance - ledger.balance(worker.address)
    ledger.accounts[worker.address] = before
    retried = job.retry_report().assert_succeeded()
    assert retried.paid(job.client, PaymentReason.MISS_COMPENSATION) > 0
    assert job.job == JobStatus.NONE
    assert worker.state.misses == 1
    job.retry_report().assert_refused(312)


def test_retry_below_the_least_value_refused(job: Channel) -> None:
    """B.16."""
    make_throwing(job.world.ledger, job.worker.address)
    job.pass_deadline()
    job.expire()
    job.send(actor("anyone"), RetryReport(1), job.retry_fees - 1).assert_refused(305)


def test_retry_while_nothing_was_missed_refused(job: Channel) -> None:
    job.retry_report().assert_refused(312)


def test_miss_reported_twice_is_charged_once(job: Channel) -> None:
    """W-6: two reports in flight, one penalty; both are acknowledged."""
    job.pass_deadline()
    job.expire().assert_succeeded()
    bond = job.worker.state.bond_nano
    report = ReportMiss(job.state.epoch, 1, job.client)
    done = job.world.send(job.address, job.worker.address, report, TON).assert_succeeded()
    assert done.one(MissRecorded) == MissRecorded(job.state.epoch, 1)
    assert (job.worker.state.bond_nano, job.worker.state.misses) == (bond, 1)


def test_miss_never_takes_more_than_the_bond(world: World, worker: WorkerSide) -> None:
    """W-6, P-5: the stake is not touched by silence."""
    channel = world.open_channel(worker, term_sec=20 * DAY)
    channel.post(duration=10 * DAY).assert_succeeded()
    dearer = world.policy(2, miss_penalty_nano=5 * TON, min_bond_nano=5 * TON)
    world.adopt(ChangePolicy(dearer)).assert_succeeded()
    world.sync(worker).assert_succeeded()
    channel.pass_deadline()
    done = channel.expire().assert_succeeded()
    assert worker.state.bond_nano == 0
    assert worker.state.stake_nano == world.rules.min_stake_nano
    taken = done.paid(BLACK_HOLE) + done.paid(channel.client, PaymentReason.MISS_COMPENSATION)
    assert taken == world.rules.min_bond_nano
    assert worker.balance >= worker.owed


def test_admission_for_a_forged_escrow_refused(job: Channel) -> None:
    """B.2: a stranger's address, the right escrow with another client's or salt's data, another worker's escrow."""
    thief = actor("thief")
    body = AdmitJob(job.state.epoch, 1, 2**32 - 1, 1, job.client, job.salt)
    job.world.send(thief, job.worker.address, body, TON).assert_refused(205)
    job.world.send(job.address, job.worker.address, replace(body, salt=1), TON).assert_refused(205)
    job.world.send(job.address, job.worker.address, replace(body, client=thief), TON).assert_refused(205)
    abroad = Address((-1, job.address.hash_part))
    job.world.send(abroad, job.worker.address, body, TON).assert_refused(205)


@pytest.mark.parametrize("sender", ["thief", "client", "worker operator", "abroad"])
def test_settlement_from_anyone_but_the_jobs_escrow_refused(job: Channel, sender: str) -> None:
    """B.2, W-7: only the very account that was admitted ends its job; its twin in the masterchain is another
    account."""
    who = Address((-1, job.address.hash_part)) if sender == "abroad" else actor(sender)
    body = SettleJob(job.state.epoch, 1, JobOutcome.DELIVERED)
    job.world.send(who, job.worker.address, body, TON).assert_refused(205)


@pytest.mark.parametrize("sender", ["thief", "client", "worker operator"])
def test_miss_reported_by_a_stranger_costs_only_the_stranger(job: Channel, sender: str) -> None:
    """B.2, W-6: answered, because the Worker cannot tell a stranger from an escrow without a job; nothing moves."""
    before = job.worker.state
    done = job.world.send(actor(sender), job.worker.address, ReportMiss(job.state.epoch, 1, actor(sender)), TON)
    assert job.worker.state == before
    assert done.received(actor(sender)) < TON
    assert not done.payments()


@pytest.mark.parametrize("stale", [{"epoch": 1}, {"seq": 2}], ids=str)
def test_settlement_of_another_job_frees_nothing(job: Channel, stale: dict[str, int]) -> None:
    """W-7: counters and slots move only for the very job that was admitted."""
    before = job.worker.state
    for body in (
        SettleJob(job.state.epoch, 1, JobOutcome.DELIVERED),
        ReportMiss(job.state.epoch, 1, job.client),
    ):
        job.world.send(job.address, job.worker.address, replace(body, **stale), TON)
        assert job.worker.state == before


def test_settlement_unknown_outcome_refused(job: Channel) -> None:
    body = SettleJob(job.state.epoch, 1, 9)
    job.world.send(job.address, job.worker.address, body, TON).assert_refused(5)


def test_slot_of_a_silent_escrow_lapses(world: World, worker: WorkerSide) -> None:
    """W-7: should an escrow's word never come, the slot returns after the unbonding time."""
    worker.set_offer(slots=1).assert_succeeded()
    first, second = world.open_channel(worker, salt=0), world.open_channel(worker, salt=1, term_sec=30 * DAY)
    first.post().assert_succeeded()
    assert second.post().one(JobRefused).reason == JobRefusal.NO_FREE_SLOT
    world.ledger.advance(world.rules.unbonding_sec + 1)
    worker.attest().assert_succeeded()
    third = world.open_channel(worker, salt=2)
    third.post().assert_succeeded()
    assert third.job == JobStatus.OPEN
    assert worker.state.open_count == len(worker.state.open_jobs) == 1


def test_post_race_with_closing_ends_in_one_piece(channel: Channel) -> None:
    """B.6: BeginClose overtakes the admission; the job runs its course, then the channel closes."""
    hold_admission(channel)
    channel.world.put(channel.client, channel.address, BeginClose(1), channel.begin_close_fees)
    channel.world.step(1)
    channel.world.run()
    assert channel.state.status == EscrowStatus.CLOSING
    assert channel.job == JobStatus.OPEN
    channel.pass_deadline()
    channel.expire().assert_succeeded()
    channel.world.ledger.advance(channel.world.rules.dispute_sec)
    done = channel.finish_close().assert_succeeded()
    assert done.paid(channel.client) >= DEPOSIT
    assert channel.worker.state.open_jobs == {}


# ---- helpers ----


def hold_admission(channel: Channel) -> None:
    """PostJob is processed; AdmitJob is left in flight, the oldest message there."""
    channel.world.put(channel.client, channel.address, PostJob(3, MAX_FEE, 60, REQUEST), MAX_FEE + channel.post_fees)
    channel.world.step()
    assert channel.world.ledger.pending[0].dst == channel.worker.address
    assert channel.job == JobStatus.OPEN
