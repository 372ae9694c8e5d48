"""Flows of a worker's life, of governance and of slashing."""

from __future__ import annotations

from dataclasses import replace

from actors import actor
from channel_flows import opened
from recording import Recorder
from world import MODEL, TERMS, TON, WorkerSide

from cocoon.bench.attesting import Enclave
from cocoon.wire.registry import (
    AcceptOwnership,
    AllowMeasurement,
    CancelChange,
    ChangeAttestationPolicy,
    ChangePolicy,
    DenyMeasurement,
    OfferOwnership,
    ProposeChange,
)
from cocoon.wire.slashing import SubmitEquivocation
from cocoon.wire.worker import (
    AdoptSlashing,
    ApproveMeasurement,
    BeginUnbond,
    ChangeOperator,
    PauseWorker,
    ResumeWorker,
    SetOffer,
    TopUpStake,
    WithdrawStake,
)
from cocoon_sandbox.config import SANDBOX_GLOBAL_ID


def register(recorder: Recorder) -> None:
    """Stake, bond and prepaid rent become a contract of the worker's own."""
    world = recorder.world
    for who in ("Owner", "Operator", "Payout"):
        recorder.name(actor(f"worker {who.lower()}"), who)
    recorder.name(world.deployment.worker(0), "Worker")
    body = world.registration()
    value = body.stake_nano + body.bond_nano + world.registry_fees[0]
    recorder.record(world.send(actor("worker owner"), world.registry, body, value)).assert_succeeded()


def enrolled(recorder: Recorder, documents: int = 6) -> tuple[Enclave, WorkerSide]:
    """An enclave whose root the network names, with so many of its documents posted, and a worker that runs it."""
    world = recorder.world
    enclave = Enclave(world.ledger, SANDBOX_GLOBAL_ID)
    demands = world.attestation_policy(2, root_key_x=enclave.root_x, root_key_y=enclave.root_y, accepted_statuses=1)
    world.adopt(ChangeAttestationPolicy(demands)).assert_succeeded()
    world.sync_attestation().assert_succeeded()
    for document in enclave.collateral()[:documents]:
        world.send(actor("poster"), world.attestation, document, TON).assert_succeeded()
    worker = recorder.know(world.register())
    worker.by_owner(ApproveMeasurement(1, enclave.measurement)).assert_succeeded()
    recorder.name(world.attestation, "Attestation")
    recorder.name(world.deployment.tcb_store(enclave.fmspc), "TcbStore")
    return enclave, worker


def collateral(recorder: Recorder) -> None:
    """What Intel publishes, by anyone: it counts because Intel signed it. The rest of the value comes back."""
    enclave, _ = enrolled(recorder, documents=0)
    recorder.name(actor("poster"), "Anyone")
    for document in enclave.collateral():
        recorder.record(recorder.world.send(actor("poster"), recorder.world.attestation, document, TON // 10))


def attest_and_offer(recorder: Recorder) -> None:
    """The chain verifies the enclave's quote, and only then there are keys; the operator names models and prices."""
    enclave, worker = enrolled(recorder)
    quote = enclave.attest(recorder.world.registry, worker.address, 1, worker.session.public, worker.hpke)
    recorder.record(worker.by_operator(quote, worker.attest_fees)).assert_succeeded()
    recorder.record(worker.by_operator(SetOffer(2, 2, {MODEL: TERMS}))).assert_succeeded()


def refused_quote(recorder: Recorder) -> None:
    """At once, or by the store of the platform's family, which nobody has posted TCB info to: nothing has changed, the
    change goes to the operator."""
    enclave, worker = enrolled(recorder, documents=5)
    recorder.record(worker.by_operator(worker.quote(), worker.attest_fees))
    quote = enclave.attest(recorder.world.registry, worker.address, 2, worker.session.public, worker.hpke)
    recorder.record(worker.by_operator(quote, worker.attest_fees))


def attestation_policy(recorder: Recorder) -> None:
    """What an enclave must satisfy changes like every other rule; anyone brings it to Attestation."""
    world = recorder.world
    world.adopt(ChangeAttestationPolicy(world.attestation_policy(2, accepted_statuses=1))).assert_succeeded()
    recorder.name(world.attestation, "Attestation")
    recorder.record(world.sync_attestation()).assert_succeeded()


def governance(recorder: Recorder) -> None:
    """Allowing waits, and needs rebuilders; cancelling and denying don't."""
    world = recorder.world
    recorder.name(world.governor, "Owner")
    recorder.record(world.govern(ProposeChange(1, AllowMeasurement(7).to_cell()))).assert_succeeded()
    recorder.note("the public delay")
    world.ledger.advance(world.rules.change_delay_sec)
    recorder.record(world.execute(world.rebuilds(7))).assert_succeeded()
    recorder.record(world.govern(ProposeChange(2, AllowMeasurement(8).to_cell()))).assert_succeeded()
    recorder.record(world.govern(CancelChange(3))).assert_succeeded()
    recorder.record(world.govern(DenyMeasurement(4, 7))).assert_succeeded()


def ownership(recorder: Recorder) -> None:
    """Offered after the delay, and accepted."""
    world, heir = recorder.world, actor("heir")
    recorder.name(world.governor, "Owner")
    recorder.name(heir, "Heir")
    recorder.record(world.govern(ProposeChange(1, OfferOwnership(heir).to_cell()))).assert_succeeded()
    recorder.note("the public delay")
    world.ledger.advance(world.rules.change_delay_sec)
    recorder.record(world.execute()).assert_succeeded()
    recorder.record(world.send(heir, world.registry, AcceptOwnership(2), world.registry_fees[2])).assert_succeeded()


def policy(recorder: Recorder) -> None:
    """Pushed by anyone."""
    world = recorder.world
    worker = recorder.know(world.active_worker())
    world.adopt(ChangePolicy(world.policy(2, grace_sec=90))).assert_succeeded()
    recorder.record(world.sync(worker)).assert_succeeded()


def slash(recorder: Recorder) -> None:
    """Two receipts for one sequence number; reported again, the value comes back."""
    channel = opened(recorder)
    world, worker = recorder.world, channel.worker
    identity = world.deployment.escrow_identity(channel.client, worker.address)
    receipts = [channel.receipt(fee_nano=fee) for fee in (1, 2)]
    recorder.name(actor("reporter"), "Reporter")
    evidence = SubmitEquivocation(1, worker.session.public, identity, *receipts)
    recorder.record(world.send(actor("reporter"), world.slashing, evidence, world.evidence_fees)).assert_succeeded()
    recorder.record(world.send(actor("reporter"), world.slashing, evidence, world.evidence_fees))


def manage(recorder: Recorder) -> None:
    """Pause, resume, more stake and bond, another operator, another measurement."""
    worker = recorder.know(recorder.world.active_worker())
    recorder.record(worker.by_operator(PauseWorker(1))).assert_succeeded()
    recorder.record(worker.by_operator(ResumeWorker(2))).assert_succeeded()
    recorder.record(worker.by_owner(TopUpStake(3, TON, TON), 2 * TON + worker.manage_fees)).assert_succeeded()
    recorder.record(worker.by_owner(ChangeOperator(4, actor("new operator")))).assert_succeeded()
    recorder.record(worker.by_owner(ApproveMeasurement(5, 7))).assert_succeeded()


def adopt(recorder: Recorder) -> None:
    """Only the owner lets another Slashing contract judge its worker."""
    world = recorder.world
    worker = recorder.know(world.active_worker())
    known = world.policy(2)
    policy = replace(known, children=replace(known.children, slashing=actor("later Slashing")))
    world.adopt(ChangePolicy(policy)).assert_succeeded()
    recorder.record(world.sync(worker)).assert_succeeded()
    recorder.record(worker.by_owner(AdoptSlashing(1, actor("later Slashing")))).assert_succeeded()


def leave(recorder: Recorder) -> None:
    """Nothing but time is in the way."""
    worker = recorder.know(recorder.world.active_worker())
    recorder.record(worker.by_owner(BeginUnbond(1))).assert_succeeded()
    recorder.note("the unbonding time, in which the stake can still be slashed")
    recorder.world.ledger.advance(recorder.world.rules.unbonding_sec)
    recorder.record(worker.by_owner(WithdrawStake(2))).assert_succeeded()
