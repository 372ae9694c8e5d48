"""Evidence of a GPU in confidential mode: what binds it to a quote, and what was really checked about it.

The chain only sees a digest: it makes the guest answer for which evidence it saw before it made its keys. Whether the
evidence is genuine is for NVIDIA's verifier to say (`gpu_nvidia`). Whatever no verifier has checked cryptographically
is NotChecked, and NotChecked is never shown, or counted, as verified.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from pytoniq_core import Address

from .errors import EvidenceMalformed, GpuEvidenceRefused
from .report_data import NO_GPU_EVIDENCE, MasterBlock, sender

__all__ = [
    "GpuCheck", "GpuEvidence", "GpuOutcome", "GpuVerdict", "GpuVerifier", "NoGpuVerifier", "check_gpus",
    "check_nonce", "gpu_digest", "gpu_nonce",
]  # fmt: skip

_DIGEST_TAG, _NONCE_TAG = b"CCN1 GPU evidence\0", b"CCN1 GPU nonce\0"
NONCE_SIZE = 32


@dataclass(frozen=True, slots=True)
class GpuEvidence:
    """What one GPU says: its architecture ("HOPPER"), its signed report, its certificates as the driver gives them.

    The report contains the nonce it was asked with.
    """

    architecture: str
    report: bytes
    certificate_chain: bytes


class GpuCheck(StrEnum):
    """What there is to check."""

    DIGEST = "the quote commits to this evidence"
    NONCE = "each report answers this worker's nonce"
    SIGNATURE = "each report is signed by the GPU's key"
    CHAIN = "each key is certified by NVIDIA"
    REVOCATION = "no certificate is revoked"
    MEASUREMENTS = "firmware and driver are NVIDIA's published ones"


class GpuOutcome(StrEnum):
    """What came of a check."""

    PASSED = "passed"
    FAILED = "FAILED"
    NOT_CHECKED = "NOT CHECKED"


@dataclass(frozen=True, slots=True)
class GpuVerdict:
    """The outcome of every check. `detail` says who checked, or why nobody did."""

    outcomes: Mapping[GpuCheck, GpuOutcome]
    detail: str

    def outcome(self, check: GpuCheck) -> GpuOutcome:
        return self.outcomes.get(check, GpuOutcome.NOT_CHECKED)

    @property
    def verified(self) -> bool:
        """Whether every check there is passed. One that was not made does not count as passed."""
        return all(self.outcome(check) is GpuOutcome.PASSED for check in GpuCheck)

    def require_verified(self) -> None:
        """GpuEvidenceRefused, naming what failed and what nobody checked, unless `verified`."""
        if not self.verified:
            raise GpuEvidenceRefused(f"the GPUs are not verified: {'; '.join(self.lines())}. {self.detail}")

    def lines(self) -> tuple[str, ...]:
        """One line per check, for people."""
        return tuple(f"{check.value}: {self.outcome(check).value}" for check in GpuCheck)


class GpuVerifier(Protocol):
    """Somebody who can tell genuine evidence."""

    async def verify(self, evidence: tuple[GpuEvidence, ...], nonce: bytes) -> GpuVerdict:
        """The outcome of the checks it makes; those it does not make are left out. Never raises for bad evidence."""
        ...


class NoGpuVerifier:
    """Nobody: for clients that have no verifier installed."""

    async def verify(self, evidence: tuple[GpuEvidence, ...], nonce: bytes) -> GpuVerdict:
        return GpuVerdict({}, "no GPU verifier is set up: see NvidiaVerifier")


async def check_gpus(
    evidence: tuple[GpuEvidence, ...], *, digest: int, nonce: bytes, verifier: GpuVerifier
) -> GpuVerdict:
    """All checks of a worker's evidence, given the digest its quote commits to. Unbound evidence is not looked at."""
    if gpu_digest(evidence) != digest:
        return GpuVerdict({GpuCheck.DIGEST: GpuOutcome.FAILED}, "this is not the evidence the quote commits to")
    if not evidence:
        return GpuVerdict({GpuCheck.DIGEST: GpuOutcome.PASSED}, "the worker claims no GPU, so there is none to verify")
    found = await verifier.verify(evidence, nonce)
    return GpuVerdict({**found.outcomes, GpuCheck.DIGEST: GpuOutcome.PASSED}, found.detail)


def gpu_digest(evidence: tuple[GpuEvidence, ...]) -> int:
    """`gpuEvidenceDigest` of report_data: SHA-256 over tag, count, and each part behind its length; 0 without GPUs."""
    if not evidence:
        return NO_GPU_EVIDENCE
    digest = hashlib.sha256(_DIGEST_TAG + len(evidence).to_bytes(4))
    for one in evidence:
        for part in (one.architecture.encode(), one.report, one.certificate_chain):
            digest.update(len(part).to_bytes(4) + part)
    return int.from_bytes(digest.digest())


def gpu_nonce(global_id: int, registry: Address, worker: Address, attest_seq: int, block: MasterBlock) -> bytes:
    """What the guest asks its GPUs with, 32 bytes: anybody can recompute it, nobody could before the block existed."""
    statement = sender(global_id, registry, worker, attest_seq) + block.to_bytes()
    return hashlib.sha256(_NONCE_TAG + statement).digest()


def check_nonce(nonce: bytes) -> None:
    """EvidenceMalformed unless it has the size GPUs take."""
    if len(nonce) != NONCE_SIZE:
        raise EvidenceMalformed(f"a GPU takes a nonce of {NONCE_SIZE} bytes, not {len(nonce)}")
