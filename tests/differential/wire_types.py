"""The Python codec beside the scheme: which dataclass is which constructor, and when two values are the same."""

from __future__ import annotations

import importlib
import pkgutil
from dataclasses import fields
from pathlib import Path
from typing import Any

from pytoniq_core import Cell
from tlb import InRef, Named, Schema, Type
from tlb_cells import Codec, Record
from tlb_values import Values
from tolk_sources import snake

import cocoon.wire
from cocoon.crypto import request as crypto_request
from cocoon.wire.codec import Struct

__all__ = ["CODEC", "CONTRACTS", "OWN", "SCHEMA", "STANDARD", "VALUES", "WIRE", "assert_same"]

CONTRACTS = Path(__file__).parents[2] / "contracts"
SCHEMA = Schema.parse((CONTRACTS / "scheme.tlb").read_text())
CODEC = Codec(SCHEMA)
VALUES = Values(CODEC)

STANDARD = {
    "Unit", "Bool", "Maybe", "Bit", "Hashmap", "HashmapNode", "HmLabel", "Unary", "HashmapE", "VarUInteger", "Grams",
    "ExtraCurrencyCollection", "CurrencyCollection", "MsgAddressExt", "Anycast", "MsgAddressInt", "MsgAddress",
    "TickTock", "StateInit", "BouncedBody", "BouncedInfo", "BouncedCompute", "Blob",
}  # fmt: skip
"""Types of the network's, and the blob, which `cocoon.wire.blob` reads: no dataclass of their own."""

PYTHON_NAMES = {("signed_domain", "contract"): "contract_address"}
"""`contract` is a namespace in Tolk."""


RENAMED = {
    "QeIdentityNumbers": "qe_identity", "SvnLevelNumbers": "svn_level", "TcbLevelNumbers": "tcb_level",
    "RevocationListState": "revocation_list",
}  # fmt: skip
"""Python keeps the plain names for the documents that these are the numbers of."""


def constructor_of(wire: type[Struct]) -> str:
    """The scheme's constructor for a dataclass."""
    return RENAMED.get(wire.__name__, snake(wire.__name__))


def assert_same(kind: Type, expected: Any, found: Any) -> None:
    """That a value by the scheme and one by the Python codec are equal, names of fields included."""
    if isinstance(kind, InRef) and isinstance(found, Cell):  # a cell that the Python codec leaves closed
        assert CODEC.encode(kind.inner, expected).hash == found.hash
    elif isinstance(kind, InRef):
        assert_same(kind.inner, expected, found)
    elif kind.name == "Maybe" and expected is not None:
        (inner,) = kind.arguments
        assert isinstance(inner, InRef | Named)
        assert_same(inner, expected, found)
    elif kind.name == "HashmapE":
        inner = kind.arguments[1]
        assert isinstance(inner, InRef | Named)
        assert expected.keys() == found.keys()
        for key, item in expected.items():
            assert_same(inner, item, found[key])
    elif isinstance(expected, Record) and expected.constructor == "unit":
        assert found is None
    elif isinstance(expected, Record):
        assert isinstance(found, Struct)
        constructor = constructor_of(type(found))
        assert constructor == expected.constructor
        names = [PYTHON_NAMES.get((constructor, field.name), field.name) for field in fields(found)]  # type: ignore[arg-type]
        assert names == list(expected.fields)
        for (_, inner), field, item in zip(
            SCHEMA.constructors[constructor].fields,
            fields(found),  # type: ignore[arg-type]
            expected.fields.values(),
            strict=True,
        ):
            assert_same(inner, item, getattr(found, field.name))
    elif isinstance(expected, Cell) and isinstance(found, str):
        assert expected.bits.tobytes().decode() == found
    else:
        assert found == expected
        assert type(found) is type(expected)


def _subclasses(base: type[Struct]) -> set[type[Struct]]:
    return {cls for child in base.__subclasses__() for cls in {child, *_subclasses(child)}}


def _wire_structs() -> dict[str, type[Struct]]:
    """Wire types by constructor name."""
    modules = {f"cocoon.wire.{module.name}" for module in pkgutil.iter_modules(cocoon.wire.__path__)}
    for module in modules:
        importlib.import_module(module)
    named = {cls.__qualname__: cls for cls in _subclasses(Struct) if cls.__module__ in modules}
    named["RequestBinding"] = crypto_request.RequestBinding
    found = {name: getattr(importlib.import_module(cls.__module__), name) for name, cls in named.items()}
    return {constructor_of(cls): cls for cls in found.values()}


WIRE = _wire_structs()
OWN = {
    made.name: made
    for name, ways in SCHEMA.types.items()
    for made in ways
    if name not in STANDARD and not SCHEMA.is_enumeration(name)
}
