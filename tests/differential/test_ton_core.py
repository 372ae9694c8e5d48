"""`contracts/scheme.tlb` is enough for other languages: cells by npm's @ton/core and by `cocoon.wire` are the same.

Random values go from the scheme to a cell through @ton/core's Builder, are read and written again by the Python
codec, and come back through @ton/core's Slice.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from pytoniq_core import begin_cell
from tlb import Named
from tlb_cells import Record
from ton_core import TonCore, TonCoreRefusal
from wire_types import CODEC, OWN, SCHEMA, VALUES, WIRE, assert_same

from cocoon.contracts_build import load
from cocoon.wire.common import state_init

NETWORK = ("state_init", "bounced", "bounced_rich")
"""Cells in forms of the network's own, which no dataclass of `cocoon.wire` stands for."""


@pytest.fixture(scope="module")
def ton_core() -> Iterator[TonCore]:
    with TonCore(SCHEMA) as running:
        yield running


@pytest.mark.parametrize("constructor", sorted(OWN))
def test_ton_core_random_values_agree_with_the_python_codec_both_ways(constructor: str, ton_core: TonCore) -> None:
    """What @ton/core builds, Python reads as the same value; what Python builds, @ton/core reads as the same value."""
    kind, wire = Named(OWN[constructor].result), WIRE[constructor]

    @settings(max_examples=20, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(value=VALUES.records(constructor))
    def agrees(value: Record) -> None:
        built, hash_ = ton_core.encode(kind, value)
        assert built.hash == hash_
        read = wire.from_cell(built)
        assert_same(kind, value, read)
        written = read.to_cell()
        assert written.hash == hash_
        assert ton_core.decode(kind, written) == (value, hash_)

    agrees()


@pytest.mark.parametrize("constructor", sorted(OWN))
def test_ton_core_extremes_agree_with_the_python_codec(constructor: str, ton_core: TonCore) -> None:
    """All bits set, every option there: what random values hit too rarely."""
    kind = Named(OWN[constructor].result)
    value = VALUES.largest_record(constructor)
    built, hash_ = ton_core.encode(kind, value)
    assert WIRE[constructor].from_cell(built).to_cell().hash == hash_
    assert ton_core.decode(kind, built) == (value, hash_)


@pytest.mark.parametrize("constructor", NETWORK)
def test_ton_core_random_values_of_network_types_agree_with_the_scheme(constructor: str, ton_core: TonCore) -> None:
    kind = Named(SCHEMA.constructors[constructor].result)

    @settings(max_examples=20, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(value=VALUES.records(constructor))
    def agrees(value: Record) -> None:
        built, hash_ = ton_core.encode(kind, value)
        assert (CODEC.encode(kind, value).hash, CODEC.decode(kind, built)) == (hash_, value)
        assert ton_core.decode(kind, built) == (value, hash_)

    agrees()


@pytest.mark.parametrize("name", ["Registry", "Worker", "Escrow", "Slashing"])
def test_ton_core_reads_the_state_init_that_addresses_are_made_of(name: str, ton_core: TonCore) -> None:
    made = state_init(load(name).code, begin_cell().store_uint(7, 8).end_cell())
    value, hash_ = ton_core.decode(Named("StateInit"), made)
    assert hash_ == made.hash
    assert value.fields["code"].hash == load(name).hash


def test_ton_core_trailing_data_refused(ton_core: TonCore) -> None:
    """The comparison is as strict as the contracts are: a bit too many is no value."""
    top_up = begin_cell().store_uint(0xC0C00302, 32).store_uint(1, 64)
    with pytest.raises(TonCoreRefusal):
        ton_core.decode(Named("EscrowMessage"), top_up.store_bit(1).end_cell())
