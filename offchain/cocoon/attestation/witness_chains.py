"""Cutting signed bytes into a chain of cells that a contract reads in one pass.

Each cell's only reference is the next one, so hashing the chain hashes the bytes. Where it may be cut depends on what
the contract reads: never inside a field, anywhere inside what it skips. A document is described by its permitted cuts.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pytoniq_core import Builder, Cell

from ..wire.attestation import P256Hint, SignedDocument
from .errors import EvidenceMalformed
from .p256 import make_hint

__all__ = ["CELL_BYTES", "chain", "cut", "signed"]

CELL_BYTES = 127


def cut(data: bytes, permitted: Iterable[int], required: Iterable[int] = ()) -> list[bytes]:
    """`data` in as few pieces of at most 127 bytes as the permitted cuts allow, cut at all required ones.

    EvidenceMalformed if the cuts are too far apart.
    """
    musts = {position for position in required if 0 < position < len(data)} | {len(data)}
    pieces, start, last = [], 0, 0
    for position in sorted({position for position in permitted if 0 < position < len(data)} | musts):
        if position - start > CELL_BYTES:
            pieces.append(data[start:last])
            start = last
        if position - start > CELL_BYTES:
            raise EvidenceMalformed(
                f"bytes {start} to {position} of the document can't be cut into cells: it is not written as Intel's are"
            )
        last = position
        if position in musts:
            pieces.append(data[start:position])
            start = position
    return pieces


def chain(pieces: Sequence[bytes]) -> Cell:
    """The first cell of a chain that holds `pieces`."""
    head: Cell | None = None
    for piece in reversed(pieces):
        builder = Builder().store_bytes(piece)
        if head is not None:
            builder.store_ref(head)
        head = builder.end_cell()
    assert head is not None, "a document has at least one byte"
    return head


def signed(text: Cell, cells: int, digest: bytes, signature: bytes, key: bytes) -> SignedDocument:
    """A document with hints for its signature by `key` (x ‖ y) over `digest`."""
    hint = make_hint(digest, signature, key)
    return SignedDocument(cells, signature, P256Hint(hint.c, hint.c_x, hint.slope), text)
