"""Forced jobs between escrow and worker: admission, its refusal, and the slot that a job holds."""

from __future__ import annotations

from dataclasses import replace

import pytest
from actors import actor
from channel import DAY, DEPOSIT, MAX_FEE, REQUEST, RESPONSE, Channel
from pytoniq_core import Address
from world import TERMS, TON, WorkerSide, World

from cocoon.wire.escrow import (
    BeginClose,
    DeliverJob,
    EscrowStatus,
    ExpireJob,
    JobRefusal,
    JobRefused,
    JobStatus,
    PostJob,
)
from cocoon.wire.worker import AdmitJob, JobOutcome, ReportMiss, SettleJob


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


def test_refusal_after_the_end_changes_nothing(job: Channel) -> None:
    """B.6: a late refusal does not refund a job that was paid."""
    job.deliver().assert_succeeded()
    state = job.state
    job.send(job.worker.address, JobRefused(state.epoch, 1, 1), TON).assert_succeeded()
    assert job.state == state


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


def hold_admission(channel: Channel) -> None:
    """PostJob is processed; AdmitJob is left in flight, the oldest message there."""
    channel.world.put(channel.client, channel.address, PostJob(3, MAX_FEE, 60, REQUEST), MAX_FEE + channel.post_fees)
    channel.world.step()
    assert channel.world.ledger.pending[0].dst == channel.worker.address
    assert channel.job == JobStatus.OPEN
