"""How trustworthy Intel says a platform is: its security versions against TCB info and quoting-enclave identity.

Follows "TCB Recovery and Status" of Intel's PCS version 4. Verifies no signature and no date: who calls this has
checked the documents, or wants to know what their issuer would say. A module updated under a running guest does not
help the guest here: what counts is the module that started it (`tee_tcb_svn`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

from .collateral import Collateral
from .errors import CollateralMismatch
from .pck import PckExtension
from .pcs import QeIdentity, SvnLevel, TcbComponent, TcbInfo, TcbLevel, TcbStatus
from .quote import Quote
from .reports import EnclaveReport, TdReport10

__all__ = ["TcbVerdict", "evaluate"]


@dataclass(frozen=True, slots=True)
class TcbVerdict:
    """The status of all parts together, of each, and the advisories behind them. `date` is the platform level's."""

    status: TcbStatus
    platform: TcbLevel
    module: SvnLevel | None  # None: a module of major version 0 is judged by the platform's level alone
    quoting_enclave: SvnLevel

    @property
    def date(self) -> int:
        return self.platform.date

    @property
    def advisories(self) -> tuple[str, ...]:
        parts: list[TcbLevel | SvnLevel] = [self.platform, self.quoting_enclave]
        if self.module is not None:
            parts.append(self.module)
        return tuple(sorted(set(chain.from_iterable(part.advisories for part in parts))))


def evaluate(quote: Quote, collateral: Collateral) -> TcbVerdict:
    """CollateralMismatch, with the reason, if the collateral is for another platform, module or enclave, or knows no
    level this low; CertificateMalformed or CollateralMalformed if something can't be decoded.
    """
    pck = PckExtension.of(quote.signature_data.pck_chain[0])
    tcb_info = collateral.tcb_info
    if (pck.fmspc, pck.pce_id) != (tcb_info.fmspc, tcb_info.pce_id):
        raise CollateralMismatch(
            f"the platform is FMSPC {pck.fmspc.hex()}, PCE {pck.pce_id.hex()}; the TCB info is for "
            f"FMSPC {tcb_info.fmspc.hex()}, PCE {tcb_info.pce_id.hex()}: fetch the one of this platform"
        )
    platform = _platform_level(pck, quote.report, tcb_info)
    module = _module_level(quote.report, tcb_info)
    quoting_enclave = _enclave_level(quote.signature_data.qe_report, collateral.qe_identity)
    status = platform.status
    for part in (module, quoting_enclave):
        if part is not None:
            status = _together(status, part.status)
    return TcbVerdict(status, platform, module, quoting_enclave)


def _platform_level(pck: PckExtension, report: TdReport10, tcb_info: TcbInfo) -> TcbLevel:
    """The first, so highest, level the platform reaches in everything."""
    first = 2 if _major(report) else 0  # from major version 1 on, the module's versions have levels of their own
    for level in tcb_info.levels:
        if (
            pck.pce_svn >= level.pce_svn
            and _reaches(pck.components, level.sgx_components)
            and _reaches(report.tee_tcb_svn[first:], level.tdx_components[first:])
        ):
            return level
    raise CollateralMismatch(
        "the platform reaches no level of the TCB info: its firmware is older than any Intel rates"
    )


def _module_level(report: TdReport10, tcb_info: TcbInfo) -> SvnLevel | None:
    major = _major(report)
    if major == 0:
        expected, levels = tcb_info.tdx_module, None
    else:
        name = f"TDX_{major:02X}"
        identity = next((found for found in tcb_info.module_identities if found.id.upper() == name), None)
        if identity is None:
            raise CollateralMismatch(f"the TCB info does not know the TDX module {name}")
        expected, levels = identity.module, identity.levels
    if report.mr_signer_seam != expected.mr_signer:
        raise CollateralMismatch("the TDX module is signed by somebody else than the TCB info says")
    if _masked(report.seam_attributes, expected.attributes_mask) != expected.attributes:
        raise CollateralMismatch("the TDX module has other attributes than the TCB info says")
    return None if levels is None else _svn_level(report.tee_tcb_svn[0], levels, "the TDX module")


def _enclave_level(report: EnclaveReport, identity: QeIdentity) -> SvnLevel:
    checks = {
        "signer": (report.mr_signer, identity.mr_signer),
        "product id": (report.isv_prod_id, identity.isv_prod_id),
        "MISCSELECT": (_masked(report.misc_select, identity.misc_select_mask), identity.misc_select),
        "attributes": (_masked(report.attributes, identity.attributes_mask), identity.attributes),
    }
    for what, (found, expected) in checks.items():
        if found != expected:
            raise CollateralMismatch(f"the quoting enclave has another {what} than Intel's: nothing it signs counts")
    return _svn_level(report.isv_svn, identity.levels, "the quoting enclave")


def _svn_level(svn: int, levels: Sequence[SvnLevel], what: str) -> SvnLevel:
    for level in levels:
        if svn >= level.isv_svn:
            return level
    raise CollateralMismatch(f"{what} has security version {svn}, below every level Intel rates")


def _together(status: TcbStatus, part: TcbStatus) -> TcbStatus:
    """The platform's status, if a part of it has status `part`."""
    if TcbStatus.REVOKED in (status, part):
        return TcbStatus.REVOKED
    if part is not TcbStatus.OUT_OF_DATE:
        return status
    configuration = (TcbStatus.CONFIGURATION_NEEDED, TcbStatus.CONFIGURATION_AND_SW_HARDENING_NEEDED)
    if status in configuration:
        return TcbStatus.OUT_OF_DATE_CONFIGURATION_NEEDED
    return status if status is TcbStatus.OUT_OF_DATE_CONFIGURATION_NEEDED else TcbStatus.OUT_OF_DATE


def _reaches(found: Sequence[int], level: Sequence[TcbComponent]) -> bool:
    return all(svn >= least.svn for svn, least in zip(found, level, strict=True))


def _masked(value: bytes, mask: bytes) -> bytes:
    return bytes(byte & bit for byte, bit in zip(value, mask, strict=True))


def _major(report: TdReport10) -> int:
    return report.tee_tcb_svn[1]
