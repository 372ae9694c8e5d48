"""Bags of cells: whatever a graph looks like, it round trips, and its hashes are known without building it."""

from __future__ import annotations

import pytest
from pytoniq_core import Builder, Cell

from cocoon_sandbox.boc import Bag, parse_boc, to_boc

_LIBRARY, _PRUNED, _MERKLE_PROOF = 2, 1, 3


def leaf(bits: int = 5) -> Cell:
    return Builder().store_uint(1, bits).end_cell()


def exotic(kind: int, body: Builder) -> Cell:
    ordinary = Builder().store_uint(kind, 8).store_cell(body.end_cell()).end_cell()
    return Cell(ordinary.bits, ordinary.refs, kind)


def library() -> Cell:
    return exotic(_LIBRARY, Builder().store_bytes(leaf().hash))


def proof(of: Cell) -> Cell:
    """Of a cell whose first child is pruned away."""
    kept = Builder().store_bits(of.bits).store_ref(pruned(of.refs[0])).store_ref(of.refs[1]).end_cell()
    return exotic(_MERKLE_PROOF, Builder().store_bytes(of.hash).store_uint(of.get_depth(), 16).store_ref(kept))


def pruned(cell: Cell) -> Cell:
    return exotic(_PRUNED, Builder().store_uint(1, 8).store_bytes(cell.hash).store_uint(cell.get_depth(), 16))


def tree(*below: Cell) -> Cell:
    builder = Builder().store_uint(77, 9)
    for cell in below:
        builder.store_ref(cell)
    return builder.end_cell()


def test_boc_of_a_wide_graph_of_shared_cells_is_small_and_round_trips() -> None:
    cell = Cell.empty()
    for _ in range(500):  # 4^500 paths, 501 cells
        cell = Builder().store_ref(cell).store_ref(cell).store_ref(cell).store_ref(cell).end_cell()
    data = to_boc(cell, crc=True)
    assert parse_boc(data) == cell
    assert len(data) < 8_000


@pytest.mark.parametrize(
    "cell",
    [
        Cell.empty(),
        leaf(8),
        tree(leaf(), tree(leaf(1), leaf()), leaf(1023)),
        tree(library(), leaf()),
        tree(tree(proof(tree(leaf(), leaf(3)))), leaf()),
    ],
    ids=["empty", "whole bytes", "shared", "library", "proof"],
)
def test_hash_of_a_cell_in_a_bag_is_the_cells(cell: Cell) -> None:
    bag = Bag(to_boc(cell))
    places = [bag.roots[0]]
    for place in places:
        places += bag.refs(place)
    assert [bag.hash(place) for place in places] == [bag.cell(place).hash for place in places]
    assert bag.hash(bag.roots[0]) == cell.hash
