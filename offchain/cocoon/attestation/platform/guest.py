"""A guest as the TDX module would report it."""

from __future__ import annotations

import hashlib
from typing import Any

from ..reports import TdAttributes, TdReport10, TdReport15

__all__ = ["guest_report"]


def guest_report(report_data: bytes, *, version_15: bool = False, **changes: Any) -> TdReport10:
    """The report of a guest that says `report_data` (64 bytes), on a module that is up to date.

    changes: fields of TdReport10 or TdReport15 that differ. version_15: as TDX 1.5 reports it.
    """
    fields: dict[str, Any] = {
        "tee_tcb_svn": bytes((6, 1, 3)).ljust(16, b"\0"),
        "mr_seam": _measured("TDX module"),
        "mr_signer_seam": bytes(48),
        "seam_attributes": bytes(8),
        "td_attributes": TdAttributes.SEPT_VE_DISABLE.to_bytes(8, "little"),
        "xfam": bytes.fromhex("e702060000000000"),
        "mr_td": _measured("firmware"),
        "mr_config_id": bytes(48),
        "mr_owner": bytes(48),
        "mr_owner_config": bytes(48),
        "rt_mr0": _measured("virtual hardware"),
        "rt_mr1": _measured("kernel"),
        "rt_mr2": _measured("command line"),
        "rt_mr3": bytes(48),
        "report_data": report_data,
    }
    if not version_15:
        return TdReport10(**fields | changes)
    fields |= {"tee_tcb_svn_2": fields["tee_tcb_svn"], "mr_service_td": bytes(48)}
    return TdReport15(**fields | changes)


def _measured(what: str) -> bytes:
    return hashlib.sha384(b"simulated " + what.encode()).digest()
