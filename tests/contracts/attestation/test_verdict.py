"""The whole way of a quote: Worker -> Attestation -> TcbStore -> Attestation -> Worker."""

from __future__ import annotations

import pytest
from enclaves import HEAD, NOW, WORKER, Enclaves

from cocoon.attestation.platform import CertificateAuthority, Hardware
from cocoon.attestation.witness import measurement
from cocoon.wire.attestation import QuoteVerified, TcbStatusCode
from cocoon_sandbox.ledger import Ledger


@pytest.mark.parametrize(("version", "version_15"), [(4, False), (5, False), (5, True)])
def test_verify_genuine_quote_gives_verdict_to_sender(enclaves: Enclaves, version: int, version_15: bool) -> None:
    """A-1."""
    quote = enclaves.quote(version=version, version_15=version_15)
    outcome = enclaves.verify(enclaves.evidence(quote)).assert_succeeded()
    verdict = outcome.one(QuoteVerified)
    assert (verdict.attest_seq, verdict.tcb_status) == (enclaves.attest_seq, TcbStatusCode.UP_TO_DATE)
    assert verdict.tcb_date == enclaves.publication.tcb_info.levels[0].date
    platform = verdict.platform
    assert (platform.evaluation_number, platform.block_seqno, platform.lease_end) == (17, HEAD - 3, NOW + 86_400)
    assert platform.keys.session_key == enclaves.session_key
    assert platform.keys.hpke_key_hash == enclaves.hpke_key_hash
    assert platform.keys.measurement == int.from_bytes(measurement(quote))
    assert not outcome.changed
    assert outcome.messages[-1].dst == WORKER


def test_verify_quote_under_processor_ca_gives_verdict(ledger: Ledger) -> None:
    enclaves = Enclaves.on(ledger, Hardware(authority=CertificateAuthority.PROCESSOR)).ready()
    enclaves.verify().assert_succeeded().one(QuoteVerified)


@pytest.mark.parametrize("pce_svn", [200, 40_000])
def test_verify_quote_of_platform_with_great_pcesvn_gives_verdict(ledger: Ledger, pce_svn: int) -> None:
    """PCESVN is an INTEGER of one to three bytes."""
    enclaves = Enclaves.on(ledger, Hardware(pce_svn=pce_svn)).ready()
    enclaves.verify().assert_succeeded().one(QuoteVerified)


def test_verify_change_of_value_goes_to_worker_with_verdict(enclaves: Enclaves) -> None:
    least = enclaves.fees()[0]
    outcome = enclaves.verify(value=10 * least).assert_succeeded()
    assert outcome.received(WORKER) > 9 * least


def test_verify_least_value_completes_and_one_less_is_refused(enclaves: Enclaves) -> None:
    least = enclaves.fees()[0]
    enclaves.verify(value=least).assert_succeeded().one(QuoteVerified)
    enclaves.verify(value=least - 1).assert_refused(504)
