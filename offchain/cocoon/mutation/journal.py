"""Verdicts of earlier runs, one line of JSON each, in the cache directory; and which test noticed which mutant.

A verdict holds for code and tests: it is taken over only where all contracts' hashes are the same and so are the tests
it rests on. The same edit of the same sources makes the same code, so nothing is compiled to look it up. Which test
noticed a mutant is remembered beyond that, as the first one to try. The file `tests/contracts/killers.json` remembers
it for a fresh checkout.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from cocoon_sandbox.toolchain import cache_dir

from .mutants import GUARDS
from .state import SuiteState

__all__ = ["Journal", "Outcome", "Verdict", "read_killers", "write_killers"]

Outcome = Literal["killed", "survived", "equivalent", "uncompilable"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of a mutant. `code` names all contracts' code, `tests` the tests it rests on, `killer` the test that
    noticed, `why` how; `sources` names what the mutant is an edit of."""

    id: str
    outcome: Outcome
    code: str = ""
    tests: str = ""
    killer: str = ""
    why: str = ""
    seconds: float = 0.0
    sources: str = ""


class Journal:
    """Appends verdicts to a file, and answers from those that were there. `killers` are tests by mutant id."""

    def __init__(self, path: Path | None = None, killers: Mapping[str, str] | None = None) -> None:
        self._path = path or cache_dir() / "mutation" / "journal.jsonl"
        self._known: dict[str, Verdict] = {}
        self._edits: dict[tuple[str, str], Verdict] = {}
        self._killers = dict(killers or {})
        if self._path.is_file():
            for line in self._path.read_text().splitlines():
                self._remember(Verdict(**json.loads(line)))

    def add(self, verdict: Verdict) -> None:
        """Write a verdict down at once: an interrupted run loses none."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("a") as file:
            file.write(json.dumps(asdict(verdict)) + "\n")
        self._remember(verdict)

    def verdict(self, code: str, state: SuiteState) -> Verdict | None:
        """What these tests said of `code`, if they did."""
        verdict = self._known.get(code)
        return verdict if verdict and _holds(verdict, state) else None

    def verdict_on_edit(self, sources: str, mutant: str, state: SuiteState) -> Verdict | None:
        """The same by the mutant's id and what it is an edit of."""
        verdict = self._edits.get((sources, mutant))
        return verdict if verdict and (not verdict.code or _holds(verdict, state)) else None

    def killer(self, mutant: str) -> str | None:
        """The test that last noticed this mutant, in whatever state of code and tests."""
        return self._killers.get(mutant)

    def _remember(self, verdict: Verdict) -> None:
        if verdict.code:
            self._known[verdict.code] = verdict
        if verdict.killer:
            self._killers[verdict.id] = verdict.killer
        if verdict.sources:
            self._edits[verdict.sources, verdict.id] = verdict


def _holds(verdict: Verdict, state: SuiteState) -> bool:
    return verdict.tests == (state.of_test(verdict.killer) if verdict.killer else state.whole)


def read_killers(path: Path) -> dict[str, str]:
    """The tests on record, by mutant id; none if there is no such file."""
    if not path.is_file():
        return {}
    killers: dict[str, str] = json.loads(path.read_text())
    return killers


def write_killers(path: Path, verdicts: Iterable[Verdict]) -> None:
    """Put on record which test noticed each missing guard."""
    killers = {one.id: one.killer for one in verdicts if one.outcome == "killed" and one.id.split(":")[2] in GUARDS}
    path.write_text(json.dumps(killers, indent=0, sort_keys=True) + "\n")
