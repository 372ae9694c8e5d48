"""`docs/getters.md` is what the comments in the contracts say, and what the contracts really answer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pytoniq_core import Cell, Slice
from stages import admitted_job

from cocoon.contracts_build import ENTRYPOINTS, ContractsError
from cocoon.getters import Getter, getters, render
from cocoon_sandbox.ledger import Ledger

PAGE = Path(__file__).parents[2] / "docs" / "getters.md"
KINDS = {"integer": int, "truth": int, "address": Slice, "slice": Slice, "cell": Cell}


def test_getters_document_is_what_the_generator_prints() -> None:
    assert PAGE.read_text() == render(getters()), "run `python -m cocoon.getters > docs/getters.md`"


# tests/contracts/attestation asks the getters of Attestation and TcbStore, which need collateral and quotes to answer.
MARKET = [getter for getter in getters() if getter.contract not in ("Attestation", "TcbStore")]


@pytest.mark.parametrize("getter", MARKET, ids=lambda getter: f"{getter.contract}.{getter.name}")
def test_getter_of_a_live_contract_gives_what_the_document_says(getter: Getter, ledger: Ledger) -> None:
    channel = admitted_job(ledger)
    world, worker = channel.world, channel.worker
    addresses = {
        "Registry": world.registry,
        "Worker": worker.address,
        "Escrow": channel.address,
        "Slashing": world.slashing,
    }
    known: dict[str, Any] = {
        "client": channel.client,
        "worker": worker.address,
        "modelId": next(iter(worker.state.models)),
        "termSec": 86400,
    }
    given = [known.get(name, 0) for name, _ in getter.parameters]
    answer = ledger.get(addresses[getter.contract], getter.name, *given)
    assert len(answer) == len(getter.results)
    for value, (name, kind) in zip(answer, getter.results, strict=True):
        allowed = (KINDS[kind.split(",")[0].split()[0]],)
        assert isinstance(value, allowed) or (value is None and "null" in kind), f"{name} is {value!r}, not {kind}"
        assert "truth" not in kind or value in (-1, 0)


@pytest.mark.parametrize(
    "source",
    [
        "get fun get_x(): int {\n    return 1;\n}\n",
        "/// What nobody knows.\nget fun get_x(): unheardOf {\n    return 1;\n}\n",
        "/// What comes back.\nget fun get_x() {\n    return 1;\n}\n",
    ],
    ids=["no comment", "unknown type", "no type"],
)
def test_getters_undescribed_one_is_refused(source: str, tmp_path: Path) -> None:
    for entrypoint in ENTRYPOINTS.values():
        (tmp_path / entrypoint).parent.mkdir(exist_ok=True)
        (tmp_path / entrypoint).write_text("")
    assert getters(tmp_path) == []
    (tmp_path / ENTRYPOINTS["Registry"]).write_text(source)
    with pytest.raises(ContractsError):
        getters(tmp_path)
