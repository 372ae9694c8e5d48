"""What every message carries in every flow of the protocol, each operation attached its least value, to the nanoTON.

`python tests/contracts/test_carried_values.py` writes the snapshot: after a change on purpose, run it and look at the
difference. Names are those of contracts/scheme.tlb; amounts are nanoTON at the sandbox's prices.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from actors import actor, blob, key
from channel import DAY, DEPOSIT, Channel
from outcome import Outcome
from stages import admitted_job, deployed_world, open_channel
from test_slashing import report

from cocoon.decoding import decode_body
from cocoon.wire.escrow import ExpireJob
from cocoon.wire.registry import AllowMeasurement, DenyMeasurement
from cocoon.wire.worker import ApproveMeasurement, BeginUnbond, PauseWorker, ResumeWorker, TopUpStake, WithdrawStake
from cocoon_sandbox.ledger import Ledger
from cocoon_sandbox.message import Message

SNAPSHOT = Path(__file__).parent / "carried.json"
# What is left of a value, or of the account, depends on the gas and the rent of the code as well.
_REST = {
    "Payment: Cocoon refund",
    "ConfirmBind",
    "BindConfirmed",
    "BindRefused",
    "JobRefused",
    "UpdatePolicy",
    "SlashWorker",
}
type Flow = Callable[[Ledger], list[Outcome]]


def managing(ledger: Ledger) -> list[Outcome]:
    """attestFees, manageFees. (A registration carries the Worker's code, whose size is not what is looked at here.)"""
    worker = deployed_world(ledger).active_worker()
    owner, operator = worker.by_owner, worker.by_operator
    done = [worker.attest(), worker.set_offer(), operator(PauseWorker(1)), operator(ResumeWorker(1))]
    done += [owner(ApproveMeasurement(1, 5)), owner(TopUpStake(1, 10**9, 10**9), 3 * 10**9)]
    return done


def unbonding(ledger: Ledger) -> list[Outcome]:
    worker = deployed_world(ledger).active_worker()
    begun = worker.by_owner(BeginUnbond(1))
    worker.world.ledger.advance(worker.state.unbond_at - worker.world.ledger.now)
    return [begun, worker.by_owner(WithdrawStake(2))]


def governing(ledger: Ledger) -> list[Outcome]:
    """governanceFees, syncFees."""
    world = deployed_world(ledger)
    worker = world.active_worker()
    done = [world.adopt(AllowMeasurement(5)), world.govern(DenyMeasurement(1, 5))]
    return [*done, world.sync(worker)]


def opening(ledger: Ledger) -> list[Outcome]:
    """openFees, handshakeValue, escrowRent."""
    channel = _new(ledger)
    return [channel.open()]


def opening_refused_by_the_worker(ledger: Ledger) -> list[Outcome]:
    channel = _new(ledger)
    channel.worker.by_operator(PauseWorker(1))
    return [channel.open()]


def opening_refused_by_the_registry(ledger: Ledger) -> list[Outcome]:
    channel = _new(ledger)
    channel.world.govern(DenyMeasurement(1, channel.worker.state.people.keys.measurement))  # type: ignore[union-attr]
    return [channel.open()]


def streaming(ledger: Ledger) -> list[Outcome]:
    """topUpFees, claimFees, countFees, creditValue, beginCloseFees, closeFees."""
    channel = open_channel(ledger)
    done = [channel.top_up(DEPOSIT), channel.claim(DEPOSIT // 4), channel.count_volume(DEPOSIT // 400)]
    done.append(channel.begin_close())
    channel.world.ledger.advance(channel.world.rules.dispute_sec + 1)
    return [*done, channel.finish_close(actor("anyone"))]


def closing_together(ledger: Ledger) -> list[Outcome]:
    return [open_channel(ledger).close_cooperatively(DEPOSIT // 3, actor("anyone"))]


def releasing(ledger: Ledger) -> list[Outcome]:
    return [open_channel(ledger).release(0)]


def delivering(ledger: Ledger) -> list[Outcome]:
    """postingFees, admissionValue, settlementFees, settlementValue."""
    channel = open_channel(ledger)
    return [channel.post(), channel.deliver()]


def rejecting(ledger: Ledger) -> list[Outcome]:
    return [admitted_job(ledger).reject()]


def admission_refused(ledger: Ledger) -> list[Outcome]:
    world = deployed_world(ledger)
    channel = world.open_channel(world.active_worker(), term_sec=20 * DAY)
    world.ledger.advance(world.rules.lease_sec)
    return [channel.post()]


def missing(ledger: Ledger) -> list[Outcome]:
    """reportValue, recordMiss."""
    job = admitted_job(ledger)
    job.pass_deadline()
    return [job.expire()]


def retrying(ledger: Ledger) -> list[Outcome]:
    """retryFees, reportValue: the first report was lost."""
    job = admitted_job(ledger)
    job.pass_deadline()
    world = job.world
    world.put(actor("anyone"), job.address, ExpireJob(1), job.end_job_fees)
    world.step()
    while world.ledger.pending:
        world.ledger.drop()
    return [job.retry_report()]


def rebinding(ledger: Ledger) -> list[Outcome]:
    """rebindFees, rebindValue, the compensation for a lost key."""
    job = admitted_job(ledger)
    job.worker.hpke = blob("another hpke key", 10)
    job.worker.attest(key("another session"))
    return [job.rebind(actor("anyone"))]


def slashing(ledger: Ledger) -> list[Outcome]:
    """evidenceFees."""
    return [report(open_channel(ledger))]


FLOWS: tuple[Flow, ...] = (
    managing, unbonding, governing, opening, opening_refused_by_the_worker, opening_refused_by_the_registry,
    streaming, closing_together, releasing, delivering, rejecting, admission_refused, missing, retrying, rebinding,
    slashing,
)  # fmt: skip


def _new(ledger: Ledger) -> Channel:
    world = deployed_world(ledger)
    return world.channel(world.active_worker())


def carried(ledger: Ledger, flow: Flow) -> list[list[list[object]]]:
    """For each operation of the flow: [message, value] of everything sent, in order, but for what carries the rest."""
    said = [[_said(message) for message in outcome.messages] for outcome in flow(ledger)]
    return [[[name, value] for name, value in operation if name not in _REST] for operation in said]


def least_values(ledger: Ledger) -> dict[str, list[int]]:
    """get_fees of every contract of the market."""
    channel = open_channel(ledger)
    world = channel.world
    return {
        "Registry": [int(value) for value in ledger.get(world.registry, "get_fees")],
        "Worker": [int(value) for value in ledger.get(channel.worker.address, "get_fees")],
        "Escrow": [int(value) for value in ledger.get(channel.address, "get_fees", DAY)],
        "Slashing": [int(value) for value in ledger.get(world.slashing, "get_fees")],
    }


def _said(message: Message) -> list[object]:
    """[message, value]; a bounce is called so."""
    said = decode_body(message.body) or {"": None}
    name, value = next(iter(said.items()))
    name = f"Payment: {value}" if name == "comment" else name
    return [f"bounced {name}" if message.bounced else name, message.value]


EXPECTED = json.loads(SNAPSHOT.read_text()) if SNAPSHOT.is_file() else {}


@pytest.mark.parametrize("flow", FLOWS, ids=lambda flow: flow.__name__)
def test_every_message_carries_what_the_snapshot_says(ledger: Ledger, flow: Flow) -> None:
    """B.16, B.21: handshakeValue, rebindValue, creditValue, admissionValue, reportValue, settlementValue, the budgets
    of gas and cells behind them, and what is returned.
    """
    assert carried(ledger, flow) == EXPECTED[flow.__name__]


def test_least_values_and_the_fees_in_them_are_those_of_the_snapshot(ledger: Ledger) -> None:
    """B.16: registrationFees, syncFees, syncAttestationFees, governanceFees, manageFees, attestFees, openFees,
    escrowRent, topUpFees, postingFees, settlementFees, claimFees, beginCloseFees, closeFees, retryFees, rebindFees,
    countFees, evidenceFees; each constant and each price in them, to the nanoTON.
    """
    assert least_values(ledger) == EXPECTED["least values"]


def main() -> None:
    """Write the snapshot."""
    flows = {flow.__name__: carried(Ledger(), flow) for flow in FLOWS}
    lines = [
        f"  {json.dumps(name)}: [\n" + ",\n".join(f"    {json.dumps(operation)}" for operation in operations) + "\n  ]"
        for name, operations in flows.items()
    ]
    lines.append(f'  "least values": {json.dumps(least_values(Ledger()))}')
    SNAPSHOT.write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main()
