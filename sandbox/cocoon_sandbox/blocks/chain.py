"""The chain's head and how the next pair of blocks is sealed on top of it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from cocoon_sandbox.blocks.draft import Draft, Imported
from cocoon_sandbox.blocks.genesis import Genesis
from cocoon_sandbox.blocks.libraries import LibraryBook
from cocoon_sandbox.blocks.sealed import Round, SealedBlock, SealedState
from cocoon_sandbox.errors import LedgerError
from cocoon_sandbox.state import dictionary
from cocoon_sandbox.state.boc import to_boc
from cocoon_sandbox.state.cell import Cell
from cocoon_sandbox.state.merkle import descend, merkle_update
from cocoon_sandbox.tlb.augment import CURRENCY, KEY_MAX_LT
from cocoon_sandbox.tlb.block import BlockHeader, ValueFlow, block, block_extra, masterchain_extra
from cocoon_sandbox.tlb.currency import ZERO, Currency
from cocoon_sandbox.tlb.ids import BASECHAIN, MASTERCHAIN, BlockRef
from cocoon_sandbox.tlb.shards import ShardDescr, shard_fees, shard_hashes
from cocoon_sandbox.tlb.state import MasterchainExtra, ShardState, previous_block_entry
from cocoon_sandbox.tlb.transaction import TransactionView
from cocoon_sandbox.tlb.validators import CATCHAIN_SEQNO, Validator

__all__ = ["Chain", "Head", "Limits"]

_NOBODY = bytes(32)


@dataclass(frozen=True, slots=True)
class Limits:
    """First and last logical times of a block: every transaction and message lies in between."""

    start_lt: int
    end_lt: int


@dataclass(frozen=True, slots=True)
class Head:
    """Everything the next round builds on.

    `key` is the last key block; `imported` maps a workchain to messages that the other chain has taken from its queue
    and that it has to dequeue.
    """

    shard: SealedState
    shard_ref: BlockRef
    master: SealedState
    master_ref: BlockRef
    master_signature: bytes
    extra: MasterchainExtra
    key: BlockRef
    imported: dict[int, list[Imported]]
    libraries: LibraryBook


class Chain:
    """Seals blocks. `head` moves with every round; it is immutable, so a copy of it is a way back."""

    def __init__(self, head: Head, *, validator: Validator, global_id: int, version: int, capabilities: int) -> None:
        self.head = head
        self.validator = validator
        self.global_id = global_id
        self.version = version
        self.capabilities = capabilities
        self._vset_hash = validator.set_hash(CATCHAIN_SEQNO)

    @staticmethod
    def first_head(genesis: Genesis, libraries: LibraryBook) -> Head:
        """The head of a chain that has no blocks yet."""
        return Head(
            shard=genesis.shard,
            shard_ref=BlockRef(genesis.shard_id, 0),
            master=genesis.master,
            master_ref=BlockRef(genesis.master_id, 0),
            master_signature=b"",
            extra=genesis.extra,
            key=BlockRef(genesis.master_id, 0),
            imported={},
            libraries=libraries,
        )

    def drafts(self) -> tuple[Draft, Draft]:
        """Empty drafts of the next basechain and masterchain blocks."""
        head = self.head
        return (
            Draft(head.shard.state, head.imported.get(BASECHAIN, [])),
            Draft(head.master.state, head.imported.get(MASTERCHAIN, [])),
        )

    def seal(self, drafts: tuple[Draft, Draft], limits: tuple[Limits, Limits], utime: int) -> Round:
        """Turn both drafts into blocks, and make them the head."""
        head = self.head
        shard, fees = self._seal_shard(drafts[0], limits[0], utime)
        master, extra, libraries = self._seal_master(drafts[1], limits[1], utime, shard, fees)
        imported: dict[int, list[Imported]] = {}
        if drafts[1].taken:
            imported[BASECHAIN] = [Imported(message, limits[1].end_lt) for message in drafts[1].taken]
        if drafts[0].taken:
            imported[MASTERCHAIN] = [Imported(message, limits[0].end_lt) for message in drafts[0].taken]
        self.head = Head(
            shard=shard.after,
            shard_ref=shard.ref,
            master=master.after,
            master_ref=master.ref,
            master_signature=master.signature,
            extra=extra,
            key=master.ref if master.header.key_block else head.key,
            imported=imported,
            libraries=libraries,
        )
        return Round(shard, master)

    def _seal_shard(self, draft: Draft, limits: Limits, utime: int) -> tuple[SealedBlock, Currency]:
        head, old = self.head, self.head.shard
        draft.close()
        header = self._header(BASECHAIN, head.shard_ref, head.master_ref, limits, utime, key_block=False)
        state = replace(
            self._next_state(draft, header), master=head.master_ref, min_ref_mc_seqno=header.min_ref_mc_seqno
        )
        account_blocks = draft.account_blocks()
        flow = _value_flow(draft, old.state, state, account_blocks, ZERO)
        after = SealedState(state, state.cell())
        update = merkle_update(old.root, after.root, _top_cells(old.root) | draft.replaced_cells())
        extra = block_extra(draft.in_messages.root, draft.out_messages.root, account_blocks, bytes(32), _NOBODY, None)
        root = block(self.global_id, header, flow, update, extra)
        return SealedBlock(header, root, to_boc(root), after, _in_order(draft)), flow.fees_collected

    def _seal_master(
        self, draft: Draft, limits: Limits, utime: int, shard: SealedBlock, fees: Currency
    ) -> tuple[SealedBlock, MasterchainExtra, LibraryBook]:
        head, old = self.head, self.head.master
        draft.close()
        key_block = head.master_ref.id.seqno == 0
        header = self._header(MASTERCHAIN, head.master_ref, None, limits, utime, key_block=key_block)
        description = ShardDescr(
            block=shard.id,
            registered_at=header.seqno,
            start_lt=shard.header.start_lt,
            end_lt=shard.header.end_lt,
            gen_utime=shard.header.gen_utime,
            min_ref_mc_seqno=shard.header.min_ref_mc_seqno,
            catchain_seqno=CATCHAIN_SEQNO,
            fees=fees,
        )
        hashes = shard_hashes(description)
        previous = dictionary.Editor(head.extra.previous, 32)
        previous.put(*previous_block_entry(head.master_ref.id, head.master_ref.end_lt, head.extra.after_key_block))
        libraries = head.libraries.updated(draft.heads)
        state = replace(self._next_state(draft, header), libraries=libraries.root)
        account_blocks = draft.account_blocks()
        flow = _value_flow(draft, old.state, state, account_blocks, fees)
        extra = replace(
            head.extra,
            shard_hashes=hashes,
            previous=previous.root,
            after_key_block=key_block,
            last_key_block=head.master_ref if head.extra.after_key_block else head.extra.last_key_block,
            global_balance=head.extra.global_balance - flow.burned,
        )
        state = replace(state, custom=extra.cell(), validator_fees=old.state.validator_fees + flow.fees_collected)
        after = SealedState(state, state.cell())
        region = _top_cells(old.root) | draft.replaced_cells()
        region.update(node.cell(KEY_MAX_LT).hash for node in previous.replaced)
        region |= descend(old.root.refs[3].refs[0])
        region.add(old.root.refs[3].refs[2].hash)
        update = merkle_update(old.root, after.root, region)
        signatures = self.validator.signatures(head.master_signature) if head.master_signature else None
        custom = masterchain_extra(hashes, shard_fees(fees), signatures, extra.config if key_block else None)
        body = block_extra(
            draft.in_messages.root,
            draft.out_messages.root,
            account_blocks,
            bytes(32),
            self.validator.public_key,
            custom,
        )
        root = block(self.global_id, header, flow, update, body)
        unsigned = SealedBlock(header, root, to_boc(root), after, _in_order(draft))
        return replace(unsigned, signature=self.validator.sign(unsigned.id)), extra, libraries

    def _header(
        self,
        workchain: int,
        previous: BlockRef,
        master: BlockRef | None,
        limits: Limits,
        utime: int,
        *,
        key_block: bool,
    ) -> BlockHeader:
        return BlockHeader(
            workchain=workchain,
            seqno=previous.id.seqno + 1,
            previous=previous,
            master=master,
            key_block=key_block,
            gen_utime=utime,
            start_lt=limits.start_lt,
            end_lt=limits.end_lt,
            validator_hash=self._vset_hash,
            catchain_seqno=CATCHAIN_SEQNO,
            min_ref_mc_seqno=self.head.master_ref.id.seqno,
            previous_key_seqno=self.head.key.id.seqno,
            version=self.version,
            capabilities=self.capabilities,
        )

    def _next_state(self, draft: Draft, header: BlockHeader) -> ShardState:
        old = draft.state
        processed = old.processed
        if draft.last_import is not None:
            processed = (self.head.master_ref.id.seqno, *draft.last_import)
        return replace(
            old,
            seqno=header.seqno,
            gen_utime=header.gen_utime,
            gen_lt=header.end_lt,
            min_ref_mc_seqno=header.min_ref_mc_seqno,
            accounts=draft.accounts.root,
            queue=draft.queue.root,
            queue_size=old.queue_size + len(draft.queued) - len(draft.dequeued),
            processed=processed,
        )


def _top_cells(root: Cell) -> set[bytes]:
    """Hashes of a state's root and of the cells right below it."""
    return {root.hash, *(cell.hash for cell in root.refs)}


def _in_order(draft: Draft) -> tuple[TransactionView, ...]:
    """The draft's transactions by logical time."""
    found = [transaction for history in draft.transactions.values() for transaction in history]
    return tuple(sorted(found, key=lambda transaction: transaction.lt))


def _value_flow(
    draft: Draft, old: ShardState, new: ShardState, account_blocks: dictionary.Node | None, fees_imported: Currency
) -> ValueFlow:
    """Add up where the money went; what left accounts without a trace is burned."""
    imports = draft.import_fees()
    earned: Currency = account_blocks.extra(CURRENCY) if account_blocks is not None else ZERO
    earned = earned + Currency(imports.fees)
    exported = draft.exported()
    burned = old.balance + imports.value - new.balance - exported - earned
    if burned.negative:
        raise LedgerError(
            f"a block would create {-burned.grams} nanoTON out of nothing: {old.workchain}:{old.seqno + 1}"
        )
    return ValueFlow(
        before=old.balance,
        after=new.balance,
        imported=imports.value,
        exported=exported,
        fees_collected=earned + fees_imported,
        fees_imported=fees_imported,
        burned=burned,
    )
