"""Writing and reading the bits of a cell."""

from __future__ import annotations

from cocoon_sandbox.state.cell import ORDINARY, Cell, CellError

__all__ = ["Builder", "Slice"]


class Builder:
    """Collects bits (in one big integer) and references, then makes a cell. Methods return the builder."""

    __slots__ = ("_refs", "_size", "_value")

    def __init__(self) -> None:
        self._value = 0
        self._size = 0
        self._refs: list[Cell] = []

    @property
    def size(self) -> int:
        """Number of bits stored so far."""
        return self._size

    def uint(self, value: int, width: int) -> Builder:
        """Store an unsigned integer of `width` bits."""
        if value < 0 or value >> width:
            raise CellError(f"{value} does not fit in {width} unsigned bits")
        self._value = self._value << width | value
        self._size += width
        return self

    def sint(self, value: int, width: int) -> Builder:
        """Store a two's complement integer of `width` bits."""
        return self.uint(value & ((1 << width) - 1), width)

    def bit(self, value: bool | int) -> Builder:
        """Store one bit."""
        self._value = self._value << 1 | (1 if value else 0)
        self._size += 1
        return self

    def raw(self, data: bytes) -> Builder:
        """Store whole bytes."""
        self._value = self._value << 8 * len(data) | int.from_bytes(data, "big")
        self._size += 8 * len(data)
        return self

    def var_uint(self, value: int, length_bits: int) -> Builder:
        """Store a VarUInteger whose byte length takes `length_bits` bits."""
        length = (value.bit_length() + 7) // 8
        return self.uint(length, length_bits).uint(value, 8 * length)

    def coins(self, nano: int) -> Builder:
        """Store Grams."""
        return self.var_uint(nano, 4)

    def ref(self, cell: Cell) -> Builder:
        """Append a reference."""
        self._refs.append(cell)
        return self

    def maybe_ref(self, cell: Cell | None) -> Builder:
        """Store Maybe ^Cell."""
        if cell is None:
            return self.bit(0)
        return self.bit(1).ref(cell)

    def builder(self, other: Builder) -> Builder:
        """Append everything `other` holds."""
        self._value = self._value << other._size | other._value
        self._size += other._size
        self._refs.extend(other._refs)
        return self

    def cell(self, kind: int = ORDINARY) -> Cell:
        """The finished cell."""
        size = self._size
        if size > 1023 or len(self._refs) > 4:
            raise CellError(f"{size} bits and {len(self._refs)} references don't fit in one cell (1023 and 4 do)")
        spare = -size % 8
        value = self._value
        if spare:
            value = (value << 1 | 1) << (spare - 1)
        return Cell(value.to_bytes((size + 7) // 8, "big"), size, tuple(self._refs), kind)


class Slice:
    """Reads a cell front to back. Every method raises `CellError` when the cell holds too little."""

    __slots__ = ("_left", "_value", "refs")

    def __init__(self, cell: Cell) -> None:
        self._value = int.from_bytes(cell.data, "big") >> (-cell.bits % 8)
        self._left = cell.bits
        self.refs = list(cell.refs)

    @property
    def left(self) -> int:
        """Bits not read yet."""
        return self._left

    def uint(self, width: int) -> int:
        """Read an unsigned integer of `width` bits."""
        left = self._left - width
        if left < 0:
            raise CellError(f"{width} bits wanted, {self._left} left in the cell")
        self._left = left
        result = self._value >> left
        self._value &= (1 << left) - 1
        return result

    def sint(self, width: int) -> int:
        """Read a two's complement integer of `width` bits."""
        value = self.uint(width)
        return value - (1 << width) if width and value >> (width - 1) else value

    def bit(self) -> bool:
        """Read one bit."""
        return self.uint(1) == 1

    def raw(self, count: int) -> bytes:
        """Read whole bytes."""
        return self.uint(8 * count).to_bytes(count, "big")

    def var_uint(self, length_bits: int) -> int:
        """Read a VarUInteger."""
        return self.uint(8 * self.uint(length_bits))

    def coins(self) -> int:
        """Read Grams."""
        return self.var_uint(4)

    def ref(self) -> Cell:
        """Read the next reference."""
        if not self.refs:
            raise CellError("a reference is wanted, none is left in the cell")
        return self.refs.pop(0)

    def maybe_ref(self) -> Cell | None:
        """Read Maybe ^Cell."""
        return self.ref() if self.bit() else None

    def rest(self) -> Builder:
        """Everything not read yet, as a builder."""
        builder = Builder().uint(self._value, self._left)
        for cell in self.refs:
            builder.ref(cell)
        self._left, self._value, self.refs = 0, 0, []
        return builder
