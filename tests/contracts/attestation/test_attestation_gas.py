"""Gas of attestation, to the unit, over the whole chain of messages of the real quote's collateral and of a quote.

After a change on purpose: COCOON_WRITE_GAS=1, and look at the difference.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from enclaves import Enclaves
from outcome import Outcome
from real_quote import Real, needs_real_quote, real_messages

from cocoon.contracts_build import contracts_dir
from cocoon.fees import extract_constants
from cocoon.wire.attestation import QuoteVerified
from cocoon_sandbox.ledger import Ledger

SNAPSHOT = Path(__file__).parent / "gas.json"
GOAL = 80_000  # of a quote with stored collateral, and of a collateral update: over the whole chain of messages
EVERYTHING = "all collateral and a quote"
NAMES = ("root CRL", "PCK CA", "PCK CRL", "TCB signing certificate", "QE identity", "TCB info")


def gas(outcome: Outcome) -> list[int]:
    """Of each transaction that ran."""
    return [transaction.gas_used for transaction in outcome.transactions if transaction.gas_used]


@pytest.fixture(scope="module")
def measured() -> dict[str, list[int]]:
    real = Real.on(Ledger()).enclaves
    found = {name: gas(real.post(body).assert_succeeded()) for name, body in zip(NAMES, real_messages(), strict=True)}
    simulated = Enclaves.on(Ledger()).ready()
    for name, version, version_15 in (("quote v4", 4, False), ("quote v5", 5, False), ("quote v5, TD 1.5", 5, True)):
        outcome = simulated.verify(simulated.evidence(simulated.quote(version=version, version_15=version_15)))
        outcome.assert_succeeded().one(QuoteVerified)
        found[name] = gas(outcome)
    found[EVERYTHING] = [sum(sum(found[name]) for name in (*NAMES, "quote v4"))]
    return found


@needs_real_quote
def test_gas_of_every_step_equals_snapshot(measured: dict[str, list[int]]) -> None:
    if os.environ.get("COCOON_WRITE_GAS"):
        SNAPSHOT.write_text(json.dumps(measured, indent=2) + "\n")
    assert measured == json.loads(SNAPSHOT.read_text())


@needs_real_quote
def test_gas_of_a_quote_and_of_every_update_is_within_the_goal(measured: dict[str, list[int]]) -> None:
    assert {name: sum(gas) for name, gas in measured.items() if name != EVERYTHING and sum(gas) > GOAL} == {}


@needs_real_quote
def test_gas_constants_cover_what_is_consumed(measured: dict[str, list[int]]) -> None:
    constants = extract_constants(contracts_dir())
    for name in ("quote v4", "quote v5", "quote v5, TD 1.5"):
        verify, judge, conclude = measured[name]
        assert verify <= constants["GAS_ATTESTATION_VERIFY"]
        assert judge <= constants["GAS_STORE_JUDGE"]
        assert conclude <= constants["GAS_ATTESTATION_CONCLUDE"]
    assert measured["TCB info"][1] <= constants["GAS_STORE_KEEP"]
