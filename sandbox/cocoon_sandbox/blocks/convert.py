"""Between `pytoniq_core` cells, which the ledger and the executor speak, and this package's own."""

from __future__ import annotations

from pytoniq_core import Cell as ForeignCell

from cocoon_sandbox.boc import parse_boc
from cocoon_sandbox.state.boc import to_boc
from cocoon_sandbox.state.cell import ORDINARY, Cell

__all__ = ["from_pytoniq", "to_pytoniq"]


def from_pytoniq(root: ForeignCell) -> Cell:
    """The same tree as a cell of this package; shared subtrees stay shared."""
    done: dict[bytes, Cell] = {}
    stack = [root]
    while stack:
        cell = stack[-1]
        if cell.hash in done:
            stack.pop()
            continue
        missing = [ref for ref in cell.refs if ref.hash not in done]
        if missing:
            stack.extend(missing)
            continue
        kind = ORDINARY if cell.type_ == -1 else cell.type_
        done[cell.hash] = Cell(cell.data, len(cell.bits), tuple([done[ref.hash] for ref in cell.refs]), kind)
        stack.pop()
    return done[root.hash]


def to_pytoniq(cell: Cell) -> ForeignCell:
    """The same tree as a `pytoniq_core` cell."""
    return parse_boc(to_boc(cell))
