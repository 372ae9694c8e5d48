"""`docs/errors.md` is what the comments in the contracts say, and the codes in it are thrown."""

import re
from pathlib import Path

import pytest

from cocoon.contracts_build import ContractsError
from cocoon.exit_codes import exit_codes, explain, render

ROOT = Path(__file__).parents[2]


def test_errors_document_is_what_the_generator_prints() -> None:
    assert (ROOT / "docs" / "errors.md").read_text() == render(exit_codes()), (
        "run `python -m cocoon.exit_codes > docs/errors.md`"
    )


def test_explain_says_name_meaning_and_remedy_of_every_code() -> None:
    for entry in exit_codes():
        assert explain(entry.code) == f"{entry.name} ({entry.code}): {entry.meaning}; {entry.remedy}"
    assert explain(-14) == "exit code -14: the value does not buy the gas; attach at least what `get_fees` says"
    assert explain(4242) == "exit code 4242: see docs/errors.md"


def test_errors_every_code_is_thrown_somewhere() -> None:
    sources = "\n".join(path.read_text() for path in (ROOT / "contracts").rglob("*.tolk"))
    thrown = set(re.findall(r"\b(\w+)Error\.(\w+)", sources))
    numbers = set(re.findall(r"\b(\d+) THROW(?:IF|IFNOT)?\b", sources))  # assembly knows no names
    unused = {
        entry.name
        for entry in exit_codes()
        if (entry.contract, entry.name) not in thrown and str(entry.code) not in numbers
    }
    assert unused == set()


@pytest.mark.parametrize(
    "line", ["    NotOwner = 1", "    NotOwner = 1   // no remedy", "    A = 1  // x; y\n    B = 1  // x; y"]
)
def test_exit_codes_uncommented_or_repeated_error_is_refused(line: str, tmp_path: Path) -> None:
    for contract in ("registry", "worker", "escrow", "slashing", "attestation"):
        (tmp_path / contract).mkdir()
        (tmp_path / contract / "errors.tolk").write_text(f"enum XError {{\n{line}\n}}\n")
    with pytest.raises(ContractsError):
        exit_codes(tmp_path)
