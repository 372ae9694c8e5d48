"""The real quote and its collateral, and Attestation under Intel's own root, at the quote's date."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest
from enclaves import NOW, Enclaves
from pytoniq_core import Cell

from cocoon.attestation import witness, witness_certificates, witness_collateral
from cocoon.attestation.collateral import Collateral
from cocoon.attestation.quote import Quote
from cocoon.wire.attestation import CrlIssuer, QuoteEvidence
from cocoon.wire.codec import Struct
from cocoon_sandbox.ledger import Ledger

__all__ = ["EVALUATION_NUMBER", "FMSPC", "Real", "evidence_of", "needs_real_quote", "raw_quote", "real_collateral"]

DATA = Path(__file__).parents[4] / "shared" / "data" / "tdx"
EVALUATION_NUMBER = 17
FMSPC = 0xB0C06F000000
needs_real_quote = pytest.mark.skipif(not DATA.is_dir(), reason="the real quote is not at ../shared/data/tdx")


@cache
def raw_quote() -> bytes:
    return (DATA / "quote_v4.bin").read_bytes()


@cache
def real_collateral() -> Collateral:
    return Collateral.load(DATA / "quote_v4_collateral.json")


def real_messages() -> list[Struct]:
    """All that installs the real collateral."""
    found, chain = real_collateral(), Quote.parse(raw_quote()).signature_data.pck_chain
    ca, root = chain[1], chain[2].public_key
    return [
        witness_certificates.crl(found.root_ca_crl, CrlIssuer.ROOT, root),
        witness_certificates.ca_certificate(ca, root),
        witness_certificates.crl(found.pck_crl, CrlIssuer.PLATFORM_CA, ca.public_key),
        witness_certificates.ca_certificate(found.tcb_info_document.issuer_chain[0], root),
        witness_collateral.qe_identity(found.qe_identity_document),
        witness_collateral.tcb_info(found.tcb_info_document),
    ]


@dataclass
class Real:
    """Attestation that trusts Intel."""

    enclaves: Enclaves

    @classmethod
    def on(cls, ledger: Ledger) -> Real:
        enclaves = Enclaves.on(ledger)
        root = Quote.parse(raw_quote()).signature_data.pck_chain[2].public_key
        enclaves.rules = {"root_key_x": int.from_bytes(root[:32]), "root_key_y": int.from_bytes(root[32:])}
        return cls(enclaves.deploy())

    def post_all(self) -> Real:
        for body in real_messages():
            self.enclaves.post(body).assert_succeeded()
        return self

    def claims(self, evidence: QuoteEvidence | Cell) -> tuple[int, list[int]]:
        """Exit code and result of `get_quote_claims`, asked directly: thousands of times in a test."""
        ledger, address = self.enclaves.ledger, self.enclaves.address
        account = ledger.account(address)
        assert account.code is not None
        assert account.data is not None
        cell = evidence if isinstance(evidence, Cell) else evidence.to_cell()
        done = ledger.executor.run_getter(
            config=ledger.config, code=account.code, data=account.data, address=address, balance=account.balance,
            now=NOW, method="get_quote_claims", stack=[cell], prev_blocks=ledger.prev_blocks,
        )  # fmt: skip
        return (0 if done.exit_code == 1 else done.exit_code), [value for value in done.stack if isinstance(value, int)]


def evidence_of(quote: Quote) -> QuoteEvidence:
    return witness.quote_evidence(quote, EVALUATION_NUMBER, 1)
