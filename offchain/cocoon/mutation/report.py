"""What a campaign found: figures, survivors with their differences, and whether each survivor is explained.

Explanations are in `tests/contracts/mutants.toml`: ids of mutants that behave like the original, each with the reason.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import CocoonError
from .journal import Verdict
from .mutants import Mutant

__all__ = ["GOAL_PERCENT", "Explanations", "ExplanationsError", "Report"]

GOAL_PERCENT = 97.0


class ExplanationsError(CocoonError):
    """The file of explained survivors can't be used."""


@dataclass(frozen=True, slots=True)
class Explanations:
    """Reasons by mutant id."""

    reasons: Mapping[str, str]

    @classmethod
    def read(cls, path: Path) -> Explanations:
        """The file at `path`: entries with a `reason` and the ids of `mutants`. ExplanationsError."""
        reasons: dict[str, str] = {}
        try:
            for entry in tomllib.loads(path.read_text()).get("explained", []):
                reason = entry["reason"].strip()
                for mutant in entry["mutants"]:
                    if mutant in reasons:
                        raise ExplanationsError(f"{path.name} explains {mutant} twice; remove one of the two")
                    reasons[mutant] = reason
        except (OSError, tomllib.TOMLDecodeError, KeyError, AttributeError) as error:
            raise ExplanationsError(f"{path} can't be read ({error!r}); see docs/mutation.md for its form") from error
        return cls(reasons)


@dataclass(frozen=True, slots=True)
class Report:
    """Verdicts on `mutants`, which are all there are if `complete`."""

    mutants: Sequence[Mutant]
    verdicts: Sequence[Verdict]
    sources: Mapping[str, str]
    explanations: Explanations
    complete: bool

    def count(self, outcome: str) -> int:
        return sum(verdict.outcome == outcome for verdict in self.verdicts)

    @property
    def score(self) -> float:
        """Killed mutants in percent of all that changed code, explained or not."""
        judged = self.count("killed") + self.count("survived")
        return 100.0 * self.count("killed") / judged if judged else 100.0

    @property
    def survivors(self) -> list[Verdict]:
        return [verdict for verdict in self.verdicts if verdict.outcome == "survived"]

    @property
    def unexplained(self) -> list[Verdict]:
        return [verdict for verdict in self.survivors if verdict.id not in self.explanations.reasons]

    @property
    def stale(self) -> list[str]:
        """Explained ids of mutants that do not survive or, if all were judged, do not exist."""
        others = {verdict.id for verdict in self.verdicts if verdict.outcome != "survived"}
        known = {mutant.id for mutant in self.mutants}
        return [
            mutant
            for mutant in self.explanations.reasons
            if mutant in others or (self.complete and mutant not in known)
        ]

    @property
    def satisfied(self) -> bool:
        """Whether the goal is met, every survivor is explained and every explanation is needed."""
        return not self.unexplained and not self.stale and (self.score >= GOAL_PERCENT or not self.complete)

    def to_json(self) -> dict[str, Any]:
        by_id = {mutant.id: mutant for mutant in self.mutants}
        return {
            "mutants": len(self.verdicts),
            **{name: self.count(name) for name in ("killed", "survived", "equivalent", "uncompilable")},
            "explained": len(self.survivors) - len(self.unexplained),
            "score": round(self.score, 2),
            "goal": GOAL_PERCENT,
            "satisfied": self.satisfied,
            "stale_explanations": self.stale,
            "survivors": [
                {
                    "id": verdict.id,
                    "file": by_id[verdict.id].file,
                    "line": by_id[verdict.id].line,
                    "diff": by_id[verdict.id].diff(self.sources),
                    "tests": verdict.why,
                    "reason": self.explanations.reasons.get(verdict.id),
                }
                for verdict in self.survivors
            ],
        }

    def lines(self) -> Iterable[str]:
        """The report for a terminal."""
        by_id = {mutant.id: mutant for mutant in self.mutants}
        for verdict in self.unexplained:
            mutant = by_id[verdict.id]
            yield f"survived: {mutant.id}\n  contracts/{mutant.file}:{mutant.line} ({verdict.why})"
            yield from (f"    {line}" for line in mutant.diff(self.sources).split("\n"))
        for stale in self.stale:
            yield f"needs no explanation any more: {stale}; remove it from tests/contracts/mutants.toml"
        explained = len(self.survivors) - len(self.unexplained)
        yield (
            f"{len(self.verdicts)} mutants: {self.count('killed')} killed, {self.count('survived')} survived "
            f"({explained} explained), {self.count('equivalent')} change no code, "
            f"{self.count('uncompilable')} do not compile; score {self.score:.2f}%, goal {GOAL_PERCENT:g}%"
        )
