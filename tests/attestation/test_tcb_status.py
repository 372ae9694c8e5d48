"""Which status a platform gets, level by level, checked against an independent implementation."""

from __future__ import annotations

import json
from dataclasses import replace

import dcap_qvl
import pytest
from evidence_samples import TIME, intel, machine, published, real_sample
from hypothesis import given, settings
from hypothesis import strategies as st

from cocoon.attestation.collateral import Collateral
from cocoon.attestation.errors import CollateralMismatch
from cocoon.attestation.pcs import SvnLevel, TcbComponent, TcbLevel, TcbStatus
from cocoon.attestation.platform import Hardware, Publication, guest_report
from cocoon.attestation.quote import Quote
from cocoon.attestation.tcb import evaluate

LOW = Hardware(components=(1, 1, 2, 2, 4, 1, 0, 5, 0, 0, 0, 0, 0, 0, 0, 0))
LOWER_PCE = Hardware(pce_svn=5)
ANCIENT = Hardware(pce_svn=4)
QUOTE = machine().quote(guest_report(bytes(64)))


def _judged(publication: Publication, quote: Quote = QUOTE) -> TcbStatus:
    return evaluate(quote, intel().publish(publication)).status


def _rated(*statuses: tuple[int, TcbStatus]) -> tuple[SvnLevel, ...]:
    return tuple(SvnLevel(svn, 0, status, (f"INTEL-SA-{svn:05}",)) for svn, status in statuses)


def test_evaluate_real_quote_is_up_to_date() -> None:
    sample = real_sample()
    verdict = evaluate(sample.quote, sample.collateral)
    assert (verdict.status, verdict.advisories, verdict.date) == (TcbStatus.UP_TO_DATE, (), 1710288000)


@pytest.mark.parametrize(
    ("hardware", "status"),
    [(Hardware(), TcbStatus.UP_TO_DATE), (LOW, TcbStatus.OUT_OF_DATE), (LOWER_PCE, TcbStatus.OUT_OF_DATE)],
)
def test_evaluate_takes_the_highest_level_reached_in_everything(hardware: Hardware, status: TcbStatus) -> None:
    assert _judged(published(), machine(hardware).quote(guest_report(bytes(64)))) is status


def test_evaluate_platform_below_every_level_is_refused() -> None:
    with pytest.raises(CollateralMismatch, match="reaches no level"):
        _judged(published(), machine(ANCIENT).quote(guest_report(bytes(64))))


@pytest.mark.parametrize("changes", [{"fmspc": bytes(6)}, {"pce_id": b"\x01\x00"}])
def test_evaluate_with_tcb_info_of_another_platform_is_refused(changes: dict[str, bytes]) -> None:
    with pytest.raises(CollateralMismatch, match="fetch the one of this platform"):
        _judged(published().with_tcb_info(**changes))


@pytest.mark.parametrize(
    ("platform", "part", "together"),
    [
        (TcbStatus.UP_TO_DATE, TcbStatus.UP_TO_DATE, TcbStatus.UP_TO_DATE),
        (TcbStatus.UP_TO_DATE, TcbStatus.OUT_OF_DATE, TcbStatus.OUT_OF_DATE),
        (TcbStatus.SW_HARDENING_NEEDED, TcbStatus.OUT_OF_DATE, TcbStatus.OUT_OF_DATE),
        (TcbStatus.SW_HARDENING_NEEDED, TcbStatus.UP_TO_DATE, TcbStatus.SW_HARDENING_NEEDED),
        (TcbStatus.CONFIGURATION_NEEDED, TcbStatus.OUT_OF_DATE, TcbStatus.OUT_OF_DATE_CONFIGURATION_NEEDED),
        (
            TcbStatus.CONFIGURATION_AND_SW_HARDENING_NEEDED,
            TcbStatus.OUT_OF_DATE,
            TcbStatus.OUT_OF_DATE_CONFIGURATION_NEEDED,
        ),
        (
            TcbStatus.OUT_OF_DATE_CONFIGURATION_NEEDED,
            TcbStatus.OUT_OF_DATE,
            TcbStatus.OUT_OF_DATE_CONFIGURATION_NEEDED,
        ),
        (TcbStatus.UP_TO_DATE, TcbStatus.REVOKED, TcbStatus.REVOKED),
        (TcbStatus.REVOKED, TcbStatus.UP_TO_DATE, TcbStatus.REVOKED),
    ],
)
def test_evaluate_combines_the_parts_as_intel_does(platform: TcbStatus, part: TcbStatus, together: TcbStatus) -> None:
    base = published()
    levels = (replace(base.tcb_info.levels[0], status=platform),)
    module = replace(base.tcb_info.module_identities[1], levels=_rated((4, part)))
    assert _judged(base.with_tcb_info(levels=levels, module_identities=(module,))) is together
    assert _judged(base.with_tcb_info(levels=levels).with_qe_identity(levels=_rated((4, part)))) is together


def test_evaluate_old_module_and_enclave_name_their_advisories() -> None:
    base = published().with_qe_identity(levels=_rated((9, TcbStatus.UP_TO_DATE), (2, TcbStatus.OUT_OF_DATE)))
    quote = machine().quote(guest_report(bytes(64), tee_tcb_svn=bytes((2, 1, 3)).ljust(16, b"\0")))
    verdict = evaluate(quote, intel().publish(base))
    assert verdict.status is TcbStatus.OUT_OF_DATE
    assert verdict.advisories == ("INTEL-SA-00002", "INTEL-SA-00837")


def test_evaluate_module_of_major_version_zero_is_judged_by_the_platform_level() -> None:
    quote = machine().quote(guest_report(bytes(64), tee_tcb_svn=bytes((5, 0, 2)).ljust(16, b"\0")))
    verdict = evaluate(quote, intel().publish(published()))
    assert (verdict.status, verdict.module) == (TcbStatus.UP_TO_DATE, None)
    older = machine().quote(guest_report(bytes(64), tee_tcb_svn=bytes((4, 0, 2)).ljust(16, b"\0")))
    with pytest.raises(CollateralMismatch, match="reaches no level"):
        _judged(published(), older)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"tee_tcb_svn": bytes((6, 2, 3)).ljust(16, b"\0")}, "does not know the TDX module TDX_02"),
        (
            {"tee_tcb_svn": bytes((1, 1, 3)).ljust(16, b"\0")},
            "the TDX module has security version 1, below every level",
        ),
        ({"mr_signer_seam": b"\x01" + bytes(47)}, "signed by somebody else"),
        ({"seam_attributes": b"\x01" + bytes(7)}, "other attributes"),
    ],
)
def test_evaluate_module_intel_does_not_know_is_refused(changes: dict[str, bytes], reason: str) -> None:
    with pytest.raises(CollateralMismatch, match=reason):
        _judged(published(), machine().quote(guest_report(bytes(64), **changes)))


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"mr_signer": bytes(32)}, "signer"),
        ({"isv_prod_id": 1}, "product id"),
        ({"misc_select": b"\x01\0\0\0"}, "MISCSELECT"),
        ({"attributes": bytes.fromhex("13000000000000000000000000000000")}, "attributes"),
        ({"isv_svn": 2}, "security version 2"),
    ],
)
def test_evaluate_enclave_that_is_not_intels_is_refused(changes: dict[str, object], what: str) -> None:
    report = replace(machine().enclave_report(), **changes)  # type: ignore[arg-type]
    with pytest.raises(CollateralMismatch, match=what):
        _judged(published(), machine().quote(guest_report(bytes(64)), qe_report=report))


def _elsewhere(quote: Quote, collateral: Collateral) -> str | None:
    """The status another implementation gives; None if it refuses, as it does what is revoked."""
    verifier = dcap_qvl.QuoteVerifier(intel().root.der)
    try:
        claims = verifier.verify_with_policy(
            quote.to_bytes(),
            dcap_qvl.QuoteCollateralV3.from_json(collateral.to_json()),
            TIME,
            dcap_qvl.QuotePolicy.claims_only(TIME),
        )
    except ValueError:
        return None
    status: str = json.loads(claims.to_json())["tcb"]["status"]
    return status


def _descending(levels: list[tuple[int, ...]]) -> list[tuple[int, ...]]:
    """Levels as Intel publishes them: each below the one before it."""
    found = levels[:1]
    for level in levels[1:]:
        lower = tuple(map(min, found[-1], level))
        if lower != found[-1]:
            found.append(lower)
    return found


def _components(svns: tuple[int, ...]) -> tuple[TcbComponent, ...]:
    return tuple(map(TcbComponent, (*svns, *bytes(13))))


_SMALL = st.integers(0, 3)


@settings(max_examples=60, deadline=None)
@given(
    components=st.lists(_SMALL, min_size=3, max_size=3),
    pce_svn=_SMALL,
    module=st.tuples(_SMALL, st.integers(0, 1), _SMALL),
    levels=st.lists(st.tuples(_SMALL, _SMALL, _SMALL, _SMALL, _SMALL, st.just(0), _SMALL), min_size=1, max_size=4),
    statuses=st.lists(st.sampled_from(TcbStatus), min_size=4, max_size=4),
    module_levels=st.lists(
        st.tuples(_SMALL, st.sampled_from([TcbStatus.UP_TO_DATE, TcbStatus.OUT_OF_DATE])), max_size=3
    ),
)
def test_evaluate_agrees_with_another_implementation(
    components: list[int],
    pce_svn: int,
    module: tuple[int, int, int],
    levels: list[tuple[int, ...]],
    statuses: list[TcbStatus],
    module_levels: list[tuple[int, TcbStatus]],
) -> None:
    base = published()
    rated = tuple(
        TcbLevel(_components(level[:3]), level[3], _components(level[4:]), 0, status)
        for level, status in zip(_descending(levels), statuses, strict=False)
    )
    identity = replace(base.tcb_info.module_identities[1], levels=_rated(*module_levels))
    collateral = intel().publish(base.with_tcb_info(levels=rated, module_identities=(identity,)))
    hardware = Hardware(components=(*components, *bytes(13)), pce_svn=pce_svn)
    quote = machine(hardware).quote(guest_report(bytes(64), tee_tcb_svn=bytes(module).ljust(16, b"\0")))
    try:
        ours: str | None = evaluate(quote, collateral).status.value
    except CollateralMismatch:
        ours = None
    assert (None if ours == TcbStatus.REVOKED else ours) == _elsewhere(quote, collateral)
