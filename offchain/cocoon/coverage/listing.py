"""Every instruction of the contracts' code: its place, its text, and the source statement it comes from.

Disassembled by `ton-assembly`, which `@ton/sandbox` brings along. The statement is found by laying the compiler's
commented assembler text beside the disassembly, so it is a good guess and no proof; places are exact.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

from cocoon_sandbox import toolchain

from ..contracts_build import ENTRYPOINTS, ContractsError
from .recorder import Place

__all__ = ["DISPATCH", "Instruction", "list_instructions"]

DISPATCH = "dispatch of methods"
_SCRIPT = Path(__file__).parent / "listing.mjs"
_TIMEOUT_S = 120
_PROCEDURE = re.compile(r"^  (\S+)\(\) PROC(?:REF|INLINE)?:<\{$")
_COMMENT = re.compile(r"^\s*// (\d+): (.*)$")
_CALL = re.compile(r"^\s*(\S+)\(\) INLINECALLDICT$")
_METHOD = re.compile(r"^    (\d+) => \{$")


@dataclass(frozen=True, slots=True)
class Instruction:
    """`statement` is the beginning of the source line, `at` its place ("file:line") where only one file has it."""

    contract: str
    place: Place
    text: str
    function: str
    statement: str
    at: str


@dataclass(frozen=True, slots=True)
class _Line:
    key: str
    statement: tuple[int, str]


def list_instructions(sources: Mapping[str, str]) -> list[Instruction]:
    """The instructions of all contracts that `sources` compile to. ContractsError if they don't."""
    request = {"contracts": dict(ENTRYPOINTS), "sources": dict(sources)}
    done = subprocess.run(
        [str(toolchain.node_binary()), str(_SCRIPT), str(toolchain.install())],
        input=json.dumps(request),
        capture_output=True,
        text=True,
        timeout=_TIMEOUT_S,
        check=False,
    )
    if done.returncode != 0:
        raise ContractsError(f"the contracts' code can't be listed:\n{done.stderr.strip()[-2000:]}")
    listed: dict[str, Any] = json.loads(done.stdout)
    return [one for name, document in listed.items() for one in _instructions(name, document, sources)]


def _instructions(name: str, document: Mapping[str, Any], sources: Mapping[str, str]) -> list[Instruction]:
    lines = document["assembly"].split("\n")
    origins = _origins(lines, document["fift"])
    found: list[Instruction] = []
    for cell, offset, line in document["instructions"]:
        function, (number, statement) = origins.get(line, ("", (0, DISPATCH)))
        at = _location(number, statement, sources)
        found.append(Instruction(name, (cell, offset), lines[line].strip(), function, statement, at))
    return found


def _origins(lines: Sequence[str], fift: str) -> dict[int, tuple[str, tuple[int, str]]]:
    """By line of the disassembly: function and (source line, statement)."""
    numbers, procedures = _procedures(fift)
    origins: dict[int, tuple[str, tuple[int, str]]] = {}
    methods = [(number, _METHOD.match(line)) for number, line in enumerate(lines)]
    starts = [(number, numbers[int(match[1])]) for number, match in methods if match]
    for start, name in starts:
        end = next(number for number in range(start, len(lines)) if lines[number] == "    }")
        written = procedures[name]
        keys = [_key(line, operands_first=False) for line in lines[start + 1 : end]]
        matcher = SequenceMatcher(None, [line.key for line in written], keys, autojunk=False)
        known: dict[int, tuple[int, str]] = {}
        for block in matcher.get_matching_blocks():
            for step in range(block.size):
                known[block.b + step] = written[block.a + step].statement
        last = written[0].statement if written else (0, "")
        for position in range(len(keys)):
            last = known.get(position, last)
            origins[start + 1 + position] = (name, last)
    return origins


def _procedures(fift: str) -> tuple[dict[int, str], dict[str, list[_Line]]]:
    """Names by method id, and each procedure's instructions with those of inlined ones in their place."""
    numbers: dict[int, str] = {}
    bodies: dict[str, list[_Line]] = {}
    declared = 0
    name = ""
    statement = (0, "")
    for line in fift.split("\n"):
        if match := re.match(r"^  DECLPROC (\S+)\(\)$", line):
            declared += 1
            numbers[declared] = match[1]
        elif match := re.match(r"^  (-?\d+) DECLMETHOD (\S+)\(\)$", line):
            numbers[int(match[1])] = match[2]
        elif match := _PROCEDURE.match(line):
            name = match[1]
            bodies[name] = []
        elif match := _COMMENT.match(line):
            statement = int(match[1]), match[2]
        elif line == "  }>":
            name = ""
        elif name and (match := _CALL.match(line)):
            bodies[name] += bodies.get(match[1], [])  # an inlined procedure is always written first
        elif name:
            bodies[name].append(_Line(_key(line, operands_first=True), statement))
    return numbers, bodies


def _key(line: str, *, operands_first: bool) -> str:
    """An instruction without what the two notations write differently: mnemonic family and first number."""
    words = line.split()
    if not words:
        return ""
    mnemonic = (words[-1] if operands_first else words[0]).split("_")[0].split(":")[0]
    number = next((word for word in words if word.isdigit() and len(word) > 1), "")
    return f"{mnemonic} {number}"


def _location(number: int, statement: str, sources: Mapping[str, str]) -> str:
    where = [
        file
        for file, text in sources.items()
        if number and number <= text.count("\n") + 1 and text.split("\n")[number - 1].strip().startswith(statement)
    ]
    return f"{where[0]}:{number}" if len(where) == 1 else ""
