"""The root's key in the policy: which ones are keys at all, and what falls with the one before."""

from __future__ import annotations

import pytest
from collateral import issued, messages
from enclaves import WORKER, Enclaves
from pytoniq_core import begin_cell
from test_tcb_store import ANY_PLATFORM

from cocoon.attestation.p256 import B, P
from cocoon.attestation.platform import CertificateAuthority, Hardware
from cocoon.wire.attestation import PlatformJudged, QuoteVerified
from cocoon_sandbox.ledger import Ledger


def test_verdict_before_the_first_policy_is_refused(ledger: Ledger) -> None:
    enclaves = Enclaves.on(ledger)
    enclaves.send(WORKER, enclaves.address, begin_cell().end_cell(), init=enclaves._init).assert_succeeded()
    forged = PlatformJudged(enclaves.fmspc, WORKER, 1, 0, 0, ANY_PLATFORM)
    enclaves.send(WORKER, enclaves.address, forged).assert_refused(500)


def test_unreduced_root_key_is_refused(enclaves: Enclaves) -> None:
    """A-6: p itself stands for 0, whose point is on the curve."""
    y = pow(B, (P + 1) // 4, P)
    enclaves.set_policy(version=2, root_key_x=P, root_key_y=y).assert_refused(512)
    enclaves.set_policy(version=2, root_key_x=0, root_key_y=y).assert_succeeded()


@pytest.mark.parametrize("authority", list(CertificateAuthority))
def test_key_that_differs_in_one_coordinate_is_another_root(ledger: Ledger, authority: CertificateAuthority) -> None:
    """A-6: everything under the old one is gone, whichever CA it was."""
    enclaves = Enclaves.on(ledger, Hardware(authority=authority)).ready()
    before = enclaves.state
    assert (before.platform_ca is None) != (before.processor_ca is None)
    y = P - before.policy.root_key_y
    enclaves.set_policy(version=2, root_key_y=y).assert_succeeded()
    after = enclaves.state
    assert (after.platform_ca, after.processor_ca, after.trust_epoch) == (None, None, before.trust_epoch + 1)
    shared = after.shared
    assert (shared.root_crl, shared.signer, shared.identity, shared.other_identity) == (None, None, None, None)


def test_same_root_under_another_policy_leaves_everything(enclaves: Enclaves) -> None:
    before = enclaves.state
    enclaves.set_policy(version=2, lease_sec=3600).assert_succeeded()
    after = enclaves.state
    assert (after.platform_ca, after.shared, after.trust_epoch) == (
        before.platform_ca,
        before.shared,
        before.trust_epoch,
    )


def test_both_sets_of_a_later_trust_epoch_count(enclaves: Enclaves) -> None:
    """A-6: after the root was changed and changed back, each set under the epoch it was stored in."""
    root = enclaves.state.policy
    enclaves.set_policy(version=2, root_key_y=P - root.root_key_y).assert_succeeded()
    enclaves.set_policy(version=3).assert_succeeded()
    for number in (17, 18):
        found = messages(enclaves, issued(enclaves, enclaves.ledger.now, number))
        for name in ("root_crl", "ca", "pck_crl", "signer") if number == 17 else ():
            enclaves.post(found[name]).assert_succeeded()
        for name in ("identity", "tcb"):
            enclaves.post(found[name]).assert_succeeded()
    assert (enclaves.store_state.first_epoch, enclaves.store_state.second_epoch) == (2, 2)
    for number in (17, 18):
        enclaves.verify(enclaves.evidence(evaluation_number=number)).one(QuoteVerified)
