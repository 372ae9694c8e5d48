"""Bytes in cells: a complete 4-ary tree, so that depth grows with the logarithm of the length.

The stream `length (4 bytes, big-endian) || data` is cut into pieces of 127 bytes. Piece i lies in node i, and the
children of node i are the nodes 4i+1 to 4i+4, in the order of its references: reading the tree level by level gives
the pieces in order. There is exactly one tree for given bytes, no node is wasted on structure, and 64 kB are 6 levels
deep.
"""

from __future__ import annotations

import hashlib
from collections import deque

from pytoniq_core import Cell, begin_cell

from ..errors import WireError

__all__ = ["MAX_BLOB_BYTES", "blob_cells", "blob_hash", "bytes_to_cell", "cell_to_bytes"]

MAX_BLOB_BYTES = 1 << 17
_PIECE_BYTES = 127
_LENGTH_BYTES = 4
_FANOUT = 4


def blob_cells(length: int) -> int:
    """Cells that `length` bytes take, the root included."""
    return -(-(length + _LENGTH_BYTES) // _PIECE_BYTES)


def bytes_to_cell(data: bytes) -> Cell:
    """The tree that holds `data`. WireError if it is longer than MAX_BLOB_BYTES."""
    if len(data) > MAX_BLOB_BYTES:
        raise WireError(f"{len(data)} bytes are too many for one tree: send at most {MAX_BLOB_BYTES}")
    stream = len(data).to_bytes(_LENGTH_BYTES, "big") + data
    count = blob_cells(len(data))
    built: dict[int, Cell] = {}
    for index in reversed(range(count)):
        node = begin_cell().store_bytes(stream[index * _PIECE_BYTES : (index + 1) * _PIECE_BYTES])
        for child in _children(index, count):
            node.store_ref(built.pop(child))
        built[index] = node.end_cell()
    return built[0]


def blob_hash(data: bytes) -> bytes:
    """The hash of `bytes_to_cell(data)`, without building it."""
    stream = len(data).to_bytes(_LENGTH_BYTES, "big") + data
    count = blob_cells(len(data))
    hashes, depths = [b""] * count, [0] * count
    for index in reversed(range(count)):
        piece = stream[index * _PIECE_BYTES : (index + 1) * _PIECE_BYTES]
        first = _FANOUT * index + 1
        deep = depths[first : first + _FANOUT]
        # descriptors: how many references; twice the bytes, of which none is partial
        parts = [bytes((len(deep), 2 * len(piece))), piece]
        if deep:
            depths[index] = deep[0] + 1  # no subtree is deeper than the first
            parts += [depth.to_bytes(2, "big") for depth in deep]
            parts += hashes[first : first + _FANOUT]
        hashes[index] = hashlib.sha256(b"".join(parts)).digest()
    return hashes[0]


def cell_to_bytes(cell: Cell, *, max_bytes: int = MAX_BLOB_BYTES) -> bytes:
    """The bytes in `cell`. WireError unless it is exactly the tree `bytes_to_cell` builds of at most `max_bytes` bytes.

    Reads no more cells than the announced length needs, so a tree that refers to itself many times costs nothing.
    """
    if len(cell.bits) < 8 * _LENGTH_BYTES:
        raise WireError("not a blob: the root has no length")
    length = int.from_bytes(cell.bits[: 8 * _LENGTH_BYTES].tobytes(), "big")
    if length > max_bytes:
        raise WireError(f"a blob of {length} bytes is longer than the {max_bytes} allowed here")
    total = length + _LENGTH_BYTES
    count = blob_cells(length)
    pieces: list[bytes] = []
    level = deque([cell])
    for index in range(count):
        node = level.popleft()
        size = min(_PIECE_BYTES, total - index * _PIECE_BYTES)
        children = len(_children(index, count))
        if node.is_exotic or len(node.bits) != 8 * size or len(node.refs) != children:
            raise WireError(f"not a blob: node {index} must have {size} bytes and {children} references")
        pieces.append(node.bits.tobytes())
        level.extend(node.refs)
    return b"".join(pieces)[_LENGTH_BYTES:]


def _children(index: int, count: int) -> range:
    first = _FANOUT * index + 1
    return range(first, min(first + _FANOUT, max(first, count)))
