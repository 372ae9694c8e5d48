"""One operation as it was measured, beside the goal it is held to."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field

__all__ = ["GOALS", "TON", "Goal", "Operation"]

TON = 10**9


@dataclass(frozen=True)
class Goal:
    """The most an operation may take, and what the existing network takes for the same, where it has the same."""

    gas: int
    transactions: int | None = None
    existing_gas: int | None = None
    existing_transactions: int | None = None


# Figures of the existing network: its public contracts run in the same executor.
GOALS = {
    "claim": Goal(6000, 2, 30_458, 7),
    "top up": Goal(3000, 1, 18_178, 3),
    "open": Goal(25_000, 4),
    "close cooperatively": Goal(12_000, None, 23_412, 4),
    "forced job": Goal(25_000),
}


@dataclass(frozen=True)
class Operation:
    """One operation: `gas` by contract in order of execution, fees in nanoTON.

    `least_value_nano` is what has to be attached beyond what is credited to somebody.
    """

    name: str
    gas: tuple[tuple[str, int], ...]
    transactions: int
    fees_nano: int
    least_value_nano: int | None = None
    goal: Goal | None = field(default=None)

    @property
    def total_gas(self) -> int:
        return sum(used for _, used in self.gas)

    @property
    def meets_goal(self) -> bool | None:
        """None if there is no goal."""
        if self.goal is None:
            return None
        return self.total_gas <= self.goal.gas and self.transactions <= (self.goal.transactions or self.transactions)

    def to_json(self) -> dict[str, object]:
        return {
            "operation": self.name,
            "gas": self.total_gas,
            "gas_by_contract": [{"contract": name, "gas": used} for name, used in self.gas],
            "transactions": self.transactions,
            "fees_nano": self.fees_nano,
            "least_value_nano": self.least_value_nano,
            "goal": asdict(self.goal) if self.goal else None,
            "meets_goal": self.meets_goal,
        }
