"""Messages and storage of the Registry."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from .codec import U16, U32, U64, U256, AnyCell, Bool, IdSet, MaybeCell, Ref, Std, StdOrNone, Struct
from .common import Policy, WorkerRoles
from .escrow import Binding

__all__ = [
    "AcceptOwnership",
    "AllowMeasurement",
    "CancelChange",
    "ChangePolicy",
    "ConfirmBind",
    "DenyMeasurement",
    "ExecuteChange",
    "Measurements",
    "OfferOwnership",
    "Proposal",
    "ProposeChange",
    "RegisterWorker",
    "RegistryStorage",
    "SyncPolicy",
]


@dataclass(frozen=True, slots=True)
class RegisterWorker(Struct, opcode=0xC0C00101):
    query_id: U64
    stake_nano: U64
    bond_nano: U64
    roles: Annotated[WorkerRoles, Ref]


@dataclass(frozen=True, slots=True)
class ConfirmBind(Struct, opcode=0xC0C00102):
    worker_index: U64
    epoch: U64
    escrow: Std
    policy_version: U32
    measurement: U256
    accepted_by_client: Bool
    binding: Annotated[Binding, Ref]


@dataclass(frozen=True, slots=True)
class SyncPolicy(Struct, opcode=0xC0C00103):
    query_id: U64
    worker_index: U64


@dataclass(frozen=True, slots=True)
class ProposeChange(Struct, opcode=0xC0C00110):
    """`change` is the cell of a ChangePolicy, AllowMeasurement or OfferOwnership."""

    query_id: U64
    change: AnyCell


@dataclass(frozen=True, slots=True)
class CancelChange(Struct, opcode=0xC0C00111):
    query_id: U64


@dataclass(frozen=True, slots=True)
class ExecuteChange(Struct, opcode=0xC0C00112):
    query_id: U64


@dataclass(frozen=True, slots=True)
class DenyMeasurement(Struct, opcode=0xC0C00113):
    query_id: U64
    measurement: U256


@dataclass(frozen=True, slots=True)
class AcceptOwnership(Struct, opcode=0xC0C00114):
    query_id: U64


@dataclass(frozen=True, slots=True)
class ChangePolicy(Struct, prefix=(1, 8)):
    policy: Annotated[Policy, Ref]


@dataclass(frozen=True, slots=True)
class AllowMeasurement(Struct, prefix=(2, 8)):
    measurement: U256


@dataclass(frozen=True, slots=True)
class OfferOwnership(Struct, prefix=(3, 8)):
    new_owner: Std


# ---- storage ----


@dataclass(frozen=True, slots=True)
class Measurements(Struct):
    listed_count: U16
    denied_count: U16
    listed: IdSet
    denied: IdSet


@dataclass(frozen=True, slots=True)
class Proposal(Struct):
    executable_at: U32
    change: AnyCell


@dataclass(frozen=True, slots=True)
class RegistryStorage(Struct):
    owner: Std
    proposed_owner: StdOrNone
    next_index: U64
    change_delay_sec: U32
    policy_version: U32
    attestation_required: Bool
    policy: Annotated[Policy, Ref]
    worker_code_hash: U256
    worker_code_depth: U16
    worker_code: AnyCell
    measurements: Annotated[Measurements, Ref]
    proposal: MaybeCell
