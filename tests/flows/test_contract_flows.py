"""Whole lives of the protocol on the in-process ledger, from deployment to the last nanoTON."""

from __future__ import annotations

from actors import actor, key
from channel import DAY, DEPOSIT, MAX_FEE
from hostile import remove
from world import TON, World

from cocoon.wire.common import PaymentReason
from cocoon.wire.escrow import JobRefusal, JobRefused, JobStatus
from cocoon.wire.slashing import SubmitEquivocation
from cocoon.wire.worker import BeginUnbond, WithdrawStake, WorkerStatus
from cocoon_sandbox.ledger import Ledger


def test_flow_register_stream_force_close_unbond_withdraw(ledger: Ledger) -> None:
    """P-2, P-3, E-1, E-7, W-2: a worker's and a client's whole life; everybody ends with what the contracts said."""
    world = World(ledger).deploy()
    worker = world.active_worker()
    channel = world.open_channel(worker)
    earned = sum(channel.claim(amount).paid(worker.payout) for amount in (DEPOSIT // 10, DEPOSIT // 4))
    channel.post().assert_succeeded()
    earned += channel.deliver(MAX_FEE).assert_succeeded().paid(worker.payout)
    channel.top_up(TON).assert_succeeded()
    end = channel.close_cooperatively(DEPOSIT // 2).assert_succeeded()
    earned += end.paid(worker.payout)
    assert earned == DEPOSIT // 2 + MAX_FEE == ledger.balance(worker.payout)
    assert end.paid(channel.client, PaymentReason.REFUND) > DEPOSIT // 2 + TON
    assert not channel.exists
    worker.by_owner(BeginUnbond(1)).assert_succeeded()
    ledger.advance(world.rules.unbonding_sec)
    worker.by_owner(WithdrawStake(2)).assert_succeeded()
    assert worker.state.status == WorkerStatus.CLOSED
    assert ledger.balance(worker.owner) > world.rules.min_stake_nano + world.rules.min_bond_nano


def test_flow_silent_worker_pays_from_its_bond_and_client_moves_on(ledger: Ledger) -> None:
    """P-2, P-5, P-7, W-6: a job nobody answers, its refund and penalty, and the next worker."""
    world = World(ledger).deploy()
    silent, diligent = world.active_worker("silent"), world.active_worker("diligent")
    first = world.open_channel(silent)
    first.post().assert_succeeded()
    first.pass_deadline()
    missed = first.expire().assert_succeeded()
    assert missed.paid(first.client, PaymentReason.REFUND) >= MAX_FEE
    assert missed.paid(first.client, PaymentReason.MISS_COMPENSATION) == world.rules.miss_penalty_nano // 5
    assert (silent.state.misses, silent.state.stake_nano) == (1, world.rules.min_stake_nano)
    second = world.open_channel(diligent)
    second.post().assert_succeeded()
    assert second.deliver().assert_succeeded().paid(diligent.payout) == MAX_FEE // 2
    first.begin_close().assert_succeeded()
    ledger.advance(world.rules.dispute_sec)
    assert first.finish_close().assert_succeeded().paid(first.client) >= DEPOSIT


def test_flow_double_signer_is_slashed_while_its_clients_lose_nothing(ledger: Ledger) -> None:
    """P-3, P-5, S-1, W-3: the stake goes, what was earned and deposited stays."""
    world = World(ledger).deploy()
    worker = world.active_worker()
    channel = world.open_channel(worker)
    channel.claim(DEPOSIT // 4).assert_succeeded()
    identity = world.deployment.escrow_identity(channel.client, worker.address)
    receipts = [channel.receipt(fee_nano=fee) for fee in (1, 2)]
    body = SubmitEquivocation(1, worker.session.public, identity, *receipts)
    slashed = world.send(actor("reporter"), world.slashing, body, world.evidence_fees).assert_succeeded()
    assert slashed.paid(channel.client) == slashed.paid(actor("reporter")) == world.rules.min_stake_nano // 10
    assert worker.state.status == WorkerStatus.JAILED
    assert channel.claim(DEPOSIT // 2).paid(worker.payout) == DEPOSIT // 4
    channel.begin_close().assert_succeeded()
    ledger.advance(world.rules.dispute_sec)
    assert channel.finish_close().assert_succeeded().paid(channel.client) >= DEPOSIT // 2


def test_flow_restarted_worker_rotates_its_key_and_old_channels_go_on(ledger: Ledger) -> None:
    """P-3, W-4: a channel keeps the key it was bound to for what was promised; jobs go to channels bound to the new
    one."""
    world = World(ledger).deploy()
    worker = world.active_worker()
    old = world.open_channel(worker)
    old_key = worker.session
    worker.attest(key("after the reboot")).assert_succeeded()
    new = world.open_channel(worker, salt=1)
    assert (old.state.binding.key_epoch, new.state.binding.key_epoch) == (1, 2)
    new.post().assert_succeeded()
    new.deliver().assert_succeeded()
    refused = old.post()
    assert refused.one(JobRefused).reason == JobRefusal.KEY_REPLACED
    assert refused.paid(old.client, PaymentReason.REFUND) >= MAX_FEE
    assert old.claim(DEPOSIT // 2).paid(worker.payout) == DEPOSIT // 2
    worker.session = old_key
    assert old.close_cooperatively(DEPOSIT).paid(worker.payout) == DEPOSIT // 2
    assert worker.state.jobs == 1


def test_flow_client_disappears_and_the_worker_is_paid_to_the_end(ledger: Ledger) -> None:
    """P-3, E-7, E-8: the last voucher is claimed within the window after the channel's end; anyone closes; the rest
    waits."""
    world = World(ledger).deploy()
    worker = world.active_worker()
    channel = world.open_channel(worker)
    ledger.advance(DAY + world.rules.dispute_sec - 1)
    assert channel.claim(DEPOSIT // 2, sender=worker.operator).paid(worker.payout) == DEPOSIT // 2
    ledger.advance(1)
    done = channel.finish_close(worker.operator).assert_succeeded()
    assert done.paid(channel.client) >= DEPOSIT // 2


def test_flow_worker_disappears_and_the_client_gets_everything_back(ledger: Ledger) -> None:
    """P-2, A.6, A.10: no signature of the worker, the Registry or governance is needed."""
    world = World(ledger).deploy()
    worker = world.active_worker()
    channel = world.open_channel(worker)
    channel.post().assert_succeeded()
    for address in (worker.address, world.registry, world.slashing):
        remove(ledger, address)
    channel.pass_deadline()
    spent = channel.expire()
    assert spent.paid(channel.client, PaymentReason.REFUND) >= MAX_FEE
    assert channel.job == JobStatus.MISSED
    channel.begin_close().assert_succeeded()
    ledger.advance(world.rules.dispute_sec)
    assert channel.finish_close().assert_succeeded().paid(channel.client) >= DEPOSIT
    assert not channel.exists
