"""Nobody trusts a simulated platform without having said so."""

from __future__ import annotations

import pytest
from evidence_samples import intel, machine, real_sample

from cocoon.attestation.certificates import Certificate
from cocoon.attestation.errors import EvidenceMalformed, SimulatedTeeRefused
from cocoon.attestation.evidence import EvidenceSource, SimulatedSource
from cocoon.attestation.quote import Quote
from cocoon.attestation.reports import TdReport15
from cocoon.attestation.trust import INTEL_ROOT, banner, trusted_root

REPORT_DATA = bytes(range(64))


def test_intels_root_is_trusted_without_a_banner() -> None:
    root = trusted_root(Certificate.parse(real_sample().root_der))
    assert root == INTEL_ROOT
    assert not root.simulated
    assert banner(root) is None


def test_another_root_is_refused_unless_allowed() -> None:
    with pytest.raises(SimulatedTeeRefused, match="--allow-simulated-tee"):
        trusted_root(intel().root)


def test_allowed_simulated_root_says_that_nothing_is_confidential() -> None:
    root = trusted_root(intel().root, allow_simulated_tee=True)
    assert root.simulated
    assert "NOTHING IS CONFIDENTIAL" in (banner(root) or "")


def test_open_simulated_source_is_refused_unless_allowed() -> None:
    with pytest.raises(SimulatedTeeRefused, match="nothing would be confidential"):
        SimulatedSource(machine())


@pytest.mark.parametrize("version_15", [False, True])
async def test_quote_from_simulated_source_says_what_was_asked_for(version_15: bool) -> None:
    simulated = SimulatedSource(machine(), allow_simulated_tee=True, version_15=version_15)
    source: EvidenceSource = simulated
    assert source.simulated
    quote = Quote.parse(await source.quote(REPORT_DATA))
    assert quote.report.report_data == REPORT_DATA
    assert isinstance(quote.report, TdReport15) is version_15
    assert simulated.root.public_key == quote.signature_data.pck_chain[-1].public_key


@pytest.mark.parametrize("size", [0, 32, 63, 65])
async def test_quote_for_statement_of_another_size_is_refused(size: int) -> None:
    with pytest.raises(EvidenceMalformed, match="64 bytes"):
        await SimulatedSource(machine(), allow_simulated_tee=True).quote(bytes(size))
