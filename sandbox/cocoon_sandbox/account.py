"""One account's state as a bag of its `ShardAccount`, read only as far as it is asked for.

The executor takes and returns this bag on every transaction; the balance is two cells away from its root, while code
and data may be hundreds. Amounts are nanoTON.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from bitarray import bitarray
from pytoniq_core import Address, Builder, Cell, Slice

from .boc import Bag, to_boc
from .errors import BadCell
from .message import format_address, format_ton

__all__ = ["AccountView", "Status", "StorageUsed", "empty_account"]

Status = Literal["nonexist", "uninit", "active", "frozen"]


@dataclass(frozen=True, slots=True)
class StorageUsed:
    """What storage fees are charged on."""

    cells: int
    bits: int


class AccountView:
    """An immutable account. `boc` is its ShardAccount, as the executor wants it."""

    def __init__(self, address: Address, boc: bytes) -> None:
        self.address = address
        self.boc = boc

    @cached_property
    def _bag(self) -> Bag:
        return Bag(self.boc, verify=False)

    @cached_property
    def _head(self) -> _Head:
        bag = self._bag
        if len(bag.roots) != 1 or len(refs := bag.refs(bag.roots[0])) != 1:
            raise BadCell("not a ShardAccount")
        shard = bag.data_slice(bag.roots[0])
        last_hash, last_lt = shard.load_bytes(32), shard.load_uint(64)
        return _Head(bag.data_slice(refs[0]), bag.refs(refs[0]), last_hash, last_lt)

    @property
    def status(self) -> Status:
        return self._head.status

    @property
    def balance(self) -> int:
        return self._head.balance

    @property
    def last_lt(self) -> int:
        """Logical time of the last transaction, 0 if there was none."""
        return self._head.last_lt

    @property
    def last_hash(self) -> bytes:
        """Hash of the last transaction, zeros if there was none."""
        return self._head.last_hash

    @property
    def storage_used(self) -> StorageUsed:
        return StorageUsed(self._head.used_cells, self._head.used_bits)

    @property
    def last_paid(self) -> int:
        """Unix time up to which storage is paid."""
        return self._head.last_paid

    @property
    def due_payment(self) -> int:
        """Storage fees that the balance could not cover."""
        return self._head.due

    @property
    def frozen_hash(self) -> bytes | None:
        """Hash of the StateInit that unfreezes a frozen account."""
        return self._head.frozen_hash

    @cached_property
    def state_hash(self) -> bytes:
        """Hash of the account cell: equal before and after means that nothing changed, not even the balance."""
        return self._bag.hash(self._bag.refs(self._bag.roots[0])[0])

    @cached_property
    def code_hash(self) -> bytes | None:
        """Without building the code's cells, of which there are hundreds."""
        return None if self._head.code_ref is None else self._bag.hash(self._head.code_ref)

    @cached_property
    def code(self) -> Cell | None:
        return self._ref(self._head.code_ref)

    @cached_property
    def data(self) -> Cell | None:
        return self._ref(self._head.data_ref)

    def _ref(self, index: int | None) -> Cell | None:
        return None if index is None else self._bag.cell(index)

    def with_credit(self, nano: int, now: int) -> AccountView:
        """The same account with `nano` more (or less, if negative); a new one is uninit, its storage is paid to `now`.

        Counts the bits of the changed balance in `storage_used`, as the network would.
        """
        balance = self.balance + nano
        if balance < 0:
            raise ValueError(f"the account holds {self.balance} nanoTON, {-nano} can't be taken")
        head, refs = self._head, []
        extra, tail, cells, last_paid = head.extra, head.tail, head.used_cells, head.last_paid
        if self.status == "nonexist":
            extra = tail = bitarray("000")  # no storage extra; no extra currencies and account_uninit$00
            cells, bits, last_paid = 1, 64 + len(_coins(balance)) + len(tail), now
        else:
            bits = head.used_bits - len(_coins(self.balance)) + len(_coins(balance))
            refs = [self._bag.cell(index) for index in head.refs]
        account = Builder().store_bits("1").store_address(self.address)
        account.store_var_uint(cells, 3).store_var_uint(bits, 3).store_bits(extra).store_uint(last_paid, 32)
        account.store_bits("1" if head.due else "0")
        if head.due:
            account.store_coins(head.due)
        account.store_uint(head.storage_lt, 64).store_coins(balance).store_bits(tail)
        for ref in refs:
            account.store_ref(ref)
        shard = Builder().store_ref(account.end_cell()).store_bytes(self.last_hash).store_uint(self.last_lt, 64)
        return AccountView(self.address, to_boc(shard.end_cell()))

    def __repr__(self) -> str:
        return f"<Account {format_address(self.address)} {self.status}, {format_ton(self.balance)}>"


class _Head:
    """The account cell's own bits, parsed; references are indices into the bag."""

    def __init__(self, part: Slice, refs: list[int], last_hash: bytes, last_lt: int) -> None:
        self.last_hash, self.last_lt = last_hash, last_lt
        self.refs = refs
        self.status: Status = "nonexist"
        self.balance = self.used_cells = self.used_bits = self.last_paid = self.due = self.storage_lt = 0
        self.code_ref: int | None = None
        self.data_ref: int | None = None
        self.frozen_hash: bytes | None = None
        self.tail = self.extra = bitarray()
        if not part.load_bit():
            return
        part.load_address()
        self.used_cells, self.used_bits = part.load_var_uint(3), part.load_var_uint(3)
        self.extra = part.load_bits(3)  # storage_extra: 000 none, 001 and a hash
        if self.extra[2]:
            self.extra = self.extra + part.load_bits(256)
        self.last_paid = part.load_uint(32)
        self.due = part.load_coins() if part.load_bit() else 0
        self.storage_lt = part.load_uint(64)
        self.balance = part.load_coins()
        self.tail = part.bits.copy()
        unread = iter(refs)
        if part.load_bit():
            next(unread)  # extra currencies
        if part.load_bit():
            self.status = "active"
            self._load_state_init(part, unread)
        elif part.load_bit():
            self.status = "frozen"
            self.frozen_hash = part.load_bytes(32)
        else:
            self.status = "uninit"

    def _load_state_init(self, part: Slice, unread: Iterator[int]) -> None:
        for width in (5, 2):  # fixed prefix length, tick-tock
            if part.load_bit():
                part.skip_bits(width)
        self.code_ref = next(unread) if part.load_bit() else None
        self.data_ref = next(unread) if part.load_bit() else None


def _coins(nano: int) -> bitarray:
    bits: bitarray = Builder().store_coins(nano).bits
    return bits


def empty_account(address: Address) -> AccountView:
    """An account that does not exist."""
    none = Builder().store_bits("0").end_cell()
    shard = Builder().store_ref(none).store_bytes(bytes(32)).store_uint(0, 64).end_cell()
    return AccountView(address, to_boc(shard))
