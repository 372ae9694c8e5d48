"""The ids there are: invariants of `docs/invariants.md`, attacks of `docs/attacks.md`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from .errors import AuditError

__all__ = ["Entry", "Register"]

_HEADING = re.compile(r"^\* \*\*(?P<id>[A-Z][-.]\d{1,2})\*\* (?P<text>.+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Entry:
    """One promise kept or attack survived; `text` is its first line."""

    id: str
    text: str


@dataclass(frozen=True, slots=True)
class Register:
    """Entries in the order of the documents."""

    invariants: tuple[Entry, ...]
    attacks: tuple[Entry, ...]

    @classmethod
    def read(cls, docs: Path) -> Register:
        """AuditError if an id is written down twice."""
        found = cls(_entries(docs / "invariants.md"), _entries(docs / "attacks.md"))
        ids = [entry.id for entry in found.entries]
        if repeated := sorted({name for name in ids if ids.count(name) > 1}):
            raise AuditError(f"written down twice: {', '.join(repeated)}; give each its own id")
        return found

    @property
    def entries(self) -> tuple[Entry, ...]:
        return self.invariants + self.attacks

    @property
    def cited(self) -> re.Pattern[str]:
        """What a citation of any id of these kinds looks like, whether it is written down or not."""
        kinds = sorted({entry.id.rstrip("0123456789") for entry in self.entries})
        return re.compile(rf"(?<![\w-])(?:{'|'.join(map(re.escape, kinds))})\d{{1,2}}(?!\w)")


def _entries(path: Path) -> tuple[Entry, ...]:
    try:
        text = path.read_text()
    except OSError as error:
        raise AuditError(f"{path} can't be read ({error}); run this in a checkout of the repository") from error
    return tuple(Entry(match["id"], match["text"]) for match in _HEADING.finditer(text))
