"""The protocol's promises, and where in the sources each is kept."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path

from .errors import AuditError

__all__ = ["Place", "Promise", "promises"]

_FILE = Path(__file__).with_name("promises.toml")


@dataclass(frozen=True, slots=True)
class Place:
    """A function, struct or constant, and what it has to do with the promise."""

    path: str
    symbol: str
    why: str

    def line(self, root: Path) -> int:
        """Where it is declared. AuditError if it is not, or twice."""
        try:
            text = (root / self.path).read_text()
        except OSError as error:
            raise AuditError(f"{self.path} can't be read ({error}); correct cocoon/audit/promises.toml") from error
        name = re.escape(self.symbol)
        declared = rf"^ *(?:get )?(?:fun|struct(?: \(0x\w+\))?|enum|const|def|async def|class) {name}\b"
        lines = [text.count("\n", 0, match.start()) + 1 for match in re.finditer(declared, text, re.MULTILINE)]
        if len(lines) != 1:
            raise AuditError(
                f"{self.path} declares {self.symbol} {len(lines)} times; correct cocoon/audit/promises.toml"
            )
        return lines[0]


@dataclass(frozen=True, slots=True)
class Promise:
    """`invariant` is the promise as an invariant, whose tests prove it as a whole."""

    invariant: str
    text: str
    places: tuple[Place, ...]


def promises() -> tuple[Promise, ...]:
    """The promises of `promises.toml`."""
    found = tomllib.loads(_FILE.read_text())["promise"]
    return tuple(
        Promise(item["invariant"], item["text"], tuple(Place(*place) for place in item["code"])) for item in found
    )
