"""Reading cells that a stranger sent: strict, and never mistaking a pruned branch for data.

`Reader` reads an ordinary cell front to back; `lookup` and `items` walk a TL-B Hashmap without building it. All raise
`Unreadable`, which the callers that know what was asked for turn into an error with a meaning.
"""

from __future__ import annotations

from collections.abc import Iterator

from pytoniq_core import Address, Cell

__all__ = ["MERKLE_PROOF", "MERKLE_UPDATE", "PRUNED_BRANCH", "Reader", "Unreadable", "items", "lookup"]

PRUNED_BRANCH, MERKLE_PROOF, MERKLE_UPDATE = 1, 3, 4


class Unreadable(ValueError):
    """A cell does not hold what its type says, or is not shown."""


class Reader:
    """A position in an ordinary cell. Opening a pruned branch (or any other exotic cell) raises Unreadable."""

    __slots__ = ("_at", "_bits", "_ref", "_refs")

    def __init__(self, cell: Cell) -> None:
        if cell.is_exotic:
            raise Unreadable("a cell that must be shown is pruned" if cell.type_ == PRUNED_BRANCH else "an exotic cell")
        self._bits = cell.bits
        self._refs = cell.refs
        self._at = self._ref = 0

    @property
    def bits_left(self) -> int:
        return len(self._bits) - self._at

    @property
    def refs_left(self) -> int:
        return len(self._refs) - self._ref

    def uint(self, bits: int) -> int:
        """The next `bits` bits as an unsigned integer."""
        end = self._at + bits
        if end > len(self._bits):
            raise Unreadable(f"the cell ends {end - len(self._bits)} bits early")
        taken = self._bits[self._at : end]
        self._at = end
        return int(taken.to01() or "0", 2)

    def sint(self, bits: int) -> int:
        value = self.uint(bits)
        return value - (1 << bits) if value >> bits - 1 else value

    def bit(self) -> bool:
        return bool(self.uint(1))

    def raw(self, count: int) -> bytes:
        return self.uint(8 * count).to_bytes(count, "big")

    def skip(self, bits: int) -> None:
        self.uint(bits)

    def expect(self, value: int, bits: int, what: str) -> None:
        """Unreadable unless the next `bits` bits are `value`."""
        if (found := self.uint(bits)) != value:
            raise Unreadable(f"not a {what}: it begins with {found:#x}")

    def var_uint(self, length_bits: int) -> int:
        """VarUInteger whose length in bytes takes `length_bits` bits."""
        return self.uint(8 * self.uint(length_bits))

    def coins(self) -> int:
        return self.var_uint(4)

    def currency(self) -> int:
        """CurrencyCollection: its nanoTON; other currencies are skipped."""
        nano = self.coins()
        self.maybe_ref()
        return nano

    def ref(self) -> Cell:
        if self._ref >= len(self._refs):
            raise Unreadable("a reference is missing")
        self._ref += 1
        cell: Cell = self._refs[self._ref - 1]
        return cell

    def maybe_ref(self) -> Cell | None:
        return self.ref() if self.bit() else None

    def address(self) -> Address | None:
        """A MsgAddress; None for addr_none and for external addresses."""
        kind = self.uint(2)
        if kind == 0:
            return None
        if kind == 1:
            self.skip(self.uint(9))
            return None
        if kind == 2 and not self.bit():
            return Address((self.sint(8), self.raw(32)))
        raise Unreadable("an address of a kind that is not in use")

    def rest(self) -> Cell:
        """What has not been read, as a cell."""
        return Cell(self._bits[self._at :], list(self._refs[self._ref :]))

    def fork(self, side: int) -> Cell:
        """One branch of a Hashmap node whose label has been read."""
        if len(self._refs) < 2:
            raise Unreadable("a dictionary's fork lacks a branch")
        cell: Cell = self._refs[side]
        return cell

    def label(self, room: int) -> tuple[int, int]:
        """A Hashmap edge's label: (bits as an integer, their number), at most `room` bits."""
        if not self.bit():
            length = 0
            while self.bit():
                length += 1
            value = self.uint(self._checked(length, room))
        elif not self.bit():
            length = self._checked(self.uint(room.bit_length()), room)
            value = self.uint(length)
        else:
            same = self.bit()
            length = self._checked(self.uint(room.bit_length()), room)
            value = (1 << length) - 1 if same else 0
        return value, length

    @staticmethod
    def _checked(length: int, room: int) -> int:
        if length > room:
            raise Unreadable("a dictionary's label is longer than its key")
        return length


def lookup(root: Cell | None, key: int, key_bits: int) -> Reader | None:
    """The leaf of `key` in a Hashmap, behind its label (in a HashmapAug the extra comes first); None if proven absent.

    Only cells on the way are opened, so in a proof everything else may be pruned.
    """
    if root is None:
        return None
    cell, room = root, key_bits
    while True:
        reader = Reader(cell)
        label, length = reader.label(room)
        room -= length
        if key >> room & ((1 << length) - 1) != label:
            return None
        if room == 0:
            return reader
        room -= 1
        cell = reader.fork(key >> room & 1)


def items(root: Cell | None, key_bits: int) -> Iterator[tuple[int, Reader]]:
    """All leaves of a Hashmap by ascending key, each behind its label."""
    stack = [(root, 0, key_bits)] if root is not None else []
    while stack:
        cell, prefix, room = stack.pop()
        reader = Reader(cell)
        label, length = reader.label(room)
        room -= length
        prefix = prefix << length | label
        if room == 0:
            yield prefix, reader
            continue
        stack += [(reader.fork(side), prefix << 1 | side, room - 1) for side in (1, 0)]
