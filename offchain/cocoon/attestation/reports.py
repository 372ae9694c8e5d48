"""What the hardware itself reports: the TD report of a guest and the enclave report of the quoting enclave.

Names, order and sizes are those of Intel's DCAP quote format; all integers are little-endian. Offsets in the comments
count from the start of the structure.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from .errors import QuoteMalformed
from .layout import number, octets, pack, unpack

__all__ = ["EnclaveReport", "TdAttributes", "TdReport10", "TdReport15"]


class TdAttributes:
    """Bits of `td_attributes` that decide whether a guest is worth anything. The others are Intel's or reserved."""

    DEBUG = 1 << 0  # the host may read and write the guest
    SEPT_VE_DISABLE = 1 << 28  # the host can't make the guest fault by taking pages away
    MIGRATABLE = 1 << 29  # the guest may be moved, under the rules of a service TD
    PKS = 1 << 30
    KEY_LOCKER = 1 << 31
    PERFMON = 1 << 63


@dataclass(frozen=True, slots=True)
class TdReport10:
    """The guest, as TDX 1.0 reports it: 584 bytes, quote body type 2, and the body of every quote of version 4."""

    tee_tcb_svn: bytes = octets(16)  # 0: security versions of the TDX module; [0] minor, [1] major
    mr_seam: bytes = octets(48)  # 16: the TDX module
    mr_signer_seam: bytes = octets(48)  # 64: zero for Intel's module
    seam_attributes: bytes = octets(8)  # 112: zero
    td_attributes: bytes = octets(8)  # 120: see TdAttributes
    xfam: bytes = octets(8)  # 128: extended CPU features the guest may use
    mr_td: bytes = octets(48)  # 136: the initial contents of the guest
    mr_config_id: bytes = octets(48)  # 184
    mr_owner: bytes = octets(48)  # 232
    mr_owner_config: bytes = octets(48)  # 280
    rt_mr0: bytes = octets(48)  # 328: extended at run time
    rt_mr1: bytes = octets(48)  # 376
    rt_mr2: bytes = octets(48)  # 424
    rt_mr3: bytes = octets(48)  # 472
    report_data: bytes = octets(64)  # 520: what the guest says

    @classmethod
    def parse(cls, data: bytes) -> Self:
        return unpack(cls, data, QuoteMalformed)

    def to_bytes(self) -> bytes:
        return pack(self, QuoteMalformed)

    @property
    def attribute_bits(self) -> int:
        """`td_attributes` as a number whose bits are named by TdAttributes."""
        return int.from_bytes(self.td_attributes, "little")


@dataclass(frozen=True, slots=True)
class TdReport15(TdReport10):
    """The guest, as TDX 1.5 reports it: 648 bytes, quote body type 3, only in quotes of version 5."""

    tee_tcb_svn_2: bytes = octets(16)  # 584: the module running now, if it was updated under the guest
    mr_service_td: bytes = octets(48)  # 600: the guest allowed to migrate this one


@dataclass(frozen=True, slots=True)
class EnclaveReport:
    """An SGX enclave, here the quoting enclave, as the CPU reports it: 384 bytes."""

    cpu_svn: bytes = octets(16)  # 0
    misc_select: bytes = octets(4)  # 16
    reserved1: bytes = octets(28)  # 20
    attributes: bytes = octets(16)  # 48
    mr_enclave: bytes = octets(32)  # 64
    reserved2: bytes = octets(32)  # 96
    mr_signer: bytes = octets(32)  # 128
    reserved3: bytes = octets(96)  # 160
    isv_prod_id: int = number(2)  # 256
    isv_svn: int = number(2)  # 258
    reserved4: bytes = octets(60)  # 260
    report_data: bytes = octets(64)  # 320: SHA-256(attestation key ‖ auth data), then 32 zero bytes

    @classmethod
    def parse(cls, data: bytes) -> EnclaveReport:
        return unpack(cls, data, QuoteMalformed)

    def to_bytes(self) -> bytes:
        return pack(self, QuoteMalformed)
