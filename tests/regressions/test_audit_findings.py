"""Holes that a review found, each kept shut by the attack that went through it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from actors import actor, key
from channel import Channel
from pytoniq_core import Address
from stages import deployed_world
from world import DAY, MODEL, TON, WorkerSide, World, blob

from cocoon.wire.common import Kind, PaymentReason
from cocoon.wire.escrow import JobStatus, Receipt, ReceiptDisclosure, ReceiptOutcome, SignedReceipt
from cocoon.wire.slashing import SubmitEquivocation
from cocoon.wire.worker import TopUpStake, WorkerStatus
from cocoon_sandbox.ledger import Ledger


@pytest.fixture
def world(ledger: Ledger) -> World:
    return deployed_world(ledger)


@pytest.fixture
def worker(world: World) -> WorkerSide:
    return world.active_worker(slots=8)


def account_id(address: Address) -> int:
    return int.from_bytes(address.hash_part, "big")


def common_prefix(a: int, b: int) -> int:
    return 256 - (a ^ b).bit_length()


def one_sided_salts(world: World, worker: WorkerSide, client: Address) -> list[int]:
    """Salts whose escrows branch off one path of the slot table, one a level: the dearest table there is."""
    ids = {salt: account_id(world.deployment.escrow(client, worker.address, salt)) for salt in range(3000)}
    target = max(ids, key=lambda salt: ids[salt])
    by_level: dict[int, int] = {}
    for salt, found in ids.items():
        level = common_prefix(found, ids[target])
        if salt != target and level < 7:
            by_level.setdefault(level, salt)
    return [target, *(by_level[level] for level in sorted(by_level))]


def open_channel(world: World, worker: WorkerSide, client: str, salt: int) -> Channel:
    channel = world.channel(worker, client, salt, 30 * DAY)
    channel.open().assert_succeeded()
    return channel


def test_refusal_after_a_lapse_in_a_ground_slot_table_still_refunds_the_client(
    world: World, worker: WorkerSide
) -> None:
    """B.16, B.31, E-3: a worker filled its slots through clients of its own and left them until they lapsed."""
    world.send(
        worker.owner, worker.address, TopUpStake(1, 0, 20 * TON), 20 * TON + worker.manage_fees
    ).assert_succeeded()
    for number, salt in enumerate(one_sided_salts(world, worker, actor("colluder"))):
        open_channel(world, worker, "colluder", salt).post(request=blob(str(number))).assert_succeeded()
        world.ledger.advance(10)
    world.ledger.advance(45 * DAY - 30)
    worker.attest().assert_succeeded()
    worker.set_offer(slots=8).assert_succeeded()
    for salt in range(3):
        channel = open_channel(world, worker, "victim", salt)
        before = world.ledger.snapshot()
        worker.set_offer(slots=1).assert_succeeded()
        outcome = channel.post(max_fee=5 * TON)
        assert outcome.paid(actor("victim"), PaymentReason.REFUND) > 5 * TON
        assert channel.state.job_status == JobStatus.NONE
        world.ledger.restore(before)


def receipts(world: World, worker: WorkerSide, client: Address) -> tuple[SignedReceipt, SignedReceipt]:
    """Two receipts of one seq in a channel of `client` that need not exist."""
    escrow = world.deployment.escrow(client, worker.address, 0)
    outcome = ReceiptOutcome(2, MODEL, ReceiptDisclosure(5, 0))
    first = Receipt(world.domain(Kind.STREAM_RECEIPT, escrow, 1, 1), 1, 5, 0, 1, outcome)
    second = replace(first, fee_nano=6)
    return (
        SignedReceipt(first, worker.session.sign(first)),
        SignedReceipt(second, worker.session.sign(second)),
    )


@pytest.mark.parametrize("workchain", [-1, 5])
def test_slash_for_a_client_outside_the_basechain_refused(world: World, worker: WorkerSide, workchain: int) -> None:
    """B.23, W-1: rewards to another workchain would cost the worker's rent more than the evidence brought."""
    client = actor("harmed", workchain)
    evidence = SubmitEquivocation(
        1,
        worker.session.public,
        world.deployment.escrow_identity(client, worker.address, 0),
        *receipts(world, worker, client),
    )
    world.send(actor("reporter"), world.slashing, evidence, world.evidence_fees).assert_refused(406)


def test_slash_after_rent_ate_into_the_stake_takes_what_is_there(world: World, worker: WorkerSide) -> None:
    """S-2, B.18: a worker cannot save its stake by letting its rent run out."""
    world.watch = False  # storage takes what is owed here, which is the point
    evidence = SubmitEquivocation(
        1,
        worker.session.public,
        world.deployment.escrow_identity(actor("harmed"), worker.address, 0),
        *receipts(world, worker, actor("harmed")),
    )
    account = world.ledger.account(worker.address)
    missing = account.balance - worker.state.stake_nano - worker.state.bond_nano + 2 * worker.state.bond_nano
    world.ledger.accounts[worker.address] = account.with_credit(-missing, world.ledger.now)
    world.ledger.minted -= missing
    world.send(actor("reporter"), world.slashing, evidence, world.evidence_fees).assert_succeeded()
    assert worker.state.status == WorkerStatus.JAILED
    assert worker.state.stake_nano == 0


def test_claim_after_rent_ate_into_the_deposit_pays_what_is_there(world: World, worker: WorkerSide) -> None:
    """E-4, B.18: and the rest once somebody has sent it."""
    world.watch = False
    channel = open_channel(world, worker, "client", 1)
    account = world.ledger.account(channel.address)
    deposit = channel.state.deposit_nano
    missing = account.balance - deposit + TON // 100
    world.ledger.accounts[channel.address] = account.with_credit(-missing, world.ledger.now)
    world.ledger.minted -= missing
    channel.claim(deposit).assert_succeeded()
    assert channel.state.claimed_nano == deposit - TON // 100


def test_rebinding_with_a_ground_slot_table_completes_with_the_least_value(world: World, worker: WorkerSide) -> None:
    """B.16, W-9: eight open jobs whose keys in the table were ground to be one-sided leave every rebinding gas."""
    value = 20 * TON + worker.manage_fees
    world.send(worker.owner, worker.address, TopUpStake(1, 0, 20 * TON), value).assert_succeeded()
    worker.set_offer(slots=8).assert_succeeded()
    channels = [
        open_channel(world, worker, "colluder", salt) for salt in one_sided_salts(world, worker, actor("colluder"))
    ]
    for channel in channels:
        channel.post().assert_succeeded()
    worker.attest(key("after a reboot")).assert_succeeded()
    for channel in channels:
        done = channel.rebind(actor("anyone")).assert_succeeded()
        assert done.paid(channel.client, PaymentReason.KEY_LOSS_COMPENSATION) > 0
        assert channel.state.binding is not None
        assert (channel.state.binding.key_epoch, channel.job) == (2, JobStatus.NONE)
    assert worker.state.key_losses == len(channels) == 8
