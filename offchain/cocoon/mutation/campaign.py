"""A mutation run: every mutant compiled, tried and judged, on several processes at once.

Tests are tried in the order in which they are likely to notice: what noticed this mutant before, what noticed its
neighbours, what speaks of the same things, what is quick. The first failure ends a mutant.
"""

from __future__ import annotations

import hashlib
import itertools
import math
import multiprocessing
import re
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from pytoniq_core import Cell

from ..contracts_build import ENTRYPOINTS, load
from ..errors import CocoonError
from ..exit_codes import exit_codes
from .baseline import Baseline
from .journal import Journal, Verdict
from .mutants import Mutant
from .state import SuiteState
from .suite import Ran
from .tokens import tokenize
from .worker import Compile, Compiled, Measure, Try, run_worker

__all__ = ["Campaign", "CampaignError"]

Progress = Callable[[str], None]
# Yields requests for one worker, is sent its answers, returns what came of it.
Talk = Generator[Any, Any, Any]
_WORDS = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d{3,}")
_NAMED = re.compile(r"(\w+) \. (\w+)")


class CampaignError(CocoonError):
    """The suite is not fit to judge mutants: it fails, or notices code that behaves the same."""


@dataclass
class Campaign:
    """Judges mutants of `sources`, the contracts of the checkout `root`."""

    root: Path
    sources: Mapping[str, str]
    jobs: int
    progress: Progress
    journal: Journal = field(default_factory=Journal)
    resume: bool = False
    """Take over verdicts that the journal has for the same code and tests."""
    most: int | None = None
    """Try at most this many tests on a mutant, the likeliest first: survivors are then only suspects."""

    def run(self, mutants: Sequence[Mutant], *, measure: bool = True) -> Iterator[Verdict]:
        """Verdicts as they are reached. With `measure`, tests that were not measured before are, and they are proven
        blind to code that behaves the same; without, every test is tried on every mutant."""
        self._state = SuiteState.of(self.root)
        self._named = _name(self.sources)
        self._tried: Counter[str] = Counter()
        self._noticed: Counter[str] = Counter()
        with _workers(min(self.jobs, max(1, len(mutants))), self.root, self.sources) as pool:
            tests = pool[0].tests
            self._baseline = self._measure(pool) if measure else None
            measured = self._baseline.tests if self._baseline else {}
            self._seconds = {test: measured[test].seconds if test in measured else 1.0 for test in tests}
            self._words = {test: _words(f"{test} {text}") for test, text in tests.items()}
            self._codes = {
                (f"{one.contract}Error", one.name): str(one.code) for one in exit_codes(self.root / "contracts")
            }
            common = Counter(word for words in self._words.values() for word in words)
            self._weights = {word: math.log(len(tests) / count) for word, count in common.items()}
            self._kills: dict[str, Counter[str]] = defaultdict(Counter)
            for mutant in mutants:
                if (killer := self.journal.killer(mutant.id)) in tests:
                    self._credit(mutant, killer)
            known = self._known(mutants) if self.resume else {}
            yield from known.values()
            yield from _pool_map(pool, [mutant for mutant in mutants if mutant.id not in known], self._judge)

    def _known(self, mutants: Sequence[Mutant]) -> dict[str, Verdict]:
        """Verdicts that need no compiling, by mutant id."""
        found = {mutant.id: self.journal.verdict_on_edit(self._named, mutant.id, self._state) for mutant in mutants}
        return {mutant: verdict for mutant, verdict in found.items() if verdict is not None}

    def _judge(self, mutant: Mutant) -> Talk:
        """A conversation with one worker about one mutant, which ends with its verdict."""
        started = time.monotonic()
        compiled: Compiled = yield Compile(mutant)
        if compiled.error:
            return self._note(Verdict(mutant.id, "uncompilable", why=compiled.error[:300]))
        if not compiled.code:
            return self._note(Verdict(mutant.id, "equivalent"))
        known = self.journal.verdict(compiled.code, self._state) if self.resume else None
        if known is not None:
            return self._note(replace(known, id=mutant.id))
        telling = self._order(mutant, compiled)
        tests = telling[: self.most]
        ran: list[Ran] = (yield Try(tuple((test, 15 + 10 * self._seconds[test]) for test in tests))) if tests else []
        seconds = round(time.monotonic() - started, 2)
        self._tried.update(one.test for one in ran)
        if ran and not ran[-1].passed:
            killer = ran[-1].test
            self._noticed[killer] += 1
            self._credit(mutant, killer)
            state = self._state.of_test(killer)
            return self._note(Verdict(mutant.id, "killed", compiled.code, state, killer, ran[-1].why, seconds))
        why = f"{len(ran)} of {len(telling)} tests passed" if tests else "no test runs it"
        rests_on = self._state.whole if len(tests) == len(telling) else ""  # a suspect is tried again
        return self._note(Verdict(mutant.id, "survived", compiled.code, rests_on, "", why, seconds))

    def _credit(self, mutant: Mutant, killer: str) -> None:
        for likeness in _likenesses(mutant):
            self._kills[likeness][killer] += 1

    def _note(self, verdict: Verdict) -> Verdict:
        verdict = replace(verdict, sources=self._named)
        self.journal.add(verdict)
        return verdict

    def _order(self, mutant: Mutant, compiled: Compiled) -> list[str]:
        if self._baseline is None:
            candidates = dict.fromkeys(self._seconds, 0.0)
        else:
            changes = [(Cell.one_from_boc(before), Cell.one_from_boc(after)) for before, after in compiled.changes]
            candidates = self._baseline.telling(changes)
        wanted = _words(f"{mutant.function} {mutant.file} {mutant.statement}")
        # A test that speaks of an error's code is about the check that throws it.
        codes = {self._codes[name] for name in _NAMED.findall(mutant.statement) if name in self._codes}
        earlier = self.journal.killer(mutant.id)
        # Stopping soon after the change says much, unless the change has shifted half of the code.
        dwelling = min(100.0, 3000 / max(1, len(candidates)))
        kills = [self._kills[likeness] for likeness in _likenesses(mutant)]

        def rank(test: str) -> tuple[bool, float]:
            alike = sum(self._weights[word] for word in wanted & self._words[test])
            alike += sum(20 * self._weights[code] for code in codes & self._words[test])
            alike += (
                dwelling * candidates[test]
                + 20 * kills[0][test]
                + 2 * kills[1][test]
                + 20 * kills[2][test]
                + 5 * kills[3][test]
            )
            # One kill nearby says more than any words; a slow test has to be that much likelier, and so has one that
            # was often tried in vain.
            keenness = (1 + self._noticed[test]) / (3 + self._tried[test])
            return (test != earlier, -alike * keenness / (0.5 + self._seconds[test]))

        return sorted(candidates, key=rank)

    def _measure(self, pool: Sequence[_Process]) -> Baseline:
        baseline = Baseline.load(self._named).known(pool[0].tests, self._state)
        new = [test for test in pool[0].tests if test not in baseline.tests]
        if new:
            self.progress(f"measuring {len(new)} of {len(pool[0].tests)} tests, once for this state of both")
            files = [tuple(tests) for _, tests in itertools.groupby(new, lambda test: test.partition("::")[0])]
            ran = [one for results in _pool_map(pool, files, _measured) for one in results]
            baseline = baseline.plus((one for one in ran if one.passed), self._state)
            baseline.save(self._named)
            failed = [one for one in ran if not one.passed]
            if failed:
                raise CampaignError(
                    f"{len(failed)} tests fail without any mutant, {failed[0].test} first ({failed[0].why}); "
                    f"fix them first"
                )
        if baseline.unproven:
            self._prove_blind(pool, baseline.unproven)
            baseline = baseline.proven()
            baseline.save(self._named)
        return baseline

    def _prove_blind(self, pool: Sequence[_Process], tests: Sequence[str]) -> None:
        self.progress("checking that they run and pass over code with another hash and the same behaviour")
        parts = [part for number in range(len(pool)) if (part := tests[number :: len(pool)])]
        for committed, ran in _pool_map(pool, parts, _blind):
            if not ran[-1].passed:
                raise CampaignError(
                    f"{ran[-1].test} notices code that behaves the same ({ran[-1].why}): it compares with committed "
                    f"code, so its verdicts on mutants mean nothing; let it load the contracts when it runs"
                )
            deaf = [one.test for one in ran if any(cell in committed for cell, _ in one.own | one.inherited)]
            if deaf:
                raise CampaignError(
                    f"{deaf[0]} and {len(deaf) - 1} more run the committed code whatever the mutant, so they can't "
                    f"notice any; let them take code from cocoon.contracts_build.load"
                )


@dataclass
class _Process:
    process: BaseProcess
    pipe: Connection
    tests: dict[str, str]
    """The text of each by its id."""


@contextmanager
def _workers(count: int, root: Path, sources: Mapping[str, str]) -> Iterator[list[_Process]]:
    context = multiprocessing.get_context("spawn")
    started: list[tuple[BaseProcess, Connection]] = []
    try:
        for _ in range(count):
            ours, theirs = context.Pipe()
            process: BaseProcess = context.Process(target=run_worker, args=(theirs, root, dict(sources)), daemon=True)
            process.start()
            theirs.close()
            started.append((process, ours))
        yield [_Process(process, pipe, _ready(pipe)) for process, pipe in started]
    finally:
        for process, pipe in started:
            pipe.close()
            process.join(10)
            if process.is_alive():
                process.terminate()


def _ready(pipe: Connection) -> dict[str, str]:
    try:
        tests = pipe.recv()
    except EOFError:
        raise CampaignError(
            "a worker ended while it collected the tests; run pytest on tests/contracts first"
        ) from None
    if isinstance(tests, str):
        raise CampaignError(tests)
    found: dict[str, str] = tests
    return found


def _pool_map(pool: Sequence[_Process], subjects: Sequence[Any], talk: Callable[[Any], Talk]) -> Iterator[Any]:
    """The result of `talk` for each subject, in the order in which they come."""
    waiting = iter(subjects)
    talks: dict[Connection, Any] = {}

    def begin(pipe: Connection) -> None:
        subject = next(waiting, None)
        if subject is not None:
            talks[pipe] = talk(subject)
            pipe.send(next(talks[pipe]))

    for worker in pool:
        begin(worker.pipe)
    while talks:
        for pipe in wait(list(talks)):
            assert isinstance(pipe, Connection)
            try:
                answer = pipe.recv()
            except EOFError:
                raise CampaignError("a worker died; run the same command with --resume to go on") from None
            try:
                pipe.send(talks[pipe].send(answer))
            except StopIteration as ended:
                del talks[pipe]
                begin(pipe)
                yield ended.value


def _measured(tests: tuple[str, ...]) -> Talk:
    return (yield Measure(tests))


def _blind(tests: Sequence[str]) -> Talk:
    """The first cell of each contract's committed code, which no test should run any more, and what was run."""
    bystanders: Compiled = yield Compile(None)
    committed = {Cell.one_from_boc(before).hash.hex().upper() for before, _ in bystanders.changes}
    return committed, (yield Try(tuple((test, 300.0) for test in tests), record=True))


def _name(sources: Mapping[str, str]) -> str:
    """Of what decides which code an edit of `sources` makes: their tokens, for a comment makes no other, and the
    compiler."""
    compilers = [load(name).compiler for name in ENTRYPOINTS]
    seen = [(path, [token.text for token in tokenize(text)]) for path, text in sorted(sources.items())]
    return hashlib.sha256(repr((compilers, seen)).encode()).hexdigest()


def _likenesses(mutant: Mutant) -> tuple[str, str, str, str]:
    """What mutants noticed by the same test have in common."""
    return mutant.function, mutant.file, f"{mutant.operator} {mutant.file}", mutant.operator


def _words(text: str) -> set[str]:
    return {word.lower() for word in _WORDS.findall(text)}
