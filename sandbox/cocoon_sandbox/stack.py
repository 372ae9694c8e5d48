"""TVM stack values as Python values, both ways (`VmStack` of block.tlb).

| TVM | Python in | Python out |
|---|---|---|
| null | None | None |
| integer | int, bool (true is -1) | int |
| NaN | - | float nan |
| cell | Cell | Cell |
| slice | Slice, Address (as MsgAddress) | Slice |
| builder | Builder | Builder |
| tuple | tuple, list | tuple |
| continuation | - | Continuation |
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pytoniq_core import Address, Builder, Cell, Slice
from pytoniq_core.boc.address import ExternalAddress

from .errors import BadCell

__all__ = ["Continuation", "StackValue", "decode_stack", "encode_stack", "encode_value"]

StackValue = Any
_MAX_NESTING = 200


@dataclass(frozen=True, slots=True)
class Continuation:
    """Code on the stack, kept as the cell that describes it."""

    cell: Cell


def encode_stack(values: Sequence[StackValue]) -> Cell:
    """A `VmStack` with the last of `values` on top."""
    rest = Builder().end_cell()
    for value in values[:-1]:
        rest = _store_value(Builder().store_ref(rest), value, 0).end_cell()
    whole = Builder().store_uint(len(values), 24)
    if values:
        whole.store_ref(rest)
        _store_value(whole, values[-1], 0)
    return whole.end_cell()


def encode_value(value: StackValue) -> Cell:
    """One `VmStackValue`, the form in which the executor takes `PREVBLOCKSINFOTUPLE`."""
    return _store_value(Builder(), value, 0).end_cell()


def decode_stack(cell: Cell) -> list[StackValue]:
    """The values of a `VmStack`, top last. BadCell if it isn't one."""
    try:
        part = cell.begin_parse()
        depth = part.load_uint(24)
        values: list[StackValue] = []
        for _ in range(depth):
            rest = part.load_ref()
            values.append(_load_value(part, 0))
            part = rest.begin_parse()
    except BadCell:
        raise
    except Exception as error:
        raise BadCell(f"not a VmStack: {error}") from error
    values.reverse()
    return values


def _store_value(to: Builder, value: StackValue, nesting: int) -> Builder:
    if nesting > _MAX_NESTING:
        raise BadCell(f"stack value is nested more than {_MAX_NESTING} deep")
    if value is None:
        return to.store_uint(0, 8)
    if isinstance(value, bool):
        return to.store_uint(1, 8).store_int(-1 if value else 0, 64)
    if isinstance(value, int):
        if -(1 << 63) <= value < 1 << 63:
            return to.store_uint(1, 8).store_int(value, 64)
        if not -(1 << 256) <= value < 1 << 256:
            raise BadCell(f"{value} does not fit a 257-bit TVM integer")
        return to.store_uint(0x0200 >> 1, 15).store_int(value, 257)
    if isinstance(value, Cell):
        return to.store_uint(3, 8).store_ref(value)
    if isinstance(value, Address | ExternalAddress):
        value = Builder().store_address(value).to_slice()
    if isinstance(value, Slice):
        whole = value.to_cell()
        to.store_uint(4, 8).store_ref(whole).store_uint(0, 10).store_uint(len(whole.bits), 10)
        return to.store_uint(0, 3).store_uint(len(whole.refs), 3)
    if isinstance(value, Builder):
        return to.store_uint(5, 8).store_ref(value.end_cell())
    if isinstance(value, tuple | list):
        return _store_tuple(to.store_uint(7, 8).store_uint(len(value), 16), value, nesting)
    raise BadCell(f"{type(value).__name__} has no place on a TVM stack")


def _store_tuple(to: Builder, items: Sequence[StackValue], nesting: int) -> Builder:
    """All but the last item hang off the first reference: a `VmTuple` one shorter, or the only other item itself."""
    cells = [_store_value(Builder(), item, nesting + 1).end_cell() for item in items]
    head: Cell | None = None
    for tail in cells[:-1]:
        head = tail if head is None else Builder().store_ref(head).store_ref(tail).end_cell()
    if head is not None:
        to.store_ref(head)
    return to.store_ref(cells[-1]) if cells else to


def _load_value(part: Slice, nesting: int) -> StackValue:
    if nesting > _MAX_NESTING:
        raise BadCell(f"stack value is nested more than {_MAX_NESTING} deep")
    tag = part.load_uint(8)
    if tag == 0:
        return None
    if tag == 1:
        return part.load_int(64)
    if tag == 2:
        if part.preload_uint(8) == 0xFF:
            part.skip_bits(8)
            return math.nan
        part.skip_bits(7)
        return part.load_int(257)
    if tag == 3:
        return part.load_ref()
    if tag == 4:
        return _load_slice(part)
    if tag == 5:
        return part.load_ref().to_builder()
    if tag == 6:
        return Continuation(part.to_cell())
    if tag == 7:
        return _load_tuple(part, nesting)
    raise BadCell(f"unknown stack value tag {tag:#04x}")


def _load_slice(part: Slice) -> Slice:
    whole = part.load_ref()
    first_bit, end_bit = part.load_uint(10), part.load_uint(10)
    first_ref, end_ref = part.load_uint(3), part.load_uint(3)
    view = whole.begin_parse()
    return Slice(view.bits[first_bit:end_bit], view.refs[first_ref:end_ref])


def _load_tuple(part: Slice, nesting: int) -> tuple[StackValue, ...]:
    length = part.load_uint(16)
    items: list[StackValue] = []
    for left in range(length, 0, -1):
        head = part.load_ref() if left > 1 else None
        items.append(_load_value(part.load_ref().begin_parse(), nesting + 1))
        if head is None:
            break
        if left == 2:
            items.append(_load_value(head.begin_parse(), nesting + 1))
            break
        part = head.begin_parse()
    items.reverse()
    return tuple(items)
