"""The contracts' get-methods, read from the comments and signatures in `contracts/*/*.tolk`.

Each getter's comment says what comes back, with units. `python -m cocoon.getters` prints `docs/getters.md`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from .contracts_build import ENTRYPOINTS, ContractsError, contracts_dir

__all__ = ["Getter", "getters", "render"]

_GETTER = re.compile(
    r"(?P<comment>(?:^///[^\n]*\n)*)^get fun (?P<name>\w+)\((?P<parameters>[^)]*)\): (?P<result>[^{]+?)\s*\{",
    re.MULTILINE,
)
_STRUCT = re.compile(r"^struct(?: \(0x\w+\))? (?P<name>\w+) \{\n(?P<body>.*?)^\}", re.MULTILINE | re.DOTALL)
_FIELD = re.compile(r"^    (?P<name>\w+): (?P<type>[^/\n]+?)\s*(?://.*)?$", re.MULTILINE)
_ON_STACK = (
    (re.compile(r"u?int\d*|coins|.*Status"), "integer"),
    (re.compile(r"bool"), "truth (integer, -1 or 0)"),
    (re.compile(r"address"), "address (slice)"),
    (re.compile(r"address\?"), "address (slice) or null"),
    (re.compile(r"bits\d+"), "slice"),
    (re.compile(r"cell"), "cell"),
    (re.compile(r"cell\?"), "cell, or null"),
    (re.compile(r"map<.+>"), "cell with a dictionary, or null if it is empty"),
)
_HEAD = """# Get-methods

What a contract tells about itself: what lies on the stack, first to last. Names say the units: `Nano` nanoTON, `Sec`
seconds, `Bps` 1/10000; times (deadline, end, at) are unix seconds. Numbers of states, and the cells of results, are
those of [`contracts/scheme.tlb`](../contracts/scheme.tlb). A lite server can lie about a get-method's result, but not
about an account's data: who has to be sure reads the data with its proof, which `scheme.tlb` describes too. Made from
the comments in `contracts/*/*.tolk` by `python -m cocoon.getters`; a test compares the two and calls every method."""


@dataclass(frozen=True, slots=True)
class Getter:
    """A get-method of `contract`. `parameters` and `results` are (name, type) as they lie on the stack; a result
    without a name of its own has an empty one."""

    contract: str
    name: str
    parameters: tuple[tuple[str, str], ...]
    results: tuple[tuple[str, str], ...]
    meaning: str


def getters(root: Path | None = None) -> list[Getter]:
    """Every get-method below `root` (default: the checkout's contracts), in order of the sources.

    ContractsError if one has no comment, or returns a type that is unknown here.
    """
    root = root or contracts_dir()
    structs = {
        match["name"]: tuple((field["name"], field["type"]) for field in _FIELD.finditer(match["body"]))
        for path in sorted(root.rglob("*.tolk"))
        for match in _STRUCT.finditer(path.read_text())
    }
    found = []
    for contract, entrypoint in ENTRYPOINTS.items():
        path = root / entrypoint
        if not path.is_file():
            raise ContractsError(f"{path} is missing; every contract needs its entrypoint")
        text = path.read_text()
        matches = list(_GETTER.finditer(text))
        if len(matches) != len(re.findall(r"^get fun ", text, re.MULTILINE)):
            raise ContractsError(f"{path} declares a getter in a form that cocoon/getters.py can't read")
        found += [_getter(contract, match, structs, path) for match in matches]
    return found


def render(found: list[Getter]) -> str:
    """The text of `docs/getters.md`."""
    lines = [_HEAD]
    for contract in dict.fromkeys(getter.contract for getter in found):
        lines += ["", f"## {contract}"]
        for getter in (getter for getter in found if getter.contract == contract):
            given = ", ".join(name for name, _ in getter.parameters)
            lines += ["", f"### `{getter.name}({given})`", "", getter.meaning, ""]
            lines += [f"* takes {line}" for line in _runs(getter.parameters)]
            lines += [f"* gives {line}" for line in _runs(getter.results)]
    return "\n".join(lines) + "\n"


def _runs(entries: tuple[tuple[str, str], ...]) -> Iterator[str]:
    """Entries in order, a line for each run of one type."""
    for kind, run in groupby(entries, key=lambda entry: entry[1]):
        names = [name for name, _ in run]
        listed = ", ".join(f"`{name}`" for name in names if name)
        yield f"{kind}{f' x {len(names)}' if len(names) > 1 else ''}{f': {listed}' if listed else ''}"


def _getter(contract: str, match: re.Match[str], structs: dict[str, tuple[tuple[str, str], ...]], path: Path) -> Getter:
    name = match["name"]
    meaning = " ".join(line.removeprefix("///").strip() for line in match["comment"].splitlines())
    if not meaning:
        raise ContractsError(f"{path}: {name} needs a comment `/// what comes back, with units`")
    given = [part.partition(":") for part in match["parameters"].split(",") if part.strip()]
    parameters = tuple((word.strip(), _on_stack(kind.strip(), path)) for word, _, kind in given)
    result = " ".join(match["result"].split())
    kinds = [part.strip() for part in re.split(r",(?![^<]*>)", result.removeprefix("(").removesuffix(")"))]
    if result in structs:
        results = tuple((field, _on_stack(kind, path)) for field, kind in structs[result])
    else:
        names = _names(meaning, len(kinds))
        results = tuple((word, _on_stack(kind, path)) for word, kind in zip(names, kinds, strict=True))
    return Getter(contract, name, parameters, results, f"{meaning}{'' if meaning.endswith('.') else '.'}")


def _names(meaning: str, count: int) -> list[str]:
    """The first word of each entry of the list in parentheses that has `count` entries; empty if there is none."""
    for listed in re.findall(r"\(([^()]*)\)", meaning):
        entries = re.split(r"[,;] ", listed)
        if len(entries) == count and all(re.match(r"[a-z]+[A-Za-z]*( |$)", entry) for entry in entries):
            return [entry.split()[0] for entry in entries]
    return [""] * count


def _on_stack(kind: str, path: Path) -> str:
    if cell := re.fullmatch(r"Cell<(\w+)>(\??)", kind):
        return f"cell with a `{cell[1]}`{', or null' if cell[2] else ''}"
    if table := re.fullmatch(r"map<uint(\d+), (\w+)>", kind):
        return f"cell, the root of a dictionary from {table[1]}-bit numbers to `{table[2]}`, or null"
    for pattern, words in _ON_STACK:
        if pattern.fullmatch(kind):
            return words
    raise ContractsError(f"{path}: a getter has a {kind}, which is not described here; add it to cocoon/getters.py")


if __name__ == "__main__":
    print(render(getters()), end="")
