"""Fills blocks: takes messages in order, has the ledger execute them, stops at the block's limits."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field

from pytoniq_core import Address as ForeignAddress

from cocoon_sandbox.blocks.archive import Archive
from cocoon_sandbox.blocks.cache import WeightedCache
from cocoon_sandbox.blocks.chain import Chain, Limits
from cocoon_sandbox.blocks.convert import from_pytoniq
from cocoon_sandbox.blocks.draft import Draft
from cocoon_sandbox.blocks.limits import BlockLimits
from cocoon_sandbox.blocks.previous import previous_blocks
from cocoon_sandbox.blocks.resume import head_meta
from cocoon_sandbox.blocks.schedule import Inbound, Schedule
from cocoon_sandbox.blocks.sealed import Round
from cocoon_sandbox.blocks.store import QueueChange, Store, StoredTransaction
from cocoon_sandbox.errors import ExecutorError, MessageRejected
from cocoon_sandbox.ledger import LT_ALIGN, Ledger
from cocoon_sandbox.state.boc import one_from_boc, to_boc
from cocoon_sandbox.state.cell import Cell, iterate
from cocoon_sandbox.tlb.account import AccountHead
from cocoon_sandbox.tlb.ids import BASECHAIN, MASTERCHAIN, BlockId
from cocoon_sandbox.tlb.transaction import TransactionView
from cocoon_sandbox.transaction import Transaction

__all__ = ["LEDGER_NUMBERS", "Collator"]

_log = logging.getLogger(__name__)


_PREVIOUS_BUDGET = 1 << 20
LEDGER_NUMBERS = ("lt", "now", "minted", "burned_fees", "lost")


@dataclass(slots=True)
class _Filling:
    """One block being filled."""

    workchain: int
    draft: Draft
    limits: BlockLimits
    start_lt: int
    gas: int = 0
    size: int = 0
    transactions: list[tuple[StoredTransaction, bytes]] = field(default_factory=list)
    touched: set[ForeignAddress] = field(default_factory=set)
    accepted: list[Inbound] = field(default_factory=list)

    def full(self, lt: int) -> bool:
        """Whether the block has reached one of its soft limits."""
        return (
            self.gas >= self.limits.gas or lt - self.start_lt >= self.limits.lt_delta or self.size >= self.limits.bytes
        )


class Collator:
    """Makes one round of blocks after another. Its methods block, and belong to one thread at a time."""

    def __init__(self, ledger: Ledger, chain: Chain, store: Store, archive: Archive, clock: Callable[[], int]) -> None:
        self.ledger = ledger
        self.chain = chain
        self.store = store
        self.archive = archive
        self.schedule = Schedule(ledger)
        self._clock = clock
        self._previous: WeightedCache[BlockId, bytes] = WeightedCache(_PREVIOUS_BUDGET)
        self.limits = {workchain: BlockLimits.from_config(ledger.config, workchain) for workchain in (-1, 0)}
        self.on_transaction: Callable[[Transaction], None] | None = None

    @property
    def seqno(self) -> int:
        """Number of the next blocks."""
        return self.chain.head.master_ref.id.seqno + 1

    @property
    def has_work(self) -> bool:
        """Whether the next block has messages to deliver."""
        return self.schedule.ready(self.seqno)

    def make_round(self) -> Round:
        """Collate, seal, store and publish the next basechain and masterchain blocks."""
        ledger, chain = self.ledger, self.chain
        ledger.now = max(ledger.now, self._clock())
        if self.schedule.waiting:
            ledger.prev_blocks = self.previous_blocks(chain.head.master_ref.id, chain.head.key.id)
            ledger.libs = chain.head.libraries.bag()
        shard_draft, master_draft = chain.drafts()
        shard, shard_limits = self._fill(BASECHAIN, shard_draft)
        master, master_limits = self._fill(MASTERCHAIN, master_draft)
        sealed = chain.seal((shard_draft, master_draft), (shard_limits, master_limits), ledger.now)
        fillings = (shard, master)
        self.store.put_round(
            sealed,
            shard.transactions + master.transactions,
            [(x.wc, x.hash_part, ledger.accounts[x].boc) for filling in fillings for x in filling.touched],
            _queue_change(fillings),
            self.meta(),
        )
        self.archive.add(sealed)
        # Only now: an accepted message must survive whatever happens next.
        for filling in fillings:
            for inbound in filling.accepted:
                inbound.verdict(None)
        return sealed

    def previous_blocks(self, last: BlockId, key: BlockId) -> bytes:
        """PREVBLOCKSINFO as of masterchain block `last`."""
        known = self._previous.get(last)
        if known is not None:
            return known

        def lookup(seqno: int) -> BlockId:
            if seqno == last.seqno:
                return last
            found = self.store.block(MASTERCHAIN, seqno)
            assert found is not None
            return found.id

        made = previous_blocks(last, key, lookup)
        self._previous.put(last, made, len(made))
        return made

    def meta(self) -> dict[str, bytes]:
        """What a restart needs besides the tables: times, sums of money, and what `head_meta` adds."""
        numbers = {name: str(getattr(self.ledger, name)).encode() for name in LEDGER_NUMBERS}
        return numbers | head_meta(self.chain.head, self.schedule.undeliverable)

    def _fill(self, workchain: int, draft: Draft) -> tuple[_Filling, Limits]:
        """Execute the messages to one workchain, as many as fit."""
        ledger, schedule, seqno = self.ledger, self.schedule, self.seqno
        ledger.lt += LT_ALIGN - ledger.lt % LT_ALIGN  # past everything in earlier blocks, their end included
        filling = _Filling(workchain, draft, self.limits[workchain], ledger.lt)
        skipped: list[Inbound] = []
        while not filling.full(ledger.lt):
            index = schedule.next_internal(workchain, seqno)
            if index is not None:
                self._deliver(filling, index)
                continue
            inbound = schedule.next_external(workchain, seqno, skipped)
            if inbound is None:
                break
            if draft.seen(inbound.message.hash):
                skipped.append(inbound)
                continue
            self._accept(filling, inbound)
        schedule.inbound.extendleft(reversed(skipped))
        for address in filling.touched:
            account = int.from_bytes(address.hash_part, "big")
            # Code and whatever else stayed the same is not kept twice.
            known = {cell.hash: cell for cell in iterate(draft.replaced_accounts[account])}
            cell = one_from_boc(ledger.accounts[address].boc, verify=False, known=known)
            draft.heads[account] = AccountHead.read(cell)
        return filling, Limits(filling.start_lt, ledger.lt + 1)

    def _deliver(self, filling: _Filling, index: int) -> None:
        digest = self.ledger.pending[index].hash
        self.schedule.delivered(digest)
        try:
            self._record(filling, self.ledger.step(index))
        except ExecutorError as error:
            # It stays in the outbound queue for good, as a message nobody can deliver would.
            self.schedule.undeliverable.add(digest)
            _log.warning("a message could not be executed and is left undelivered: %s", error)

    def _accept(self, filling: _Filling, inbound: Inbound) -> None:
        ledger = self.ledger
        ledger.enqueue(inbound.message)
        try:
            transaction = ledger.step(len(ledger.pending) - 1)
        except (MessageRejected, ExecutorError) as error:
            inbound.verdict(error)
            return
        self._record(filling, transaction)
        filling.accepted.append(inbound)

    def _record(self, filling: _Filling, transaction: Transaction) -> None:
        cell: Cell = from_pytoniq(transaction.cell)
        view = TransactionView.read(cell, filling.workchain)
        filling.draft.add(view)
        boc = to_boc(cell)
        seqno = filling.draft.state.seqno + 1
        account = view.account.to_bytes(32, "big")
        message = view.in_message.hash if view.in_message is not None else b""
        stored = StoredTransaction(filling.workchain, account, view.lt, cell.hash, seqno, boc)
        filling.transactions.append((stored, message))
        filling.touched.add(transaction.account)
        filling.gas += transaction.gas_used
        filling.size += len(boc)
        if self.on_transaction is not None:
            self.on_transaction(transaction)


def _queue_change(fillings: tuple[_Filling, ...]) -> QueueChange:
    """What the drafts did to the outbound queues."""
    added: list[tuple[int, bytes, int, bytes]] = []
    removed: list[tuple[int, bytes]] = []
    for filling in fillings:
        for key, message, envelope in filling.draft.queued:
            added.append((filling.workchain, key.to_bytes(44, "big"), message.created_lt, to_boc(envelope)))
        removed.extend((filling.workchain, key.to_bytes(44, "big")) for key in filling.draft.dequeued)
    return QueueChange(added, removed)
