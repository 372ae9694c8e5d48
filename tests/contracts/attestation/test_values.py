"""What every operation costs and leaves behind, to the nanoTON: least values, rent, and what travels on."""

from __future__ import annotations

from dataclasses import replace

import pytest
from collateral import issued, messages, posted_before
from enclaves import NOW, POSTER, TON, Enclaves

from cocoon.fees import PRICE_PARAMS, Fees, Prices
from cocoon.wire.attestation import QuoteRefused, QuoteVerified, StoreTcb
from cocoon_sandbox.config import config_param, network_config


def formulas(enclaves: Enclaves) -> Fees:
    """The contracts' own, over the ledger's prices."""
    config = enclaves.ledger.config
    return Fees(Prices.from_config({number: config_param(config, number) for number in PRICE_PARAMS}))


@pytest.mark.parametrize("bit", [0, 1], ids=["bits cost nothing", "bits cost rent"])
def test_least_values_are_what_clients_compute(enclaves: Enclaves, bit: int) -> None:
    """E-8: for documents of every size, and on the day the network prices bits."""
    found = enclaves.ledger.prices()
    enclaves.ledger.config = network_config(prices=replace(found, storage=replace(found.storage, bit=bit)))
    fees = formulas(enclaves)
    for cells in (0, 1, 20, 200):
        assert enclaves.fees(cells) == (
            fees.call("quoteFees"),
            fees.call("postFees", cells),
            fees.call("postTcbFees", cells),
        )


def test_least_values_at_todays_prices(enclaves: Enclaves) -> None:
    """The figures themselves: who tunes a formula sees here what it does."""
    assert enclaves.fees(0) == (7_453_338, 4_388_836, 9_414_782)
    assert enclaves.fees(20) == (7_453_338, 8_255_503, 13_281_449)


@pytest.mark.parametrize("name", ["root_crl", "ca", "pck_crl", "signer", "identity", "tcb"])
def test_posting_leaves_the_rent_and_nothing_else(bare: Enclaves, name: str) -> None:
    """B.21: whatever was attached; nobody's balance pays for another's document."""
    fees, body = formulas(bare), posted_before(bare, name)
    before, store = bare.ledger.balance(bare.address), bare.ledger.balance(bare.store)
    bare.post(body, 3 * TON).assert_succeeded()
    rent, store_rent = (0, fees.call("storeRent")) if name == "tcb" else (fees.call("attestationRent"), 0)
    assert bare.ledger.balance(bare.address) - before == rent
    assert bare.ledger.balance(bare.store) - store == store_rent


def test_verdicts_cost_nobody_but_the_worker_anything(enclaves: Enclaves) -> None:
    """B.21: what a VerifyQuote brings leaves with its verdict, good or bad."""
    before = enclaves.ledger.balance(enclaves.address), enclaves.ledger.balance(enclaves.store)
    enclaves.verify().assert_succeeded().one(QuoteVerified)
    enclaves.post(messages(enclaves, issued(enclaves, NOW, 18))["identity"]).assert_succeeded()
    rent = formulas(enclaves).call("attestationRent")
    enclaves.verify(enclaves.evidence(evaluation_number=18)).one(QuoteRefused)
    after = enclaves.ledger.balance(enclaves.address) - rent, enclaves.ledger.balance(enclaves.store)
    assert after == before


def test_refused_tcb_info_costs_nobody_but_the_poster_anything(enclaves: Enclaves) -> None:
    """B.21."""
    before = enclaves.ledger.balance(enclaves.address), enclaves.ledger.balance(enclaves.store)
    outcome = enclaves.post(messages(enclaves, issued(enclaves, NOW - 3600))["tcb"])
    assert [transaction.exit_code for transaction in outcome.transactions[:2]] == [0, 554]
    assert outcome.change(POSTER) > TON * 9 // 10
    assert (enclaves.ledger.balance(enclaves.address), enclaves.ledger.balance(enclaves.store)) == before


def test_store_that_cannot_answer_sends_everything_back(enclaves: Enclaves) -> None:
    """B.2, B.16: it keeps nothing of a set whose rent or answer the message does not pay for."""
    state = enclaves.store_state
    tcb = messages(enclaves, issued(enclaves, NOW, 18))["tcb"].tcb
    body = StoreTcb(1, POSTER, state.first_epoch, 17, tcb)
    fees = formulas(enclaves)
    start = enclaves.ledger.snapshot()
    gas = enclaves.send(enclaves.address, enclaves.store, body, TON).assert_succeeded().first.gas_used
    for change in (0, fees.call("forwardFee", 0, 0) - 1):
        enclaves.ledger.restore(start)
        value = fees.call("gasFee", gas) + fees.call("storeRent") + change
        outcome = enclaves.send(enclaves.address, enclaves.store, body, value)
        assert not outcome.changed
        assert [message.bounced for message in outcome.first.out_msgs] == [True], f"{outcome}"
