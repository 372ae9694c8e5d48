"""Certificates the root signs: whose counts, how long, and what revoking one takes with it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from collateral import DAY, issued, messages, revoking
from enclaves import NOW, Enclaves

from cocoon.attestation import witness_certificates
from cocoon.attestation.certificates import Certificate
from cocoon.attestation.platform import Role, SimulatedIntel, Validity
from cocoon.wire.attestation import QuoteVerified
from cocoon_sandbox.ledger import Ledger


def test_post_certificate_of_foreign_root_is_refused(enclaves: Enclaves) -> None:
    """A-4."""
    foreign = SimulatedIntel(b"foreign", NOW)
    for certificate in (foreign.platform_ca, foreign.tcb_signing):
        body = witness_certificates.ca_certificate(certificate, foreign.root.public_key)
        assert enclaves.post(body).exit_code in (511, 517)


def test_post_certificate_with_foreign_signature_is_refused(bare: Enclaves) -> None:
    """A-4: Hints fit: only the signature is another certificate's."""
    found = messages(bare)
    bare.post(found["root_crl"]).assert_succeeded()
    mixed = replace(bare.intel.platform_ca, signature=bare.intel.tcb_signing.signature)
    bare.post(witness_certificates.ca_certificate(mixed, bare.intel.root.public_key)).assert_refused(517)


def test_post_certificate_of_neither_ca_nor_signer_is_refused(bare: Enclaves) -> None:
    """The root signed itself too; its own certificate installs nothing."""
    bare.post(messages(bare)["root_crl"]).assert_succeeded()
    bare.post(witness_certificates.ca_certificate(bare.intel.root, bare.intel.root.public_key)).assert_refused(534)


@pytest.mark.parametrize("role", [Role.PLATFORM_CA, Role.TCB_SIGNING])
def test_post_certificate_replaces_an_older_one_only(enclaves: Enclaves, role: Role) -> None:
    def certificate(start: int) -> Certificate:
        intel = SimulatedIntel(enclaves.intel.seed, NOW, validity={role: Validity(start, NOW + 4000 * DAY)})
        return intel.platform_ca if role is Role.PLATFORM_CA else intel.tcb_signing

    def post(start: int) -> Any:
        return enclaves.post(witness_certificates.ca_certificate(certificate(start), enclaves.intel.root.public_key))

    post(NOW - 3000 * DAY).assert_refused(533)
    post(NOW - 10).assert_succeeded()
    post(NOW - 10).assert_refused(533)
    enclaves.verify().assert_succeeded().one(QuoteVerified)  # the list stays with the CA


@pytest.mark.parametrize(("start", "end"), [(NOW - 100, NOW), (NOW + 1, NOW + 100)])
def test_post_certificate_not_valid_now_is_refused(bare: Enclaves, start: int, end: int) -> None:
    bare.post(messages(bare)["root_crl"]).assert_succeeded()
    intel = SimulatedIntel(bare.intel.seed, NOW, validity={Role.PLATFORM_CA: Validity(start, end)})
    bare.post(witness_certificates.ca_certificate(intel.platform_ca, intel.root.public_key)).assert_refused(531)


@pytest.mark.parametrize(("role", "name", "code"), [(Role.PLATFORM_CA, "ca", 536), (Role.TCB_SIGNING, "signer", 538)])
def test_expired_authority_no_longer_counts(ledger: Ledger, role: Role, name: str, code: int) -> None:
    """A-4."""
    enclaves = Enclaves.on(ledger)
    enclaves.intel = SimulatedIntel(enclaves.intel.seed, NOW, validity={role: Validity(NOW - DAY, NOW + 100)})
    enclaves.ready()
    ledger.advance(99)
    later = issued(enclaves, NOW + 50)
    if name == "ca":
        enclaves.verify().assert_succeeded()
    else:
        enclaves.post(messages(enclaves, later)["identity"]).assert_succeeded()
    ledger.advance(1)
    if name == "ca":
        enclaves.verify().assert_refused(code)
    else:
        enclaves.post(messages(enclaves, later)["tcb"]).assert_refused(code)


def test_revoked_intermediate_no_longer_counts_and_cannot_return(enclaves: Enclaves) -> None:
    enclaves.post(revoking(enclaves, enclaves.intel.platform_ca)).assert_succeeded()
    assert enclaves.state.platform_ca is None
    enclaves.verify().assert_refused(535)
    enclaves.post(messages(enclaves)["ca"]).assert_refused(532)


def test_revoked_signer_takes_everything_it_signed_with_it(enclaves: Enclaves) -> None:
    """A-6."""
    enclaves.post(revoking(enclaves, enclaves.intel.tcb_signing)).assert_succeeded()
    state = enclaves.state
    assert (state.shared.signer, state.shared.identity, state.trust_epoch) == (None, None, 1)
    enclaves.verify().assert_refused(557)
    successor = SimulatedIntel(enclaves.intel.seed, NOW, validity={Role.TCB_SIGNING: Validity(NOW - 5, NOW + DAY)})
    enclaves.intel = successor
    if successor.tcb_signing.serial == SimulatedIntel(successor.seed, NOW).tcb_signing.serial:
        enclaves.post(messages(enclaves)["signer"]).assert_refused(532)


def test_revoking_nobody_of_ours_changes_nothing_else(enclaves: Enclaves) -> None:
    enclaves.post(revoking(enclaves, enclaves.intel.processor_ca)).assert_succeeded()
    enclaves.verify().assert_succeeded().one(QuoteVerified)
