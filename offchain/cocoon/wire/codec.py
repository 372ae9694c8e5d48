"""TL-B by declaration: a frozen dataclass whose annotations say how each field lies in a cell.

    @dataclass(frozen=True, slots=True)
    class TopUp(Struct, opcode=0xC0C00302):
        query_id: U64

`to_cell` and `from_cell` are inverse. Decoding is strict: a wrong opcode, missing bits or trailing data raise
`WireError`.
Fields are big-endian bit fields in order of declaration, references in the same order, as the contracts lay them out.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Annotated, Any, ClassVar, Protocol, Self, get_args, get_origin, get_type_hints

from pytoniq_core import Address, Builder, Cell, HashMap, Slice, begin_cell

from ..errors import WireError

__all__ = [
    "I32",
    "U8",
    "U16",
    "U32",
    "U48",
    "U64",
    "U128",
    "U160",
    "U256",
    "AnyCell",
    "Bits16",
    "Bits128",
    "Bits160",
    "Bits256",
    "Bits512",
    "Bool",
    "IdSet",
    "Maybe",
    "MaybeCell",
    "MaybeU256",
    "Ref",
    "SignatureDict",
    "Std",
    "StdOrNone",
    "Struct",
    "StructDict",
    "Text",
    "UintDict",
    "read_body",
]


class Field(Protocol):
    """How one value is stored and loaded."""

    def store(self, builder: Builder, value: Any) -> None: ...
    def load(self, source: Slice) -> Any: ...


@dataclass(frozen=True, slots=True)
class _Int:
    bits: int
    signed: bool = False

    def store(self, builder: Builder, value: int) -> None:
        low, high = (-(1 << self.bits - 1), 1 << self.bits - 1) if self.signed else (0, 1 << self.bits)
        if not low <= value < high:
            raise WireError(f"{value} does not fit {'an int' if self.signed else 'a uint'}{self.bits}")
        (builder.store_int if self.signed else builder.store_uint)(value, self.bits)

    def load(self, source: Slice) -> int:
        _need(source, self.bits)
        return int((source.load_int if self.signed else source.load_uint)(self.bits))


class _Bool:
    def store(self, builder: Builder, value: bool) -> None:
        builder.store_bit(int(value))

    def load(self, source: Slice) -> bool:
        _need(source, 1)
        return bool(source.load_bit())


@dataclass(frozen=True, slots=True)
class _Bytes:
    size: int

    def store(self, builder: Builder, value: bytes) -> None:
        if len(value) != self.size:
            raise WireError(f"expected {self.size} bytes, got {len(value)}")
        builder.store_bytes(value)

    def load(self, source: Slice) -> bytes:
        _need(source, 8 * self.size)
        return bytes(source.load_bytes(self.size))


@dataclass(frozen=True, slots=True)
class _Address:
    optional: bool = False

    def store(self, builder: Builder, value: Address | None) -> None:
        if value is None and not self.optional:
            raise WireError("an address is required here")
        builder.store_address(value)

    def load(self, source: Slice) -> Address | None:
        _need(source, 2)
        kind = source.preload_uint(2)
        if kind == 0 and self.optional:
            source.skip_bits(2)
            return None
        _need(source, 267)
        if kind != 2 or source.preload_uint(3) != 4:
            raise WireError("expected a standard address without anycast")
        address: Address = source.load_address()
        return address


class _Text:
    """UTF-8 to the end of the cell: a wallet's comment."""

    def store(self, builder: Builder, value: str) -> None:
        builder.store_bytes(value.encode())

    def load(self, source: Slice) -> str:
        if source.remaining_bits % 8:
            raise WireError("a text ends in the middle of a byte")
        try:
            return bytes(source.load_bytes(source.remaining_bits // 8)).decode()
        except UnicodeDecodeError as error:
            raise WireError("a text is not UTF-8") from error


class _Cell:
    def store(self, builder: Builder, value: Cell) -> None:
        builder.store_ref(value)

    def load(self, source: Slice) -> Cell:
        if source.remaining_refs == 0:
            raise WireError("a reference is missing")
        return source.load_ref()


@dataclass(frozen=True, slots=True)
class _Maybe:
    inner: Field

    def store(self, builder: Builder, value: Any) -> None:
        builder.store_bit(int(value is not None))
        if value is not None:
            self.inner.store(builder, value)

    def load(self, source: Slice) -> Any:
        _need(source, 1)
        return self.inner.load(source) if source.load_bit() else None


@dataclass(frozen=True, slots=True)
class _InRef:
    """A struct in a cell of its own."""

    struct: type[Struct]

    def store(self, builder: Builder, value: Struct) -> None:
        if not isinstance(value, self.struct):
            raise WireError(f"expected {self.struct.__name__}, got {type(value).__name__}")
        builder.store_ref(value.to_cell())

    def load(self, source: Slice) -> Struct:
        if source.remaining_refs == 0:
            raise WireError("a reference is missing")
        return self.struct.from_cell(source.load_ref())


@dataclass(frozen=True, slots=True)
class _Inline:
    struct: type[Struct]

    def store(self, builder: Builder, value: Struct) -> None:
        value.store_into(builder)

    def load(self, source: Slice) -> Struct:
        return self.struct.load_from(source)


@dataclass(frozen=True, slots=True)
class _Dict:
    """HashmapE with unsigned keys; values lie inline in the leaves."""

    key_bits: int
    value: Field | None

    def store(self, builder: Builder, value: dict[int, Any]) -> None:
        if not value:
            builder.store_bit(0)
            return
        hashmap = HashMap(self.key_bits, value_serializer=lambda item, dest: self._store_value(dest, item))
        for key, item in value.items():
            if not 0 <= key < 1 << self.key_bits:
                raise WireError(f"key {key} does not fit a uint{self.key_bits}")
            hashmap.set_int_key(key, item)
        builder.store_dict(hashmap.serialize())

    def _store_value(self, dest: Builder, item: Any) -> None:
        if self.value is not None:
            self.value.store(dest, item)

    def load(self, source: Slice) -> dict[int, Any]:
        _need(source, 1)
        parsed = source.load_dict(self.key_bits, value_deserializer=self._load_value)
        return dict(parsed or {})

    def _load_value(self, leaf: Slice) -> Any:
        item = self.value.load(leaf) if self.value is not None else None
        _assert_end(leaf, "dictionary value")
        return item


def _need(source: Slice, bits: int) -> None:
    if source.remaining_bits < bits:
        raise WireError(f"the cell ends {bits - source.remaining_bits} bits early")


def _assert_end(source: Slice, what: str) -> None:
    if source.remaining_bits or source.remaining_refs:
        raise WireError(f"{what}: {source.remaining_bits} bits and {source.remaining_refs} references too many")


class Struct:
    """Base of all wire types. `opcode` is the 32-bit prefix of messages, `prefix` any other (value, bits)."""

    PREFIX: ClassVar[tuple[int, int]] = (0, 0)

    def __init_subclass__(cls, opcode: int | None = None, prefix: tuple[int, int] | None = None) -> None:
        # dataclass(slots=True) makes the class again without the keyword: keep what the first pass set
        if opcode is not None:
            cls.PREFIX = (opcode, 32)
        elif prefix is not None:
            cls.PREFIX = prefix

    def store_into(self, builder: Builder) -> None:
        value, bits = self.PREFIX
        if bits:
            builder.store_uint(value, bits)
        for name, field in _layout(type(self)):
            field.store(builder, getattr(self, name))

    def to_cell(self) -> Cell:
        builder = begin_cell()
        self.store_into(builder)
        cell: Cell = builder.end_cell()
        return cell

    @classmethod
    def load_from(cls, source: Slice) -> Self:
        value, bits = cls.PREFIX
        if bits:
            _need(source, bits)
            found = source.load_uint(bits)
            if found != value:
                raise WireError(f"expected {cls.__name__} (prefix {value:#x}), found {found:#x}")
        return cls(**{name: field.load(source) for name, field in _layout(cls)})

    @classmethod
    def from_cell(cls, cell: Cell) -> Self:
        source = cell.begin_parse()
        loaded = cls.load_from(source)
        _assert_end(source, cls.__name__)
        return loaded


def read_body[T: Struct](body: Cell, struct: type[T]) -> T | None:
    """`body` as a `struct`; None if it is something else or malformed."""
    value, bits = struct.PREFIX
    if len(body.bits) < bits or int.from_bytes(body.bits[:bits].tobytes(), "big") != value:
        return None
    try:
        return struct.from_cell(body)
    except WireError:
        return None


class Ref:
    """`Annotated[Terms, Ref]`: the struct lies in a cell of its own."""


class Maybe:
    """`Annotated[Terms | None, Maybe]`: the struct follows a bit that says whether it is there."""


@dataclass(frozen=True, slots=True)
class StructDict:
    """`Annotated[dict[int, Terms], StructDict(256)]`: a dictionary of structs."""

    key_bits: int


_LAYOUTS: dict[type[Struct], tuple[tuple[str, Field], ...]] = {}


def _layout(cls: type[Struct]) -> tuple[tuple[str, Field], ...]:
    if cls not in _LAYOUTS:
        hints = get_type_hints(cls, include_extras=True)
        _LAYOUTS[cls] = tuple((f.name, _field(hints[f.name])) for f in fields(cls))  # type: ignore[arg-type]
    return _LAYOUTS[cls]


def _field(hint: Any) -> Field:
    if get_origin(hint) is not Annotated:
        if isinstance(hint, type) and issubclass(hint, Struct):
            return _Inline(hint)
        raise TypeError(f"{hint} says nothing about its layout")
    base, marker = get_args(hint)[:2]
    if marker is Ref:
        options = [arg for arg in get_args(base) if arg is not type(None)]
        return _Maybe(_InRef(options[0])) if options else _InRef(base)
    if marker is Maybe:
        return _Maybe(_Inline(next(arg for arg in get_args(base) if arg is not type(None))))
    if isinstance(marker, StructDict):
        return _Dict(marker.key_bits, _Inline(get_args(base)[1]))
    field: Field = marker
    return field


U8 = Annotated[int, _Int(8)]
U16 = Annotated[int, _Int(16)]
U32 = Annotated[int, _Int(32)]
U48 = Annotated[int, _Int(48)]
U64 = Annotated[int, _Int(64)]
U128 = Annotated[int, _Int(128)]
U160 = Annotated[int, _Int(160)]
U256 = Annotated[int, _Int(256)]
I32 = Annotated[int, _Int(32, signed=True)]
Bool = Annotated[bool, _Bool()]
Bits16 = Annotated[bytes, _Bytes(2)]
Bits128 = Annotated[bytes, _Bytes(16)]
Bits160 = Annotated[bytes, _Bytes(20)]
Bits256 = Annotated[bytes, _Bytes(32)]
Bits512 = Annotated[bytes, _Bytes(64)]
Std = Annotated[Address, _Address()]
StdOrNone = Annotated[Address | None, _Address(optional=True)]
Text = Annotated[str, _Text()]
AnyCell = Annotated[Cell, _Cell()]
MaybeCell = Annotated[Cell | None, _Maybe(_Cell())]
MaybeU256 = Annotated[int | None, _Maybe(_Int(256))]
UintDict = Annotated[dict[int, int], _Dict(256, _Int(32))]
SignatureDict = Annotated[dict[int, bytes], _Dict(256, _Bytes(64))]
IdSet = Annotated[dict[int, None], _Dict(256, None)]
