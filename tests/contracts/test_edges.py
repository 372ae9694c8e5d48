"""Behaviour at the very edge of a rule: the last second, the last nanoTON, the last bit, the last entry."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from actors import actor
from channel import DAY, DEPOSIT, Channel
from hostile import install
from pytoniq_core import Address, begin_cell
from stages import deployed_world, market_world, open_channel
from test_bounce_bodies import Returned, confirmation, initialisation, slash
from test_slashing import evidence
from world import MEASUREMENT, RULES, TON, WorkerSide, World

from cocoon.contracts_build import load
from cocoon.wire.common import PaymentReason
from cocoon.wire.escrow import BindRefused, JobRefusal, JobRefused
from cocoon.wire.registry import (
    AcceptOwnership,
    AllowMeasurement,
    CancelChange,
    ChangePolicy,
    DenyMeasurement,
    ExecuteChange,
    OfferOwnership,
    ProposeChange,
    SyncAttestation,
    SyncPolicy,
)
from cocoon.wire.slashing import SubmitEquivocation
from cocoon.wire.worker import PauseWorker
from cocoon_sandbox.ledger import Ledger

RICH_BOUNCE = 0xFFFFFFFE


# ---- money ----


@pytest.mark.parametrize("claimed", [0, DEPOSIT // 2])
def test_close_with_nothing_left_to_pay_sends_the_worker_no_payment(channel: Channel, claimed: int) -> None:
    """E-7: a payment of nothing would still cost its fee."""
    if claimed:
        channel.claim(claimed).assert_succeeded()
    done = channel.close_cooperatively(claimed).assert_succeeded()
    assert not [message for message in done.messages if message.dst == channel.worker.payout]
    assert not channel.exists


def opening_refused(ledger: Ledger) -> tuple[World, Address]:
    """The Registry finds that the measurement was denied, and says so to the escrow."""
    world = deployed_world(ledger)
    channel = world.channel(world.active_worker())
    world.govern(DenyMeasurement(1, MEASUREMENT)).assert_succeeded()
    init = world.deployment.escrow_state_init(channel.client, channel.worker.address)
    world.put(channel.client, channel.address, channel.opening(), 2 * TON, state_init=init)
    return world, world.registry


def opening_confirmed(ledger: Ledger) -> tuple[World, Address]:
    world = deployed_world(ledger)
    channel = world.channel(world.active_worker())
    init = world.deployment.escrow_state_init(channel.client, channel.worker.address)
    world.put(channel.client, channel.address, channel.opening(), 2 * TON, state_init=init)
    return world, world.registry


def policy_synced(ledger: Ledger) -> tuple[World, Address]:
    world = deployed_world(ledger)
    worker = world.active_worker()
    world.put(actor("anyone"), world.registry, SyncPolicy(1, worker.index), TON)
    return world, world.registry


def attestation_synced(ledger: Ledger) -> tuple[World, Address]:
    world = market_world(ledger)
    world.put(actor("anyone"), world.registry, SyncAttestation(1), TON)
    return world, world.registry


def worker_slashed(ledger: Ledger) -> tuple[World, Address]:
    channel = open_channel(ledger)
    world = channel.world
    world.put(actor("reporter"), world.slashing, evidence(channel), TON)
    return world, world.slashing


def worker_refuses(ledger: Ledger) -> tuple[World, Address]:
    """The Worker says no to the escrow, which tells nobody else."""
    world = deployed_world(ledger)
    worker = world.active_worker()
    worker.by_operator(PauseWorker(1)).assert_succeeded()
    channel = world.channel(worker)
    init = world.deployment.escrow_state_init(channel.client, worker.address)
    world.put(channel.client, channel.address, channel.opening(), 2 * TON, state_init=init)
    return world, worker.address


@pytest.mark.parametrize(
    "flow",
    [opening_refused, opening_confirmed, policy_synced, attestation_synced, worker_slashed, worker_refuses],
    ids=lambda flow: flow.__name__,
)
def test_what_is_passed_on_is_the_messages_own_value_to_the_nanoton(
    ledger: Ledger, flow: Callable[[Ledger], tuple[World, Address]]
) -> None:
    """B.1: a contract that adds to what it passes on can be emptied by whoever makes it pass something on."""
    world, address = flow(ledger)
    passed = 0
    while world.ledger.pending:
        before = world.ledger.account(address).balance
        transaction = world.step()
        if transaction.account == address and transaction.out_msgs:
            assert world.ledger.account(address).balance == before - transaction.storage_fees
            passed += 1
    assert passed == 1


@pytest.mark.parametrize("bounce", [initialisation, slash], ids=["initialisation", "slash"])
def test_what_comes_back_is_passed_on_to_the_nanoton(ledger: Ledger, bounce: Callable[[Ledger], Returned]) -> None:
    back = bounce(ledger)
    before = ledger.account(back.contract).balance
    transaction = back.deliver(back.message.body)
    assert len(transaction.out_msgs) == 1
    assert ledger.account(back.contract).balance == before - transaction.storage_fees


@pytest.mark.parametrize(
    "bounce", [initialisation, slash, confirmation], ids=["initialisation", "slash", "confirmation"]
)
def test_bounce_with_nothing_but_its_prefix_and_what_was_sent_is_enough(
    ledger: Ledger, bounce: Callable[[Ledger], Returned]
) -> None:
    """Nothing else of a bounce is looked at."""
    back = bounce(ledger)
    least = begin_cell().store_uint(RICH_BOUNCE, 32).store_ref(back.message.body.refs[0]).end_cell()
    assert len(back.deliver(least).out_msgs) == 1


# ---- time ----


def test_rebind_at_the_second_of_the_deadline_is_a_lost_key_and_one_later_is_not(job: Channel) -> None:
    """W-9: until then the worker may still have delivered."""
    world = job.world
    world.ledger.advance(job.state.job_deadline - world.ledger.now)
    start = world.ledger.snapshot()
    job.rebind(actor("anyone")).assert_succeeded()
    world.ledger.restore(start)
    world.ledger.advance(1)
    job.rebind(actor("anyone")).assert_refused(311)


# ---- lists ----


def test_denied_measurement_makes_room_on_the_list_and_one_never_listed_does_not(world: World) -> None:
    """B.17: the count is what the list holds."""
    world.adopt(AllowMeasurement(5)).assert_succeeded()

    def counted() -> tuple[int, int]:
        found = world.registry_state.measurements
        return found.listed_count, len(found.listed)

    assert counted() == (2, 2)
    world.govern(DenyMeasurement(1, 5)).assert_succeeded()
    assert counted() == (1, 1)
    world.govern(DenyMeasurement(1, 6)).assert_succeeded()
    assert counted() == (1, 1)


def test_allowed_list_takes_its_last_entry_and_no_more(world: World) -> None:
    """B.17."""
    start = world.registry_state

    def listed(count: int) -> None:
        measurements = replace(
            start.measurements, listed_count=count, listed={number << 8: None for number in range(1, count + 1)}
        )
        install(
            world.ledger, world.registry, load("Registry").code, replace(start, measurements=measurements).to_cell()
        )

    listed(31)
    world.govern(ProposeChange(1, AllowMeasurement(5).to_cell())).assert_succeeded()
    listed(32)
    world.govern(ProposeChange(1, AllowMeasurement(5).to_cell()), TON).assert_refused(151)


def test_cancelled_change_is_gone(world: World) -> None:
    """R-2."""
    world.govern(ProposeChange(1, AllowMeasurement(5).to_cell())).assert_succeeded()
    world.govern(CancelChange(2)).assert_succeeded()
    assert world.registry_state.proposal is None


def test_every_message_of_governance_returns_its_change(world: World) -> None:
    """B.16."""
    successor = actor("successor")
    for body in (
        ProposeChange(1, AllowMeasurement(5).to_cell()), CancelChange(2), DenyMeasurement(3, 6),
        ProposeChange(4, OfferOwnership(successor).to_cell()),
    ):  # fmt: skip
        assert world.govern(body, TON).assert_succeeded().change(world.governor) > TON * 99 // 100
    world.ledger.advance(world.rules.change_delay_sec)
    for sender, last in ((actor("anyone"), ExecuteChange(5)), (successor, AcceptOwnership(6))):
        done = world.send(sender, world.registry, last, TON).assert_succeeded()
        assert done.change(sender) > TON * 99 // 100


_BOUNDS = [
    ({"volume_burn_bps": 10}, True), ({"volume_burn_bps": 9}, False),
    ({"volume_burn_bps": 10_000}, True), ({"volume_burn_bps": 10_001}, False),
    ({"notice_sec": 30 * DAY, "max_term_sec": 30 * DAY}, True),
    ({"notice_sec": 30 * DAY + 1, "max_term_sec": 30 * DAY}, False),
    ({"miss_penalty_nano": 0, "key_loss_nano": 0}, False), ({"miss_penalty_nano": 1, "key_loss_nano": 0}, True),
    ({"max_term_sec": 0, "notice_sec": 0}, False), ({"max_term_sec": 1, "notice_sec": 1}, True),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "taken"), _BOUNDS, ids=lambda value: str(value))
def test_policy_is_taken_up_to_its_bounds_and_not_beyond(world: World, changes: dict[str, int], taken: bool) -> None:
    """B.15, B.21."""
    proposed = world.govern(ProposeChange(1, ChangePolicy(world.policy(2, **changes)).to_cell()), TON)
    if taken:
        proposed.assert_succeeded()
    else:
        proposed.assert_refused(149)


# ---- states ----


def test_opened_channel_begins_with_nothing_but_its_deposit(channel: Channel) -> None:
    """E-1."""
    state = channel.state
    assert (state.deadline, state.job_seq, state.job_deadline, state.job_funds_nano) == (0, 0, 0, 0)
    assert (state.job_max_fee_nano, state.job_request_digest, state.claimed_nano, state.counted_nano) == (0, 0, 0, 0)


def test_deposit_of_one_nanoton_opens_a_channel(world: World, worker: WorkerSide) -> None:
    channel = world.channel(worker)
    channel.open(channel.opening(deposit_nano=1)).assert_succeeded()
    assert channel.state.deposit_nano == 1


def test_refusal_that_comes_late_closes_nothing(channel: Channel) -> None:
    """E-6: a channel that is open stays so, whoever of its own network says what."""
    for sender in (channel.worker.address, channel.world.registry):
        done = channel.send(sender, BindRefused(channel.state.epoch, 1), TON)
        assert done.first.success
        assert not done.changed
        assert channel.exists


def test_body_of_slashing_is_known_by_its_first_32_bits(world: World) -> None:
    opcode = SubmitEquivocation.PREFIX[0]

    def sent(bits: int) -> int | None:
        body = begin_cell().store_uint(opcode >> (32 - bits), bits).end_cell()
        return world.send(actor("anyone"), world.slashing, body, TON).exit_code

    assert sent(31) == 0xFFFF
    assert sent(32) == 9  # it is a report, of which the rest is missing


def test_silent_escrow_keeps_its_slot_to_the_last_second_and_one_goes_for_one_that_comes(
    world: World, worker: WorkerSide
) -> None:
    """B.17: an admission frees one slot, not all."""
    silent = [world.open_channel(worker, f"silent {number}", term_sec=20 * DAY) for number in range(2)]
    for channel in silent:
        channel.post().assert_succeeded()
    lapses_at = max(job.lapses_at for job in worker.state.open_jobs.values())
    world.ledger.advance(lapses_at - world.ledger.now)
    worker.attest().assert_succeeded()
    comer = world.open_channel(worker, "comer")
    assert world.ledger.now == lapses_at
    assert comer.post().one(JobRefused).reason == JobRefusal.NO_FREE_SLOT
    world.ledger.advance(1)
    comer = world.open_channel(worker, "another comer")
    comer.post().assert_succeeded()
    assert worker.state.open_count == len(worker.state.open_jobs) == 2


def test_compensation_of_one_nanoton_is_a_payment(ledger: Ledger) -> None:
    """W-6: the client's share of a miss, however small."""
    world = World(ledger, replace(RULES, miss_penalty_nano=5, key_loss_nano=0)).deploy()
    job = world.open_channel(world.active_worker())
    job.post().assert_succeeded()
    job.pass_deadline()
    done = job.expire()
    assert [paid.nano for paid in done.payments() if paid.reason == PaymentReason.MISS_COMPENSATION] == [1]
