"""The whole matrix: every message, from every actor, to every contract. Only the pairs written here may change any
data."""

from __future__ import annotations

import pytest
from actors import actor, key
from channel import DAY, Channel
from pytoniq_core import Address, Cell
from samples import escrow_messages, registry_messages, slashing_messages, worker_messages
from world import TON

from cocoon.wire.codec import Struct
from cocoon.wire.registry import AllowMeasurement, OfferOwnership, ProposeChange
from cocoon.wire.worker import BeginUnbond, PauseWorker
from cocoon_sandbox.errors import MessageRejected
from cocoon_sandbox.message import build_external

ANYONE = "anyone"

# Who may change what: message -> actors. ANYONE: it speaks for itself (a signature, a deadline, money).
ALLOWED: dict[str, dict[str, set[str]]] = {
    "escrow": {
        "PostJob": {"client"},
        "BeginClose": {"client"},
        "TopUpEscrow": {ANYONE},
        "ClaimVoucher": {ANYONE},
        "CloseCooperative": {ANYONE},
        "ReleaseChannel": {ANYONE},
        "KeysRenewed": {"worker"},
    },
    "escrow with a job": {
        "BeginClose": {"client"},
        "TopUpEscrow": {ANYONE},
        "ClaimVoucher": {ANYONE},
        "DeliverJob": {ANYONE},
        "RejectJob": {ANYONE},
        "JobRefused": {"worker"},
        "KeysRenewed": {"worker"},
    },
    "escrow with a job after its deadline": {
        "BeginClose": {"client"},
        "TopUpEscrow": {ANYONE},
        "ClaimVoucher": {ANYONE},
        "DeliverJob": {ANYONE},
        "RejectJob": {ANYONE},
        "ExpireJob": {ANYONE},
        "JobRefused": {"worker"},
        "KeysRenewed": {"worker"},
    },
    "escrow after its end": {
        "BeginClose": {"client"},
        "TopUpEscrow": {ANYONE},
        "ClaimVoucher": {ANYONE},
        "FinishClose": {ANYONE},
        "CloseCooperative": {ANYONE},
        "ReleaseChannel": {ANYONE},
        "KeysRenewed": {"worker"},
    },
    "worker": {
        "UpdatePolicy": {"registry"},
        "Attest": {"operator"},
        "SetOffer": {"operator"},
        "PauseWorker": {"operator", "owner"},
        "TopUpStake": {ANYONE},
        "BeginUnbond": {"owner"},
        "ChangeOperator": {"owner"},
        "ApproveMeasurement": {"owner"},
        "CreditVolume": {"escrow"},
        "AdmitJob": {"escrow"},
        "SlashWorker": {"slashing"},
    },
    "worker with a job": {
        "UpdatePolicy": {"registry"},
        "Attest": {"operator"},
        "SetOffer": {"operator"},
        "PauseWorker": {"operator", "owner"},
        "TopUpStake": {ANYONE},
        "BeginUnbond": {"owner"},
        "ChangeOperator": {"owner"},
        "ApproveMeasurement": {"owner"},
        "CreditVolume": {"escrow"},
        "AdmitJob": {"escrow"},
        "SettleJob": {"escrow"},
        "ReportMiss": {"escrow"},
        "SlashWorker": {"slashing"},
    },
    "worker that awaits a verdict": {
        "UpdatePolicy": {"registry"},
        "Attest": {"operator"},
        "SetOffer": {"operator"},
        "PauseWorker": {"operator", "owner"},
        "TopUpStake": {ANYONE},
        "BeginUnbond": {"owner"},
        "ChangeOperator": {"owner"},
        "ApproveMeasurement": {"owner"},
        "CreditVolume": {"escrow"},
        "AdmitJob": {"escrow"},
        "SlashWorker": {"slashing"},
        "QuoteVerified": {"attestation"},
    },
    "paused worker": {
        "UpdatePolicy": {"registry"},
        "Attest": {"operator"},
        "SetOffer": {"operator"},
        "ResumeWorker": {"operator", "owner"},
        "AdmitJob": {"escrow"},
        "TopUpStake": {ANYONE},
        "BeginUnbond": {"owner"},
        "ChangeOperator": {"owner"},
        "ApproveMeasurement": {"owner"},
        "CreditVolume": {"escrow"},
        "SlashWorker": {"slashing"},
    },
    "worker after unbonding": {
        "UpdatePolicy": {"registry"},
        "Attest": {"operator"},
        "SetOffer": {"operator"},
        "TopUpStake": {ANYONE},
        "WithdrawStake": {"owner"},
        "ChangeOperator": {"owner"},
        "ApproveMeasurement": {"owner"},
        "CreditVolume": {"escrow"},
        "SlashWorker": {"slashing"},
    },
    "registry": {
        "RegisterWorker": {ANYONE},
        "ProposeChange": {"governor"},
        "DenyMeasurement": {"governor"},
        "AcceptOwnership": {"heir"},
    },
    "registry with a proposal": {
        "RegisterWorker": {ANYONE},
        "CancelChange": {"governor"},
        "ExecuteChange": {ANYONE},
        "DenyMeasurement": {"governor"},
        "AcceptOwnership": {"heir"},
    },
    "slashing": {},
}


def prepare(channel: Channel, stage: str) -> tuple[Address, list[Struct]]:
    """Bring the contract under test to its stage; its address and every message it understands."""
    world, worker = channel.world, channel.worker
    if stage.startswith("registry"):
        world.adopt(OfferOwnership(actor("heir"))).assert_succeeded()
        if stage == "registry with a proposal":
            world.govern(ProposeChange(1, AllowMeasurement(7).to_cell())).assert_succeeded()
            world.ledger.advance(world.rules.change_delay_sec)
        return world.registry, registry_messages(channel)
    if stage == "slashing":
        return world.slashing, slashing_messages(channel)
    if "with a job" in stage:
        channel.post().assert_succeeded()
    if stage == "escrow with a job after its deadline":
        channel.pass_deadline()
    if stage == "escrow after its end":
        world.ledger.advance(3 * DAY)
    if stage == "worker that awaits a verdict":
        worker.by_operator(worker.quote(key("another session")), worker.attest_fees)
    if stage == "paused worker":
        worker.by_owner(PauseWorker(1)).assert_succeeded()
    if stage == "worker after unbonding":
        worker.by_owner(BeginUnbond(1)).assert_succeeded()
        world.ledger.advance(world.rules.unbonding_sec)
    if stage.startswith("escrow"):
        return channel.address, escrow_messages(channel)
    return worker.address, worker_messages(channel)


def actors(channel: Channel) -> dict[str, Address]:
    world, worker = channel.world, channel.worker
    return {
        "client": channel.client,
        "operator": worker.operator,
        "owner": worker.owner,
        "payout": worker.payout,
        "governor": world.governor,
        "heir": actor("heir"),
        "registry": world.registry,
        "slashing": world.slashing,
        "attestation": world.attestation,
        "worker": worker.address,
        "escrow": channel.address,
        "other escrow": world.deployment.escrow(actor("other"), worker.address),
        "other worker": world.deployment.worker(99),
        "thief": actor("thief"),
    }


@pytest.mark.parametrize("stage", ALLOWED)
def test_only_listed_pairs_change_the_contracts_data(channel: Channel, stage: str) -> None:
    """B.1, A.2, A.3, P-4."""
    world = channel.world
    address, messages = prepare(channel, stage)
    start = world.ledger.snapshot()
    found: dict[str, set[str]] = {}
    cast = actors(channel)
    for body in messages:
        changers = set()
        for name, sender in cast.items():
            world.ledger.restore(start)
            before = world.ledger.account(address)
            world.put(sender, address, body, 20 * TON if stage.startswith("registry") else 2 * TON)
            world.step()
            after = world.ledger.account(address)
            if after.status != before.status or after.data is None or after.data.hash != _hash(before.data):
                changers.add(name)
            else:
                assert after.balance >= before.balance - world.ledger.prices().storage.fee(500, 100_000, 90 * DAY)
        if changers:
            found[type(body).__name__] = {ANYONE} if changers == set(cast) else changers
    world.ledger.restore(start)
    world.ledger.pending.clear()
    assert found == ALLOWED[stage]


def _hash(data: object) -> bytes:
    assert isinstance(data, Cell)
    return bytes(data.hash)


@pytest.mark.parametrize("target", ["registry", "worker", "escrow", "slashing"])
def test_external_messages_are_never_accepted(channel: Channel, target: str) -> None:
    """B.10, A.16: nothing can be burned from outside, by garbage or by a well-formed body."""
    world = channel.world
    address, messages = {
        "registry": (world.registry, registry_messages),
        "worker": (channel.worker.address, worker_messages),
        "escrow": (channel.address, escrow_messages),
        "slashing": (world.slashing, slashing_messages),
    }[target]
    before = world.ledger.account(address).state_hash
    for body in messages(channel):
        with pytest.raises(MessageRejected):
            world.ledger.send(build_external(dst=address, body=body.to_cell()))
    assert world.ledger.account(address).state_hash == before
