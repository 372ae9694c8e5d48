"""Rebinding: a rebooted enclave's new keys reach the channels of the old ones, and a job under the lost key ends."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from actors import actor, blob, key
from channel import DAY, DEPOSIT, MAX_FEE, Channel
from hostile import DEATHS, install, make_throwing
from pytoniq_core import Address
from world import MEASUREMENT, MODEL, TERMS, TON, WorkerSide, World

from cocoon.contracts_build import load
from cocoon.wire.common import PaymentReason
from cocoon.wire.escrow import (
    BindConfirmed,
    BindRefusal,
    BindRefused,
    ExpireJob,
    JobStatus,
    KeysRenewed,
    RebindChannel,
)
from cocoon.wire.worker import BeginUnbond, PauseWorker, RebindEscrow, ReportMiss, WithdrawStake
from cocoon_sandbox.ledger import Ledger

ANYONE = actor("anyone")


def reboot(channel: Channel, name: str = "session after a reboot") -> None:
    """The enclave comes up again with other keys, and the operator registers them."""
    worker = channel.worker
    worker.hpke = blob(f"hpke key of {name}", 10)
    worker.attest(key(name)).assert_succeeded()


def test_rebind_installs_the_new_keys_under_the_old_terms(channel: Channel) -> None:
    """E-10: prices, end and payout stay, whatever the worker offers now."""
    before = channel.state
    assert before.binding is not None
    reboot(channel)
    dearer = replace(TERMS, prompt_nano=5 * TERMS.prompt_nano, min_duration_sec=600)
    channel.worker.set_offer({MODEL: dearer}).assert_succeeded()
    done = channel.rebind(ANYONE).assert_succeeded()
    after = channel.state
    assert after.binding is not None
    assert (after.binding.key_epoch, after.binding.keys) == (2, channel.worker.state.people.keys)
    assert after.binding.lease_end == channel.worker.state.lease_end
    for name in ("model_id", "channel_end", "payout", "floor_fee_nano", "prompt_nano", "min_duration_sec"):
        assert getattr(after.binding, name) == getattr(before.binding, name)
    assert (after.deposit_nano, after.claimed_nano, after.epoch) == (before.deposit_nano, 0, before.epoch)
    assert done.change(ANYONE) < TON // 1000
    channel.post().assert_succeeded()
    channel.deliver().assert_succeeded()


def test_rebind_least_value_suffices_and_one_less_is_refused(channel: Channel) -> None:
    """B.16, P-7."""
    reboot(channel)
    fees = channel.rebind_fees
    channel.send(channel.client, RebindChannel(1, MEASUREMENT), fees - 1).assert_refused(305)
    channel.send(channel.client, RebindChannel(1, MEASUREMENT), fees).assert_succeeded()
    assert channel.state.binding is not None
    assert channel.state.binding.key_epoch == 2


def test_vouchers_signed_before_are_paid_after(channel: Channel) -> None:
    """P-3: a reboot costs the worker nothing it has earned."""
    voucher = channel.voucher(DEPOSIT // 4)
    reboot(channel)
    channel.rebind(ANYONE).assert_succeeded()
    done = channel.send(ANYONE, voucher, channel.claim_fees).assert_succeeded()
    assert done.paid(channel.worker.payout, PaymentReason.EARNINGS) == DEPOSIT // 4


@pytest.mark.parametrize("least", [True, False], ids=["least value", "plenty"])
def test_rebind_with_an_open_job_refunds_it_and_compensates_the_client(job: Channel, least: bool) -> None:
    """E-11, W-9: the key is gone and so is the job: refunded at once, a fixed compensation, no miss, nobody jailed."""
    world, worker = job.world, job.worker
    bond, funds = worker.state.bond_nano, job.state.job_funds_nano
    reboot(job)
    done = job.send(ANYONE, RebindChannel(1, MEASUREMENT), job.rebind_fees if least else TON).assert_succeeded()
    loss = world.rules.key_loss_nano
    compensated = done.paid(job.client, PaymentReason.KEY_LOSS_COMPENSATION)
    assert loss >= compensated > loss - TON // 1000  # the message's own fee comes out of it
    assert funds >= done.paid(job.client, PaymentReason.REFUND) > funds - TON // 1000
    assert done.paid(job.client, PaymentReason.REFUND) > MAX_FEE
    state = worker.state
    assert (state.bond_nano, state.key_losses, state.misses, state.open_count) == (bond - loss, 1, 0, 0)
    assert (job.job, job.state.job_funds_nano) == (JobStatus.NONE, 0)
    assert job.balance >= job.owed


def test_rebind_after_the_deadline_refused(job: Channel) -> None:
    """W-9, B.31: a miss can't be turned into a lost key once it is one."""
    reboot(job)
    job.world.ledger.advance(61)
    job.rebind(ANYONE).assert_refused(311)
    job.pass_deadline()
    bond = job.worker.state.bond_nano
    job.expire().assert_succeeded()
    assert job.worker.state.bond_nano == bond - job.world.rules.miss_penalty_nano


def test_rebind_of_an_unreported_miss_leaves_it_chargeable(job: Channel) -> None:
    """W-6, W-9: the worker's entry of a missed job outlives the rebinding."""
    world, worker = job.world, job.worker
    job.pass_deadline()
    held = len(world.ledger.pending)
    world.put(ANYONE, job.address, ExpireJob(1), job.end_job_fees)
    world.step(held)  # the escrow expires the job; its report stays in flight
    assert any(message.opcode == ReportMiss.PREFIX[0] for message in world.ledger.pending)
    reboot(job)
    job.rebind(ANYONE)
    assert worker.state.open_count == 1
    bond = worker.state.bond_nano
    world.run()
    assert (worker.state.misses, worker.state.bond_nano) == (1, bond - world.rules.miss_penalty_nano)


def test_rebind_without_newer_keys_refused_by_the_worker(channel: Channel) -> None:
    """E-10: nothing changes, and the job of a key that is still there goes on."""
    channel.post().assert_succeeded()
    before = channel.state
    done = channel.rebind(ANYONE)
    assert done.one(BindRefused).reason == BindRefusal.KEYS_CURRENT
    assert channel.state == before
    assert channel.worker.state.open_count == 1


def test_rebind_to_another_measurement_takes_the_client(channel: Channel) -> None:
    """P-1: a stranger can't move a channel to an image its client never accepted."""
    reboot(channel)
    channel.rebind(ANYONE, measurement=5).assert_refused(302)
    channel.rebind(channel.worker.operator, measurement=5).assert_refused(302)
    done = channel.rebind(channel.client, measurement=5)
    assert done.one(BindRefused).reason == BindRefusal.MEASUREMENT_NOT_ACCEPTED
    assert channel.state.binding is not None
    assert channel.state.binding.key_epoch == 1


@pytest.mark.parametrize("status", ["closed", "lease over"])
def test_rebind_with_a_worker_that_may_not_serve_refused(world: World, worker: WorkerSide, status: str) -> None:
    channel = world.open_channel(worker, term_sec=20 * DAY)
    reboot(channel)
    if status == "closed":
        worker.by_owner(BeginUnbond(1)).assert_succeeded()
        world.ledger.advance(world.rules.unbonding_sec)
        worker.by_owner(WithdrawStake(1)).assert_succeeded()
    else:
        world.ledger.advance(world.rules.lease_sec)
    done = channel.rebind(ANYONE)
    expected = BindRefusal.NOT_ACTIVE if status == "closed" else BindRefusal.LEASE_EXPIRED
    assert done.one(BindRefused).reason == expected
    assert channel.state.binding is not None
    assert channel.state.binding.key_epoch == 1


def test_rebind_with_a_leaving_worker_serves_the_channels_it_has(channel: Channel) -> None:
    """W-8."""
    reboot(channel)
    channel.worker.by_owner(PauseWorker(1)).assert_succeeded()
    channel.rebind(ANYONE).assert_succeeded()
    assert channel.state.binding is not None
    assert channel.state.binding.key_epoch == 2


def test_rebind_asks_no_registry(job: Channel) -> None:
    """P-4, R-7, E-10: an open channel gets its keys from the Worker, whatever the Registry has become."""
    world = job.world
    make_throwing(world.ledger, world.registry)
    reboot(job)
    job.rebind(ANYONE).assert_succeeded()
    assert job.state.binding is not None
    assert (job.state.binding.key_epoch, job.job) == (2, JobStatus.NONE)


@pytest.mark.parametrize("sender", ["registry", "thief", "another worker", "client"])
def test_keys_renewed_from_anyone_but_the_worker_refused(channel: Channel, sender: str) -> None:
    """P-4, R-7: who governs the Registry can't put keys, terms or a payout address into a channel that is open."""
    world, state = channel.world, channel.state
    assert state.binding is not None
    senders = {
        "registry": world.registry,
        "thief": actor("thief"),
        "another worker": world.deployment.worker(99),
        "client": channel.client,
    }
    stolen = replace(state.binding.keys, session_key=key("thief").public)
    channel.send(senders[sender], KeysRenewed(state.epoch, 2, 2**32 - 1, stolen), TON).assert_refused(303)
    forged = replace(state.binding, key_epoch=2, payout=actor("thief"), channel_end=2**32 - 1)
    channel.send(world.registry, BindConfirmed(state.epoch, forged), TON)
    assert channel.state == state


def test_answer_with_older_or_equal_keys_or_of_another_epoch_changes_nothing(channel: Channel) -> None:
    """B.6, E-6: of two rebindings in flight the newer keys stay, whichever arrives last."""
    reboot(channel)
    channel.rebind(ANYONE).assert_succeeded()
    state = channel.state
    assert state.binding is not None
    for epoch, key_epoch in ((state.epoch, 1), (state.epoch, 2), (state.epoch + 1, 9), (state.epoch - 1, 9)):
        answer = KeysRenewed(epoch, key_epoch, 2**32 - 1, replace(state.binding.keys, session_key=5))
        assert channel.send(channel.worker.address, answer, TON).exit_code == 0
        assert channel.state == state


@pytest.mark.parametrize("kill", DEATHS.values(), ids=DEATHS)
def test_rebind_with_a_dead_worker_changes_nothing(job: Channel, kill: Callable[[Ledger, Address], None]) -> None:
    """B.3: the request bounces, the channel is as before, the job expires as ever."""
    before = job.state
    kill(job.world.ledger, job.worker.address)
    job.rebind(ANYONE)
    assert job.state == before
    job.pass_deadline()
    assert job.expire().paid(job.client, PaymentReason.REFUND) >= MAX_FEE


def test_rebind_escrow_from_a_stranger_refused(job: Channel) -> None:
    """B.2: only the escrow's own address asks for its keys."""
    worker, state = job.worker, job.state
    assert state.binding is not None
    reboot(job)
    body = RebindEscrow(state.epoch, job.client, job.salt, 1, 1, MEASUREMENT)
    job.world.send(actor("thief"), worker.address, body, TON).assert_refused(205)
    other = job.world.deployment.escrow(actor("other"), worker.address)
    job.world.send(other, worker.address, body, TON).assert_refused(205)
    assert worker.state.open_count == 1


def test_rebind_of_another_job_than_the_open_one_pays_nothing(job: Channel) -> None:
    """W-9: only the job the escrow still has open ends with its key."""
    worker, state = job.worker, job.state
    assert state.binding is not None
    reboot(job)
    bond = worker.state.bond_nano
    for epoch, seq in ((state.epoch, 0), (state.epoch, 2), (state.epoch + 1, 1)):
        body = RebindEscrow(epoch, job.client, job.salt, 1, seq, MEASUREMENT)
        job.world.send(job.address, worker.address, body, TON)
        assert (worker.state.bond_nano, worker.state.open_count) == (bond, 1)


def test_rebound_job_ends_once_although_two_rebindings_were_sent(job: Channel) -> None:
    """B.6, W-9: the compensation is paid once."""
    world, worker = job.world, job.worker
    bond = worker.state.bond_nano
    reboot(job)
    held = len(world.ledger.pending)
    for _ in range(2):
        world.put(ANYONE, job.address, RebindChannel(1, MEASUREMENT), TON)
    world.run(held)
    assert worker.state.bond_nano == bond - world.rules.key_loss_nano
    assert (worker.state.key_losses, job.job) == (1, JobStatus.NONE)


def test_payments_of_a_rebinding_are_the_clients(job: Channel) -> None:
    """W-9: whoever sends it, compensation and refund are the client's."""
    reboot(job)
    done = job.rebind(job.worker.operator)
    assert {payment.to for payment in done.payments()} == {job.client}
    assert [payment.reason for payment in done.payments()] == [
        PaymentReason.KEY_LOSS_COMPENSATION,
        PaymentReason.REFUND,
    ]


@pytest.mark.parametrize("bond", [0, 1, 300_000, 333_336, 5 * 10**8])
def test_key_loss_takes_at_most_the_clients_share_of_the_bond(job: Channel, bond: int) -> None:
    """W-9: never more than a miss would give the client, and a bond too small to send anything from blocks nothing."""
    world, worker = job.world, job.worker
    reboot(job)
    state = replace(worker.state, bond_nano=bond)
    install(world.ledger, worker.address, load("Worker").code, state.to_cell())
    done = job.rebind(ANYONE).assert_succeeded()
    share = min(world.rules.key_loss_nano, bond * world.rules.miss_client_bps // 10_000)
    taken = bond - worker.state.bond_nano
    assert taken in (0, share)
    assert (taken > 0) == (done.paid(job.client, PaymentReason.KEY_LOSS_COMPENSATION) > 0)
    assert done.paid(job.client, PaymentReason.REFUND) > MAX_FEE - TON // 1000
    assert (worker.state.key_losses, job.job) == (1, JobStatus.NONE)


def test_reboot_of_a_leaving_worker_serves_on(channel: Channel) -> None:
    """W-8: keys can be registered while unbonding: a reboot makes no leaving worker miss what it still owes."""
    channel.worker.by_owner(BeginUnbond(1)).assert_succeeded()
    reboot(channel)
    channel.rebind(ANYONE).assert_succeeded()
    channel.post().assert_succeeded()
    channel.deliver().assert_succeeded()
