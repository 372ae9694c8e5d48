"""Reading cells from strangers: dictionaries agree with the library's, and nothing malformed is taken for data."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pytoniq_core import Address, Builder, Cell, HashMap

from cocoon.chain.cells import Reader, Unreadable, items, lookup
from cocoon.chain.parsing import parse_transaction
from cocoon.errors import ChainError
from cocoon_sandbox.ledger import Ledger

BITS = 16


def dictionary(entries: dict[int, int]) -> Cell | None:
    made = HashMap(BITS, value_serializer=lambda value, dest: dest.store_uint(value, 32))
    for key, value in entries.items():
        made.set_int_key(key, value)
    return made.serialize() if entries else None


@settings(max_examples=150, deadline=None)
@given(
    entries=st.dictionaries(st.integers(0, (1 << BITS) - 1), st.integers(0, (1 << 32) - 1), max_size=20),
    absent=st.integers(0, (1 << BITS) - 1),
)
def test_dictionary_of_any_content_is_read_whole_and_by_key(entries: dict[int, int], absent: int) -> None:
    root = dictionary(entries)
    assert {key: leaf.uint(32) for key, leaf in items(root, BITS)} == entries
    assert [key for key, _ in items(root, BITS)] == sorted(entries)
    for key in {*entries, absent}:
        leaf = lookup(root, key, BITS)
        assert (None if leaf is None else leaf.uint(32)) == entries.get(key)


@settings(max_examples=200, deadline=None)
@given(bits=st.binary(max_size=20), key=st.integers(0, 255))
def test_dictionary_of_garbage_is_unreadable_or_absent(bits: bytes, key: int) -> None:
    cell = Builder().store_bytes(bits).end_cell()
    try:
        lookup(cell, key, 8)
        list(items(cell, 8))
    except Unreadable:
        return


def test_dictionary_with_a_pruned_path_is_unreadable_there_only() -> None:
    root = dictionary({0: 1, 1 << 15: 2})
    assert root is not None
    left = root.refs[0]
    data = Builder().store_uint(0x0101, 16).store_bytes(left.hash).store_uint(left.get_depth(), 16).end_cell()
    pruned = Cell(data.bits, [], 1)
    proof = Cell(root.bits, [pruned, root.refs[1]])
    assert proof.get_hash(0) == root.hash
    found = lookup(proof, 1 << 15, BITS)
    assert found is not None
    assert found.uint(32) == 2
    with pytest.raises(Unreadable, match="pruned"):
        lookup(proof, 0, BITS)


def test_reader_beyond_the_end_is_unreadable() -> None:
    reader = Reader(Builder().store_uint(5, 8).end_cell())
    assert (reader.uint(4), reader.sint(4)) == (0, 5)
    for read in (reader.bit, reader.ref, reader.coins, reader.address):
        with pytest.raises(Unreadable):
            read()


def test_transaction_parsed_agrees_with_the_executor(ledger: Ledger) -> None:
    sender = ledger.treasury("sender")
    for transaction in sender.send(ledger, Address((0, b"\x03" * 32)), 10**9, bounce=True):
        parsed = parse_transaction(transaction.cell, 0)
        found = parsed.transaction
        assert (found.account, found.lt, found.now) == (transaction.account, transaction.lt, transaction.now)
        assert (parsed.prev_lt, parsed.prev_hash) == (transaction.prev_lt, transaction.prev_hash)
        assert (found.exit_code, found.action_code) == (transaction.exit_code, transaction.action_code)
        assert (found.aborted, found.gas_used) == (transaction.aborted, transaction.gas_used)
        assert found.total_fees == transaction.total_fees
        assert found.forward_fees == (transaction.phases.action.forward_fees if transaction.phases.action else 0)
        assert [out.hash for out in found.out_msgs] == [out.hash for out in transaction.out_msgs]
        assert [out.value for out in found.out_msgs] == [out.value for out in transaction.out_msgs]
        assert [out.bounced for out in found.out_msgs] == [out.bounced for out in transaction.out_msgs]
        assert [out.body.hash for out in found.out_msgs] == [out.body.hash for out in transaction.out_msgs]


@settings(max_examples=100, deadline=None)
@given(data=st.binary(max_size=100))
def test_transaction_of_garbage_is_refused(data: bytes) -> None:
    with pytest.raises(ChainError, match="layout"):
        parse_transaction(Builder().store_bytes(data).end_cell(), 0)
