"""Forced jobs: who may post which, at what price, and whom the worker takes."""

from __future__ import annotations

import pytest
from actors import actor, blob, digest, key
from channel import DAY, MAX_FEE, REQUEST, Channel
from outcome import Outcome
from world import MODEL, TERMS, TON, WorkerSide, World

from cocoon.wire.codec import Struct
from cocoon.wire.common import PaymentReason
from cocoon.wire.escrow import JobRefusal, JobRefused, JobStatus, PostJob
from cocoon.wire.worker import AdmitJob, BeginUnbond, PauseWorker, TopUpStake


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
