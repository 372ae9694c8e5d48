"""Who may post what, and what is kept of it. A refusal changes nothing and returns the value."""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256
from typing import Any

import pytest
from enclaves import NOW, POSTER, TON, WORKER, Enclaves, store_code
from pytoniq_core import Address, Builder, Cell, begin_cell

from cocoon.attestation import witness_certificates, witness_collateral
from cocoon.attestation.certificates import Certificate
from cocoon.attestation.collateral import SignedDocument as IntelDocument
from cocoon.attestation.pcs import TcbComponent, TcbStatus
from cocoon.attestation.platform import Publication, Role, SimulatedIntel, Validity
from cocoon.attestation.witness_chains import chain, signed
from cocoon.wire.attestation import (
    CrlIssuer,
    PostCrl,
    PostQeIdentity,
    PostTcbInfo,
    QuoteRefused,
    QuoteVerified,
    StoreTcb,
    TcbInfoHints,
    TcbLevelHint,
    TcbLevelNumbers,
    TcbSet,
    TcbStoreIdentity,
)
from cocoon.wire.common import Excesses
from cocoon_sandbox.ledger import Ledger
from cocoon_sandbox.message import state_init

DAY = 86_400


def messages(enclaves: Enclaves, publication: Publication | None = None) -> dict[str, Any]:
    names = ("root_crl", "ca", "pck_crl", "signer", "identity", "tcb")
    return dict(zip(names, enclaves.collateral_messages(publication), strict=True))


def issued(enclaves: Enclaves, at: int, number: int = 17) -> Publication:
    """Published at `at` (unix time), valid for 30 days."""
    return Publication.at(at + 3600, enclaves.machine.hardware, evaluation_number=number)


# ---- order and money ----


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


def posted_before(enclaves: Enclaves, name: str) -> Any:
    """The message that installs this document, after all it rests on has been posted."""
    for earlier, body in messages(enclaves).items():
        if earlier == name:
            return body
        enclaves.post(body).assert_succeeded()
    raise KeyError(name)


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


# ---- certificates ----


def test_post_certificate_of_foreign_root_is_refused(enclaves: Enclaves) -> None:
    """A-4."""
    foreign = SimulatedIntel(b"foreign", NOW)
    for certificate in (foreign.platform_ca, foreign.tcb_signing):
        body = witness_certificates.ca_certificate(certificate, foreign.root.public_key)
        assert enclaves.post(body).exit_code in (511, 517)


def test_post_certificate_with_foreign_signature_is_refused(bare: Enclaves) -> None:
    """A-4: Hints fit: only the signature is another certificate's."""
    found = messages(bare)
    bare.post(found["root_crl"]).assert_succeeded()
    mixed = replace(bare.intel.platform_ca, signature=bare.intel.tcb_signing.signature)
    bare.post(witness_certificates.ca_certificate(mixed, bare.intel.root.public_key)).assert_refused(517)


def test_post_certificate_of_neither_ca_nor_signer_is_refused(bare: Enclaves) -> None:
    """The root signed itself too; its own certificate installs nothing."""
    bare.post(messages(bare)["root_crl"]).assert_succeeded()
    bare.post(witness_certificates.ca_certificate(bare.intel.root, bare.intel.root.public_key)).assert_refused(534)


@pytest.mark.parametrize("role", [Role.PLATFORM_CA, Role.TCB_SIGNING])
def test_post_certificate_replaces_an_older_one_only(enclaves: Enclaves, role: Role) -> None:
    def certificate(start: int) -> Certificate:
        intel = SimulatedIntel(enclaves.intel.seed, NOW, validity={role: Validity(start, NOW + 4000 * DAY)})
        return intel.platform_ca if role is Role.PLATFORM_CA else intel.tcb_signing

    def post(start: int) -> Any:
        return enclaves.post(witness_certificates.ca_certificate(certificate(start), enclaves.intel.root.public_key))

    post(NOW - 3000 * DAY).assert_refused(533)
    post(NOW - 10).assert_succeeded()
    post(NOW - 10).assert_refused(533)
    enclaves.verify().assert_succeeded().one(QuoteVerified)  # the list stays with the CA


@pytest.mark.parametrize(("start", "end"), [(NOW - 100, NOW), (NOW + 1, NOW + 100)])
def test_post_certificate_not_valid_now_is_refused(bare: Enclaves, start: int, end: int) -> None:
    bare.post(messages(bare)["root_crl"]).assert_succeeded()
    intel = SimulatedIntel(bare.intel.seed, NOW, validity={Role.PLATFORM_CA: Validity(start, end)})
    bare.post(witness_certificates.ca_certificate(intel.platform_ca, intel.root.public_key)).assert_refused(531)


@pytest.mark.parametrize(("role", "name", "code"), [(Role.PLATFORM_CA, "ca", 536), (Role.TCB_SIGNING, "signer", 538)])
def test_expired_authority_no_longer_counts(ledger: Ledger, role: Role, name: str, code: int) -> None:
    """A-4."""
    enclaves = Enclaves.on(ledger)
    enclaves.intel = SimulatedIntel(enclaves.intel.seed, NOW, validity={role: Validity(NOW - DAY, NOW + 100)})
    enclaves.ready()
    ledger.advance(99)
    later = issued(enclaves, NOW + 50)
    if name == "ca":
        enclaves.verify().assert_succeeded()
    else:
        enclaves.post(messages(enclaves, later)["identity"]).assert_succeeded()
    ledger.advance(1)
    if name == "ca":
        enclaves.verify().assert_refused(code)
    else:
        enclaves.post(messages(enclaves, later)["tcb"]).assert_refused(code)


# ---- revocation lists ----


def revoking(enclaves: Enclaves, *certificates: Certificate) -> PostCrl:
    later = replace(
        enclaves.publication, revoked_ca=tuple(found.serial for found in certificates), crl_issued_at=NOW - 1
    )
    body = messages(enclaves, later)["root_crl"]
    assert isinstance(body, PostCrl)
    return body


def test_revoked_intermediate_no_longer_counts_and_cannot_return(enclaves: Enclaves) -> None:
    enclaves.post(revoking(enclaves, enclaves.intel.platform_ca)).assert_succeeded()
    assert enclaves.state.platform_ca is None
    enclaves.verify().assert_refused(535)
    enclaves.post(messages(enclaves)["ca"]).assert_refused(532)


def test_revoked_signer_takes_everything_it_signed_with_it(enclaves: Enclaves) -> None:
    """A-6."""
    enclaves.post(revoking(enclaves, enclaves.intel.tcb_signing)).assert_succeeded()
    state = enclaves.state
    assert (state.shared.signer, state.shared.identity, state.trust_epoch) == (None, None, 1)
    enclaves.verify().assert_refused(557)
    successor = SimulatedIntel(enclaves.intel.seed, NOW, validity={Role.TCB_SIGNING: Validity(NOW - 5, NOW + DAY)})
    enclaves.intel = successor
    if successor.tcb_signing.serial == SimulatedIntel(successor.seed, NOW).tcb_signing.serial:
        enclaves.post(messages(enclaves)["signer"]).assert_refused(532)


def test_tcb_info_of_an_earlier_trust_epoch_does_not_count(enclaves: Enclaves) -> None:
    """A-6: What the store keeps outlives its signer, but not its meaning."""
    enclaves.set_policy(version=2, root_key=SimulatedIntel(b"other", NOW).root.public_key).assert_succeeded()
    enclaves.set_policy(version=3).assert_succeeded()
    for name in ("root_crl", "ca", "pck_crl", "signer", "identity"):
        enclaves.post(messages(enclaves)[name]).assert_succeeded()
    assert enclaves.verify().one(QuoteRefused).error == 557
    enclaves.post(messages(enclaves)["tcb"]).assert_succeeded()
    enclaves.verify().assert_succeeded().one(QuoteVerified)


def test_revoking_nobody_of_ours_changes_nothing_else(enclaves: Enclaves) -> None:
    enclaves.post(revoking(enclaves, enclaves.intel.processor_ca)).assert_succeeded()
    enclaves.verify().assert_succeeded().one(QuoteVerified)


@pytest.mark.parametrize("name", ["root_crl", "pck_crl"])
def test_post_list_that_is_not_newer_is_refused(enclaves: Enclaves, name: str) -> None:
    """A-4."""
    number = {"root_crl": "root_crl_number", "pck_crl": "pck_crl_number"}[name]

    def post(issued_at: int, listed: int) -> Any:
        later = replace(enclaves.publication, crl_issued_at=issued_at, **{number: listed})
        return enclaves.post(messages(enclaves, later)[name])

    post(NOW - 3600, 1).assert_refused(541)
    post(NOW - 7200, 2).assert_refused(541)
    post(NOW - 100, 3).assert_succeeded()
    post(NOW - 50, 2).assert_refused(541)
    post(NOW - 50, 3).assert_succeeded()


@pytest.mark.parametrize("name", ["root_crl", "pck_crl"])
def test_post_list_not_current_is_refused(enclaves: Enclaves, name: str) -> None:
    early = replace(enclaves.publication, crl_issued_at=NOW + 1)
    enclaves.post(messages(enclaves, early)[name]).assert_refused(553)
    late = replace(enclaves.publication, crl_issued_at=NOW - 10, crl_next_update=NOW)
    enclaves.post(messages(enclaves, late)[name]).assert_refused(542)


@pytest.mark.parametrize("name", ["root_crl", "pck_crl"])
def test_verify_with_an_expired_list_is_refused(ledger: Ledger, name: str) -> None:
    """A-4."""
    enclaves = Enclaves.on(ledger).ready()
    ends = enclaves.publication.crl_next_update
    fresh = replace(enclaves.publication, crl_issued_at=NOW - 10, crl_next_update=ends + 50 * DAY)
    other = "pck_crl" if name == "root_crl" else "root_crl"
    enclaves.post(messages(enclaves, fresh)[other]).assert_succeeded()
    later = issued(enclaves, NOW)
    for body in ("identity", "tcb"):
        enclaves.post(messages(enclaves, later)[body]).assert_succeeded()
    ledger.advance(ends - NOW - 1)
    enclaves.verify().assert_succeeded()
    ledger.advance(1)
    enclaves.verify().assert_refused(542)


def test_post_list_under_another_issuer_is_refused(ledger: Ledger) -> None:
    """The Platform CA's list is not the root's, nor the other way round."""
    enclaves = Enclaves.on(ledger).ready()
    later = replace(enclaves.publication, crl_issued_at=NOW - 1)
    found = messages(enclaves, later)
    assert enclaves.post(replace(found["pck_crl"], issuer=CrlIssuer.ROOT)).exit_code in (511, 517)
    assert enclaves.post(replace(found["root_crl"], issuer=CrlIssuer.PLATFORM_CA)).exit_code in (511, 518)
    enclaves.post(replace(found["pck_crl"], issuer=CrlIssuer.PROCESSOR_CA)).assert_refused(535)


def test_post_list_with_another_signature_is_refused(enclaves: Enclaves) -> None:
    later = replace(enclaves.publication, crl_issued_at=NOW - 1)
    found = enclaves.intel.publish(later)
    before = enclaves.intel.publish(enclaves.publication)
    pck = replace(found.pck_crl, signature=before.pck_crl.signature)
    ca = enclaves.intel.platform_ca.public_key
    enclaves.post(witness_certificates.crl(pck, CrlIssuer.PLATFORM_CA, ca)).assert_refused(518)
    root = replace(found.root_ca_crl, signature=before.root_ca_crl.signature)
    enclaves.post(witness_certificates.crl(root, CrlIssuer.ROOT, enclaves.intel.root.public_key)).assert_refused(517)


def node(*leaves: tuple[int, ...], after: Cell | None = None, greatest: tuple[int, ...] | None = None) -> Cell:
    builder = Builder()
    for index, leaf in enumerate(leaves):
        cell = Builder()
        for serial in leaf:
            cell.store_uint(serial, 160)
        builder.store_uint(greatest[index] if greatest else leaf[-1], 160).store_ref(cell.end_cell())
    if after is not None:
        builder.store_ref(after)
    return builder.end_cell()


SERIALS = tuple(100 * number for number in range(1, 21))


@pytest.mark.parametrize(
    "index",
    [
        None,
        node(SERIALS[:6], SERIALS[6:12], SERIALS[12:18], after=node(SERIALS[18:19])),
        node(SERIALS[:6], SERIALS[6:12], SERIALS[12:18], after=node((*SERIALS[18:], 5000))),
        node(SERIALS[:6], SERIALS[6:12], SERIALS[12:18], after=node((1901, 2000))),
        node(SERIALS[:5], SERIALS[5:11], SERIALS[11:17], after=node(SERIALS[17:])),
        node(SERIALS[:6], SERIALS[6:12], after=node(SERIALS[12:18], SERIALS[18:])),
        node((SERIALS[1], SERIALS[0], *SERIALS[2:6]), SERIALS[6:12], SERIALS[12:18], after=node(SERIALS[18:])),
        node(SERIALS[6:12], SERIALS[:6], SERIALS[12:18], after=node(SERIALS[18:])),
        node(SERIALS[:6], SERIALS[6:12], SERIALS[12:18], after=node(SERIALS[18:]), greatest=(601, 1200, 1800)),
        node((*SERIALS[:6],), SERIALS[6:12], SERIALS[12:18], after=node((1900, 2000, 2000))),
        begin_cell().end_cell(),
    ],
    ids=[
        "none", "one missing", "one too many", "one other", "sparse leaf", "sparse node", "disorder in leaf",
        "disorder of leaves",
        "wrong greatest", "twice", "empty",
    ],
)  # fmt: skip
def test_post_list_with_wrong_index_is_refused(enclaves: Enclaves, index: Cell | None) -> None:
    """A-5."""
    later = replace(enclaves.publication, revoked_pck=SERIALS, crl_issued_at=NOW - 1)
    body = messages(enclaves, later)["pck_crl"]
    outcome = enclaves.post(replace(body, revoked=index))
    assert outcome.exit_code in (5, 510, 544), "a place too many, another text, or not the layout"
    outcome.assert_returned()
    enclaves.post(body).assert_succeeded()


def pieces_of(cell: Cell) -> list[bytes]:
    """The bytes of each cell of a chain."""
    found = [cell.data[: len(cell.bits) // 8]]
    while cell.refs:
        cell = cell.refs[0]
        found.append(cell.data[: len(cell.bits) // 8])
    return found


def test_post_list_with_an_entry_hidden_in_the_head_is_refused(enclaves: Enclaves) -> None:
    """The entries begin with a cell of their own: one behind their head in its cell would be passed over unseen."""
    serial = enclaves.machine.pck.serial
    later = replace(enclaves.publication, revoked_pck=(serial, 1 << 158), crl_issued_at=NOW - 1)
    body = messages(enclaves, later)["pck_crl"]
    pieces = pieces_of(body.list.text)
    entry = 2 + pieces[2][1]
    head = pieces[1] + pieces[2][:entry]
    assert len(head) <= 127
    text = chain([pieces[0], head, pieces[2][entry:], *pieces[3:]])
    index = witness_certificates.revoked_index([1 << 158])
    enclaves.post(replace(body, list=replace(body.list, text=text), revoked=index)).assert_refused(513)


def order_of(ending: bytes, *places: int) -> Cell:
    return Builder().store_bytes(ending + bytes([len(places), *places])).end_cell()


def test_post_list_with_an_index_used_otherwise_is_refused(enclaves: Enclaves) -> None:
    """Every number once: no place left out, used twice or made up, whatever the sum of their powers is."""
    later = replace(enclaves.publication, revoked_pck=SERIALS[:3], crl_issued_at=NOW - 1)
    body = messages(enclaves, later)["pck_crl"]
    ending = body.order.data[:29]
    for places in ((0, 1), (0, 1, 1), (0, 1, 2, 2), (0, 0, 1, 2), (0, 0, 0, 0, 0, 1), (0, 0, 0, 1, 1)):
        enclaves.post(replace(body, order=order_of(ending, *places))).assert_refused(544)
    enclaves.post(replace(body, order=order_of(ending, 0, 1, 3))).assert_refused(5)
    for order in (order_of(ending, 1, 0, 2), order_of(ending[:-1] + b"\2", 0, 1, 2)):
        enclaves.post(replace(body, order=order)).assert_refused(510)
    enclaves.post(replace(body, order=None)).assert_refused(544)
    enclaves.post(body).assert_succeeded()


def test_post_list_with_an_entry_passed_off_as_something_else_is_refused(enclaves: Enclaves) -> None:
    """An entry can't go into the extensions' cell or the head's, to be missing in the index."""
    later = replace(enclaves.publication, revoked_pck=(1 << 158, 1 << 157), crl_issued_at=NOW - 1)
    body = messages(enclaves, later)["pck_crl"]
    first, second, extensions = pieces_of(body.list.text)
    entry = bytes.fromhex("30330214") + (1 << 157).to_bytes(20) + body.order.data[:29]
    index = witness_certificates.revoked_index([1 << 158])
    for pieces, code in (([first, second, entry + extensions[:70]], 540), ([first, second + entry, extensions], 513)):
        document = replace(body.list, text=chain(pieces))
        order = order_of(body.order.data[:29], 0)
        enclaves.post(replace(body, list=document, revoked=index, order=order)).assert_refused(code)


@pytest.mark.parametrize("revoked", [(), (1 << 158,)])
def test_post_list_with_something_behind_it_is_refused(enclaves: Enclaves, revoked: tuple[int, ...]) -> None:
    later = replace(enclaves.publication, revoked_pck=revoked, crl_issued_at=NOW - 1)
    body = messages(enclaves, later)["pck_crl"]
    document = replace(body.list, text=chain([*pieces_of(body.list.text), b"more"]))
    enclaves.post(replace(body, list=document)).assert_refused(513)
    if not revoked:
        enclaves.post(replace(body, revoked=node((1,)), order=None)).assert_refused(544)
        enclaves.post(replace(body, order=order_of(bytes(29), 0))).assert_refused(544)


def test_list_with_entries_of_every_form_is_kept(enclaves: Enclaves) -> None:
    """Numbers of one to twenty bytes, with and without a sign byte, in any order."""
    serials = [1, 127, 128, 255, *(1 << bits for bits in range(8, 160, 5)), (1 << 160) - 1, 1 << 159]
    later = replace(enclaves.publication, revoked_pck=tuple(serials[::-1]), crl_issued_at=NOW - 1)
    body = messages(enclaves, later)["pck_crl"]
    enclaves.post(body).assert_succeeded()
    assert body.revoked is not None


# ---- TCB info and QE identity ----


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


IDENTITY_FIELDS = (
    "evaluation_number",
    "issue_date",
    "next_update",
    "misc_select",
    "misc_select_mask",
    "attributes",
    "attributes_mask",
    "mr_signer",
    "isv_prod_id",
)


@pytest.mark.parametrize("name", IDENTITY_FIELDS)
def test_post_identity_numbers_that_differ_from_the_text_are_refused(enclaves: Enclaves, name: str) -> None:
    body = messages(enclaves, issued(enclaves, NOW))["identity"]
    assert isinstance(body, PostQeIdentity)
    identity = replace(body.identity, **{name: getattr(body.identity, name) ^ 1})
    written = name in ("evaluation_number", "isv_prod_id")  # the contract writes another text then
    enclaves.post(replace(body, identity=identity)).assert_refused(510 if written else 551)


@pytest.mark.parametrize("bit", [0, 16, 31, 32, 63])
def test_post_identity_levels_that_differ_from_the_text_are_refused(enclaves: Enclaves, bit: int) -> None:
    """Module, isvsvn or status of either level."""
    body = messages(enclaves, issued(enclaves, NOW))["identity"]
    bits = body.identity.levels.bits.copy()
    bits[bit] ^= 1
    levels = Builder().store_bits(bits).end_cell()
    assert enclaves.post(replace(body, identity=replace(body.identity, levels=levels))).exit_code in (5, 510, 550, 551)


def test_post_identity_with_more_or_fewer_levels_than_the_text_is_refused(enclaves: Enclaves) -> None:
    body = messages(enclaves, issued(enclaves, NOW))["identity"]
    levels = body.identity.levels.bits
    for changed in (levels[:32], levels + levels[:32]):
        cell = Builder().store_bits(changed).end_cell()
        assert enclaves.post(replace(body, identity=replace(body.identity, levels=cell))).exit_code in (9, 551)


@pytest.mark.parametrize("name", ["evaluation_number", "issue_date", "next_update", "pce_id"])
def test_post_tcb_numbers_that_differ_from_the_text_are_refused(enclaves: Enclaves, name: str) -> None:
    body = messages(enclaves, issued(enclaves, NOW))["tcb"]
    assert isinstance(body, PostTcbInfo)
    outcome = enclaves.post(replace(body, tcb=replace(body.tcb, **{name: getattr(body.tcb, name) ^ 1})))
    outcome.assert_refused(510 if name == "evaluation_number" else 551)
    enclaves.post(replace(body, fmspc=body.fmspc ^ 1)).assert_refused(551)
    enclaves.post(replace(body, tcb=replace(body.tcb, modules=None))).assert_refused(551)


@pytest.mark.parametrize("component", range(0, 128, 8))
@pytest.mark.parametrize("name", ["sgx_components", "tdx_components"])
def test_post_tcb_component_that_differs_from_the_text_is_refused(
    enclaves: Enclaves, name: str, component: int
) -> None:
    body = messages(enclaves, issued(enclaves, NOW))["tcb"]
    level = TcbLevelNumbers.from_cell(body.tcb.levels)
    other = replace(level, **{name: getattr(level, name) ^ 1 << component})
    outcome = enclaves.post(replace(body, tcb=replace(body.tcb, levels=other.to_cell())))
    assert outcome.exit_code in (510, 551), "another text, or a number where the texts have zeros"
    outcome.assert_returned()


@pytest.mark.parametrize("name", ["pce_svn", "status", "tcb_date"])
def test_post_tcb_level_that_differs_from_the_text_is_refused(enclaves: Enclaves, name: str) -> None:
    body = messages(enclaves, issued(enclaves, NOW))["tcb"]
    level = TcbLevelNumbers.from_cell(body.tcb.levels)
    other = replace(level, **{name: getattr(level, name) ^ 1})
    outcome = enclaves.post(replace(body, tcb=replace(body.tcb, levels=other.to_cell())))
    outcome.assert_refused(551 if name == "tcb_date" else 510)
    enclaves.post(replace(body, tcb=replace(body.tcb, levels=replace(level, next=None).to_cell()))).assert_refused(551)


def test_post_tcb_with_a_level_too_many_is_refused(enclaves: Enclaves) -> None:
    body = messages(enclaves, issued(enclaves, NOW))["tcb"]
    levels = [TcbLevelNumbers.from_cell(body.tcb.levels)]
    while (following := levels[-1].next) is not None:
        levels.append(TcbLevelNumbers.from_cell(following))
    chain = levels[-1].to_cell()
    for level in reversed(levels):
        chain = replace(level, next=chain).to_cell()
    enclaves.post(replace(body, tcb=replace(body.tcb, levels=chain))).assert_refused(551)


def with_level(body: PostTcbInfo, **changes: Any) -> PostTcbInfo:
    """The first level's hints changed."""
    hints = TcbInfoHints.from_cell(body.document.text)
    level = replace(TcbLevelHint.from_cell(hints.levels), **changes)
    return replace(body, document=replace(body.document, text=replace(hints, levels=level.to_cell()).to_cell()))


def first_level(body: PostTcbInfo) -> TcbLevelHint:
    return TcbLevelHint.from_cell(TcbInfoHints.from_cell(body.document.text).levels)


def test_post_tcb_with_texts_that_swallow_a_component_is_refused(enclaves: Enclaves) -> None:
    """Free text may hold no brace: else it could hide components, or a whole level."""
    body = messages(enclaves, issued(enclaves, NOW))["tcb"]
    pieces = pieces_of(first_level(body).sgx_texts)
    swallowed = b'},{"svn":0'
    for brace in (swallowed, b"{", b"}"):
        for at in (2, 2 + pieces[0][0]):
            changed = bytes([pieces[0][0] + len(brace)]) + pieces[0][1:at] + brace + pieces[0][at:]
            texts = chain([changed[:127], *pieces[1:]])
            enclaves.post(with_level(body, sgx_texts=texts)).assert_refused(550)
            enclaves.post(with_level(body, tdx_texts=texts)).assert_refused(550)
            enclaves.post(with_level(body, sgx_texts=chain([*pieces, changed[:127]]))).assert_refused(550)


@pytest.mark.parametrize("length", [1, 31, 32, 33, 64, 95, 96, 97, 126, 127])
def test_post_tcb_with_a_brace_in_free_text_is_refused(enclaves: Enclaves, length: int) -> None:
    """Behind a status other levels could hide. Wherever the brace is, in whatever cell."""
    body = messages(enclaves, issued(enclaves, NOW))["tcb"]
    for brace in (b"{", b"}"):
        for text in (brace.rjust(length, b"z"), brace.ljust(length, b'"'), b"~".rjust(length)):
            outcome = enclaves.post(with_level(body, advisories=chain([b"A" * 127, text])))
            outcome.assert_refused(550)
    hidden = (b"{\xff").rjust(length + 1)[-127:]
    refused = enclaves.post(with_level(body, advisories=chain([hidden])))
    assert refused.exit_code in (4, 550), "what is no ASCII hides no brace, or is too great a number"
    enclaves.post(with_level(body, advisories=chain([b"A" * 127, b"zz" * (length // 2)]))).assert_refused(510)


def test_post_tcb_with_free_text_cut_within_a_byte_is_refused(enclaves: Enclaves) -> None:
    """A brace in two halves would be none."""
    body = messages(enclaves, issued(enclaves, NOW))["tcb"]
    second = Builder().store_uint(0xB, 4).end_cell()
    halves = Builder().store_uint(0x7, 4).store_ref(second).end_cell()
    enclaves.post(with_level(body, advisories=halves)).assert_refused(513)


def test_post_tcb_with_a_number_where_zeros_are_written_is_refused(enclaves: Enclaves) -> None:
    """Fewer components are described than have a number."""
    body = messages(enclaves, issued(enclaves, NOW))["tcb"]
    texts = chain([bytes([0, 7, 0, 7])])
    enclaves.post(with_level(body, sgx_texts=texts)).assert_refused(551)
    for more in (b"\0\7\0\0", b"\0\6\0\0\0\0"):
        outcome = enclaves.post(with_level(replace(body, tcb=zeroed(body)), sgx_texts=chain([b"\0\7", more])))
        outcome.assert_refused(513)
    outcome = enclaves.post(with_level(replace(body, tcb=zeroed(body)), sgx_texts=chain([b"\0\10\0\6"])))
    assert outcome.exit_code == 9, "more zeros than there are in the constant"


def zeroed(body: PostTcbInfo) -> TcbSet:
    level = TcbLevelNumbers.from_cell(body.tcb.levels)
    return replace(body.tcb, levels=replace(level, sgx_components=0).to_cell())


@pytest.mark.parametrize("change", [-1, 1])
def test_post_tcb_with_wrong_text_lengths_is_refused(enclaves: Enclaves, change: int) -> None:
    body = messages(enclaves, issued(enclaves, NOW))["tcb"]
    pieces = pieces_of(first_level(body).sgx_texts)
    changed = bytes([pieces[0][0] + change]) + pieces[0][1:]
    assert enclaves.post(with_level(body, sgx_texts=chain([changed, *pieces[1:]]))).exit_code in (8, 9, 510, 513, 551)


def test_post_tcb_with_lists_that_differ_in_every_level_is_kept(enclaves: Enclaves) -> None:
    """The list of the level before is taken again only if texts and numbers are the same."""
    info = enclaves.publication.tcb_info
    lists = [
        tuple(replace(one, svn=(one.svn + step) % 256) for one in info.levels[0].sgx_components) for step in (0, 1, 0)
    ]
    levels = tuple(
        replace(info.levels[0], sgx_components=sgx, tdx_components=tdx, pce_svn=9 - step)
        for step, (sgx, tdx) in enumerate(zip(lists, reversed(lists), strict=True))
    )
    enclaves.post(messages(enclaves, issued(enclaves, NOW).with_tcb_info(levels=levels))["tcb"]).assert_succeeded()
    kept = TcbLevelNumbers.from_cell(enclaves.store_state.first.levels)
    assert kept.sgx_components == int.from_bytes(bytes(one.svn for one in lists[0]))


def test_post_tcb_with_every_kind_of_component_is_kept_as_written(enclaves: Enclaves) -> None:
    """Numbers of one to three digits, with and without texts, at every place."""
    info = enclaves.publication.tcb_info
    components = tuple(
        TcbComponent(svn, *words)
        for svn, words in zip(
            (0, 9, 10, 99, 100, 255, 7, 0, 1, 0, 128, 0, 0, 50, 0, 0),
            [(None, None), ("BIOS", None), ("OS/VMM", "A" * 40), (None, None)] * 4,
            strict=True,
        )
    )
    levels = (
        replace(info.levels[0], sgx_components=components, tdx_components=components[::-1], pce_svn=65_535),
        *info.levels,
    )
    publication = issued(enclaves, NOW).with_tcb_info(levels=levels)
    enclaves.post(messages(enclaves, publication)["tcb"]).assert_succeeded()
    kept = TcbLevelNumbers.from_cell(enclaves.store_state.first.levels)
    assert kept.sgx_components == int.from_bytes(bytes(component.svn for component in components))
    assert kept.tdx_components == int.from_bytes(bytes(component.svn for component in components[::-1]))
    assert kept.pce_svn == 65_535


@pytest.mark.parametrize("status", list(TcbStatus))
def test_post_tcb_status_of_every_kind_is_kept_as_written(enclaves: Enclaves, status: TcbStatus) -> None:
    info = enclaves.publication.tcb_info
    publication = issued(enclaves, NOW).with_tcb_info(levels=(replace(info.levels[0], status=status),))
    enclaves.post(messages(enclaves, publication)["tcb"]).assert_succeeded()
    assert TcbLevelNumbers.from_cell(enclaves.store_state.first.levels).status == list(TcbStatus).index(status)


def test_post_tcb_without_module_identities_is_kept(enclaves: Enclaves) -> None:
    """TDX 1.0: there were none. A platform with a later module is then unknown."""
    info = issued(enclaves, NOW).with_tcb_info(module_identities=())
    text = info.tcb_info.to_bytes().replace(b'"tdxModuleIdentities":[],', b"")
    key = enclaves.intel.key(Role.TCB_SIGNING)
    document = enclaves.intel.publish(info).tcb_info_document
    enclaves.post(
        witness_collateral.tcb_info(IntelDocument(text, key.sign(text), document.issuer_chain_pem))
    ).assert_succeeded()
    assert enclaves.verify().one(QuoteRefused).error == 562


REPLACED = {
    "another id": (b'"id":"TDX"', b'"id":"SGX"'),
    "another version": (b'"version":3', b'"version":4'),
    "another type": (b'"tcbType":0', b'"tcbType":1'),
    "a foreign module": (b'"mrsigner":"0', b'"mrsigner":"1'),
    "foreign attributes": (b'"attributes":"0', b'"attributes":"1'),
    "another mask": (b'"attributesMask":"F', b'"attributesMask":"E'),
    "an unknown status": (b"OutOfDate", b"OutOfData"),
    "another key": (b'"tcbDate"', b'"tcbDatE"'),
}


@pytest.mark.parametrize("name", sorted(REPLACED))
def test_post_tcb_that_is_written_otherwise_is_refused(enclaves: Enclaves, name: str) -> None:
    """Signed, but not what the contract writes: nothing is guessed."""
    usual = enclaves.intel.publish(issued(enclaves, NOW)).tcb_info_document
    body = witness_collateral.tcb_info(usual)
    old, new = REPLACED[name]
    text = usual.body.replace(old, new, 1)
    assert text != usual.body
    signature = enclaves.intel.key(Role.TCB_SIGNING).sign(text)
    key = usual.issuer_chain[0].public_key
    document = signed(body.document.text, body.document.cells, sha256(text).digest(), signature, key)
    enclaves.post(replace(body, document=document)).assert_refused(510)


# ---- who may speak ----


def test_store_takes_messages_from_attestation_only(enclaves: Enclaves) -> None:
    body = messages(enclaves, issued(enclaves, NOW))["tcb"]
    forged = StoreTcb(1, WORKER, 0, 0, body.tcb)
    enclaves.send(WORKER, enclaves.store, forged).assert_refused(507)
    judge = (
        Builder()
        .store_uint(0xC0C00702, 32)
        .store_uint(1, 64)
        .store_address(WORKER)
        .store_uint(0, 32)
        .store_uint(17, 32)
    )
    judge.store_uint(1, 8).store_uint(0, 8).store_uint(0, 32).store_uint((1 << 128) - 1, 128).store_uint(
        (1 << 128) - 1, 128
    )
    enclaves.send(WORKER, enclaves.store, judge.store_ref(begin_cell().end_cell()).end_cell()).assert_refused(507)


def test_store_first_message_from_a_stranger_is_refused(bare: Enclaves) -> None:
    """Anyone may deploy the account; only Attestation may fill it."""
    init = state_init(store_code(), TcbStoreIdentity(bare.address, bare.fmspc).to_cell())
    tcb = messages(bare)["tcb"].tcb
    bare.send(WORKER, bare.store, StoreTcb(1, WORKER, 0, 0, tcb), init=init).assert_refused(507)


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
