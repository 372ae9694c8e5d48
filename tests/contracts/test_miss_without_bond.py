"""A miss that is reported when the bond has long left still counts, and costs nobody anything."""

from __future__ import annotations

from channel import Channel

from cocoon.wire.common import PaymentReason
from cocoon.wire.escrow import JobStatus, MissRecorded
from cocoon.wire.worker import BeginUnbond, WithdrawStake


def test_miss_reported_after_the_bond_was_withdrawn_is_counted_and_pays_nothing(job: Channel) -> None:
    """P-2: the client's refund does not depend on the Worker having anything left."""
    worker, world = job.worker, job.world
    worker.by_owner(BeginUnbond(1)).assert_succeeded()
    world.ledger.advance(world.rules.unbonding_sec)
    worker.by_owner(WithdrawStake(1)).assert_succeeded()
    assert worker.state.bond_nano == 0
    done = job.expire().assert_succeeded()
    assert done.paid(job.client, PaymentReason.REFUND) > 0
    assert len(done.payments()) == 1
    assert done.one(MissRecorded).seq == 1
    assert job.job == JobStatus.NONE
    assert (worker.state.misses, worker.state.bond_nano, worker.state.open_count) == (1, 0, 0)
