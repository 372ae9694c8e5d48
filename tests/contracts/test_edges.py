"""Behaviour at the very edge of a rule: the last second, the last nanoTON, the last bit, the last entry."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from actors import actor
from channel import DEPOSIT, Channel
from pytoniq_core import Address, begin_cell
from stages import deployed_world, market_world, open_channel
from test_bounce_bodies import Returned, initialisation, slash
from test_slashing import evidence
from world import MEASUREMENT, TON, World

from cocoon.wire.registry import AllowMeasurement, DenyMeasurement, SyncAttestation, SyncPolicy
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


@pytest.mark.parametrize("bounce", [initialisation, slash], ids=["initialisation", "slash"])
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
