"""A finished block with the state it leads to."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property

from cocoon_sandbox.state.boc import to_boc
from cocoon_sandbox.state.cell import Cell
from cocoon_sandbox.tlb.block import BlockHeader
from cocoon_sandbox.tlb.ids import BlockId, BlockRef
from cocoon_sandbox.tlb.state import ShardState
from cocoon_sandbox.tlb.transaction import TransactionView

__all__ = ["Round", "SealedBlock", "SealedState", "seal_state"]


@dataclass(frozen=True, slots=True)
class SealedState:
    """A state and its root cell."""

    state: ShardState
    root: Cell


@dataclass(frozen=True)
class SealedBlock:
    """One block. `signature` is the validator's, for masterchain blocks; `transactions` are in execution order."""

    header: BlockHeader
    root: Cell
    boc: bytes
    after: SealedState
    transactions: tuple[TransactionView, ...]
    signature: bytes = b""

    @cached_property
    def id(self) -> BlockId:
        return BlockId(self.header.workchain, self.header.seqno, self.root.hash, hashlib.sha256(self.boc).digest())

    @property
    def ref(self) -> BlockRef:
        return BlockRef(self.id, self.header.end_lt)


@dataclass(frozen=True, slots=True)
class Round:
    """A basechain block and the masterchain block that commits it."""

    shard: SealedBlock
    master: SealedBlock


def seal_state(state: ShardState) -> tuple[SealedState, BlockId]:
    """A zerostate with its name: hashes of its root cell and of its file."""
    root = state.cell()
    file_hash = hashlib.sha256(to_boc(root)).digest()
    return SealedState(state, root), BlockId(state.workchain, state.seqno, root.hash, file_hash)
