"""Messages, evidence and storage of Attestation and its TcbStores."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Annotated

from .codec import (
    I32,
    U8,
    U16,
    U32,
    U48,
    U64,
    U128,
    U160,
    U256,
    AnyCell,
    Bits16,
    Bits128,
    Bits160,
    Bits256,
    Bits512,
    Maybe,
    MaybeCell,
    Ref,
    Std,
    Struct,
)
from .common import AttestedKeys

__all__ = [
    "AttestationIdentity",
    "AttestationPolicy",
    "AttestationStorage",
    "AttestedPlatform",
    "Authority",
    "CrlIssuer",
    "JudgePlatform",
    "P256Hint",
    "PckAuthority",
    "PlatformJudged",
    "PostCertificate",
    "PostCrl",
    "PostQeIdentity",
    "PostTcbInfo",
    "QeIdentityDigits",
    "QeIdentityHints",
    "QeIdentityNumbers",
    "QuoteEvidence",
    "QuoteRefused",
    "QuoteVerified",
    "RevocationListState",
    "SharedCollateral",
    "SignedDocument",
    "StoreTcb",
    "SvnLevelHint",
    "SvnLevelNumbers",
    "TcbInfoHints",
    "TcbLevelHint",
    "TcbLevelNumbers",
    "TcbSet",
    "TcbStatusCode",
    "TcbStoreIdentity",
    "TcbStoreStorage",
    "TdxModuleHint",
    "UpdateAttestationPolicy",
    "VerifyQuote",
]


class TcbStatusCode(IntEnum):
    """TCB statuses as the contracts number them."""

    UP_TO_DATE = 0
    SW_HARDENING_NEEDED = 1
    CONFIGURATION_NEEDED = 2
    CONFIGURATION_AND_SW_HARDENING_NEEDED = 3
    OUT_OF_DATE = 4
    OUT_OF_DATE_CONFIGURATION_NEEDED = 5
    REVOKED = 6


class CrlIssuer(IntEnum):
    """Who issues a revocation list; the latter two also issue PCK certificates."""

    ROOT = 0
    PLATFORM_CA = 1
    PROCESSOR_CA = 2


# ---- evidence ----


@dataclass(frozen=True, slots=True)
class P256Hint(Struct):
    c: U256
    c_x: U256
    slope: U256


@dataclass(frozen=True, slots=True)
class SignedDocument(Struct):
    """`text` is a chain of `cells` cells, or (0) a tree of fixed layout."""

    cells: U8
    signature: Bits512
    hint: Annotated[P256Hint, Ref]
    text: AnyCell


@dataclass(frozen=True, slots=True)
class QuoteEvidence(Struct):
    attestation_key_x: U256
    attestation_key_y: U256
    evaluation_number: U32
    block_seqno: U32
    issuer: U8
    report: Annotated[SignedDocument, Ref]
    enclave: Annotated[SignedDocument, Ref]
    certificate: Annotated[SignedDocument, Ref]


# ---- collateral in numbers ----


@dataclass(frozen=True, slots=True)
class QeIdentityNumbers(Struct):
    evaluation_number: U32
    issue_date: U32
    next_update: U32
    misc_select: U32
    misc_select_mask: U32
    attributes: U128
    attributes_mask: U128
    mr_signer: U256
    isv_prod_id: U16
    levels: AnyCell


@dataclass(frozen=True, slots=True)
class SvnLevelNumbers(Struct):
    module: U8
    isv_svn: U16
    status: U8


@dataclass(frozen=True, slots=True)
class TcbSet(Struct):
    evaluation_number: U32
    issue_date: U32
    next_update: U32
    pce_id: U16
    modules: MaybeCell
    levels: AnyCell


@dataclass(frozen=True, slots=True)
class TcbLevelNumbers(Struct):
    sgx_components: U128
    tdx_components: U128
    pce_svn: U16
    status: U8
    tcb_date: U32
    next: MaybeCell


# ---- what the numbers do not say of a document: its text, without the numbers ----


@dataclass(frozen=True, slots=True)
class SvnLevelHint(Struct):
    date: Bits160
    advisories: MaybeCell
    next: MaybeCell


@dataclass(frozen=True, slots=True)
class QeIdentityDigits(Struct):
    attributes_mask: Bits256
    mr_signer: Bits512


@dataclass(frozen=True, slots=True)
class QeIdentityHints(Struct):
    issue_date: Bits160
    next_update: Bits160
    misc_select: Bits128
    attributes: Bits256
    more: Annotated[QeIdentityDigits, Ref]
    levels: AnyCell


@dataclass(frozen=True, slots=True)
class TdxModuleHint(Struct):
    version: Bits16
    levels: AnyCell
    next: MaybeCell


@dataclass(frozen=True, slots=True)
class TcbLevelHint(Struct):
    date: Bits160
    sgx_texts: AnyCell
    tdx_texts: AnyCell
    advisories: MaybeCell
    next: MaybeCell


@dataclass(frozen=True, slots=True)
class TcbInfoHints(Struct):
    issue_date: Bits160
    next_update: Bits160
    platform: Bits128
    modules: MaybeCell
    levels: AnyCell


# ---- policy ----


@dataclass(frozen=True, slots=True)
class AttestationPolicy(Struct):
    """Attributes have the byte order of a TD report: its eight bytes read as one big-endian number."""

    version: U32
    root_key_x: U256
    root_key_y: U256
    accepted_statuses: U8
    required_attributes: U64
    forbidden_attributes: U64
    min_evaluation_number: U32
    max_block_age: U32
    lease_sec: U32
    store_code: AnyCell


@dataclass(frozen=True, slots=True)
class UpdateAttestationPolicy(Struct, opcode=0xC0C00601):
    query_id: U64
    policy: Annotated[AttestationPolicy, Ref]


# ---- quotes ----


@dataclass(frozen=True, slots=True)
class VerifyQuote(Struct, opcode=0xC0C00602):
    attest_seq: U64
    session_key: U256
    hpke_key_hash: U256
    gpu_evidence_digest: U256
    evidence: Annotated[QuoteEvidence, Ref]


@dataclass(frozen=True, slots=True)
class AttestedPlatform(Struct):
    pck_key_hash: U256
    gpu_evidence_digest: U256
    evaluation_number: U32
    block_seqno: U32
    lease_end: U32
    keys: Annotated[AttestedKeys, Ref]


@dataclass(frozen=True, slots=True)
class QuoteVerified(Struct, opcode=0xC0C00220):
    attest_seq: U64
    tcb_status: U8
    tcb_date: U32
    platform: Annotated[AttestedPlatform, Ref]


@dataclass(frozen=True, slots=True)
class QuoteRefused(Struct, opcode=0xC0C00221):
    attest_seq: U64
    error: I32


# ---- posting ----


@dataclass(frozen=True, slots=True)
class PostCertificate(Struct, opcode=0xC0C00610):
    query_id: U64
    certificate: Annotated[SignedDocument, Ref]


@dataclass(frozen=True, slots=True)
class PostCrl(Struct, opcode=0xC0C00611):
    query_id: U64
    issuer: U8
    list: Annotated[SignedDocument, Ref]
    revoked: MaybeCell
    order: MaybeCell


@dataclass(frozen=True, slots=True)
class PostQeIdentity(Struct, opcode=0xC0C00612):
    query_id: U64
    document: Annotated[SignedDocument, Ref]
    identity: Annotated[QeIdentityNumbers, Ref]


@dataclass(frozen=True, slots=True)
class PostTcbInfo(Struct, opcode=0xC0C00613):
    query_id: U64
    fmspc: U48
    document: Annotated[SignedDocument, Ref]
    tcb: Annotated[TcbSet, Ref]


# ---- between Attestation and a TcbStore ----


@dataclass(frozen=True, slots=True)
class StoreTcb(Struct, opcode=0xC0C00701):
    query_id: U64
    poster: Std
    trust_epoch: U32
    min_evaluation_number: U32
    tcb: Annotated[TcbSet, Ref]


@dataclass(frozen=True, slots=True)
class JudgePlatform(Struct, opcode=0xC0C00702):
    attest_seq: U64
    worker: Std
    trust_epoch: U32
    evaluation_number: U32
    accepted_statuses: U8
    qe_status: U8
    pce_id: U16
    pce_svn: U16
    cpu_svn: U128
    tee_tcb_svn: U128
    platform: Annotated[AttestedPlatform, Ref]


@dataclass(frozen=True, slots=True)
class PlatformJudged(Struct, opcode=0xC0C00620):
    fmspc: U48
    worker: Std
    attest_seq: U64
    tcb_status: U8
    tcb_date: U32
    platform: Annotated[AttestedPlatform, Ref]


# ---- storage ----


@dataclass(frozen=True, slots=True)
class AttestationIdentity(Struct):
    registry: Std


@dataclass(frozen=True, slots=True)
class TcbStoreIdentity(Struct):
    attestation: Std
    fmspc: U48


@dataclass(frozen=True, slots=True)
class Authority(Struct):
    key_x: U256
    key_y: U256
    serial: U160
    not_before: U32
    not_after: U32


@dataclass(frozen=True, slots=True)
class RevocationListState(Struct):
    number: U64
    this_update: U32
    next_update: U32
    revoked: MaybeCell


@dataclass(frozen=True, slots=True)
class PckAuthority(Struct):
    ca: Authority
    crl: Annotated[RevocationListState | None, Maybe]


@dataclass(frozen=True, slots=True)
class SharedCollateral(Struct):
    root_crl: Annotated[RevocationListState | None, Maybe]
    identity: Annotated[QeIdentityNumbers | None, Ref]
    other_identity: Annotated[QeIdentityNumbers | None, Ref]
    signer: Annotated[Authority | None, Ref]


@dataclass(frozen=True, slots=True)
class AttestationStorage(Struct):
    registry: Std
    trust_epoch: U32
    policy: Annotated[AttestationPolicy, Ref]
    platform_ca: Annotated[PckAuthority | None, Ref]
    processor_ca: Annotated[PckAuthority | None, Ref]
    shared: Annotated[SharedCollateral, Ref]


@dataclass(frozen=True, slots=True)
class TcbStoreStorage(Struct):
    attestation: Std
    fmspc: U48
    first: Annotated[TcbSet, Ref]
    first_epoch: U32
    second: Annotated[TcbSet | None, Ref]
    second_epoch: U32
