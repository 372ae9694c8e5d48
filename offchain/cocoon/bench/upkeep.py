"""Gas of what is done rarely: other ways to end a channel, lost answers, a worker's and the network's upkeep.

Played on a network of its own, so that the figures of `bench.gas` don't depend on it.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pytoniq_core import Address

from ..crypto.ed25519 import public_key, sign
from ..deployment import policy
from ..wire.codec import Struct
from ..wire.common import Kind
from ..wire.escrow import (
    CancelOpen,
    ClaimVoucher,
    CountVolume,
    ExpireJob,
    OpenEscrow,
    PostJob,
    RebindChannel,
    ReleaseChannel,
    ReleaseStatement,
    RetryReport,
    VoucherStatement,
)
from ..wire.registry import (
    AcceptOwnership,
    CancelChange,
    ChangePolicy,
    DenyMeasurement,
    ExecuteChange,
    OfferOwnership,
    ProposeChange,
    SyncPolicy,
)
from ..wire.worker import (
    AdoptSlashing,
    ApproveMeasurement,
    ChangeOperator,
    PauseWorker,
    ResumeWorker,
    TopUpStake,
)
from .operation import TON, Operation
from .scenario import MODEL, REQUEST, TERMS, Scenario

if TYPE_CHECKING:
    from cocoon_sandbox.treasury import Treasury

__all__ = ["measure_upkeep"]

_LATER_KEY = Ed25519PrivateKey.from_private_bytes(hashlib.sha256(b"session after a restart").digest())


def measure_upkeep() -> list[Operation]:
    """Every operation once, with exactly the least value its getter names. AssertionError if one fails."""
    from cocoon_sandbox.ledger import Ledger

    scenario = Scenario(Ledger())
    scenario.set_up()
    escrow = scenario.open(1)
    scenario.operations.clear()
    _channel(scenario, escrow)
    _lost_answers(scenario, escrow)
    _keys(scenario, escrow)
    _worker(scenario)
    _governance(scenario)
    scenario.operations = [operation for operation in scenario.operations if operation.name != "open"]
    scenario.ledger.check_conservation()
    return scenario.operations


def _channel(scenario: Scenario, escrow: Address) -> None:
    fees = scenario.ledger.get(escrow, "get_fees", 0)
    _claim(scenario, escrow, TON)
    binding = scenario.state(escrow).binding
    assert binding is not None
    burned = -(-TON * binding.volume_burn_bps // 10_000)
    scenario.run("count volume", scenario.agent, escrow, burned + fees[9], CountVolume(1), fees[9])
    leaving = scenario.open(3)
    statement = ReleaseStatement(scenario.domain(Kind.RELEASE, leaving, scenario.state(leaving).epoch, 1), 0)
    body = ReleaseChannel(1, 0, sign(scenario.session, statement))
    scenario.run("release", scenario.client, leaving, fees[6], body, fees[6])


def _claim(scenario: Scenario, escrow: Address, cumulative: int) -> None:
    statement = VoucherStatement(scenario.domain(Kind.VOUCHER, escrow, scenario.state(escrow).epoch, 1), cumulative, 7)
    body = ClaimVoucher(1, 1, cumulative, 7, True, sign(scenario.client_key, statement))
    value = scenario.ledger.get(escrow, "get_fees", 0)[4]
    scenario.agent.send(scenario.ledger, escrow, value, body.to_cell())


def _lost_answers(scenario: Scenario, escrow: Address) -> None:
    """What a contract sends to the Worker is lost, and its sender is helped out."""
    ledger, fees = scenario.ledger, scenario.ledger.get(escrow, "get_fees", 0)
    job = PostJob(1, TON // 10, 600, REQUEST)
    scenario.client.send(ledger, escrow, TON // 10 + fees[2], job.to_cell())
    ledger.advance(600 + scenario.rules.grace_sec + 1)
    _send_and_lose(scenario, scenario.client, escrow, fees[3], ExpireJob(2))
    scenario.run("retry report", scenario.client, escrow, fees[7], RetryReport(3), fees[7])

    opening = scenario.deployment.escrow(scenario.client.address, scenario.worker, 4)
    scenario.names[opening] = "Escrow"
    body = OpenEscrow(4, public_key(scenario.client_key), TON, MODEL, 86400, None, TERMS)
    init = scenario.deployment.escrow_state_init(scenario.client.address, scenario.worker, 4)
    ledger.enqueue(scenario.client.message(ledger, opening, 2 * TON, body.to_cell(), state_init=init))
    _lose_what_the_worker_would_hear(scenario)
    ledger.advance(600)
    scenario.run("cancel open", scenario.client, opening, TON // 100, CancelOpen(5))


def _send_and_lose(scenario: Scenario, sender: Treasury, to: Address, value: int, body: Struct) -> None:
    scenario.ledger.enqueue(sender.message(scenario.ledger, to, value, body.to_cell()))
    _lose_what_the_worker_would_hear(scenario)


def _lose_what_the_worker_would_hear(scenario: Scenario) -> None:
    ledger = scenario.ledger
    while ledger.pending:
        if ledger.pending[0].dst == scenario.worker:
            ledger.drop(0)
        else:
            ledger.step(0)


def _worker(scenario: Scenario) -> None:
    value = scenario.ledger.get(scenario.worker, "get_fees")[0]
    heir = scenario.client.address
    for name, sender, body in (
        ("pause", scenario.agent, PauseWorker(1)),
        ("resume", scenario.agent, ResumeWorker(2)),
        ("change operator", scenario.owner, ChangeOperator(3, heir)),
        ("approve measurement", scenario.owner, ApproveMeasurement(3, 7)),
    ):
        scenario.run(name, sender, scenario.worker, value, body, value)
    more = TopUpStake(4, TON, TON)
    scenario.run("top up stake", scenario.client, scenario.worker, 2 * TON + value, more, value)
    back = ChangeOperator(5, scenario.agent.address)
    scenario.owner.send(scenario.ledger, scenario.worker, value, back.to_cell())


def _governance(scenario: Scenario) -> None:
    ledger, registry = scenario.ledger, scenario.deployment.registry
    _, sync, govern, _ = ledger.get(registry, "get_fees")

    def run(name: str, sender: Treasury, body: Struct) -> None:
        scenario.run(name, sender, registry, govern, body, govern)

    later = policy(scenario.rules, 2)
    later = replace(later, children=replace(later.children, slashing=scenario.payout))
    run("propose change", scenario.owner, ProposeChange(1, ChangePolicy(later).to_cell()))
    ledger.advance(scenario.rules.change_delay_sec)
    run("execute change", scenario.client, ExecuteChange(2, {}))
    scenario.client.send(ledger, registry, sync, SyncPolicy(3, 0).to_cell())
    manage = ledger.get(scenario.worker, "get_fees")[0]
    scenario.run("adopt slashing", scenario.owner, scenario.worker, manage, AdoptSlashing(4, scenario.payout), manage)
    again = ProposeChange(3, ChangePolicy(policy(scenario.rules, 3)).to_cell())
    scenario.owner.send(ledger, registry, govern, again.to_cell())
    run("cancel change", scenario.owner, CancelChange(4))
    run("deny measurement", scenario.owner, DenyMeasurement(5, 7))
    offer = ProposeChange(6, OfferOwnership(scenario.client.address).to_cell())
    scenario.owner.send(ledger, registry, govern, offer.to_cell())
    ledger.advance(scenario.rules.change_delay_sec)
    scenario.owner.send(ledger, registry, govern, ExecuteChange(7, {}).to_cell())
    run("accept ownership", scenario.client, AcceptOwnership(8))


def _keys(scenario: Scenario, escrow: Address) -> None:
    """The enclave was restarted: another key, and the channel follows it."""
    ledger = scenario.ledger
    scenario.attest("attest, another key", _LATER_KEY, 2)
    rebind = ledger.get(escrow, "get_fees", 0)[8]
    scenario.run("rebind", scenario.client, escrow, rebind, RebindChannel(2, scenario.enclave.measurement), rebind)
