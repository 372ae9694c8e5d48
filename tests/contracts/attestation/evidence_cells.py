"""Evidence whose cells are cut otherwise than the contract expects them."""

from __future__ import annotations

from dataclasses import replace

from pytoniq_core import Builder, Cell, begin_cell

from cocoon.wire.attestation import SignedDocument


def recut(cell: Cell, move: int) -> Cell:
    """The same bytes, `move` of them taken from the second cell into the first, or (negative) the other way."""
    first, second = cell, cell.refs[0]
    data, more = first.data[: len(first.bits) // 8], second.data[: len(second.bits) // 8]
    whole, size = data + more, len(data) + move
    rest = Builder().store_bytes(whole[size:])
    for ref in second.refs:
        rest.store_ref(ref)
    head = Builder().store_bytes(whole[:size]).store_ref(rest.end_cell())
    for ref in first.refs[1:]:
        head.store_ref(ref)
    return head.end_cell()


def with_text(document: SignedDocument, text: Cell) -> SignedDocument:
    return replace(document, text=text)


def grown(cell: Cell, path: tuple[int, ...]) -> Cell:
    """The same tree with an empty cell hung to the cell at `path`."""
    builder = Builder().store_bits(cell.bits)
    for number, ref in enumerate(cell.refs):
        builder.store_ref(grown(ref, path[1:]) if path and path[0] == number else ref)
    if not path:
        builder.store_ref(begin_cell().end_cell())
    return builder.end_cell()
