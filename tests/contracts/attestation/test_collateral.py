"""Who may post what, and what is kept of it. A refusal changes nothing and returns the value."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from collateral import DAY, issued, messages, posted_before
from enclaves import NOW, POSTER, TON, WORKER, Enclaves
from pytoniq_core import Address, Builder, begin_cell

from cocoon.attestation import witness_collateral
from cocoon.attestation.collateral import SignedDocument as IntelDocument
from cocoon.attestation.platform import SimulatedIntel
from cocoon.wire.attestation import QuoteRefused, QuoteVerified
from cocoon.wire.common import Excesses
from cocoon_sandbox.ledger import Ledger


@pytest.mark.parametrize(
    ("name", "code"), [("ca", 543), ("pck_crl", 535), ("signer", 543), ("identity", 537), ("tcb", 537)]
)
def test_post_before_what_it_rests_on_is_refused(bare: Enclaves, name: str, code: int) -> None:
    bare.post(messages(bare)[name]).assert_refused(code)


@pytest.mark.parametrize(("missing", "code"), [("ca", 535), ("pck_crl", 543), ("identity", 557), ("tcb", 557)])
def test_verify_without_one_piece_of_collateral_is_refused(bare: Enclaves, missing: str, code: int) -> None:
    for name, body in messages(bare).items():
        if name != missing and (missing, name) != ("ca", "pck_crl"):
            bare.post(body).assert_succeeded()
    outcome = bare.verify()
    if missing == "tcb":
        assert outcome.one(QuoteRefused).error == code
    else:
        outcome.assert_refused(code)


@pytest.mark.parametrize("name", ["root_crl", "ca", "pck_crl", "signer", "identity", "tcb"])
def test_post_least_value_is_enough_one_less_is_refused_and_change_comes_back(bare: Enclaves, name: str) -> None:
    """E-8."""
    body = posted_before(bare, name)
    document = getattr(
        body,
        {"root_crl": "list", "pck_crl": "list", "ca": "certificate", "signer": "certificate"}.get(name, "document"),
    )
    least = bare.fees(document.cells)[2 if name == "tcb" else 1]
    bare.post(body, least - 1).assert_refused(504)
    start = bare.ledger.snapshot()
    bare.post(body, least).assert_succeeded()
    bare.ledger.restore(start)
    before = bare.ledger.balance(bare.address)
    outcome = bare.post(body, least + TON).assert_succeeded()
    assert outcome.change(POSTER) > TON
    kept = bare.ledger.balance(bare.store if name == "tcb" else bare.address) - (0 if name == "tcb" else before)
    assert kept > 0, "the rent stays"
    assert outcome.one(Excesses).query_id == 0


@pytest.mark.parametrize("name", ["identity", "tcb"])
def test_post_document_that_is_not_newer_is_refused(enclaves: Enclaves, name: str) -> None:
    """A-4: Within an evaluation number time runs forward."""
    for at in (NOW - 3600, NOW - DAY):
        outcome = enclaves.post(messages(enclaves, issued(enclaves, at))[name])
        if name == "identity":
            outcome.assert_refused(554)
        else:
            assert [transaction.exit_code for transaction in outcome.transactions[:2]] == [0, 554]
            assert outcome.change(POSTER) > TON * 9 // 10
    enclaves.post(messages(enclaves, issued(enclaves, NOW))[name]).assert_succeeded()


@pytest.mark.parametrize("name", ["identity", "tcb"])
@pytest.mark.parametrize(("at", "number", "code"), [(NOW - 30 * DAY, 17, 552), (NOW + 1, 17, 553), (NOW, 16, 555)])
def test_post_document_that_does_not_count_now_is_refused(
    bare: Enclaves, name: str, at: int, number: int, code: int
) -> None:
    found = messages(bare)
    for earlier in ("root_crl", "ca", "signer"):
        bare.post(found[earlier]).assert_succeeded()
    bare.post(messages(bare, issued(bare, at, number))[name]).assert_refused(code)


def test_verify_with_expired_documents_is_refused_and_says_so(ledger: Ledger) -> None:
    """A-4: Expired collateral blocks new leases: first the store's, then the identity."""
    enclaves = Enclaves.on(ledger).ready()
    fresh = replace(enclaves.publication, crl_issued_at=NOW - 10, crl_next_update=NOW + 90 * DAY)
    for name in ("root_crl", "pck_crl"):
        enclaves.post(messages(enclaves, fresh)[name]).assert_succeeded()
    enclaves.post(messages(enclaves, issued(enclaves, NOW))["identity"]).assert_succeeded()
    ends = enclaves.publication.tcb_info.next_update
    ledger.advance(ends - NOW - 1)
    enclaves.verify().assert_succeeded().one(QuoteVerified)
    ledger.advance(1)
    assert enclaves.verify().one(QuoteRefused).error == 552
    ledger.advance(3600)
    enclaves.verify().assert_refused(552)


@pytest.mark.parametrize("name", ["identity", "tcb"])
def test_post_two_evaluation_numbers_are_kept_and_a_third_pushes_out_neither(enclaves: Enclaves, name: str) -> None:
    """A-5."""

    def post(number: int) -> Any:
        return enclaves.post(messages(enclaves, issued(enclaves, NOW, number))[name])

    post(18).assert_succeeded()
    third = post(19)
    if name == "identity":
        third.assert_refused(556)
    else:
        assert third.transactions[1].exit_code == 556
    enclaves.verify().assert_succeeded().one(QuoteVerified)
    enclaves.set_policy(version=2, min_evaluation_number=18).assert_succeeded()
    post(19).assert_succeeded()


def test_verify_by_each_of_two_evaluation_numbers(enclaves: Enclaves) -> None:
    for name in ("identity", "tcb"):
        enclaves.post(messages(enclaves, issued(enclaves, NOW, 18))[name]).assert_succeeded()
    for number in (17, 18):
        verdict = enclaves.verify(enclaves.evidence(evaluation_number=number)).one(QuoteVerified)
        assert verdict.platform.evaluation_number == number
    enclaves.verify(enclaves.evidence(evaluation_number=19)).assert_refused(557)
    enclaves.verify(enclaves.evidence(evaluation_number=16)).assert_refused(555)


@pytest.mark.parametrize("name", ["identity", "tcb"])
def test_post_older_document_of_the_second_number_is_refused(enclaves: Enclaves, name: str) -> None:
    enclaves.post(messages(enclaves, issued(enclaves, NOW, 18))[name]).assert_succeeded()
    outcome = enclaves.post(messages(enclaves, issued(enclaves, NOW - 1, 18))[name])
    assert 554 in [transaction.exit_code for transaction in outcome.transactions]


def test_post_from_masterchain_is_refused(enclaves: Enclaves) -> None:
    """Fees are those of the basechain."""
    found = messages(enclaves, issued(enclaves, NOW))
    for name in ("identity", "tcb"):
        enclaves.send(Address((-1, POSTER.hash_part)), enclaves.address, found[name]).assert_refused(505)


def test_verify_by_number_the_store_has_neither_of_is_refused(enclaves: Enclaves) -> None:
    for name in ("identity", "tcb"):
        enclaves.post(messages(enclaves, issued(enclaves, NOW, 18))[name]).assert_succeeded()
    enclaves.set_policy(version=2, min_evaluation_number=18).assert_succeeded()
    enclaves.post(messages(enclaves, issued(enclaves, NOW, 19))["identity"]).assert_succeeded()
    assert enclaves.verify(enclaves.evidence(evaluation_number=19)).one(QuoteRefused).error == 557


def test_verify_by_number_without_identity_is_refused(enclaves: Enclaves) -> None:
    """Only one identity is there: the second place is empty."""
    enclaves.verify(enclaves.evidence(evaluation_number=18)).assert_refused(557)


def test_verify_by_number_without_tcb_info_is_refused(enclaves: Enclaves) -> None:
    enclaves.post(messages(enclaves, issued(enclaves, NOW, 18))["identity"]).assert_succeeded()
    assert enclaves.verify(enclaves.evidence(evaluation_number=18)).one(QuoteRefused).error == 557


@pytest.mark.parametrize("name", ["identity", "tcb"])
def test_post_document_signed_by_another_key_is_refused(enclaves: Enclaves, name: str) -> None:
    """A-4."""
    foreign = SimulatedIntel(b"foreign", NOW)
    found = foreign.publish(issued(enclaves, NOW))
    body = (
        witness_collateral.qe_identity(found.qe_identity_document)
        if name == "identity"
        else witness_collateral.tcb_info(found.tcb_info_document)
    )
    assert enclaves.post(body).exit_code in (511, 519)


def test_post_document_with_another_documents_signature_is_refused(enclaves: Enclaves) -> None:
    found = enclaves.intel.publish(issued(enclaves, NOW))
    info, identity = found.tcb_info_document, found.qe_identity_document
    swapped = IntelDocument(info.body, identity.signature, info.issuer_chain_pem)
    enclaves.post(witness_collateral.tcb_info(swapped)).assert_refused(519)
    swapped = IntelDocument(identity.body, info.signature, identity.issuer_chain_pem)
    enclaves.post(witness_collateral.qe_identity(swapped)).assert_refused(519)


def test_verdict_from_anyone_but_the_store_is_refused(enclaves: Enclaves) -> None:
    """A forged verdict would bind any enclave."""
    forged = Builder().store_uint(0xC0C00620, 32).store_uint(enclaves.fmspc, 48).store_address(WORKER).store_uint(1, 64)
    forged.store_uint(0, 8).store_uint(0, 32).store_ref(begin_cell().end_cell())
    enclaves.send(WORKER, enclaves.address, forged.end_cell()).assert_refused(506)


@pytest.mark.parametrize("where", ["address", "store"])
def test_unknown_op_is_refused_and_empty_body_tops_up(enclaves: Enclaves, where: str) -> None:
    to = getattr(enclaves, where)
    enclaves.send(WORKER, to, begin_cell().store_uint(0x12345678, 32).end_cell()).assert_refused(0xFFFF)
    outcome = enclaves.send(WORKER, to, begin_cell().end_cell()).assert_succeeded()
    assert not outcome.changed
    assert outcome.balance_after > outcome.balance_before + TON * 9 // 10


@pytest.mark.parametrize("name", ["ca", "pck_crl", "identity", "tcb"])
def test_post_with_trailing_data_is_refused(enclaves: Enclaves, name: str) -> None:
    body = Builder().store_cell(messages(enclaves, issued(enclaves, NOW))[name].to_cell()).store_bit(0).end_cell()
    enclaves.send(POSTER, enclaves.address, body).assert_refused(9)
