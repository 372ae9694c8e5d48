"""Bytes in cells: round trips, uniqueness, bounded depth, strict reading."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pytoniq_core import Cell, begin_cell

from cocoon.errors import WireError
from cocoon.wire.blob import MAX_BLOB_BYTES, blob_cells, bytes_to_cell, cell_to_bytes


def _count(cell: Cell) -> int:
    return 1 + sum(_count(child) for child in cell.refs)


@settings(max_examples=60, deadline=None)
@given(
    data=st.one_of(st.binary(max_size=600), st.integers(0, 65536).map(lambda n: bytes(i * 31 % 251 for i in range(n))))
)
def test_blob_any_bytes_round_trip(data: bytes) -> None:
    cell = bytes_to_cell(data)
    assert cell_to_bytes(cell) == data
    assert _count(cell) == blob_cells(len(data))
    assert cell.get_depth(0) <= 5
    assert cell_to_bytes(Cell.one_from_boc(cell.to_boc())) == data


@pytest.mark.parametrize(
    "length", [0, 1, 122, 123, 124, 123 + 4 * 127, 124 + 4 * 127, 123 + 20 * 127, 65536, MAX_BLOB_BYTES]
)
def test_blob_length_at_an_edge_round_trips(length: int) -> None:
    data = bytes(i % 256 for i in range(length))
    assert cell_to_bytes(bytes_to_cell(data)) == data


def test_blob_longer_than_the_limit_is_refused_both_ways() -> None:
    with pytest.raises(WireError, match="too many"):
        bytes_to_cell(bytes(MAX_BLOB_BYTES + 1))
    with pytest.raises(WireError, match="longer than the 99 allowed"):
        cell_to_bytes(bytes_to_cell(bytes(100)), max_bytes=99)


def _with(cell: Cell, *, bits: bytes | None = None, refs: list[Cell] | None = None) -> Cell:
    builder = begin_cell().store_bytes(cell.bits.tobytes() if bits is None else bits)
    for child in cell.refs if refs is None else refs:
        builder.store_ref(child)
    made: Cell = builder.end_cell()
    return made


def test_blob_altered_tree_is_refused() -> None:
    data = bytes(range(256)) * 4
    cell = bytes_to_cell(data)
    altered = [
        begin_cell().end_cell(),
        begin_cell().store_uint(0, 31).end_cell(),
        begin_cell().store_uint(0, 40).end_cell(),
        _with(cell, refs=cell.refs[:-1]),
        _with(cell, bits=cell.bits.tobytes()[:-1]),
        _with(cell, bits=(len(data) + 1).to_bytes(4, "big") + cell.bits.tobytes()[4:]),
        _with(cell, bits=(len(data) - 127).to_bytes(4, "big") + cell.bits.tobytes()[4:]),
        _with(cell, refs=[*cell.refs[:-1], _with(cell.refs[-1], refs=[begin_cell().end_cell()])]),
        _with(cell, refs=[_with(cell.refs[0], bits=b""), *cell.refs[1:]]),
    ]
    for wrong in altered:
        with pytest.raises(WireError):
            cell_to_bytes(wrong)


def test_blob_tree_of_shared_nodes_is_read_no_further_than_its_length() -> None:
    node = begin_cell().store_bytes(bytes(127)).end_cell()
    for _ in range(40):
        node = (
            begin_cell()
            .store_bytes(bytes(127))
            .store_ref(node)
            .store_ref(node)
            .store_ref(node)
            .store_ref(node)
            .end_cell()
        )
    root = begin_cell().store_uint(MAX_BLOB_BYTES, 32).store_bytes(bytes(123))
    for _ in range(4):
        root.store_ref(node)
    with pytest.raises(WireError):
        cell_to_bytes(root.end_cell())
