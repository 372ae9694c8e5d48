"""Bags of cells: many roots in one bag, shared cells written once, no recursion."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from cocoon_sandbox.state.cell import MERKLE_UPDATE, ORDINARY, PRUNED, Cell, CellError
from cocoon_sandbox.state.crc import crc32c

__all__ = ["from_boc", "one_from_boc", "to_boc"]

_MAGIC = b"\xb5\xee\x9c\x72"


def to_boc(*roots: Cell) -> bytes:
    """Serialize `roots` into one bag, without index and checksum."""
    order = _topological(roots)
    index = {cell.hash: i for i, cell in enumerate(order)}
    width = max(1, (len(order).bit_length() + 7) // 8)
    chunks: list[bytes] = []
    for cell in order:
        bits = cell.bits
        chunks.append(
            bytes(
                (
                    len(cell.refs) + (8 if cell.kind else 0) + 32 * cell.mask,
                    (bits >> 3) + ((bits + 7) >> 3),
                )
            )
        )
        chunks.append(cell.data)
        chunks.extend([index[ref.hash].to_bytes(width, "big") for ref in cell.refs])
    payload = b"".join(chunks)
    offset_width = max(1, (len(payload).bit_length() + 7) // 8)
    return b"".join(
        (
            _MAGIC,
            bytes((width, offset_width)),
            len(order).to_bytes(width, "big"),
            len(roots).to_bytes(width, "big"),
            bytes(width),
            len(payload).to_bytes(offset_width, "big"),
            *(index[root.hash].to_bytes(width, "big") for root in roots),
            payload,
        )
    )


def _topological(roots: Sequence[Cell]) -> list[Cell]:
    """Distinct cells ordered so that every cell comes before those it refers to."""
    done: set[bytes] = set()
    post: list[Cell] = []
    for root in reversed(roots):
        if root.hash in done:
            continue
        stack: list[tuple[Cell, int]] = [(root, len(root.refs))]
        done.add(root.hash)
        while stack:
            cell, left = stack.pop()
            if left:
                stack.append((cell, left - 1))
                child = cell.refs[left - 1]
                if child.hash not in done:
                    done.add(child.hash)
                    stack.append((child, len(child.refs)))
            else:
                post.append(cell)
    post.reverse()
    return post


def one_from_boc(data: bytes, *, verify: bool = True, known: Mapping[bytes, Cell] | None = None) -> Cell:
    """The only root of a bag; `CellError` when there are several."""
    roots = from_boc(data, verify=verify, known=known)
    if len(roots) != 1:
        raise CellError(f"one root expected in this bag of cells, it has {len(roots)}")
    return roots[0]


def from_boc(data: bytes, *, verify: bool = True, known: Mapping[bytes, Cell] | None = None) -> list[Cell]:
    """Parse a bag of cells into its roots; `CellError` says what is wrong with malformed bytes.

    `verify=False` skips the checksum, for bags that never left this machine. Cells that are in `known` (by hash) are
    taken from there instead of keeping another copy.
    """
    try:
        return _parse(data, verify, known or {})
    except (IndexError, OverflowError) as error:
        raise CellError("truncated or malformed bag of cells") from error


def _parse(data: bytes, verify: bool, known: Mapping[bytes, Cell]) -> list[Cell]:
    if data[:4] != _MAGIC or len(data) < 6:
        raise CellError("not a bag of cells: it must begin with b5ee9c72")
    flags, offset_width = data[4], data[5]
    width = flags & 7
    if flags & 64:
        if verify and crc32c(data[:-4]) != int.from_bytes(data[-4:], "little"):
            raise CellError("the checksum of this bag of cells is wrong: it was damaged on the way")
        data = data[:-4]
    if not 1 <= width <= 4 or not 1 <= offset_width <= 8 or flags & 0x18:
        raise CellError("malformed bag of cells header")
    pos = 6
    count = int.from_bytes(data[pos : pos + width], "big")
    root_count = int.from_bytes(data[pos + width : pos + 2 * width], "big")
    absent = int.from_bytes(data[pos + 2 * width : pos + 3 * width], "big")
    pos += 3 * width
    size = int.from_bytes(data[pos : pos + offset_width], "big")
    pos += offset_width
    root_indices = [int.from_bytes(data[pos + i * width : pos + (i + 1) * width], "big") for i in range(root_count)]
    pos += root_count * width
    if flags & 128:
        pos += count * offset_width
    if absent or len(data) != pos + size or count > size or not root_count:
        raise CellError("the sizes in the header of this bag of cells don't match its length")
    raw: list[tuple[bytes, int, list[int], int]] = []
    for number in range(count):
        d1, d2 = data[pos], data[pos + 1]
        pos += 2
        ref_count = d1 & 7
        if ref_count > 4:
            raise CellError("a cell with more than 4 references")
        if d1 & 16:
            hashes = (d1 >> 5).bit_count() + 1
            pos += 34 * hashes
        length = (d2 + 1) >> 1
        content = data[pos : pos + length]
        pos += length
        bits = 8 * length
        if d2 & 1:
            tail = content[-1]
            if not tail:
                raise CellError("a cell without its completion tag")
            bits -= (tail & -tail).bit_length()
            if not bits % 8:
                content = content[:-1]
        refs = [int.from_bytes(data[pos + i * width : pos + (i + 1) * width], "big") for i in range(ref_count)]
        pos += ref_count * width
        for ref in refs:
            if not number < ref < count:
                raise CellError("cells in this bag are not in topological order")
        kind = content[0] if d1 & 8 else ORDINARY
        if d1 & 8 and not PRUNED <= kind <= MERKLE_UPDATE:
            raise CellError(f"unknown exotic cell type {kind}")
        raw.append((content, bits, refs, kind))
    if pos != len(data):
        raise CellError("truncated or malformed bag of cells")
    cells: list[Cell] = [None] * count  # type: ignore[list-item]  # filled from the back, below
    for number in range(count - 1, -1, -1):
        content, bits, refs, kind = raw[number]
        cell = Cell(content, bits, tuple([cells[ref] for ref in refs]), kind)
        cells[number] = known.get(cell.hash, cell)
    return [cells[i] for i in root_indices]
