"""Gas of attestation: each collateral document, a quote judged by them, and all of that together.

A simulated platform's, whose documents are as long as Intel's: the revocation list has as many entries as Intel's
longest, and the two levels of the TCB info differ in PCESVN alone, as those of the real one that the tests use. What
the Worker itself burns on the way is not in the figure of the quote.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING

from pytoniq_core import Address, begin_cell

from ..attestation import witness, witness_certificates, witness_collateral
from ..attestation.platform import Hardware, Publication, SimulatedIntel, SimulatedMachine, guest_report
from ..attestation.rehearsal_stage import AttestationCode
from ..attestation.report_data import MasterBlock, ReportData
from ..wire.attestation import AttestationIdentity, AttestationPolicy, CrlIssuer, UpdateAttestationPolicy, VerifyQuote
from .operation import TON, Goal, Operation

if TYPE_CHECKING:
    from cocoon_sandbox.ledger import Ledger
    from cocoon_sandbox.treasury import Treasury

    from ..wire.codec import Struct

__all__ = ["measure_attestation"]

TIME, HEAD, EVALUATION_NUMBER, REVOKED = 1_750_845_600, 5_050, 17, 44
UPDATE, QUOTE, EVERYTHING = Goal(80_000), Goal(80_000), Goal(190_000)


class _Stage:
    def __init__(self, ledger: Ledger) -> None:
        from cocoon_sandbox.blocks.previous import previous_blocks
        from cocoon_sandbox.message import state_init
        from cocoon_sandbox.tlb.ids import BlockId

        def block(seqno: int) -> BlockId:
            return BlockId(
                -1, seqno, *(hashlib.sha256(b"%s %d" % (name, seqno)).digest() for name in (b"root", b"file"))
            )

        ledger.now, ledger.prev_blocks = TIME, previous_blocks(block(HEAD), block(1), block)
        self.ledger, self.newest = ledger, MasterBlock(HEAD, block(HEAD).root_hash, block(HEAD).file_hash)
        self.intel = SimulatedIntel(b"bench", TIME)
        self.machine = SimulatedMachine(self.intel, Hardware())
        self.registry, self.worker = (ledger.treasury(name, 1000 * TON) for name in ("registry", "worker"))
        self.operations: list[Operation] = []
        code = AttestationCode.committed()
        init = state_init(code.attestation, AttestationIdentity(self.registry.address).to_cell())
        self.attestation = Address((0, init.hash))
        root = self.intel.root.public_key
        policy = AttestationPolicy(
            version=1,
            root_key_x=int.from_bytes(root[:32]),
            root_key_y=int.from_bytes(root[32:]),
            accepted_statuses=1,
            required_attributes=0,
            forbidden_attributes=0,
            min_evaluation_number=EVALUATION_NUMBER,
            max_block_age=100,
            lease_sec=86_400,
            store_code=code.store,
        )
        self.registry.send(ledger, self.attestation, TON, begin_cell().end_cell(), state_init=init)
        self.registry.send(ledger, self.attestation, TON, UpdateAttestationPolicy(1, policy).to_cell())

    def run(self, name: str, sender: Treasury, body: Struct, goal: Goal) -> None:
        burned = self.ledger.burned_fees
        sending, *caused = sender.send(self.ledger, self.attestation, TON, body.to_cell())
        ours = [done for done in caused if done.account != sender.address]
        assert all(done.success for done in ours), name
        gas = tuple(("Attestation" if one.account == self.attestation else "TcbStore", one.gas_used) for one in ours)
        fees = self.ledger.burned_fees - burned - sending.total_fees
        self.operations.append(Operation(name, gas, len(ours), fees, None, goal))

    def quote(self) -> VerifyQuote:
        from cocoon_sandbox.config import SANDBOX_GLOBAL_ID

        said = ReportData(
            SANDBOX_GLOBAL_ID, self.registry.address, self.worker.address, 1, 2, 3, self.newest, 0
        )  # fmt: skip
        quote = self.machine.quote(guest_report(said.to_bytes()))
        return VerifyQuote(1, 2, 3, 0, witness.quote_evidence(quote, EVALUATION_NUMBER, HEAD))


def measure_attestation() -> list[Operation]:
    """Every document and a quote once; the last operation is the sum. AssertionError if one is refused."""
    from cocoon_sandbox.ledger import Ledger

    stage = _Stage(Ledger())
    publication = Publication.at(TIME, stage.machine.hardware, evaluation_number=EVALUATION_NUMBER)
    best, second, *_ = publication.tcb_info.levels
    second = replace(second, sgx_components=best.sgx_components, tdx_components=best.tdx_components)
    publication = publication.with_tcb_info(levels=(best, second))
    serials = (int.from_bytes(hashlib.sha256(b"revoked %d" % number).digest()[:20]) for number in range(REVOKED))
    found = stage.intel.publish(replace(publication, revoked_pck=tuple(serials)))
    root, ca = stage.intel.root.public_key, stage.intel.pck_ca(publication.authority)
    documents: tuple[tuple[str, Struct], ...] = (
        ("post root list", witness_certificates.crl(found.root_ca_crl, CrlIssuer.ROOT, root)),
        ("post CA certificate", witness_certificates.ca_certificate(ca, root)),
        ("post PCK list", witness_certificates.crl(found.pck_crl, witness.issuer_of(ca), ca.public_key)),
        ("post TCB signing certificate", witness_certificates.ca_certificate(stage.intel.tcb_signing, root)),
        ("post QE identity", witness_collateral.qe_identity(found.qe_identity_document)),
        ("post TCB info", witness_collateral.tcb_info(found.tcb_info_document)),
    )
    for name, body in documents:
        stage.run(name, stage.registry, body, UPDATE)
    stage.run("verify quote", stage.worker, stage.quote(), QUOTE)
    stage.ledger.check_conservation()
    done = stage.operations
    gas = tuple(entry for one in done for entry in one.gas)
    total = Operation(
        "all collateral and a quote", gas, sum(one.transactions for one in done), sum(one.fees_nano for one in done),
        None, EVERYTHING,
    )  # fmt: skip
    return [*done, total]
