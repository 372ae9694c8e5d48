"""Rent: what storing each kind of account costs a year, measured on accounts in use."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from ..wire.escrow import PostJob
from .operation import TON
from .scenario import REQUEST, Scenario, sandbox_prices

__all__ = ["GOAL_NANO", "YEAR_SEC", "Rent", "measure_rent"]

YEAR_SEC = 365 * 86_400
GOAL_NANO = 5_000_000
"""The most a year of an Escrow or a Worker shall cost."""


@dataclass(frozen=True, slots=True)
class Rent:
    """An account of `cells` and `bits`, code included. goal_nano: None if there is no goal for it."""

    account: str
    cells: int
    bits: int
    year_nano: int
    goal_nano: int | None = None

    def to_json(self) -> dict[str, object]:
        return asdict(self)


def measure_rent() -> list[Rent]:
    """A worker with an offer for one model, a channel with an open job, and the contracts there is one of."""
    from cocoon_sandbox.ledger import Ledger

    scenario = Scenario(Ledger())
    scenario.set_up()
    escrow = scenario.open(1)
    post = scenario.ledger.get(escrow, "get_fees", 0)[2]
    scenario.client.send(scenario.ledger, escrow, TON // 10 + post, PostJob(1, TON // 10, 600, REQUEST).to_cell())
    prices = sandbox_prices()
    rents = []
    for name, address, goal in (
        ("Escrow with an open job", escrow, GOAL_NANO),
        ("Worker with one model and an open job", scenario.worker, GOAL_NANO),
        ("Registry", scenario.deployment.registry, None),
        ("Slashing", scenario.deployment.slashing, None),
    ):
        used = scenario.ledger.account(address).storage_used
        year = prices.storage_fee(YEAR_SEC, used.bits, used.cells)
        rents.append(Rent(name, used.cells, used.bits, year, goal))
    return rents
