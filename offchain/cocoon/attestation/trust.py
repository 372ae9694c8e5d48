"""Which root of trust vouches for hardware: Intel's, or, only if allowed by name, a simulated one.

Everything under another root than Intel's is software pretending. Whoever accepts it says so, in every banner.
"""

from __future__ import annotations

from dataclasses import dataclass

from .certificates import Certificate
from .errors import SimulatedTeeRefused

__all__ = [
    "INTEL_ROOT",
    "INTEL_ROOT_KEY",
    "SIMULATED_BANNER",
    "TrustedRoot",
    "banner",
    "require_allowed",
    "trusted_root",
]

INTEL_ROOT_KEY = bytes.fromhex(
    "0ba9c4c0c0c86193a3fe23d6b02cda10a8bbd4e88e48b4458561a36e705525f5"
    "67918e2edc88e40d860bd0cc4ee26aacc988e505a953558c453f6b0904ae7394"
)

SIMULATED_BANNER = (
    "SIMULATED TEE: NOTHING IS CONFIDENTIAL. The evidence comes from software under a throw-away root; "
    "whoever runs the worker can read every prompt and answer."
)


@dataclass(frozen=True, slots=True)
class TrustedRoot:
    """A root CA somebody decided to trust, by its key x ‖ y (64 bytes)."""

    public_key: bytes

    @property
    def simulated(self) -> bool:
        """Whether no hardware stands behind it."""
        return self.public_key != INTEL_ROOT_KEY


INTEL_ROOT = TrustedRoot(INTEL_ROOT_KEY)


def trusted_root(certificate: Certificate, *, allow_simulated_tee: bool = False) -> TrustedRoot:
    """The root with this certificate. SimulatedTeeRefused unless it is Intel's, or others are allowed."""
    root = TrustedRoot(certificate.public_key)
    if root.simulated:
        require_allowed(f"the root {certificate.name!r} is not Intel's", allow_simulated_tee)
    return root


def require_allowed(what: str, allow_simulated_tee: bool) -> None:
    """SimulatedTeeRefused, saying `what`, unless simulation is allowed."""
    if not allow_simulated_tee:
        raise SimulatedTeeRefused(
            f"{what}: nothing would be confidential. For tests and demonstrations only, allow it with "
            "--allow-simulated-tee (allow_simulated_tee=True)"
        )


def banner(root: TrustedRoot) -> str | None:
    """What to show wherever results under `root` are shown; None under Intel's."""
    if not root.simulated:
        return None
    return SIMULATED_BANNER
