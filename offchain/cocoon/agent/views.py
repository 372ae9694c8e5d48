"""What the agent reads from proven account states and transactions: the two contracts, reduced to what it acts upon."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from pytoniq_core import Address

from ..chain.base import AccountState, ChainTransaction
from ..deployment import Deployment
from ..wire.attestation import AttestationIdentity
from ..wire.codec import read_body
from ..wire.common import ModelTerms, child_address
from ..wire.escrow import Binding, EscrowIdentity, EscrowStorage, JobStatus, KeysRenewed, PostJob
from ..wire.worker import (
    AdmitJob,
    JobOutcome,
    OpenJob,
    RebindEscrow,
    ReportMiss,
    SettleJob,
    WorkerStatus,
    WorkerStorage,
)
from .jobs import JobKey, Outcome
from .journal import Ended

__all__ = ["EscrowView", "WorkerView", "find_post", "read_escrow", "read_worker", "read_worker_transaction"]

_LT_BEFORE = 2  # the message was created one logical time after its transaction began
_OUTCOMES = {
    JobOutcome.DELIVERED: Outcome.DELIVERED,
    JobOutcome.REJECTED: Outcome.REJECTED,
}


@dataclass(frozen=True, slots=True)
class WorkerView:
    """The worker, as of a block."""

    status: WorkerStatus
    operator_wallet: Address
    session_key: int
    hpke_key_hash: int
    key_epoch: int
    lease_end: int
    attestation: Address  # whose verdicts this worker takes
    attest_seq: int
    block_seqno: int  # the next quote must name a later masterchain block
    approved_measurement: int  # by the owner: of the only software whose keys are taken
    forced_slots: int
    models: dict[int, ModelTerms]
    open_jobs: dict[int, OpenJob]  # by account id of the escrow


@dataclass(frozen=True, slots=True)
class EscrowView:
    """One escrow with its forced job, as of a block."""

    epoch: int
    seq: int
    is_open: bool  # not yet delivered, rejected or expired
    request_digest: int
    max_fee_nano: int
    deadline: int
    binding: Binding | None
    identity: EscrowIdentity


def read_worker(account: AccountState) -> WorkerView | None:
    """None if it is not there or not initialised. WireError if its data is of another version."""
    if account.data is None or not account.data.refs:
        return None
    found = WorkerStorage.from_cell(account.data)
    keys, children = found.people.keys, found.policy.children
    attestation = AttestationIdentity(found.registry).to_cell()
    return WorkerView(
        status=WorkerStatus(found.status),
        operator_wallet=found.people.operator_wallet,
        session_key=keys.session_key,
        hpke_key_hash=keys.hpke_key_hash,
        key_epoch=found.key_epoch,
        lease_end=found.lease_end,
        attestation=child_address(children.attestation_code_hash, children.attestation_code_depth, attestation),
        attest_seq=found.people.attest_seq,
        block_seqno=found.people.block_seqno,
        approved_measurement=found.people.slashable.measurement,
        forced_slots=found.forced_slots,
        models=found.models,
        open_jobs=found.open_jobs,
    )


def read_escrow(account: AccountState) -> EscrowView | None:
    """None if it is not open. WireError if its data is of another version."""
    if account.data is None or not account.data.refs:
        return None
    found = EscrowStorage.from_cell(account.data)
    return EscrowView(
        epoch=found.epoch,
        seq=found.job_seq,
        is_open=found.job_status == JobStatus.OPEN,
        request_digest=found.job_request_digest,
        max_fee_nano=found.job_max_fee_nano,
        deadline=found.job_deadline,
        binding=found.binding,
        identity=found.identity,
    )


def read_worker_transaction(
    transaction: ChainTransaction, deployment: Deployment, worker: Address
) -> JobKey | Ended | None:
    """The job this transaction admitted, or the end of one, if it did either.

    An admission says for whom it speaks: the escrow's address is recomputed, because the agent will believe the state
    found there. An end does not; it counts for a job that was admitted for the same sender, and for nothing else.
    """
    message = transaction.in_msg
    if message is None or message.kind != "internal" or message.bounced or message.src is None:
        return None
    if transaction.aborted or transaction.exit_code != 0:
        return None
    admission = read_body(message.body, AdmitJob)
    if admission is not None:
        # the contract answers only to refuse
        if transaction.out_msgs or message.src != deployment.escrow(admission.client, worker, admission.salt):
            return None
        return JobKey(message.src, admission.epoch, admission.seq, message.created_lt - _LT_BEFORE)
    settled = read_body(message.body, SettleJob)
    if settled is not None:
        return Ended(message.src, settled.epoch, settled.seq, _OUTCOMES[JobOutcome(settled.outcome)])
    rebound = read_body(message.body, RebindEscrow)
    if rebound is not None:
        given = any(read_body(sent.body, KeysRenewed) is not None for sent in transaction.out_msgs)
        return Ended(message.src, rebound.epoch, rebound.open_seq, Outcome.KEY_LOST) if given else None
    missed = read_body(message.body, ReportMiss)
    return None if missed is None else Ended(message.src, missed.epoch, missed.seq, Outcome.MISSED)


def find_post(transactions: Iterable[ChainTransaction], key: JobKey, worker: Address) -> PostJob | None:
    """The PostJob whose transaction asked the worker for exactly this admission."""
    for transaction in transactions:
        for out in transaction.out_msgs:
            admission = read_body(out.body, AdmitJob) if out.dst == worker else None
            if admission is not None and (admission.epoch, admission.seq) == (key.epoch, key.seq):
                return None if transaction.in_msg is None else read_body(transaction.in_msg.body, PostJob)
    return None
