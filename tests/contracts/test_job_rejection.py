"""Forced jobs that the worker rejects: the client has its money back, and the rejection is counted."""

from __future__ import annotations

from dataclasses import replace

import pytest
from actors import actor, key
from channel import MAX_FEE, Channel

from cocoon.wire.common import Kind
from cocoon.wire.escrow import JobStatus, RejectJob
from cocoon.wire.worker import JobOutcome, SettleJob


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
