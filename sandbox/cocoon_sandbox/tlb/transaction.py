"""Transactions: the fields that a block's descriptors are made of."""

from __future__ import annotations

from dataclasses import dataclass

from cocoon_sandbox.state import dictionary
from cocoon_sandbox.state.builder import Builder, Slice
from cocoon_sandbox.state.cell import Cell, CellError
from cocoon_sandbox.tlb.currency import Currency
from cocoon_sandbox.tlb.message import Message

__all__ = ["TransactionView", "hash_update"]


@dataclass(frozen=True, slots=True)
class TransactionView:
    """A parsed transaction of account `account` in workchain `workchain`.

    `old_hash` and `new_hash` are the account's state hashes before and after, `end_lt` the first logical time after
    the transaction and everything it sent.
    """

    cell: Cell
    workchain: int
    account: int
    lt: int
    previous_hash: bytes
    previous_lt: int
    now: int
    in_message: Message | None
    out_messages: tuple[Message, ...]
    fees: Currency
    old_hash: bytes
    new_hash: bytes

    @property
    def hash(self) -> bytes:
        return self.cell.hash

    @property
    def end_lt(self) -> int:
        return self.lt + len(self.out_messages) + 1

    @staticmethod
    def read(cell: Cell, workchain: int) -> TransactionView:
        """Parse a Transaction cell; the workchain isn't in it."""
        source = Slice(cell)
        if source.uint(4) != 7:
            raise CellError("not a transaction cell")
        account, lt = source.uint(256), source.uint(64)
        previous_hash, previous_lt, now = source.raw(32), source.uint(64), source.uint(32)
        source.uint(15 + 4)
        messages = Slice(source.ref())
        incoming = messages.maybe_ref()
        outgoing = dictionary.parse(messages.maybe_ref(), 15)
        fees = Currency.read(source)
        update = Slice(source.ref())
        if update.uint(8) != 0x72:
            raise CellError("not a hash update cell")
        return TransactionView(
            cell=cell,
            workchain=workchain,
            account=account,
            lt=lt,
            previous_hash=previous_hash,
            previous_lt=previous_lt,
            now=now,
            in_message=Message.read(incoming) if incoming is not None else None,
            out_messages=tuple(Message.read(outgoing[i].ref()) for i in sorted(outgoing)),
            fees=fees,
            old_hash=update.raw(32),
            new_hash=update.raw(32),
        )


def hash_update(old: bytes, new: bytes) -> Cell:
    """HASH_UPDATE: the state hashes of an account before and after."""
    return Builder().uint(0x72, 8).raw(old).raw(new).cell()
