"""Whether hardware stands behind the network's attestations; if not, the gateway says so everywhere, or does not start.

`network_trust` is the one place that decides it.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..attestation.trust import require_allowed
from ..wire.registry import RegistryStorage

__all__ = ["Trust", "network_trust", "require_trust"]


@dataclass(frozen=True, slots=True)
class Trust:
    """why: what is missing; empty if Intel's root vouches for every worker."""

    why: str

    @property
    def simulated(self) -> bool:
        return bool(self.why)

    @property
    def banner(self) -> str | None:
        """What to show wherever anything is shown."""
        if not self.simulated:
            return None
        return (
            f"SIMULATED TEE: NOTHING IS CONFIDENTIAL. {self.why[0].upper()}{self.why[1:]}: "
            "whoever runs a worker can read every prompt and answer."
        )


def network_trust(registry: RegistryStorage) -> Trust:
    """Judged by the registry's proven state.

    Without required attestation, keys are taken on the operator's word. A network that requires it is still not
    believed here unless its root is shown to be Intel's, which the registry's state does not say.
    """
    if not registry.attestation_required:
        return Trust("this network requires no attestation")
    return Trust("it could not be shown that this network's root of trust is Intel's")


def require_trust(trust: Trust, allow_simulated_tee: bool) -> None:
    """SimulatedTeeRefused unless hardware vouches for the workers, or simulation is allowed."""
    if trust.simulated:
        require_allowed(trust.why, allow_simulated_tee)
