"""What `cocoon attest verify` finds out about a quote, for people and for machines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from .certificates import Certificate
from .collateral import Collateral
from .errors import AttestationError
from .fetching import INTEL_PCS
from .pck import PckExtension
from .pcs import TcbStatus
from .quote import Quote
from .rehearsal import Rehearsal, rehearse
from .rehearsal_stage import AttestationCode
from .reports import TdReport15
from .second_opinion import second_opinion
from .trust import banner
from .witness import measurement

__all__ = ["Verdict", "VerifyReport", "examine"]

Verdict = Literal["accepted", "refused", "disputed", "incomplete", "unreadable"]
UNASKED = "whom the quote was made for, and how old it is (the chain checks both)"
_REGISTERS = ("mr_td", "rt_mr0", "rt_mr1", "rt_mr2", "rt_mr3", "mr_config_id", "mr_owner", "mr_owner_config")


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """`verdict`: accepted (by contracts and second opinion), refused, disputed (they disagree), incomplete, unreadable.

    `missing` says what to fetch from where; `second` is what the independent verifier said.
    """

    verdict: Verdict
    reason: str | None
    at: int
    quote: Quote | None = None
    pck: PckExtension | None = None
    rehearsal: Rehearsal | None = None
    second: str | None = None
    missing: tuple[tuple[str, str], ...] = ()

    @classmethod
    def unreadable(cls, reason: str, at: int) -> VerifyReport:
        return cls("unreadable", reason, at)

    def to_json(self) -> dict[str, Any]:
        """The report as one JSON object; hexadecimal in lower case, amounts in nanoTON."""
        found: dict[str, Any] = {"verdict": self.verdict, "accepted": self.verdict == "accepted", "reason": self.reason}
        found["at"] = _date(self.at)
        if self.quote is not None and self.pck is not None:
            found |= _quote_json(self.quote, self.pck)
        if self.missing:
            found["missing"] = [{"what": what, "where": where} for what, where in self.missing]
        if self.rehearsal is not None:
            found |= _rehearsal_json(self.rehearsal)
            found |= {"second_opinion": self.second, "not_checked": [UNASKED]}
        return found

    def lines(self) -> list[str]:
        """The report for people."""
        lines = [f"{self.verdict.upper()}" + (f": {self.reason}" if self.reason else "")]
        if self.rehearsal is not None and (warning := banner(self.rehearsal.root)):
            lines.insert(0, warning)
        lines += [f"missing: {what}: {where}" for what, where in self.missing]
        if self.quote is not None and self.pck is not None:
            lines += [
                f"judged         as of {_date(self.at)}",
                f"quote          version {self.quote.header.version}, {type(self.quote.report).__name__}",
                f"measurement    {measurement(self.quote).hex()}",
                f"platform       FMSPC {self.pck.fmspc.hex()}, PCE {self.pck.pce_id.hex()}",
            ]
        if self.rehearsal is not None:
            lines += _rehearsal_lines(self.rehearsal)
            lines += [f"second opinion {self.second}", f"not checked    {UNASKED}"]
        return lines


def examine(
    raw: bytes,
    collateral: Path | None,
    at: int,
    *,
    accepted: Sequence[TcbStatus],
    allow_simulated_tee: bool = False,
    code: AttestationCode | None = None,
) -> VerifyReport:
    """Everything about `raw` at `at` (unix seconds). AttestationError if quote or collateral can't be read at all."""
    quote = Quote.parse(raw)
    chain = quote.signature_data.pck_chain
    pck = PckExtension.of(chain[0])
    if collateral is None:
        incomplete = "without collateral nobody can tell; get it by `cocoon attest fetch` and give --collateral"
        return VerifyReport("incomplete", incomplete, at, quote, pck, missing=_missing(pck, chain[0].issuer))
    found = Collateral.load(collateral)
    rehearsal = rehearse(quote, found, at, allow_simulated_tee=allow_simulated_tee, accepted=accepted, code=code)
    status, second = _second(raw, found, chain[-1], at, allow_simulated_tee)
    verdict: Verdict = "accepted" if rehearsal.accepted else "refused"
    reason = None if rehearsal.refusal is None else str(rehearsal.refusal)
    if rehearsal.judgement is not None and rehearsal.judgement.tcb_status != status:
        verdict, reason = "disputed", f"the contracts find {rehearsal.judgement.tcb_status}; dcap-qvl {second}"
    return VerifyReport(verdict, reason, at, quote, pck, rehearsal, second)


def _second(
    raw: bytes, collateral: Collateral, root: Certificate, at: int, allow_simulated_tee: bool
) -> tuple[TcbStatus | None, str]:
    """The status dcap-qvl and our own reading agree on, or None; and that in words."""
    try:
        opinion = second_opinion(raw, collateral, root, at, allow_simulated_tee=allow_simulated_tee)
    except AttestationError as error:
        return None, f"refuses: {error}"
    return opinion.tcb.status, f"accepts: {opinion.tcb.status}"


def _missing(pck: PckExtension, issuer: bytes) -> tuple[tuple[str, str], ...]:
    authority = "platform" if b"Platform CA" in issuer else "processor"
    return (
        ("TCB info and its issuer chain", f"{INTEL_PCS}/tdx/certification/v4/tcb?fmspc={pck.fmspc.hex()}"),
        ("TD_QE identity and its issuer chain", f"{INTEL_PCS}/tdx/certification/v4/qe/identity"),
        ("PCK CRL and its issuer chain", f"{INTEL_PCS}/sgx/certification/v4/pckcrl?ca={authority}&encoding=der"),
        ("root CRL", "https://certificates.trustedservices.intel.com/IntelSGXRootCA.der"),
    )


def _quote_json(quote: Quote, pck: PckExtension) -> dict[str, Any]:
    report = quote.report
    return {
        "quote": {
            "version": quote.header.version,
            "td_report": "1.5" if isinstance(report, TdReport15) else "1.0",
            "td_attributes": report.td_attributes.hex(),
            "xfam": report.xfam.hex(),
            "tee_tcb_svn": report.tee_tcb_svn.hex(),
            "report_data": report.report_data.hex(),
            **{name: getattr(report, name).hex() for name in _REGISTERS},
        },
        "measurement": measurement(quote).hex(),
        "platform": {"fmspc": pck.fmspc.hex(), "pce_id": pck.pce_id.hex(), "pce_svn": pck.pce_svn},
    }


def _rehearsal_json(rehearsal: Rehearsal) -> dict[str, Any]:
    judgement, refusal = rehearsal.judgement, rehearsal.refusal
    return {
        "simulated": rehearsal.root.simulated,
        "banner": banner(rehearsal.root),
        "tcb_status": judgement.tcb_status.value if judgement else None,
        "tcb_date": _date(judgement.tcb_date) if judgement else None,
        "refusal": refusal
        and {
            "step": refusal.step,
            "exit_code": refusal.code,
            "name": refusal.name,
            "meaning": refusal.meaning,
            "remedy": refusal.remedy,
        },
        "steps": [
            {
                "step": step.name,
                "gas": step.total_gas,
                "gas_by_contract": [{"contract": name, "gas": gas} for name, gas in step.gas],
                "fees_nano": step.fees_nano,
            }
            for step in rehearsal.steps
        ],
        "cost": {
            "quote_value_nano": rehearsal.quote_value_nano,
            "collateral_fees_nano": sum(step.fees_nano for step in rehearsal.steps),
        },
    }


def _rehearsal_lines(rehearsal: Rehearsal) -> list[str]:
    lines = []
    if rehearsal.judgement is not None:
        judgement = rehearsal.judgement
        lines.append(f"TCB            {judgement.tcb_status}, level of {_date(judgement.tcb_date)}")
    for step in rehearsal.steps:
        fees = f", {_ton(step.fees_nano)} TON" if step.fees_nano else ""
        lines.append(f"gas            {step.name}: {step.total_gas:,}{fees}")
    collateral = sum(step.fees_nano for step in rehearsal.steps)
    lines.append(
        f"cost           a quote takes at most {_ton(rehearsal.quote_value_nano)} TON; "
        f"posting this collateral took {_ton(collateral)} TON and its rent"
    )
    return lines


def _date(unix: int) -> str:
    return datetime.fromtimestamp(unix, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _ton(nano: int) -> str:
    return f"{nano / 10**9:.4f}"
