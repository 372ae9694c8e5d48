"""The gateway put together and run: chain, wallet, channels, market, server; everything ends with the context."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass

from aiohttp import web

from ..chain.base import Chain
from ..chain.wallet import Wallet
from ..client.channel import Channel
from ..client.client import Client
from ..client.stream import FastChannel
from ..deployment import Deployment
from ..errors import ChainError
from .archive import ReceiptArchive
from .context import Context
from .database import open_database
from .errors import GatewayError
from .facts import FactsWatcher, read_registry
from .flows import FlowWatcher
from .held import Connect, Fast
from .keys import KeyStore
from .market import Market
from .market_page import MarketPage
from .metrics import GatewayMetrics
from .pool import ChannelPool
from .server import make_app
from .settings import GatewaySettings
from .trust import Trust, network_trust, require_trust

__all__ = ["Gateway", "listening", "running"]

log = logging.getLogger(__name__)
_SHUTDOWN_SEC = 5.0


@dataclass(frozen=True, slots=True)
class Gateway:
    """A gateway that answers at `base_url`."""

    base_url: str
    trust: Trust
    keys: KeyStore
    market: Market
    pool: ChannelPool


class _Connection(FastChannel):
    def deposited(self, deposit_nano: int) -> None:
        self.ledger.deposit = max(self.ledger.deposit, deposit_nano)


async def _connect(channel: Channel, endpoint: str) -> Fast:
    return await _Connection.connect(channel, endpoint)


@contextlib.asynccontextmanager
async def running(
    settings: GatewaySettings,
    chain: Chain,
    wallet: Wallet,
    *,
    allow_simulated_tee: bool = False,
    connect: Connect = _connect,
) -> AsyncIterator[Gateway]:
    """Serve for the time of the context. SimulatedTeeRefused on a network without hardware, unless allowed."""
    _check_open_page(settings)
    deployment = Deployment(settings.registry)
    trust = network_trust(await read_registry(chain, deployment))
    require_trust(trust, allow_simulated_tee)
    if trust.banner is not None:
        log.warning(trust.banner)
    settings.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    with (
        contextlib.closing(open_database(settings.database)) as db,
        Client(chain, wallet, deployment, settings.data_dir / "client.sqlite") as client,
    ):
        keys, metrics = KeyStore(db), GatewayMetrics()
        keys.recover()
        watcher = FactsWatcher(chain, deployment, settings.endpoints, poll_sec=settings.poll_sec)
        facts = await watcher.refresh()
        pool = ChannelPool(client, connect, settings.pool)
        await pool.recover({worker.address.to_str(is_user_friendly=False): worker.index for worker in facts.workers})
        market = Market(
            watcher, pool, settings.policy(allow_unattested=allow_simulated_tee), settings.market, settings.models,
            metrics.market, simulated_tee=trust.simulated,
        )  # fmt: skip
        names = {int(model, 16): name for name, model in settings.models.items()}
        page = MarketPage(chain, deployment, market, pool, wallet.address, names)
        page.flow_watcher = FlowWatcher(chain, page.watched, poll_sec=settings.poll_sec)
        archive = ReceiptArchive(db, keep_days=settings.keep_receipts_days)
        context = Context(market, keys, archive, metrics, trust, settings.http, page_key=settings.page_key)
        background = [
            asyncio.create_task(work)
            for work in (
                watcher.run(), pool.maintain(), page.flow_watcher.run(), _watch_wallet(chain, wallet, page, settings),
            )
        ]  # fmt: skip
        for task in background:
            task.add_done_callback(_complain)
        try:
            async with listening(make_app(context, page), settings.host, settings.port) as base_url:
                yield Gateway(base_url, trust, keys, market, pool)
        finally:
            for task in background:
                task.cancel()
            await asyncio.gather(*background, return_exceptions=True)
            await pool.close()


@contextlib.asynccontextmanager
async def listening(app: web.Application, host: str, port: int) -> AsyncIterator[str]:
    """The application served; its base_url for OpenAI clients. port 0: a free one. GatewayError if it is taken."""
    runner = web.AppRunner(app, handler_cancellation=True, access_log=None, shutdown_timeout=_SHUTDOWN_SEC)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, host, port).start()
        except OSError as error:
            raise GatewayError(f"can't listen on {host}:{port}: {error}; choose another --port") from error
        actual = runner.addresses[0][1]
        shown = f"[{host}]" if ":" in host else "127.0.0.1" if host == "0.0.0.0" else host
        yield f"http://{shown}:{actual}/v1"
    finally:
        await runner.cleanup()


def _complain(task: asyncio.Task[None]) -> None:
    """A background task ends when it is cancelled, and otherwise by a bug only."""
    if not task.cancelled() and (error := task.exception()) is not None:
        log.critical("a part of the gateway has failed; restart it", exc_info=error)


async def _watch_wallet(chain: Chain, wallet: Wallet, page: MarketPage, settings: GatewaySettings) -> None:
    while True:
        with contextlib.suppress(ChainError):
            page.wallet_nano = (await chain.account(wallet.address)).balance
        await asyncio.sleep(settings.poll_sec)


def _check_open_page(settings: GatewaySettings) -> None:
    """A page that spends without a key is for this machine alone."""
    if settings.page_key is None or settings.host == "localhost":
        return
    try:
        local = ipaddress.ip_address(settings.host).is_loopback
    except ValueError:
        local = False
    if not local:
        raise GatewayError(
            f"page_key lets everybody who reaches {settings.host} spend: listen on 127.0.0.1, or leave page_key out"
        )
