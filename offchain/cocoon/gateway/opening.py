"""A place in the market: what is known of the network, a wallet's channels, the choice of workers; put together."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Coroutine
from dataclasses import dataclass
from typing import Any

from ..chain.base import Chain
from ..chain.wallet import Wallet
from ..client.client import Client
from ..client.stream import FastChannel
from ..deployment import Deployment
from ..locking import alone
from .errors import GatewayError
from .facts import FactsWatcher
from .held import Connect
from .market import Market
from .metrics import MarketMetrics
from .pool import ChannelPool
from .reporting import Reporter
from .settings import GatewaySettings

__all__ = ["OpenMarket", "in_background", "open_market"]

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class OpenMarket:
    """`watcher.banner` is what to show as long as no hardware stands behind the network."""

    watcher: FactsWatcher
    pool: ChannelPool
    market: Market


@contextlib.asynccontextmanager
async def open_market(
    settings: GatewaySettings, chain: Chain, wallet: Wallet, metrics: MarketMetrics, *,
    allow_simulated_tee: bool = False, connect: Connect = FastChannel.connect,
) -> AsyncIterator[OpenMarket]:  # fmt: skip
    """Open for the time of the context; nobody else may use the wallet meanwhile.

    SimulatedTeeRefused on a network without hardware, unless allowed; ClientError without a registry known here.
    """
    deployment = Deployment(settings.registry)
    watcher = FactsWatcher(
        chain, deployment, settings.endpoints, poll_sec=settings.poll_sec, allow_simulated_tee=allow_simulated_tee,
        private_endpoints=settings.private_endpoints,
    )  # fmt: skip
    facts = await watcher.refresh()
    settings.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    store = settings.data_dir / "client.sqlite"
    taken = GatewayError(f"{settings.data_dir} is in use: stop what uses it, or choose another data_dir")
    with (
        alone(settings.data_dir / "lock", taken),  # two would promise the same deposit twice
        Client(chain, wallet, deployment, store, allow_simulated_tee=allow_simulated_tee) as client,
    ):
        pool = ChannelPool(client, connect, settings.pool, settings.accept_measurements)
        workers = {worker.address.to_str(is_user_friendly=False): worker.index for worker in facts.workers}
        await pool.recover(workers)
        reporter = Reporter(enabled=settings.report_equivocation)
        reporter.resume(client, workers)
        market = Market(watcher, pool, settings.policy, settings.market, settings.models, metrics, reporter)
        try:
            async with in_background(watcher.run(), pool.maintain()):
                yield OpenMarket(watcher, pool, market)
        finally:
            await reporter.close()
            await pool.close()


@contextlib.asynccontextmanager
async def in_background(*works: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """`works` run for the time of the context. One that ends by itself has a bug, which is said aloud."""
    tasks = [asyncio.create_task(work) for work in works]
    for task in tasks:
        task.add_done_callback(_complain)
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _complain(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        log.critical("a part of this program has failed; restart it", exc_info=error)
