"""A deployed Attestation on an in-process ledger, a simulated Intel, its platforms, and what tests do with them.

Times are unix seconds, amounts nanoTON.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

from mail import internal
from outcome import Outcome
from pytoniq_core import Address, Cell, begin_cell

from cocoon.attestation import witness, witness_certificates, witness_collateral
from cocoon.attestation.platform import (
    CertificateAuthority,
    Hardware,
    Publication,
    SimulatedIntel,
    SimulatedMachine,
    guest_report,
)
from cocoon.attestation.quote import Quote
from cocoon.attestation.report_data import MasterBlock, ReportData
from cocoon.contracts_build import contracts_dir, load, sources
from cocoon.wire.attestation import (
    AttestationIdentity,
    AttestationPolicy,
    AttestationStorage,
    CrlIssuer,
    QuoteEvidence,
    TcbStoreIdentity,
    TcbStoreStorage,
    UpdateAttestationPolicy,
    VerifyQuote,
)
from cocoon.wire.codec import Struct
from cocoon_sandbox.blocks.previous import previous_blocks
from cocoon_sandbox.config import SANDBOX_GLOBAL_ID
from cocoon_sandbox.executor import Executor
from cocoon_sandbox.ledger import Ledger
from cocoon_sandbox.message import state_init
from cocoon_sandbox.tlb.ids import BlockId

__all__ = [
    "HEAD",
    "NOW",
    "POSTER",
    "REGISTRY",
    "TON",
    "WORKER",
    "Enclaves",
    "attestation_code",
    "block",
    "probe",
    "store_code",
]

TON = 10**9
NOW = 1_750_845_600  # 2025-06-25, a date at which the real quote's collateral holds too
HEAD = 5_050  # seqno of the newest masterchain block
REGISTRY = Address((0, hashlib.sha256(b"registry").digest()))
WORKER = Address((0, hashlib.sha256(b"worker").digest()))
POSTER = Address((0, hashlib.sha256(b"poster").digest()))


@cache
def probe(name: str) -> Cell:
    """Code of a contract next to this file, compiled together with the contracts' sources."""
    files = sources(contracts_dir()) | {name: (Path(__file__).parent / name).read_text()}
    return Executor.shared().compile_tolk(name, files).code


def attestation_code() -> Cell:
    return load("Attestation").code


def store_code() -> Cell:
    return load("TcbStore").code


def block(seqno: int) -> BlockId:
    """Masterchain block `seqno` of a made-up chain."""
    return BlockId(-1, seqno, hashlib.sha256(b"root %d" % seqno).digest(), hashlib.sha256(b"file %d" % seqno).digest())


@dataclass
class Enclaves:
    """Attestation of REGISTRY, one simulated platform, the keys of WORKER's enclave."""

    ledger: Ledger
    intel: SimulatedIntel
    machine: SimulatedMachine
    publication: Publication
    rules: dict[str, Any] = field(default_factory=dict)
    attest_seq: int = 1
    session_key: int = 1234
    hpke_key_hash: int = 5678
    gpu_evidence_digest: int = 0

    @classmethod
    def on(cls, ledger: Ledger, hardware: Hardware | None = None, seed: bytes = b"enclaves", **rules: Any) -> Enclaves:
        """A platform at NOW; nothing is deployed yet."""
        ledger.now = NOW
        ledger.prev_blocks = previous_blocks(block(HEAD), block(1), block)
        intel = SimulatedIntel(seed, NOW)
        machine = SimulatedMachine(intel, hardware or Hardware())
        return cls(ledger, intel, machine, Publication.at(NOW, machine.hardware), rules)

    # ---- what there is ----

    @property
    def address(self) -> Address:
        return Address((0, self._init.hash))

    @property
    def _init(self) -> Cell:
        return state_init(attestation_code(), AttestationIdentity(REGISTRY).to_cell())

    @property
    def state(self) -> AttestationStorage:
        data = self.ledger.account(self.address).data
        assert data is not None
        return AttestationStorage.from_cell(data)

    @property
    def fmspc(self) -> int:
        return int.from_bytes(self.machine.hardware.fmspc)

    @property
    def store(self) -> Address:
        data = TcbStoreIdentity(self.address, self.fmspc).to_cell()
        return Address((0, state_init(store_code(), data).hash))

    @property
    def store_state(self) -> TcbStoreStorage:
        data = self.ledger.account(self.store).data
        assert data is not None
        return TcbStoreStorage.from_cell(data)

    def fees(self, cells: int = 0) -> tuple[int, int, int]:
        """Least values: VerifyQuote, Post… of a document of so many cells, PostTcbInfo."""
        quote, post, tcb = self.ledger.get(self.address, "get_fees", cells)
        return int(quote), int(post), int(tcb)

    # ---- sending ----

    def send(
        self, sender: Address, to: Address, body: Struct | Cell, value: int = TON, init: Cell | None = None
    ) -> Outcome:
        """A message and all it causes; all money must add up."""
        cell = body.to_cell() if isinstance(body, Struct) else body
        before = self.ledger.account(to)
        sent = self.ledger.enqueue(internal(self.ledger, sender, to, value, cell, state_init=init))
        transactions = self.ledger.run()
        self.ledger.check_conservation()
        after = self.ledger.account(to)
        data = before.data if before.status == "active" or init is None else init.refs[1]
        return Outcome(sent, transactions, data, after.data, before.balance, after.balance)

    def policy(self, **changes: Any) -> AttestationPolicy:
        root = changes.pop("root_key", self.intel.root.public_key)
        rules: dict[str, Any] = {
            "version": 1,
            "root_key_x": int.from_bytes(root[:32]),
            "root_key_y": int.from_bytes(root[32:]),
            "accepted_statuses": 0b1,
            "required_attributes": 0,
            "forbidden_attributes": 0,
            "min_evaluation_number": 17,
            "max_block_age": 1_000,
            "lease_sec": 86_400,
            "store_code": store_code(),
        }
        return AttestationPolicy(**rules | self.rules | changes)

    def deploy(self) -> Enclaves:
        """With the policy, and a little rent."""
        self.send(POSTER, self.address, begin_cell().end_cell(), TON, self._init).assert_succeeded()
        self.set_policy().assert_succeeded()
        return self

    def set_policy(self, sender: Address = REGISTRY, **changes: Any) -> Outcome:
        return self.send(sender, self.address, UpdateAttestationPolicy(1, self.policy(**changes)), TON // 10)

    def post(self, body: Struct, value: int = TON) -> Outcome:
        return self.send(POSTER, self.address, body, value)

    def ready(self) -> Enclaves:
        """Deployed, with all collateral of the publication."""
        self.deploy()
        for body in self.collateral_messages():
            self.post(body).assert_succeeded()
        return self

    def collateral_messages(self, publication: Publication | None = None) -> list[Struct]:
        """All messages that install a publication, in the order they are needed."""
        publication = publication or self.publication
        found, intel = self.intel.publish(publication), self.intel
        root, ca = intel.root.public_key, intel.pck_ca(publication.authority)
        issuer = (
            CrlIssuer.PLATFORM_CA if publication.authority is CertificateAuthority.PLATFORM else CrlIssuer.PROCESSOR_CA
        )
        return [
            witness_certificates.crl(found.root_ca_crl, CrlIssuer.ROOT, root),
            witness_certificates.ca_certificate(ca, root),
            witness_certificates.crl(found.pck_crl, issuer, ca.public_key),
            witness_certificates.ca_certificate(intel.tcb_signing, root),
            witness_collateral.qe_identity(found.qe_identity_document),
            witness_collateral.tcb_info(found.tcb_info_document),
        ]

    # ---- quotes ----

    def statement(self, **changes: Any) -> ReportData:
        """What the enclave says; a test may have it say something else."""
        seqno = changes.pop("seqno", HEAD - 3)
        known = block(seqno)
        said = ReportData(
            SANDBOX_GLOBAL_ID, REGISTRY, WORKER, self.attest_seq, self.session_key, self.hpke_key_hash,
            MasterBlock(known.seqno, known.root_hash, known.file_hash), self.gpu_evidence_digest,
        )  # fmt: skip
        return replace(said, **changes)

    def quote(
        self,
        *,
        version: int | None = None,
        version_15: bool = False,
        said: ReportData | bytes | None = None,
        **changes: Any,
    ) -> Quote:
        """A genuine quote; `changes` are fields of the TD report."""
        said = said or self.statement()
        data = said if isinstance(said, bytes) else said.to_bytes()
        return self.machine.quote(guest_report(data, version_15=version_15, **changes), version=version)

    def evidence(self, quote: Quote | None = None, evaluation_number: int = 17, seqno: int = HEAD - 3) -> QuoteEvidence:
        return witness.quote_evidence(quote or self.quote(), evaluation_number, seqno)

    def verify(
        self, evidence: QuoteEvidence | None = None, sender: Address = WORKER, value: int = TON, **changes: Any
    ) -> Outcome:
        """VerifyQuote as the Worker sends it."""
        body = VerifyQuote(
            self.attest_seq, self.session_key, self.hpke_key_hash, self.gpu_evidence_digest, evidence or self.evidence()
        )
        return self.send(sender, self.address, replace(body, **changes), value)


def judged(
    ledger: Ledger, hardware: Hardware, change: Callable[[Enclaves], None] | None = None, **quote: Any
) -> tuple[Enclaves, Outcome]:
    """What comes of one quote of this hardware, after `change` to what is published and allowed."""
    enclaves = Enclaves.on(ledger, hardware)
    if change is not None:
        change(enclaves)
    enclaves.ready()
    return enclaves, enclaves.verify(enclaves.evidence(enclaves.quote(**quote)))
