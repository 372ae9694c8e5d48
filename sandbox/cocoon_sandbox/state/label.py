"""HmLabel: the part of a key that an edge of a dictionary's trie stands for."""

from __future__ import annotations

from cocoon_sandbox.state.builder import Builder, Slice
from cocoon_sandbox.state.cell import Cell, CellError

__all__ = ["read_edge", "read_label", "write_label"]


def write_label(builder: Builder, label: int, length: int, room: int) -> None:
    """Write an HmLabel in its shortest form (ties: short, then long, then same)."""
    size_bits = room.bit_length()
    short, long = 2 * length + 2, 2 + size_bits + length
    same = 3 + size_bits if label in (0, (1 << length) - 1) else 1 << 30
    if short <= long and short <= same:
        builder.uint(((1 << length) - 1) << 1, length + 2).uint(label, length)
    elif long <= same:
        builder.uint(0b10, 2).uint(length, size_bits).uint(label, length)
    else:
        builder.uint(0b11, 2).bit(label & 1).uint(length, size_bits)


def read_label(source: Slice, room: int) -> tuple[int, int]:
    """Read an HmLabel: (label, length)."""
    size_bits = room.bit_length()
    if not source.bit():
        length = 0
        while source.bit():
            length += 1
        label = source.uint(length)
    elif not source.bit():
        length = source.uint(size_bits)
        label = source.uint(length)
    else:
        ones = source.bit()
        length = source.uint(size_bits)
        label = (1 << length) - 1 if ones else 0
    if length > room:
        raise CellError("a dictionary label is longer than what is left of the key")
    return label, length


def read_edge(cell: Cell, room: int) -> tuple[int, int, tuple[Cell, ...]]:
    """Label, its length and the references of an edge with `room` key bits left."""
    label, length = read_label(Slice(cell), room)
    return label, length, cell.refs
