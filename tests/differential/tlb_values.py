"""Values of the scheme's types: random ones for hypothesis, and the largest."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from pytoniq_core import Address, Cell, begin_cell
from tlb import InRef, Named, Type
from tlb_cells import Codec, Record

from cocoon.wire.blob import bytes_to_cell

__all__ = ["Values"]

_SMALL_CELLS = st.binary(max_size=40).map(
    lambda data: begin_cell().store_bytes(data).store_ref(Cell.empty()).end_cell()
)

_TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=30).map(
    lambda text: begin_cell().store_bytes(text.encode()).end_cell()
)
TEXT_FIELDS = {("payment", "reason")}
"""Rests of a cell that hold UTF-8 and nothing else."""


class Values:
    """Values as `tlb_cells` reads and writes them."""

    def __init__(self, codec: Codec) -> None:
        self.codec = codec
        self.schema = codec.schema
        self._of: dict[str, st.SearchStrategy[Any]] = {}
        self._within: list[str] = []  # types whose largest value is being made
        self._blobs = st.binary(max_size=600).map(lambda data: codec.decode(Named("Blob"), bytes_to_cell(data)))

    def of(self, kind: Type) -> st.SearchStrategy[Any]:
        """Every value of `kind`."""
        if isinstance(kind, InRef):
            return self.of(kind.inner)
        prefix = kind.name.rstrip("0123456789")
        width = int(kind.name[len(prefix) :] or 0)
        match prefix, kind.arguments:
            case "uint", ():
                return st.integers(0, (1 << width) - 1)
            case "int", ():
                return st.integers(-(1 << width - 1), (1 << width - 1) - 1)
            case "bits", ():
                return st.binary(min_size=width // 8, max_size=width // 8)
            case "##", (int(bits),):
                return st.integers(0, (1 << bits) - 1)
            case "VarUInteger", (int(limit),):
                return st.integers(0, 256 ** (limit - 1) - 1)
            case "Cell", ():
                return _SMALL_CELLS
            case "Blob", ():
                return self._blobs
            case "Bool", ():
                return st.booleans()
            case "MsgAddressInt", ():
                return st.tuples(st.integers(-128, 127), st.binary(min_size=32, max_size=32)).map(Address)
            case "MsgAddress", ():
                return st.none() | self.of(Named("MsgAddressInt"))
            case "Maybe", (InRef() | Named() as inner,):
                return st.none() | self.of(inner)
            case "HashmapE", (int(bits), InRef() | Named() as inner):
                keys = st.integers(0, (1 << bits) - 1) | st.integers(0, 9)
                return st.dictionaries(keys, self.of(inner), max_size=5).map(lambda found: dict(sorted(found.items())))
            case _, () if self.schema.is_enumeration(kind.name):
                return st.sampled_from([int(made.tag, 2) for made in self.schema.types[kind.name]])
        if kind.name not in self._of:  # deferred, and the same one for each mention: a level of a list names the next
            self._of[kind.name] = st.deferred(
                lambda: st.one_of([self.records(made.name) for made in self.schema.types[kind.name]])
            )
        return self._of[kind.name]

    def records(self, constructor: str) -> st.SearchStrategy[Record]:
        made = self.schema.constructors[constructor]
        names = [name for name, _ in made.fields]
        kinds = (_TEXTS if (constructor, name) in TEXT_FIELDS else self.of(kind) for name, kind in made.fields)
        return st.tuples(*kinds).map(lambda found: Record(constructor, dict(zip(names, found, strict=True))))

    def largest(self, kind: Type) -> Any:
        if isinstance(kind, InRef):
            return self.largest(kind.inner)
        prefix = kind.name.rstrip("0123456789")
        width = int(kind.name[len(prefix) :] or 0)
        match prefix, kind.arguments:
            case "uint", ():
                return (1 << width) - 1
            case "int", ():
                return -(1 << width - 1)
            case "bits", ():
                return b"\xff" * (width // 8)
            case "Cell", ():
                return begin_cell().store_bits("1" * 1023).end_cell()
            case "Blob", ():
                return self.codec.decode(Named("Blob"), bytes_to_cell(b"\xff" * 2000))
            case "Bool", ():
                return True
            case (("MsgAddressInt" | "MsgAddress"), ()):
                return Address((-1, b"\xff" * 32))
            case "Maybe", (InRef() | Named() as inner,):
                return None if self._named(inner) in self._within else self.largest(inner)
            case "HashmapE", (int(bits), InRef() | Named() as inner):
                return {key: self.largest(inner) for key in (0, 1, (1 << bits - 1) - 1, (1 << bits) - 1)}
            case _, () if self.schema.is_enumeration(kind.name):
                return max(int(made.tag, 2) for made in self.schema.types[kind.name])
        return self.largest_record(self.schema.types[kind.name][-1].name)

    def largest_record(self, constructor: str) -> Record:
        """All bits set, every option there; a list has one element."""
        longest_text = begin_cell().store_bytes(b"~" * 100).end_cell()
        made = self.schema.constructors[constructor]
        self._within.append(made.result)
        found = {
            name: longest_text if (constructor, name) in TEXT_FIELDS else self.largest(kind)
            for name, kind in made.fields
        }
        self._within.pop()
        return Record(constructor, found)

    def _named(self, kind: Type) -> str:
        return self._named(kind.inner) if isinstance(kind, InRef) else kind.name
