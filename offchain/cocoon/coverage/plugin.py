"""`pytest --contract-coverage`: which instructions of the contracts the tests ran, over all of xdist's processes.

The run fails when a contract falls below the goal or an instruction is neither run nor explained, so it is an option
for runs of the whole contract suite.
"""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from ..contracts_build import contracts_dir, sources
from .listing import list_instructions
from .recorder import Place, recording
from .report import Coverage, read_explanations

__all__ = ["pytest_addoption", "pytest_configure"]

_OUTPUT = "contract_places"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--contract-coverage",
        action="store_true",
        help="report the contracts' TVM instruction coverage, and fail below the goal",
    )


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--contract-coverage"):
        config.pluginmanager.register(_ContractCoverage(config), "contract-coverage")


class _ContractCoverage:
    """Records in every process; the process that reports gathers what the others recorded."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._visited: set[Place] = set()
        self._lines: list[str] = []
        self._recording = ExitStack()
        self._recording.enter_context(recording(self._visited))

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any, error: Any) -> None:
        output = getattr(node, "workeroutput", {})
        self._visited.update((cell, int(offset)) for cell, offset in output.get(_OUTPUT, ()))

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        self._recording.close()
        output: dict[str, Any] | None = getattr(self._config, "workeroutput", None)
        if output is not None:  # in a worker process of xdist
            output[_OUTPUT] = sorted([cell, offset] for cell, offset in self._visited)
            return
        root: Path = contracts_dir()
        explanations = read_explanations(root.parent / "tests" / "contracts" / "uncovered.toml")
        coverage = Coverage(list_instructions(sources(root)), frozenset(self._visited), explanations)
        self._lines = coverage.lines()
        if coverage.problems and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if self._lines:
            terminalreporter.section("contract coverage by TVM instruction")
            for line in self._lines:
                terminalreporter.write_line(line)
