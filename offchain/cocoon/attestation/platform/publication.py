"""What the simulated Intel publishes at one time: which levels it rates how, and whom it revokes."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from ..pcs import ModuleIdentity, QeIdentity, SvnLevel, TcbComponent, TcbInfo, TcbLevel, TcbStatus, TdxModule
from .hardware import DEFAULT_HARDWARE, CertificateAuthority, Hardware
from .quoting_enclave import ATTRIBUTES, ATTRIBUTES_MASK, MR_SIGNER

__all__ = ["DAY", "Publication"]

DAY = 86_400
_VALID = 30 * DAY
_RATED = 1_710_288_000  # 2024-03-13
_OLD = 1_515_024_000  # 2018-01-04


@dataclass(frozen=True, slots=True)
class Publication:
    """Documents and lists of one time. Build one with `at`, then `replace` what a test is about."""

    tcb_info: TcbInfo
    qe_identity: QeIdentity
    crl_issued_at: int
    crl_next_update: int
    authority: CertificateAuthority = CertificateAuthority.PLATFORM  # whose PCK CRL it is
    pck_crl_number: int = 1
    root_crl_number: int = 1
    revoked_pck: tuple[int, ...] = field(default=())  # serial numbers
    revoked_ca: tuple[int, ...] = field(default=())

    @classmethod
    def at(cls, time: int, hardware: Hardware = DEFAULT_HARDWARE, *, evaluation_number: int = 17) -> Publication:
        """What is current at `time` (unix seconds), for platforms of the kind of `hardware`: issued an hour before."""
        issued = time - 3600
        return cls(
            tcb_info=TcbInfo(
                issue_date=issued,
                next_update=issued + _VALID,
                fmspc=hardware.fmspc,
                pce_id=hardware.pce_id,
                tcb_type=0,
                tcb_evaluation_data_number=evaluation_number,
                tdx_module=_MODULE,
                module_identities=(_module("TDX_03", (3,)), _module("TDX_01", (4, 2))),
                levels=_LEVELS,
            ),
            qe_identity=QeIdentity(
                issue_date=issued,
                next_update=issued + _VALID,
                tcb_evaluation_data_number=evaluation_number,
                misc_select=bytes(4),
                misc_select_mask=b"\xff" * 4,
                attributes=ATTRIBUTES,
                attributes_mask=ATTRIBUTES_MASK,
                mr_signer=MR_SIGNER,
                isv_prod_id=2,
                levels=_rated((4, 3)),
            ),
            crl_issued_at=issued,
            crl_next_update=issued + _VALID,
            authority=hardware.authority,
        )

    def with_tcb_info(self, **changes: object) -> Publication:
        """With fields of the TCB info replaced."""
        return replace(self, tcb_info=replace(self.tcb_info, **changes))  # type: ignore[arg-type]

    def with_qe_identity(self, **changes: object) -> Publication:
        """With fields of the identity replaced."""
        return replace(self, qe_identity=replace(self.qe_identity, **changes))  # type: ignore[arg-type]


_MODULE = TdxModule(bytes(48), bytes(8), b"\xff" * 8)


def _rated(svns: tuple[int, ...]) -> tuple[SvnLevel, ...]:
    """The first version is up to date, the others are not."""
    first, *others = svns
    return (
        SvnLevel(first, _RATED, TcbStatus.UP_TO_DATE),
        *(SvnLevel(svn, _OLD, TcbStatus.OUT_OF_DATE, ("INTEL-SA-00837",)) for svn in others),
    )


def _module(name: str, svns: tuple[int, ...]) -> ModuleIdentity:
    return ModuleIdentity(name, _MODULE, _rated(svns))


_SGX_WORDS: dict[int, tuple[str, str | None]] = {
    0: ("BIOS", "Early Microcode Update"),
    1: ("OS/VMM", "SGX Late Microcode Update"),
    2: ("OS/VMM", "TXT SINIT"),
    3: ("BIOS", None),
    4: ("BIOS", None),
    5: ("BIOS", None),
    7: ("OS/VMM", "SEAMLDR ACM"),
}
_TDX_WORDS: dict[int, tuple[str, str | None]] = {
    0: ("OS/VMM", "TDX Module"),
    1: ("OS/VMM", "TDX Module"),
    2: ("OS/VMM", "TDX Late Microcode Update"),
}


def _components(svns: bytes, words: dict[int, tuple[str, str | None]]) -> tuple[TcbComponent, ...]:
    return tuple(TcbComponent(svn, *words.get(index, (None, None))) for index, svn in enumerate(svns.ljust(16, b"\0")))


def _level(sgx: bytes, pce_svn: int, date: int, status: TcbStatus, *advisories: str) -> TcbLevel:
    tdx = _components(bytes((5, 0, 2)), _TDX_WORDS)
    return TcbLevel(_components(sgx, _SGX_WORDS), pce_svn, tdx, date, status, advisories)


_LEVELS = (
    _level(bytes((2, 2, 2, 2, 3, 1, 0, 5)), 11, _RATED, TcbStatus.UP_TO_DATE),
    _level(bytes((1, 1, 2, 2, 3, 1, 0, 5)), 11, _OLD, TcbStatus.OUT_OF_DATE, "INTEL-SA-00837"),
    _level(bytes((1, 1, 2, 2, 3, 1, 0, 5)), 5, _OLD, TcbStatus.OUT_OF_DATE, "INTEL-SA-00106", "INTEL-SA-00837"),
)
