"""Block, BlockInfo, ValueFlow, BlockExtra, McBlockExtra."""

from __future__ import annotations

from dataclasses import dataclass

from cocoon_sandbox.state import dictionary
from cocoon_sandbox.state.builder import Builder
from cocoon_sandbox.state.cell import Cell
from cocoon_sandbox.tlb.augment import CURRENCY, IMPORT_FEES, SHARD_FEES
from cocoon_sandbox.tlb.currency import ZERO, Currency
from cocoon_sandbox.tlb.ids import BlockRef, write_shard_ident

__all__ = ["BlockHeader", "ValueFlow", "block", "block_extra", "masterchain_extra"]

_NO_AUG = dictionary.NoAugmentation()


@dataclass(frozen=True, slots=True)
class BlockHeader:
    """BlockInfo. `master` is the masterchain block that a basechain block builds upon, None in the masterchain."""

    workchain: int
    seqno: int
    previous: BlockRef
    master: BlockRef | None
    key_block: bool
    gen_utime: int
    start_lt: int
    end_lt: int
    validator_hash: int
    catchain_seqno: int
    min_ref_mc_seqno: int
    previous_key_seqno: int
    version: int
    capabilities: int

    def cell(self) -> Cell:
        builder = Builder().uint(0x9BC7A987, 32).uint(0, 32)
        builder.bit(self.master is not None).uint(0, 5).bit(self.key_block).bit(0).uint(1, 8)
        builder.uint(self.seqno, 32).uint(0, 32)
        write_shard_ident(builder, self.workchain).uint(self.gen_utime, 32).uint(self.start_lt, 64)
        builder.uint(self.end_lt, 64).uint(self.validator_hash, 32).uint(self.catchain_seqno, 32)
        builder.uint(self.min_ref_mc_seqno, 32).uint(self.previous_key_seqno, 32)
        builder.uint(0xC4, 8).uint(self.version, 32).uint(self.capabilities, 64)
        if self.master is not None:
            builder.ref(self.master.write(Builder()).cell())
        return builder.ref(self.previous.write(Builder()).cell()).cell()


@dataclass(frozen=True, slots=True)
class ValueFlow:
    """Where the money of a chain went in one block.

    Nothing is created, minted or recovered here, so `before + imported + fees_imported` equals
    `after + exported + fees_collected + burned`.
    """

    before: Currency
    after: Currency
    imported: Currency
    exported: Currency
    fees_collected: Currency
    fees_imported: Currency
    burned: Currency

    def cell(self) -> Cell:
        first = Builder()
        for amount in (self.before, self.after, self.imported, self.exported):
            amount.write(first)
        second = Builder()
        for amount in (self.fees_imported, ZERO, ZERO, ZERO):
            amount.write(second)
        if self.burned == ZERO:
            builder = Builder().uint(0xB8E48DFB, 32).ref(first.cell())
            return self.fees_collected.write(builder).ref(second.cell()).cell()
        builder = Builder().uint(0x3EBF98B7, 32).ref(first.cell())
        return self.burned.write(self.fees_collected.write(builder)).ref(second.cell()).cell()


def block_extra(
    in_messages: dictionary.Node | None,
    out_messages: dictionary.Node | None,
    account_blocks: dictionary.Node | None,
    rand_seed: bytes,
    created_by: bytes,
    custom: Cell | None,
) -> Cell:
    """BlockExtra; `custom` is McBlockExtra in the masterchain."""
    builder = Builder().uint(0x4A33F6FD, 32)
    builder.ref(dictionary.store(Builder(), in_messages, IMPORT_FEES).cell())
    builder.ref(dictionary.store(Builder(), out_messages, CURRENCY).cell())
    builder.ref(dictionary.store(Builder(), account_blocks, CURRENCY).cell())
    return builder.raw(rand_seed).raw(created_by).maybe_ref(custom).cell()


def masterchain_extra(
    shard_hashes: Cell,
    shard_fees: dictionary.Node | None,
    previous_signatures: dictionary.Node | None,
    config: tuple[bytes, Cell] | None,
) -> Cell:
    """McBlockExtra; `config` is the config account's id and the parameters, in key blocks only."""
    builder = Builder().uint(0xCCA5, 16).bit(config is not None).bit(1).ref(shard_hashes)
    dictionary.store(builder, shard_fees, SHARD_FEES)
    signatures = dictionary.store(Builder(), previous_signatures, _NO_AUG)
    builder.ref(signatures.bit(0).bit(0).cell())
    if config is not None:
        builder.raw(config[0]).ref(config[1])
    return builder.cell()


def block(global_id: int, header: BlockHeader, flow: ValueFlow, state_update: Cell, extra: Cell) -> Cell:
    """The block's root cell."""
    builder = Builder().uint(0x11EF55AA, 32).sint(global_id, 32)
    return builder.ref(header.cell()).ref(flow.cell()).ref(state_update).ref(extra).cell()
