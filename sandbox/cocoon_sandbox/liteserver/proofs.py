"""Which cells each answer's proof shows.

Clients re-read the shown cells with the same TL-B types as a node would, so a proof must show every cell such a reader
opens, even where it needs nothing from it: both headers' references, and the two unnamed cells inside the states.
"""

from __future__ import annotations

from collections.abc import Iterable

from cocoon_sandbox.blocks.sealed import SealedState
from cocoon_sandbox.state import dictionary
from cocoon_sandbox.state.boc import to_boc
from cocoon_sandbox.state.cell import Cell
from cocoon_sandbox.state.label import read_edge
from cocoon_sandbox.state.merkle import descend, merkle_proof
from cocoon_sandbox.tlb.augment import DEPTH_BALANCE

__all__ = [
    "account_proof",
    "account_state_proof",
    "block_state_proof",
    "config_cells",
    "dictionary_path",
    "header_cells",
    "mc_extra_cells",
    "old_block_cells",
    "queue_proof",
    "shard_hashes_root",
    "shard_proof",
    "signatures_cell",
    "state_top_cells",
]

_QUEUE, _ACCOUNTS, _REST, _CUSTOM = 0, 1, 2, 3  # references of a state's root
_INFO, _FLOW, _UPDATE, _EXTRA = 0, 1, 2, 3  # references of a block's root
_NO_AUG = dictionary.NoAugmentation()


def header_cells(root: Cell) -> set[bytes]:
    """A block's header with the names of the blocks it builds upon."""
    info = root.refs[_INFO]
    return {root.hash, info.hash, *(cell.hash for cell in info.refs)}


def block_state_proof(root: Cell) -> Cell:
    """Proof of a block's header and of the hash of the state it leads to."""
    return merkle_proof(root, header_cells(root) | {root.refs[_UPDATE].hash})


def mc_extra_cells(root: Cell) -> set[bytes]:
    """The way down to McBlockExtra, with the cell of the previous block's signatures."""
    extra = root.refs[_EXTRA]
    custom = extra.refs[3]
    return {root.hash, extra.hash, custom.hash, signatures_cell(custom).hash}


def signatures_cell(custom: Cell) -> Cell:
    """McBlockExtra's unnamed cell: after the shard hashes and, if there are any, the shard fees."""
    key_block = custom.data[2] >> 7
    return custom.refs[-2 if key_block else -1]


def state_top_cells(root: Cell) -> set[bytes]:
    """A state's root and the unnamed cells inside it and inside McStateExtra."""
    cells = {root.hash, root.refs[_REST].hash}
    if len(root.refs) > _CUSTOM:
        custom = root.refs[_CUSTOM]
        cells |= {custom.hash, custom.refs[-1].hash}
    return cells


def shard_hashes_root(root: Cell) -> Cell:
    """The dictionary of shards in a masterchain state."""
    return root.refs[_CUSTOM].refs[0]


def shard_proof(block_root: Cell, state_root: Cell) -> bytes:
    """Two proofs of what a masterchain block commits: from the block to its state, from the state to the shards."""
    shown = state_top_cells(state_root) | descend(shard_hashes_root(state_root))
    return to_boc(block_state_proof(block_root), merkle_proof(state_root, shown))


def account_proof(state: SealedState, account: int) -> Cell:
    """Proof of an account's entry in the state, without the account itself; or of its absence."""
    root = state.root
    shown = {root.hash, root.refs[_ACCOUNTS].hash, root.refs[_REST].hash}
    shown.update(cell.hash for cell in dictionary.path(state.state.accounts, account, 256, DEPTH_BALANCE))
    return merkle_proof(root, shown)


def account_state_proof(block_root: Cell, state: SealedState, account: int) -> bytes:
    """The pair of proofs from a block to an account's entry."""
    return to_boc(block_state_proof(block_root), account_proof(state, account))


def old_block_cells(state_root: Cell, seqnos: Iterable[int]) -> set[bytes]:
    """The way to previous masterchain blocks in a state's list; readers always look for the zerostate there too."""
    info = state_root.refs[_CUSTOM].refs[-1]
    shown: set[bytes] = set()
    if info.refs:
        for seqno in {0, *seqnos}:
            shown |= dictionary_path(info.refs[0], seqno, 32)
    return shown


def queue_proof(state_root: Cell) -> Cell:
    """Proof of what a state says about its outbound queue, without the messages in it."""
    return merkle_proof(state_root, {state_root.hash, state_root.refs[_QUEUE].hash, state_root.refs[_REST].hash})


def config_cells(config: Cell, numbers: list[int] | None) -> set[bytes]:
    """Cells of the whole configuration, or of the way to the given parameters and everything below these."""
    if numbers is None:
        return descend(config)
    shown: set[bytes] = set()
    for number in numbers:
        shown |= dictionary_path(config, number & 0xFFFFFFFF, 32)
    return shown


def dictionary_path(root: Cell, key: int, key_bits: int) -> set[bytes]:
    """Cells on the way to `key` in a dictionary known only as cells, and everything below its entry."""
    shown: set[bytes] = set()
    cell, room = root, key_bits
    while True:
        shown.add(cell.hash)
        label, length, refs = read_edge(cell, room)
        if key >> (room - length) != label:
            return shown
        if length == room:
            return shown | descend(*refs)
        room -= length + 1
        cell = refs[key >> room & 1]
        key &= (1 << room) - 1
