"""What the compiled contracts can't do, because the instructions for it are not in them."""

from __future__ import annotations

import re

import pytest

from cocoon.contracts_build import ENTRYPOINTS, contracts_dir, load, sources
from cocoon_sandbox.executor import Executor

RANDOM = {"RANDU256", "RAND", "SETRAND", "ADDRAND", "RANDSEED"}
EARLY = {"ACCEPT", "COMMIT", "SETGASLIMIT"}
FOREIGN_CODE = {"SETCODE", "SETLIBCODE", "CHANGELIB", "RUNVM", "RUNVMX"}
PROBE = """
import "@stdlib/gas-payments"
fun run(code: slice): void asm "0 RUNVM"
fun onInternalMessage(in: InMessage) {
    random.initialize();
    acceptExternalMessage();
    commitContractDataAndActions();
    var body = in.body;
    run(body);
    contract.setCodePostponed(beginCell().storeUint(random.uint256(), 256).endCell());
}
"""
"""Does everything that no contract of ours may do."""


def words(fift: str) -> set[str]:
    """The words of a program's assembly, comments left out."""
    return set(re.findall(r"\b[A-Z][A-Z0-9_]+\b", re.sub(r"//.*", "", fift)))


@pytest.fixture(scope="module")
def assembly(executor: Executor) -> dict[str, set[str]]:
    """The words of each contract's assembly; it is that of the committed code."""
    files = sources(contracts_dir())
    found = {}
    for name, entrypoint in ENTRYPOINTS.items():
        compiled = executor.compile_tolk(entrypoint, files)
        assert compiled.code.hash == load(name).hash, f"{name} is not what the sources give"
        found[name] = words(compiled.fift)
    return found


def test_assembly_of_a_contract_that_does_all_of_it_shows_it(executor: Executor) -> None:
    """A reader that found nothing would prove nothing."""
    found = words(executor.compile_tolk("probe.tolk", {"probe.tolk": PROBE}).fift)
    assert RANDOM & found >= {"RANDU256"}
    assert EARLY & found >= {"ACCEPT", "COMMIT"}
    assert FOREIGN_CODE & found == {"SETCODE", "RUNVM"}


@pytest.mark.parametrize("name", sorted(ENTRYPOINTS))
def test_code_draws_no_random_numbers(name: str, assembly: dict[str, set[str]]) -> None:
    """B.25: there is no number a validator could grind."""
    assert assembly[name] & RANDOM == set()


@pytest.mark.parametrize("name", sorted(ENTRYPOINTS))
def test_code_accepts_and_commits_nothing_early(name: str, assembly: dict[str, set[str]]) -> None:
    """B.11, B.10: state is saved together with the actions that go with it, or not at all."""
    assert assembly[name] & EARLY == set()


@pytest.mark.parametrize("name", sorted(ENTRYPOINTS))
def test_code_replaces_and_runs_no_other_code(name: str, assembly: dict[str, set[str]]) -> None:
    """B.29, B.26, A.12, R-7: what an address was computed from is what runs there, for good."""
    assert assembly[name] & FOREIGN_CODE == set()


def test_sources_ignore_no_errors_and_name_every_mode() -> None:
    """B.9: a payout that can't be made undoes its transaction; no mode is a number that could mean anything."""
    sent = 0
    for path, text in sources(contracts_dir()).items():
        code = re.sub(r"//.*", "", text)
        assert "IGNORE_ERRORS" not in code, path
        for mode in re.findall(r"\.send\(([^)]*)\)", code):
            sent += 1
            assert re.fullmatch(r"SEND_MODE_[A-Z_]+( \| SEND_MODE_[A-Z_]+)*", mode.strip()), (path, mode)
    assert sent >= 20


def test_sources_destroy_in_one_place_only() -> None:
    """B.19: an account goes with the payment of everything it holds, in one function that comes after all others."""
    found = {
        path: text.count("SEND_MODE_DESTROY")
        for path, text in sources(contracts_dir()).items()
        if "SEND_MODE_DESTROY" in text
    }
    assert found == {"common/fees.tolk": 1}
