"""A successor with another key: what its predecessor signed does not outlive it, nor bars the successor's lists."""

from __future__ import annotations

from dataclasses import replace

from collateral import DAY, messages, revoking
from cryptography.hazmat.primitives.asymmetric import ec
from enclaves import NOW, Enclaves

from cocoon.attestation import witness_certificates
from cocoon.attestation.platform import Role, SimulatedIntel, Validity
from cocoon.attestation.platform.keys import SigningKey
from cocoon.wire.attestation import QuoteVerified

ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


class Rekeyed(SimulatedIntel):
    """The same Intel, one of whose authorities has a new key, certified ten seconds ago."""

    def __init__(self, intel: SimulatedIntel, role: Role, key: SigningKey | None = None) -> None:
        super().__init__(intel.seed, NOW, validity={role: Validity(NOW - 10, NOW + 2000 * DAY)})
        self._rekeyed, self._key = role, SigningKey.derive(b"another", role.value) if key is None else key

    def key(self, role: Role) -> SigningKey:
        return self._key if role is self._rekeyed else super().key(role)


def mirrored(key: SigningKey) -> SigningKey:
    """-Q: on the same vertical line, so that one coordinate is equal."""
    private = key._key.private_numbers().private_value
    other = ec.derive_private_key(ORDER - private, ec.SECP256R1())
    return SigningKey(key.public_key[:32] + other.public_key().public_numbers().y.to_bytes(32), other)


def test_signer_with_another_key_takes_over_nothing(enclaves: Enclaves) -> None:
    """A-6: also where the predecessor is revoked only afterwards."""
    before = enclaves.intel.tcb_signing
    root = enclaves.intel.root.public_key
    later = Rekeyed(enclaves.intel, Role.TCB_SIGNING)
    enclaves.post(witness_certificates.ca_certificate(later.tcb_signing, root)).assert_succeeded()
    state = enclaves.state
    assert (state.shared.identity, state.shared.other_identity, state.trust_epoch) == (None, None, 1)
    enclaves.verify().assert_refused(557)
    enclaves.post(revoking(enclaves, before)).assert_succeeded()
    enclaves.verify().assert_refused(557)
    enclaves.intel = later
    found = messages(enclaves)
    for name in ("identity", "tcb"):
        enclaves.post(found[name]).assert_succeeded()
    enclaves.verify().assert_succeeded().one(QuoteVerified)


def test_signer_with_the_mirrored_key_takes_over_nothing(enclaves: Enclaves) -> None:
    """A-6."""
    key = mirrored(enclaves.intel.key(Role.TCB_SIGNING))
    assert key.public_key[:32] == enclaves.intel.tcb_signing.public_key[:32]
    later = Rekeyed(enclaves.intel, Role.TCB_SIGNING, key)
    enclaves.post(
        witness_certificates.ca_certificate(later.tcb_signing, enclaves.intel.root.public_key)
    ).assert_succeeded()
    assert (enclaves.state.shared.identity, enclaves.state.trust_epoch) == (None, 1)


def test_renewed_certificate_of_the_same_key_leaves_everything(enclaves: Enclaves) -> None:
    intel = SimulatedIntel(enclaves.intel.seed, NOW, validity={Role.TCB_SIGNING: Validity(NOW - 10, NOW + 4000 * DAY)})
    assert intel.tcb_signing.public_key == enclaves.intel.tcb_signing.public_key
    body = witness_certificates.ca_certificate(intel.tcb_signing, enclaves.intel.root.public_key)
    enclaves.post(body).assert_succeeded()
    assert enclaves.state.trust_epoch == 0
    enclaves.verify().assert_succeeded().one(QuoteVerified)


def test_list_of_the_key_before_does_not_bar_the_successors(enclaves: Enclaves) -> None:
    """A-5: whoever got hold of the old key could have issued the last list there is."""
    last = replace(enclaves.publication, pck_crl_number=(1 << 63) - 1, crl_issued_at=NOW - 5)
    enclaves.post(messages(enclaves, last)["pck_crl"]).assert_succeeded()
    later = Rekeyed(enclaves.intel, Role.PLATFORM_CA)
    body = witness_certificates.ca_certificate(later.platform_ca, enclaves.intel.root.public_key)
    enclaves.post(body).assert_succeeded()
    authority = enclaves.state.platform_ca
    assert authority is not None
    assert authority.crl is None
    enclaves.intel = later
    enclaves.post(messages(enclaves)["pck_crl"]).assert_succeeded()
