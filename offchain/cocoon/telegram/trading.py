"""The bot's own place in the market: chain, wallet, channels, choice of workers; all ends with the context."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator

from prometheus_client import CollectorRegistry

from ..chain.base import Chain
from ..chain.wallet import Wallet
from ..client.channel import Channel
from ..client.client import Client
from ..client.stream import FastChannel
from ..deployment import Deployment
from ..gateway.facts import FactsWatcher, read_registry
from ..gateway.held import Connect, Fast
from ..gateway.market import Market
from ..gateway.metrics import MarketMetrics
from ..gateway.pool import ChannelPool
from ..gateway.settings import GatewaySettings
from ..gateway.trust import Trust, network_trust, require_trust

__all__ = ["trading"]

log = logging.getLogger(__name__)


class _Connection(FastChannel):
    def deposited(self, deposit_nano: int) -> None:
        self.ledger.deposit = max(self.ledger.deposit, deposit_nano)


async def _connect(channel: Channel, endpoint: str) -> Fast:
    return await _Connection.connect(channel, endpoint)


@contextlib.asynccontextmanager
async def trading(
    settings: GatewaySettings, chain: Chain, wallet: Wallet, *, allow_simulated_tee: bool = False,
    connect: Connect = _connect,
) -> AsyncIterator[tuple[Market, Trust]]:  # fmt: skip
    """SimulatedTeeRefused on a network without hardware, unless allowed. Nobody else may use the wallet meanwhile."""
    deployment = Deployment(settings.registry)
    trust = network_trust(await read_registry(chain, deployment))
    require_trust(trust, allow_simulated_tee)
    settings.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    with Client(chain, wallet, deployment, settings.data_dir / "client.sqlite") as client:
        watcher = FactsWatcher(chain, deployment, settings.endpoints, poll_sec=settings.poll_sec)
        facts = await watcher.refresh()
        pool = ChannelPool(client, connect, settings.pool)
        await pool.recover({worker.address.to_str(is_user_friendly=False): worker.index for worker in facts.workers})
        market = Market(
            watcher, pool, settings.policy(allow_unattested=allow_simulated_tee), settings.market, settings.models,
            MarketMetrics(CollectorRegistry()), simulated_tee=trust.simulated,
        )  # fmt: skip
        background = [asyncio.create_task(watcher.run()), asyncio.create_task(pool.maintain())]
        for task in background:
            task.add_done_callback(_complain)
        try:
            yield market, trust
        finally:
            for task in background:
                task.cancel()
            await asyncio.gather(*background, return_exceptions=True)
            await pool.close()


def _complain(task: asyncio.Task[None]) -> None:
    """A background task ends when it is cancelled, and otherwise by a bug only."""
    if not task.cancelled() and (error := task.exception()) is not None:
        log.critical("a part of the bot has failed; restart it", exc_info=error)
