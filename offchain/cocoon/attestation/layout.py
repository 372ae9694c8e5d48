"""Structures of fixed layout: a frozen dataclass whose fields carry their sizes is both the parser and the builder.

Fields are `bytes` or little-endian `int`. Their offsets follow from the order, as in the C structs Intel documents.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any, ClassVar, Protocol

from .errors import EvidenceMalformed

__all__ = ["Span", "number", "octets", "pack", "size_of", "span_of", "unpack"]

_SIZE = "size"


class _Dataclass(Protocol):
    __dataclass_fields__: ClassVar[dict[str, dataclasses.Field[Any]]]


@dataclasses.dataclass(frozen=True, slots=True)
class Span:
    """Where something lies in a document: bytes `start` up to, not including, `end`."""

    start: int
    end: int

    def of(self, document: bytes) -> bytes:
        return document[self.start : self.end]

    def __len__(self) -> int:
        return self.end - self.start


def octets(size: int) -> Any:
    """A field of `size` bytes, kept as they are."""
    return dataclasses.field(metadata={_SIZE: size})


def number(size: int) -> Any:
    """An unsigned little-endian field of `size` bytes."""
    return dataclasses.field(metadata={_SIZE: size})


def size_of(structure: type[_Dataclass]) -> int:
    """Bytes a structure occupies."""
    return sum(size for _, size in _sizes(structure))


def span_of(structure: type[_Dataclass], name: str) -> Span:
    """Where the field `name` lies in a structure. KeyError if there is none."""
    start = 0
    for found, size in _sizes(structure):
        if found == name:
            return Span(start, start + size)
        start += size
    raise KeyError(name)


def unpack[T: _Dataclass](structure: type[T], data: bytes, error: type[EvidenceMalformed]) -> T:
    """`data`, all of it, as `structure`. Raises `error` unless the size is exact."""
    if len(data) != size_of(structure):
        raise error(f"{structure.__name__} takes {size_of(structure)} bytes, {len(data)} are there")
    values: dict[str, bytes | int] = {}
    start = 0
    types = {field.name: field.type for field in dataclasses.fields(structure)}
    for name, size in _sizes(structure):
        raw = data[start : start + size]
        values[name] = int.from_bytes(raw, "little") if types[name] in (int, "int") else raw
        start += size
    return structure(**values)


def pack(value: _Dataclass, error: type[EvidenceMalformed]) -> bytes:
    """The bytes of a structure. Raises `error` if a field is not of its size."""
    parts = []
    for name, size in _sizes(type(value)):
        found = getattr(value, name)
        if isinstance(found, int):
            if not 0 <= found < 1 << 8 * size:
                raise error(f"{type(value).__name__}.{name} = {found} does not fit {size} bytes")
            found = found.to_bytes(size, "little")
        if len(found) != size:
            raise error(f"{type(value).__name__}.{name} takes {size} bytes, not {len(found)}")
        parts.append(found)
    return b"".join(parts)


def _sizes(structure: type[_Dataclass]) -> Iterator[tuple[str, int]]:
    for field in dataclasses.fields(structure):
        yield field.name, field.metadata[_SIZE]
