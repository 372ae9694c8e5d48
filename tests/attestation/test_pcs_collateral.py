"""Intel's collateral: the signed bytes survive, the values are what Intel means, and nothing vague is accepted."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from evidence_samples import TIME, intel, published, real_collateral_json, real_sample
from hypothesis import given, settings
from hypothesis import strategies as st

from cocoon.attestation.collateral import Collateral
from cocoon.attestation.errors import AttestationError, CollateralMalformed
from cocoon.attestation.pcs import QeIdentity, SvnLevel, TcbComponent, TcbInfo, TcbLevel, TcbStatus

COLLATERAL = intel().publish(published())
TCB_INFO = COLLATERAL.tcb_info_document.body
QE_IDENTITY = COLLATERAL.qe_identity_document.body


def test_load_real_collateral_preserves_every_signed_byte() -> None:
    sample, entries = real_sample(), real_collateral_json()
    assert sample.collateral.tcb_info_document.body == entries["tcb_info"].encode()
    assert sample.collateral.qe_identity_document.body == entries["qe_identity"].encode()
    assert sample.collateral.pck_crl_der == bytes.fromhex(entries["pck_crl"])
    assert json.loads(sample.collateral.to_json()) == entries


def test_parse_real_documents_and_write_them_gives_the_same_bytes() -> None:
    """The simulated Intel writes documents byte for byte as the real one."""
    collateral = real_sample().collateral
    assert collateral.tcb_info.to_bytes() == collateral.tcb_info_document.body
    assert collateral.qe_identity.to_bytes() == collateral.qe_identity_document.body


def test_parse_real_tcb_info_gives_intels_values() -> None:
    found = real_sample().collateral.tcb_info
    assert (found.fmspc.hex(), found.pce_id.hex(), found.tcb_evaluation_data_number) == ("b0c06f000000", "0000", 17)
    assert found.next_update == 1752920163  # 2025-07-19T10:16:03Z
    assert [identity.id for identity in found.module_identities] == ["TDX_03", "TDX_01"]
    assert [level.status for level in found.levels] == [TcbStatus.UP_TO_DATE, TcbStatus.OUT_OF_DATE]
    assert [component.svn for component in found.levels[0].sgx_components[:8]] == [2, 2, 2, 2, 3, 1, 0, 5]
    assert found.levels[0].tdx_components[2] == TcbComponent(2, "OS/VMM", "TDX Late Microcode Update")


def test_collateral_round_trips_through_its_json() -> None:
    assert Collateral.from_json(COLLATERAL.to_json()) == COLLATERAL


def test_load_collateral_from_file_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "collateral.json"
    path.write_text(COLLATERAL.to_json())
    assert Collateral.load(path) == COLLATERAL
    with pytest.raises(CollateralMalformed, match=r"missing\.json can't be read"):
        Collateral.load(tmp_path / "missing.json")


def test_collateral_with_several_entries_missing_names_them_all() -> None:
    entries = json.loads(COLLATERAL.to_json())
    del entries["pck_crl"], entries["tcb_info"]
    with pytest.raises(CollateralMalformed, match="lacks pck_crl, tcb_info: fetch a complete set"):
        Collateral.from_json(json.dumps(entries))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("[]", "not a JSON object"),
        ("9" * 5000, "not JSON"),
    ],
)
def test_collateral_that_is_no_json_object_is_refused(text: str, reason: str) -> None:
    with pytest.raises(CollateralMalformed, match=reason):
        Collateral.from_json(text)


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        ("tcb_info_signature", "00" * 63, "63 bytes instead of 64"),
        ("qe_identity_signature", "zz", "not hexadecimal"),
        ("pck_crl", "0 0", "not hexadecimal"),
        ("root_ca_crl", "abc", "not hexadecimal"),
        ("tcb_info", "\ud800", "tcb_info holds half a character"),
        ("pck_crl_issuer_chain", "\udca9", "pck_crl_issuer_chain holds half a character"),
    ],
)
def test_collateral_with_an_entry_out_of_form_is_refused(key: str, value: str, reason: str) -> None:
    entries = json.loads(COLLATERAL.to_json()) | {key: value}
    with pytest.raises(CollateralMalformed, match=reason):
        Collateral.from_json(json.dumps(entries))


_SVN = st.integers(0, 255)
_TIMES = st.integers(0, 4_000_000_000)
_STATUS = st.sampled_from(TcbStatus)
_ADVISORIES = st.lists(st.text("INTEL-SA0123456789", min_size=1, max_size=16), max_size=3).map(tuple)
_COMPONENTS = st.lists(
    st.builds(TcbComponent, _SVN, st.none() | st.just("BIOS"), st.none() | st.text(max_size=9)),
    min_size=16,
    max_size=16,
).map(tuple)
_LEVELS = st.lists(
    st.builds(TcbLevel, _COMPONENTS, st.integers(0, 65_535), _COMPONENTS, _TIMES, _STATUS, _ADVISORIES), max_size=3
).map(tuple)
_SVN_LEVELS = st.lists(st.builds(SvnLevel, st.integers(0, 65_535), _TIMES, _STATUS, _ADVISORIES), max_size=4).map(tuple)


@settings(max_examples=40, deadline=None)
@given(levels=_LEVELS, number=st.integers(0, 2**32 - 1), issued=_TIMES, fmspc=st.binary(min_size=6, max_size=6))
def test_tcb_info_round_trips(levels: tuple[TcbLevel, ...], number: int, issued: int, fmspc: bytes) -> None:
    base = published().tcb_info
    document = replace(
        base, levels=levels, tcb_evaluation_data_number=number, issue_date=issued, next_update=issued, fmspc=fmspc
    )
    assert TcbInfo.parse(document.to_bytes()) == document


@settings(max_examples=40, deadline=None)
@given(levels=_SVN_LEVELS, misc=st.binary(min_size=4, max_size=4), signer=st.binary(min_size=32, max_size=32))
def test_qe_identity_round_trips(levels: tuple[SvnLevel, ...], misc: bytes, signer: bytes) -> None:
    document = replace(published().qe_identity, levels=levels, misc_select=misc, mr_signer=signer)
    assert QeIdentity.parse(document.to_bytes()) == document


def _changed(document: bytes, **changes: Any) -> bytes:
    return json.dumps(json.loads(document) | changes).encode()


def _level(**changes: Any) -> list[dict[str, Any]]:
    level: dict[str, Any] = json.loads(TCB_INFO)["tcbLevels"][0]
    return [level | changes]


_TCB: dict[str, Any] = json.loads(TCB_INFO)["tcbLevels"][0]["tcb"]


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"", "TCB info is not JSON"),
        (b"\xff", "TCB info is not JSON"),
        (b"3", "not a JSON object"),
        (TCB_INFO[:-1] + b',"id":"TDX"}', "has a key twice"),
        (_changed(TCB_INFO, id="SGX"), "id is not TDX: a document of another kind"),
        (_changed(TCB_INFO, version=4), "version is not 3"),
        (_changed(TCB_INFO, version="3"), "version is missing or not a int"),
        (_changed(TCB_INFO, version=True), "version is missing or not a int"),
        (_changed(TCB_INFO, fmspc="00"), "fmspc is not 12 hexadecimal digits"),
        (_changed(TCB_INFO, fmspc="C0 C00A0000 "), "fmspc is not 12 hexadecimal digits"),
        (_changed(TCB_INFO, tcbEvaluationDataNumber=-1), "tcbEvaluationDataNumber does not fit 32 bits"),
        (_changed(TCB_INFO, issueDate="2025-06-19T10:16:03"), "issueDate is not a time like"),
        (_changed(TCB_INFO, issueDate="2025-6-19T10:16:03Z"), "issueDate is not a time like"),
        (_changed(TCB_INFO, tdxModule=None), "tdxModule is missing"),
        (_changed(TCB_INFO, tdxModuleIdentities=[{"id": "TDX_1"}]), r"tdxModuleIdentities\[0\]: id is not like TDX_01"),
        (_changed(TCB_INFO, tcbLevels={}), "tcbLevels is missing or not a list"),
        (_changed(TCB_INFO, tcbLevels=[1]), r"tcbLevels\[0\] is not a JSON object"),
        (_changed(TCB_INFO, tcbLevels=_level(tcbStatus="Fine")), "unknown tcbStatus"),
        (_changed(TCB_INFO, tcbLevels=_level(advisoryIDs=[1])), "advisoryIDs holds something else than texts"),
        (_changed(TCB_INFO, tcbLevels=_level(tcb=_TCB | {"pcesvn": 65_536})), "pcesvn does not fit 16 bits"),
        (_changed(TCB_INFO, tcbLevels=_level(tcb=_TCB | {"sgxtcbcomponents": []})), "0 sgxtcbcomponents instead of 16"),
    ],
)  # fmt: skip
def test_parse_tcb_info_of_another_form_is_refused_by_name(raw: bytes, reason: str) -> None:
    with pytest.raises(CollateralMalformed, match=reason):
        TcbInfo.parse(raw)


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (_changed(QE_IDENTITY, id="QE"), "id is not TD_QE"),
        (_changed(QE_IDENTITY, mrsigner="00"), "mrsigner is not 64 hexadecimal digits"),
        (_changed(QE_IDENTITY, isvprodid=1.5), "isvprodid is missing or not a int"),
        (_changed(QE_IDENTITY, tcbLevels=[{"tcb": {}}]), r"tcbLevels\[0\].tcb: isvsvn is missing"),
    ],
)
def test_parse_qe_identity_of_another_form_is_refused_by_name(raw: bytes, reason: str) -> None:
    with pytest.raises(CollateralMalformed, match=reason):
        QeIdentity.parse(raw)


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_parse_altered_documents_raises_nothing_but_its_own_error(data: st.DataObject) -> None:
    parse, document = data.draw(st.sampled_from([(TcbInfo.parse, TCB_INFO), (QeIdentity.parse, QE_IDENTITY)]))
    mutated = bytearray(document)
    for at in data.draw(st.lists(st.integers(0, len(document) - 1), min_size=1, max_size=4)):
        mutated[at] = data.draw(st.integers(0, 255))
    with suppress(AttestationError):
        parse(bytes(mutated))


def test_published_documents_are_current_when_asked_for() -> None:
    tcb_info = COLLATERAL.tcb_info
    assert tcb_info.issue_date < TIME < tcb_info.next_update
    assert COLLATERAL.pck_crl.this_update < TIME < COLLATERAL.pck_crl.next_update
