"""Bags of cells to and from a lite server: linear in the number of cells and safe at any depth."""

from __future__ import annotations

from pytoniq_core import Cell

from cocoon_sandbox.boc import Bag, to_boc
from cocoon_sandbox.errors import BadCell

from ..errors import LyingServer

__all__ = ["parse_roots", "to_boc"]


def parse_roots(data: bytes, what: str) -> list[Cell]:
    """All roots of a bag that a server sent; none if it sent nothing. LyingServer if it is malformed."""
    if not data:
        return []
    try:
        bag = Bag(data)
        return [bag.cell(root) for root in bag.roots]
    except BadCell as error:
        raise LyingServer(f"the lite server's answer about {what} is malformed: {error}") from error
