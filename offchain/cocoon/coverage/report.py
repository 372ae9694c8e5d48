"""How much of the contracts' code the tests ran, and whether what they did not run is accounted for.

Explanations are in `tests/contracts/uncovered.toml`, by contract, statement and instruction: no cell hash or line
number, which any edit would change.
"""

from __future__ import annotations

import tomllib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..contracts_build import ENTRYPOINTS, ContractsError
from .listing import Instruction
from .recorder import Place

__all__ = ["LEAST_PERCENT", "Coverage", "Explanation", "read_explanations"]

LEAST_PERCENT = 98.0


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why the instructions of `statement` (its beginning) in `contract` are not run. `instruction` narrows it down to
    those that begin like it."""

    contract: str
    statement: str
    instruction: str
    reason: str

    def covers(self, one: Instruction) -> bool:
        return (
            self.contract in (one.contract, "*")
            and one.statement.startswith(self.statement)
            and one.text.startswith(self.instruction)
        )


@dataclass(frozen=True, slots=True)
class Coverage:
    """Every instruction there is, the places that were run, and the explanations for the rest."""

    instructions: Sequence[Instruction]
    visited: frozenset[Place]
    explanations: Sequence[Explanation] = ()

    def percent(self, contract: str | None = None) -> float:
        """Share of the instructions of a contract, or of all, that were run."""
        chosen = [one for one in self.instructions if contract in (None, one.contract)]
        run = sum(one.place in self.visited for one in chosen)
        return 100 * run / len(chosen) if chosen else 100.0

    @property
    def uncovered(self) -> list[Instruction]:
        return [one for one in self.instructions if one.place not in self.visited]

    @property
    def unexplained(self) -> list[Instruction]:
        return [one for one in self.uncovered if not any(why.covers(one) for why in self.explanations)]

    @property
    def stale(self) -> list[Explanation]:
        """Explanations of what has been run, or is no longer there."""
        uncovered = self.uncovered
        return [why for why in self.explanations if not any(why.covers(one) for one in uncovered)]

    @property
    def problems(self) -> list[str]:
        """A sentence for everything that has to be done; empty if coverage is as it should be."""
        found = [
            f"{name}: only {self.percent(name):.2f}% of the instructions are run, test {LEAST_PERCENT:g}% at least"
            for name in ENTRYPOINTS
            if self.percent(name) < LEAST_PERCENT
        ]
        missing: dict[tuple[str, str, str], list[str]] = {}
        for one in self.unexplained:
            missing.setdefault((one.contract, one.statement, one.at), []).append(one.text)
        for (contract, statement, at), texts in missing.items():
            found.append(
                f"{contract}: `{', '.join(texts)}` of `{statement}` {f'({at}) ' if at else ''}never run; "
                f"test it, or say why not in tests/contracts/uncovered.toml"
            )
        for why in self.stale:
            found.append(
                f"{why.contract}: `{why.statement}` is run after all; remove it from tests/contracts/uncovered.toml"
            )
        return found

    def lines(self) -> list[str]:
        """The report for a terminal."""
        table = [
            f"{name:10} {self.percent(name):6.2f}%  {count:5} instructions"
            for name, count in Counter(one.contract for one in self.instructions).items()
        ]
        total = f"{'all':10} {self.percent():6.2f}%  {len(self.instructions):5} instructions"
        explained = len(self.uncovered) - len(self.unexplained)
        return [*table, f"{total}, {len(self.uncovered)} not run, {explained} of them explained", *self.problems]


def read_explanations(path: Path) -> list[Explanation]:
    """The entries of the file at `path`. ContractsError if it is not what it should be."""
    try:
        entries: list[Mapping[str, str]] = tomllib.loads(path.read_text()).get("explained", [])
        return [Explanation(e["contract"], e["statement"], e.get("instruction", ""), e["reason"]) for e in entries]
    except (OSError, tomllib.TOMLDecodeError, KeyError) as error:
        raise ContractsError(f"{path} can't be read ({error}); see docs/mutation.md for its form") from error
