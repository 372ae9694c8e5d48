"""Messages and storage of the Registry."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

from .attestation import AttestationPolicy
from .codec import U8, U16, U32, U64, U256, AnyCell, Bool, IdSet, MaybeCell, Ref, SignatureDict, Std, StdOrNone, Struct
from .common import Policy, SignedDomain, WorkerRoles
from .escrow import Binding

__all__ = [
    "AcceptOwnership",
    "AllowMeasurement",
    "CancelChange",
    "ChangeAttestationPolicy",
    "ChangePolicy",
    "ChangeRebuilders",
    "ConfirmBind",
    "DenyMeasurement",
    "ExecuteChange",
    "Measurements",
    "OfferOwnership",
    "Proposal",
    "ProposeChange",
    "RebuildStatement",
    "Rebuilders",
    "RegisterWorker",
    "RegistryStorage",
    "SyncAttestation",
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
class SyncAttestation(Struct, opcode=0xC0C00104):
    query_id: U64


@dataclass(frozen=True, slots=True)
class ProposeChange(Struct, opcode=0xC0C00110):
    """`change` is the cell of a ChangePolicy, AllowMeasurement, OfferOwnership, ChangeRebuilders or
    ChangeAttestationPolicy.
    """

    query_id: U64
    change: AnyCell


@dataclass(frozen=True, slots=True)
class CancelChange(Struct, opcode=0xC0C00111):
    query_id: U64


@dataclass(frozen=True, slots=True)
class ExecuteChange(Struct, opcode=0xC0C00112):
    """`rebuilds`: rebuilders' keys and their signatures over a RebuildStatement; empty but for AllowMeasurement."""

    query_id: U64
    rebuilds: SignatureDict = field(default_factory=dict)


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


@dataclass(frozen=True, slots=True)
class Rebuilders(Struct):
    """`threshold` of these keys must have signed a measurement before it can be allowed."""

    threshold: U8
    keys: IdSet


@dataclass(frozen=True, slots=True)
class ChangeRebuilders(Struct, prefix=(4, 8)):
    rebuilders: Annotated[Rebuilders, Ref]


@dataclass(frozen=True, slots=True)
class ChangeAttestationPolicy(Struct, prefix=(5, 8)):
    policy: Annotated[AttestationPolicy, Ref]


@dataclass(frozen=True, slots=True)
class RebuildStatement(Struct):
    """What a rebuilder signs: domain kind REBUILD of this registry, epoch 0, key epoch 0."""

    domain: SignedDomain
    measurement: U256


# ---- storage ----


@dataclass(frozen=True, slots=True)
class Measurements(Struct):
    listed_count: U16
    denied_count: U16
    listed: IdSet
    denied: IdSet
    rebuilders: Annotated[Rebuilders, Ref]
    attestation: Annotated[AttestationPolicy, Ref]


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
    policy: Annotated[Policy, Ref]
    worker_code_hash: U256
    worker_code_depth: U16
    worker_code: AnyCell
    measurements: Annotated[Measurements, Ref]
    proposal: MaybeCell
