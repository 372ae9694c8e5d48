"""The fees computed off chain are those the contracts' getters compute."""

from __future__ import annotations

from pathlib import Path

import pytest
from pytoniq_core import Cell

from cocoon.chain.cells import lookup
from cocoon.contracts_build import contracts_dir
from cocoon.deploying import plan
from cocoon.deployment import Deployment, Rules
from cocoon.fees import PRICE_PARAMS, Fees, FeesError, Formulas, Prices, extract_constants
from cocoon.wire.common import WorkerRoles
from cocoon.wire.registry import RegisterWorker
from cocoon_sandbox.ledger import Ledger

TON = 10**9


def config_params(config: Cell) -> dict[int, Cell]:
    leaves = {number: lookup(config, number, 32) for number in PRICE_PARAMS}
    return {number: leaf.ref() for number, leaf in leaves.items() if leaf is not None}


def fees_of(ledger: Ledger) -> Fees:
    return Fees(Prices.from_config(config_params(ledger.config)), Formulas.from_sources(contracts_dir()))


def test_fees_of_every_operation_equal_the_getters(ledger: Ledger) -> None:
    fees = fees_of(ledger)
    owner = ledger.treasury("owner", 1000 * TON)
    rules = Rules(owner=owner.address, measurements=(1,))
    deployment = Deployment.of(rules)
    for planned in plan(rules).transfers():
        owner.send(ledger, planned.to, planned.value, planned.body, state_init=planned.state_init)
    assert ledger.get(deployment.registry, "get_fees") == [
        fees.register(), fees.sync_policy(), fees.govern(), fees.sync_attestation(),
    ]  # fmt: skip
    assert ledger.get(deployment.slashing, "get_fees") == [fees.submit_evidence()]
    for cells in (1, 10, 100):
        quote, post, post_tcb = ledger.get(deployment.attestation, "get_fees", cells)
        assert [post, post_tcb] == [fees.post_collateral(cells), fees.post_tcb_info(cells)]
        assert quote == fees.call("quoteFees")

    roles = WorkerRoles(owner.address, owner.address, 1)
    register = RegisterWorker(1, rules.min_stake_nano, rules.min_bond_nano, roles)
    value = rules.min_stake_nano + rules.min_bond_nano + fees.register()
    owner.send(ledger, deployment.registry, value, register.to_cell())
    worker = deployment.worker(0)
    assert ledger.get(worker, "get_fees") == [fees.manage_worker(), fees.attest()]

    escrow = deployment.escrow(owner.address, worker)
    init = deployment.escrow_state_init(owner.address, worker)
    owner.send(ledger, escrow, TON, Cell.empty(), state_init=init)
    for term in (1, 86400, 30 * 86400):
        assert ledger.get(escrow, "get_fees", term) == [
            fees.open(term), fees.top_up(), fees.post_job(), fees.end_job(), fees.claim(), fees.begin_close(),
            fees.close(), fees.retry_report(), fees.rebind(), fees.count_volume(),
        ]  # fmt: skip


def test_formulas_through_json_are_the_same() -> None:
    formulas = Formulas.from_sources(contracts_dir())
    assert Formulas.from_json(formulas.to_json()) == formulas
    assert extract_constants(contracts_dir())["MAX_REQUEST_CELLS"] == formulas.constants["MAX_REQUEST_CELLS"]


def test_formulas_that_call_anything_else_are_refused(tmp_path: Path, ledger: Ledger) -> None:
    (tmp_path / "fees.tolk").write_text("const A = 2 * 3\n\nfun odd(): int {\n    return A / 2;\n}\n")
    formulas = Formulas.from_sources(tmp_path)
    assert formulas.constants == {"A": 6}
    prices = Prices.from_config(config_params(ledger.config))
    with pytest.raises(FeesError, match="can't be evaluated"):
        Fees(prices, formulas).call("odd")
    with pytest.raises(FeesError, match="no fee formula"):
        Fees(prices, formulas).call("gone")


def test_formulas_in_damaged_json_are_refused() -> None:
    with pytest.raises(FeesError, match="cocoon contracts build"):
        Formulas.from_json('{"constants": {}}')
