"""Every attack of part A succeeds on contracts whose guard has been taken out: the tests of the attacks see it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from guards import GUARDS, Guard

from cocoon.contracts_build import contracts_dir, load
from cocoon_sandbox.executor import Executor
from cocoon_sandbox.ledger import Ledger


@pytest.fixture
def other_contracts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of compiled contracts that everything in this process uses from now on."""
    build = tmp_path / "contracts" / "build"
    shutil.copytree(contracts_dir() / "build", build)
    monkeypatch.setattr("cocoon.contracts_build._CHECKOUT", build.parent)
    yield build
    monkeypatch.undo()
    load.cache_clear()


@pytest.mark.parametrize("guard", GUARDS, ids=lambda guard: guard.id)
def test_attack_succeeds_without_its_guard(guard: Guard, executor: Executor, request: pytest.FixtureRequest) -> None:
    """The attack's own test fails, so it would notice if the guard went."""
    weakened = guard.without(executor)
    build = request.getfixturevalue("other_contracts")
    (build / f"{guard.contract}.json").write_text(weakened)
    load.cache_clear()
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        guard.attack(ledger=Ledger(executor), **guard.arguments)


def test_guards_cover_every_attack_seen_elsewhere() -> None:
    assert {f"A.{number}" for number in range(1, 22)} <= {guard.id for guard in GUARDS}


@pytest.mark.parametrize("guard", GUARDS, ids=lambda guard: guard.id)
def test_guard_belongs_to_an_attack_that_names_it(guard: Guard) -> None:
    assert guard.id in (guard.attack.__doc__ or "")
