"""The second opinion: both verifiers agree, or nobody believes the quote."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from evidence_samples import TIME, intel, machine, published, real_sample

from cocoon.attestation import second_opinion as module
from cocoon.attestation.certificates import Certificate
from cocoon.attestation.collateral import Collateral
from cocoon.attestation.errors import (
    CollateralMismatch,
    QuoteMalformed,
    SecondOpinionDiffers,
    SecondOpinionRefused,
    SimulatedTeeRefused,
)
from cocoon.attestation.pcs import TcbStatus
from cocoon.attestation.platform import Hardware, SimulatedMachine, guest_report
from cocoon.attestation.reports import TdReport10
from cocoon.attestation.second_opinion import Opinion, second_opinion

REPORT = guest_report(bytes(64))


def _ask(
    report: TdReport10 = REPORT, hardware: Hardware | None = None, collateral: Collateral | None = None
) -> Opinion:
    raw = machine(hardware).quote(report).to_bytes()
    return _ask_about(raw, collateral or intel().publish(published(hardware)))


def _ask_about(raw: bytes, collateral: Collateral, at: int = TIME) -> Opinion:
    return second_opinion(raw, collateral, intel().root, at, allow_simulated_tee=True)


def test_second_opinion_on_the_real_quote_is_up_to_date() -> None:
    sample = real_sample()
    opinion = second_opinion(sample.raw, sample.collateral, Certificate.parse(sample.root_der), sample.time)
    assert opinion.tcb.status is TcbStatus.UP_TO_DATE
    assert opinion.pck.fmspc.hex() == "b0c06f000000"
    assert not opinion.root.simulated


def test_second_opinion_on_the_real_quote_after_its_collateral_expired_is_refused() -> None:
    sample = real_sample()
    with pytest.raises(SecondOpinionRefused, match="expired"):
        second_opinion(sample.raw, sample.collateral, Certificate.parse(sample.root_der), sample.time + 90 * 86_400)


@pytest.mark.parametrize("version_15", [False, True])
def test_second_opinion_on_simulated_quote_agrees(version_15: bool) -> None:
    opinion = _ask(guest_report(bytes(range(64)), version_15=version_15))
    assert opinion.tcb.status is TcbStatus.UP_TO_DATE
    assert opinion.quote.report.report_data == bytes(range(64))
    assert opinion.root.simulated


def test_second_opinion_on_masked_fields_of_the_quoting_enclave_agrees() -> None:
    """MISCSELECT and attributes stand in the identity's text in the order of the report's bytes: only values that read
    otherwise backwards tell."""
    misc_select, attributes = bytes((0x10, 0, 3, 2)), bytes((0x11, *[0] * 14, 0x80))
    identity = published().with_qe_identity(
        misc_select=misc_select, misc_select_mask=bytes((0xF0, 0xFF, 0xFF, 0x0F)),
        attributes=attributes, attributes_mask=bytes((0xFB, *[0xFF] * 14, 0xF0)),
    )  # fmt: skip
    collateral = intel().publish(identity)

    def ask(**changes: bytes) -> Opinion:
        asked = machine()
        fields = {"misc_select": misc_select, "attributes": attributes} | changes
        report = replace(asked.enclave_report(), **fields)  # type: ignore[arg-type]
        return _ask_about(asked.quote(REPORT, qe_report=report).to_bytes(), collateral)

    assert ask().tcb.status is TcbStatus.UP_TO_DATE
    assert ask(misc_select=bytes((0x1F, 0, 3, 0xF2))).tcb.status is TcbStatus.UP_TO_DATE
    for changes in ({"misc_select": bytes((2, 3, 0, 0x10))}, {"attributes": attributes[::-1]}):
        with pytest.raises(CollateralMismatch, match="quoting enclave"):
            ask(**changes)


def test_second_opinion_on_old_platform_agrees_that_it_is_old() -> None:
    assert _ask(hardware=Hardware(pce_svn=10)).tcb.status is TcbStatus.OUT_OF_DATE


def test_second_opinion_on_module_updated_under_the_guest_counts_the_old_module() -> None:
    old, new = bytes((2, 1, 3)).ljust(16, b"\0"), bytes((6, 1, 3)).ljust(16, b"\0")
    opinion = _ask(guest_report(bytes(64), version_15=True, tee_tcb_svn=old, tee_tcb_svn_2=new))
    assert opinion.tcb.status is TcbStatus.OUT_OF_DATE


def test_second_opinion_under_simulated_root_is_refused_unless_allowed() -> None:
    with pytest.raises(SimulatedTeeRefused):
        second_opinion(machine().quote(REPORT).to_bytes(), intel().publish(published()), intel().root, TIME)


def test_second_opinion_on_debug_guest_is_refused() -> None:
    """A.11."""
    with pytest.raises(SecondOpinionRefused, match="Debug mode is enabled"):
        _ask(guest_report(bytes(64), td_attributes=b"\x01\0\0\x10" + bytes(4)))


def test_second_opinion_on_altered_report_is_refused() -> None:
    quote = machine().quote(REPORT)
    altered = replace(quote, report=replace(quote.report, rt_mr3=b"\x01" * 48))
    with pytest.raises(SecondOpinionRefused, match="signature is invalid"):
        _ask_about(altered.to_bytes(), intel().publish(published()))


def test_second_opinion_on_revoked_platform_is_refused() -> None:
    publication = replace(published(), revoked_pck=(SimulatedMachine(intel()).pck.serial,))
    with pytest.raises(SecondOpinionRefused, match="certificate chain"):
        _ask(collateral=intel().publish(publication))


def test_second_opinion_with_collateral_of_another_platform_is_refused() -> None:
    with pytest.raises(CollateralMismatch):
        _ask(collateral=intel().publish(published().with_tcb_info(fmspc=bytes(6))))


def test_second_opinion_on_noise_is_refused() -> None:
    with pytest.raises(QuoteMalformed):
        _ask_about(b"noise", intel().publish(published()))


@pytest.mark.parametrize("at", [-1, 1 << 65])
def test_second_opinion_at_an_impossible_time_is_refused(at: int) -> None:
    with pytest.raises(SecondOpinionRefused):
        _ask_about(machine().quote(REPORT).to_bytes(), intel().publish(published()), at)


def _lying(monkeypatch: pytest.MonkeyPatch, change: Any) -> None:
    """Makes the other verifier say something else."""
    honest = module._claims

    def claims(*arguments: Any) -> Any:
        found = json.loads(json.dumps(honest(*arguments)))
        change(found)
        return found

    monkeypatch.setattr(module, "_claims", claims)


@pytest.mark.parametrize(
    ("path", "value", "name"),
    [
        (("report", "TD10", "mr_td"), "00" * 48, "mr_td"),
        (("report", "TD10", "report_data"), "00" * 63 + "01", "report_data"),
        (("platform", "pck", "fmspc"), [0] * 6, "FMSPC"),
        (("platform", "pck", "pce_svn"), 12, "PCESVN"),
        (("tcb", "status"), "OutOfDate", "TCB status"),
        (("qe", "report", "mr_signer"), "00" * 32, "enclave's mr_signer"),
        (("header", "version"), 5, "quote version"),
    ],
)
def test_second_opinion_that_reads_something_else_is_an_error(
    monkeypatch: pytest.MonkeyPatch, path: tuple[str, ...], value: object, name: str
) -> None:
    def change(claims: dict[str, Any]) -> None:
        *parents, last = path
        for key in parents:
            claims = claims[key]
        claims[last] = value

    _lying(monkeypatch, change)
    with pytest.raises(SecondOpinionDiffers, match=f"differently: {name}\\."):
        _ask()


def test_second_opinion_without_a_claim_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    _lying(monkeypatch, lambda claims: claims.pop("qe"))
    with pytest.raises(SecondOpinionDiffers, match="claims lack 'qe'"):
        _ask()
