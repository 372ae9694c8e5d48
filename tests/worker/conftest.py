"""One sandbox for all tests of a module: starting it takes seconds."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from worker_stage import Place, running_sandbox


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    with running_sandbox() as made:
        yield made
