"""Intel's TD quoting enclave, as its reports look. Its signer is Intel's: the report is worth what the PCK key is."""

from __future__ import annotations

import hashlib

from ..reports import EnclaveReport

__all__ = ["ATTRIBUTES", "ATTRIBUTES_MASK", "MR_SIGNER", "enclave_report"]

MR_SIGNER = bytes.fromhex("dc9e2a7c6f948f17474e34a7fc43ed030f7c1563f1babddf6340c82e0e54a8c5")
ATTRIBUTES = bytes.fromhex("11000000000000000000000000000000")
ATTRIBUTES_MASK = bytes.fromhex("fbffffffffffffff0000000000000000")


def enclave_report(attestation_key: bytes, auth_data: bytes, *, cpu_svn: bytes, isv_svn: int = 6) -> EnclaveReport:
    """The report of an enclave that made `attestation_key` (x ‖ y)."""
    return EnclaveReport(
        cpu_svn=cpu_svn,
        misc_select=bytes(4),
        reserved1=bytes(28),
        attributes=bytes.fromhex("1500000000000000e700000000000000"),
        mr_enclave=hashlib.sha256(b"simulated TD quoting enclave").digest(),
        reserved2=bytes(32),
        mr_signer=MR_SIGNER,
        reserved3=bytes(96),
        isv_prod_id=2,
        isv_svn=isv_svn,
        reserved4=bytes(60),
        report_data=hashlib.sha256(attestation_key + auth_data).digest() + bytes(32),
    )
