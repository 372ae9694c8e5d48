"""TCB info and QE identity as a contract takes them: the numbers, and what they do not say of the signed text.

The contract writes the text again from both (`contracts/attestation/writing.tolk`), so a document that Intel wrote in
another way than it does today has no hints that fit.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from hashlib import sha256
from itertools import pairwise

from pytoniq_core import Cell

from ..wire.attestation import (
    PostQeIdentity,
    PostTcbInfo,
    QeIdentityDigits,
    QeIdentityHints,
    QeIdentityNumbers,
    SignedDocument,
    SvnLevelHint,
    SvnLevelNumbers,
    TcbInfoHints,
    TcbLevelHint,
    TcbLevelNumbers,
    TcbSet,
    TcbStatusCode,
    TdxModuleHint,
)
from .collateral import SignedDocument as IntelDocument
from .errors import CollateralMalformed
from .pcs import QeIdentity, SvnLevel, TcbComponent, TcbInfo
from .witness_chains import CELL_BYTES, chain, signed
from .witness_components import component_texts

__all__ = ["qe_identity", "qe_identity_numbers", "tcb_info", "tcb_set"]

_FIELD = r'"%s":"([^"]*)"'
_SVN_LEVEL = re.compile(rb'\{"tcb":\{"isvsvn":\d+\},"tcbDate":"([^"]{20})","tcbStatus":"\w+"([^{}]*)\}')
_TCB_LEVEL = re.compile(
    rb'\{"tcb":\{"sgxtcbcomponents":\[([^]]*)\],"pcesvn":\d+,"tdxtcbcomponents":\[([^]]*)\]\},"tcbDate":"([^"]{20})",'
    rb'"tcbStatus":"\w+"([^{}]*)\}'
)
_MODULE = re.compile(rb'\{"id":"TDX_([0-9A-Fa-f]{2})",')
_SVN_LEVEL_BYTES = 4
_MAX_CELLS = 255


def tcb_info(document: IntelDocument, query_id: int = 0) -> PostTcbInfo:
    """Posts TCB info, signed by the first certificate of its chain. CollateralMalformed if it is not one."""
    info = TcbInfo.parse(document.body)
    hints = _tcb_info_hints(document.body)
    return PostTcbInfo(query_id, int.from_bytes(info.fmspc), _signed(document, hints), tcb_set(info))


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
    identity = QeIdentity.parse(document.body)
    return PostQeIdentity(query_id, _signed(document, _qe_identity_hints(document.body)), qe_identity_numbers(identity))


def qe_identity_numbers(identity: QeIdentity) -> QeIdentityNumbers:
    """What Attestation keeps of `identity`."""
    return QeIdentityNumbers(
        evaluation_number=identity.tcb_evaluation_data_number,
        issue_date=identity.issue_date,
        next_update=identity.next_update,
        misc_select=int.from_bytes(identity.misc_select),
        misc_select_mask=int.from_bytes(identity.misc_select_mask),
        attributes=int.from_bytes(identity.attributes),
        attributes_mask=int.from_bytes(identity.attributes_mask),
        mr_signer=int.from_bytes(identity.mr_signer),
        isv_prod_id=identity.isv_prod_id,
        levels=_level_chain([_svn_level(level, 0) for level in identity.levels]),
    )


def _signed(document: IntelDocument, hints: Cell) -> SignedDocument:
    cells = min(_count(hints), _MAX_CELLS)
    key = document.issuer_chain[0].public_key
    return signed(hints, cells, sha256(document.body).digest(), document.signature, key)


def _count(cell: Cell) -> int:
    return 1 + sum(map(_count, cell.refs))


def _tcb_info_hints(text: bytes) -> Cell:
    head = text[: text.rfind(b'"tcbLevels":[{"tcb":{"sgx')]
    starts = [match.start() for match in _MODULE.finditer(head)]
    modules: Cell | None = None
    for start, end in reversed(list(pairwise([*starts, len(head)]))):
        version = head[start:end].removeprefix(b'{"id":"TDX_')[:2]
        modules = TdxModuleHint(version, _svn_level_hints(head[start:end]), modules).to_cell()
    found = _TCB_LEVEL.findall(text, len(head))
    if not found:
        raise CollateralMalformed("the TCB info is not written as Intel writes it")
    following: Cell | None = None
    for sgx, tdx, date, advisories in reversed(found):
        following = TcbLevelHint(
            date, component_texts(sgx), component_texts(tdx), _free_text(advisories), following
        ).to_cell()
    assert following is not None, "there is a level"
    platform = _field(text, "fmspc", 12) + _field(text, "pceId", 4)
    return TcbInfoHints(
        _field(text, "issueDate", 20), _field(text, "nextUpdate", 20), platform, modules, following
    ).to_cell()  # fmt: skip


def _qe_identity_hints(text: bytes) -> Cell:
    return QeIdentityHints(
        issue_date=_field(text, "issueDate", 20),
        next_update=_field(text, "nextUpdate", 20),
        misc_select=_field(text, "miscselect", 8) + _field(text, "miscselectMask", 8),
        attributes=_field(text, "attributes", 32),
        more=QeIdentityDigits(_field(text, "attributesMask", 32), _field(text, "mrsigner", 64)),
        levels=_svn_level_hints(text),
    ).to_cell()


def _svn_level_hints(text: bytes) -> Cell:
    following: Cell | None = None
    for date, advisories in reversed(_SVN_LEVEL.findall(text)):
        following = SvnLevelHint(date, _free_text(advisories), following).to_cell()
    if following is None:
        raise CollateralMalformed("the document has no levels written as Intel writes them")
    return following


def _free_text(text: bytes) -> Cell | None:
    return chain(list(_chunks(text, CELL_BYTES))) if text else None


def _field(text: bytes, name: str, size: int) -> bytes:
    found = re.search((_FIELD % name).encode(), text)
    if found is None or len(found[1]) != size:
        raise CollateralMalformed(f"{name} is not written as Intel writes it")
    return found[1]


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
