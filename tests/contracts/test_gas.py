"""Gas is exact: every operation takes what the committed snapshot says, and the goals hold."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cocoon.bench.gas import measure
from cocoon.bench.operation import GOALS, Operation
from cocoon_sandbox.executor import Executor

SNAPSHOT = Path(__file__).parent / "gas.json"


@pytest.fixture(scope="module")
def operations(executor: Executor) -> list[Operation]:
    return measure()


def test_gas_of_every_operation_equals_snapshot(operations: list[Operation]) -> None:
    """After a change on purpose: `cocoon bench gas --snapshot`, and look at the difference."""
    measured = {operation.name: [[name, gas] for name, gas in operation.gas] for operation in operations}
    assert measured == json.loads(SNAPSHOT.read_text())


@pytest.mark.parametrize("name", sorted(GOALS))
def test_gas_of_operation_with_a_goal_meets_it(operations: list[Operation], name: str) -> None:
    (operation,) = [found for found in operations if found.name == name]
    assert operation.meets_goal


def test_gas_least_value_of_every_operation_is_below_two_hundredths_of_a_ton(operations: list[Operation]) -> None:
    """Registration alone attaches more: two years of rent, which stay with the worker."""
    values = {o.name: o.least_value_nano for o in operations if o.least_value_nano is not None and o.name != "register"}
    assert max(values.values()) <= 20_000_000, values
