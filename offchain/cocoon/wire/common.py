"""Parts that several contracts share: the signed domain, policy, roles, prices, addresses, payments."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import Annotated

from pytoniq_core import Address, Cell, begin_cell

from .codec import I32, U8, U16, U32, U64, U256, Ref, Std, Struct, Text

__all__ = [
    "DOMAIN_TAG",
    "AttestedKeys",
    "Excesses",
    "Kind",
    "ModelTerms",
    "Payment",
    "PaymentReason",
    "Policy",
    "PolicyChildren",
    "SignedDomain",
    "WorkerRoles",
    "child_address",
    "state_init",
]

DOMAIN_TAG = 0x43434E31


class Kind(IntEnum):
    """Kinds of signed statements, see contracts/common/domain.tolk."""

    VOUCHER = 1
    STREAM_RECEIPT = 2
    FORCED_RECEIPT = 3
    REJECTION = 4
    CLOSE = 5
    RELEASE = 7
    REBUILD = 8
    ATTESTATION = 9


@dataclass(frozen=True, slots=True)
class SignedDomain(Struct):
    """What every signature is bound to: kind, network, contract, its incarnation, the key generation."""

    tag: U32
    kind: U8
    global_id: I32
    contract: Std
    epoch: U64
    key_epoch: U32


@dataclass(frozen=True, slots=True)
class PolicyChildren(Struct):
    escrow_code_hash: U256
    escrow_code_depth: U16
    slashing: Std
    attestation_code_hash: U256
    attestation_code_depth: U16


@dataclass(frozen=True, slots=True)
class Policy(Struct):
    """The network's rules; amounts in nanoTON, times in seconds, shares in basis points."""

    version: U32
    min_stake_nano: U64
    min_bond_nano: U64
    miss_penalty_nano: U64
    key_loss_nano: U64
    miss_client_bps: U16
    slash_reporter_bps: U16
    slash_client_bps: U16
    volume_burn_bps: U16
    max_term_sec: U32
    dispute_sec: U32
    grace_sec: U32
    notice_sec: U32
    evidence_sec: U32
    unbonding_sec: U32
    children: Annotated[PolicyChildren, Ref]


@dataclass(frozen=True, slots=True)
class AttestedKeys(Struct):
    """Keys born in the enclave; all 0 before the first verdict."""

    session_key: U256
    hpke_key_hash: U256
    measurement: U256


@dataclass(frozen=True, slots=True)
class WorkerRoles(Struct):
    operator_wallet: Std
    payout: Std
    measurement: U256


@dataclass(frozen=True, slots=True)
class ModelTerms(Struct):
    """Prices in nanoTON per million tokens or work units; the least a forced job pays and waits."""

    prompt_nano: U64
    cached_nano: U64
    completion_nano: U64
    floor_fee_nano: U64
    min_duration_sec: U32


class PaymentReason(StrEnum):
    """What a payment says of itself: the comment that wallets and explorers show."""

    EARNINGS = "Cocoon earnings"
    REFUND = "Cocoon refund"
    MISS_COMPENSATION = "Cocoon missed job"
    KEY_LOSS_COMPENSATION = "Cocoon lost key"
    SLASH_REWARD = "Cocoon slash share"
    WITHDRAWAL = "Cocoon stake"
    BURN = "Cocoon burn"


@dataclass(frozen=True, slots=True)
class Payment(Struct, opcode=0):
    """A text comment; one that is no PaymentReason is somebody's own."""

    reason: Text


@dataclass(frozen=True, slots=True)
class Excesses(Struct, opcode=0xD53276DB):
    query_id: U64


def state_init(code: Cell, data: Cell) -> Cell:
    """StateInit with code and data only."""
    cell: Cell = begin_cell().store_uint(0b00110, 5).store_ref(code).store_ref(data).end_cell()
    return cell


def child_address(code_hash: int, code_depth: int, first_data: Cell) -> Address:
    """Address of a basechain contract from the hash and depth of its code and its first data."""
    data_depth = first_data.get_depth(0)
    body = b"\x02\x01\x34" + code_depth.to_bytes(2, "big") + data_depth.to_bytes(2, "big")
    body += code_hash.to_bytes(32, "big") + first_data.hash
    return Address((0, hashlib.sha256(body).digest()))
