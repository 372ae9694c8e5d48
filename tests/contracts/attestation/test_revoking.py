"""What a root's list takes with it, for either CA and both identities; the first and the last second of everything."""

from __future__ import annotations

from dataclasses import replace

import pytest
from collateral import DAY, issued, messages, revoking
from enclaves import NOW, Enclaves

from cocoon.attestation import witness_certificates
from cocoon.attestation.platform import CertificateAuthority, Hardware, Role, SimulatedIntel, Validity
from cocoon.wire.attestation import QuoteVerified
from cocoon.wire.codec import Struct
from cocoon_sandbox.ledger import Ledger


def test_revoked_processor_ca_no_longer_counts_and_cannot_return(ledger: Ledger) -> None:
    """A-5."""
    enclaves = Enclaves.on(ledger, Hardware(authority=CertificateAuthority.PROCESSOR)).ready()
    enclaves.post(revoking(enclaves, enclaves.intel.platform_ca)).assert_succeeded()
    enclaves.verify().assert_succeeded().one(QuoteVerified)
    later = replace(
        enclaves.publication,
        revoked_ca=(enclaves.intel.processor_ca.serial,),
        crl_issued_at=NOW,
        root_crl_number=enclaves.publication.root_crl_number + 1,
    )
    enclaves.post(messages(enclaves, later)["root_crl"]).assert_succeeded()
    assert enclaves.state.processor_ca is None
    enclaves.verify().assert_refused(535)
    enclaves.post(messages(enclaves)["ca"]).assert_refused(532)


def test_list_of_one_ca_is_not_kept_with_the_other(ledger: Ledger) -> None:
    """A-5: a platform revoked by the Processor CA, while the Platform CA has a list of its own."""
    enclaves = Enclaves.on(ledger).ready()
    before = enclaves.state.platform_ca
    processor = Enclaves.on(ledger, Hardware(authority=CertificateAuthority.PROCESSOR))
    processor.intel = enclaves.intel
    found = messages(processor)
    for name in ("ca", "pck_crl"):
        enclaves.post(found[name]).assert_succeeded()
    assert enclaves.state.platform_ca == before
    assert enclaves.state.processor_ca is not None
    assert enclaves.state.processor_ca.crl is not None
    assert enclaves.state.processor_ca.ca.serial == enclaves.intel.processor_ca.serial
    assert enclaves.state.shared.signer is not None
    assert enclaves.state.shared.signer.serial == enclaves.intel.tcb_signing.serial


def test_revoked_signer_takes_both_identities(enclaves: Enclaves) -> None:
    """A-6: also the one that is kept in the second place."""
    enclaves.post(messages(enclaves, issued(enclaves, NOW, 18))["identity"]).assert_succeeded()
    assert enclaves.state.shared.other_identity is not None
    enclaves.post(revoking(enclaves, enclaves.intel.tcb_signing)).assert_succeeded()
    shared = enclaves.state.shared
    assert (shared.signer, shared.identity, shared.other_identity) == (None, None, None)


def test_list_that_spares_the_signer_leaves_the_epoch(enclaves: Enclaves) -> None:
    before = enclaves.state
    enclaves.post(revoking(enclaves)).assert_succeeded()
    after = enclaves.state
    assert (after.trust_epoch, after.shared.signer, after.shared.identity) == (
        before.trust_epoch,
        before.shared.signer,
        before.shared.identity,
    )
    assert after.platform_ca == before.platform_ca


def assert_counts_until(enclaves: Enclaves, body: Struct, end: int, code: int) -> None:
    """A document can be posted now and in the second before `end`, and is refused with `code` from then on."""
    start = enclaves.ledger.snapshot()
    enclaves.post(body).assert_succeeded()
    enclaves.ledger.restore(start)
    enclaves.ledger.advance(end - 1 - NOW)
    enclaves.post(body).assert_succeeded()
    enclaves.ledger.restore(start)
    enclaves.ledger.advance(end - NOW)
    enclaves.post(body).assert_refused(code)


@pytest.mark.parametrize("role", [Role.PLATFORM_CA, Role.TCB_SIGNING])
def test_certificate_counts_from_its_first_to_its_last_second(enclaves: Enclaves, role: Role) -> None:
    intel = SimulatedIntel(enclaves.intel.seed, NOW, validity={role: Validity(NOW, NOW + DAY)})
    certificate = intel.platform_ca if role is Role.PLATFORM_CA else intel.tcb_signing
    body = witness_certificates.ca_certificate(certificate, enclaves.intel.root.public_key)
    assert_counts_until(enclaves, body, NOW + DAY, 531)


@pytest.mark.parametrize("name", ["root_crl", "pck_crl"])
def test_list_counts_from_its_first_to_its_last_second(enclaves: Enclaves, name: str) -> None:
    later = replace(enclaves.publication, crl_issued_at=NOW, crl_next_update=NOW + DAY)
    body = messages(enclaves, later)[name]
    assert_counts_until(enclaves, body, NOW + DAY, 542)


@pytest.mark.parametrize("name", ["identity", "tcb"])
def test_document_counts_from_its_first_to_its_last_second(enclaves: Enclaves, name: str) -> None:
    body = messages(enclaves, issued(enclaves, NOW, 18))[name]
    numbers = body.identity if name == "identity" else body.tcb
    assert numbers.issue_date == NOW
    assert_counts_until(enclaves, body, numbers.next_update, 552)
