"""What the contracts' exit codes mean, read from the comments in `contracts/*/errors.tolk`.

Each enumerator's comment is `what it means; what to do about it`. `python -m cocoon.exit_codes` prints
`docs/errors.md`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from .contracts_build import ContractsError, contracts_dir

__all__ = ["ExitCode", "exit_codes", "explain", "render"]

_CONTRACTS = ("registry", "worker", "escrow", "slashing", "attestation")
_ENUM = re.compile(r"^enum (?P<contract>\w+)Error \{\n(?P<body>.*?)^\}", re.MULTILINE | re.DOTALL)
_LINE = re.compile(r"^    (?P<name>\w+) = (?P<code>\d+) +// (?P<meaning>[^;]+); (?P<remedy>[^;]+)$")

_MACHINE = (
    ("5", "a number that does not fit, or an unknown value of an enumeration", "encode by contracts/scheme.tlb"),
    ("9", "the body has bits or references too few or too many", "encode by contracts/scheme.tlb"),
    ("63", "a cell begins with none of the prefixes it may have", "encode by contracts/scheme.tlb"),
    ("65535", "the contract has no message with this opcode", "check opcode and address"),
    ("-14", "the value does not buy the gas", "attach at least what `get_fees` says"),
    (
        "37",
        "action phase: too little money for what is to be sent; everything is undone and the value bounces",
        "attach more; if it is the contract's rent that is gone, send it some with an empty body",
    ),
)


@dataclass(frozen=True, slots=True)
class ExitCode:
    """Why `contract` refused a message, and what its sender can do."""

    contract: str
    code: int
    name: str
    meaning: str
    remedy: str


def exit_codes(root: Path | None = None) -> list[ExitCode]:
    """Every exit code the sources below `root` (default: the checkout's contracts) define, by code.

    ContractsError if an enumerator has no comment of the form above, or two have one code.
    """
    root = root or contracts_dir()
    found: list[ExitCode] = []
    for contract in _CONTRACTS:
        path = root / contract / "errors.tolk"
        enum = _ENUM.search(path.read_text())
        if enum is None:
            raise ContractsError(f"{path} declares no enum of errors")
        for line in filter(str.strip, enum["body"].splitlines()):
            match = _LINE.match(line)
            if match is None:
                raise ContractsError(f"{path}: `{line.strip()}` needs a comment `// what it means; what to do`")
            found.append(
                ExitCode(enum["contract"], int(match["code"]), match["name"], match["meaning"], match["remedy"])
            )
    codes = [entry.code for entry in found]
    if len(set(codes)) != len(codes):
        raise ContractsError("two errors have the same exit code; every contract has a range of its own")
    return sorted(found, key=lambda entry: entry.code)


def explain(code: int) -> str:
    """`DebugEnclave (523): what it means; what to do`, for logs. An installed package has no sources to read."""
    try:
        entry = next((entry for entry in exit_codes() if entry.code == code), None)
    except ContractsError:
        entry = None
    if entry is not None:
        return f"{entry.name} ({code}): {entry.meaning}; {entry.remedy}"
    machine = {number: f"{meaning}; {remedy}" for number, meaning, remedy in _MACHINE}
    return f"exit code {code}: {machine.get(str(code), 'see docs/errors.md')}"


def render(codes: list[ExitCode]) -> str:
    """The text of `docs/errors.md`."""
    lines = [
        "# Exit codes",
        "",
        "A message that is refused changes nothing; its value bounces to the sender, less the gas. Each contract has a",
        "range of its own, so a code names its contract. This file is made from the comments in",
        "`contracts/*/errors.tolk` by `python -m cocoon.exit_codes`; a test compares the two.",
    ]
    for contract in dict.fromkeys(entry.contract for entry in codes):
        lines += ["", f"## {contract}", "", "| code | name | meaning | what to do |", "|---|---|---|---|"]
        lines += [
            f"| {entry.code} | `{entry.name}` | {entry.meaning} | {entry.remedy} |"
            for entry in codes
            if entry.contract == contract
        ]
    lines += ["", "## Any contract", "", "| code | meaning | what to do |", "|---|---|---|"]
    lines += [f"| {code} | {meaning} | {remedy} |" for code, meaning, remedy in _MACHINE]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(render(exit_codes()), end="")
