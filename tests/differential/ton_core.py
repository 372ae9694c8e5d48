"""`ton_core.mjs`, the reader and writer of cells on npm's @ton/core, as seen from Python; values in the form of
`tlb_cells`.
"""

from __future__ import annotations

import base64
import json
import subprocess
from pathlib import Path
from typing import Any, Self

from pytoniq_core import Address, Cell
from tlb import Constructor, InRef, Named, Schema, Type
from tlb_cells import Record

from cocoon_sandbox import toolchain
from cocoon_sandbox.boc import to_boc

__all__ = ["TonCore", "TonCoreRefusal"]

_PROGRAM = Path(__file__).with_name("ton_core.mjs")


class TonCoreRefusal(Exception):
    """@ton/core can't make or read this cell."""


class TonCore:
    """One Node process that knows `schema`; a context manager."""

    def __init__(self, schema: Schema) -> None:
        self._schema = schema
        self._process = subprocess.Popen(
            [str(toolchain.node_binary()), str(_PROGRAM), str(toolchain.install())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._exchange({"types": {name: [_constructor(made) for made in ways] for name, ways in schema.types.items()}})

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        assert self._process.wait(timeout=10) == 0

    def encode(self, kind: Named, value: Any) -> tuple[Cell, bytes]:
        """The cell @ton/core builds, as read by pytoniq, and the hash @ton/core says it has."""
        reply = self._exchange({"op": "encode", "type": _type(kind), "value": self._to_json(kind, value)})
        return Cell.one_from_boc(base64.b64decode(reply["boc"])), bytes.fromhex(reply["hash"])

    def decode(self, kind: Named, cell: Cell) -> tuple[Any, bytes]:
        """The value @ton/core reads to the last bit, and the hash it says the cell has."""
        reply = self._exchange({"op": "decode", "type": _type(kind), "boc": _bag(cell)})
        return self._from_json(kind, reply["value"]), bytes.fromhex(reply["hash"])

    def _exchange(self, request: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, "the Node process has ended"
        reply: dict[str, Any] = json.loads(line)
        if "refused" in reply:
            raise TonCoreRefusal(reply["refused"])
        return reply

    def _to_json(self, kind: Type, value: Any) -> Any:
        if isinstance(kind, InRef):
            return self._to_json(kind.inner, value)
        match value:
            case bool() | None:
                return value
            case int():
                return str(value)
            case bytes():
                return value.hex()
            case Address():
                return value.to_str(is_user_friendly=False)
            case Cell():
                return _bag(value)
            case dict():
                return [[str(key), self._to_json(_inner(kind, 1), item)] for key, item in value.items()]
            case Record():
                made = self._schema.constructors[value.constructor]
                written = {name: self._to_json(inner, value.fields[name]) for name, inner in made.fields}
                return {"constructor": value.constructor, "fields": written}
        return self._to_json(_inner(kind, 0), value)

    def _from_json(self, kind: Type, found: Any) -> Any:
        if isinstance(kind, InRef):
            return self._from_json(kind.inner, found)
        prefix = kind.name.rstrip("0123456789")
        match prefix, found:
            case _, bool() | None:
                return found
            case "bits", str():
                return bytes.fromhex(found)
            case "Cell", str():
                return Cell.one_from_boc(base64.b64decode(found))
            case "MsgAddress" | "MsgAddressInt", str():
                return Address(found)
            case "Maybe", _:
                return self._from_json(_inner(kind, 0), found)
            case "HashmapE", list():
                return {int(key): self._from_json(_inner(kind, 1), item) for key, item in found}
            case _, str():
                return int(found)
        made = self._schema.constructors[found["constructor"]]
        return Record(made.name, {name: self._from_json(inner, found["fields"][name]) for name, inner in made.fields})


def _inner(kind: Named, position: int) -> Type:
    inner = kind.arguments[position]
    assert isinstance(inner, InRef | Named)
    return inner


def _bag(cell: Cell) -> str:
    return base64.b64encode(to_boc(cell)).decode()


def _constructor(made: Constructor) -> dict[str, Any]:
    fields = [[name, _type(kind)] for name, kind in made.fields]
    return {"name": made.name, "tag": made.tag, "fields": fields, "plain": made.is_plain}


def _type(kind: Type | int | str) -> Any:
    if isinstance(kind, InRef):
        return {"ref": _type(kind.inner)}
    if isinstance(kind, Named):
        return {"name": kind.name, "arguments": [_type(argument) for argument in kind.arguments]}
    return kind
