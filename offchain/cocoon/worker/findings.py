"""What a check found: fine, worth knowing, or in the way."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from .errors import ChecksFailed

__all__ = ["Finding", "Level", "failed", "fine", "require", "warning"]


class Level(StrEnum):
    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Finding:
    """`text` says what was found and, unless all is well, what to do."""

    check: str
    level: Level
    text: str


def fine(check: str, text: str) -> Finding:
    return Finding(check, Level.OK, text)


def warning(check: str, text: str) -> Finding:
    return Finding(check, Level.WARNING, text)


def failed(check: str, text: str) -> Finding:
    return Finding(check, Level.FAILED, text)


def require(findings: Iterable[Finding]) -> None:
    """ChecksFailed, with all that is in the way, if anything is."""
    wrong = [finding for finding in findings if finding.level == Level.FAILED]
    if wrong:
        listed = "; ".join(f"{finding.check}: {finding.text}" for finding in wrong)
        raise ChecksFailed(f"nothing was sent. {listed}")
