"""Only tests that run what a mutant changes are tried on it, and all of those."""

from __future__ import annotations

from pytoniq_core import Cell, begin_cell

from cocoon.coverage.recorder import Place
from cocoon.mutation.places import offsets_of, touched_places


def cell(bits: str, *refs: Cell) -> Cell:
    builder = begin_cell().store_bits(bits)
    for ref in refs:
        builder = builder.store_ref(ref)
    return builder.end_cell()


def at(code: Cell, *offsets: int) -> set[Place]:
    return {(code.hash.hex().upper(), offset) for offset in offsets}


def touched(changes: list[tuple[Cell, Cell]], run: set[Place]) -> set[Place]:
    return touched_places(changes, offsets_of(run))


LEAF = cell("10101010" * 3)


def test_touched_places_equal_code_touches_nothing() -> None:
    assert touched([(LEAF, LEAF)], at(LEAF, 0, 8, 16)) == set()


def test_touched_places_begin_with_the_instruction_that_holds_the_first_different_bit() -> None:
    other = cell("10101010" + "10111010" + "10101010")
    assert touched([(LEAF, other)], at(LEAF, 0, 8, 16)) == at(LEAF, 8, 16)


def test_touched_places_instruction_never_run_counts_the_one_before_it() -> None:
    other = cell("10101010" + "10111010" + "10101010")
    assert touched([(LEAF, other)], at(LEAF, 0, 16)) == at(LEAF, 0, 16)


def test_touched_places_code_that_goes_on_after_the_end_counts_its_last_instruction() -> None:
    longer = cell("10101010" * 4)
    assert touched([(LEAF, longer)], at(LEAF, 0, 8, 16)) == at(LEAF, 16)


def test_touched_places_of_a_branch_leave_the_rest_alone() -> None:
    then, otherwise = cell("1100"), cell("0011")
    before, after = cell("11110000", then, otherwise), cell("11110000", cell("1101"), otherwise)
    run = at(before, 0, 4) | at(then, 0) | at(otherwise, 0)
    assert touched([(before, after)], run) == at(then, 0)


def test_touched_places_below_a_changed_cell_without_instructions_are_all_touched() -> None:
    method = cell("1111", LEAF)
    before, after = cell("10", method), cell("01", method)
    assert touched([(before, after)], at(LEAF, 0, 8) | at(method, 0)) == at(LEAF, 0, 8) | at(method, 0)
