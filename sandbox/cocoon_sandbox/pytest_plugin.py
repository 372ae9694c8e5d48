"""Fixtures for contract tests: `executor` (one Node child per test process) and `ledger` (a fresh chain per test).

Enable with `pytest_plugins = ["cocoon_sandbox.pytest_plugin"]` in the top `conftest.py`.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .executor import Executor
from .ledger import Ledger

__all__ = ["executor", "ledger"]


@pytest.fixture(scope="session")
def executor() -> Iterator[Executor]:
    """The process's executor; a test that kills or traps its child harms nobody."""
    with Executor.shared() as shared:
        yield shared


@pytest.fixture
def ledger(executor: Executor) -> Iterator[Ledger]:
    """An empty chain. The money on it must add up when the test ends."""
    chain = Ledger(executor)
    yield chain
    chain.check_conservation()
