"""A platform made of software: quotes and collateral laid out as Intel's, under a root nobody should trust.

For tests, the sandbox and demonstrations. Everything follows from a seed and a time, so two runs give the same bytes.
Certificates name the organization "SIMULATED, NO TEE", which is as long as "Intel Corporation": offsets agree.
"""

from .guest import guest_report
from .hardware import DEFAULT_HARDWARE, CertificateAuthority, Hardware
from .intel import Publication, Role, SimulatedIntel, Validity
from .machine import SimulatedMachine

__all__ = [
    "DEFAULT_HARDWARE",
    "CertificateAuthority",
    "Hardware",
    "Publication",
    "Role",
    "SimulatedIntel",
    "SimulatedMachine",
    "Validity",
    "guest_report",
]
