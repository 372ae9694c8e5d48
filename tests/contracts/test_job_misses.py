"""Forced jobs that expire: the client is made whole from the bond, once, whoever is gone."""

from __future__ import annotations

from dataclasses import replace

import pytest
from actors import actor
from channel import DAY, MAX_FEE, Channel
from hostile import DEATHS, make_throwing
from pytoniq_core import Address
from world import TON, WorkerSide, World

from cocoon.wire.common import PaymentReason
from cocoon.wire.escrow import ExpireJob, JobRefused, JobStatus, MissRecorded, RetryReport
from cocoon.wire.registry import ChangePolicy
from cocoon.wire.worker import ReportMiss

BLACK_HOLE = Address((0, bytes(32)))


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


@pytest.mark.parametrize("sender", ["thief", "client", "worker operator"])
def test_miss_reported_by_a_stranger_costs_only_the_stranger(job: Channel, sender: str) -> None:
    """B.2, W-6: answered, because the Worker cannot tell a stranger from an escrow without a job; nothing moves."""
    before = job.worker.state
    done = job.world.send(actor(sender), job.worker.address, ReportMiss(job.state.epoch, 1, actor(sender)), TON)
    assert job.worker.state == before
    assert done.received(actor(sender)) < TON
    assert not done.payments()
