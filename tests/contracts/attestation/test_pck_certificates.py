"""PCK certificates: signed by whom, revoked, expired, or laid out as none is."""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256

import pytest
from collateral import pieces_of
from enclaves import NOW, Enclaves, judged

from cocoon.attestation.platform import CertificateAuthority, Hardware, Role, SimulatedIntel, SimulatedMachine, Validity
from cocoon.attestation.witness_chains import chain, signed
from cocoon.wire.attestation import QuoteVerified
from cocoon_sandbox.ledger import Ledger


def test_verify_certificate_of_foreign_root_is_refused(enclaves: Enclaves) -> None:
    """A-1."""
    foreign = Enclaves.on(enclaves.ledger, seed=b"foreign")
    quote = foreign.machine.quote(enclaves.quote().report)
    assert enclaves.verify(enclaves.evidence(quote)).exit_code in (511, 516)


def test_verify_wrong_issuer_named_is_refused(enclaves: Enclaves) -> None:
    for issuer in (0, 2):
        enclaves.verify(replace(enclaves.evidence(), issuer=issuer)).assert_refused(535)


def test_verify_root_named_as_issuer_is_refused_under_either_ca(ledger: Ledger) -> None:
    """The root issues no PCK certificates, and its name must not stand for the Processor CA's."""
    enclaves = Enclaves.on(ledger, Hardware(authority=CertificateAuthority.PROCESSOR)).ready()
    enclaves.verify(replace(enclaves.evidence(), issuer=0)).assert_refused(535)


def test_verify_revoked_platform_is_refused(ledger: Ledger) -> None:
    """A-4."""

    def revoke(enclaves: Enclaves) -> None:
        serial = enclaves.machine.pck.serial
        enclaves.publication = replace(
            enclaves.publication, revoked_pck=(*range(1 << 150, (1 << 150) + 40), serial, 1 << 155)
        )

    _, outcome = judged(ledger, Hardware(), revoke)
    outcome.assert_refused(532)


@pytest.mark.parametrize("count", [1, 6, 7, 18, 19, 54])
def test_verify_each_revoked_serial_number_is_found_and_no_other(ledger: Ledger, count: int) -> None:
    """A-4: In indexes of one leaf, of full leaves, of several nodes."""
    enclaves = Enclaves.on(ledger)
    serial = enclaves.machine.pck.serial
    around = [serial + step for step in range(-(count // 2), count - count // 2) if step]
    enclaves.publication = replace(enclaves.publication, revoked_pck=tuple(around))
    enclaves.ready()
    enclaves.verify().assert_succeeded().one(QuoteVerified)
    later = replace(enclaves.publication, revoked_pck=(*around, serial), crl_issued_at=NOW - 1)
    enclaves.post(enclaves.collateral_messages(later)[2]).assert_succeeded()
    enclaves.verify().assert_refused(532)


def test_verify_expired_pck_certificate_is_refused(enclaves: Enclaves) -> None:
    enclaves.set_policy(version=2).assert_succeeded()
    enclaves.ledger.advance(3600)
    enclaves.verify().assert_succeeded()
    for start, end in ((NOW - 100, NOW + 3600), (NOW + 3601, NOW + 9000)):
        intel = SimulatedIntel(enclaves.intel.seed, NOW, validity={Role.PCK: Validity(start, end)})
        quote = SimulatedMachine(intel, Hardware()).quote(enclaves.quote().report)
        enclaves.verify(enclaves.evidence(quote)).assert_refused(531)
    intel = SimulatedIntel(enclaves.intel.seed, NOW, validity={Role.PCK: Validity(NOW + 3600, NOW + 3601)})
    quote = SimulatedMachine(intel, Hardware()).quote(enclaves.quote().report)
    enclaves.verify(enclaves.evidence(quote)).assert_succeeded()


MISPLACED = {
    "outer tag": b"\x30\x82",
    "version": b"\xa0\x03\x02\x01\x02",
    "algorithm": bytes.fromhex("300a06082a8648ce3d040302"),
    "validity": bytes.fromhex("301e170d"),
    "end of validity": b"Z\x17\x0d",
    "common name's OID": bytes.fromhex("5a3070312230200603550403"),
    "common name": b"Intel SGX PCK Certificate",
    "key": bytes.fromhex("3059301306072a8648ce3d0201"),
    "PCESVN": bytes.fromhex("060b2a864886f84d010d010211"),
    "CPUSVN": bytes.fromhex("060b2a864886f84d010d010212"),
    "PCEID": bytes.fromhex("060a2a864886f84d010d0103"),
    "FMSPC": bytes.fromhex("060a2a864886f84d010d0104"),
}


def test_verify_signed_certificate_without_room_for_its_fields_is_refused(enclaves: Enclaves) -> None:
    """Of less than seven cells the last three would be some of the first four: one byte would be read as two fields."""
    evidence = enclaves.evidence()
    pieces = pieces_of(evidence.certificate.text)
    short = [*pieces[:3], pieces[3][:64] + pieces[-3][-18:], *pieces[-2:]]
    text = b"".join(short)
    signature = enclaves.intel.key(Role.PLATFORM_CA).sign(text)
    key = enclaves.intel.platform_ca.public_key
    document = signed(chain(short), len(short), sha256(text).digest(), signature, key)
    enclaves.verify(replace(evidence, certificate=document)).assert_refused(513)


@pytest.mark.parametrize("name", sorted(MISPLACED))
def test_verify_signed_certificate_laid_out_otherwise_is_refused(enclaves: Enclaves, name: str) -> None:
    """Genuinely signed and hinted; one constant differs. Nothing is guessed."""
    evidence = enclaves.evidence()
    pieces = pieces_of(evidence.certificate.text)
    text, constant = b"".join(pieces), MISPLACED[name]
    at = text.index(constant) + len(constant) - 1
    altered = text[:at] + bytes([text[at] ^ 0x40]) + text[at + 1 :]
    recut_pieces, start = [], 0
    for piece in pieces:
        recut_pieces.append(altered[start : start + len(piece)])
        start += len(piece)
    key = enclaves.intel.key(Role.PLATFORM_CA)
    document = signed(
        chain(recut_pieces),
        len(pieces),
        sha256(altered).digest(),
        key.sign(altered),
        enclaves.intel.platform_ca.public_key,
    )
    enclaves.verify(replace(evidence, certificate=document)).assert_refused(530)
