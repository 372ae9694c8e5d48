"""A struct as a bag of cells, without building the cells: receipts are kept that way, one for every request."""

from __future__ import annotations

from cocoon_sandbox.boc import to_boc

from .codec import Struct
from .hashing import cell_content, flatten

__all__ = ["struct_boc"]

_MAGIC = b"\xb5\xee\x9c\x72"


def struct_boc(value: Struct) -> bytes:
    """`to_boc(value.to_cell())`, where every cell refers to one other at most; anything else goes the long way.

    WireError for a value that does not fit its field.
    """
    payload, count, rest = b"", 0, [value]
    while rest:
        bits, size, refs = flatten(rest[0])
        if size < 0 or len(refs) > 1:
            return to_boc(value.to_cell())
        count, rest = count + 1, refs
        payload += cell_content(bits, size, len(refs)) + bytes([count] * len(refs))
    width = max(1, (len(payload).bit_length() + 7) // 8)
    # no checksum, references of one byte; offsets of `width`; cells, roots, absent ones; bytes of cells; the root
    return _MAGIC + bytes((1, width, count, 1, 0)) + len(payload).to_bytes(width, "big") + b"\0" + payload
