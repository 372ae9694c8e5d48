"""What the lite server reads: blocks of any age, states of recent ones."""

from __future__ import annotations

from cocoon_sandbox.blocks.cache import WeightedCache
from cocoon_sandbox.blocks.sealed import Round, SealedState
from cocoon_sandbox.blocks.store import Store, StoredBlock
from cocoon_sandbox.errors import SandboxError
from cocoon_sandbox.state.boc import one_from_boc
from cocoon_sandbox.state.cell import Cell
from cocoon_sandbox.tlb.ids import BASECHAIN, MASTERCHAIN, BlockId

__all__ = ["Archive", "NotAvailable"]

# In bytes of the blocks they belong to; as objects they take about ten times that.
_STATES_BUDGET = 24 << 20
_ROOTS_BUDGET = 4 << 20

type _Key = tuple[int, int]


class NotAvailable(SandboxError):
    """A block or state that this node doesn't have (any more)."""


class Archive:
    """All blocks, from the database and a cache of parsed ones, and the states after recent blocks.

    States share whatever they have in common, so one costs as much as its block changed: an idle network keeps the
    states of thousands of blocks, a busy one those of the last tens of thousands of changes. `lag` hides the newest
    blocks from clients.
    """

    def __init__(self, store: Store, states_budget: int = _STATES_BUDGET) -> None:
        self.store = store
        self.lag = 0
        self.states: WeightedCache[_Key, SealedState] = WeightedCache(states_budget)
        self._roots: WeightedCache[_Key, Cell] = WeightedCache(_ROOTS_BUDGET)
        self._last: StoredBlock | None = None

    @property
    def tip(self) -> StoredBlock:
        """The last masterchain block there is."""
        if self._last is None:
            raise NotAvailable("the network has not made its first block yet")
        return self._last

    @property
    def last(self) -> StoredBlock:
        """The last masterchain block that clients are told of: `lag` blocks before the tip."""
        tip = self.tip
        if not self.lag:
            return tip
        found = self.store.block(MASTERCHAIN, max(1, tip.id.seqno - self.lag))
        assert found is not None
        return found

    def add_state(self, block: BlockId, state: SealedState, weight: int = 0) -> None:
        """Remember the state after a block of `weight` bytes."""
        self.states.put((block.workchain, block.seqno), state, weight)

    def add(self, sealed: Round) -> None:
        """Publish a round."""
        for block in (sealed.shard, sealed.master):
            self.add_state(block.id, block.after, len(block.boc))
            self._roots.put((block.id.workchain, block.id.seqno), block.root, len(block.boc))
        self.publish()

    def publish(self) -> None:
        """Make the newest masterchain block of the database the last one."""
        self._last = self.store.last(MASTERCHAIN)

    def forget_after(self, seqno: int) -> None:
        """Drop cached blocks and states later than `seqno`, for a rollback."""
        self.states.drop_if(lambda key: key[1] > seqno)
        self._roots.drop_if(lambda key: key[1] > seqno)

    def find(self, workchain: int, seqno: int) -> StoredBlock | None:
        """A block by number, None when there is no such block (yet)."""
        last = self.last
        if workchain not in (MASTERCHAIN, BASECHAIN) or seqno > last.id.seqno:
            return None
        return last if (workchain, seqno) == (MASTERCHAIN, last.id.seqno) else self.store.block(workchain, seqno)

    def require(self, block: BlockId) -> StoredBlock:
        """The row of exactly this block; `NotAvailable` when it isn't one of this chain."""
        found = self.find(block.workchain, block.seqno)
        if found is None or found.id != block:
            raise NotAvailable(f"block {block} is not in db")
        return found

    def root(self, block: BlockId) -> Cell:
        """A block's root cell."""
        if not block.seqno:
            raise NotAvailable("block 0 is a zerostate: it has a state, but neither header nor transactions")
        key = (block.workchain, block.seqno)
        cell = self._roots.get(key)
        if cell is None or cell.hash != block.root_hash:
            self.require(block)
            boc = self.store.boc(block)
            cell = one_from_boc(boc, verify=False)
            self._roots.put(key, cell, len(boc))
        return cell

    def state(self, block: BlockId) -> SealedState:
        """The state after a block."""
        self.require(block)
        state = self.states.get((block.workchain, block.seqno))
        if state is None:
            raise NotAvailable(f"state of block {block} is not in db: only those of recent blocks are kept")
        return state
