"""A simulated platform that turns a guest's report into a quote."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property

from ..certificates import Certificate, to_pem
from ..quote import ECDSA_P256, INTEL_QE_VENDOR_ID, TEE_TDX, Quote, QuoteHeader, SignatureData
from ..reports import EnclaveReport, TdReport10, TdReport15
from .hardware import DEFAULT_HARDWARE, Hardware
from .intel import SimulatedIntel
from .keys import SigningKey, derive_bytes
from .quoting_enclave import enclave_report

__all__ = ["AUTH_DATA", "SimulatedMachine"]

AUTH_DATA = bytes(range(32))  # what Intel's quoting enclave puts there


class SimulatedMachine:
    """A platform certified by `intel`. Its keys follow from the seed of `intel` and `hardware.instance`."""

    def __init__(self, intel: SimulatedIntel, hardware: Hardware = DEFAULT_HARDWARE) -> None:
        self.intel, self.hardware = intel, hardware
        self.pck_key = SigningKey.derive(intel.seed, f"pck {hardware.instance}")
        self.attestation_key = SigningKey.derive(intel.seed, f"attestation {hardware.instance}")

    @cached_property
    def pck(self) -> Certificate:
        return self.intel.certify(self.hardware, self.pck_key.public_key)

    @property
    def chain(self) -> tuple[Certificate, ...]:
        """PCK certificate, its authority, the root."""
        return self.pck, self.intel.pck_ca(self.hardware.authority), self.intel.root

    def enclave_report(self, auth_data: bytes = AUTH_DATA) -> EnclaveReport:
        """The quoting enclave's report; give an altered one to `quote` to have it signed all the same."""
        cpu_svn = bytes(self.hardware.components)
        return enclave_report(self.attestation_key.public_key, auth_data, cpu_svn=cpu_svn)

    def quote(
        self,
        report: TdReport10,
        *,
        version: int | None = None,
        auth_data: bytes = AUTH_DATA,
        qe_report: EnclaveReport | None = None,
        padding: int = 0,
    ) -> Quote:
        """A quote of `report` in which every signature holds. version: 4 for a TD 1.0 report unless said otherwise."""
        if version is None:
            version = 5 if isinstance(report, TdReport15) else 4
        user_data = derive_bytes(self.intel.seed, f"quoting enclave {self.hardware.instance}", 16) + bytes(4)
        header = QuoteHeader(version, ECDSA_P256, TEE_TDX, bytes(4), INTEL_QE_VENDOR_ID, user_data)
        qe_report = self.enclave_report(auth_data) if qe_report is None else qe_report
        unsigned = SignatureData(
            signature=bytes(64),
            attestation_key=self.attestation_key.public_key,
            qe_report=qe_report,
            qe_report_signature=self.pck_key.sign(qe_report.to_bytes()),
            qe_auth_data=auth_data,
            pck_chain_pem=to_pem(self.chain).encode() + b"\0",
        )
        quote = Quote(header, report, unsigned, padding)
        return replace(quote, signature_data=replace(unsigned, signature=self.attestation_key.sign(quote.signed_bytes)))
