"""Compiled contracts: reproducible files, and a check that names every difference."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cocoon import contracts_build
from cocoon.contracts_build import CompiledContract, ContractsError
from cocoon_sandbox.executor import Executor


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A small set of contracts that all compile."""
    (tmp_path / "common").mkdir()
    (tmp_path / "common" / "shared.tolk").write_text("fun shared(): int { return 1 }\n")
    (tmp_path / "common" / "fees.tolk").write_text("const GAS_NOTHING = 100\n")
    for number, (name, entrypoint) in enumerate(contracts_build.ENTRYPOINTS.items()):
        path = tmp_path / entrypoint
        path.parent.mkdir(exist_ok=True)
        path.write_text(
            'import "../common/shared"\n'
            "fun onInternalMessage(in: InMessage) {}\n"
            f"get fun {name.lower()}(): int {{ return shared() + {number} }}\n"
        )
    return tmp_path


def test_build_then_check_finds_no_difference(root: Path, executor: Executor) -> None:
    built = contracts_build.build(root, executor)
    assert [contract.name for contract in built] == list(contracts_build.ENTRYPOINTS)
    assert contracts_build.check(root, executor) == []
    text = (root / "build" / "Escrow.json").read_text()
    loaded = CompiledContract.from_json(text)
    assert loaded == built[2]
    assert (loaded.to_json(), loaded.compiler) == (text, "tolk 1.3.0")
    assert json.loads(text)["hash"] == loaded.hash.hex()


def test_check_names_changed_missing_malformed_and_foreign_files(root: Path, executor: Executor) -> None:
    contracts_build.build(root, executor)
    build = root / "build"
    (root / "registry" / "Registry.tolk").write_text("fun onInternalMessage(in: InMessage) { throw 5 }\n")
    (build / "Worker.json").unlink()
    (build / "Escrow.json").write_text((build / "Escrow.json").read_text().replace('"depth"', '"deep"'))
    (build / "Slashing.json").write_text((build / "Slashing.json").read_text().rstrip())
    (build / "Extra.json").write_text("{}")
    (root / "common" / "fees.tolk").write_text("const GAS_NOTHING = 101\n")
    registry, worker, escrow, slashing, fees, extra = contracts_build.check(root, executor)
    assert registry.startswith("Registry: committed code has hash")
    assert worker == "Worker: Worker.json is missing"
    assert escrow.startswith("Escrow: compiled contract is malformed")
    assert "canonical form" in slashing
    assert fees.startswith("constants.json")
    assert extra.startswith("Extra.json")


def test_from_json_with_code_of_another_contract_is_refused(root: Path, executor: Executor) -> None:
    first, second, *_ = contracts_build.compile_all(root, executor)
    document = json.loads(first.to_json()) | {"code": json.loads(second.to_json())["code"]}
    with pytest.raises(ContractsError, match="claims hash"):
        CompiledContract.from_json(json.dumps(document))


def test_build_with_an_error_names_contract_file_and_line_and_writes_nothing(root: Path, executor: Executor) -> None:
    (root / "common" / "shared.tolk").write_text("fun shared(): int { return x }\n")
    with pytest.raises(ContractsError, match=r"Registry does not compile:\ncommon/shared\.tolk:1"):
        contracts_build.build(root, executor)
    assert not (root / "build").exists()


def test_load_of_an_unknown_contract_lists_the_known_ones() -> None:
    with pytest.raises(ContractsError, match="Registry, Worker, Escrow, Slashing"):
        contracts_build.load("Treasury")
