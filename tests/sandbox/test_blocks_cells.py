"""Cells, dictionaries and Merkle structures against `pytoniq_core`'s, on random data."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pytoniq_core import Cell as ForeignCell
from pytoniq_core import HashMap

from cocoon_sandbox.state import dictionary
from cocoon_sandbox.state.boc import from_boc, one_from_boc, to_boc
from cocoon_sandbox.state.builder import Builder, Slice
from cocoon_sandbox.state.cell import EMPTY_CELL, MAX_DEPTH, MERKLE_PROOF, ORDINARY, PRUNED, Cell, CellError, iterate
from cocoon_sandbox.state.crc import crc32c
from cocoon_sandbox.state.merkle import merkle_proof, merkle_update, prune

NO_AUG = dictionary.NoAugmentation()
KEY_BITS = 64


def _trie(entries: dict[int, int]) -> dictionary.Node | None:
    return dictionary.build({key: Builder().uint(value, 32) for key, value in entries.items()}, KEY_BITS)


def _foreign_hash(entries: dict[int, int]) -> bytes:
    foreign = HashMap(KEY_BITS, value_serializer=lambda value, to: to.store_uint(value, 32))
    foreign.map = dict(entries)
    digest: bytes = foreign.serialize().hash
    return digest


keys = st.one_of(st.integers(0, 2**KEY_BITS - 1), st.integers(0, 7), st.integers(2**KEY_BITS - 8, 2**KEY_BITS - 1))
tables = st.dictionaries(keys, st.integers(0, 2**32 - 1), min_size=1, max_size=30)


@given(tables, st.lists(keys, max_size=10))
@settings(max_examples=60, deadline=None)
def test_dictionary_after_puts_and_deletes_equals_one_built_at_once(
    entries: dict[int, int], dropped: list[int]
) -> None:
    editor = dictionary.Editor(None, KEY_BITS)
    for key, value in entries.items():
        editor.put(key, Builder().uint(value, 32))
    left = dict(entries)
    for key in dropped:
        assert editor.delete(key) == (left.pop(key, None) is not None)
    if not left:
        assert editor.root is None
        return
    assert editor.root is not None
    cell = editor.root.cell(NO_AUG)
    assert cell.hash == _foreign_hash(left)
    assert {key: value.uint(32) for key, value in dictionary.parse(cell, KEY_BITS).items()} == left
    assert [key for key, _ in dictionary.items(editor.root)] == sorted(left)


@given(tables, keys)
@settings(max_examples=60, deadline=None)
def test_merkle_proof_of_a_path_shows_the_value_or_its_absence(entries: dict[int, int], key: int) -> None:
    root = _trie(entries)
    assert root is not None
    cell = root.cell(NO_AUG)
    proof = merkle_proof(cell, {step.hash for step in dictionary.path(root, key, KEY_BITS, NO_AUG)})
    foreign = ForeignCell.one_from_boc(to_boc(proof))
    assert foreign.hash == proof.hash
    assert foreign[0].get_hash(0) == cell.hash
    shown = dictionary.parse(proof.refs[0], KEY_BITS)
    assert (shown[key].uint(32) if key in shown else None) == entries.get(key)


@given(tables, tables, st.lists(keys, max_size=5))
@settings(max_examples=60, deadline=None)
def test_merkle_update_applied_to_the_old_tree_gives_the_new_one(
    entries: dict[int, int], changes: dict[int, int], dropped: list[int]
) -> None:
    old_root = _trie(entries)
    assert old_root is not None
    old = old_root.cell(NO_AUG)
    editor = dictionary.Editor(old_root, KEY_BITS)
    for key, value in changes.items():
        editor.put(key, Builder().uint(value, 32))
    for key in dropped:
        editor.delete(key)
    new = editor.root.cell(NO_AUG) if editor.root is not None else EMPTY_CELL
    update = merkle_update(old, new, {node.cell(NO_AUG).hash for node in editor.replaced})
    assert ForeignCell.one_from_boc(to_boc(update)).hash == update.hash
    shown_old = {cell.hash_at(0) for cell in iterate([update.refs[0]])}
    for cell in iterate([update.refs[1]]):
        assert cell.kind != PRUNED or cell.hash_at(0) in shown_old
    assert _apply(update.refs[1], {cell.hash: cell for cell in iterate([old])}).hash == new.hash


def _apply(shown: Cell, known: dict[bytes, Cell]) -> Cell:
    """The tree with every pruned branch replaced by what it stands for."""
    if shown.kind == PRUNED:
        return known[shown.hash_at(0)]
    return Cell(shown.data, shown.bits, tuple(_apply(ref, known) for ref in shown.refs), shown.kind)


def test_merkle_proof_about_a_merkle_update_keeps_the_hashes_of_both_levels() -> None:
    old, new = _trie({1: 1, 2: 2}), _trie({1: 1, 2: 3})
    assert old is not None
    assert new is not None
    update = merkle_update(old.cell(NO_AUG), new.cell(NO_AUG), {old.cell(NO_AUG).hash})
    holder = Builder().ref(update).cell()
    proof = merkle_proof(holder, {holder.hash, update.hash})
    foreign = ForeignCell.one_from_boc(to_boc(proof))
    assert foreign.hash == proof.hash
    assert foreign[0].get_hash(0) == holder.hash
    assert foreign[0][0][1].get_hash(0) == new.cell(NO_AUG).hash


def test_bag_with_many_roots_shares_cells_and_reads_back() -> None:
    leaf = Builder().uint(5, 7).cell()
    middle = Builder().ref(leaf).ref(leaf).cell()
    top = Builder().uint(1, 8).ref(middle).ref(leaf).cell()
    bag = to_boc(top, leaf, middle)
    assert from_boc(bag) == [top, leaf, middle]
    assert [cell.hash for cell in ForeignCell.from_boc(bag)] == [top.hash, leaf.hash, middle.hash]
    assert bag.count(leaf.data) == 1


def test_bag_of_a_deep_and_densely_shared_tree_is_written_without_recursion() -> None:
    cell = EMPTY_CELL
    for _ in range(1000):
        cell = Builder().ref(cell).ref(cell).ref(cell).cell()
    assert one_from_boc(to_boc(cell)) == cell


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(lambda bag: bag[:-1], id="cut short"),
        pytest.param(lambda bag: bag + b"\0", id="longer"),
        pytest.param(lambda bag: b"\0" + bag[1:], id="magic"),
        pytest.param(lambda bag: bag[:4] + b"\x09" + bag[5:], id="width"),
        pytest.param(lambda bag: b"", id="empty"),
        pytest.param(lambda bag: bag[:-3] + b"\0" + bag[-2:], id="reference to itself"),
    ],
)
def test_malformed_bag_is_refused_with_a_cell_error(spoil: object) -> None:
    bag = to_boc(Builder().uint(1, 8).ref(EMPTY_CELL).cell())
    assert callable(spoil)
    with pytest.raises(CellError):
        from_boc(spoil(bag))


def test_bag_with_a_wrong_checksum_is_refused() -> None:
    foreign = ForeignCell.one_from_boc(to_boc(EMPTY_CELL)).to_boc(hash_crc32=True)
    assert from_boc(foreign) == [EMPTY_CELL]
    with pytest.raises(CellError, match="checksum"):
        from_boc(foreign[:-1] + bytes((foreign[-1] ^ 1,)))


def test_crc32c_of_the_standard_check_string_is_the_published_value() -> None:
    assert crc32c(b"123456789") == 0xE3069283


def test_cell_deeper_than_the_limit_is_refused() -> None:
    cell = EMPTY_CELL
    while cell.depth < MAX_DEPTH:
        cell = Builder().ref(cell).cell()
    with pytest.raises(CellError, match="deeper"):
        Builder().ref(cell).cell()


def test_cell_with_too_many_bits_is_refused() -> None:
    with pytest.raises(CellError, match="1023"):
        Builder().uint(0, 1024).cell()


def test_slice_read_past_its_end_is_refused() -> None:
    source = Slice(Builder().uint(3, 2).cell())
    assert source.uint(2) == 3
    with pytest.raises(CellError):
        source.bit()
    with pytest.raises(CellError):
        source.ref()


def test_pruned_branch_reports_the_hash_and_depth_of_what_it_stands_for() -> None:
    tree = Builder().ref(Builder().uint(1, 1).cell()).cell()
    branch = prune(tree)
    assert branch.hash_at(0) == tree.hash
    assert branch.depth_at(0) == tree.depth == 1
    assert branch.hash != tree.hash
    assert branch.mask == 1


def test_merkle_proof_cell_that_lies_about_its_type_is_refused() -> None:
    with pytest.raises(CellError):
        Cell(b"\x03", 8, (EMPTY_CELL,), MERKLE_PROOF)
    assert Cell(b"\x03", 8, (EMPTY_CELL,), ORDINARY).mask == 0
