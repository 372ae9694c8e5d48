"""What the unchanged contracts' tests do: each test's time, and the places in code that it runs.

With it a mutant is tried only on tests that can tell it from the original. It is kept in the cache directory, and a
test is measured again when its file, what tests share, or a contract has changed.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache, cached_property
from pathlib import Path

from pytoniq_core import Cell

from cocoon_sandbox.toolchain import cache_dir

from ..coverage.recorder import Place
from .places import Offsets, offsets_of, touched_places
from .state import SuiteState
from .suite import Ran

__all__ = ["Baseline", "Measured"]


@dataclass(frozen=True, slots=True)
class Measured:
    """One test: `state` is what the measurement rests on, `own` what it runs itself, `inherited` what was run to make
    the snapshot it starts from. `blind` once it is proven not to notice code that behaves the same."""

    state: str
    seconds: float
    own: frozenset[Place]
    inherited: frozenset[Place]
    blind: bool = False


@dataclass(frozen=True)
class Baseline:
    """Measurements by test, for one state of the contracts."""

    tests: Mapping[str, Measured]

    @cached_property
    def offsets(self) -> Offsets:
        """Every place that any test runs."""
        return offsets_of(self._places)

    @property
    def _places(self) -> frozenset[Place]:
        return frozenset[Place]().union(*(part for one in self.tests.values() for part in (one.own, one.inherited)))

    def known(self, tests: Iterable[str], state: SuiteState) -> Baseline:
        """What still holds for `tests`."""
        return Baseline(
            {
                test: self.tests[test]
                for test in tests
                if test in self.tests and self.tests[test].state == state.of_test(test)
            }
        )

    def plus(self, ran: Iterable[Ran], state: SuiteState) -> Baseline:
        """With more tests, run with their places recorded."""
        new = {one.test: Measured(state.of_test(one.test), one.seconds, one.own, one.inherited) for one in ran}
        return Baseline({**self.tests, **new})

    @property
    def unproven(self) -> list[str]:
        """Tests that may yet turn out to compare with committed code."""
        return [test for test, one in self.tests.items() if not one.blind]

    def proven(self) -> Baseline:
        """The same, every test proven blind."""
        return Baseline({test: replace(one, blind=True) for test, one in self.tests.items()})

    def telling(self, changes: Iterable[tuple[Cell, Cell]]) -> dict[str, float]:
        """The tests that run something `changes` (code before and after) touch, and how much they dwell on it: 1 for
        those that stop soonest after the change, less for those that run on, 0 for those that only inherit it."""
        touched = touched_places(changes, self.offsets)
        inherited = {one.inherited for one in self.tests.values()}  # few: tests share snapshots
        heirs = {places for places in inherited if not touched.isdisjoint(places)}
        dwelt = {test: len(touched & one.own) for test, one in self.tests.items()}
        counts = {test: dwelt[test] for test, one in self.tests.items() if dwelt[test] or one.inherited in heirs}
        soonest = min((count for count in counts.values() if count), default=1)
        return {test: soonest / count if count else 0.0 for test, count in counts.items()}

    def save(self, contracts: str) -> None:
        """Keep it for this state of the contracts."""
        path = _path(contracts)
        path.parent.mkdir(parents=True, exist_ok=True)
        numbers = {place: n for n, place in enumerate(sorted(self._places))}
        document = {
            "places": list(numbers),
            "tests": {
                test: [
                    one.state,
                    one.seconds,
                    sorted(numbers[place] for place in one.own),
                    sorted(numbers[place] for place in one.inherited),
                    one.blind,
                ]
                for test, one in self.tests.items()
            },
        }
        temporary = path.with_suffix(".new")
        temporary.write_text(json.dumps(document))
        temporary.replace(path)

    @classmethod
    def load(cls, contracts: str) -> Baseline:
        """The one kept for this state of the contracts; empty if there is none."""
        path = _path(contracts)
        if not path.is_file():
            return cls({})
        document = json.loads(path.read_text())
        places: list[Place] = [(cell, offset) for cell, offset in document["places"]]

        @cache  # tests that start from one snapshot inherit the same places
        def chosen(visited: tuple[int, ...]) -> frozenset[Place]:
            return frozenset(places[number] for number in visited)

        return cls(
            {
                test: Measured(state, seconds, chosen(tuple(own)), chosen(tuple(inherited)), blind)
                for test, (state, seconds, own, inherited, blind) in document["tests"].items()
            }
        )


def _path(contracts: str) -> Path:
    return cache_dir() / "mutation" / f"baseline-2-{contracts[:16]}.json"
