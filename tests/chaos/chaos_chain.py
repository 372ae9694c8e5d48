"""One ledger under a clock of its own, and the views of it that parties have: a view may lose its lite server."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from chaos_books import Books
from ledger_chain import LedgerChain
from pytoniq_core import Address, Cell

from cocoon.chain.base import AccountState, ChainTransaction
from cocoon.chain.blockid import BlockId
from cocoon.errors import ChainUnavailable
from cocoon_sandbox.ledger import Ledger
from cocoon_sandbox.transaction import Transaction

__all__ = ["BeatingChain", "View"]

_BEAT_SEC = 0.05  # between two blocks, on this machine's clock


class BeatingChain(LedgerChain):
    """Blocks come by themselves while `beating`, each `block_sec` of the chain's time after the last one.
    `books`: every transaction since the beginning.
    """

    def __init__(self, ledger: Ledger, *, global_id: int, block_sec: int) -> None:
        self._by_account: dict[Address, list[ChainTransaction]] = {}
        self._beat = asyncio.Event()
        self._in_block = False
        super().__init__(ledger, global_id=global_id, block_sec=block_sec)
        self.books = Books(ledger)
        take = ledger.observer
        assert take is not None

        def observe(done: Transaction) -> None:
            take(done)
            if self._in_block:  # and not tried out
                self.books.enter(done)

        ledger.observer = observe

    def make_block(self) -> None:
        self._in_block = True
        super().make_block()
        self._in_block = False

    @contextlib.asynccontextmanager
    async def beating(self) -> AsyncIterator[None]:
        async def beat() -> None:
            while True:
                await asyncio.sleep(_BEAT_SEC)
                self.make_block()

        task = asyncio.create_task(beat())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def transactions(self, address: Address, *, after_lt: int = 0, limit: int = 64) -> list[ChainTransaction]:
        return [done for done in self._by_account.get(address, []) if done.lt > after_lt][:limit]

    async def next_block(self) -> None:
        await self._beat.wait()

    def _publish(self) -> None:
        for done in self._fresh:
            self._by_account.setdefault(done.account, []).append(done)
        super()._publish()
        beat, self._beat = self._beat, asyncio.Event()
        beat.set()


class View:
    """A party's `Chain`. `offline` makes every call fail, as without a lite server."""

    def __init__(self, chain: BeatingChain) -> None:
        self._chain = chain
        self.global_id = chain.global_id
        self.offline = False

    @property
    def now(self) -> int:
        """The chain's time, whether or not anybody can ask for it."""
        return self._chain.ledger.now

    async def time(self) -> int:
        return await self._online.time()

    async def master_block(self, seqno: int | None = None) -> BlockId:
        return await self._online.master_block(seqno)

    async def account(self, address: Address) -> AccountState:
        return await self._online.account(address)

    async def transactions(self, address: Address, *, after_lt: int = 0, limit: int = 64) -> list[ChainTransaction]:
        return await self._online.transactions(address, after_lt=after_lt, limit=limit)

    async def config(self, params: tuple[int, ...]) -> dict[int, Cell]:
        return await self._online.config(params)

    async def send(self, message: Cell) -> None:
        await self._online.send(message)

    async def next_block(self) -> None:
        await self._online.next_block()

    @property
    def _online(self) -> BeatingChain:
        if self.offline:
            raise ChainUnavailable("the lite server is gone")
        return self._chain
