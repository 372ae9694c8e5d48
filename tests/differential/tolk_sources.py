"""Structs and enums as the Tolk sources declare them, for comparison with the scheme."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

__all__ = ["TolkStruct", "constants", "enums", "snake", "structs"]

_STRUCT = re.compile(
    r"^struct(?: \(0x(?P<prefix>[0-9a-fA-F]+)\))? (?P<name>\w+) \{\n(?P<body>.*?)^\}", re.MULTILINE | re.DOTALL
)
_FIELD = re.compile(r"^    (\w+): ([^/\n]+?)\s*(?://.*)?$", re.MULTILINE)
_ENUM = re.compile(r"^enum (?P<name>\w+)(?:: uint(?P<width>\d+))? \{\n(?P<body>.*?)^\}", re.MULTILINE | re.DOTALL)
_VALUE = re.compile(r"^    (\w+) = (\d+)", re.MULTILINE)
_CONST = re.compile(r"^const (\w+) = (0x[0-9a-fA-F]+|\d+)\b", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class TolkStruct:
    """`prefix` as bits; fields as (name, type as written)."""

    name: str
    path: Path
    prefix: str
    fields: tuple[tuple[str, str], ...]


def _files(root: Path) -> list[Path]:
    return sorted(root.rglob("*.tolk"))


def structs(root: Path) -> list[TolkStruct]:
    """Every struct below `root`."""
    found = []
    for path in _files(root):
        for match in _STRUCT.finditer(path.read_text()):
            prefix = match["prefix"] or ""
            bits = "".join(f"{int(digit, 16):04b}" for digit in prefix)
            found.append(TolkStruct(match["name"], path, bits, tuple(_FIELD.findall(match["body"]))))
    return found


def enums(root: Path) -> dict[str, tuple[int | None, dict[str, int]]]:
    """(width, value by name) of every enum below `root`; width None where it never lies in a cell."""
    return {
        match["name"]: (
            int(match["width"]) if match["width"] else None,
            {name: int(value) for name, value in _VALUE.findall(match["body"])},
        )
        for path in _files(root)
        for match in _ENUM.finditer(path.read_text())
    }


def snake(name: str) -> str:
    """`escrowCodeHash` and `EscrowCodeHash` -> `escrow_code_hash`."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


def constants(text: str) -> list[tuple[str, int]]:
    """Integer constants of one source file."""
    return [(name, int(value, 0)) for name, value in _CONST.findall(text)]
