"""Where quotes come from: one interface, whatever the platform."""

from __future__ import annotations

from typing import Protocol

from .errors import EvidenceMalformed
from .platform import SimulatedMachine, guest_report
from .report_data import REPORT_DATA_SIZE
from .trust import TrustedRoot, require_allowed

__all__ = ["EvidenceSource", "SimulatedSource", "check_report_data"]


class EvidenceSource(Protocol):
    """Something that can have a statement signed by the platform it runs on."""

    @property
    def simulated(self) -> bool:
        """Whether no hardware vouches for its quotes."""
        ...

    async def quote(self, report_data: bytes) -> bytes:
        """A quote that says `report_data` (64 bytes). EvidenceUnavailable if none can be had, with what to do."""
        ...


class SimulatedSource:
    """Quotes of a simulated machine. SimulatedTeeRefused unless allowed."""

    def __init__(
        self, machine: SimulatedMachine, *, allow_simulated_tee: bool = False, version_15: bool = False
    ) -> None:
        require_allowed("the evidence source is a simulated platform", allow_simulated_tee)
        self._machine, self._version_15 = machine, version_15

    @property
    def simulated(self) -> bool:
        return True

    @property
    def root(self) -> TrustedRoot:
        """The throw-away root its quotes lead to."""
        return TrustedRoot(self._machine.intel.root.public_key)

    async def quote(self, report_data: bytes) -> bytes:
        check_report_data(report_data)
        return self._machine.quote(guest_report(report_data, version_15=self._version_15)).to_bytes()


def check_report_data(report_data: bytes) -> None:
    """EvidenceMalformed unless it has the size the hardware signs."""
    if len(report_data) != REPORT_DATA_SIZE:
        raise EvidenceMalformed(f"report data has {REPORT_DATA_SIZE} bytes, not {len(report_data)}")
