"""Nothing is kept that is only a reference into the masterchain's libraries: whoever published it can take it away."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from collateral import issued, messages
from enclaves import NOW, POSTER, Enclaves
from pytoniq_core import Builder, Cell, HashMap

from cocoon.attestation.pcs import SvnLevel, TcbStatus
from cocoon.wire.attestation import QuoteVerified

LAYOUT = 513


def reference_to(cell: Cell) -> Cell:
    """The exotic cell that stands for `cell`."""
    bits = Builder().store_uint(2, 8).store_bytes(cell.hash).end_cell().bits
    return Cell(bits, [], 2)


def published(*cells: Cell) -> Cell:
    """A dictionary of libraries with these."""
    libraries = HashMap(256)
    for cell in cells:
        libraries.set(int.from_bytes(cell.hash), Builder().store_uint(0, 2).store_ref(cell).end_cell())
    found = libraries.serialize()
    assert found is not None
    return found


def swapped(cell: Cell, target: Cell) -> Cell:
    """The same tree with a reference to `target` in its place."""
    if cell.hash == target.hash:
        return reference_to(cell)
    builder = Builder().store_bits(cell.bits)
    for ref in cell.refs:
        builder.store_ref(swapped(ref, target))
    return builder.end_cell()


def below(cell: Cell) -> Iterator[Cell]:
    """It and everything under it."""
    yield cell
    for ref in cell.refs:
        yield from below(ref)


@pytest.mark.parametrize("name", ["root_crl", "pck_crl", "identity", "tcb"])
def test_kept_cell_that_stands_for_another_is_refused(enclaves: Enclaves, name: str) -> None:
    """A-5: any of them, however deep. Taken away later, it would make the account unreadable for good."""
    serials = tuple((1 << 158) + number for number in range(20))
    many = tuple(SvnLevel(45 - number, NOW, TcbStatus.UP_TO_DATE) for number in range(40))
    info = enclaves.publication.tcb_info
    modules = tuple(replace(module, levels=many) for module in info.module_identities)
    publication = replace(issued(enclaves, NOW), revoked_pck=serials, revoked_ca=serials, crl_issued_at=NOW - 1)
    publication = publication.with_qe_identity(levels=many).with_tcb_info(module_identities=modules)
    body = messages(enclaves, publication)[name]
    kept = {"identity": "identity", "tcb": "tcb"}.get(name, "revoked")
    root = getattr(body, kept)
    root = root if isinstance(root, Cell) else root.to_cell()
    targets = {cell.hash: cell for cell in below(root)}.values()
    assert len(targets) > 2
    enclaves.ledger.libs = published(*targets)
    for target in targets:
        outcome = enclaves.send(POSTER, enclaves.address, swapped(body.to_cell(), target))
        assert outcome.exit_code == LAYOUT, f"{target!r}: {outcome}"
        assert not outcome.changed
    enclaves.post(body).assert_succeeded()
    if name != "tcb":
        enclaves.verify().one(QuoteVerified)
