"""An immutable TON cell that costs little to create and to hash.

A block producer makes thousands of cells a second, so a cell here is a plain object with its hash computed once at
creation: no bit arrays, no recursion. Exotic cells (pruned branches, library references, Merkle proofs and updates)
carry one hash and depth per significant level, as the TVM paper's sections 3.1.4-3.1.7 define them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator

from cocoon_sandbox.errors import BadCell

__all__ = [
    "EMPTY_CELL",
    "LIBRARY",
    "MAX_DEPTH",
    "MERKLE_PROOF",
    "MERKLE_UPDATE",
    "ORDINARY",
    "PRUNED",
    "Cell",
    "CellError",
    "iterate",
]

ORDINARY, PRUNED, LIBRARY, MERKLE_PROOF, MERKLE_UPDATE = 0, 1, 2, 3, 4
MAX_DEPTH = 1024

_sha256 = hashlib.sha256


class CellError(BadCell):
    """Bytes or a builder that don't make a cell."""


class Cell:
    """One cell.

    `data` holds the content bits padded to whole bytes (the completion tag is part of it when `bits` is not a multiple
    of 8), `kind` is ORDINARY or the type byte of an exotic cell, `mask` is the level mask, `hash` and `depth` are those
    of the highest level (the representation hash).
    """

    __slots__ = ("_depths", "_hashes", "bits", "data", "depth", "hash", "kind", "mask", "refs")

    def __init__(self, data: bytes, bits: int, refs: tuple[Cell, ...] = (), kind: int = ORDINARY) -> None:
        self.data = data
        self.bits = bits
        self.refs = refs
        self.kind = kind
        self.hash: bytes
        self.depth: int
        self._hashes: tuple[bytes, ...] = ()
        self._depths: tuple[int, ...] = ()
        if kind != ORDINARY:
            self.mask = _exotic_mask(data, bits, refs, kind)
        elif not refs:
            self.mask = 0
        else:
            mask = 0
            for ref in refs:
                mask |= ref.mask
            self.mask = mask
        if self.mask == 0 and kind <= LIBRARY:
            # The common case, kept flat: one level, children hashed by their only hash.
            depth = 0
            parts = [bytes((len(refs) + (8 if kind else 0), (bits >> 3) + ((bits + 7) >> 3))), data]
            for ref in refs:
                below = ref.depth
                if below >= depth:
                    depth = below + 1
                parts.append(below.to_bytes(2, "big"))
            parts.extend([ref.hash for ref in refs])
            if depth > MAX_DEPTH:
                raise CellError(f"a cell tree is deeper than {MAX_DEPTH}: make it wider")
            self.depth = depth
            self.hash = _sha256(b"".join(parts)).digest()
        else:
            self._compute_levels()

    def _compute_levels(self) -> None:
        """Hash and depth for each significant level (of a pruned branch: the highest one, it stores the others)."""
        mask, kind, refs = self.mask, self.kind, self.refs
        shift = 1 if kind >= MERKLE_PROOF else 0
        hashes: list[bytes] = []
        depths: list[int] = []
        d2 = (self.bits >> 3) + ((self.bits + 7) >> 3)
        d1 = len(refs) + (8 if kind else 0)
        content = self.data
        for level in range(4):
            if level and not mask >> (level - 1) & 1:
                continue
            if kind == PRUNED and mask >> level:
                continue
            depth = 0
            parts = [bytes((d1 + 32 * (mask & ((1 << level) - 1)), d2)), content]
            for ref in refs:
                below = ref.depth_at(level + shift)
                if below >= depth:
                    depth = below + 1
                parts.append(below.to_bytes(2, "big"))
            parts.extend([ref.hash_at(level + shift) for ref in refs])
            if depth > MAX_DEPTH:
                raise CellError(f"a cell tree is deeper than {MAX_DEPTH}: make it wider")
            content = _sha256(b"".join(parts)).digest()
            hashes.append(content)
            depths.append(depth)
        self._hashes, self._depths = tuple(hashes), tuple(depths)
        self.hash, self.depth = hashes[-1], depths[-1]

    def hash_at(self, level: int) -> bytes:
        """Hash of this cell as seen at `level`: at 0, pruned branches of every level stand for what they replace."""
        mask = self.mask
        if not mask:
            return self.hash
        index = (mask & ((1 << level) - 1)).bit_count()
        if self.kind == PRUNED:
            if index == mask.bit_count():
                return self.hash
            return self.data[2 + 32 * index : 34 + 32 * index]
        return self._hashes[index]

    def depth_at(self, level: int) -> int:
        """Depth of this cell as seen at `level`."""
        mask = self.mask
        if not mask:
            return self.depth
        index = (mask & ((1 << level) - 1)).bit_count()
        if self.kind == PRUNED:
            count = mask.bit_count()
            if index == count:
                return self.depth
            start = 2 + 32 * count + 2 * index
            return int.from_bytes(self.data[start : start + 2], "big")
        return self._depths[index]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Cell) and self.hash == other.hash

    def __hash__(self) -> int:
        return int.from_bytes(self.hash[:8], "big")

    def __repr__(self) -> str:
        return f"<Cell {self.bits} bits, {len(self.refs)} refs, {self.hash.hex()[:16]}>"


def _exotic_mask(data: bytes, bits: int, refs: tuple[Cell, ...], kind: int) -> int:
    """Level mask of an exotic cell; raises `CellError` when its layout is wrong."""
    if bits < 8 or data[0] != kind:
        raise CellError("an exotic cell must begin with its type byte")
    if kind == PRUNED:
        mask = data[1] if bits >= 16 else 0
        if refs or not 1 <= mask <= 7 or bits != 16 + 272 * mask.bit_count():
            raise CellError("malformed pruned branch cell")
        return mask
    if kind == LIBRARY:
        if refs or bits != 264:
            raise CellError("malformed library reference cell")
        return 0
    if kind == MERKLE_PROOF:
        if len(refs) != 1 or bits != 280:
            raise CellError("malformed Merkle proof cell")
        return refs[0].mask >> 1
    if kind == MERKLE_UPDATE:
        if len(refs) != 2 or bits != 552:
            raise CellError("malformed Merkle update cell")
        return (refs[0].mask | refs[1].mask) >> 1
    raise CellError(f"unknown exotic cell type {kind}")


def iterate(roots: Iterable[Cell]) -> Iterator[Cell]:
    """Every distinct cell reachable from `roots`, each once, in no particular order."""
    seen: set[bytes] = set()
    stack = list(roots)
    while stack:
        cell = stack.pop()
        if cell.hash not in seen:
            seen.add(cell.hash)
            yield cell
            stack.extend(cell.refs)


EMPTY_CELL = Cell(b"", 0)
