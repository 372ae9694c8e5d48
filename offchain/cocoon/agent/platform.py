"""What an agent proves its enclave with: where quotes and Intel's collateral come from."""

from __future__ import annotations

from dataclasses import dataclass

from ..attestation.configfs import ConfigfsSource
from ..attestation.evidence import EvidenceSource
from ..attestation.fetching import INTEL_PCS, CollateralSource, PcsService
from ..attestation.report_data import NO_GPU_EVIDENCE
from ..attestation.simulation import Simulation
from ..attestation.trust import SIMULATED_BANNER
from .errors import SetupError

__all__ = ["AttestationSettings", "Platform", "evidence_banner", "make_platform"]

SOURCES = ("configfs", "simulated")


@dataclass(frozen=True, slots=True)
class AttestationSettings:
    """The table `[attestation]`.

    source: `configfs`, the TDX guest this runs in, or `simulated`, for sandboxes only: then `seed` is the network's (a
    text), and `allow_simulated_tee` must say that nobody is fooled. collateral_service: has the requests of Intel's PCS
    version 4. collateral_refresh_sec: how often it is asked for newer documents.
    """

    source: str = "configfs"
    seed: str = ""
    allow_simulated_tee: bool = False
    collateral_service: str = INTEL_PCS
    collateral_refresh_sec: float = 86_400.0

    def __post_init__(self) -> None:
        if self.source not in SOURCES:
            raise SetupError(f"attestation.source must be one of {', '.join(SOURCES)}, not {self.source!r}")
        if (self.source == "simulated") != bool(self.seed):
            raise SetupError(
                'attestation.seed belongs to source = "simulated": set it to the network\'s seed there, and only there'
            )


@dataclass(frozen=True, slots=True)
class Platform:
    """Evidence and collateral, and what is announced on the chain along with the keys."""

    evidence: EvidenceSource
    collateral: CollateralSource
    endpoint: str = ""
    gpu_evidence_digest: int = NO_GPU_EVIDENCE
    refresh_sec: float = 86_400.0


def make_platform(settings: AttestationSettings, endpoint: str, now: int) -> Platform:
    """As the settings say. now: the chain's time, which dates a simulated platform's certificates.

    SimulatedTeeRefused for a simulated platform that nobody allowed.
    """
    if settings.source == "simulated":
        simulation = Simulation(settings.seed.encode())
        allowed = settings.allow_simulated_tee
        return Platform(
            simulation.source(now, allow_simulated_tee=allowed),
            simulation.publisher(allow_simulated_tee=allowed),
            endpoint,
            refresh_sec=settings.collateral_refresh_sec,
        )
    service = PcsService(settings.collateral_service)
    return Platform(ConfigfsSource(), service, endpoint, refresh_sec=settings.collateral_refresh_sec)


def evidence_banner(source: EvidenceSource) -> str | None:
    """What to show wherever quotes of `source` are relied on; None if hardware makes them."""
    return SIMULATED_BANNER if source.simulated else None
