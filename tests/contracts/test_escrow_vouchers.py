"""Vouchers: the client's signature, and nothing else, is the worker's money."""

from __future__ import annotations

from dataclasses import replace

import pytest
from actors import actor, key
from channel import DEPOSIT, Channel
from hostile import make_throwing
from hypothesis import given, settings
from hypothesis import strategies as st
from outcome import Paid
from stages import open_channel
from world import TON, WorkerSide, World

from cocoon.wire.common import Kind, PaymentReason
from cocoon.wire.escrow import EscrowStatus
from cocoon_sandbox.ledger import Ledger

QUARTER = DEPOSIT // 4


def test_claim_least_value_pays_the_payout_address(channel: Channel) -> None:
    """P-3, E-2: by anyone, the exact amount, change to whoever carried it."""
    balance = channel.balance
    done = channel.claim(QUARTER).assert_succeeded()
    assert done.payments() == [Paid(channel.worker.payout, PaymentReason.EARNINGS, QUARTER)]
    assert 0 <= done.change(actor("anyone")) < channel.claim_fees
    assert channel.state.claimed_nano == QUARTER
    assert channel.balance >= balance - QUARTER - done.first.storage_fees
    assert len(done.of(channel.address)) == 1


def test_claim_with_change_to_the_payout_sends_one_message(channel: Channel) -> None:
    """A.14: the change travels with the earnings because the caller said so."""
    balance = channel.balance
    done = channel.claim(QUARTER, excess_to_payout=True).assert_succeeded()
    assert len(done.messages) == 1
    assert QUARTER <= done.paid(channel.worker.payout) < QUARTER + channel.claim_fees
    assert channel.balance >= balance - QUARTER - done.first.storage_fees


@pytest.mark.parametrize("to_payout", [False, True])
def test_claim_one_nano_below_the_least_value_refused(channel: Channel, to_payout: bool) -> None:
    """B.16."""
    body = replace(channel.voucher(QUARTER), excess_to_payout=to_payout)
    channel.send(actor("anyone"), body, channel.claim_fees - 1).assert_refused(305)


def test_claim_growing_vouchers_pays_differences(channel: Channel) -> None:
    """E-2."""
    paid = [channel.claim(amount).paid(channel.worker.payout) for amount in (QUARTER, QUARTER + 1, DEPOSIT)]
    assert paid == [QUARTER, 1, DEPOSIT - QUARTER - 1]
    assert channel.owed == 0


@pytest.mark.parametrize("amount", [QUARTER, QUARTER - 1, 1, 0])
def test_claim_voucher_already_paid_refused(channel: Channel, amount: int) -> None:
    """E-2, A.9: the same voucher, or an older one, pays nothing."""
    channel.claim(QUARTER).assert_succeeded()
    channel.claim(amount).assert_refused(324)


def test_claim_charge_above_deposit_pays_what_is_there(channel: Channel) -> None:
    """A.4, E-1: no balance clamps to zero while the worker is paid in full."""
    done = channel.claim(5 * DEPOSIT).assert_succeeded()
    assert done.paid(channel.worker.payout) == DEPOSIT
    assert channel.state.claimed_nano == DEPOSIT
    channel.claim(5 * DEPOSIT).assert_refused(324)


def test_claim_above_deposit_pays_the_rest_after_a_top_up(channel: Channel) -> None:
    """E-2: a voucher is worth holding."""
    channel.claim(5 * DEPOSIT).assert_succeeded()
    channel.top_up(DEPOSIT).assert_succeeded()
    assert channel.claim(5 * DEPOSIT).paid(channel.worker.payout) == DEPOSIT


def test_claim_never_touches_the_jobs_money(job: Channel) -> None:
    """E-3: a job's funds stay apart from the deposit."""
    funds = job.state.job_funds_nano
    assert job.claim(2**64 - 1).paid(job.worker.payout) == DEPOSIT
    assert job.owed == job.state.job_funds_nano == funds
    assert job.balance >= funds


@pytest.mark.parametrize(
    "flaw",
    [
        {"tag": 0x43434E32},
        {"kind": Kind.CLOSE},
        {"kind": Kind.STREAM_RECEIPT},
        {"global_id": -239},
        {"global_id": -3},
        {"contract": actor("a clone")},
        {"epoch": 1},
    ],
    ids=str,
)
def test_claim_voucher_of_another_domain_refused(channel: Channel, flaw: dict[str, object]) -> None:
    """B.13, E-6: each field of the signed domain counts."""
    body = channel.voucher(QUARTER, **flaw)
    channel.send(actor("anyone"), body, channel.claim_fees).assert_refused(317)


def test_claim_voucher_for_a_key_to_come_refused(channel: Channel) -> None:
    """B.13."""
    body = channel.voucher(QUARTER, key_epoch=2)
    channel.send(actor("anyone"), body, channel.claim_fees).assert_refused(328)


@pytest.mark.parametrize("change", [{"cumulative_nano": DEPOSIT}, {"receipt_chain": 8}, {"key_epoch": 0}], ids=str)
def test_claim_altered_after_signing_refused(channel: Channel, change: dict[str, int]) -> None:
    """A.8, B.12: whatever changes the outcome is signed."""
    channel.claim(QUARTER, **change).assert_refused(317)


@pytest.mark.parametrize("signer", ["worker session 1", "stranger", "client2 key"])
def test_claim_signed_by_another_key_refused(channel: Channel, signer: str) -> None:
    """A.3: nobody but the client can promise the client's money."""
    body = channel.voucher(QUARTER, signer=key(signer))
    channel.send(actor("anyone"), body, channel.claim_fees).assert_refused(317)


def test_claim_copied_by_a_front_runner_has_the_same_effect(channel: Channel) -> None:
    """B.12: the thief pays for the worker's payout."""
    done = channel.claim(QUARTER, sender=actor("thief")).assert_succeeded()
    assert done.paid(channel.worker.payout) == QUARTER
    assert done.received(actor("thief")) < channel.claim_fees
    channel.claim(QUARTER).assert_refused(324)


def test_claim_replayed_on_a_clone_refused(world: World, worker: WorkerSide) -> None:
    """B.13: the same client, key and worker, another salt."""
    first, clone = world.open_channel(worker, salt=0), world.open_channel(worker, salt=1)
    voucher = first.voucher(QUARTER)
    clone.send(actor("anyone"), voucher, clone.claim_fees).assert_refused(317)


def test_claim_replayed_after_reopening_refused(channel: Channel) -> None:
    """E-6, B.13: a closed escrow never honours an old signature again."""
    voucher = channel.voucher(DEPOSIT)
    channel.begin_close().assert_succeeded()
    channel.world.ledger.advance(channel.world.rules.dispute_sec)
    channel.finish_close().assert_succeeded()
    channel.open().assert_succeeded()
    assert channel.state.status == EscrowStatus.ACTIVE
    channel.send(actor("anyone"), voucher, channel.claim_fees).assert_refused(317)


def test_claim_while_closing_still_pays(channel: Channel) -> None:
    """P-3: the dispute window is there for the last voucher."""
    channel.begin_close().assert_succeeded()
    assert channel.claim(QUARTER).paid(channel.worker.payout) == QUARTER


def test_claim_when_the_worker_is_gone_still_pays(channel: Channel) -> None:
    """P-3, A.6: earnings depend on nobody's cooperation, not even the Worker contract's."""
    for address in (channel.worker.address, channel.world.registry):
        make_throwing(channel.world.ledger, address)
    assert channel.claim(QUARTER).paid(channel.worker.payout) == QUARTER


def test_claim_with_far_too_much_value_returns_it(channel: Channel) -> None:
    """A.14."""
    done = channel.send(actor("anyone"), channel.voucher(QUARTER), 10 * TON).assert_succeeded()
    assert done.change(actor("anyone")) > 10 * TON - 2 * channel.claim_fees


@settings(max_examples=25, deadline=None, derandomize=True)
@given(amounts=st.lists(st.integers(0, 3 * DEPOSIT), min_size=1, max_size=6))
def test_claim_any_order_pays_the_greatest_affordable_voucher(amounts: list[int]) -> None:
    """E-1, E-2: whatever the order, the sum paid is min(greatest voucher, deposit)."""
    channel = open_channel(Ledger())
    paid = sum(channel.claim(amount).paid(channel.worker.payout) for amount in amounts)
    assert paid == min(max(amounts), DEPOSIT) == channel.state.claimed_nano
    assert channel.balance >= channel.owed
