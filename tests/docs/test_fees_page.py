"""`docs/fees.md` is current, and its comparison with the existing network is made with what there is here."""

from __future__ import annotations

from pathlib import Path

import pytest

from cocoon.bench.existing import EXISTING
from cocoon.bench.fees_page import render
from cocoon.bench.gas import measure
from cocoon.bench.operation import GOALS, Operation
from cocoon.bench.rent import Rent, measure_rent
from cocoon.bench.scenario import sandbox_prices
from cocoon.fees import Formulas
from cocoon_sandbox.executor import Executor

PAGE = Path(__file__).parents[2] / "docs" / "fees.md"


@pytest.fixture(scope="module")
def operations(executor: Executor) -> list[Operation]:
    return measure()


@pytest.fixture(scope="module")
def rents(executor: Executor) -> list[Rent]:
    return measure_rent()


def test_fees_page_is_what_the_generator_prints(operations: list[Operation], rents: list[Rent]) -> None:
    assert PAGE.read_text() == render(operations, rents, sandbox_prices()), (
        "run `cocoon bench gas --markdown > docs/fees.md`"
    )


def test_fees_page_says_of_the_existing_network_what_the_goals_say() -> None:
    """One figure of the existing network, whichever table it stands in."""
    for name, goal in GOALS.items():
        if goal.existing_gas is not None:
            said = {(entry.gas, entry.transactions) for entry in EXISTING if entry.ours == (name,)}
            assert (goal.existing_gas, goal.existing_transactions) in said, name


def test_fees_page_measures_accounts_in_use(rents: list[Rent]) -> None:
    """An account with code and data, not an address: nothing of ours fits ten cells."""
    assert [rent.account.split()[0] for rent in rents] == ["Escrow", "Worker", "Registry", "Slashing"]
    assert all(rent.cells > 10 and rent.bits > 4000 for rent in rents)


@pytest.mark.parametrize("name", ["Escrow", "Worker"])
def test_rent_of_a_year_meets_the_goal(rents: list[Rent], name: str) -> None:
    (rent,) = [found for found in rents if found.account.startswith(name)]
    assert rent.goal_nano is not None
    assert rent.year_nano <= rent.goal_nano


@pytest.mark.parametrize("name", ["Escrow", "Worker"])
def test_rent_is_priced_for_accounts_as_large_as_they_get(rents: list[Rent], name: str) -> None:
    """E-8, B.18: the constants that rent is computed from are upper bounds of what is stored."""
    (rent,) = [found for found in rents if found.account.startswith(name)]
    priced = Formulas.load().constants
    assert rent.cells <= priced[f"{name.upper()}_CELLS"]
    assert rent.bits <= priced[f"{name.upper()}_BITS"]
