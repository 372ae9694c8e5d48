"""Messages and storage of the Worker."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Annotated

from .attestation import QuoteEvidence
from .codec import (
    U8,
    U16,
    U32,
    U64,
    U256,
    AnyCell,
    MaybeU256,
    Ref,
    Std,
    StdOrNone,
    Struct,
    StructDict,
    UintDict,
)
from .common import AttestedKeys, ModelTerms, Policy, WorkerRoles

__all__ = [
    "AdmitJob",
    "AdoptSlashing",
    "ApproveMeasurement",
    "Attest",
    "BeginUnbond",
    "BindEscrow",
    "ChangeOperator",
    "CreditVolume",
    "InitWorker",
    "JobOutcome",
    "OpenJob",
    "PauseWorker",
    "RebindEscrow",
    "ReportMiss",
    "ResumeWorker",
    "SetOffer",
    "SettleJob",
    "SlashWorker",
    "SlashableKeys",
    "TopUpStake",
    "UpdatePolicy",
    "WithdrawStake",
    "WorkerIdentityData",
    "WorkerPeople",
    "WorkerStatus",
    "WorkerStorage",
]


@dataclass(frozen=True, slots=True)
class InitWorker(Struct, opcode=0xC0C00201):
    query_id: U64
    owner: Std
    stake_nano: U64
    bond_nano: U64
    roles: Annotated[WorkerRoles, Ref]
    policy: Annotated[Policy, Ref]


@dataclass(frozen=True, slots=True)
class UpdatePolicy(Struct, opcode=0xC0C00202):
    query_id: U64
    policy: Annotated[Policy, Ref]


@dataclass(frozen=True, slots=True)
class Attest(Struct, opcode=0xC0C00203):
    """The keys of an enclave and the quote that vouches for them; `endpoint` is a blob of text."""

    query_id: U64
    session_key: U256
    gpu_evidence_digest: U256
    hpke_key: AnyCell
    endpoint: AnyCell
    evidence: Annotated[QuoteEvidence, Ref]


@dataclass(frozen=True, slots=True)
class SetOffer(Struct, opcode=0xC0C00204):
    query_id: U64
    forced_slots: U8
    models: Annotated[dict[int, ModelTerms], StructDict(256)]


@dataclass(frozen=True, slots=True)
class PauseWorker(Struct, opcode=0xC0C00205):
    query_id: U64


@dataclass(frozen=True, slots=True)
class ResumeWorker(Struct, opcode=0xC0C00206):
    query_id: U64


@dataclass(frozen=True, slots=True)
class TopUpStake(Struct, opcode=0xC0C00207):
    query_id: U64
    stake_nano: U64
    bond_nano: U64


@dataclass(frozen=True, slots=True)
class BeginUnbond(Struct, opcode=0xC0C00208):
    query_id: U64


@dataclass(frozen=True, slots=True)
class WithdrawStake(Struct, opcode=0xC0C00209):
    query_id: U64


@dataclass(frozen=True, slots=True)
class ChangeOperator(Struct, opcode=0xC0C0020A):
    query_id: U64
    operator_wallet: Std


@dataclass(frozen=True, slots=True)
class AdoptSlashing(Struct, opcode=0xC0C0020B):
    query_id: U64
    slashing: Std


@dataclass(frozen=True, slots=True)
class ApproveMeasurement(Struct, opcode=0xC0C0020C):
    query_id: U64
    measurement: U256


@dataclass(frozen=True, slots=True)
class BindEscrow(Struct, opcode=0xC0C00210):
    epoch: U64
    client: Std
    salt: U64
    model_id: U256
    term_sec: U32
    accepted_measurement: MaybeU256
    max_prices: Annotated[ModelTerms, Ref]


@dataclass(frozen=True, slots=True)
class AdmitJob(Struct, opcode=0xC0C00211):
    epoch: U64
    seq: U32
    latest_admission: U32
    key_epoch: U32
    client: Std
    salt: U64


class JobOutcome(IntEnum):
    DELIVERED = 1
    REJECTED = 2


@dataclass(frozen=True, slots=True)
class SettleJob(Struct, opcode=0xC0C00212):
    epoch: U64
    seq: U32
    outcome: U8


@dataclass(frozen=True, slots=True)
class ReportMiss(Struct, opcode=0xC0C00213):
    epoch: U64
    seq: U32
    client: Std


@dataclass(frozen=True, slots=True)
class RebindEscrow(Struct, opcode=0xC0C00215):
    epoch: U64
    client: Std
    salt: U64
    key_epoch: U32
    open_seq: U32
    measurement: U256


@dataclass(frozen=True, slots=True)
class CreditVolume(Struct, opcode=0xC0C00216):
    client: Std
    salt: U64
    volume_nano: U64


@dataclass(frozen=True, slots=True)
class SlashWorker(Struct, opcode=0xC0C00214):
    query_id: U64
    session_key: U256
    reporter: Std
    client: Std


# ---- storage ----


class WorkerStatus(IntEnum):
    PENDING = 1
    ACTIVE = 2
    PAUSED = 3
    UNBONDING = 4
    CLOSED = 5
    JAILED = 6


@dataclass(frozen=True, slots=True)
class WorkerIdentityData(Struct):
    """First data of a worker: what its address commits to."""

    registry: Std
    index: U64


@dataclass(frozen=True, slots=True)
class OpenJob(Struct):
    epoch: U64
    seq: U32
    lapses_at: U32


@dataclass(frozen=True, slots=True)
class SlashableKeys(Struct):
    slashing: Std
    measurement: U256
    adopted: StdOrNone
    old_keys: UintDict


@dataclass(frozen=True, slots=True)
class WorkerPeople(Struct):
    index: U64
    owner: Std
    operator_wallet: Std
    payout: Std
    attest_seq: U64
    block_seqno: U32
    tcb_date: U32
    keys: Annotated[AttestedKeys, Ref]
    awaited: Annotated[AttestedKeys | None, Ref]
    slashable: Annotated[SlashableKeys, Ref]


@dataclass(frozen=True, slots=True)
class WorkerStorage(Struct):
    open_jobs: Annotated[dict[int, OpenJob], StructDict(256)]
    open_count: U8
    jobs: U32
    bond_nano: U64
    misses: U32
    rejections: U32
    key_losses: U32
    volume_nano: U64
    status: U8
    forced_slots: U8
    lease_end: U32
    key_epoch: U32
    stake_nano: U64
    notice_end: U32
    unbond_at: U32
    models: Annotated[dict[int, ModelTerms], StructDict(256)]
    policy: Annotated[Policy, Ref]
    people: Annotated[WorkerPeople, Ref]
    registry: Std
    escrow_code_hash: U256
    escrow_code_depth: U16
