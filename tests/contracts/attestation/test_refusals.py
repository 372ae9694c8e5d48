"""Quotes that are refused: another kind, for somebody else, of another block, signed otherwise."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from enclaves import HEAD, REGISTRY, WORKER, Enclaves, block
from pytoniq_core import Address, Builder

from cocoon.attestation.platform import Hardware, SimulatedMachine
from cocoon.attestation.quote import Quote
from cocoon.attestation.report_data import MasterBlock
from cocoon.attestation.witness_certificates import pck_document
from cocoon.wire.attestation import P256Hint, QuoteVerified, SignedDocument

OTHER = Address((0, b"\x77" * 32))


@pytest.mark.parametrize(
    "changes",
    [
        {"mr_signer_seam": b"\1" + bytes(47)},
        {"mr_signer_seam": bytes(47) + b"\1"},
        {"seam_attributes": b"\1" + bytes(7)},
    ],
    ids=["signer", "signer's end", "attributes"],
)
def test_verify_td_under_a_module_that_is_not_intels_is_refused(enclaves: Enclaves, changes: dict[str, Any]) -> None:
    """A-3, A.11."""
    enclaves.verify(enclaves.evidence(enclaves.quote(**changes))).assert_refused(526)


@pytest.mark.parametrize("position", [0, 31, 32, 47])
def test_verify_td_with_service_td_is_refused(enclaves: Enclaves, position: int) -> None:
    """A-3."""
    bound = bytes(position) + b"\1" + bytes(47 - position)
    enclaves.verify(enclaves.evidence(enclaves.quote(version_15=True, mr_service_td=bound))).assert_refused(525)


@pytest.mark.parametrize(
    "name",
    [
        "td_attributes",
        "xfam",
        "mr_td",
        "mr_config_id",
        "mr_owner",
        "mr_owner_config",
        "rt_mr0",
        "rt_mr1",
        "rt_mr2",
        "rt_mr3",
    ],
)
def test_verify_everything_that_tells_enclaves_apart_is_in_the_measurement(enclaves: Enclaves, name: str) -> None:
    """A-3."""
    usual = enclaves.verify().one(QuoteVerified).platform.keys.measurement
    value = (
        (1 << 28 | 1 << 31).to_bytes(8, "little")
        if name == "td_attributes"
        else getattr(enclaves.quote().report, name)[:-1] + b"\x5a"
    )
    other = enclaves.verify(enclaves.evidence(enclaves.quote(**{name: value}))).one(QuoteVerified)
    assert other.platform.keys.measurement != usual


def altered_header(quote: Quote, **changes: Any) -> Quote:
    """Signed by the attestation key all the same."""
    return replace(quote, header=replace(quote.header, **changes))


def resign(enclaves: Enclaves, quote: Quote) -> Quote:
    signature = enclaves.machine.attestation_key.sign(quote.signed_bytes)
    return replace(quote, signature_data=replace(quote.signature_data, signature=signature))


@pytest.mark.parametrize(
    "changes", [{"qe_vendor_id": bytes(16)}, {"version": 3}, {"tee_type": 0}, {"attestation_key_type": 3}], ids=str
)
def test_verify_quote_of_another_kind_is_refused(enclaves: Enclaves, changes: dict[str, Any]) -> None:
    quote = resign(enclaves, altered_header(enclaves.quote(), **changes))
    enclaves.verify(enclaves.evidence(quote)).assert_refused(520)


def test_verify_version_5_with_unknown_body_type_is_refused(enclaves: Enclaves) -> None:
    evidence = enclaves.evidence(enclaves.quote(version=5))
    root = evidence.report.text
    bits = bytearray(root.data[:118])
    bits[48] = 4
    cell = Builder().store_bytes(bytes(bits))
    for ref in root.refs:
        cell.store_ref(ref)
    enclaves.verify(replace(evidence, report=replace(evidence.report, text=cell.end_cell()))).assert_refused(520)


@pytest.mark.parametrize(
    "changes",
    [
        {"global_id": -239},
        {"registry": OTHER},
        {"worker": OTHER},
        {"attest_seq": 2},
        {"session_key": 1},
        {"hpke_key_hash": 1},
        {"gpu_evidence_digest": 1},
        {"block": MasterBlock(HEAD - 4, block(HEAD - 4).root_hash, block(HEAD - 4).file_hash)},
        {"block": MasterBlock(HEAD - 3, block(HEAD - 4).root_hash, block(HEAD - 3).file_hash)},
        {"block": MasterBlock(HEAD - 3, block(HEAD - 3).root_hash, block(HEAD - 4).file_hash)},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_verify_quote_that_says_anything_else_is_refused(enclaves: Enclaves, changes: dict[str, Any]) -> None:
    """A-2."""
    quote = enclaves.quote(said=enclaves.statement(**changes))
    enclaves.verify(enclaves.evidence(quote)).assert_refused(521)


def test_verify_report_data_with_a_second_half_is_refused(enclaves: Enclaves) -> None:
    data = enclaves.statement().to_bytes()[:32] + bytes(31) + b"\1"
    enclaves.verify(enclaves.evidence(enclaves.quote(said=data))).assert_refused(521)


def test_verify_another_workers_quote_is_refused(enclaves: Enclaves) -> None:
    """A-1, A-2: The verdict goes to the sender, so the quote must name the sender."""
    enclaves.verify(sender=OTHER).assert_refused(521)


def test_verify_from_masterchain_is_refused(enclaves: Enclaves) -> None:
    sender = Address((-1, WORKER.hash_part))
    quote = enclaves.quote(said=enclaves.statement(worker=sender))
    enclaves.verify(enclaves.evidence(quote), sender=sender).assert_refused(505)


@pytest.mark.parametrize(
    ("seqno", "good"),
    [
        (HEAD, True),
        (HEAD - 15, True),
        (HEAD - 16, False),
        (HEAD - 50, True),
        (HEAD - 51, False),
        (HEAD - 950, True),
        (HEAD - 1050, False),
        (HEAD + 1, False),
        (HEAD + 50, False),
    ],
)
def test_verify_block_must_be_one_the_network_shows_and_young_enough(
    enclaves: Enclaves, seqno: int, good: bool
) -> None:
    """A-2: The last 16, then every hundredth; the policy allows 1,000 blocks."""
    said = enclaves.statement(seqno=seqno)
    outcome = enclaves.verify(enclaves.evidence(enclaves.quote(said=said), seqno=seqno))
    if good:
        assert outcome.assert_succeeded().one(QuoteVerified).platform.block_seqno == seqno
    else:
        outcome.assert_refused(522)


def test_verify_block_age_is_bounded_by_policy(enclaves: Enclaves) -> None:
    """A-2."""
    enclaves.set_policy(version=2, max_block_age=2).assert_succeeded()
    enclaves.verify().assert_refused(522)


def other_machine(enclaves: Enclaves) -> SimulatedMachine:
    return SimulatedMachine(enclaves.intel, Hardware(instance="another"))


def test_verify_mixed_quotes_are_refused(enclaves: Enclaves) -> None:
    """A-1: Parts of two platforms' quotes, each genuine."""
    mine = enclaves.evidence()
    other = other_machine(enclaves).quote(enclaves.quote().report)
    theirs = enclaves.evidence(other)
    key = {"attestation_key_x": theirs.attestation_key_x, "attestation_key_y": theirs.attestation_key_y}
    enclaves.verify(replace(mine, enclave=theirs.enclave)).assert_refused(527)
    enclaves.verify(replace(mine, certificate=theirs.certificate)).assert_refused(511)
    enclaves.verify(replace(mine, report=theirs.report)).assert_refused(511)
    enclaves.verify(replace(mine, report=theirs.report, **key)).assert_refused(527)


def test_verify_attestation_key_the_enclave_never_named_is_refused(enclaves: Enclaves) -> None:
    """A key of our own signs the report; enclave and certificate are genuine."""
    own = other_machine(enclaves).attestation_key
    quote = enclaves.quote()
    data = replace(quote.signature_data, signature=own.sign(quote.signed_bytes), attestation_key=own.public_key)
    enclaves.verify(enclaves.evidence(replace(quote, signature_data=data))).assert_refused(527)


@pytest.mark.parametrize(
    ("part", "code"), [("report", 514), ("enclave", 515), ("certificate", 516)], ids=["quote", "enclave", "certificate"]
)
def test_verify_signature_of_another_document_is_refused(enclaves: Enclaves, part: str, code: int) -> None:
    """A-1: The signature is genuine, the hints fit it and this document: only that it was made for another one."""
    other = other_machine(enclaves)
    quote = enclaves.quote()
    data = quote.signature_data
    if part == "report":
        data = replace(data, signature=enclaves.machine.attestation_key.sign(b"something else"))
    elif part == "enclave":
        data = replace(data, qe_report_signature=enclaves.machine.pck_key.sign(b"something else"))
    evidence = enclaves.evidence(replace(quote, signature_data=data))
    if part == "certificate":
        leaf = replace(data.pck_chain[0], signature=other.pck.signature)
        evidence = replace(evidence, certificate=pck_document(leaf, data.pck_chain[1].public_key))
    enclaves.verify(evidence).assert_refused(code)


@pytest.mark.parametrize("part", ["report", "enclave", "certificate"])
@pytest.mark.parametrize(("name", "code"), [("c", 510), ("c_x", 511), ("slope", 511)])
def test_verify_altered_hint_is_refused(enclaves: Enclaves, part: str, name: str, code: int) -> None:
    """A-1."""
    evidence = enclaves.evidence()
    document: SignedDocument = getattr(evidence, part)
    hint: P256Hint = replace(document.hint, **{name: getattr(document.hint, name) ^ 1})
    enclaves.verify(replace(evidence, **{part: replace(document, hint=hint)})).assert_refused(code)


def test_verify_report_data_of_enclave_with_second_half_is_refused(enclaves: Enclaves) -> None:
    report = enclaves.machine.enclave_report()
    report = replace(report, report_data=report.report_data[:63] + b"\1")
    quote = enclaves.machine.quote(enclaves.quote().report, qe_report=report)
    enclaves.verify(enclaves.evidence(quote)).assert_refused(527)


def test_verify_evidence_names_nothing_of_registry(enclaves: Enclaves) -> None:
    """The registry in report_data is the contract's own, not the message's."""
    assert enclaves.state.registry == REGISTRY
