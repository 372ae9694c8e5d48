"""What Intel publishes, as messages to Attestation, and some of it altered."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from enclaves import NOW, Enclaves
from pytoniq_core import Cell

from cocoon.attestation.certificates import Certificate
from cocoon.attestation.platform import Publication
from cocoon.wire.attestation import PostCrl, PostTcbInfo, TcbInfoHints, TcbLevelHint

DAY = 86_400


def messages(enclaves: Enclaves, publication: Publication | None = None) -> dict[str, Any]:
    names = ("root_crl", "ca", "pck_crl", "signer", "identity", "tcb")
    return dict(zip(names, enclaves.collateral_messages(publication), strict=True))


def issued(enclaves: Enclaves, at: int, number: int = 17) -> Publication:
    """Published at `at` (unix time), valid for 30 days."""
    return Publication.at(at + 3600, enclaves.machine.hardware, evaluation_number=number)


def posted_before(enclaves: Enclaves, name: str) -> Any:
    """The message that installs this document, after all it rests on has been posted."""
    for earlier, body in messages(enclaves).items():
        if earlier == name:
            return body
        enclaves.post(body).assert_succeeded()
    raise KeyError(name)


def revoking(enclaves: Enclaves, *certificates: Certificate) -> PostCrl:
    later = replace(
        enclaves.publication, revoked_ca=tuple(found.serial for found in certificates), crl_issued_at=NOW - 1
    )
    body = messages(enclaves, later)["root_crl"]
    assert isinstance(body, PostCrl)
    return body


def pieces_of(cell: Cell) -> list[bytes]:
    """The bytes of each cell of a chain."""
    found = [cell.data[: len(cell.bits) // 8]]
    while cell.refs:
        cell = cell.refs[0]
        found.append(cell.data[: len(cell.bits) // 8])
    return found


def with_level(body: PostTcbInfo, **changes: Any) -> PostTcbInfo:
    """The first level's hints changed."""
    hints = TcbInfoHints.from_cell(body.document.text)
    level = replace(TcbLevelHint.from_cell(hints.levels), **changes)
    return replace(body, document=replace(body.document, text=replace(hints, levels=level.to_cell()).to_cell()))
