"""TL (type language) both ways: dictionaries to bytes and back, after a schema in the usual text form.

`pytoniq_core` ships the schema of the lite-server API; its own codec can't read vectors of bare integers and guesses
at the contents of byte strings, so this one is used on the server side.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

from cocoon_sandbox.errors import SandboxError

__all__ = ["Schema", "TlError", "lite_schema"]

_TRUE, _FALSE = struct.pack("<I", 0x997275B5), struct.pack("<I", 0xBC799737)
_TRANSPORT = (
    "tcp.ping random_id:long = tcp.Pong;",
    "tcp.pong random_id:long = tcp.Pong;",
)
_FIELD = re.compile(r"(\w+):((?:\w+\.\d+\?)?)(\([^)]*\)|\S+)")


class TlError(SandboxError):
    """Bytes or values that don't fit the schema."""


@dataclass(frozen=True, slots=True)
class _Field:
    name: str
    flag: tuple[str, int] | None
    type: str


@dataclass(frozen=True, slots=True)
class Constructor:
    """One line of the schema."""

    name: str
    tag: bytes
    fields: tuple[_Field, ...]
    result: str


class Schema:
    """A set of constructors. Objects are dictionaries; boxed ones carry their constructor's name under "@type"."""

    def __init__(self, lines: Iterable[str]) -> None:
        self._by_name: dict[str, Constructor] = {}
        self._by_tag: dict[bytes, Constructor] = {}
        self._by_result: dict[str, list[Constructor]] = {}
        for line in lines:
            constructor = _constructor(line)
            self._by_name[constructor.name] = constructor
            self._by_tag[constructor.tag] = constructor
            self._by_result.setdefault(constructor.result, []).append(constructor)

    def tag(self, name: str) -> bytes:
        """The four bytes that begin a boxed `name`."""
        return self._by_name[name].tag

    def dump(self, name: str, /, **values: Any) -> bytes:
        """A boxed object; absent optional fields are those whose flag isn't set in `mode`."""
        out = bytearray(self._by_name[name].tag)
        self._write_fields(out, self._by_name[name], values)
        return bytes(out)

    def load(self, data: bytes) -> dict[str, Any]:
        """Read one boxed object that takes all of `data`."""
        value, end = self.load_prefix(data)
        if end != len(data):
            raise TlError(f"{len(data) - end} bytes left after a {value['@type']}")
        return value

    def load_prefix(self, data: bytes) -> tuple[dict[str, Any], int]:
        """Read one boxed object from the front of `data`: (object, bytes read)."""
        try:
            return self._read_boxed(data, 0)
        except (struct.error, IndexError) as error:
            raise TlError("truncated TL data") from error

    def _write_fields(self, out: bytearray, constructor: Constructor, values: dict[str, Any]) -> None:
        for field in constructor.fields:
            if field.flag is not None and not values[field.flag[0]] >> field.flag[1] & 1:
                continue
            self._write(out, field.type, values.get(field.name))

    def _write(self, out: bytearray, kind: str, value: Any) -> None:
        if kind in ("int", "#"):
            out += (value & 0xFFFFFFFF).to_bytes(4, "little")
        elif kind == "long":
            out += (value & 0xFFFFFFFFFFFFFFFF).to_bytes(8, "little")
        elif kind == "int256":
            if len(value) != 32:
                raise TlError("an int256 takes 32 bytes")
            out += value
        elif kind == "bytes":
            _write_bytes(out, value)
        elif kind == "string":
            _write_bytes(out, value.encode())
        elif kind == "Bool":
            out += _TRUE if value else _FALSE
        elif kind == "true":
            return
        elif kind.startswith("vector "):
            out += len(value).to_bytes(4, "little")
            for item in value:
                self._write(out, kind[7:], item)
        elif kind in self._by_name:
            self._write_fields(out, self._by_name[kind], value)
        else:
            choices = self._by_result[kind]
            constructor = choices[0] if len(choices) == 1 else self._by_name[value["@type"]]
            out += constructor.tag
            self._write_fields(out, constructor, value)

    def _read_boxed(self, data: bytes, pos: int) -> tuple[dict[str, Any], int]:
        constructor = self._by_tag.get(data[pos : pos + 4])
        if constructor is None:
            raise TlError(f"unknown TL constructor {data[pos : pos + 4][::-1].hex()}")
        return self._read_fields(data, pos + 4, constructor)

    def _read_fields(self, data: bytes, pos: int, constructor: Constructor) -> tuple[dict[str, Any], int]:
        values: dict[str, Any] = {"@type": constructor.name}
        for field in constructor.fields:
            if field.flag is not None and not values[field.flag[0]] >> field.flag[1] & 1:
                continue
            values[field.name], pos = self._read(data, pos, field.type)
        return values, pos

    def _read(self, data: bytes, pos: int, kind: str) -> tuple[Any, int]:
        if kind == "int":
            return struct.unpack_from("<i", data, pos)[0], pos + 4
        if kind == "#":
            return struct.unpack_from("<I", data, pos)[0], pos + 4
        if kind == "long":
            return struct.unpack_from("<q", data, pos)[0], pos + 8
        if kind == "int256":
            return struct.unpack_from("32s", data, pos)[0], pos + 32
        if kind in ("bytes", "string"):
            raw, pos = _read_bytes(data, pos)
            return (raw.decode(errors="replace") if kind == "string" else raw), pos
        if kind == "Bool":
            return data[pos : pos + 4] == _TRUE, pos + 4
        if kind == "true":
            return True, pos
        if kind.startswith("vector "):
            count = struct.unpack_from("<I", data, pos)[0]
            pos += 4
            if count > len(data):
                raise TlError("a TL vector is longer than the data")
            items = []
            for _ in range(count):
                item, pos = self._read(data, pos, kind[7:])
                items.append(item)
            return items, pos
        if kind in self._by_name:
            return self._read_fields(data, pos, self._by_name[kind])
        return self._read_boxed(data, pos)


def _constructor(line: str) -> Constructor:
    text = " ".join(line.split()).rstrip("; ")
    left, _, result = text.rpartition("=")
    head, _, rest = left.strip().partition(" ")
    name, _, explicit = head.partition("#")
    tag = int(explicit, 16) if explicit else zlib.crc32(text.replace("(", "").replace(")", "").encode())
    fields = []
    for field, flag, kind in _FIELD.findall(rest):
        where, _, bit = flag.rstrip("?").partition(".")
        fields.append(_Field(field, (where, int(bit)) if flag else None, kind.strip("()")))
    return Constructor(name, tag.to_bytes(4, "little"), tuple(fields), result.strip())


def _write_bytes(out: bytearray, value: bytes) -> None:
    start = len(out)
    if len(value) < 254:
        out.append(len(value))
    elif len(value) < 1 << 24:
        out += b"\xfe" + len(value).to_bytes(3, "little")
    else:
        out += b"\xff" + len(value).to_bytes(7, "little")
    out += value
    out += bytes(-(len(out) - start) % 4)


def _read_bytes(data: bytes, pos: int) -> tuple[bytes, int]:
    length, header = data[pos], 1
    if length == 254:
        length, header = int.from_bytes(data[pos + 1 : pos + 4], "little"), 4
    elif length == 255:
        length, header = int.from_bytes(data[pos + 1 : pos + 8], "little"), 8
    end = pos + header + length
    if end > len(data):
        raise TlError("truncated TL data")
    return data[pos + header : end], end + -(header + length) % 4


@cache
def lite_schema() -> Schema:
    """The lite-server API, from the schema that `pytoniq_core` ships, and the transport's pings."""
    text = resources.files("pytoniq_core.tl").joinpath("schemas/lite_api.tl").read_text()
    lines = [line.split("//")[0] for line in text.splitlines()]
    body = " ".join(line for line in lines if not line.startswith("---"))
    found = [part.strip() for part in body.split(";") if "=" in part]
    first = next(number for number, line in enumerate(found) if line.startswith("tonNode.blockId "))
    return Schema([*found[first:], *_TRANSPORT])
