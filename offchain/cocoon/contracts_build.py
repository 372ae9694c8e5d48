"""Compiled contracts: made from `contracts/**/*.tolk`, compared with what is committed, loaded at run time.

`contracts/build/<Name>.json` holds a contract's code and hash. `build` writes these files, `check` recompiles and says
what differs, `load` reads one from the checkout or, in an installed wheel, from the package. Only `build` and `check`
need the sandbox (Node and the Tolk compiler).
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytoniq_core import Cell

from .errors import CocoonError
from .fees import Formulas

if TYPE_CHECKING:
    from cocoon_sandbox.executor import Executor

__all__ = [
    "ENTRYPOINTS",
    "CompiledContract",
    "ContractsError",
    "build",
    "check",
    "compile_all",
    "contracts_dir",
    "load",
    "sources",
    "substitute",
]

ENTRYPOINTS: Mapping[str, str] = {
    "Registry": "registry/Registry.tolk",
    "Worker": "worker/Worker.tolk",
    "Escrow": "escrow/Escrow.tolk",
    "Slashing": "slashing/Slashing.tolk",
    "Attestation": "attestation/Attestation.tolk",
    "TcbStore": "attestation/TcbStore.tolk",
}
FORMULAS = "constants.json"
_substitutes: dict[str, CompiledContract] = {}
_PACKAGED = Path(__file__).parent / "_contracts"
_CHECKOUT = Path(__file__).parents[2] / "contracts"


class ContractsError(CocoonError):
    """Contracts that don't compile, are missing, or are not what they claim to be."""


@dataclass(frozen=True, slots=True)
class CompiledContract:
    """The code cell of contract `name`. `cells` and `bits` count distinct cells, which is what storage costs."""

    name: str
    compiler: str
    code: Cell
    cells: int
    bits: int

    @property
    def hash(self) -> bytes:
        """Hash of the code cell: with the initial data it makes a contract's address."""
        digest: bytes = self.code.hash
        return digest

    @property
    def depth(self) -> int:
        depth: int = self.code.get_depth()
        return depth

    def to_json(self) -> str:
        """The canonical text of `contracts/build/<name>.json`."""
        from cocoon_sandbox.boc import to_boc

        document = {
            "name": self.name,
            "compiler": self.compiler,
            "hash": self.hash.hex(),
            "hash_base64": base64.b64encode(self.hash).decode(),
            "code": base64.b64encode(to_boc(self.code)).decode(),
            "depth": self.depth,
            "cells": self.cells,
            "bits": self.bits,
        }
        return json.dumps(document, indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str) -> CompiledContract:
        """Parse `to_json` output; ContractsError if the code is not what the hash and counts say."""
        try:
            document: dict[str, Any] = json.loads(text)
            code = Cell.one_from_boc(base64.b64decode(document["code"], validate=True))
            found = cls(document["name"], document["compiler"], code, int(document["cells"]), int(document["bits"]))
            claimed = (document["hash"], document["hash_base64"], document["depth"])
        except Exception as error:
            raise ContractsError(
                f"compiled contract is malformed ({error}); rebuild it with `cocoon contracts build`"
            ) from error
        if claimed != (found.hash.hex(), base64.b64encode(found.hash).decode(), found.depth):
            raise ContractsError(
                f"compiled contract {found.name} claims hash {claimed[0]} but its code has {found.hash.hex()}; "
                f"rebuild it with `cocoon contracts build`"
            )
        return found


def contracts_dir() -> Path:
    """The checkout's `contracts` directory; ContractsError in an installed package, which has no sources."""
    if not (_CHECKOUT / "build").is_dir():
        raise ContractsError("the contracts' sources are only in a checkout of the repository; run this command there")
    return _CHECKOUT


@cache
def load(name: str) -> CompiledContract:
    """The committed build of contract `name` (a key of ENTRYPOINTS)."""
    if name not in ENTRYPOINTS:
        raise ContractsError(f"there is no contract {name}; choose one of {', '.join(ENTRYPOINTS)}")
    if name in _substitutes:
        return _substitutes[name]
    for directory in (_CHECKOUT / "build", _PACKAGED):
        path = directory / f"{name}.json"
        if path.is_file():
            return CompiledContract.from_json(path.read_text())
    raise ContractsError(f"contract {name} has not been compiled; run `cocoon contracts build` in the checkout")


def substitute(contracts: Iterable[CompiledContract]) -> None:
    """For the rest of this process `load` gives `contracts` instead of the committed builds: how mutants are tested."""
    _substitutes.update((contract.name, contract) for contract in contracts)
    load.cache_clear()


def sources(root: Path) -> dict[str, str]:
    """Every Tolk file below `root`, by its path relative to `root`."""
    return {path.relative_to(root).as_posix(): path.read_text() for path in sorted(root.rglob("*.tolk"))}


def compile_all(root: Path | None = None, executor: Executor | None = None) -> list[CompiledContract]:
    """Compile every entrypoint below `root` (default: the checkout's). ContractsError with the compiler's message."""
    from cocoon_sandbox.boc import count_cells
    from cocoon_sandbox.errors import CompileError
    from cocoon_sandbox.executor import Executor

    root = root or contracts_dir()
    executor = executor or Executor.shared()
    files = sources(root)
    done: list[CompiledContract] = []
    for name, entrypoint in ENTRYPOINTS.items():
        if entrypoint not in files:
            raise ContractsError(f"{root / entrypoint} is missing; every contract needs its entrypoint")
        try:
            compiled = executor.compile_tolk(entrypoint, files)
        except CompileError as error:
            raise ContractsError(f"{name} does not compile:\n{error}") from error
        cells, bits = count_cells(compiled.code)
        done.append(CompiledContract(name, f"tolk {compiled.tolk_version}", compiled.code, cells, bits))
    return done


def build(root: Path | None = None, executor: Executor | None = None) -> list[CompiledContract]:
    """Compile all and write `build/<Name>.json`; nothing is written unless everything compiles."""
    root = root or contracts_dir()
    compiled = compile_all(root, executor)
    (root / "build").mkdir(exist_ok=True)
    for contract in compiled:
        (root / "build" / f"{contract.name}.json").write_text(contract.to_json())
    (root / "build" / FORMULAS).write_text(Formulas.from_sources(root).to_json())
    load.cache_clear()
    return compiled


def check(root: Path | None = None, executor: Executor | None = None) -> list[str]:
    """How the committed builds differ from what the sources compile to, a sentence each; empty if they don't."""
    root = root or contracts_dir()
    differences: list[str] = []
    expected = compile_all(root, executor)
    for contract in expected:
        path = root / "build" / f"{contract.name}.json"
        if not path.is_file():
            differences.append(f"{contract.name}: {path.name} is missing")
            continue
        text = path.read_text()
        try:
            committed = CompiledContract.from_json(text)
        except ContractsError as error:
            differences.append(f"{contract.name}: {error}")
            continue
        differences += _compare(committed, contract, text)
    formulas = root / "build" / FORMULAS
    if not formulas.is_file() or formulas.read_text() != Formulas.from_sources(root).to_json():
        differences.append(f"{FORMULAS} is not what the sources' fee formulas give")
    known = {f"{contract.name}.json" for contract in expected} | {FORMULAS}
    strangers = sorted(path.name for path in (root / "build").iterdir() if path.name not in known)
    differences += [f"{name} is no contract of this project" for name in strangers]
    return differences


def _compare(committed: CompiledContract, expected: CompiledContract, text: str) -> list[str]:
    name = expected.name
    if committed.compiler != expected.compiler:
        return [f"{name}: committed code was made by {committed.compiler}, this is {expected.compiler}"]
    if committed.hash != expected.hash:
        return [f"{name}: committed code has hash {committed.hash.hex()}, the sources give {expected.hash.hex()}"]
    if text != expected.to_json():
        return [f"{name}: the code is right, but {name}.json is not in canonical form"]
    return []
