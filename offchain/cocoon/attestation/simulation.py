"""A simulated network of trust that several programs share by its seed: its Intel, its machines, its guests.

Whoever knows the seed can sign quotes: it is for the sandbox, demonstrations and tests. Root key and measurement follow
from the seed alone, so a deployer can name them in the rules before any machine exists; certificates and collateral
follow from the seed and a time.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from .collateral import Collateral
from .evidence import SimulatedSource
from .pck import PckExtension
from .platform import (
    DEFAULT_HARDWARE,
    CertificateAuthority,
    Hardware,
    Publication,
    Role,
    SimulatedIntel,
    SimulatedMachine,
    guest_report,
)
from .quote import Quote
from .report_data import REPORT_DATA_SIZE
from .trust import TrustedRoot, require_allowed
from .witness import measurement

__all__ = ["SimulatedPublisher", "Simulation"]

_ANY_TIME = 1_700_000_000


@dataclass(frozen=True, slots=True)
class Simulation:
    """Everything that follows from `seed`, for platforms of the kind of `hardware`."""

    seed: bytes = field(repr=False)
    hardware: Hardware = DEFAULT_HARDWARE

    @property
    def root(self) -> TrustedRoot:
        """What a network that takes these quotes has as its `attestation_root`."""
        return TrustedRoot(SimulatedIntel(self.seed, 0).key(Role.ROOT).public_key)

    @property
    def measurement(self) -> int:
        """Of the only guest there is."""
        guest = self._machine(_ANY_TIME).quote(guest_report(bytes(REPORT_DATA_SIZE)))
        return int.from_bytes(measurement(guest))

    def rules(self) -> dict[str, Any]:
        """What a deployment's rules (`cocoon.rules`) must say for these quotes to count."""
        return {"attestation_root": self.root.public_key.hex(), "measurements": [f"{self.measurement:064x}"]}

    def source(self, time: int, *, allow_simulated_tee: bool = False) -> SimulatedSource:
        """A machine certified at `time` (unix seconds). SimulatedTeeRefused unless allowed."""
        return SimulatedSource(self._machine(time), allow_simulated_tee=allow_simulated_tee)

    def publisher(self, *, allow_simulated_tee: bool = False) -> SimulatedPublisher:
        """Who has the collateral. SimulatedTeeRefused unless allowed."""
        require_allowed("the collateral comes from a simulated Intel", allow_simulated_tee)
        return SimulatedPublisher(self.seed)

    def _machine(self, time: int) -> SimulatedMachine:
        return SimulatedMachine(SimulatedIntel(self.seed, time), self.hardware)


class SimulatedPublisher:
    """What the simulated Intel publishes, as a CollateralSource."""

    def __init__(self, seed: bytes) -> None:
        self._seed = seed

    async def collateral(self, raw_quote: bytes, now: int) -> Collateral:
        leaf, ca, *_ = Quote.parse(raw_quote).signature_data.pck_chain
        platform = PckExtension.of(leaf)
        authority = next(kind for kind in CertificateAuthority if kind.value in ca.name.lower())
        hardware = Hardware(authority=authority, fmspc=platform.fmspc, pce_id=platform.pce_id)
        return SimulatedIntel(self._seed, now).publish(Publication.at(now, hardware))
