"""`docs/audit-map.md`, and the lists of tests in `docs/invariants.md`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from .promises import Promise, promises
from .register import Entry, Register

__all__ = ["render", "with_tests"]

_HEAD = """# Audit map

From each promise to the code that keeps it and the tests that would notice if it did not; from each attack and each
invariant to its tests. Tests say in their docstrings what they prove; the rest is derived by `cocoon audit-map`, and a
test of its own fails when an id has no test, a test names an id that is not written down, a function is gone, or this
page is stale. `cocoon audit-map --check --run` runs every test named here and demands that it passes.
"""


def render(root: Path, register: Register, proofs: Mapping[str, list[str]]) -> str:
    """The text of `docs/audit-map.md`. root: the checkout."""
    lines = [_HEAD, "## Promises"]
    for promise in promises():
        lines += ["", *_promise(root, promise, proofs)]
    for title, entries in (
        ("Invariants of [invariants.md](invariants.md)", register.invariants),
        ("Attacks of [attacks.md](attacks.md)", register.attacks),
    ):
        lines += ["", f"## {title}", "", "| id | | tests |", "|---|---|---|"]
        lines += [f"| {entry.id} | {_short(entry)} | {_tests(proofs.get(entry.id, []))} |" for entry in entries]
    return "\n".join(lines) + "\n"


def with_tests(invariants: str, proofs: Mapping[str, list[str]]) -> str:
    """The text of `docs/invariants.md` with the tests of each invariant as `proofs` has them."""
    lines: list[str] = []
    current = ""
    for line in invariants.splitlines():
        if heading := re.match(r"\* \*\*([A-Z]-\d{1,2})\*\* ", line):
            current = heading[1]
        if line.startswith("  Tests:") and current:
            names = ", ".join(f"`{test.removeprefix('tests/')}`" for test in proofs.get(current, []))
            line = f"  Tests: {names}."
        lines.append(line)
    return "\n".join(lines) + "\n"


def _promise(root: Path, promise: Promise, proofs: Mapping[str, list[str]]) -> Iterator[str]:
    yield f"**{promise.invariant}. {promise.text}**"
    yield ""
    for place in promise.places:
        name = place.path.removeprefix("contracts/")
        yield f"* [`{name}: {place.symbol}`](../{place.path}#L{place.line(root)}): {place.why}"
    yield ""
    yield f"Tests: {_tests(proofs.get(promise.invariant, []), ', ')}"


def _short(entry: Entry) -> str:
    """The first sentence, without severity."""
    text = re.sub(r"^\(\w+\) ", "", entry.text)
    return re.split(r"(?<=[.:]) ", text)[0].rstrip(":").replace("|", "\\|")


def _tests(tests: list[str], between: str = "<br>") -> str:
    return between.join(f"[`{test.partition('::')[2]}`](../{test.partition('::')[0]})" for test in tests)
