"""One process of a campaign: compiles mutants and runs tests over them, as it is told.

It answers one request at a time over a pipe; pytest's own output goes nowhere.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from ..contracts_build import ENTRYPOINTS, CompiledContract
from .compiling import Compiler, Uncompilable
from .mutants import Mutant
from .suite import Ran, Suite, serve

__all__ = ["Compile", "Compiled", "Measure", "Try", "run_worker"]

_TABLE_CACHE = Path(__file__).parent / "table_cache.cjs"


@dataclass(frozen=True, slots=True)
class Compile:
    """Make this mutant the current one; None: bystanders, code that is different and behaves the same."""

    mutant: Mutant | None


@dataclass(frozen=True, slots=True)
class Compiled:
    """`code` names the code of all contracts; "" if it is unchanged. `changes` are code before and after, as bags."""

    error: str = ""
    code: str = ""
    changes: tuple[tuple[bytes, bytes], ...] = ()


@dataclass(frozen=True, slots=True)
class Try:
    """Run tests, each with a limit in seconds, over the current mutant until one fails; `record` what each runs."""

    tests: tuple[tuple[str, float], ...]
    record: bool = False


@dataclass(frozen=True, slots=True)
class Measure:
    """Run tests over the committed sources' code and record the places each runs."""

    tests: tuple[str, ...]


def run_worker(pipe: Connection, root: Path, sources: Mapping[str, str]) -> None:
    """Serve requests from `pipe` until it closes. The first thing sent is the tests' text by id, or an error's text."""
    os.environ["NODE_OPTIONS"] = f"--require={_TABLE_CACHE}"
    silence = os.open(os.devnull, os.O_RDWR)
    os.dup2(silence, 1)
    os.dup2(silence, 2)
    try:
        serve(root, lambda suite: _Worker(pipe, sources, suite).loop())
    except Exception as error:  # noqa: BLE001 - told to the process that started this one
        pipe.send(f"{type(error).__name__}: {error}")


@dataclass
class _Worker:
    pipe: Connection
    sources: Mapping[str, str]
    suite: Suite

    def loop(self) -> None:
        self.compiler = Compiler(self.sources)
        self.current: dict[str, CompiledContract] = {}
        self.pipe.send(self.suite.texts())
        while True:
            try:
                request = self.pipe.recv()
            except EOFError:
                return
            self.pipe.send(self.answer(request))

    def answer(self, request: Any) -> Compiled | list[Ran]:
        match request:
            case Compile(mutant):
                return self.compile(mutant)
            case Try(tests, record):
                limits = dict(tests)
                contracts = {**self.compiler.baseline, **self.current}.values()
                return self.suite.run(limits, contracts, limit=limits.__getitem__, record=record)
            case Measure(tests):
                return self.suite.run(tests, self.compiler.baseline.values(), limit=lambda _: 300.0, record=True)
        raise AssertionError(f"no such request: {request!r}")

    def compile(self, mutant: Mutant | None) -> Compiled:
        from cocoon_sandbox.boc import to_boc

        try:
            if mutant is None:
                self.current = self.compiler.bystanders()
            else:
                self.current = self.compiler.changed(mutant.apply(self.sources), mutant.file)
        except Uncompilable as error:
            return Compiled(error=str(error))
        if not self.current:
            return Compiled()
        everything = {**self.compiler.baseline, **self.current}
        code = hashlib.sha256(b"".join(everything[name].hash for name in ENTRYPOINTS)).hexdigest()
        pairs = ((self.compiler.baseline[name].code, contract.code) for name, contract in self.current.items())
        return Compiled(code=code, changes=tuple((to_boc(before), to_boc(after)) for before, after in pairs))
