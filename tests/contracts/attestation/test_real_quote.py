"""A real Intel TDX quote at its date, and every way of altering a bit of it."""

from __future__ import annotations

import os
import random
from dataclasses import replace

import pytest
from real_quote import EVALUATION_NUMBER, FMSPC, Real, evidence_of, needs_real_quote, raw_quote

from cocoon.attestation.errors import AttestationError
from cocoon.attestation.pck import PckExtension
from cocoon.attestation.quote import Quote
from cocoon.attestation.witness import measurement
from cocoon.wire.attestation import QuoteEvidence, TcbStatusCode
from cocoon_sandbox.ledger import Ledger

pytestmark = needs_real_quote

SAMPLE = 2_000
PARTS = 16  # for several processes
WHOLE = "COCOON_ALL_BIT_FLIPS"  # set it to try all 40,048: five minutes on two cores


@pytest.fixture(scope="module")
def real() -> Real:
    return Real.on(Ledger()).post_all()


@pytest.fixture(scope="module")
def quote() -> Quote:
    return Quote.parse(raw_quote())


def test_real_quote_at_its_date_is_genuine_and_up_to_date(real: Real, quote: Quote) -> None:
    code, stack = real.claims(evidence_of(quote))
    assert code == 0
    fmspc, pce_id, pce_svn, cpu_svn, tee_tcb_svn, qe_status, measured, data, data_rest, _, epoch = stack
    pck = PckExtension.of(quote.signature_data.pck_chain[0])
    assert (fmspc, pce_id, pce_svn) == (FMSPC, int.from_bytes(pck.pce_id), pck.pce_svn)
    assert cpu_svn == int.from_bytes(bytes(pck.components)) == int.from_bytes(pck.cpu_svn)
    assert tee_tcb_svn == int.from_bytes(quote.report.tee_tcb_svn)
    assert measured == int.from_bytes(measurement(quote))
    assert data.to_bytes(32) + data_rest.to_bytes(32) == quote.report.report_data
    ledger = real.enclaves.ledger
    store = ledger.get(real.enclaves.address, "get_store_address", FMSPC)[0].load_address()
    status, date = ledger.get(
        store, "get_judgement", epoch, EVALUATION_NUMBER, qe_status, pce_id, pce_svn, cpu_svn, tee_tcb_svn
    )
    assert (status, date) == (TcbStatusCode.UP_TO_DATE, 1_710_288_000)


def test_real_quote_for_nobody_gives_no_verdict(real: Real, quote: Quote) -> None:
    """Its report_data names no worker of ours."""
    real.enclaves.verify(evidence_of(quote)).assert_refused(521)


def irrelevant(bit: int, quote: Quote) -> str | None:
    """Why this bit of the file does not matter, by name: see docs/attestation.md."""
    byte = bit // 8
    signed = len(quote.signed_bytes)
    data = quote.signature_data.to_bytes()
    chain = signed + 4 + len(data) - len(quote.signature_data.pck_chain_pem)
    text = quote.signature_data.pck_chain_pem
    if byte >= signed + 4 + len(data):
        return "padding"
    if byte >= chain:
        leaf_end = text.index(b"-----END CERTIFICATE-----")
        return "CA certificates" if byte - chain > leaf_end else "PEM framing of the PCK certificate"
    return None


def flipped(raw: bytes, bit: int) -> bytes:
    return raw[: bit // 8] + bytes([raw[bit // 8] ^ 1 << bit % 8]) + raw[bit // 8 + 1 :]


def prove(altered: Quote, quote: Quote, leaf: bytes, evidence: QuoteEvidence) -> QuoteEvidence:
    """Evidence of an altered quote with the best hints there are: its own, else those of the unaltered one.

    AttestationError if its PCK certificate, unaltered `leaf`, can't be read.
    """
    if altered.signature_data.pck_chain[0].der != leaf:
        return evidence_of(altered)
    data = replace(altered.signature_data, pck_chain_pem=quote.signature_data.pck_chain_pem)
    try:
        return evidence_of(replace(altered, signature_data=data))
    except AttestationError:
        report = replace(evidence.report, signature=data.signature)
        enclave = replace(evidence.enclave, signature=data.qe_report_signature)
        key = data.attestation_key
        return replace(
            evidence, report=report, enclave=enclave,
            attestation_key_x=int.from_bytes(key[:32]), attestation_key_y=int.from_bytes(key[32:]),
        )  # fmt: skip


@pytest.mark.parametrize("part", range(PARTS))
def test_real_quote_with_any_bit_flipped_is_refused_or_the_bit_is_irrelevant_by_name(
    real: Real, quote: Quote, part: int
) -> None:
    """A-1."""
    raw, genuine = raw_quote(), evidence_of(quote)
    unaltered, leaf = genuine.to_cell().hash, quote.signature_data.pck_chain[0].der
    bits = range(8 * len(raw))
    chosen = (bits if os.environ.get(WHOLE) else random.Random(2025).sample(bits, SAMPLE))[part::PARTS]
    refused, ignored = 0, 0
    for bit in chosen:
        try:
            altered = Quote.parse(flipped(raw, bit))
            evidence = prove(altered, quote, leaf, genuine)
        except AttestationError:
            refused += 1  # such bytes can't even be brought before the contract
            continue
        if evidence.to_cell().hash == unaltered:
            assert irrelevant(bit, quote), f"bit {bit} of byte {bit // 8} changes nothing that is verified"
            ignored += 1
            continue
        code, _ = real.claims(evidence)
        assert code != 0, f"bit {bit} of byte {bit // 8} may be flipped"
        refused += 1
    assert refused + ignored == len(chosen)
    assert refused > len(chosen) // 2


@pytest.mark.parametrize("offset", range(0, 632, 8))
def test_real_quote_with_signed_word_altered_is_refused(real: Real, quote: Quote, offset: int) -> None:
    """Every eight bytes of header and report, with hints made for the altered text."""
    raw = flipped(raw_quote(), 8 * offset + 5)
    try:
        evidence = evidence_of(Quote.parse(raw))
    except AttestationError:
        return
    assert real.claims(evidence)[0] in range(514, 530)
