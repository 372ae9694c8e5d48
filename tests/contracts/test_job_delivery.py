"""Forced jobs that are delivered: the receipt is the job's own, and it pays the worker once."""

from __future__ import annotations

from dataclasses import replace

import pytest
from actors import actor, blob, key
from channel import DAY, MAX_FEE, RESPONSE, Channel
from hostile import make_throwing
from outcome import Paid
from pytoniq_core import begin_cell
from world import MODEL

from cocoon.wire.common import Kind, PaymentReason
from cocoon.wire.escrow import DeliverJob, JobStatus
from cocoon.wire.worker import JobOutcome, SettleJob


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
