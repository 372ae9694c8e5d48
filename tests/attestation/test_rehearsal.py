"""Quotes before the contracts: what is right is accepted, and each thing that is wrong is refused for what it is."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

import pytest
from evidence_samples import SEED, TIME, intel, machine, published, real_sample

from cocoon.attestation.collateral import Collateral
from cocoon.attestation.errors import QuoteMalformed, SimulatedTeeRefused
from cocoon.attestation.pcs import TcbStatus
from cocoon.attestation.platform import (
    CertificateAuthority,
    Hardware,
    Publication,
    Role,
    SimulatedIntel,
    SimulatedMachine,
    Validity,
    guest_report,
)
from cocoon.attestation.platform.publication import DAY
from cocoon.attestation.quote import Quote
from cocoon.attestation.rehearsal import Rehearsal, rehearse
from cocoon.attestation.rehearsal_stage import COLLATERAL_MISSING, STATUS_REFUSED, AttestationCode
from cocoon.attestation.reports import TdAttributes, TdReport10
from cocoon.attestation.tcb import evaluate
from cocoon.contracts_build import contracts_dir

REPORT = guest_report(bytes(range(64)))
PROCESSOR = Hardware(authority=CertificateAuthority.PROCESSOR)
OLD = Hardware(pce_svn=10)
COLLATERAL = [
    "root CRL",
    "PCK CA certificate",
    "PCK CRL",
    "TCB signing certificate",
    "QE identity",
    "TCB info",
]


def _codes() -> dict[int, str]:
    """Exit codes of Attestation by number."""
    text = (contracts_dir() / "attestation" / "errors.tolk").read_text()
    return {int(code): name for name, code in re.findall(r"^    (\w+) = (\d+) ", text, re.MULTILINE)}


def test_codes_named_here_are_the_contracts() -> None:
    assert (_codes()[COLLATERAL_MISSING], _codes()[STATUS_REFUSED]) == ("CollateralMissing", "StatusRefused")


def _rehearse(
    code: AttestationCode, quote: Quote, collateral: Collateral | None = None, at: int = TIME, **options: object
) -> Rehearsal:
    collateral = collateral or intel().publish(published())
    return rehearse(quote, collateral, at, allow_simulated_tee=True, code=code, **options)  # type: ignore[arg-type]


def test_rehearse_real_quote_under_intels_root_is_accepted(attestation_code: AttestationCode) -> None:
    sample = real_sample()
    found = rehearse(sample.quote, sample.collateral, sample.time, code=attestation_code)
    assert found.refusal is None
    assert found.accepted
    assert not found.root.simulated
    assert found.judgement is not None
    assert (found.judgement.tcb_status, found.judgement.tcb_date) == (TcbStatus.UP_TO_DATE, 1710288000)
    assert found.judgement.report_data == sample.quote.report.report_data
    assert found.judgement.fmspc.hex() == "b0c06f000000"
    assert [step.name for step in found.steps] == [*COLLATERAL, "quote", "TCB level"]


def test_rehearse_real_quote_after_its_collateral_expired_is_refused(attestation_code: AttestationCode) -> None:
    sample = real_sample()
    found = rehearse(sample.quote, sample.collateral, sample.time + 90 * DAY, code=attestation_code)
    assert found.refusal is not None
    assert (found.refusal.step, _codes()[found.refusal.code or 0]) == ("PCK CRL", "CrlExpired")
    assert found.judgement is None


@pytest.mark.parametrize("hardware", [Hardware(), PROCESSOR], ids=lambda hardware: hardware.authority.value)
@pytest.mark.parametrize("version_15", [False, True], ids=["TD 1.0", "TD 1.5"])
def test_rehearse_simulated_quote_is_accepted(
    attestation_code: AttestationCode, hardware: Hardware, version_15: bool
) -> None:
    quote = machine(hardware).quote(guest_report(bytes(range(64)), version_15=version_15))
    found = _rehearse(attestation_code, quote, intel().publish(published(hardware)))
    assert found.refusal is None
    assert found.accepted
    assert found.root.simulated


def test_rehearse_simulated_quote_is_refused_unless_allowed(attestation_code: AttestationCode) -> None:
    with pytest.raises(SimulatedTeeRefused):
        rehearse(machine().quote(REPORT), intel().publish(published()), TIME, code=attestation_code)


def test_rehearse_quote_without_its_root_is_refused(attestation_code: AttestationCode) -> None:
    quote = machine().quote(REPORT)
    pem = quote.signature_data.pck_chain_pem.split(b"-----END CERTIFICATE-----\n")[:2]
    short = b"-----END CERTIFICATE-----\n".join([*pem, b""])
    with pytest.raises(QuoteMalformed, match="PCK certificate, CA and root"):
        _rehearse(attestation_code, replace(quote, signature_data=replace(quote.signature_data, pck_chain_pem=short)))


def test_rehearse_old_platform_is_judged_and_refused_by_policy(attestation_code: AttestationCode) -> None:
    quote = machine(OLD).quote(REPORT)
    found = _rehearse(attestation_code, quote)
    assert found.judgement is not None
    assert found.judgement.tcb_status is TcbStatus.OUT_OF_DATE
    assert found.refusal is not None
    assert (found.refusal.step, found.refusal.code) == ("policy", STATUS_REFUSED)
    assert not found.accepted
    tolerant = _rehearse(attestation_code, quote, accepted=(TcbStatus.UP_TO_DATE, TcbStatus.OUT_OF_DATE))
    assert tolerant.accepted


@pytest.mark.parametrize("platform", [status for status in TcbStatus if status is not TcbStatus.REVOKED])
@pytest.mark.parametrize("part", [TcbStatus.UP_TO_DATE, TcbStatus.OUT_OF_DATE])
def test_rehearse_joins_statuses_as_this_side_does(
    attestation_code: AttestationCode, platform: TcbStatus, part: TcbStatus
) -> None:
    """The contract's judgement of every pair of platform and module is that of `evaluate`."""
    base = published()
    module = base.tcb_info.module_identities[1]
    publication = base.with_tcb_info(
        levels=(replace(base.tcb_info.levels[0], status=platform),),
        module_identities=(replace(module, levels=(replace(module.levels[0], status=part),)),),
    )
    quote, collateral = machine().quote(REPORT), intel().publish(publication)
    found = _rehearse(attestation_code, quote, collateral, accepted=tuple(set(TcbStatus) - {TcbStatus.REVOKED}))
    assert found.judgement is not None
    ours = evaluate(quote, collateral)
    assert (found.judgement.tcb_status, found.judgement.tcb_date) == (ours.status, ours.date)


def _attributes(bits: int) -> TdReport10:
    return guest_report(bytes(64), td_attributes=bits.to_bytes(8, "little"))


def _quoted(report: TdReport10, hardware: Hardware | None = None) -> Quote:
    return machine(hardware).quote(report)


def _altered_signature(quote: Quote) -> Quote:
    data = quote.signature_data
    return replace(quote, signature_data=replace(data, signature=data.signature[:63] + bytes([data.signature[63] ^ 1])))


SAFE = TdAttributes.SEPT_VE_DISABLE
ENCLAVE = machine().enclave_report()
QUOTES: dict[str, tuple[Callable[[], Quote], str]] = {
    "debug": (lambda: _quoted(_attributes(SAFE | TdAttributes.DEBUG)), "DebugEnclave"),
    "no SEPT_VE_DISABLE": (lambda: _quoted(_attributes(0)), "AttributesRefused"),
    "migratable": (lambda: _quoted(_attributes(SAFE | TdAttributes.MIGRATABLE)), "AttributesRefused"),
    "service TD": (
        lambda: _quoted(guest_report(bytes(64), version_15=True, mr_service_td=b"\x01" * 48)),
        "ServiceTdBound",
    ),
    "foreign module": (lambda: _quoted(guest_report(bytes(64), mr_signer_seam=b"\x01" * 48)), "ForeignTdxModule"),
    "unknown module": (
        lambda: _quoted(guest_report(bytes(64), tee_tcb_svn=bytes((6, 9, 3)) + bytes(13))),
        "TdxModuleUnknown",
    ),
    "below every level": (lambda: _quoted(REPORT, Hardware(pce_svn=1)), "TcbLevelUnknown"),
    "another PCE": (lambda: _quoted(REPORT, Hardware(pce_id=b"\x01\x00")), "WrongPceId"),
    "another FMSPC": (lambda: _quoted(REPORT, Hardware(fmspc=b"\x01" * 6)), "CollateralMissing"),
    "another enclave": (
        lambda: machine().quote(REPORT, qe_report=replace(ENCLAVE, mr_signer=bytes(32))),
        "WrongEnclave",
    ),
    "old enclave": (lambda: machine().quote(REPORT, qe_report=replace(ENCLAVE, isv_svn=1)), "QeLevelUnknown"),
    "another attestation key": (
        lambda: machine().quote(REPORT, qe_report=replace(ENCLAVE, report_data=bytes(64))),
        "WrongAttestationKey",
    ),
    "altered report": (
        lambda: replace(_quoted(REPORT), report=replace(REPORT, rt_mr3=b"\x01" * 48)),
        "NotQuoteSignature",
    ),
    "altered signature": (lambda: _altered_signature(_quoted(REPORT)), "NotQuoteSignature"),
}


@pytest.mark.parametrize(("make", "name"), QUOTES.values(), ids=QUOTES.keys())
def test_rehearse_quote_with_one_thing_wrong_is_refused_for_it(
    attestation_code: AttestationCode, make: Callable[[], Quote], name: str
) -> None:
    """A.11: a debug enclave among them."""
    found = _rehearse(attestation_code, make())
    assert found.refusal is not None
    assert _codes().get(found.refusal.code or 0) == name
    assert not found.accepted


EXPIRED = Validity(TIME - 9 * DAY, TIME - DAY)
PUBLISHED: dict[str, tuple[Callable[[Publication], Publication], str, str]] = {
    "revoked platform": (
        lambda p: replace(p, revoked_pck=(machine().pck.serial, 5)),
        "quote",
        "CertificateRevoked",
    ),
    "revoked CA": (
        lambda p: replace(p, revoked_ca=(intel().platform_ca.serial,)),
        "PCK CA certificate",
        "CertificateRevoked",
    ),
    "revoked TCB signer": (
        lambda p: replace(p, revoked_ca=(intel().tcb_signing.serial,)),
        "TCB signing certificate",
        "CertificateRevoked",
    ),
    "expired TCB info": (lambda p: p.with_tcb_info(next_update=TIME - 1), "TCB info", "CollateralExpired"),
    "future TCB info": (lambda p: p.with_tcb_info(issue_date=TIME + DAY), "TCB info", "CollateralNotYetValid"),
    "expired QE identity": (lambda p: p.with_qe_identity(next_update=TIME - 1), "QE identity", "CollateralExpired"),
    "expired lists": (lambda p: replace(p, crl_next_update=TIME - 1), "root CRL", "CrlExpired"),
    "numbers apart": (
        lambda p: p.with_qe_identity(tcb_evaluation_data_number=18),
        "quote",
        "CollateralMissing",
    ),
    "list of the other CA": (
        lambda p: replace(p, authority=CertificateAuthority.PROCESSOR),
        "PCK CRL",
        "NotIssuerSignature",
    ),
}


@pytest.mark.parametrize(("change", "step", "name"), PUBLISHED.values(), ids=PUBLISHED.keys())
def test_rehearse_with_collateral_that_is_wrong_is_refused_for_it(
    attestation_code: AttestationCode, change: Callable[[Publication], Publication], step: str, name: str
) -> None:
    found = _rehearse(attestation_code, machine().quote(REPORT), intel().publish(change(published())))
    assert found.refusal is not None
    assert (found.refusal.step, _codes().get(found.refusal.code or 0)) == (step, name)


@pytest.mark.parametrize(
    ("role", "name"),
    [
        (Role.PCK, "CertificateExpired"),
        (Role.PLATFORM_CA, "CertificateExpired"),
        (Role.TCB_SIGNING, "CertificateExpired"),
    ],
)
def test_rehearse_with_expired_certificate_is_refused(attestation_code: AttestationCode, role: Role, name: str) -> None:
    everyone = SimulatedIntel(SEED, TIME, validity={role: EXPIRED})
    quote = SimulatedMachine(everyone).quote(REPORT)
    found = _rehearse(attestation_code, quote, everyone.publish(published()))
    assert found.refusal is not None
    assert _codes().get(found.refusal.code or 0) == name


def test_rehearse_with_altered_document_says_who_did_not_sign_it(attestation_code: AttestationCode) -> None:
    collateral = intel().publish(published())
    document = collateral.tcb_info_document
    numbers, constant = (
        (b'"tcbEvaluationDataNumber":17', b'"tcbEvaluationDataNumber":18'),
        (b'"tcbType":0', b'"tcbType":1'),
    )
    for (old, new), name in ((numbers, "NotSignerSignature"), (constant, "HintScalarWrong")):
        assert old in document.body
        altered = replace(document, body=document.body.replace(old, new))
        found = _rehearse(attestation_code, machine().quote(REPORT), replace(collateral, tcb_info_document=altered))
        assert found.refusal is not None
        assert (found.refusal.step, _codes().get(found.refusal.code or 0)) == ("TCB info", name)


def test_rehearse_with_date_no_contract_can_hold_names_the_document(attestation_code: AttestationCode) -> None:
    collateral = intel().publish(published().with_tcb_info(next_update=1 << 33))
    found = _rehearse(attestation_code, machine().quote(REPORT), collateral)
    assert found.refusal is not None
    assert (found.refusal.step, found.refusal.name) == ("TCB info", "WireError")


def test_rehearse_with_unreadable_document_names_it(attestation_code: AttestationCode) -> None:
    collateral = intel().publish(published())
    document = replace(collateral.qe_identity_document, body=b"{}")
    found = _rehearse(attestation_code, machine().quote(REPORT), replace(collateral, qe_identity_document=document))
    assert found.refusal is not None
    assert (found.refusal.step, found.refusal.code, found.refusal.name) == ("QE identity", None, "CollateralMalformed")
