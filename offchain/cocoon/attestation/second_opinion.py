"""A second opinion: dcap-qvl, an independent implementation, must accept the quote and read it as we do.

Two implementations with the same blind spot are unlikely; one that reads other bytes than it verified is not. Needs no
chain: a client that doubts the chain's verdict runs this on the same quote and collateral.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import dcap_qvl

from .certificates import Certificate
from .collateral import Collateral
from .errors import SecondOpinionDiffers, SecondOpinionRefused
from .pck import PckExtension
from .pcs import TcbStatus
from .quote import Quote
from .reports import EnclaveReport, TdReport10, TdReport15
from .tcb import TcbVerdict, evaluate
from .trust import TrustedRoot, trusted_root

__all__ = ["Opinion", "second_opinion"]

_RELAUNCH = {  # the module was updated under a guest that an older one started: we don't count the update
    "TDRelaunchAdvised": TcbStatus.OUT_OF_DATE,
    "TDRelaunchAdvisedConfigurationNeeded": TcbStatus.OUT_OF_DATE_CONFIGURATION_NEEDED,
}
_RENAMED = {"tee_tcb_svn_2": "tee_tcb_svn2"}


@dataclass(frozen=True, slots=True)
class Opinion:
    """Both agree on this. `tcb` is our own verdict; whether its status is good enough is the caller's policy."""

    quote: Quote
    pck: PckExtension
    tcb: TcbVerdict
    root: TrustedRoot


def second_opinion(
    raw_quote: bytes, collateral: Collateral, root: Certificate, at: int, *, allow_simulated_tee: bool = False
) -> Opinion:
    """What both say about a quote at `at` (unix seconds) under `root`.

    SimulatedTeeRefused for another root than Intel's unless allowed; EvidenceMalformed or CollateralMismatch if we
    can't accept it; SecondOpinionRefused if the other does not; SecondOpinionDiffers if both accept and disagree.
    """
    trusted = trusted_root(root, allow_simulated_tee=allow_simulated_tee)
    quote = Quote.parse(raw_quote)
    pck = PckExtension.of(quote.signature_data.pck_chain[0])
    verdict = evaluate(quote, collateral)
    claims = _claims(raw_quote, collateral, root, at)
    differing = [name for name, ours, theirs in _compared(quote, pck, verdict, claims) if ours != theirs]
    if differing:
        raise SecondOpinionDiffers(
            f"two verifiers read this quote differently: {', '.join(differing)}. Use neither reading and report it"
        )
    return Opinion(quote, pck, verdict, trusted)


def _claims(raw_quote: bytes, collateral: Collateral, root: Certificate, at: int) -> Mapping[str, Any]:
    try:
        verifier = dcap_qvl.QuoteVerifier(root.der)
        policy = dcap_qvl.QuotePolicy.claims_only(at)
        other = dcap_qvl.QuoteCollateralV3.from_json(collateral.to_json())
        found = verifier.verify_with_policy(raw_quote, other, at, policy)
    except (ValueError, OverflowError) as error:
        reason = " ".join(str(error).split())
        raise SecondOpinionRefused(f"dcap-qvl does not accept the quote with this collateral: {reason}") from error
    claims: Mapping[str, Any] = json.loads(found.to_json())
    return claims


def _compared(
    quote: Quote, pck: PckExtension, verdict: TcbVerdict, claims: Mapping[str, Any]
) -> list[tuple[str, object, object]]:
    """(name, ours, theirs) of everything both read."""
    try:
        status = claims["tcb"]["status"]
        theirs, their_pck = claims["report"], claims["platform"]["pck"]
        kind = "TD15" if isinstance(quote.report, TdReport15) else "TD10"
        report = _flat(theirs[kind])
        enclave, header = claims["qe"]["report"], claims["header"]
        rows: list[tuple[str, object, object]] = [
            ("TCB status", verdict.status.value, str(_RELAUNCH.get(status, status))),
            ("quote version", quote.header.version, header["version"]),
            ("FMSPC", list(pck.fmspc), their_pck["fmspc"]),
            ("PCE id", list(pck.pce_id), their_pck["pce_id"]),
            ("PCESVN", pck.pce_svn, their_pck["pce_svn"]),
            ("CPUSVN", list(pck.cpu_svn), their_pck["cpu_svn"]),
            ("PPID", list(pck.ppid), their_pck["ppid"]),
        ]
        rows += [(name, value, report[_RENAMED.get(name, name)]) for name, value in _hex_fields(quote.report)]
        rows += [
            (f"enclave's {name}", value, enclave[name]) for name, value in _hex_fields(quote.signature_data.qe_report)
        ]
    except (KeyError, TypeError) as error:
        raise SecondOpinionDiffers(f"dcap-qvl's claims lack {error}: use the pinned version") from error
    return rows


def _hex_fields(report: TdReport10 | EnclaveReport) -> list[tuple[str, object]]:
    """Fields as dcap-qvl's JSON has them."""
    found: list[tuple[str, object]] = []
    for field in fields(report):
        value = getattr(report, field.name)
        if field.name == "misc_select":
            value = int.from_bytes(value, "little")
        found.append((field.name, value.hex() if isinstance(value, bytes) else value))
    return found


def _flat(report: Mapping[str, Any]) -> Mapping[str, Any]:
    """A TD 1.5 report nests the 1.0 report it extends."""
    return {**report.get("base", {}), **report}
