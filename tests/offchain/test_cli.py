"""The command line: what machines read is JSON, mistakes are one line, contracts are reproducible."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from cocoon.cli import main


@pytest.fixture
def runner() -> CliRunner:
    return CliRunner()


def test_contracts_build_check_of_committed_code_succeeds(runner: CliRunner) -> None:
    result = runner.invoke(main, ["contracts", "build", "--check"])
    assert result.exit_code == 0, result.output
    assert "what the sources compile to" in result.output


def test_contracts_build_check_of_other_code_says_what_differs(
    runner: CliRunner, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from cocoon import contracts_build

    def differs() -> list[str]:
        return contracts_build.check(tmp_path)

    sources = contracts_build.sources(contracts_build.contracts_dir())
    for name, text in sources.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    contracts_build.build(tmp_path)
    contracts_build.load.cache_clear()
    errors = tmp_path / "escrow" / "Escrow.tolk"
    errors.write_text(errors.read_text().replace("throw 0xFFFF", "throw 0xFFFE"))
    assert [line.split(":")[0] for line in differs()] == ["Escrow"]


def test_bench_gas_json_names_every_operation_with_its_least_value(runner: CliRunner) -> None:
    result = runner.invoke(main, ["bench", "gas", "--json"])
    assert result.exit_code == 0, result.output
    document = json.loads(result.output)
    names = {operation["operation"] for operation in document["operations"]}
    assert {"claim", "top up", "open", "close cooperatively", "forced job", "slash"} <= names
    assert all(operation["gas"] > 0 and operation["fees_nano"] > 0 for operation in document["operations"])
    assert set(document["code"]) == {"Attestation", "Escrow", "Registry", "Slashing", "TcbStore", "Worker"}


def test_agent_run_malformed_configuration_is_one_clear_line(runner: CliRunner, tmp_path: Path) -> None:
    config = tmp_path / "agent.toml"
    config.write_text('nonsense = "yes"\n')
    result = runner.invoke(main, ["agent", "run", str(config)])
    assert result.exit_code == 1
    assert "unknown settings nonsense" in result.output
    assert "Traceback" not in result.output
