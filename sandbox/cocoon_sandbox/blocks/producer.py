"""The clock of the chain: a round whenever messages wait, and at least every so many seconds."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress

from cocoon_sandbox.blocks.collator import Collator
from cocoon_sandbox.errors import SandboxError

__all__ = ["Producer"]

_log = logging.getLogger(__name__)


class Producer:
    """Runs a collator in a task of the current event loop; blocks are made in a worker thread.

    `pause` is held while a round is made: whoever acquires it has the chain and the ledger for himself.
    """

    def __init__(self, collator: Collator, interval: float) -> None:
        self.interval = interval
        self.pause = asyncio.Lock()
        self._collator = collator
        self._wake = asyncio.Event()
        self._waiters: dict[asyncio.Future[None], int] = {}
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to make blocks."""
        self._task = asyncio.create_task(self._run(), name="block producer")

    async def stop(self) -> None:
        """Make no more blocks; whoever waits for one gets an error."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await task
        self._fail(SandboxError("the network was stopped"))

    def wake(self) -> None:
        """Make a round now."""
        self._wake.set()

    def check(self) -> None:
        """`SandboxError` unless blocks are being made."""
        if self._task is None:
            raise SandboxError("the network is not running: enter it with `async with`")
        if self._task.done():
            raise SandboxError(f"the network has failed: {self._task.exception()!r}")

    async def wait(self, seqno: int) -> None:
        """Wait until the masterchain has block `seqno`."""
        if self._collator.archive.tip.id.seqno < seqno:
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            await self.watch(waiter, seqno)

    async def watch(self, waiter: asyncio.Future[None], seqno: int = 1 << 32) -> None:
        """Await `waiter`, which fails when the network does, and succeeds with block `seqno` at the latest."""
        self.check()
        self._waiters[waiter] = seqno
        try:
            await waiter
        finally:
            del self._waiters[waiter]

    async def _run(self) -> None:
        try:
            while True:
                with suppress(TimeoutError):
                    async with asyncio.timeout(self.interval):
                        await self._wake.wait()
                self._wake.clear()
                async with self.pause:
                    sealed = await asyncio.to_thread(self._collator.make_round)
                for waiter, seqno in self._waiters.items():
                    if seqno <= sealed.master.id.seqno and not waiter.done():
                        waiter.set_result(None)
                if self._collator.has_work:
                    self._wake.set()
        except Exception as error:
            _log.exception("the network has failed")
            self._fail(SandboxError(f"the network has failed: {error!r}"))
            raise

    def _fail(self, error: SandboxError) -> None:
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_exception(error)
