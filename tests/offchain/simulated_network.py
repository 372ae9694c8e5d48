"""The simulated Intel that every network of these tests trusts, and rules that name it."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

from pytoniq_core import Address

from cocoon.attestation.simulation import Simulation
from cocoon.deployment import Rules

__all__ = ["SEED", "SIMULATION", "simulated_rules"]

SEED = "off-chain tests"
SIMULATION = Simulation(SEED.encode())


def simulated_rules(owner: Address, **changes: Any) -> Rules:
    """The default rules under that root, with its only guest allowed from the start."""
    return replace(_rules(), owner=owner, **changes)


@cache
def _rules() -> Rules:
    nobody = Address((0, bytes(32)))
    return Rules(nobody, attestation_root=SIMULATION.root.public_key, measurements=(SIMULATION.measurement,))
