"""ShardAccount: the head of an account's chain of transactions, its balance and its public libraries."""

from __future__ import annotations

from dataclasses import dataclass

from cocoon_sandbox.state import dictionary
from cocoon_sandbox.state.builder import Builder, Slice
from cocoon_sandbox.state.cell import Cell
from cocoon_sandbox.tlb.currency import ZERO, Currency
from cocoon_sandbox.tlb.message import read_address

__all__ = ["ACCOUNT_NONE", "AccountHead"]

ACCOUNT_NONE = Builder().bit(0).cell()


@dataclass(frozen=True, slots=True)
class AccountHead:
    """One ShardAccount. `account` is the Account cell; `libraries` maps hashes to published library cells."""

    account: Cell
    last_hash: bytes
    last_lt: int
    balance: Currency
    libraries: tuple[tuple[int, Cell], ...]

    @property
    def exists(self) -> bool:
        """Whether there is an account: `account_none` is not kept in the state."""
        return self.account.bits > 1

    @staticmethod
    def read(cell: Cell) -> AccountHead:
        """Parse a ShardAccount cell."""
        source = Slice(cell)
        account, last_hash, last_lt = source.ref(), source.raw(32), source.uint(64)
        body = Slice(account)
        if not body.bit():
            return AccountHead(account, last_hash, last_lt, ZERO, ())
        read_address(body)
        body.var_uint(3)
        body.var_uint(3)
        if body.uint(3) == 1:
            body.uint(256)
        body.uint(32)
        if body.bit():
            body.coins()
        body.uint(64)
        balance = Currency.read(body)
        libraries: tuple[tuple[int, Cell], ...] = ()
        if body.bit():
            if body.bit():
                body.uint(5)
            if body.bit():
                body.uint(2)
            body.maybe_ref()
            body.maybe_ref()
            libraries = _public_libraries(body.maybe_ref())
        return AccountHead(account, last_hash, last_lt, balance, libraries)

    def write(self) -> Builder:
        """account_descr, as the accounts dictionary holds it."""
        return Builder().ref(self.account).raw(self.last_hash).uint(self.last_lt, 64)


def _public_libraries(root: Cell | None) -> tuple[tuple[int, Cell], ...]:
    """Libraries of an account that are marked public and stored under their own hash."""
    found = []
    for key, value in dictionary.parse(root, 256).items():
        public, library = value.bit(), value.ref()
        if public and int.from_bytes(library.hash, "big") == key:
            found.append((key, library))
    return tuple(found)
