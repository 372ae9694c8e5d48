"""Mutants as code: which contracts a mutant's file is part of, and what they become.

Only those are compiled, by the sandbox's long-lived compiler (about a second for the larger contracts).
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping

from cocoon_sandbox.boc import count_cells
from cocoon_sandbox.errors import CompileError, ExecutorTrapped
from cocoon_sandbox.executor import Executor

from ..contracts_build import ENTRYPOINTS, CompiledContract
from ..errors import CocoonError

__all__ = ["Compiler", "Uncompilable", "compiled_sources"]

_IMPORT = re.compile(r'^import "(?!@)([^"]+)"', re.MULTILINE)
# A getter that nobody calls: the code is another, its behaviour is not.
_BYSTANDER = "\nget fun mutation_bystander(): int {\n    return 1;\n}\n"


class Uncompilable(CocoonError):
    """The compiler refuses a mutant."""


class Compiler:
    """Compiles variations of `sources` (path -> text) and tells which contracts come out different."""

    def __init__(self, sources: Mapping[str, str]) -> None:
        self._sources = dict(sources)
        self._parts = {name: _imported(entry, sources) for name, entry in ENTRYPOINTS.items()}
        self.baseline = {name: self._compile(name, self._sources) for name in ENTRYPOINTS}

    def changed(self, sources: Mapping[str, str], file: str) -> dict[str, CompiledContract]:
        """The contracts that come out different when `file` does; none for an equivalent mutant. Uncompilable."""
        found = (self._compile(name, sources) for name, parts in self._parts.items() if file in parts)
        return {contract.name: contract for contract in found if contract.hash != self.baseline[contract.name].hash}

    def bystanders(self) -> dict[str, CompiledContract]:
        """Every contract with another code and the same behaviour: what a sound suite does not notice."""
        sources = dict(self._sources)
        for entry in ENTRYPOINTS.values():
            sources[entry] += _BYSTANDER
        return {name: self._compile(name, sources) for name in ENTRYPOINTS}

    def _compile(self, name: str, sources: Mapping[str, str]) -> CompiledContract:
        try:
            compiled = Executor.shared().compile_tolk(ENTRYPOINTS[name], sources)
        except (CompileError, ExecutorTrapped) as error:
            raise Uncompilable(f"{name} does not compile: {error}") from error
        cells, bits = count_cells(compiled.code)
        return CompiledContract(name, f"tolk {compiled.tolk_version}", compiled.code, cells, bits)


def compiled_sources(sources: Mapping[str, str]) -> dict[str, str]:
    """Those of `sources` (path -> text) that are part of a contract of ENTRYPOINTS."""
    parts = frozenset().union(*(_imported(entry, sources) for entry in ENTRYPOINTS.values()))
    return {file: text for file, text in sources.items() if file in parts}


def _imported(entry: str, sources: Mapping[str, str]) -> frozenset[str]:
    """`entry` and every file it imports, directly or not."""
    found: set[str] = set()
    waiting = [entry]
    while waiting:
        file = waiting.pop()
        if file not in found:
            found.add(file)
            folder = posixpath.dirname(file)
            for name in _IMPORT.findall(sources[file]):
                waiting.append(
                    posixpath.normpath(posixpath.join(folder, name)) + ".tolk" * (not name.endswith(".tolk"))
                )
    return frozenset(found)
