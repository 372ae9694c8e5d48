"""Volume: what a channel paid, counted for the worker by whoever burns the price of it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from actors import actor
from channel import DEPOSIT, Channel
from hostile import DEATHS
from pytoniq_core import Address
from world import TON, WorkerSide, World

from cocoon.wire.common import PaymentReason
from cocoon.wire.worker import CreditVolume
from cocoon_sandbox.ledger import Ledger

BLACK_HOLE = Address((0, bytes(32)))
ANYONE = actor("anyone")


def claim(channel: Channel, cumulative: int) -> None:
    channel.send(ANYONE, channel.voucher(cumulative), channel.claim_fees).assert_succeeded()


def price(channel: Channel, volume: int) -> int:
    """What counting `volume` burns, rounded up."""
    return -(-volume * channel.world.rules.volume_burn_bps // 10_000)


def test_count_volume_least_value_burns_the_price_and_credits_the_worker(channel: Channel) -> None:
    """W-10: the burned share is the caller's money, never the deposit's."""
    claim(channel, DEPOSIT // 4)
    before = channel.state
    done = channel.count_volume(price(channel, DEPOSIT // 4)).assert_succeeded()
    assert done.paid(BLACK_HOLE, PaymentReason.BURN) == price(channel, DEPOSIT // 4) == DEPOSIT // 400
    assert channel.worker.state.volume_nano == DEPOSIT // 4
    after = channel.state
    assert (after.counted_nano, after.deposit_nano, after.claimed_nano) == (
        DEPOSIT // 4,
        before.deposit_nano,
        before.claimed_nano,
    )
    assert channel.balance >= channel.owed


def test_count_volume_one_nano_below_the_least_value_refused(channel: Channel) -> None:
    """B.16, W-10: volume without its burn is not counted."""
    claim(channel, DEPOSIT // 4)
    channel.count_volume(price(channel, DEPOSIT // 4) - 1).assert_refused(305)
    assert channel.worker.state.volume_nano == 0


def test_count_volume_rounds_the_burn_up(channel: Channel) -> None:
    """B.21: one nanoTON of volume costs one nanoTON."""
    claim(channel, 1)
    done = channel.count_volume(1).assert_succeeded()
    assert done.paid(BLACK_HOLE, PaymentReason.BURN) == 1


def test_count_volume_twice_counts_once(channel: Channel) -> None:
    """W-10."""
    claim(channel, DEPOSIT // 4)
    channel.count_volume(TON)
    channel.count_volume(TON).assert_refused(329)
    claim(channel, DEPOSIT // 2)
    channel.count_volume(price(channel, DEPOSIT // 4)).assert_succeeded()
    assert channel.worker.state.volume_nano == DEPOSIT // 2


def test_count_volume_returns_the_excess_to_its_sender(channel: Channel) -> None:
    claim(channel, DEPOSIT // 4)
    done = channel.count_volume(TON)
    assert done.change(ANYONE) == TON - price(channel, DEPOSIT // 4)


def test_count_volume_before_anything_was_claimed_refused(channel: Channel) -> None:
    channel.count_volume(TON).assert_refused(329)


@pytest.mark.parametrize("kill", DEATHS.values(), ids=DEATHS)
def test_count_volume_with_a_dead_worker_costs_only_the_caller(
    channel: Channel, kill: Callable[[Ledger, Address], None]
) -> None:
    """B.3."""
    claim(channel, DEPOSIT // 4)
    kill(channel.world.ledger, channel.worker.address)
    channel.count_volume(TON)
    assert channel.balance >= channel.owed
    assert channel.state.deposit_nano == DEPOSIT


def test_credit_volume_from_a_stranger_refused(world: World, worker: WorkerSide, channel: Channel) -> None:
    """B.2, W-10: counters move on the word of authenticated contracts only."""
    body = CreditVolume(channel.client, channel.salt, TON)
    for sender in (ANYONE, worker.owner, world.deployment.escrow(actor("other"), worker.address)):
        channel.world.send(sender, channel.worker.address, body, TON).assert_refused(205)
    assert channel.worker.state.volume_nano == 0
