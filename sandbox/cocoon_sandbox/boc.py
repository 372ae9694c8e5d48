"""Bags of cells, both ways: any number of roots, any depth a cell may have, linear in the number of distinct cells.

The codec of `pytoniq_core` walks a tree recursively, which is exponential on shared subtrees and ends at Python's
recursion limit. `Bag` also reads single cells out of a bag without building the others: an account's balance is two
cells away from the root, its code hundreds.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from bitarray import bitarray
from pytoniq_core import Cell, Slice
from pytoniq_core.boc.tvm_bitarray import TvmBitarray
from pytoniq_core.crypto.crc import crc32c

from .errors import BadCell

__all__ = ["Bag", "count_cells", "parse_boc", "to_boc"]

_MAGIC = b"\xb5\xee\x9c\x72"
_ORDINARY = -1


def to_boc(*roots: Cell, crc: bool = False) -> bytes:
    """Serialize `roots` (at least one) into one bag; equal cells are stored once, parents before children."""
    order = _topological(roots)
    index = {cell.hash: position for position, cell in enumerate(order)}
    ref_size = max(1, (len(order).bit_length() + 7) // 8)
    payload = bytearray()
    for cell in order:
        bits = len(cell.bits)
        payload.append(len(cell.refs) + 8 * bool(cell.is_exotic) + 32 * cell.level_mask.mask)
        payload.append(bits // 8 + (bits + 7) // 8)
        payload += cell.data
        for ref in cell.refs:
            payload += index[ref.hash].to_bytes(ref_size, "big")
    offset_size = max(1, (len(payload).bit_length() + 7) // 8)
    out = bytearray(_MAGIC)
    out.append((0x40 if crc else 0) | ref_size)
    out.append(offset_size)
    for number in (len(order), len(roots), 0):
        out += number.to_bytes(ref_size, "big")
    out += len(payload).to_bytes(offset_size, "big")
    for root in roots:
        out += index[root.hash].to_bytes(ref_size, "big")
    out += payload
    if crc:
        out += crc32c(bytes(out))
    return bytes(out)


def parse_boc(data: bytes, *, verify: bool = True) -> Cell:
    """The only root of `data`; BadCell if it has several or is malformed. See `Bag` for `verify`."""
    bag = Bag(data, verify=verify)
    if len(bag.roots) != 1:
        raise BadCell(f"expected a bag with one root, got {len(bag.roots)}")
    return bag.cell(bag.roots[0])


def count_cells(*roots: Cell) -> tuple[int, int]:
    """(distinct cells, their bits): what storage and forward fees are counted on."""
    order = _topological(roots)
    return len(order), sum(len(cell.bits) for cell in order)


def _topological(roots: Iterable[Cell]) -> list[Cell]:
    """Every distinct cell once, parents before children."""
    done: list[Cell] = []
    seen: set[bytes] = set()
    stack: list[tuple[Cell, bool]] = [(root, False) for root in roots]
    while stack:
        cell, expanded = stack.pop()
        if expanded:
            done.append(cell)
        elif cell.hash not in seen:
            seen.add(cell.hash)
            stack.append((cell, True))
            stack.extend((ref, False) for ref in cell.refs if ref.hash not in seen)
    done.reverse()
    return done


class Bag:
    """A parsed header and the place of each cell; cells are built when asked for.

    `roots` are indices of cells. BadCell on anything malformed. Without `verify` a checksum is not looked at, which is
    for bags that never left this machine.
    """

    __slots__ = ("_built", "_data", "_hashes", "_ref_size", "_starts", "roots")

    def __init__(self, data: bytes, *, verify: bool = True) -> None:
        if len(data) < 6 or data[:4] != _MAGIC:
            raise BadCell("these bytes are no bag of cells (expected them to start with b5ee9c72)")
        flags, offset_size = data[4], data[5]
        ref_size = flags & 7
        if not 1 <= ref_size <= 4 or not 1 <= offset_size <= 8 or flags & 0x18:
            raise BadCell("bag of cells has a malformed header")
        if flags & 0x40:
            if verify and crc32c(data[:-4]) != data[-4:]:
                raise BadCell("checksum of the bag of cells is wrong")
            data = data[:-4]
        at = 6
        counts = [int.from_bytes(data[at + i * ref_size : at + (i + 1) * ref_size], "big") for i in range(3)]
        cells, roots, absent = counts
        at += 3 * ref_size
        size = int.from_bytes(data[at : at + offset_size], "big")
        at += offset_size
        self.roots = [int.from_bytes(data[at + i * ref_size : at + (i + 1) * ref_size], "big") for i in range(roots)]
        at += roots * ref_size
        if flags & 0x80:
            at += cells * offset_size
        if absent or not roots or at + size != len(data) or cells * 2 > size or any(r >= cells for r in self.roots):
            raise BadCell("bag of cells has a malformed header or is cut short")
        self._data = data
        self._ref_size = ref_size
        self._starts = self._scan(at, cells)
        self._built: dict[int, Cell] = {}
        self._hashes: dict[int, tuple[int, bytes]] = {}  # with the depth

    def _scan(self, at: int, cells: int) -> list[int]:
        data, ref_size, end = self._data, self._ref_size, len(self._data)
        starts: list[int] = []
        for _ in range(cells):
            if at + 2 > end:
                raise BadCell("bag of cells is cut short")
            starts.append(at)
            d1 = data[at]
            if d1 & 0x10 or d1 & 7 > 4:
                raise BadCell("bag of cells stores hashes or absent cells, which only lite archives use")
            at += 2 + (data[at + 1] + 1 >> 1) + (d1 & 7) * ref_size
        if at != end:
            raise BadCell("bag of cells has bytes after its last cell or is cut short")
        starts.append(at)
        return starts

    def refs(self, index: int) -> list[int]:
        """Indices of the cells that cell `index` refers to."""
        count = self._data[self._starts[index]] & 7
        size, end = self._ref_size, self._starts[index + 1]
        first = end - count * size
        found = [int.from_bytes(self._data[first + i * size : first + (i + 1) * size], "big") for i in range(count)]
        if any(not index < ref < len(self._starts) - 1 for ref in found):
            raise BadCell("bag of cells is not in topological order")
        return found

    def bits(self, index: int) -> TvmBitarray:
        """The data of cell `index`."""
        start = self._starts[index] + 2
        d2 = self._data[start - 1]
        bits = TvmBitarray()
        bitarray.frombytes(bits, self._data[start : start + (d2 + 1 >> 1)])
        if d2 & 1:
            last = self._data[start + (d2 >> 1)]
            if not last:
                raise BadCell("a cell of the bag has no completion bit")
            bitarray.__delitem__(bits, slice(len(bits) - (last & -last).bit_length(), None))
        return bits

    def data_slice(self, index: int) -> Slice:
        """The data of cell `index` to read from, without its references."""
        return Slice(self.bits(index), [])

    def hash(self, index: int) -> bytes:
        """The hash of cell `index`, without building it or anything below it."""
        known, stack = self._hashes, [index]
        while stack:
            at = stack[-1]
            if at in known:
                stack.pop()
                continue
            start, end = self._starts[at], self._starts[at + 1]
            if self._data[start] & 0xE8:  # exotic, or something pruned is below: other rules
                cell = self.cell(at)
                known[at] = cell.get_depth(0), cell.hash
                continue
            refs = self.refs(at)
            missing = [ref for ref in refs if ref not in known]
            if missing:
                stack.extend(missing)
                continue
            below = [known[ref] for ref in refs]
            depth = 1 + max(deep for deep, _ in below) if below else 0
            parts = [self._data[start : end - len(refs) * self._ref_size]]
            parts += [deep.to_bytes(2, "big") for deep, _ in below]
            parts += [found for _, found in below]
            known[at] = depth, hashlib.sha256(b"".join(parts)).digest()
            stack.pop()
        return known[index][1]

    def cell(self, index: int) -> Cell:
        """Cell `index` with all that is below it."""
        built, stack = self._built, [index]
        while stack:
            at = stack[-1]
            if at in built:
                stack.pop()
                continue
            refs = self.refs(at)
            missing = [ref for ref in refs if ref not in built]
            if missing:
                stack.extend(missing)
                continue
            bits = self.bits(at)
            kind = _ORDINARY
            if self._data[self._starts[at]] & 8:
                if len(bits) < 8:
                    raise BadCell("an exotic cell of the bag is too short to have a type")
                kind = bits[:8].tobytes()[0]
            try:
                built[at] = Cell(bits, [built[ref] for ref in refs], kind)
            except Exception as error:
                raise BadCell(f"the bag holds an impossible cell: {error}") from error
            stack.pop()
        return built[index]
