"""Persistent TON dictionaries (Hashmap and HashmapAug) with fixed-length keys.

A dictionary is an immutable binary trie. Changing an entry makes new nodes along its path and shares the rest, and a
node's cell, hash and augmentation are computed once, when first asked for. So a block that touches k of n accounts
costs O(k log n), and an empty one costs nothing. `Editor` collects a block's changes and remembers which finished nodes
they replaced: the part of the old state that a Merkle update must show.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from cocoon_sandbox.state.builder import Builder, Slice
from cocoon_sandbox.state.cell import Cell, CellError
from cocoon_sandbox.state.label import read_label, write_label

__all__ = [
    "Augmentation",
    "Editor",
    "NoAugmentation",
    "Node",
    "build",
    "get",
    "items",
    "parse",
    "path",
    "store",
]


class Augmentation(Protocol):
    """How the extra values of a HashmapAug are combined, written and read; a leaf's comes with its value."""

    def fork(self, left: Any, right: Any) -> Any: ...

    def empty(self) -> Any: ...

    def write(self, builder: Builder, extra: Any) -> None: ...

    def skip(self, source: Slice) -> Any: ...


class NoAugmentation:
    """A plain Hashmap."""

    def fork(self, left: None, right: None) -> None:
        return None

    def empty(self) -> None:
        return None

    def write(self, builder: Builder, extra: None) -> None:
        return None

    def skip(self, source: Slice) -> None:
        return None


class Node:
    """One edge of the trie: a label of `length` bits, then a leaf's value or two subtrees.

    `room` is the number of key bits left at this edge, label included. `extra` is the augmentation, known for leaves at
    once and for forks when the cell is made.
    """

    __slots__ = ("_cell", "_extra", "label", "left", "length", "right", "room", "value")

    def __init__(
        self,
        label: int,
        length: int,
        room: int,
        value: Builder | None,
        extra: Any = None,
        left: Node | None = None,
        right: Node | None = None,
    ) -> None:
        self.label = label
        self.length = length
        self.room = room
        self.value = value
        self.left = left
        self.right = right
        self._cell: Cell | None = None
        self._extra = extra

    def relabel(self, label: int, length: int, room: int) -> Node:
        """The same contents under another label."""
        return Node(label, length, room, self.value, self._extra, self.left, self.right)

    @property
    def finished(self) -> bool:
        """Whether the cell was computed already."""
        return self._cell is not None

    def cell(self, aug: Augmentation) -> Cell:
        """The cell of this subtree."""
        if self._cell is None:
            builder = Builder()
            write_label(builder, self.label, self.length, self.room)
            if self.value is not None:
                aug.write(builder, self._extra)
                builder.builder(self.value)
            else:
                assert self.left is not None
                assert self.right is not None
                builder.ref(self.left.cell(aug)).ref(self.right.cell(aug))
                self._extra = aug.fork(self.left._extra, self.right._extra)
                aug.write(builder, self._extra)
            self._cell = builder.cell()
        return self._cell

    def extra(self, aug: Augmentation) -> Any:
        """The augmentation of this subtree."""
        self.cell(aug)
        return self._extra


@dataclass(slots=True)
class Editor:
    """A batch of changes to one dictionary.

    `root` is the current trie, `replaced` the finished nodes it no longer uses.
    """

    root: Node | None
    key_bits: int
    replaced: list[Node]

    def __init__(self, root: Node | None, key_bits: int) -> None:
        self.root = root
        self.key_bits = key_bits
        self.replaced = []

    def put(self, key: int, value: Builder, extra: Any = None) -> None:
        """Set an entry; `extra` is its augmentation."""
        if key < 0 or key >> self.key_bits:
            raise CellError(f"a dictionary key must have {self.key_bits} bits")
        self.root = self._put(self.root, key, self.key_bits, value, extra)

    def delete(self, key: int) -> bool:
        """Remove an entry; False when there was none."""
        found, self.root = self._delete(self.root, key, self.key_bits)
        return found

    def _put(self, node: Node | None, key: int, room: int, value: Builder, extra: Any) -> Node:
        if node is None:
            return Node(key, room, room, value, extra)
        if node.finished:
            self.replaced.append(node)
        length = node.length
        difference = key >> (room - length) ^ node.label
        if not difference:
            if length == room:
                return Node(key, room, room, value, extra)
            below = room - length - 1
            rest = key & ((1 << below) - 1)
            left, right = node.left, node.right
            if key >> below & 1:
                right = self._put(right, rest, below, value, extra)
            else:
                left = self._put(left, rest, below, value, extra)
            return Node(node.label, length, room, None, None, left, right)
        common = length - difference.bit_length()
        below = room - common - 1
        old_length = length - common - 1
        old = node.relabel(node.label & ((1 << old_length) - 1), old_length, below)
        new = Node(key & ((1 << below) - 1), below, below, value, extra)
        left, right = (old, new) if key >> below & 1 else (new, old)
        return Node(node.label >> (length - common), common, room, None, None, left, right)

    def _delete(self, node: Node | None, key: int, room: int) -> tuple[bool, Node | None]:
        if node is None or key >> (room - node.length) != node.label:
            return False, node
        if node.length == room:
            if node.finished:
                self.replaced.append(node)
            return True, None
        below = room - node.length - 1
        rest = key & ((1 << below) - 1)
        goes_right = key >> below & 1
        child, other = (node.right, node.left) if goes_right else (node.left, node.right)
        found, child = self._delete(child, rest, below)
        if not found:
            return False, node
        if node.finished:
            self.replaced.append(node)
        assert other is not None
        if child is None:
            # The fork has one side left: join the labels.
            if other.finished:
                self.replaced.append(other)
            label = (node.label << 1 | (0 if goes_right else 1)) << other.length | other.label
            return True, other.relabel(label, node.length + 1 + other.length, room)
        left, right = (other, child) if goes_right else (child, other)
        return True, Node(node.label, node.length, room, None, None, left, right)


def build(entries: dict[int, Builder], key_bits: int) -> Node | None:
    """A plain dictionary from scratch."""
    editor = Editor(None, key_bits)
    for key, value in entries.items():
        editor.put(key, value)
    return editor.root


def get(root: Node | None, key: int, key_bits: int) -> Builder | None:
    """The value under `key`, or None."""
    node, room = root, key_bits
    while node is not None and key >> (room - node.length) == node.label:
        if node.length == room:
            return node.value
        room -= node.length + 1
        node = node.right if key >> room & 1 else node.left
        key &= (1 << room) - 1
    return None


def path(root: Node | None, key: int, key_bits: int, aug: Augmentation) -> list[Cell]:
    """The cells visited when looking `key` up, found or not: what proves its value, or its absence."""
    cells: list[Cell] = []
    node, room = root, key_bits
    while node is not None:
        cells.append(node.cell(aug))
        if key >> (room - node.length) != node.label or node.length == room:
            break
        room -= node.length + 1
        node = node.right if key >> room & 1 else node.left
        key &= (1 << room) - 1
    return cells


def items(root: Node | None) -> Iterator[tuple[int, Builder]]:
    """All entries in key order."""
    stack: list[tuple[Node, int]] = [(root, 0)] if root is not None else []
    while stack:
        node, prefix = stack.pop()
        prefix = prefix << node.length | node.label
        if node.value is not None:
            yield prefix, node.value
        else:
            assert node.left is not None
            assert node.right is not None
            stack.append((node.right, prefix << 1 | 1))
            stack.append((node.left, prefix << 1))


def store(builder: Builder, root: Node | None, aug: Augmentation) -> Builder:
    """Write HashmapE or HashmapAugE: presence bit, root reference, extra."""
    if root is None:
        builder.bit(0)
        aug.write(builder, aug.empty())
    else:
        builder.bit(1).ref(root.cell(aug))
        aug.write(builder, root.extra(aug))
    return builder


def parse(root: Cell | None, key_bits: int, aug: Augmentation | None = None) -> dict[int, Slice]:
    """Read all entries of a dictionary made elsewhere (key -> slice of the value); pruned parts are left out."""
    entries: dict[int, Slice] = {}
    stack = [(root, 0, key_bits)] if root is not None else []
    while stack:
        cell, prefix, room = stack.pop()
        if cell.kind:
            continue
        source = Slice(cell)
        label, length = read_label(source, room)
        prefix = prefix << length | label
        if length == room:
            if aug is not None:
                aug.skip(source)
            entries[prefix] = source
        else:
            left, right = source.ref(), source.ref()
            below = room - length - 1
            stack.append((right, prefix << 1 | 1, below))
            stack.append((left, prefix << 1, below))
    return entries
