"""What a platform is, as its PCK certificate tells."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from ..pck import SgxType

__all__ = ["DEFAULT_HARDWARE", "CertificateAuthority", "Hardware"]


class CertificateAuthority(StrEnum):
    """Who certifies a platform: Platform CA since multi-socket platforms register, Processor CA before."""

    PLATFORM = "platform"
    PROCESSOR = "processor"


@dataclass(frozen=True, slots=True)
class Hardware:
    """A platform at a TCB level. `instance` tells platforms of one kind apart."""

    instance: str = "0"
    authority: CertificateAuthority = CertificateAuthority.PLATFORM
    fmspc: bytes = bytes.fromhex("c0c00a000000")
    pce_id: bytes = bytes(2)
    components: tuple[int, ...] = (3, 3, 2, 2, 4, 1, 0, 5, 0, 0, 0, 0, 0, 0, 0, 0)
    pce_svn: int = 11
    sgx_type: SgxType = SgxType.SCALABLE
    dynamic: bool = True
    cached_keys: bool = True
    smt: bool = True


DEFAULT_HARDWARE = Hardware()
