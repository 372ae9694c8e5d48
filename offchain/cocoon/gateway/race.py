"""Attempts at one request: the first worker to speak wins, and when another one is asked."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from ..client.stream import Delta, Finished, StreamRefused
from .choice import Experience
from .errors import NoWorker, RequestRefused
from .facts import WorkerFacts
from .held import Held
from .metrics import MarketMetrics

__all__ = ["CLIENTS_FAULT", "Attempt", "MarketSettings", "Race"]

CLIENTS_FAULT = frozenset({"malformed", "too_long", "fee_too_low"})  # another worker would say the same
_QUEUE = 64


@dataclass(frozen=True, slots=True)
class MarketSettings:
    """attempts: workers asked at most. hedge_sec: silence after which another is asked as well, 0 never; while a
    channel is opened it is opening_sec. rest_sec: how long a worker that failed is left alone. stale_sec: facts older
    than this are not acted on.
    """

    attempts: int = 3
    hedge_sec: float = 2.0
    opening_sec: float = 20.0
    first_token_sec: float = 60.0
    stall_sec: float = 60.0
    rest_sec: float = 30.0
    stale_sec: float = 300.0


class Attempt:
    """One worker asked. `started` is done with the first event, or with what went wrong before it."""

    def __init__(self, worker: WorkerFacts) -> None:
        self.worker = worker
        self.held: Held | None = None
        self.queue: asyncio.Queue[Delta | Finished | Exception] = asyncio.Queue(_QUEUE)
        self.started: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.task: asyncio.Task[None] | None = None
        self.connected: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.since = time.monotonic()

    def asked(self, held: Held | None) -> None:
        """The request goes out over `held`; None: it never will. A hedge's patience starts anew."""
        if held is not None:
            self.held, self.since = held, time.monotonic()
        if not self.connected.done():
            self.connected.set_result(None)

    def patience(self, settings: MarketSettings) -> float:
        """Seconds until another worker is asked as well. Opening a channel takes as long as the chain takes."""
        allowed = settings.hedge_sec if self.held is not None else max(settings.hedge_sec, settings.opening_sec)
        return self.since + allowed - time.monotonic()

    def fail(self, error: Exception) -> None:
        if not self.started.done():
            self.started.set_exception(error)
            self.started.exception()  # it may be looked at by nobody
            return
        if self.queue.full():
            self.queue.get_nowait()  # what comes before the failure is not believed any more
        self.queue.put_nowait(error)


class Race:
    """Attempts at one request, until one has spoken. `end` leaves nothing running."""

    def __init__(
        self, pump: Callable[[Attempt], Coroutine[Any, Any, None]], settings: MarketSettings, metrics: MarketMetrics,
        order: list[WorkerFacts], experience: Callable[[int], Experience],
    ) -> None:  # fmt: skip
        self._pump, self._settings, self._metrics, self._left = pump, settings, metrics, list(order)
        self._experience = experience
        self._running: list[Attempt] = []
        self._failures: list[str] = []
        self._began = time.monotonic()

    async def first(self) -> Attempt:
        """The attempt that spoke first; the others are ended. BackendFailed if none did."""
        settings = self._settings
        while True:
            if not self._running and not self._start():
                raise NoWorker(f"no worker answered: {'; '.join(self._failures) or 'none is within the price'}")
            left = self._began + settings.first_token_sec - time.monotonic()
            hedging = settings.hedge_sec > 0 and len(self._running) == 1 and bool(self._left)
            waited = min(left, self._running[0].patience(settings)) if hedging else left
            # a hedge's patience starts anew with the connection
            pending = [attempt.connected for attempt in self._running if hedging and not attempt.connected.done()]
            done, _ = await asyncio.wait(
                [*(attempt.started for attempt in self._running), *pending], timeout=max(0.0, waited),
                return_when=asyncio.FIRST_COMPLETED,
            )  # fmt: skip
            for attempt in list(self._running):
                if attempt.started in done:
                    if attempt.started.exception() is None:
                        await self._keep_only(attempt)
                        return attempt
                    await self._lost(attempt)
            if not done:
                if time.monotonic() >= self._began + settings.first_token_sec:
                    raise NoWorker(f"no worker spoke within {settings.first_token_sec:g} s")
                if hedging and self._running[0].patience(settings) <= 0 and self._start():
                    self._metrics.hedged()

    async def end(self) -> None:
        await self._keep_only(None)

    def _start(self) -> bool:
        """Ask the next worker; False if there is none left."""
        if not self._left:
            return False
        attempt = Attempt(self._left.pop(0))
        attempt.task = asyncio.create_task(self._pump(attempt))
        # Counted in the step that chose it, so that requests of one moment spread.
        seen = self._experience(attempt.worker.index)
        seen.in_flight += 1
        attempt.task.add_done_callback(lambda _done: seen.leave())
        self._running.append(attempt)
        return True

    async def _lost(self, attempt: Attempt) -> None:
        self._running.remove(attempt)
        error = attempt.started.exception()
        if isinstance(error, StreamRefused) and error.reason in CLIENTS_FAULT:
            raise RequestRefused(error.reason, str(error)) from error
        self._failures.append(f"worker {attempt.worker.index}: {error}")

    async def _keep_only(self, kept: Attempt | None) -> None:
        others = [attempt for attempt in self._running if attempt is not kept]
        self._running = [] if kept is None else [kept]
        tasks = [attempt.task for attempt in others if attempt.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
