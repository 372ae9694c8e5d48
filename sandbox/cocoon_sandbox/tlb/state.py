"""ShardStateUnsplit and McStateExtra."""

from __future__ import annotations

from dataclasses import dataclass, replace

from cocoon_sandbox.state import dictionary
from cocoon_sandbox.state.builder import Builder
from cocoon_sandbox.state.cell import Cell
from cocoon_sandbox.tlb.augment import DEPTH_BALANCE, KEY_MAX_LT, MIN_LT, KeyMaxLt
from cocoon_sandbox.tlb.currency import ZERO, Currency
from cocoon_sandbox.tlb.ids import BlockId, BlockRef, write_shard_ident

__all__ = ["MasterchainExtra", "ShardState", "previous_block_entry"]

_NO_AUG = dictionary.NoAugmentation()


@dataclass(frozen=True, slots=True)
class ShardState:
    """The state of one chain after a block.

    `accounts`, `queue` and `libraries` are dictionaries, `custom` is McStateExtra.

    `processed` is the greatest (logical time, hash) of the messages imported from queues so far and the masterchain
    seqno it was reached at, None before the first.
    """

    global_id: int
    workchain: int
    seqno: int
    gen_utime: int
    gen_lt: int
    min_ref_mc_seqno: int
    accounts: dictionary.Node | None
    queue: dictionary.Node | None
    queue_size: int
    processed: tuple[int, int, bytes] | None
    libraries: dictionary.Node | None
    validator_fees: Currency
    master: BlockRef | None
    custom: Cell | None

    @property
    def balance(self) -> Currency:
        """The sum of all accounts."""
        result: Currency = self.accounts.extra(DEPTH_BALANCE) if self.accounts is not None else ZERO
        return result

    def with_custom(self, custom: Cell) -> ShardState:
        """The same state with this McStateExtra."""
        return replace(self, custom=custom)

    def accounts_cell(self) -> Cell:
        """The cell that holds ShardAccounts."""
        return dictionary.store(Builder(), self.accounts, DEPTH_BALANCE).cell()

    def cell(self) -> Cell:
        """The root cell."""
        queue = dictionary.store(Builder(), self.queue, MIN_LT)
        processed: dictionary.Node | None = None
        if self.processed is not None:
            seqno, lt, digest = self.processed
            processed = dictionary.build({1 << 95 | seqno: Builder().uint(lt, 64).raw(digest)}, 96)
        dictionary.store(queue, processed, _NO_AUG)
        # OutMsgQueueExtra: nothing is deferred here, so the dispatch queue is empty; then the queue's size.
        queue.bit(1).uint(0, 4).bit(0).uint(0, 64).bit(1).uint(self.queue_size, 48)
        rest = Builder().uint(0, 64).uint(0, 64)
        self.validator_fees.write(self.balance.write(rest))
        dictionary.store(rest, self.libraries, _NO_AUG)
        if self.master is None:
            rest.bit(0)
        else:
            self.master.write(rest.bit(1))
        builder = Builder().uint(0x9023AFE2, 32).sint(self.global_id, 32)
        write_shard_ident(builder, self.workchain).uint(self.seqno, 32).uint(0, 32)
        builder.uint(self.gen_utime, 32).uint(self.gen_lt, 64).uint(self.min_ref_mc_seqno, 32)
        builder.ref(queue.cell()).bit(0).ref(self.accounts_cell()).ref(rest.cell())
        return builder.maybe_ref(self.custom).cell()


@dataclass(frozen=True, slots=True)
class MasterchainExtra:
    """McStateExtra.

    `config` is the config account's id and the parameters, `previous` all earlier masterchain blocks.
    """

    shard_hashes: Cell | None
    config: tuple[bytes, Cell]
    validator_hash: int
    catchain_seqno: int
    previous: dictionary.Node | None
    after_key_block: bool
    last_key_block: BlockRef | None
    global_balance: Currency

    def cell(self) -> Cell:
        info = Builder().uint(0, 16).uint(self.validator_hash, 32).uint(self.catchain_seqno, 32).bit(0)
        dictionary.store(info, self.previous, KEY_MAX_LT).bit(self.after_key_block)
        if self.last_key_block is None:
            info.bit(0)
        else:
            self.last_key_block.write(info.bit(1))
        builder = Builder().uint(0xCC26, 16).maybe_ref(self.shard_hashes)
        builder.raw(self.config[0]).ref(self.config[1]).ref(info.cell())
        return self.global_balance.write(builder).cell()


def previous_block_entry(block: BlockId, end_lt: int, key: bool) -> tuple[int, Builder, KeyMaxLt]:
    """An entry of the dictionary of previous masterchain blocks: key, value, augmentation."""
    value = BlockRef(block, end_lt).write(Builder().bit(key))
    return block.seqno, value, KeyMaxLt(key, end_lt)
