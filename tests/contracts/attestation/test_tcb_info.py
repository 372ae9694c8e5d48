"""TCB info: the numbers that are kept are those of the text Intel signed, whatever it holds."""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256

import pytest
from collateral import issued, messages, pieces_of, with_level
from enclaves import NOW, Enclaves
from pytoniq_core import Builder

from cocoon.attestation import witness_collateral
from cocoon.attestation.collateral import SignedDocument as IntelDocument
from cocoon.attestation.pcs import TcbComponent, TcbStatus
from cocoon.attestation.platform import Role
from cocoon.attestation.witness_chains import chain, signed
from cocoon.wire.attestation import PostTcbInfo, QuoteRefused, TcbInfoHints, TcbLevelHint, TcbLevelNumbers, TcbSet


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
