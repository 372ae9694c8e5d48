"""Merkle proofs and updates: trees of which only the interesting cells are shown.

A cell that isn't shown becomes a pruned branch holding its hash and depth. Inside `n` nested Merkle cells a pruned
branch has level `n`; the level also says which Merkle cell it belongs to, so pruning within an already pruned tree (a
proof about a block, whose Merkle update is pruned itself) keeps the lower levels' hashes.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from cocoon_sandbox.state.cell import MERKLE_PROOF, MERKLE_UPDATE, PRUNED, Cell, iterate

__all__ = ["descend", "merkle_proof", "merkle_update", "prune", "unwrap_proof"]


def prune(cell: Cell, level: int = 1) -> Cell:
    """The pruned branch that stands for `cell` inside `level` nested Merkle cells."""
    mask = cell.mask | 1 << (level - 1)
    hashes, depths = b"", b""
    for significant in range(level):
        if significant == 0 or mask >> (significant - 1) & 1:
            hashes += cell.hash_at(significant)
            depths += cell.depth_at(significant).to_bytes(2, "big")
    data = bytes((PRUNED, mask)) + hashes + depths
    return Cell(data, 8 * len(data), (), PRUNED)


def _rebuild(cell: Cell, keep: Collection[bytes], level: int, memo: dict[tuple[bytes, int], Cell]) -> Cell:
    """`cell` with everything outside `keep` pruned; `keep` holds hashes, ancestors of kept cells included."""
    key = (cell.hash, level)
    known = memo.get(key)
    if known is not None:
        return known
    if cell.hash not in keep:
        # A leaf is shown when its parent is, unless hiding it is shorter.
        result = cell if cell.kind == PRUNED else prune(cell, level)
    elif cell.refs:
        below = level + 1 if cell.kind in (MERKLE_PROOF, MERKLE_UPDATE) else level
        refs = tuple([_rebuild(ref, keep, below, memo) for ref in cell.refs])
        result = Cell(cell.data, cell.bits, refs, cell.kind)
    else:
        result = cell
    memo[key] = result
    return result


def merkle_proof(root: Cell, keep: Collection[bytes]) -> Cell:
    """A Merkle proof cell for `root` that shows the cells whose hashes are in `keep` (and their ancestors in it)."""
    body = _rebuild(root, keep, 1, {})
    data = bytes((MERKLE_PROOF,)) + root.hash_at(0) + root.depth_at(0).to_bytes(2, "big")
    return Cell(data, 280, (body,), MERKLE_PROOF)


def merkle_update(old: Cell, new: Cell, old_region: Collection[bytes]) -> Cell:
    """A Merkle update cell from `old` to `new`.

    `old_region` holds the hashes of the old cells that were replaced, with all their ancestors. Whatever hangs below
    them unchanged is shown in neither tree.
    """
    boundary = set(old_region)
    stack = [old]
    visited: set[bytes] = set()
    while stack:
        cell = stack.pop()
        boundary.add(cell.hash)
        if cell.hash in old_region and cell.hash not in visited:
            visited.add(cell.hash)
            stack.extend(cell.refs)
    keep_new: set[bytes] = set()
    shared: set[bytes] = set()
    stack = [new]
    while stack:
        cell = stack.pop()
        if cell.hash in boundary:
            shared.add(cell.hash)
        elif cell.hash not in keep_new:
            keep_new.add(cell.hash)
            stack.extend(cell.refs)
    keep_old = {digest for digest in visited if digest not in shared}
    old_body = _rebuild(old, keep_old, 1, {})
    new_body = _rebuild(new, keep_new, 1, {})
    data = b"".join(
        (
            bytes((MERKLE_UPDATE,)),
            old.hash_at(0),
            new.hash_at(0),
            old.depth_at(0).to_bytes(2, "big"),
            new.depth_at(0).to_bytes(2, "big"),
        )
    )
    return Cell(data, 552, (old_body, new_body), MERKLE_UPDATE)


def unwrap_proof(proof: Cell) -> Cell:
    """The (partly pruned) tree inside a Merkle proof cell."""
    return proof.refs[0]


def descend(*cells: Cell | Iterable[Cell]) -> set[bytes]:
    """Hashes of every cell reachable from the given ones: for small parts that a proof shows whole."""
    roots: list[Cell] = []
    for item in cells:
        if isinstance(item, Cell):
            roots.append(item)
        else:
            roots.extend(item)
    return {cell.hash for cell in iterate(roots)}
