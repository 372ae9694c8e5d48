"""ShardHashes: which basechain block a masterchain block commits."""

from __future__ import annotations

from dataclasses import dataclass

from cocoon_sandbox.state import dictionary
from cocoon_sandbox.state.builder import Builder
from cocoon_sandbox.state.cell import Cell
from cocoon_sandbox.tlb.augment import SHARD_FEES, ShardFeeCreated
from cocoon_sandbox.tlb.currency import ZERO, Currency
from cocoon_sandbox.tlb.ids import BASECHAIN, FULL_SHARD, BlockId

__all__ = ["ShardDescr", "shard_fees", "shard_hashes"]


@dataclass(frozen=True, slots=True)
class ShardDescr:
    """shard_descr_new: the top block of the basechain's only shard, registered in masterchain block `registered_at`."""

    block: BlockId
    registered_at: int
    start_lt: int
    end_lt: int
    gen_utime: int
    min_ref_mc_seqno: int
    catchain_seqno: int
    fees: Currency

    def builder(self) -> Builder:
        """The description without the tree around it."""
        builder = Builder().uint(0xA, 4).uint(self.block.seqno, 32).uint(self.registered_at, 32)
        builder.uint(self.start_lt, 64).uint(self.end_lt, 64)
        builder.raw(self.block.root_hash).raw(self.block.file_hash)
        builder.uint(0, 8)  # no split, no merge, validators unchanged, no flags
        builder.uint(self.catchain_seqno, 32).uint(FULL_SHARD, 64)
        builder.uint(self.min_ref_mc_seqno, 32).uint(self.gen_utime, 32).uint(0, 1)
        return builder.ref(ZERO.write(self.fees.write(Builder())).cell())


def shard_hashes(description: ShardDescr) -> Cell:
    """Root of the dictionary: workchain -> tree of shards, here one leaf."""
    tree = Builder().bit(0).builder(description.builder()).cell()
    root = dictionary.build({BASECHAIN: Builder().ref(tree)}, 32)
    assert root is not None
    return root.cell(dictionary.NoAugmentation())


def shard_fees(fees: Currency) -> dictionary.Node | None:
    """ShardFees of a masterchain block: what the basechain block's validators earned."""
    amounts = ShardFeeCreated(fees, ZERO)
    editor = dictionary.Editor(None, 96)
    value = Builder()
    SHARD_FEES.write(value, amounts)
    editor.put((BASECHAIN & 0xFFFFFFFF) << 64 | FULL_SHARD, value, amounts)
    return editor.root
