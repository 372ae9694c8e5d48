"""Which of the places that tests run a mutant touches.

Code is compared cell by cell: a test whose run stays before the first different bit of every cell cannot tell the
mutant from the original, so it need not be run.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from pytoniq_core import Cell

from ..coverage.recorder import Place

__all__ = ["Offsets", "offsets_of", "touched_places"]

type Offsets = Mapping[str, list[int]]


def offsets_of(executed: Iterable[Place]) -> Offsets:
    """The offsets of places by their cell."""
    offsets: dict[str, list[int]] = {}
    for cell, offset in executed:
        offsets.setdefault(cell, []).append(offset)
    return offsets


def touched_places(changes: Iterable[tuple[Cell, Cell]], offsets: Offsets) -> set[Place]:
    """Those of the executed places that are not the same after `changes`, pairs of code before and after."""
    touched: set[Place] = set()
    for before, after in changes:
        _compare(before, after, offsets, touched)
    return touched


def _compare(old: Cell, new: Cell, offsets: Offsets, touched: set[Place]) -> None:
    if old.hash == new.hash:
        return
    name = old.hash.hex().upper()
    first = _first_difference(old.bits.to01(), new.bits.to01())
    if first is None and len(old.refs) == len(new.refs):
        for left, right in zip(old.refs, new.refs, strict=True):
            _compare(left, right, offsets, touched)
        return
    here = offsets.get(name)
    if here is None:
        # A cell that holds no instructions (a part of the method dictionary), or none that any test runs.
        for left in old.refs:
            _all_below(left, offsets, touched)
        return
    start = len(old.bits) if first is None else first
    # The instruction that holds the first different bit begins at or before it.
    begin = max((offset for offset in here if offset <= start), default=0)
    touched.update((name, offset) for offset in here if offset >= begin)
    for position, left in enumerate(old.refs):
        if position < len(new.refs):
            _compare(left, new.refs[position], offsets, touched)
        else:
            _all_below(left, offsets, touched)


def _all_below(cell: Cell, offsets: Offsets, touched: set[Place]) -> None:
    name = cell.hash.hex().upper()
    touched.update((name, offset) for offset in offsets.get(name, ()))
    for child in cell.refs:
        _all_below(child, offsets, touched)


def _first_difference(old: str, new: str) -> int | None:
    if old == new:
        return None
    return next((i for i, (a, b) in enumerate(zip(old, new, strict=False)) if a != b), min(len(old), len(new)))
