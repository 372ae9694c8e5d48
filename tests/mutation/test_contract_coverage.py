"""Instructions are listed where the machine runs them, and what is not run has to be accounted for."""

from __future__ import annotations

from pathlib import Path

import pytest
from stages import deployed_world

from cocoon.contracts_build import ContractsError, contracts_dir, load, sources
from cocoon.coverage.listing import DISPATCH, Instruction, list_instructions
from cocoon.coverage.recorder import Place, recording
from cocoon.coverage.report import Coverage, Explanation, read_explanations
from cocoon_sandbox.ledger import Ledger


@pytest.fixture(scope="module")
def listed() -> list[Instruction]:
    return list_instructions(sources(contracts_dir()))


def instruction(number: int, statement: str = "val a = b", contract: str = "Escrow") -> Instruction:
    return Instruction(contract, (f"{number:064X}", 0), "ADD", "postJob", statement, "escrow/jobs.tolk:1")


def test_list_instructions_every_place_a_getter_runs_is_listed(ledger: Ledger, listed: list[Instruction]) -> None:
    world = deployed_world(ledger)
    visited: set[Place] = set()
    with recording(visited):
        ledger.get(world.slashing, "get_fees")
    run = [one for one in listed if one.place in visited and one.contract == "Slashing"]
    assert {one.place for one in run} == visited
    assert {one.function for one in run if one.statement != DISPATCH} == {"get_fees"}
    assert {one.at.split(":")[0] for one in run if one.at} <= {
        "slashing/fees.tolk",
        "slashing/Slashing.tolk",
        "common/fees.tolk",
    }


def test_list_instructions_first_of_every_contract_is_at_the_start_of_its_code(listed: list[Instruction]) -> None:
    for name in ("Registry", "Worker", "Escrow", "Slashing"):
        first = next(one for one in listed if one.contract == name)
        assert (first.place, first.text) == ((load(name).hash.hex().upper(), 0), "SETCP 0")


def test_recording_leaves_results_as_they_are(ledger: Ledger) -> None:
    world = deployed_world(ledger)
    alone = ledger.get(world.registry, "get_fees")
    visited: set[Place] = set()
    with recording(visited):
        assert ledger.get(world.registry, "get_fees") == alone
    seen = len(visited)
    ledger.get(world.registry, "get_fees")
    assert len(visited) == seen > 0


def test_coverage_instruction_neither_run_nor_explained_is_a_problem() -> None:
    everything = [instruction(number) for number in range(100)]
    coverage = Coverage(everything, frozenset(one.place for one in everything[:99]))
    assert coverage.percent() == 99
    (problem,) = [line for line in coverage.problems if "never run" in line]
    assert "`ADD` of `val a = b` (escrow/jobs.tolk:1)" in problem


def test_coverage_explanation_is_needed_as_long_as_the_instruction_is_not_run() -> None:
    everything = [instruction(number, "dead" if number == 99 else "live") for number in range(100)]
    why = Explanation("Escrow", "dea", "AD", "nothing leads there")
    all_but_one = frozenset(one.place for one in everything[:99])
    assert Coverage(everything, all_but_one, [why]).unexplained == []
    assert Coverage(everything, all_but_one, [why]).stale == []
    assert Coverage(everything, frozenset(one.place for one in everything), [why]).stale == [why]


def test_read_explanations_entry_without_a_reason_refused(tmp_path: Path) -> None:
    path = tmp_path / "uncovered.toml"
    path.write_text('[[explained]]\ncontract = "*"\nstatement = "val a"\n')
    with pytest.raises(ContractsError, match="reason"):
        read_explanations(path)
