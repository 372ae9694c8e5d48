"""Errors of the attestation layer. Nothing below `cocoon.attestation` lets an exception of a library out."""

from ..errors import CocoonError

__all__ = [
    "AttestationError",
    "CertificateMalformed",
    "CollateralMalformed",
    "CollateralMismatch",
    "CollateralUnavailable",
    "EvidenceMalformed",
    "EvidenceUnavailable",
    "GpuEvidenceRefused",
    "QuoteMalformed",
    "SecondOpinionDiffers",
    "SecondOpinionRefused",
    "SimulatedTeeRefused",
]


class AttestationError(CocoonError):
    """Base of everything raised below `cocoon.attestation`."""


class EvidenceMalformed(AttestationError):
    """Bytes that are not laid out as their format says, whoever sent them."""


class QuoteMalformed(EvidenceMalformed):
    """Bytes that are not a TDX quote of version 4 or 5 with an ECDSA-P256 key and a PCK chain."""


class CertificateMalformed(EvidenceMalformed):
    """A certificate, chain or revocation list that is not DER or not laid out as Intel's are."""


class CollateralMalformed(EvidenceMalformed):
    """Collateral whose JSON lacks what Intel's has, or holds something else in its place."""


class CollateralMismatch(AttestationError):
    """Collateral that is about another platform, module or quoting enclave, or rates none this old."""


class CollateralUnavailable(AttestationError):
    """No service gave the collateral that was asked for."""


class EvidenceUnavailable(AttestationError):
    """No quote could be had: no TDX here, a driver that refuses, or another reader in the way."""


class SimulatedTeeRefused(AttestationError):
    """Evidence that no hardware vouches for, where nobody allowed it."""


class GpuEvidenceRefused(AttestationError):
    """GPUs whose evidence failed a check, or that nobody checked."""


class SecondOpinionRefused(AttestationError):
    """The independent verifier does not accept the quote with this collateral at this time."""


class SecondOpinionDiffers(AttestationError):
    """Two readers of one quote disagree about what it says: believe neither."""
