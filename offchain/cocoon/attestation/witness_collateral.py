"""TCB info and QE identity as a contract takes them: the signed text in cells, and what it says in numbers."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from pytoniq_core import Cell

from ..wire.attestation import (
    PostQeIdentity,
    PostTcbInfo,
    QeIdentityNumbers,
    SvnLevelNumbers,
    TcbLevelNumbers,
    TcbSet,
    TcbStatusCode,
)
from .collateral import SignedDocument as IntelDocument
from .errors import CollateralMalformed
from .pcs import QeIdentity, SvnLevel, TcbComponent, TcbInfo
from .witness_chains import CELL_BYTES, chain, sign_chain

__all__ = ["qe_identity", "qe_identity_numbers", "tcb_info", "tcb_set"]

_CUT_BEFORE = re.compile(
    rb'","fmspc":"|,"tdxModule":\{|"mrsigner":"0{96}"|,"attributes":"0{16}"|"tdxModuleIdentities":\[|(?<=[}\]],)"tcbLevels":\['
    rb'|\{"id":"TDX_|\{"tcb":\{|,"tcbDate":"|,"advisoryIDs":\[|"INTEL-SA-|\{"svn":|,"pcesvn":|\}\Z'
    rb'|","tcbEvaluationDataNumber":|(?<="miscselectMask":")|(?<="attributesMask":")|","isvprodid":'
)
_COMPONENT_TEXTS = re.compile(rb'\{"svn":\d+((?:,[^{}]*)?)\}')
_SVN_LEVEL_BYTES = 4


def tcb_info(document: IntelDocument, query_id: int = 0) -> PostTcbInfo:
    """Posts TCB info, signed by the first certificate of its chain. CollateralMalformed if it is not one."""
    info = TcbInfo.parse(document.body)
    key = document.issuer_chain[0].public_key
    text = sign_chain(document.body, _cuts(document.body), document.signature, key)
    lengths = bytes(len(match[1]) for match in _COMPONENT_TEXTS.finditer(document.body) if match[1])
    hints = chain(list(_chunks(lengths, CELL_BYTES)) or [b""])
    return PostTcbInfo(query_id, int.from_bytes(info.fmspc), text, hints, tcb_set(info))


def tcb_set(info: TcbInfo) -> TcbSet:
    """What a TcbStore keeps of `info`."""
    levels: Cell | None = None
    for level in reversed(info.levels):
        levels = TcbLevelNumbers(
            _components(level.sgx_components), _components(level.tdx_components), level.pce_svn,
            TcbStatusCode[level.status.name], level.date, levels,
        ).to_cell()  # fmt: skip
    if levels is None:
        raise CollateralMalformed("the TCB info has no TCB levels")
    modules = [
        _svn_level(level, int(identity.id.removeprefix("TDX_"), 16))
        for identity in info.module_identities
        for level in identity.levels
    ]
    return TcbSet(
        info.tcb_evaluation_data_number, info.issue_date, info.next_update, int.from_bytes(info.pce_id),
        _level_chain(modules) if modules else None, levels,
    )  # fmt: skip


def qe_identity(document: IntelDocument, query_id: int = 0) -> PostQeIdentity:
    """Posts a TD_QE identity, signed by the first certificate of its chain."""
    key = document.issuer_chain[0].public_key
    text = sign_chain(document.body, _cuts(document.body), document.signature, key)
    return PostQeIdentity(query_id, text, qe_identity_numbers(QeIdentity.parse(document.body)))


def qe_identity_numbers(identity: QeIdentity) -> QeIdentityNumbers:
    """What Attestation keeps of `identity`."""
    return QeIdentityNumbers(
        evaluation_number=identity.tcb_evaluation_data_number,
        issue_date=identity.issue_date,
        next_update=identity.next_update,
        misc_select=int.from_bytes(identity.misc_select, "little"),
        misc_select_mask=int.from_bytes(identity.misc_select_mask, "little"),
        attributes=int.from_bytes(identity.attributes),
        attributes_mask=int.from_bytes(identity.attributes_mask),
        mr_signer=int.from_bytes(identity.mr_signer),
        isv_prod_id=identity.isv_prod_id,
        levels=_level_chain([_svn_level(level, 0) for level in identity.levels]),
    )


def _cuts(text: bytes) -> Iterator[int]:
    for match in _CUT_BEFORE.finditer(text):
        yield match.start()


def _components(components: Sequence[TcbComponent]) -> int:
    return int.from_bytes(bytes(component.svn for component in components))


def _svn_level(level: SvnLevel, module: int) -> SvnLevelNumbers:
    return SvnLevelNumbers(module, level.isv_svn, TcbStatusCode[level.status.name])


def _level_chain(levels: Iterable[SvnLevelNumbers]) -> Cell:
    packed = b"".join(level.to_cell().data for level in levels)
    if not packed:
        raise CollateralMalformed("the document has no TCB levels")
    return chain(list(_chunks(packed, CELL_BYTES // _SVN_LEVEL_BYTES * _SVN_LEVEL_BYTES)))


def _chunks(data: bytes, size: int) -> Iterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]
