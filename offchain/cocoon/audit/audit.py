"""The audit map of a checkout: made, compared with what is committed, and run."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from pathlib import Path

from ..contracts_build import contracts_dir
from .citations import citations, tests_by_id
from .errors import AuditError
from .page import render, with_tests
from .register import Register

__all__ = ["AuditMap"]


@dataclass(frozen=True, slots=True)
class AuditMap:
    """Ids and tests of the checkout at `root`. `proofs`: id -> node ids of the tests that cite it."""

    root: Path
    register: Register
    proofs: dict[str, list[str]]

    @classmethod
    def of_checkout(cls, root: Path | None = None) -> AuditMap:
        """Read documents and tests; root: None for the checkout this package lies in."""
        root = root or contracts_dir().parent
        register = Register.read(root / "docs")
        return cls(root, register, tests_by_id(citations(root / "tests", register.cited)))

    @property
    def tests(self) -> list[str]:
        """Every test that proves something, once."""
        return sorted({test for tests in self.proofs.values() for test in tests})

    def pages(self) -> dict[Path, str]:
        """Every document that follows from the tests, by path. AuditError if a promise names code that is gone."""
        invariants = self.root / "docs" / "invariants.md"
        return {
            self.root / "docs" / "audit-map.md": render(self.root, self.register, self.proofs),
            invariants: with_tests(invariants.read_text(), self.proofs),
        }

    def write(self) -> None:
        """Write every page."""
        for path, text in self.pages().items():
            path.write_text(text)

    def problems(self) -> list[str]:
        """What is missing or stale, a sentence each."""
        known = {entry.id for entry in self.register.entries}
        found = [f"{name} has no test: cite it in the docstring of one" for name in sorted(known - set(self.proofs))]
        for name in sorted(set(self.proofs) - known):
            found.append(f"{name} is cited by {', '.join(self.proofs[name])} and written down nowhere")
        try:
            pages = self.pages()
        except AuditError as error:
            return [*found, str(error)]
        for path, text in pages.items():
            if not path.is_file() or path.read_text() != text:
                found.append(f"{path.relative_to(self.root)} is stale: run `cocoon audit-map`")
        return found

    def run(self) -> list[str]:
        """Run every mapped test with pytest; those that did not pass, a sentence each."""
        with tempfile.TemporaryDirectory(prefix="cocoon-audit-") as directory:
            report = Path(directory) / "report.xml"
            command = [sys.executable, "-m", "pytest", "-q", f"--junitxml={report}", *self.tests]
            done = subprocess.run(command, cwd=self.root, capture_output=True, text=True, check=False)
            if not report.is_file():
                raise AuditError(
                    f"pytest did not run (exit {done.returncode}): {done.stdout[-2000:]}{done.stderr[-2000:]}"
                )
            passed, failed = _outcomes(report)
        missing = [
            f"{test} did not run" for test in self.tests if not passed & _names(test) and not failed & _names(test)
        ]
        return [*sorted(f"{name} did not pass" for name in failed), *missing]


def _outcomes(report: Path) -> tuple[set[str], set[str]]:
    """`module::test` of the cases that passed, and of those that failed or were skipped; parameters left out."""
    passed: set[str] = set()
    failed: set[str] = set()
    for case in ElementTree.parse(report).iter("testcase"):
        name = f"{case.get('classname', '')}::{case.get('name', '').partition('[')[0]}"
        bad = any(case.find(kind) is not None for kind in ("failure", "error", "skipped"))
        (failed if bad else passed).add(name)
    return passed, failed


def _names(test: str) -> set[str]:
    """How the report may name a node: a function by its module, a class by its methods, `runTest` for unittest's."""
    file, _, name = test.partition("::")
    module = file.removesuffix(".py").replace("/", ".")
    parts = name.split("::")
    return {f"{'.'.join([module, *parts[:-1]])}::{parts[-1]}", f"{module}.{name}::runTest"}
