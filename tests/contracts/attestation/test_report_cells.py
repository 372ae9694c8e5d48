"""Header and report in cells: what nobody signed has no place anywhere, in either version of the report."""

from __future__ import annotations

from dataclasses import replace

import pytest
from enclaves import Enclaves
from evidence_cells import grown, with_text
from pytoniq_core import Builder, Cell

UNDERFLOW, LAYOUT = 9, 513


def lengthened(cell: Cell, path: tuple[int, ...], by: int = 1) -> Cell:
    """The same tree with so many zero bits more (or, negative, less) at the end of the cell at `path`."""
    builder = Builder()
    if path:
        builder.store_bits(cell.bits)
    elif by > 0:
        builder.store_bits(cell.bits).store_uint(0, by)
    else:
        builder.store_bits(cell.bits.to01()[:by])
    for number, ref in enumerate(cell.refs):
        builder.store_ref(lengthened(ref, path[1:], by) if path and path[0] == number else ref)
    return builder.end_cell()


# Path of each cell below the first, and what a cell too many below it, a bit too many and a bit too few in it lead to.
SHAPES = {
    "1.0": {(): (None, 9, 9), (0,): (9, 9, 9), (1,): (9, 9, 9), (2,): (9, 9, 9), (3,): (513, 513, 513)}
    | {(3, 0): (513, 513, 9)},
    "1.5": {(): (None, 9, 9), (0,): (9, 9, 9), (1,): (9, 9, 9), (2,): (9, 9, 9), (3,): (513, 513, 513)}
    | {(3, 0): (513, 513, 9), (3, 0, 0): (9, 9, 9)},
}


@pytest.mark.parametrize("version", SHAPES)
def test_report_with_anything_nobody_signed_is_refused(enclaves: Enclaves, version: str) -> None:
    """A-2, B.22."""
    evidence = enclaves.evidence(enclaves.quote(version_15=version == "1.5"))
    text = evidence.report.text

    def code(changed: Cell) -> int | None:
        return enclaves.verify(replace(evidence, report=with_text(evidence.report, changed))).exit_code

    assert code(text) == 0
    found = {
        path: (
            code(grown(text, path)) if path else None,
            code(lengthened(text, path)),
            code(lengthened(text, path, -1)),
        )
        for path in SHAPES[version]
    }
    assert found == SHAPES[version]


def test_enclave_report_with_anything_nobody_signed_is_refused(enclaves: Enclaves) -> None:
    """A-2, B.22."""
    evidence = enclaves.evidence()
    text = evidence.enclave.text

    def code(changed: Cell) -> int | None:
        return enclaves.verify(replace(evidence, enclave=with_text(evidence.enclave, changed))).exit_code

    assert code(text) == 0
    for path in ((), (0,), (1,), (2,)):
        for by in (1, -1):
            assert code(lengthened(text, path, by)) == UNDERFLOW, (path, by)
    assert code(grown(text, (3,))) == LAYOUT
