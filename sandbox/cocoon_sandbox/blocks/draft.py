"""One block in the making: transactions go in, the block's dictionaries and the next state come out."""

from __future__ import annotations

from dataclasses import dataclass

from cocoon_sandbox.errors import LedgerError
from cocoon_sandbox.state import dictionary
from cocoon_sandbox.state.builder import Builder, Slice
from cocoon_sandbox.state.cell import Cell
from cocoon_sandbox.tlb.account import AccountHead
from cocoon_sandbox.tlb.augment import CURRENCY, DEPTH_BALANCE, IMPORT_FEES, MIN_LT, ImportFees
from cocoon_sandbox.tlb.currency import ZERO, Currency
from cocoon_sandbox.tlb.message import EXTERNAL_IN, INTERNAL, Message, envelope
from cocoon_sandbox.tlb.state import ShardState
from cocoon_sandbox.tlb.transaction import TransactionView, hash_update

__all__ = ["Draft", "Imported", "queue_key"]

_QUEUE_KEY_BITS = 352


def queue_key(message: Message) -> int:
    """Key of a message in the outbound queue: next workchain, account prefix, message hash."""
    assert message.destination is not None
    workchain, account = message.destination
    return (workchain & 0xFFFFFFFF) << 320 | (account >> 192) << 256 | int.from_bytes(message.hash, "big")


@dataclass(frozen=True, slots=True)
class Imported:
    """A message that the other chain's block took over from this chain's queue, and that block's end logical time."""

    message: Message
    import_lt: int


class Draft:
    """A block on top of `state`.

    `add` takes transactions in the order they were executed; `heads` must hold every account they touched when the
    draft is closed. `imported` lists messages that the other chain has taken from this chain's queue since the last
    block: they leave the queue in this one. When closed, `queued` and `dequeued` tell how the queue changed.
    """

    def __init__(self, state: ShardState, imported: list[Imported]) -> None:
        self.state = state
        self.accounts = dictionary.Editor(state.accounts, 256)
        self.queue = dictionary.Editor(state.queue, _QUEUE_KEY_BITS)
        self.in_messages = dictionary.Editor(None, 256)
        self.out_messages = dictionary.Editor(None, 256)
        self.transactions: dict[int, list[TransactionView]] = {}
        self.heads: dict[int, AccountHead] = {}
        self.replaced_accounts: dict[int, list[Cell]] = {}
        self.taken: list[Message] = []
        self.queued: list[tuple[int, Message, Cell]] = []
        self.dequeued: list[int] = []
        self.last_import: tuple[int, bytes] | None = None
        self._fresh: dict[bytes, tuple[Message, TransactionView]] = {}
        for item in imported:
            self._dequeue(item)

    @property
    def has_messages(self) -> bool:
        """Whether this block did anything but mark the time."""
        return bool(self.transactions) or self.out_messages.root is not None

    def seen(self, digest: bytes) -> bool:
        """Whether a message with this hash was imported in this block already: a block can hold it only once."""
        return dictionary.get(self.in_messages.root, int.from_bytes(digest, "big"), 256) is not None

    def add(self, transaction: TransactionView) -> None:
        """Record a transaction."""
        account = transaction.account
        history = self.transactions.setdefault(account, [])
        if not history:
            self._remember_old(account, transaction)
        history.append(transaction)
        if transaction.in_message is not None:
            self._import(transaction.in_message, transaction)
        for message in transaction.out_messages:
            if message.kind == INTERNAL:
                self._fresh[message.hash] = (message, transaction)
            else:
                value = Builder().uint(0b000, 3).ref(message.cell).ref(transaction.cell)
                self.out_messages.put(int.from_bytes(message.hash, "big"), value, ZERO)

    def _remember_old(self, account: int, transaction: TransactionView) -> None:
        old = dictionary.get(self.state.accounts, account, 256)
        self.replaced_accounts[account] = []
        if old is None:
            return
        cell = Slice(old.cell()).ref()
        if cell.hash != transaction.old_hash:
            raise LedgerError(
                f"account {transaction.workchain}:{account:064x} was changed outside of a transaction; "
                "give it money with Network.credit(), a real message"
            )
        self.replaced_accounts[account].append(cell)

    def _import(self, message: Message, transaction: TransactionView) -> None:
        key = int.from_bytes(message.hash, "big")
        if message.kind == EXTERNAL_IN:
            value = Builder().uint(0b000, 3).ref(message.cell).ref(transaction.cell)
            self.in_messages.put(key, value, ImportFees(0, ZERO))
            return
        fee = message.forward_fee
        fresh = self._fresh.pop(message.hash, None)
        wrapped = envelope(message)
        if fresh is not None:
            value = Builder().uint(0b011, 3).ref(wrapped).ref(transaction.cell).coins(fee)
            self.in_messages.put(key, value, ImportFees(fee, ZERO))
            out = Builder().uint(0b010, 3).ref(wrapped).ref(fresh[1].cell).ref(value.cell())
            self.out_messages.put(key, out, ZERO)
            return
        value = Builder().uint(0b100, 3).ref(wrapped).ref(transaction.cell).coins(fee)
        self.in_messages.put(key, value, ImportFees(fee, message.carried))
        self.last_import = (message.created_lt, message.hash)
        if self._leave_queue(message):
            out = Builder().uint(0b100, 3).ref(wrapped).ref(value.cell())
            self.out_messages.put(key, out, ZERO)
        else:
            self.taken.append(message)

    def _dequeue(self, item: Imported) -> None:
        if self._leave_queue(item.message):
            out = Builder().uint(0b1100, 4).ref(envelope(item.message)).uint(item.import_lt, 63)
            self.out_messages.put(int.from_bytes(item.message.hash, "big"), out, ZERO)

    def _leave_queue(self, message: Message) -> bool:
        key = queue_key(message)
        found = self.queue.delete(key)
        if found:
            self.dequeued.append(key)
        return found

    def close(self) -> None:
        """End the block: messages not delivered yet go to the outbound queue, accounts to the new state."""
        for message, transaction in self._fresh.values():
            wrapped = envelope(message)
            out = Builder().uint(0b001, 3).ref(wrapped).ref(transaction.cell)
            self.out_messages.put(int.from_bytes(message.hash, "big"), out, message.carried)
            entry = Builder().uint(message.created_lt, 64).ref(wrapped)
            key = queue_key(message)
            self.queue.put(key, entry, message.created_lt)
            self.queued.append((key, message, wrapped))
        for account, head in self.heads.items():
            if head.exists:
                self.accounts.put(account, head.write(), head.balance)
            else:
                self.accounts.delete(account)

    def account_blocks(self) -> dictionary.Node | None:
        """ShardAccountBlocks: each account's transactions."""
        blocks = dictionary.Editor(None, 256)
        for account, history in self.transactions.items():
            editor = dictionary.Editor(None, 64)
            for transaction in history:
                editor.put(transaction.lt, Builder().ref(transaction.cell), transaction.fees)
            root = editor.root
            assert root is not None
            block = Builder().uint(5, 4).uint(account, 256).builder(Slice(root.cell(CURRENCY)).rest())
            block.ref(hash_update(history[0].old_hash, history[-1].new_hash))
            blocks.put(account, block, root.extra(CURRENCY))
        return blocks.root

    def import_fees(self) -> ImportFees:
        """What inbound messages paid and brought."""
        root = self.in_messages.root
        result: ImportFees = root.extra(IMPORT_FEES) if root is not None else IMPORT_FEES.empty()
        return result

    def exported(self) -> Currency:
        """What messages took out of the chain's accounts into the queue."""
        root = self.out_messages.root
        result: Currency = root.extra(CURRENCY) if root is not None else ZERO
        return result

    def replaced_cells(self) -> set[bytes]:
        """Hashes of the old state's dictionary nodes and account cells that the new state doesn't have."""
        region = {node.cell(DEPTH_BALANCE).hash for node in self.accounts.replaced}
        region.update(node.cell(MIN_LT).hash for node in self.queue.replaced)
        stack = [cell for cells in self.replaced_accounts.values() for cell in cells]
        while stack:
            cell = stack.pop()
            if cell.hash not in region:
                region.add(cell.hash)
                stack.extend(cell.refs)
        return region
