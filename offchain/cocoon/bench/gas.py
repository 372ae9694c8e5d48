"""Gas and fees of every operation, from running it in the official executor.

Deterministic: the same contracts give the same figures, so tests hold them to a snapshot. Gas counts the protocol's
contracts; what receiving wallets burn is theirs. Fees count everything validators collect for an operation after the
caller's own wallet, at the prices of the sandbox's configuration (today's mainnet prices).
"""

from __future__ import annotations

from collections.abc import Callable

from ..contracts_build import load
from .attestation import measure_attestation
from .operation import Operation
from .scenario import RESPONSE, Scenario
from .upkeep import measure_upkeep

__all__ = ["code_sizes", "measure"]


def measure(progress: Callable[[str], None] = lambda _: None) -> list[Operation]:
    """Run every operation once, each with exactly the least value its getter names. AssertionError if one fails."""
    from cocoon_sandbox.ledger import Ledger

    scenario = Scenario(Ledger())
    scenario.set_up()
    progress("channels")
    first = scenario.open(1)
    second = scenario.open(2)
    scenario.operations.pop()
    scenario.pay(first)
    progress("jobs")
    scenario.force(first)
    progress("closing")
    signed = (scenario.receipt(first, 1, 9, RESPONSE), scenario.receipt(first, 2, 9, RESPONSE))
    scenario.close(second, first)
    progress("slashing")
    scenario.slash(first, signed)
    scenario.ledger.check_conservation()
    progress("upkeep")
    upkeep = measure_upkeep()
    progress("attestation")
    return [*scenario.operations, *upkeep, *measure_attestation()]


def code_sizes() -> dict[str, dict[str, int]]:
    """Cells and bits of each contract's code: what its rent is paid for."""
    return {
        name: {"cells": load(name).cells, "bits": load(name).bits}
        for name in ("Registry", "Worker", "Escrow", "Slashing", "Attestation", "TcbStore")
    }
