"""The state of the killing suite, file by file: what a verdict or a measurement rests on.

A test rests on its own file and on the modules that all tests share; a survivor's verdict rests on everything.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from .suite import PATHS

__all__ = ["SuiteState"]

_SHARED = ("offchain/cocoon/wire",)


@dataclass(frozen=True, slots=True)
class SuiteState:
    """`shared` names the state of what is no test itself, `files` the state of each file of tests by its path."""

    shared: str
    files: Mapping[str, str]

    @classmethod
    def of(cls, root: Path) -> SuiteState:
        """The suite in the checkout `root` as it is now."""
        shared = hashlib.sha256()
        files: dict[str, str] = {}
        for folder in (*PATHS, *_SHARED):
            base = root / folder
            for path in [base] if base.is_file() else sorted(base.rglob("*.py")):
                name = path.relative_to(root).as_posix()
                if path.name.startswith("test_"):
                    files[name] = hashlib.sha256(path.read_bytes()).hexdigest()
                else:
                    shared.update(f"{name}\0".encode() + path.read_bytes() + b"\0")
        return cls(shared.hexdigest(), files)

    def of_test(self, test: str) -> str:
        """What the outcome of one test rests on."""
        return _digest(self.shared, self.files.get(test.partition("::")[0], ""))

    @property
    def whole(self) -> str:
        """What a survivor's verdict rests on."""
        return _digest(self.shared, *(f"{name} {state}" for name, state in sorted(self.files.items())))


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()
