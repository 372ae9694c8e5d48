"""The documents of Intel's Provisioning Certification Service (PCS) version 4: TCB info and quoting-enclave identity.

TCB info lists, for one kind of platform (FMSPC), which security versions are how trustworthy; the identity does so for
Intel's quoting enclave. Both are JSON, and what Intel signs are its very bytes: `Collateral` keeps them. Here they are
values; `to_bytes` writes them as Intel does, field for field.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from enum import StrEnum

from .errors import CollateralMalformed
from .json_fields import Fields, time_text

__all__ = ["ModuleIdentity", "QeIdentity", "SvnLevel", "TcbComponent", "TcbInfo", "TcbLevel", "TcbStatus", "TdxModule"]

COMPONENTS = 16
_DESCRIPTION = ("category", "type")
_MODULE_ID = re.compile("TDX_[0-9A-Fa-f]{2}")


class TcbStatus(StrEnum):
    """Intel's words for how trustworthy a combination of security versions is."""

    UP_TO_DATE = "UpToDate"
    SW_HARDENING_NEEDED = "SWHardeningNeeded"
    CONFIGURATION_NEEDED = "ConfigurationNeeded"
    CONFIGURATION_AND_SW_HARDENING_NEEDED = "ConfigurationAndSWHardeningNeeded"
    OUT_OF_DATE = "OutOfDate"
    OUT_OF_DATE_CONFIGURATION_NEEDED = "OutOfDateConfigurationNeeded"
    REVOKED = "Revoked"


@dataclass(frozen=True, slots=True)
class TcbComponent:
    """One of 16 security versions, 0..255, and what Intel says it belongs to."""

    svn: int
    category: str | None = None
    type: str | None = None


@dataclass(frozen=True, slots=True)
class TcbLevel:
    """A platform at least at these versions has this status. Times are unix seconds."""

    sgx_components: tuple[TcbComponent, ...]
    pce_svn: int
    tdx_components: tuple[TcbComponent, ...]
    date: int
    status: TcbStatus
    advisories: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SvnLevel:
    """An enclave or module at least at this version has this status."""

    isv_svn: int
    date: int
    status: TcbStatus
    advisories: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class TdxModule:
    """What a TDX module of major version 0 must look like: 48, 8 and 8 bytes."""

    mr_signer: bytes
    attributes: bytes
    attributes_mask: bytes


@dataclass(frozen=True, slots=True)
class ModuleIdentity:
    """The same for a later major version, which `id` names ("TDX_01"), and its levels."""

    id: str
    module: TdxModule
    levels: tuple[SvnLevel, ...]


@dataclass(frozen=True, slots=True)
class TcbInfo:
    """TCB info of version 3 for TDX."""

    issue_date: int
    next_update: int
    fmspc: bytes
    pce_id: bytes
    tcb_type: int
    tcb_evaluation_data_number: int
    tdx_module: TdxModule
    module_identities: tuple[ModuleIdentity, ...]
    levels: tuple[TcbLevel, ...]

    @classmethod
    def parse(cls, raw: bytes) -> TcbInfo:
        """CollateralMalformed, naming the place, unless `raw` is such a document."""
        top = Fields.load(raw, "TCB info")
        top.expect("id", "TDX")
        top.expect("version", 3)
        return cls(
            issue_date=top.time("issueDate"),
            next_update=top.time("nextUpdate"),
            fmspc=top.hex("fmspc", 6),
            pce_id=top.hex("pceId", 2),
            tcb_type=top.number("tcbType", 8),
            tcb_evaluation_data_number=top.number("tcbEvaluationDataNumber", 32),
            tdx_module=_module(top.object("tdxModule")),
            module_identities=top.all("tdxModuleIdentities", _module_identity, optional=True),
            levels=top.all("tcbLevels", _tcb_level),
        )

    def to_bytes(self) -> bytes:
        """The document as Intel writes it."""
        return _dump(
            {
                "id": "TDX",
                "version": 3,
                "issueDate": time_text(self.issue_date),
                "nextUpdate": time_text(self.next_update),
                "fmspc": self.fmspc.hex().upper(),
                "pceId": self.pce_id.hex().upper(),
                "tcbType": self.tcb_type,
                "tcbEvaluationDataNumber": self.tcb_evaluation_data_number,
                "tdxModule": _module_json(self.tdx_module),
                "tdxModuleIdentities": [
                    {"id": identity.id, **_module_json(identity.module), "tcbLevels": _svn_levels_json(identity.levels)}
                    for identity in self.module_identities
                ],
                "tcbLevels": [
                    {
                        "tcb": {
                            "sgxtcbcomponents": [_component_json(component) for component in level.sgx_components],
                            "pcesvn": level.pce_svn,
                            "tdxtcbcomponents": [_component_json(component) for component in level.tdx_components],
                        },
                        **_status_json(level),
                    }
                    for level in self.levels
                ],
            }
        )


@dataclass(frozen=True, slots=True)
class QeIdentity:
    """Identity of the TD quoting enclave, version 2. Masked fields are compared under their masks."""

    issue_date: int
    next_update: int
    tcb_evaluation_data_number: int
    misc_select: bytes  # 4 bytes, in the order of the enclave report
    misc_select_mask: bytes
    attributes: bytes  # 16 bytes
    attributes_mask: bytes
    mr_signer: bytes  # 32 bytes
    isv_prod_id: int
    levels: tuple[SvnLevel, ...]

    @classmethod
    def parse(cls, raw: bytes) -> QeIdentity:
        """CollateralMalformed, naming the place, unless `raw` is such a document."""
        top = Fields.load(raw, "QE identity")
        top.expect("id", "TD_QE")
        top.expect("version", 2)
        return cls(
            issue_date=top.time("issueDate"),
            next_update=top.time("nextUpdate"),
            tcb_evaluation_data_number=top.number("tcbEvaluationDataNumber", 32),
            misc_select=top.hex("miscselect", 4),
            misc_select_mask=top.hex("miscselectMask", 4),
            attributes=top.hex("attributes", 16),
            attributes_mask=top.hex("attributesMask", 16),
            mr_signer=top.hex("mrsigner", 32),
            isv_prod_id=top.number("isvprodid", 16),
            levels=top.all("tcbLevels", _svn_level),
        )

    def to_bytes(self) -> bytes:
        """The document as Intel writes it."""
        return _dump(
            {
                "id": "TD_QE",
                "version": 2,
                "issueDate": time_text(self.issue_date),
                "nextUpdate": time_text(self.next_update),
                "tcbEvaluationDataNumber": self.tcb_evaluation_data_number,
                "miscselect": self.misc_select.hex().upper(),
                "miscselectMask": self.misc_select_mask.hex().upper(),
                "attributes": self.attributes.hex().upper(),
                "attributesMask": self.attributes_mask.hex().upper(),
                "mrsigner": self.mr_signer.hex().upper(),
                "isvprodid": self.isv_prod_id,
                "tcbLevels": _svn_levels_json(self.levels),
            }
        )


def _tcb_level(fields: Fields) -> TcbLevel:
    tcb = fields.object("tcb")
    return TcbLevel(
        _components(tcb, "sgxtcbcomponents"),
        tcb.number("pcesvn", 16),
        _components(tcb, "tdxtcbcomponents"),
        fields.time("tcbDate"),
        _status(fields),
        fields.texts("advisoryIDs"),
    )


def _svn_level(fields: Fields) -> SvnLevel:
    isv_svn = fields.object("tcb").number("isvsvn", 16)
    return SvnLevel(isv_svn, fields.time("tcbDate"), _status(fields), fields.texts("advisoryIDs"))


def _status(fields: Fields) -> TcbStatus:
    text = fields.get("tcbStatus", str)
    if text not in tuple(TcbStatus):
        raise CollateralMalformed(f"{fields.where}: unknown tcbStatus")
    return TcbStatus(text)


def _components(fields: Fields, key: str) -> tuple[TcbComponent, ...]:
    found = fields.all(
        key, lambda one: TcbComponent(one.number("svn", 8), *(one.text(name, optional=True) for name in _DESCRIPTION))
    )
    if len(found) != COMPONENTS:
        raise CollateralMalformed(f"{fields.where}: {len(found)} {key} instead of {COMPONENTS}")
    return found


def _module(fields: Fields) -> TdxModule:
    return TdxModule(fields.hex("mrsigner", 48), fields.hex("attributes", 8), fields.hex("attributesMask", 8))


def _module_identity(fields: Fields) -> ModuleIdentity:
    name = fields.get("id", str)
    if not _MODULE_ID.fullmatch(name):
        raise CollateralMalformed(f"{fields.where}: id is not like TDX_01")
    return ModuleIdentity(name, _module(fields), fields.all("tcbLevels", _svn_level))


def _component_json(component: TcbComponent) -> dict[str, object]:
    words = {"category": component.category, "type": component.type}
    return {"svn": component.svn, **{key: word for key, word in words.items() if word is not None}}


def _module_json(module: TdxModule) -> dict[str, object]:
    return {
        "mrsigner": module.mr_signer.hex().upper(),
        "attributes": module.attributes.hex().upper(),
        "attributesMask": module.attributes_mask.hex().upper(),
    }


def _svn_levels_json(levels: tuple[SvnLevel, ...]) -> list[dict[str, object]]:
    return [{"tcb": {"isvsvn": level.isv_svn}, **_status_json(level)} for level in levels]


def _status_json(level: TcbLevel | SvnLevel) -> dict[str, object]:
    found: dict[str, object] = {"tcbDate": time_text(level.date), "tcbStatus": level.status.value}
    return found | ({"advisoryIDs": list(level.advisories)} if level.advisories else {})


def _dump(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
