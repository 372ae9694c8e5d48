"""Cells by a `tlb.Schema`, written independently of `cocoon.wire` and of any library's dictionaries.

Values: integers for `uintN`, `intN` and enumerations (the tag), bytes for `bitsN`, bool, None or the value for `Maybe`,
a dict for `HashmapE`, `Address` (None for addr_none) for addresses, `Cell` for the rest of a cell, and `Record` for
everything else.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from pytoniq_core import Address, Cell, begin_cell
from tlb import InRef, Named, Schema, Type

__all__ = ["CellMismatch", "Codec", "Record"]


class CellMismatch(Exception):
    """A cell that is not what the scheme says, or a value that the scheme has no cell for."""


@dataclass(frozen=True, slots=True)
class Record:
    """A constructor's fields in order."""

    constructor: str
    fields: dict[str, Any]


@dataclass(slots=True)
class _Writer:
    bits: str = ""
    refs: list[Cell] = field(default_factory=list)

    def end(self) -> Cell:
        if len(self.bits) > 1023 or len(self.refs) > 4:
            raise CellMismatch(f"{len(self.bits)} bits and {len(self.refs)} references are too many for a cell")
        builder = begin_cell().store_bits(self.bits)
        for ref in self.refs:
            builder.store_ref(ref)
        return builder.end_cell()


@dataclass(slots=True)
class _Reader:
    bits: str
    refs: list[Cell]

    @classmethod
    def of(cls, cell: Cell) -> _Reader:
        return cls(cell.bits.to01(), list(cell.refs))

    def take(self, count: int) -> str:
        if len(self.bits) < count:
            raise CellMismatch(f"the cell ends {count - len(self.bits)} bits early")
        taken, self.bits = self.bits[:count], self.bits[count:]
        return taken

    def uint(self, count: int) -> int:
        return int(self.take(count) or "0", 2)

    def ref(self) -> Cell:
        if not self.refs:
            raise CellMismatch("a reference is missing")
        return self.refs.pop(0)

    def end(self, what: object) -> None:
        if self.bits or self.refs:
            raise CellMismatch(f"{what}: {len(self.bits)} bits and {len(self.refs)} references too many")


class Codec:
    """Both ways between cells and values of the types in `schema`."""

    def __init__(self, schema: Schema) -> None:
        self.schema = schema

    def encode(self, kind: Type, value: Any) -> Cell:
        """The cell that holds nothing but `value`."""
        writer = _Writer()
        self._write(writer, kind, value)
        return writer.end()

    def decode(self, kind: Type, cell: Cell) -> Any:
        """The value in `cell`. CellMismatch if there is anything else in it."""
        reader = _Reader.of(cell)
        value = self._read(reader, kind)
        reader.end(kind)
        return value

    def _write(self, to: _Writer, kind: Type, value: Any) -> None:
        if isinstance(kind, InRef):
            to.refs.append(self.encode(kind.inner, value))
            return
        if sized := re.fullmatch(r"(uint|int|bits)(\d+)", kind.name):
            to.bits += _sized(sized[1], int(sized[2]), value)
            return
        match kind.name, kind.arguments:
            case "##", (int(width),):
                to.bits += _sized("uint", width, value)
            case "Cell", ():
                to.bits += value.bits.to01()
                to.refs += value.refs
            case "Bool", ():
                to.bits += "1" if value else "0"
            case "MsgAddress", () if value is None:
                to.bits += "00"
            case (("MsgAddressInt" | "MsgAddress"), ()):
                to.bits += "100" + _sized("int", 8, value.wc) + _sized("bits", 256, value.hash_part)
            case "VarUInteger", (int(limit),):
                size = -(-value.bit_length() // 8)
                to.bits += _sized("uint", (limit - 1).bit_length(), size) + (_sized("uint", 8 * size, value))
            case "Maybe", (InRef() | Named() as inner,):
                to.bits += "0" if value is None else "1"
                if value is not None:
                    self._write(to, inner, value)
            case "HashmapE", (int(width), InRef() | Named() as inner):
                to.bits += "1" if value else "0"
                if value:
                    leaves = [(_sized("uint", width, key), item) for key, item in value.items()]
                    to.refs.append(self._hashmap(leaves, inner))
            case name, () if self.schema.is_enumeration(name):
                tags = {int(made.tag, 2): made.tag for made in self.schema.types[name]}
                if value not in tags:
                    raise CellMismatch(f"{name} has no value {value}")
                to.bits += tags[value]
            case name, ():
                self._write_record(to, name, value)
            case _:
                raise CellMismatch(f"{kind} can't be written")

    def _write_record(self, to: _Writer, name: str, value: Record) -> None:
        for made in self.schema.types[name]:
            if made.name == value.constructor and made.is_plain:
                to.bits += made.tag
                if [field_name for field_name, _ in made.fields] != list(value.fields):
                    raise CellMismatch(f"{made.name} has other fields than {list(value.fields)}")
                for field_name, kind in made.fields:
                    self._write(to, kind, value.fields[field_name])
                return
        raise CellMismatch(f"{name} is not made by {value.constructor}")

    def _hashmap(self, leaves: list[tuple[str, Any]], inner: Type) -> Cell:
        """A Hashmap over the bits left of the keys, with the shortest labels: the one form that TVM accepts."""
        keys = [key for key, _ in leaves]
        first, last = min(keys), max(keys)
        shared = next((at for at in range(len(first)) if first[at] != last[at]), len(first))
        to = _Writer(_label(first[:shared], len(first)))
        if shared == len(first):
            self._write(to, inner, leaves[0][1])
        else:
            for bit in "01":
                to.refs.append(
                    self._hashmap([(key[shared + 1 :], item) for key, item in leaves if key[shared] == bit], inner)
                )
        return to.end()

    def _read(self, source: _Reader, kind: Type) -> Any:
        if isinstance(kind, InRef):
            return self.decode(kind.inner, source.ref())
        if sized := re.fullmatch(r"(uint|int|bits)(\d+)", kind.name):
            return _unsized(sized[1], source.take(int(sized[2])))
        match kind.name, kind.arguments:
            case "##", (int(width),):
                return source.uint(width)
            case "Cell", ():
                rest = _Writer(source.bits, source.refs).end()
                source.bits, source.refs = "", []
                return rest
            case "Bool", ():
                return source.take(1) == "1"
            case ("MsgAddressInt" | "MsgAddress") as name, ():
                return self._read_address(source, may_be_none=name == "MsgAddress")
            case "VarUInteger", (int(limit),):
                return source.uint(8 * source.uint((limit - 1).bit_length()))
            case "Maybe", (InRef() | Named() as inner,):
                return self._read(source, inner) if source.take(1) == "1" else None
            case "HashmapE", (int(width), InRef() | Named() as inner):
                leaves = self._leaves(source.ref(), width, inner) if source.take(1) == "1" else []
                return {int(key, 2): item for key, item in leaves}
            case name, ():
                return self._read_record(source, name)
            case _:
                raise CellMismatch(f"{kind} can't be read")

    def _read_address(self, source: _Reader, *, may_be_none: bool) -> Address | None:
        form = source.take(2)
        if form == "00" and may_be_none:
            return None
        if form != "10" or source.take(1) != "0":
            raise CellMismatch("not a standard address without anycast")
        return Address((_unsized("int", source.take(8)), _unsized("bits", source.take(256))))

    def _read_record(self, source: _Reader, name: str) -> Any:
        for made in self.schema.types[name]:
            if made.is_plain and source.bits.startswith(made.tag):
                source.take(len(made.tag))
                if self.schema.is_enumeration(name):
                    return int(made.tag, 2)
                return Record(made.name, {field_name: self._read(source, kind) for field_name, kind in made.fields})
        raise CellMismatch(f"{source.bits[:32]} begins no {name}")

    def _leaves(self, cell: Cell, width: int, inner: Type) -> list[tuple[str, Any]]:
        source = _Reader.of(cell)
        label = _read_label(source, width)
        if source.refs and len(label) < width:
            below = [self._leaves(ref, width - len(label) - 1, inner) for ref in source.refs]
            _Reader(source.bits, source.refs[2:]).end("dictionary fork")
            return [(label + bit + key, item) for bit, leaves in zip("01", below, strict=True) for key, item in leaves]
        value = self._read(source, inner)
        source.end("dictionary value")
        return [(label, value)]


def _sized(form: str, width: int, value: Any) -> str:
    if form == "bits":
        if len(value) * 8 != width:
            raise CellMismatch(f"{len(value)} bytes are not {width} bits")
        return "".join(f"{byte:08b}" for byte in value)
    low = -(1 << width - 1) if form == "int" else 0
    if not low <= value < low + (1 << width):
        raise CellMismatch(f"{value} does not fit {form}{width}")
    return f"{value % (1 << width):0{width}b}" if width else ""


def _unsized(form: str, bits: str) -> Any:
    value = int(bits, 2)
    if form == "bits":
        return value.to_bytes(len(bits) // 8, "big")
    return value - (1 << len(bits)) if form == "int" and bits[0] == "1" else value


def _label(bits: str, limit: int) -> str:
    """HmLabel: the shortest of its three forms, the earlier one where two are equally short."""
    width = limit.bit_length()
    count = _sized("uint", width, len(bits))
    forms = ["0" + "1" * len(bits) + "0" + bits, "10" + count + bits]
    if bits and len(set(bits)) == 1:
        forms.append("11" + bits[0] + count)
    return min(forms, key=len)


def _read_label(source: _Reader, limit: int) -> str:
    if source.take(1) == "0":
        count = 0
        while source.take(1) == "1":
            count += 1
        return source.take(count)
    if source.take(1) == "0":
        return source.take(source.uint(limit.bit_length()))
    bit = source.take(1)
    return bit * source.uint(limit.bit_length())
