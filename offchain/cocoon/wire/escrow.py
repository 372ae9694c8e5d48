"""Messages and storage of the Escrow, and the statements signed for one."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Annotated

from .codec import U8, U16, U32, U64, U256, AnyCell, Bits512, Bool, MaybeU256, Ref, Std, Struct
from .common import AttestedKeys, ModelTerms, SignedDomain

__all__ = [
    "BeginClose",
    "BindConfirmed",
    "BindRefusal",
    "BindRefused",
    "Binding",
    "CancelOpen",
    "ClaimVoucher",
    "CloseCooperative",
    "CloseStatement",
    "CountVolume",
    "DeliverJob",
    "EscrowIdentity",
    "EscrowStatus",
    "EscrowStorage",
    "ExpireJob",
    "FinishClose",
    "JobRefusal",
    "JobRefused",
    "JobStatus",
    "KeysRenewed",
    "MissRecorded",
    "OpenEscrow",
    "PostJob",
    "RebindChannel",
    "Receipt",
    "ReceiptDisclosure",
    "ReceiptOutcome",
    "RejectJob",
    "RejectReason",
    "RejectionStatement",
    "ReleaseChannel",
    "ReleaseStatement",
    "RetryReport",
    "Signature",
    "SignedReceipt",
    "TopUpEscrow",
    "VoucherStatement",
]


# ---- statements ----


@dataclass(frozen=True, slots=True)
class ReceiptDisclosure(Struct):
    usage_commitment: U256
    measurement: U256


@dataclass(frozen=True, slots=True)
class ReceiptOutcome(Struct):
    response_digest: U256
    model_id: U256
    disclosure: Annotated[ReceiptDisclosure, Ref]


@dataclass(frozen=True, slots=True)
class Receipt(Struct):
    """What a worker signs for one response; digests are hashes of the ciphertext cells."""

    domain: SignedDomain
    seq: U32
    fee_nano: U64
    issued_at: U32
    request_digest: U256
    outcome: Annotated[ReceiptOutcome, Ref]


@dataclass(frozen=True, slots=True)
class SignedReceipt(Struct):
    receipt: Annotated[Receipt, Ref]
    signature: Bits512


@dataclass(frozen=True, slots=True)
class Signature(Struct):
    value: Bits512


@dataclass(frozen=True, slots=True)
class VoucherStatement(Struct):
    domain: SignedDomain
    cumulative_nano: U64
    receipt_chain: U256


@dataclass(frozen=True, slots=True)
class RejectionStatement(Struct):
    domain: SignedDomain
    seq: U32
    request_digest: U256
    reason: U8


@dataclass(frozen=True, slots=True)
class CloseStatement(Struct):
    domain: SignedDomain
    cumulative_nano: U64


@dataclass(frozen=True, slots=True)
class ReleaseStatement(Struct):
    """The worker's word that it wants no more of the deposit once `claimed_nano` has been paid."""

    domain: SignedDomain
    claimed_nano: U64


class RejectReason(IntEnum):
    UNDECRYPTABLE = 1
    MALFORMED = 2
    TOO_LONG = 3
    UNKNOWN_MODEL = 4
    FEE_TOO_LOW = 5


# ---- from the client ----


@dataclass(frozen=True, slots=True)
class OpenEscrow(Struct, opcode=0xC0C00301):
    query_id: U64
    client_key: U256
    deposit_nano: U64
    model_id: U256
    term_sec: U32
    accepted_measurement: MaybeU256
    max_prices: Annotated[ModelTerms, Ref]


@dataclass(frozen=True, slots=True)
class PostJob(Struct, opcode=0xC0C00303):
    query_id: U64
    max_fee_nano: U64
    duration_sec: U32
    request: AnyCell


@dataclass(frozen=True, slots=True)
class BeginClose(Struct, opcode=0xC0C00308):
    query_id: U64


@dataclass(frozen=True, slots=True)
class CancelOpen(Struct, opcode=0xC0C0030B):
    query_id: U64


@dataclass(frozen=True, slots=True)
class RebindChannel(Struct, opcode=0xC0C0030C):
    query_id: U64
    measurement: U256


# ---- from anyone ----


@dataclass(frozen=True, slots=True)
class TopUpEscrow(Struct, opcode=0xC0C00302):
    query_id: U64


@dataclass(frozen=True, slots=True)
class ClaimVoucher(Struct, opcode=0xC0C00304):
    query_id: U64
    key_epoch: U32
    cumulative_nano: U64
    receipt_chain: U256
    excess_to_payout: Bool
    signature: Bits512


@dataclass(frozen=True, slots=True)
class DeliverJob(Struct, opcode=0xC0C00305):
    query_id: U64
    excess_to_payout: Bool
    signed: SignedReceipt
    response: AnyCell


@dataclass(frozen=True, slots=True)
class RejectJob(Struct, opcode=0xC0C00306):
    query_id: U64
    seq: U32
    reason: U8
    signature: Bits512


@dataclass(frozen=True, slots=True)
class ExpireJob(Struct, opcode=0xC0C00307):
    query_id: U64


@dataclass(frozen=True, slots=True)
class RetryReport(Struct, opcode=0xC0C0030D):
    query_id: U64


@dataclass(frozen=True, slots=True)
class FinishClose(Struct, opcode=0xC0C00309):
    query_id: U64


@dataclass(frozen=True, slots=True)
class CloseCooperative(Struct, opcode=0xC0C0030A):
    query_id: U64
    cumulative_nano: U64
    client_signature: Bits512
    worker_signature: Annotated[Signature, Ref]


@dataclass(frozen=True, slots=True)
class ReleaseChannel(Struct, opcode=0xC0C0030E):
    query_id: U64
    claimed_nano: U64
    signature: Bits512


@dataclass(frozen=True, slots=True)
class CountVolume(Struct, opcode=0xC0C0030F):
    query_id: U64


# ---- from the Registry and the Worker ----


@dataclass(frozen=True, slots=True)
class Binding(Struct):
    """What a channel relies on about its worker, fixed when it was bound but for keys, key epoch and lease end.

    Prices are per million tokens or work units.
    """

    key_epoch: U32
    lease_end: U32
    model_id: U256
    channel_end: U32
    payout: Std
    grace_sec: U32
    dispute_sec: U32
    min_duration_sec: U32
    floor_fee_nano: U64
    prompt_nano: U64
    cached_nano: U64
    completion_nano: U64
    volume_burn_bps: U16
    keys: Annotated[AttestedKeys, Ref]

    @property
    def terms(self) -> ModelTerms:
        """The prices this channel is bound to, which a later offer does not change."""
        return ModelTerms(
            self.prompt_nano, self.cached_nano, self.completion_nano, self.floor_fee_nano, self.min_duration_sec
        )


@dataclass(frozen=True, slots=True)
class BindConfirmed(Struct, opcode=0xC0C00310):
    epoch: U64
    binding: Annotated[Binding, Ref]


class BindRefusal(IntEnum):
    NOT_ACTIVE = 1
    LEASE_EXPIRED = 2
    BOND_TOO_LOW = 3
    UNKNOWN_MODEL = 4
    PRICE_TOO_HIGH = 5
    TERM_TOO_LONG = 6
    MEASUREMENT_NOT_ACCEPTED = 7
    POLICY_OUTDATED = 8
    MEASUREMENT_DENIED = 9
    MEASUREMENT_NOT_LISTED = 10
    REGISTRY_FAILED = 11
    KEYS_CURRENT = 12


@dataclass(frozen=True, slots=True)
class BindRefused(Struct, opcode=0xC0C00311):
    epoch: U64
    reason: U8


class JobRefusal(IntEnum):
    NOT_ACTIVE = 1
    LEASE_EXPIRED = 2
    NO_FREE_SLOT = 3
    BOND_TOO_LOW = 4
    TOO_LATE = 5
    KEY_REPLACED = 6


@dataclass(frozen=True, slots=True)
class JobRefused(Struct, opcode=0xC0C00313):
    epoch: U64
    seq: U32
    reason: U8


@dataclass(frozen=True, slots=True)
class MissRecorded(Struct, opcode=0xC0C00314):
    epoch: U64
    seq: U32


@dataclass(frozen=True, slots=True)
class KeysRenewed(Struct, opcode=0xC0C00315):
    epoch: U64
    key_epoch: U32
    lease_end: U32
    keys: Annotated[AttestedKeys, Ref]


# ---- storage ----


@dataclass(frozen=True, slots=True)
class EscrowIdentity(Struct):
    """First data of an escrow: what its address commits to."""

    registry: Std
    client: Std
    worker: Std
    salt: U64


class EscrowStatus(IntEnum):
    OPENING = 1
    ACTIVE = 2
    CLOSING = 3


class JobStatus(IntEnum):
    NONE = 0
    OPEN = 1
    MISSED = 2


@dataclass(frozen=True, slots=True)
class EscrowStorage(Struct):
    """Owes besides rent: deposit_nano - claimed_nano + job_funds_nano."""

    deposit_nano: U64
    claimed_nano: U64
    counted_nano: U64
    status: U8
    deadline: U32
    job_status: U8
    job_seq: U32
    job_deadline: U32
    job_funds_nano: U64
    job_max_fee_nano: U64
    job_request_digest: U256
    binding: Annotated[Binding | None, Ref]
    epoch: U64
    client_key: U256
    identity: Annotated[EscrowIdentity, Ref]
