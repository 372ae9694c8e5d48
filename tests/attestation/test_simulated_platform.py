"""The simulated platform: an independent verifier accepts what is right, and refuses each thing that is made wrong."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import dcap_qvl
import pytest
from evidence_samples import SEED, TIME, intel, machine, published

from cocoon.attestation.platform import (
    DEFAULT_HARDWARE,
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
from cocoon.attestation.reports import TdAttributes, TdReport10

REPORT_DATA = bytes(range(64))
REPORT = guest_report(REPORT_DATA)
PROCESSOR = Hardware(authority=CertificateAuthority.PROCESSOR)


@dataclass(frozen=True)
class Case:
    """A quote and what is published; `wrong` changes one thing."""

    report: TdReport10 = REPORT
    hardware: Hardware = DEFAULT_HARDWARE
    publish: Callable[[Publication], Publication] = lambda publication: publication
    validity: dict[Role, Validity] | None = None
    time: int = TIME
    altered: Callable[[Quote], Quote] = lambda quote: quote
    trusted: bytes | None = None

    def verify(self) -> str:
        """The status; ValueError if the verifier refuses."""
        everyone = SimulatedIntel(SEED, TIME, validity=self.validity)
        quote = self.altered(SimulatedMachine(everyone, self.hardware).quote(self.report))
        collateral = everyone.publish(self.publish(Publication.at(TIME, self.hardware)))
        raw = dcap_qvl.QuoteCollateralV3.from_json(collateral.to_json())
        root = self.trusted or everyone.root.der
        return dcap_qvl.verify_with_root_ca(quote.to_bytes(), raw, root, self.time).status


def _attributes(bits: int) -> TdReport10:
    return guest_report(REPORT_DATA, td_attributes=bits.to_bytes(8, "little"))


EXPIRED = Validity(TIME - 9 * DAY, TIME - DAY)
FUTURE = Validity(TIME + DAY, TIME + 9 * DAY)
PCK_SERIAL = machine().pck.serial
OTHER = machine(Hardware(instance="1"))


@pytest.mark.parametrize("hardware", [Hardware(), PROCESSOR], ids=lambda hardware: hardware.authority.value)
@pytest.mark.parametrize("version_15", [False, True], ids=["TD 1.0", "TD 1.5"])
def test_verify_simulated_quote_under_its_root_is_up_to_date(hardware: Hardware, version_15: bool) -> None:
    assert Case(guest_report(REPORT_DATA, version_15=version_15), hardware).verify() == "UpToDate"


def test_verify_td_10_report_in_version_5_is_up_to_date() -> None:
    quote = machine().quote(guest_report(REPORT_DATA), version=5)
    assert Case(altered=lambda _: quote).verify() == "UpToDate"


def test_verify_simulated_quote_under_intels_root_is_refused() -> None:
    collateral = dcap_qvl.QuoteCollateralV3.from_json(intel().publish(published()).to_json())
    with pytest.raises(ValueError, match="InvalidCrlSignatureForPublicKey"):
        dcap_qvl.verify(machine().quote(guest_report(REPORT_DATA)).to_bytes(), collateral, TIME)


@pytest.mark.parametrize(
    ("hardware", "status"),
    [
        (Hardware(components=(1, 1, 2, 2, 3, 1, 0, 5, *bytes(8))), "OutOfDate"),
        (Hardware(pce_svn=10), "OutOfDate"),
        (Hardware(components=(255,) * 16, pce_svn=255), "UpToDate"),
    ],
)
def test_verify_hardware_at_another_level_has_its_status(hardware: Hardware, status: str) -> None:
    assert Case(hardware=hardware).verify() == status


WRONG = {
    "debug": (Case(_attributes(TdAttributes.SEPT_VE_DISABLE | TdAttributes.DEBUG)), "Debug mode is enabled"),
    "no SEPT_VE_DISABLE": (Case(_attributes(0)), "SEPT_VE_DISABLE"),
    "service TD": (
        Case(guest_report(REPORT_DATA, version_15=True, mr_service_td=b"\x01" + bytes(47))),
        "service",
    ),
    "another FMSPC": (Case(publish=lambda p: p.with_tcb_info(fmspc=bytes(6))), "[Ff]mspc|FMSPC"),
    "below every level": (Case(hardware=Hardware(pce_svn=1)), "TCB level|Tcb|TCB"),
    "unknown TDX module": (
        Case(guest_report(REPORT_DATA, tee_tcb_svn=bytes((1, 7)) + bytes(14))),
        "No matching TCB level",
    ),
    "revoked platform": (Case(publish=lambda p: replace(p, revoked_pck=(PCK_SERIAL,))), "CertRevoked"),
    "revoked authority": (
        Case(publish=lambda p: replace(p, revoked_ca=(intel().platform_ca.serial,))),
        "CertRevoked",
    ),
    "revoked TCB signer": (
        Case(publish=lambda p: replace(p, revoked_ca=(intel().tcb_signing.serial,))),
        "CertRevoked",
    ),
    "expired TCB info": (Case(publish=lambda p: p.with_tcb_info(next_update=TIME - 1)), "expired"),
    "expired QE identity": (Case(publish=lambda p: p.with_qe_identity(next_update=TIME - 1)), "expired"),
    "expired lists": (Case(publish=lambda p: replace(p, crl_next_update=TIME - 1)), "CrlExpired|expired"),
    "expired platform": (Case(validity={Role.PCK: EXPIRED}), "CertExpired"),
    "expired authority": (Case(validity={Role.PLATFORM_CA: EXPIRED}), "CertExpired"),
    "expired TCB signer": (Case(validity={Role.TCB_SIGNING: EXPIRED}), "CertExpired"),
    "future platform": (Case(validity={Role.PCK: FUTURE}), "CertNotValidYet"),
    "another root": (Case(trusted=SimulatedIntel(b"another seed", TIME).root.der), "Signature"),
    "much later": (Case(time=TIME + 60 * DAY), "Expired"),
    "another enclave": (Case(publish=lambda p: p.with_qe_identity(mr_signer=bytes(32))), "QE MRSIGNER mismatch"),
    "lists of the other authority": (
        Case(publish=lambda p: replace(p, authority=CertificateAuthority.PROCESSOR)),
        "UnknownRevocationStatus|CRL|chain",
    ),
    "report signed by another key": (
        Case(altered=lambda q: replace(q, report=replace(q.report, mr_td=bytes(48)))),
        "signature is invalid",
    ),
    "attestation key of another enclave": (
        Case(
            altered=lambda q: replace(
                q, signature_data=replace(q.signature_data, attestation_key=OTHER.attestation_key.public_key)
            )
        ),
        "hash mismatch",
    ),
}


@pytest.mark.parametrize(("case", "reason"), WRONG.values(), ids=WRONG.keys())
def test_verify_with_one_thing_wrong_is_refused_for_it(case: Case, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        case.verify()


def test_same_seed_and_time_give_the_same_bytes() -> None:
    again = SimulatedIntel(SEED, TIME)
    report = guest_report(REPORT_DATA, version_15=True)
    assert SimulatedMachine(again).quote(report).to_bytes() == machine().quote(report).to_bytes()
    assert again.publish(published()) == intel().publish(published())


def test_another_seed_gives_other_keys_everywhere() -> None:
    other = SimulatedIntel(b"another", TIME)
    mine, theirs = SimulatedMachine(intel()), SimulatedMachine(other)
    keys = {everyone.key(role).public_key for everyone in (intel(), other) for role in Role}
    keys |= {device.pck_key.public_key for device in (mine, theirs)}
    keys |= {device.attestation_key.public_key for device in (mine, theirs)}
    assert len(keys) == 2 * (len(Role) + 2)


def test_another_instance_is_another_platform_of_the_same_kind() -> None:
    one, other = machine(), machine(Hardware(instance="1"))
    assert one.pck.serial != other.pck.serial
    assert one.pck.public_key != other.pck.public_key
    assert one.attestation_key.public_key != other.attestation_key.public_key


def test_certificates_say_that_they_are_simulated_in_as_many_bytes_as_intels() -> None:
    assert len("SIMULATED, NO TEE") == len("Intel Corporation")
    for certificate in machine().chain:
        assert b"SIMULATED, NO TEE" in certificate.subject
        assert b"Intel Corporation" not in certificate.der
