"""PREVBLOCKSINFO: the earlier masterchain blocks that contracts can ask for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache

from cocoon_sandbox.state.boc import to_boc
from cocoon_sandbox.state.builder import Builder
from cocoon_sandbox.state.cell import EMPTY_CELL, Cell
from cocoon_sandbox.tlb.ids import FULL_SHARD, BlockId

__all__ = ["previous_blocks", "previous_seqnos"]

_SHOWN = 16
_STRIDE = 100


def previous_blocks(last: BlockId, key: BlockId, lookup: Callable[[int], BlockId]) -> bytes:
    """Bag of the VmStackValue that PREVBLOCKSINFO pushes.

    It is a tuple of the last 16 masterchain blocks (newest first), the last key block, and 16 blocks whose seqno is a
    multiple of 100. `lookup` finds a masterchain block by seqno.
    """
    recent = [lookup(seqno) for seqno in _recent(last.seqno)]
    hundreds = [lookup(seqno) for seqno in _hundreds(last.seqno)]
    parts = [_tuple([_block(x) for x in recent]).cell(), _block(key), _tuple([_block(x) for x in hundreds]).cell()]
    return to_boc(_tuple(parts).cell())


def _recent(last: int) -> range:
    return range(last, max(-1, last - _SHOWN), -1)


def _hundreds(last: int) -> range:
    newest = last - last % _STRIDE
    return range(newest, max(-1, newest - _SHOWN * _STRIDE), -_STRIDE)


def previous_seqnos(last: int) -> list[int]:
    """Which masterchain blocks before `last` PREVBLOCKSINFO shows."""
    return [seqno for seqno in {*_recent(last), *_hundreds(last)} if seqno != last]


@lru_cache(maxsize=256)
def _block(block: BlockId) -> Cell:
    """Remembered: the next answers name most of these blocks again."""
    numbers = (
        block.workchain,
        FULL_SHARD,
        block.seqno,
        int.from_bytes(block.root_hash, "big"),
        int.from_bytes(block.file_hash, "big"),
    )
    return _tuple([_integer(number).cell() for number in numbers]).cell()


def _integer(value: int) -> Builder:
    if -(1 << 63) <= value < 1 << 63:
        return Builder().uint(1, 8).sint(value, 64)
    return Builder().uint(0x0200 >> 1, 15).sint(value, 257)


def _tuple(items: Sequence[Cell]) -> Builder:
    """vm_stk_tuple: all entries but the last hang off the first reference."""
    result = Builder().uint(7, 8).uint(len(items), 16)
    if not items:
        return result
    head: Cell = EMPTY_CELL
    for number, tail in enumerate(items[:-1]):
        head = tail if number == 0 else Builder().ref(head).ref(tail).cell()
    if len(items) > 1:
        result.ref(head)
    return result.ref(items[-1])
