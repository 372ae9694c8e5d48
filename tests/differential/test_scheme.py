"""`contracts/scheme.tlb`, the Python codec, the Tolk sources and what the contracts really send say the same."""

from __future__ import annotations

import importlib
import pkgutil
from dataclasses import fields
from enum import IntEnum
from pathlib import Path
from typing import Any

import pytest
import tolk_sources
from hypothesis import HealthCheck, given, settings
from pytoniq_core import Cell, begin_cell
from tlb import InRef, Named, Schema, Type
from tlb_cells import Codec, Record
from tlb_values import Values
from tolk_sources import snake

import cocoon.wire
from cocoon.crypto import request as crypto_request
from cocoon.wire.blob import bytes_to_cell
from cocoon.wire.codec import Struct
from cocoon.wire.common import DOMAIN_TAG, state_init

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


def _subclasses(base: type[Struct]) -> set[type[Struct]]:
    return {cls for child in base.__subclasses__() for cls in {child, *_subclasses(child)}}


def _wire_structs() -> dict[str, type[Struct]]:
    """Wire types by constructor name."""
    for module in pkgutil.iter_modules(cocoon.wire.__path__):
        importlib.import_module(f"cocoon.wire.{module.name}")
    named = {cls.__qualname__: cls for cls in _subclasses(Struct) if cls.__module__.startswith("cocoon.wire.")}
    named["RequestBinding"] = crypto_request.RequestBinding
    return {snake(name): getattr(importlib.import_module(cls.__module__), name) for name, cls in named.items()}


WIRE = _wire_structs()
OWN = {
    made.name: made
    for name, ways in SCHEMA.types.items()
    for made in ways
    if name not in STANDARD and not SCHEMA.is_enumeration(name)
}


def _assert_same(kind: Type, expected: Any, found: Any) -> None:
    """That a value by the scheme and one by the Python codec are equal, names of fields included."""
    if isinstance(kind, InRef) and isinstance(found, Cell):  # a cell that the Python codec leaves closed
        assert CODEC.encode(kind.inner, expected).hash == found.hash
    elif isinstance(kind, InRef):
        _assert_same(kind.inner, expected, found)
    elif kind.name == "Maybe" and expected is not None:
        (inner,) = kind.arguments
        assert isinstance(inner, InRef | Named)
        _assert_same(inner, expected, found)
    elif kind.name == "HashmapE":
        inner = kind.arguments[1]
        assert isinstance(inner, InRef | Named)
        assert expected.keys() == found.keys()
        for key, item in expected.items():
            _assert_same(inner, item, found[key])
    elif isinstance(expected, Record) and expected.constructor == "unit":
        assert found is None
    elif isinstance(expected, Record):
        assert isinstance(found, Struct)
        constructor = snake(type(found).__name__)
        assert constructor == expected.constructor
        names = [PYTHON_NAMES.get((constructor, field.name), field.name) for field in fields(found)]  # type: ignore[arg-type]
        assert names == list(expected.fields)
        for (_, inner), field, item in zip(
            SCHEMA.constructors[constructor].fields,
            fields(found),  # type: ignore[arg-type]
            expected.fields.values(),
            strict=True,
        ):
            _assert_same(inner, item, getattr(found, field.name))
    else:
        assert found == expected
        assert type(found) is type(expected)


# ---- scheme and Python codec ----


def test_scheme_every_wire_type_has_a_constructor_and_the_other_way_round() -> None:
    assert set(OWN) == set(WIRE)


@pytest.mark.parametrize("constructor", sorted(OWN))
def test_scheme_random_values_agree_with_the_python_codec_both_ways(constructor: str) -> None:
    made, wire = OWN[constructor], WIRE[constructor]
    kind = Named(made.result)

    @settings(max_examples=12, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(value=VALUES.records(constructor))
    def agrees(value: Record) -> None:
        cell = CODEC.encode(kind, value)
        decoded = wire.from_cell(cell)
        _assert_same(kind, value, decoded)
        encoded = decoded.to_cell()
        assert encoded.hash == cell.hash
        assert CODEC.decode(kind, encoded) == value

    agrees()


@pytest.mark.parametrize("constructor", sorted(OWN))
def test_scheme_extremes_agree_with_the_python_codec(constructor: str) -> None:
    """All bits set, every option there: what random values hit too rarely."""
    kind = Named(OWN[constructor].result)
    value = Record(constructor, {name: VALUES.largest(field) for name, field in OWN[constructor].fields})
    cell = CODEC.encode(kind, value)
    assert WIRE[constructor].from_cell(cell).to_cell().hash == cell.hash


def test_scheme_enumerations_equal_the_python_ones() -> None:
    modules = [importlib.import_module(name) for name in {wire.__module__ for wire in WIRE.values()}]
    every = [found for module in modules for found in vars(module).values() if isinstance(found, type)]
    pascal = {cls.__name__: cls for cls in every if issubclass(cls, IntEnum) and cls is not IntEnum}
    pascal["StatementKind"] = pascal.pop("Kind")
    found = {name for name in SCHEMA.types if SCHEMA.is_enumeration(name) and name not in STANDARD}
    assert found == set(pascal)
    for name in found:
        values = {made.name.removeprefix(f"{snake(name)}_"): int(made.tag, 2) for made in SCHEMA.types[name]}
        assert values == {member.name.lower(): member.value for member in pascal[name]}


def test_scheme_blob_is_the_tree_its_comment_describes() -> None:
    for length in (0, 1, 123, 124, 123 + 4 * 127, 124 + 4 * 127, 5000):
        data = bytes(at * 7 % 251 for at in range(length))
        assert _read_blob(bytes_to_cell(data)) == data


def _read_blob(root: Cell) -> bytes:
    nodes, at = [root], 0
    while at < len(nodes):
        assert len(nodes) + len(nodes[at].refs) <= 4 * at + 5  # children of node i are 4i+1 .. 4i+4
        nodes += nodes[at].refs
        at += 1
    stream = b"".join(node.bits.tobytes() for node in nodes)
    assert all(len(node.bits) == 8 * 127 for node in nodes[:-1])
    assert int.from_bytes(stream[:4], "big") == len(stream) - 4
    return stream[4:]


def test_scheme_state_init_is_what_addresses_are_made_of() -> None:
    code, data = (begin_cell().store_uint(number, 8).end_cell() for number in (1, 2))
    read = CODEC.decode(Named("StateInit"), state_init(code, data))
    absent = {"fixed_prefix_length": None, "special": None, "library": None}
    assert read == Record("state_init", {**read.fields, **absent})
    assert (read.fields["code"].hash, read.fields["data"].hash) == (code.hash, data.hash)


# ---- scheme and Tolk sources ----

STACK_ONLY = {"Caller"}
CONSTANTS_NOT_ENUM = {("SignedDomain", "kind"): "StatementKind"}  # the Tolk sources have KIND_* constants for it


def _tolk_type(text: str) -> set[str]:
    """The scheme's types that `text` may be written as."""
    known = {"address": "MsgAddressInt", "address?": "MsgAddress", "bool": "Bool", "()": "Unit"}
    if text in known:
        return {known[text]}
    if text == "cell":
        return {"^Cell", "^Blob"}
    if text.startswith("map<uint256, ") and text.endswith(">"):
        return {f"(HashmapE 256 {inner})" for inner in _tolk_type(text[len("map<uint256, ") : -1])}
    if text.endswith("?"):
        return {f"(Maybe {inner})" for inner in _tolk_type(text[:-1])}
    if text.startswith("Cell<") and text.endswith(">"):
        return {f"^{inner}" for inner in _tolk_type(text[len("Cell<") : -1])}
    return {text}


def test_scheme_every_tolk_struct_has_equal_prefix_and_fields() -> None:
    declared = tolk_sources.structs(CONTRACTS)
    messages = [struct for struct in declared if len(struct.prefix) == 32]
    assert len(messages) >= 40
    assert {snake(struct.name) for struct in messages} == {
        made.name for made in OWN.values() if made.opcode is not None
    }
    for struct in declared:
        if struct.name in STACK_ONLY:
            continue
        made = OWN[snake(struct.name)]
        assert made.tag == struct.prefix, struct.name
        assert [name for name, _ in made.fields] == [snake(name) for name, _ in struct.fields], struct.name
        for (name, kind), (_, written) in zip(made.fields, struct.fields, strict=True):
            allowed = _tolk_type(CONSTANTS_NOT_ENUM.get((struct.name, name), written))
            assert str(kind) in allowed, f"{struct.name}.{name}: {kind} is not {written}"


def test_scheme_enumerations_equal_the_tolk_ones() -> None:
    declared = {name: values for name, (width, values) in tolk_sources.enums(CONTRACTS).items() if width is not None}
    found = {name for name in SCHEMA.types if SCHEMA.is_enumeration(name) and name not in STANDARD}
    assert found - {"StatementKind"} == set(declared)
    for name, values in declared.items():
        scheme = {made.name.removeprefix(f"{snake(name)}_"): int(made.tag, 2) for made in SCHEMA.types[name]}
        assert scheme == {snake(member): value for member, value in values.items()}
        assert {len(made.tag) for made in SCHEMA.types[name]} == {tolk_sources.enums(CONTRACTS)[name][0]}


def test_scheme_statement_kinds_and_tag_equal_the_tolk_constants() -> None:
    source = (CONTRACTS / "common/domain.tolk").read_text()
    constants = dict(tolk_sources.constants(source))
    kinds = {made.name.removeprefix("statement_kind_"): int(made.tag, 2) for made in SCHEMA.types["StatementKind"]}
    assert kinds == {name[5:].lower(): value for name, value in constants.items() if name.startswith("KIND_")}
    assert constants["DOMAIN_TAG"] == DOMAIN_TAG
    assert f"`tag` is {DOMAIN_TAG:#x}" in (CONTRACTS / "scheme.tlb").read_text()
