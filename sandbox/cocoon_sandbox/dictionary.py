"""TVM dictionaries (`Hashmap n X`) with integer keys, read and written without callbacks."""

from __future__ import annotations

from collections.abc import Mapping

from pytoniq_core import Cell, Slice
from pytoniq_core.boc.hashmap.hashmap import HashMap

from .errors import BadCell

__all__ = ["read_dict", "write_dict"]


def read_dict(root: Cell | None, key_bits: int) -> dict[int, Slice]:
    """Unsigned key -> value, in key order; `root` is the `Hashmap` cell, None for an empty dictionary."""
    found: dict[int, Slice] = {}
    stack: list[tuple[Cell, int, int]] = [] if root is None else [(root, 0, key_bits)]
    while stack:
        cell, prefix, remaining = stack.pop()
        part = cell.begin_parse()
        length, label = _load_label(part, remaining)
        prefix = prefix << length | label
        remaining -= length
        if remaining == 0:
            found[prefix] = part
            continue
        if part.remaining_refs < 2 or cell.is_exotic:
            raise BadCell("a fork of the dictionary does not have two branches")
        left, right = part.load_ref(), part.load_ref()
        stack.append((right, prefix << 1 | 1, remaining - 1))
        stack.append((left, prefix << 1, remaining - 1))
    return found


def write_dict(values: Mapping[int, Cell], key_bits: int) -> Cell | None:
    """The `Hashmap` cell of unsigned key -> cell whose content is the value; None if there is nothing to write."""
    table = HashMap(key_bits)
    for key, value in values.items():
        table.set_int_key(key, value)
    cell: Cell | None = table.serialize()
    return cell


def _load_label(part: Slice, most: int) -> tuple[int, int]:
    """(length, bits) of an `HmLabel ~n most`."""
    if not part.load_bit():
        length = 0
        while part.load_bit():
            length += 1
    else:
        same = part.load_bit()
        repeated = part.load_bit() if same else 0
        length = part.load_uint(most.bit_length()) if most else 0
        if same:
            return _checked(length, most), ((1 << length) - 1) * repeated
    _checked(length, most)
    return length, part.load_uint(length) if length else 0


def _checked(length: int, most: int) -> int:
    if length > most:
        raise BadCell("a label of the dictionary is longer than its key")
    return length
