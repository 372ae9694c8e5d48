"""A contract that has less than it should, because its rent ran out, does all of an operation or none of it.

The balance is squeezed from enough down to nothing. Wherever an action fails, the state is what it was and the message
comes back to its sender: no payment is skipped, and no value is kept from whoever tries again later.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
from actors import actor, key
from channel import RESPONSE, Channel
from hostile import install
from outcome import Outcome
from pytoniq_core import Address
from stages import admitted_job
from world import TON

from cocoon.wire.codec import Struct
from cocoon.wire.escrow import DeliverJob, ExpireJob, JobRefused
from cocoon.wire.worker import RebindEscrow
from cocoon_sandbox.ledger import Ledger

ANYONE = actor("anyone")


@dataclass(frozen=True)
class Step:
    """A message to `to`, ready to be sent with the least value."""

    channel: Channel
    to: Address
    sender: Address
    body: Struct
    value: int

    @property
    def balance(self) -> int:
        return self.channel.world.ledger.balance(self.to)

    def send(self, balance: int) -> Outcome:
        """Send it from the same state, to a contract that holds `balance`."""
        ledger = self.channel.world.ledger
        account = ledger.account(self.to)
        assert account.code is not None
        assert account.data is not None
        start = ledger.snapshot()
        install(ledger, self.to, account.code, account.data, balance)
        # With something for the way back.
        done = self.channel.world.send(self.sender, self.to, self.body, self.value + TON // 100)
        ledger.restore(start)
        return done


def deliver(ledger: Ledger) -> Step:
    job = admitted_job(ledger)
    return Step(job, job.address, ANYONE, DeliverJob(1, False, job.forced_receipt(), RESPONSE), job.end_job_fees)


def deliver_to_payout(ledger: Ledger) -> Step:
    job = admitted_job(ledger)
    return Step(job, job.address, ANYONE, DeliverJob(1, True, job.forced_receipt(), RESPONSE), job.end_job_fees)


def reject(ledger: Ledger) -> Step:
    job = admitted_job(ledger)
    return Step(job, job.address, ANYONE, job.rejection(), job.end_job_fees)


def expire(ledger: Ledger) -> Step:
    job = admitted_job(ledger)
    job.pass_deadline()
    return Step(job, job.address, ANYONE, ExpireJob(1), job.end_job_fees)


def compensate(ledger: Ledger) -> Step:
    """The Worker, asked for new keys while a job under the old ones is open."""
    job = admitted_job(ledger)
    job.worker.attest(key("after a reboot")).assert_succeeded()
    state = job.state
    body = RebindEscrow(state.epoch, job.client, job.salt, 1, state.job_seq, job.measurement)
    return Step(job, job.worker.address, job.address, body, TON // 100)


STEPS: dict[str, Callable[[Ledger], Step]] = {
    "deliver": deliver,
    "deliver, change to the payout": deliver_to_payout,
    "reject": reject,
    "expire": expire,
    "compensate": compensate,
}


def balances(enough: int) -> Iterator[int]:
    """From nothing to `enough`: coarsely, and finely where the small messages are paid."""
    yield from range(0, enough, max(1, enough // 16))
    yield from range(max(0, enough - TON // 200), enough, TON // 20_000)


@pytest.mark.parametrize("name", list(STEPS))
def test_squeezed_contract_does_all_or_nothing(ledger: Ledger, name: str) -> None:
    """B.8, P-3: a failure in mode 0 would keep the value, an ignored error would lose a payment; neither happens."""
    step = STEPS[name](ledger)
    step.channel.world.watch = False
    everything = step.send(step.balance)
    assert everything.first.success
    failed: set[int] = set()
    for balance in balances(needed(step)):
        done = step.send(balance)
        action = done.first.phases.action
        assert action is not None
        if done.first.success:
            assert len(done.first.out_msgs) == len(everything.first.out_msgs), f"{balance}: {done}"
        else:
            failed.add(action.result_arg or 0)
            assert not done.changed, f"{balance}: {done}"
            back = [(m.bounced, m.dst) for m in done.first.out_msgs]
            # A message that carries the rest leaves nothing for the way back.
            assert back == [(True, step.sender)] or done.first.phases.bounce == "no funds", f"{balance}: {done}"
    assert failed == set(range(len(everything.first.out_msgs)))


def needed(step: Step) -> int:
    """The least balance, to the nanoTON, with which `step` succeeds."""
    low, high = 0, step.balance
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if step.send(middle).first.success else (middle + 1, high)
    return low


def test_refusal_that_an_escrow_cannot_refund_leaves_the_job_open(ledger: Ledger) -> None:
    """P-2: the money comes back by expiry once it is there again; a job that was dropped unpaid never would."""
    job = admitted_job(ledger)
    world, state = job.world, job.state
    world.watch = False
    account = ledger.account(job.address)
    assert account.code is not None
    assert account.data is not None
    install(ledger, job.address, account.code, account.data, 0)
    refusal = JobRefused(state.epoch, state.job_seq, 1)
    assert not world.send(job.worker.address, job.address, refusal, TON // 100, bounce=False).changed
