"""Closing: the client's money back without anyone's cooperation, the worker's after a fair chance to claim it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from actors import actor, key
from channel import DAY, DEPOSIT, Channel
from hostile import make_throwing, remove
from test_escrow_opening import reopen_stuck
from world import TON, WorkerSide, World

from cocoon.wire.common import Kind, PaymentReason
from cocoon.wire.escrow import (
    BeginClose,
    CloseCooperative,
    CloseStatement,
    CountVolume,
    EscrowStatus,
    FinishClose,
    JobStatus,
    RebindChannel,
    Signature,
)

HALF = DEPOSIT // 2


def test_begin_close_starts_the_dispute_window(channel: Channel) -> None:
    done = channel.begin_close().assert_succeeded()
    state = channel.state
    assert (state.status, state.deadline) == (
        EscrowStatus.CLOSING,
        channel.world.ledger.now + channel.world.rules.dispute_sec,
    )
    assert channel.balance >= channel.owed
    assert done.paid(channel.client) == 0


@pytest.mark.parametrize("sender", ["thief", "worker operator", "anyone"])
def test_begin_close_by_anyone_but_the_client_refused(channel: Channel, sender: str) -> None:
    """A.2: nobody else can stop a channel."""
    channel.begin_close(actor(sender)).assert_refused(302)


def test_begin_close_below_the_least_value_refused(channel: Channel) -> None:
    """B.16."""
    channel.send(channel.client, BeginClose(1), channel.begin_close_fees - 1).assert_refused(305)


def test_begin_close_twice_refused(channel: Channel) -> None:
    """The window cannot be restarted."""
    channel.begin_close().assert_succeeded()
    channel.begin_close().assert_refused(308)


@pytest.mark.parametrize(("late", "ok"), [(-1, False), (0, True), (1, True)])
def test_finish_close_around_the_dispute_window(channel: Channel, late: int, ok: bool) -> None:
    """B.15."""
    channel.begin_close().assert_succeeded()
    channel.world.ledger.advance(channel.world.rules.dispute_sec + late)
    done = channel.finish_close()
    done.assert_succeeded() if ok else done.assert_refused(310)


@pytest.mark.parametrize(("late", "ok"), [(-1, False), (0, True)])
def test_finish_close_around_the_channels_end(channel: Channel, late: int, ok: bool) -> None:
    """P-2: by anyone, without the client's announcement, a window after the channel's end."""
    binding = channel.state.binding
    assert binding is not None
    channel.world.ledger.advance(binding.channel_end + binding.dispute_sec + late - channel.world.ledger.now)
    done = channel.finish_close(actor("anyone"))
    done.assert_succeeded() if ok else done.assert_refused(310)


def test_finish_close_returns_all_that_was_not_claimed(channel: Channel) -> None:
    """P-2, E-7: deposit and rent to the client; the account is gone."""
    channel.claim(HALF).assert_succeeded()
    channel.begin_close().assert_succeeded()
    channel.world.ledger.advance(channel.world.rules.dispute_sec)
    rent = channel.balance - channel.owed
    done = channel.finish_close().assert_succeeded()
    assert done.paid(channel.client, PaymentReason.REFUND) >= HALF + rent - done.first.storage_fees
    assert done.first.phases.destroyed
    assert not channel.exists


def test_finish_close_by_anyone_pays_the_client_and_returns_the_callers_change(channel: Channel) -> None:
    """A.14, P-2."""
    channel.begin_close().assert_succeeded()
    channel.world.ledger.advance(channel.world.rules.dispute_sec)
    rent = channel.balance - channel.owed
    done = channel.finish_close(actor("thief")).assert_succeeded()
    assert done.received(actor("thief")) < channel.close_fees
    assert done.paid(channel.client, PaymentReason.REFUND) >= DEPOSIT + rent - done.first.storage_fees
    assert not channel.exists


def test_finish_close_below_the_least_value_refused(channel: Channel) -> None:
    """B.16."""
    channel.begin_close().assert_succeeded()
    channel.world.ledger.advance(channel.world.rules.dispute_sec)
    channel.send(channel.client, FinishClose(1), channel.close_fees - 1).assert_refused(305)


def test_finish_close_without_announcement_refused(channel: Channel) -> None:
    channel.finish_close().assert_refused(310)


def test_finish_close_waits_for_an_open_job(job: Channel) -> None:
    """E-7: neither side loses a job by closing."""
    job.begin_close().assert_succeeded()
    job.world.ledger.advance(job.world.rules.dispute_sec)
    job.finish_close().assert_refused(311)
    job.deliver().assert_succeeded()
    job.finish_close().assert_succeeded()


def test_finish_close_does_not_wait_for_an_acknowledgement(job: Channel) -> None:
    """P-2: the client's money never waits for the Worker."""
    make_throwing(job.world.ledger, job.worker.address)
    job.begin_close().assert_succeeded()
    job.world.ledger.advance(job.world.rules.dispute_sec)
    job.expire()
    assert job.job == JobStatus.MISSED
    assert job.finish_close().assert_succeeded().paid(job.client) >= DEPOSIT


def test_close_when_worker_and_registry_are_gone(channel: Channel) -> None:
    """A.6, P-2, P-4."""
    for address in (channel.worker.address, channel.world.registry, channel.world.slashing):
        remove(channel.world.ledger, address)
    channel.begin_close().assert_succeeded()
    channel.world.ledger.advance(channel.world.rules.dispute_sec)
    assert channel.finish_close().assert_succeeded().paid(channel.client) >= DEPOSIT


def test_close_pays_an_uninitialised_client_wallet(channel: Channel) -> None:
    """A.7: the state advances with the payment: it cannot bounce back into a channel that is gone."""
    channel.begin_close().assert_succeeded()
    channel.world.ledger.advance(channel.world.rules.dispute_sec)
    done = channel.finish_close()
    assert [m.bounce for m in done.messages if m.dst == channel.client] == [False]


def test_closed_channel_ignores_everything_but_a_new_opening(channel: Channel) -> None:
    """E-6."""
    voucher = channel.voucher(DEPOSIT)
    channel.close_cooperatively(0).assert_succeeded()
    done = channel.send(actor("anyone"), voucher, channel.claim_fees)
    assert done.first.compute_skipped == "no state"
    assert done.first.bounced
    assert not channel.exists or channel.balance == 0


# ---- cooperative ----


@pytest.mark.parametrize("amount", [0, 1, HALF, DEPOSIT])
def test_close_cooperatively_splits_at_once(channel: Channel, amount: int) -> None:
    """P-2, P-3, E-7: both signatures, one transaction, any carrier."""
    rent = channel.balance - channel.owed
    done = channel.close_cooperatively(amount, sender=actor("anyone")).assert_succeeded()
    assert done.paid(channel.worker.payout) == amount
    assert done.paid(channel.client, PaymentReason.REFUND) >= DEPOSIT - amount + rent - done.first.storage_fees
    assert done.received(actor("anyone")) < channel.close_fees
    assert len(done.of(channel.address)) == 1
    assert not channel.exists


def test_close_cooperatively_after_claims_pays_the_difference(channel: Channel) -> None:
    channel.claim(HALF).assert_succeeded()
    assert channel.close_cooperatively(HALF + 5).paid(channel.worker.payout) == 5


def test_close_cooperatively_while_closing(channel: Channel) -> None:
    channel.begin_close().assert_succeeded()
    assert channel.close_cooperatively(HALF).paid(channel.worker.payout) == HALF


def test_close_cooperatively_below_what_was_claimed_refused(channel: Channel) -> None:
    """E-1."""
    channel.claim(HALF).assert_succeeded()
    channel.close_cooperatively(HALF - 1).assert_refused(324)


def test_close_cooperatively_above_the_deposit_refused(channel: Channel) -> None:
    """A.4, E-1."""
    channel.close_cooperatively(DEPOSIT + 1).assert_refused(325)


def test_close_cooperatively_with_an_open_job_refused(job: Channel) -> None:
    job.close_cooperatively(0).assert_refused(311)


def test_close_cooperatively_below_the_least_value_refused(channel: Channel) -> None:
    """B.16."""
    channel.send(actor("anyone"), channel.closing(0), channel.close_fees - 1).assert_refused(305)


@pytest.mark.parametrize(
    "flaw",
    [
        {"tag": 1},
        {"kind": Kind.VOUCHER},
        {"global_id": -239},
        {"contract": actor("a clone")},
        {"epoch": 1},
        {"key_epoch": 2},
    ],
    ids=str,
)
def test_close_cooperatively_signed_for_something_else_refused(channel: Channel, flaw: dict[str, object]) -> None:
    """B.13, E-6."""
    channel.send(actor("anyone"), channel.closing(HALF, **flaw), channel.close_fees).assert_refused(317)


@pytest.mark.parametrize("missing", ["client", "worker"])
def test_close_cooperatively_with_one_signature_refused(channel: Channel, missing: str) -> None:
    """P-4: neither side alone can split the deposit."""
    good = channel.closing(HALF)
    statement = CloseStatement(channel._domain(Kind.CLOSE), HALF)
    forged = key("thief key").sign(statement)
    body = (
        replace(good, client_signature=forged)
        if missing == "client"
        else replace(good, worker_signature=Signature(forged))
    )
    channel.send(actor("anyone"), body, channel.close_fees).assert_refused(317)


def test_close_cooperatively_other_amount_than_signed_refused(channel: Channel) -> None:
    """A.8."""
    channel.close_cooperatively(HALF, cumulative_nano=0).assert_refused(317)


def test_close_cooperatively_signatures_swapped_refused(channel: Channel) -> None:
    good = channel.closing(HALF)
    body = CloseCooperative(1, HALF, good.worker_signature.value, Signature(good.client_signature))
    channel.send(actor("anyone"), body, channel.close_fees).assert_refused(317)


@pytest.mark.parametrize("message", ["claim", "finish", "cooperate"])
def test_nothing_is_paid_while_opening(world: World, worker: WorkerSide, message: str) -> None:
    """Before the Registry's word there is nobody to pay."""
    channel = world.channel(worker)
    reopen_stuck(channel)
    done = {
        "claim": lambda: channel.claim(HALF),
        "finish": channel.finish_close,
        "cooperate": lambda: channel.close_cooperatively(0),
    }[message]()
    done.assert_refused(308)


def test_rent_of_an_unclosed_channel_lasts_through_the_margin(world: World, worker: WorkerSide) -> None:
    """B.18, E-8: ninety days after its end the whole deposit is still there."""
    channel = world.open_channel(worker, term_sec=DAY)
    world.ledger.advance(90 * DAY)
    done = channel.finish_close(actor("anyone")).assert_succeeded()
    assert done.paid(channel.client, PaymentReason.REFUND) >= DEPOSIT


def test_neglected_channel_pays_after_years_once_rent_is_added(channel: Channel) -> None:
    """B.18: storage eats the rent first, then the deposit; a frozen account keeps its claims for whoever revives it."""
    channel.world.ledger.advance(20 * 365 * DAY)
    done = channel.finish_close(actor("anyone"))
    done.assert_succeeded()
    assert done.paid(channel.client, PaymentReason.REFUND) > DEPOSIT // 2


# ---- release by the worker ----


def test_release_returns_the_rest_to_the_client_at_once(channel: Channel) -> None:
    """P-2, E-12: the worker has what it wants; nobody waits out a window."""
    channel.send(actor("anyone"), channel.voucher(HALF), channel.claim_fees).assert_succeeded()
    done = channel.release(HALF).assert_succeeded()
    assert done.paid(channel.client, PaymentReason.REFUND) >= DEPOSIT - HALF
    assert not done.paid(channel.worker.payout)
    assert not channel.exists


def test_release_before_the_last_claim_refused(channel: Channel) -> None:
    """E-12: a release signed for after the last claim can't be used to get around that claim."""
    release = channel.releasing(HALF)
    channel.send(actor("thief"), release, channel.close_fees).assert_refused(310)
    channel.send(actor("anyone"), channel.voucher(HALF), channel.claim_fees).assert_succeeded()
    channel.send(actor("thief"), release, channel.close_fees).assert_succeeded()
    assert not channel.exists


def test_release_with_an_open_job_refused(job: Channel) -> None:
    """E-4."""
    job.release(0).assert_refused(311)


def test_release_while_closing(channel: Channel) -> None:
    channel.begin_close().assert_succeeded()
    done = channel.release(0).assert_succeeded()
    assert done.paid(channel.client, PaymentReason.REFUND) >= DEPOSIT


def test_release_below_the_least_value_refused(channel: Channel) -> None:
    """B.16."""
    channel.send(actor("anyone"), channel.releasing(0), channel.close_fees - 1).assert_refused(305)


def test_release_signed_by_anyone_but_the_session_key_refused(channel: Channel) -> None:
    """E-12: the client can't speak for the worker."""
    for signer in (channel.client_key, key("thief")):
        channel.release(0, signer=signer).assert_refused(317)


@pytest.mark.parametrize(
    "flaw",
    [
        {"tag": 1},
        {"kind": Kind.CLOSE},
        {"global_id": -239},
        {"contract": actor("clone")},
        {"epoch": 1},
        {"key_epoch": 2},
    ],
)
def test_release_signed_for_something_else_refused(channel: Channel, flaw: dict[str, Any]) -> None:
    """B.13, E-6, E-12."""
    channel.release(0, **flaw).assert_refused(317)


def test_release_while_opening_refused(world: World, worker: WorkerSide) -> None:
    channel = half_open(world, worker)
    held = len(world.ledger.pending)
    world.put(actor("anyone"), channel.address, channel.releasing(0), TON)
    assert world.step(held).exit_code == 308
    world.run()
    assert channel.state.status == EscrowStatus.ACTIVE


def test_count_volume_and_rebind_while_opening_refused(world: World, worker: WorkerSide) -> None:
    channel = half_open(world, worker)
    for body in (CountVolume(1), RebindChannel(1, 0)):
        held = len(world.ledger.pending)
        world.put(actor("anyone"), channel.address, body, TON)
        assert world.step(held).exit_code == 308
    world.run()
    assert channel.state.status == EscrowStatus.ACTIVE


def half_open(world: World, worker: WorkerSide) -> Channel:
    """A channel whose handshake is still in flight."""
    channel = world.channel(worker)
    init = world.deployment.escrow_state_init(channel.client, worker.address, channel.salt)
    held = len(world.ledger.pending)
    world.put(channel.client, channel.address, channel.opening(), DEPOSIT + channel.open_fees, state_init=init)
    world.step(held)
    assert channel.state.status == EscrowStatus.OPENING
    return channel
