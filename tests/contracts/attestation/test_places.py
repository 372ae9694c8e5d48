"""Where a set of collateral goes: into the first place that does not count any more, to the second."""

from __future__ import annotations

from typing import Any

import pytest
from collateral import issued, messages
from enclaves import NOW, Enclaves

from cocoon.wire.attestation import QuoteVerified
from cocoon_sandbox.ledger import Ledger


@pytest.fixture
def lenient(ledger: Ledger) -> Enclaves:
    """The policy accepts every evaluation number; sets of number 17 are in the first place."""
    return Enclaves.on(ledger, min_evaluation_number=0).ready()


def places(enclaves: Enclaves, name: str) -> list[int | None]:
    """The evaluation numbers in both."""
    if name == "identity":
        first, second = enclaves.state.shared.identity, enclaves.state.shared.other_identity
    else:
        first, second = enclaves.store_state.first, enclaves.store_state.second
    return [one and one.evaluation_number for one in (first, second)]


def post(enclaves: Enclaves, name: str, number: int) -> Any:
    return enclaves.post(messages(enclaves, issued(enclaves, enclaves.ledger.now, number))[name])


@pytest.mark.parametrize("name", ["identity", "tcb"])
@pytest.mark.parametrize("number", [0, 1, 18])
def test_expired_set_gives_way_from_the_very_second(lenient: Enclaves, name: str, number: int) -> None:
    """A-5: number 0 is a number like any other; an empty place is none of any number."""
    first = messages(lenient)[name]
    ends = (first.identity if name == "identity" else first.tcb).next_update
    start = lenient.ledger.snapshot()
    lenient.ledger.advance(ends - NOW - 1)
    post(lenient, name, number).assert_succeeded()
    assert places(lenient, name) == [17, number]
    lenient.ledger.restore(start)
    lenient.ledger.advance(ends - NOW)
    post(lenient, name, number).assert_succeeded()
    assert places(lenient, name) == [number, None]


@pytest.mark.parametrize("name", ["identity", "tcb"])
def test_full_places_open_from_the_very_second(lenient: Enclaves, name: str) -> None:
    """A-5."""
    first = messages(lenient)[name]
    ends = (first.identity if name == "identity" else first.tcb).next_update
    lenient.ledger.advance(ends - NOW - 1)
    post(lenient, name, 18).assert_succeeded()
    refused = post(lenient, name, 19)
    assert 556 in [transaction.exit_code for transaction in refused.transactions]
    lenient.ledger.advance(1)
    post(lenient, name, 19).assert_succeeded()
    assert places(lenient, name) == [19, 18]


@pytest.mark.parametrize("name", ["identity", "tcb"])
def test_same_document_of_the_second_number_is_not_newer(lenient: Enclaves, name: str) -> None:
    """A-4."""
    post(lenient, name, 18).assert_succeeded()
    again = post(lenient, name, 18)
    assert 554 in [transaction.exit_code for transaction in again.transactions]


def test_each_identity_expires_by_itself(lenient: Enclaves) -> None:
    """A-4: the one in the second place before the one in the first, and nothing of either is read for the other."""
    soon = issued(lenient, NOW, 18).with_qe_identity(next_update=NOW + 1000)
    lenient.post(messages(lenient, soon)["identity"]).assert_succeeded()
    lenient.post(messages(lenient, issued(lenient, NOW, 18))["tcb"]).assert_succeeded()

    def verdict(number: int) -> int | None:
        outcome = lenient.verify(lenient.evidence(evaluation_number=number))
        return 0 if outcome.every(QuoteVerified) else outcome.exit_code

    lenient.ledger.advance(999)
    assert (verdict(17), verdict(18)) == (0, 0)
    lenient.ledger.advance(1)
    assert (verdict(17), verdict(18)) == (0, 552)


def test_each_identity_names_its_own_quoting_enclave(lenient: Enclaves) -> None:
    other = issued(lenient, NOW, 18).with_qe_identity(isv_prod_id=77)
    lenient.post(messages(lenient, other)["identity"]).assert_succeeded()
    lenient.post(messages(lenient, issued(lenient, NOW, 18))["tcb"]).assert_succeeded()
    lenient.verify(lenient.evidence(evaluation_number=17)).one(QuoteVerified)
    lenient.verify(lenient.evidence(evaluation_number=18)).assert_refused(528)
