"""Evidence cut otherwise, or with cells that nobody signed: refused, or the same."""

from __future__ import annotations

from dataclasses import replace

import pytest
from enclaves import WORKER, Enclaves
from evidence_cells import grown, recut, with_text
from pytoniq_core import Builder, begin_cell

from cocoon.wire.attestation import QuoteVerified, SignedDocument, VerifyQuote


def test_verify_report_cut_elsewhere_is_refused(enclaves: Enclaves) -> None:
    """Header and report have one layout only: a moved cut would move fields."""
    evidence = enclaves.evidence()
    text = recut(evidence.report.text, 1)
    assert enclaves.verify(replace(evidence, report=with_text(evidence.report, text))).exit_code in (9, 513, 526)


@pytest.mark.parametrize(("path", "code"), [((0,), 9), ((1,), 9), ((2,), 9), ((3,), 513), ((3, 0), 513)], ids=str)
def test_verify_report_with_a_cell_that_nobody_signed_is_refused(
    enclaves: Enclaves, path: tuple[int, ...], code: int
) -> None:
    evidence = enclaves.evidence()
    text = grown(evidence.report.text, path)
    enclaves.verify(replace(evidence, report=with_text(evidence.report, text))).assert_refused(code)


@pytest.mark.parametrize("path", [(0,), (1,), (2,)], ids=str)
def test_verify_enclave_with_a_cell_that_nobody_signed_is_refused(enclaves: Enclaves, path: tuple[int, ...]) -> None:
    evidence = enclaves.evidence()
    text = grown(evidence.enclave.text, path)
    enclaves.verify(replace(evidence, enclave=with_text(evidence.enclave, text))).assert_refused(9)


def test_verify_enclave_report_cut_elsewhere_is_refused(enclaves: Enclaves) -> None:
    evidence = enclaves.evidence()
    text = recut(evidence.enclave.text, 1)
    assert enclaves.verify(replace(evidence, enclave=with_text(evidence.enclave, text))).exit_code in (9, 513, 528)


def test_verify_certificate_cut_elsewhere_is_refused_or_the_same(enclaves: Enclaves) -> None:
    evidence = enclaves.evidence()
    text = recut(evidence.certificate.text.refs[0], -1)
    head = evidence.certificate.text
    whole = Builder().store_bytes(head.data[: len(head.bits) // 8]).store_ref(text).end_cell()
    outcome = enclaves.verify(replace(evidence, certificate=with_text(evidence.certificate, whole)))
    assert outcome.exit_code == 0
    assert outcome.one(QuoteVerified)  # a cut inside the subject: the same bytes are skipped


@pytest.mark.parametrize("part", ["report", "enclave"])
def test_verify_cell_with_trailing_bits_is_refused(enclaves: Enclaves, part: str) -> None:
    evidence = enclaves.evidence()
    document: SignedDocument = getattr(evidence, part)
    cell = document.text
    longer = Builder().store_bits(cell.bits).store_uint(0, 8)
    for ref in cell.refs:
        longer.store_ref(ref)
    enclaves.verify(replace(evidence, **{part: with_text(document, longer.end_cell())})).assert_refused(9)


def test_verify_certificate_with_a_cell_too_many_or_too_few_is_refused(enclaves: Enclaves) -> None:
    evidence = enclaves.evidence()
    for step in (-1, 1):
        document = replace(evidence.certificate, cells=evidence.certificate.cells + step)
        assert enclaves.verify(replace(evidence, certificate=document)).exit_code in (9, 513)
    enclaves.verify(replace(evidence, certificate=replace(evidence.certificate, cells=6))).assert_refused(513)


def test_verify_auth_data_with_a_reference_is_refused(enclaves: Enclaves) -> None:
    evidence = enclaves.evidence()
    text = evidence.enclave.text
    auth = Builder().store_bits(text.refs[3].bits).store_ref(begin_cell().end_cell()).end_cell()
    cell = Builder().store_bits(text.bits)
    for ref in (*text.refs[:3], auth):
        cell.store_ref(ref)
    enclaves.verify(replace(evidence, enclave=with_text(evidence.enclave, cell.end_cell()))).assert_refused(513)


def test_verify_message_with_trailing_data_is_refused(enclaves: Enclaves) -> None:
    body = VerifyQuote(1, enclaves.session_key, enclaves.hpke_key_hash, 0, enclaves.evidence()).to_cell()
    longer = Builder().store_cell(body).store_bit(1).end_cell()
    enclaves.send(WORKER, enclaves.address, longer).assert_refused(9)


def test_verify_evidence_with_trailing_data_is_refused(enclaves: Enclaves) -> None:
    body = Builder().store_uint(0xC0C00602, 32).store_uint(1, 64).store_uint(enclaves.session_key, 256)
    body.store_uint(enclaves.hpke_key_hash, 256).store_uint(0, 256)
    body.store_ref(Builder().store_cell(enclaves.evidence().to_cell()).store_bit(0).end_cell())
    enclaves.send(WORKER, enclaves.address, body.end_cell()).assert_refused(9)
