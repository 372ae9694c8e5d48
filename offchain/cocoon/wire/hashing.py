"""The hash of a struct's cell without building the cell: what is signed and verified for every request.

Equal to `to_cell().hash` by definition; fields of kinds that statements don't have go the long way.
"""

from __future__ import annotations

import hashlib
from typing import Any

from ..errors import WireError
from .codec import Struct, _Address, _Bool, _Bytes, _Inline, _InRef, _Int, _layout

__all__ = ["cell_content", "flatten", "struct_hash"]

_MAX_BITS = 1023
_NO_ANYCAST = 0b100  # addr_std$10 anycast:(Maybe Anycast)


def struct_hash(value: Struct) -> bytes:
    """32 bytes. WireError for a value that does not fit its field."""
    return _hash(value)[0]


def _hash(value: Struct) -> tuple[bytes, int]:
    """(hash, depth)."""
    bits, size, refs = flatten(value)
    if size < 0:
        cell = value.to_cell()
        return cell.hash, cell.get_depth(0)
    below = [_hash(ref) for ref in refs]
    depth = 1 + max(deep for _, deep in below) if below else 0
    parts = [cell_content(bits, size, len(refs))]
    parts += [deep.to_bytes(2, "big") for _, deep in below]
    parts += [digest for digest, _ in below]
    return hashlib.sha256(b"".join(parts)).digest(), depth


def cell_content(bits: int, size: int, refs: int) -> bytes:
    """A cell as it is hashed and stored, without its references: two bytes of descriptors, then the data."""
    full, left = divmod(size, 8)
    if left:  # the data ends with a one, and zeros up to a whole byte
        bits = (bits << 1 | 1) << 7 - left
    return bytes((refs, 2 * full + bool(left))) + bits.to_bytes(full + bool(left), "big")


def flatten(value: Struct) -> tuple[int, int, list[Struct]]:
    """(bits as an integer, their number, structs in cells of their own); a negative number for the long way."""
    bits, size = value.PREFIX
    refs: list[Struct] = []
    for name, field in _layout(type(value)):
        found: Any = getattr(value, name)
        if isinstance(field, _Int) and not field.signed:
            more, width = found, field.bits
        elif isinstance(field, _Int):
            half = 1 << field.bits - 1
            if not -half <= found < half:
                raise WireError(f"{found} does not fit an int{field.bits}")
            more, width = found & (1 << field.bits) - 1, field.bits
        elif isinstance(field, _Bool):
            more, width = int(found), 1
        elif isinstance(field, _Address) and not field.optional:
            more = (_NO_ANYCAST << 8 | found.wc & 0xFF) << 256 | int.from_bytes(found.hash_part, "big")
            width = 267
        elif isinstance(field, _Bytes) and len(found) == field.size:
            more, width = int.from_bytes(found, "big"), 8 * field.size
        elif isinstance(field, _Inline):
            more, width, inner = flatten(found)
            refs += inner
        elif isinstance(field, _InRef) and isinstance(found, field.struct):
            refs.append(found)
            continue
        else:
            return 0, -1, []
        if width < 0:
            return 0, -1, []
        if more < 0 or more >> width:
            raise WireError(f"{name} = {found} does not fit {width} bits")
        bits, size = bits << width | more, size + width
    if size > _MAX_BITS or len(refs) > 4:
        raise WireError(f"a {type(value).__name__} takes more than a cell")
    return bits, size, refs
