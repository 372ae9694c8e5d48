"""`contracts/scheme.tlb`, the Python codec, the Tolk sources and what the contracts really send say the same."""

from __future__ import annotations

import importlib
from enum import IntEnum

import pytest
import tolk_sources
from hypothesis import HealthCheck, given, settings
from pytoniq_core import Cell, begin_cell
from tlb import Named
from tlb_cells import Record
from tolk_sources import snake
from wire_types import CODEC, CONTRACTS, OWN, SCHEMA, STANDARD, VALUES, WIRE, assert_same

from cocoon.wire.blob import bytes_to_cell
from cocoon.wire.common import DOMAIN_TAG, state_init

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
        assert_same(kind, value, decoded)
        encoded = decoded.to_cell()
        assert encoded.hash == cell.hash
        assert CODEC.decode(kind, encoded) == value

    agrees()


@pytest.mark.parametrize("constructor", sorted(OWN))
def test_scheme_extremes_agree_with_the_python_codec(constructor: str) -> None:
    """All bits set, every option there: what random values hit too rarely."""
    kind = Named(OWN[constructor].result)
    value = VALUES.largest_record(constructor)
    cell = CODEC.encode(kind, value)
    assert WIRE[constructor].from_cell(cell).to_cell().hash == cell.hash


def test_scheme_enumerations_equal_the_python_ones() -> None:
    modules = [importlib.import_module(name) for name in {wire.__module__ for wire in WIRE.values()}]
    every = [found for module in modules for found in vars(module).values() if isinstance(found, type)]
    pascal = {cls.__name__: cls for cls in every if issubclass(cls, IntEnum) and cls is not IntEnum}
    pascal["StatementKind"] = pascal.pop("Kind")
    pascal["TcbStatus"] = pascal.pop("TcbStatusCode")
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

STACK_ONLY = {
    "Caller", "CrlContents", "DocumentText", "ExaminedQuote", "P256Key", "PckCertificate", "SlotState", "TdReport",
    "WrittenList",
    "RenewedBinding",  # a Binding, read as far as a rebinding changes it
}  # fmt: skip
WRITTEN_OTHERWISE = {
    ("SignedDomain", "kind"): "StatementKind",  # the Tolk sources have KIND_* constants for it
    ("TcbSet", "levels"): "Cell<TcbLevel>",  # read level by level
    ("TcbLevel", "next"): "Cell<TcbLevel>?",
    ("QeIdentityHints", "levels"): "Cell<SvnLevelHint>",
    ("SvnLevelHint", "next"): "Cell<SvnLevelHint>?",
    ("TdxModuleHint", "levels"): "Cell<SvnLevelHint>",
    ("TdxModuleHint", "next"): "Cell<TdxModuleHint>?",
    ("TcbLevelHint", "next"): "Cell<TcbLevelHint>?",
    ("TcbInfoHints", "modules"): "Cell<TdxModuleHint>?",
    ("TcbInfoHints", "levels"): "Cell<TcbLevelHint>",
}


def _tolk_type(text: str) -> set[str]:
    """The scheme's types that `text` may be written as."""
    known = {"address": "MsgAddressInt", "address?": "MsgAddress", "bool": "Bool", "()": "Unit"}
    if text in known:
        return {known[text]}
    if text == "cell":
        return {"^Cell", "^Blob"}
    if text == "RemainingBitsAndRefs":
        return {"Cell"}
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
            allowed = _tolk_type(WRITTEN_OTHERWISE.get((struct.name, name), written))
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
