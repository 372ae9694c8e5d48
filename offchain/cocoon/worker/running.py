"""`cocoon worker run`: an agent with its metrics, that stops when nobody is waiting for an answer any more."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

from rich.console import Console

from ..agent.agent import Agent
from ..agent.config import AgentConfig
from ..agent.main import run_agent
from ..chain.wallet import format_ton
from ..kernels.progress import ProgressCallback, silent
from .counting import counted
from .local_server import serving
from .logs import LevelCounter
from .metrics import WorkerMetrics
from .watching import Look, Observer

__all__ = ["Watch", "run_worker"]

_log = logging.getLogger(__name__)
_POLL_SEC = 0.2
_SHOW_SEC = 60.0


@dataclass(frozen=True, slots=True)
class Watch:
    """metrics: `host:port`, None serves none. drain_sec: how long running answers and forced jobs are waited for."""

    metrics: str | None
    drain_sec: float = 60.0
    show_earnings: bool = False


async def run_worker(
    config: AgentConfig, watch: Watch, levels: LevelCounter, progress: ProgressCallback = silent
) -> None:
    """Until SIGTERM or SIGINT; a second one stops at once. Raises what `run_agent` does."""
    stopping, hurrying = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def told_to_stop() -> None:
        (hurrying if stopping.is_set() else stopping).set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told_to_stop)
    made: asyncio.Future[Observer] = loop.create_future()

    def prepare(agent: Agent) -> None:
        agent.kernel, tally = counted(agent.kernel)
        made.set_result(Observer(agent, tally, _show_earnings() if watch.show_earnings else lambda _: None))

    agent = asyncio.create_task(run_agent(config, progress, prepare))
    told = asyncio.create_task(stopping.wait())
    try:
        waited: set[asyncio.Future[Any]] = {agent, told, made}
        await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
        if made.done() and not agent.done():
            observer = made.result()
            async with _observed(observer, watch, levels):
                waited.discard(made)
                await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
                if not agent.done():
                    await _drain(observer, agent, hurrying, watch.drain_sec)
    finally:
        told.cancel()
        agent.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await agent
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)
    _log.info("stopped; open jobs go on at the next start")


@contextlib.asynccontextmanager
async def _observed(observer: Observer, watch: Watch, levels: LevelCounter) -> AsyncIterator[None]:
    looking = asyncio.create_task(observer.run())
    try:
        async with contextlib.AsyncExitStack() as stack:
            if watch.metrics is not None:
                where = await stack.enter_async_context(
                    serving(watch.metrics, observer, WorkerMetrics(observer, levels))
                )
                _log.info("metrics at %s/metrics, health at %s/health", where, where)
            yield
    finally:
        looking.cancel()
        await asyncio.gather(looking, return_exceptions=True)


async def _drain(observer: Observer, agent: asyncio.Task[None], hurrying: asyncio.Event, seconds: float) -> None:
    """No new streams; those that run, and forced jobs that the chain has admitted, are finished if time allows. Then
    what is worth claiming is claimed.
    """
    observer.draining = True
    server = observer.agent.server
    if server is not None:
        server.draining = True
    _log.info("draining: at most %.0f s; another signal stops at once", seconds)
    loop = asyncio.get_running_loop()
    until = loop.time() + seconds
    while not agent.done() and not hurrying.is_set():
        streams = 0 if server is None else server.running
        jobs = (await observer.books()).unfinished
        if streams == jobs == 0:
            break
        if loop.time() >= until:
            _log.warning("stopping with %d streams and %d forced jobs unfinished", streams, jobs)
            return
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(hurrying.wait(), _POLL_SEC)
    if not agent.done() and not hurrying.is_set():
        observer.agent.drain()
        hurry = asyncio.create_task(hurrying.wait())
        await asyncio.wait({agent, hurry}, return_when=asyncio.FIRST_COMPLETED)
        hurry.cancel()
        if agent.done():
            _log.info("drained")


def _show_earnings() -> Callable[[Look], None]:
    """A line on the terminal: now, and every minute in which something changed."""
    console = Console(file=sys.stdout, highlight=False)
    shown_at, shown = float("-inf"), ""

    def show(look: Look) -> None:
        nonlocal shown_at, shown
        books, facts = look.books, look.facts
        streamed = sum(channel.earned_nano for channel in books.channels)
        line = (
            f"earned {format_ton(books.forced_nano + streamed)} ({books.outcomes.get('delivered', 0)} forced jobs, "
            f"{sum(channel.receipts for channel in books.channels)} streams), "
            f"lease {max(0, facts.lease_end - facts.time) // 3600} h, operator {format_ton(facts.operator_nano)}"
        )
        if look.at >= shown_at + _SHOW_SEC and line != shown:
            shown_at, shown = look.at, line
            console.print(f"[bold green]{line}[/bold green]")

    return show
