"""Revocation lists, and the index that is kept of them: nothing left out, nothing else in it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from collateral import DAY, issued, messages, pieces_of
from enclaves import NOW, Enclaves
from pytoniq_core import Builder, Cell, begin_cell

from cocoon.attestation import witness_certificates
from cocoon.attestation.witness_chains import chain
from cocoon.wire.attestation import CrlIssuer
from cocoon_sandbox.ledger import Ledger


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
