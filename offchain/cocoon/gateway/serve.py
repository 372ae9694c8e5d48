"""The gateway put together and run: chain, wallet, channels, market, server; everything ends with the context."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
from collections.abc import AsyncIterator
from dataclasses import dataclass

from ..chain.base import Chain
from ..chain.wallet import Wallet
from ..client.stream import FastChannel
from ..deployment import Deployment
from ..errors import ChainError
from .archive import ReceiptArchive
from .context import Context
from .database import open_database
from .errors import GatewayError
from .flows import FlowWatcher
from .held import Connect
from .http_server import listening
from .keys import KeyStore
from .market import Market
from .market_page import MarketPage
from .metrics import GatewayMetrics
from .opening import in_background, open_market
from .pool import ChannelPool
from .server import make_app
from .settings import GatewaySettings

__all__ = ["Gateway", "running"]


@dataclass(frozen=True, slots=True)
class Gateway:
    """A gateway that answers at `base_url`. banner: what to say of a network without hardware, as it started."""

    base_url: str
    banner: str | None
    keys: KeyStore
    market: Market
    pool: ChannelPool


@contextlib.asynccontextmanager
async def running(
    settings: GatewaySettings,
    chain: Chain,
    wallet: Wallet,
    *,
    allow_simulated_tee: bool = False,
    connect: Connect = FastChannel.connect,
) -> AsyncIterator[Gateway]:
    """Serve for the time of the context. SimulatedTeeRefused on a network without hardware, unless allowed;
    ClientError if it has no registry that this version knows.
    """
    _check_open_page(settings)
    metrics = GatewayMetrics()
    async with open_market(
        settings, chain, wallet, metrics.market, allow_simulated_tee=allow_simulated_tee, connect=connect
    ) as opened:
        watcher, pool, market = opened.watcher, opened.pool, opened.market
        with contextlib.closing(open_database(settings.database)) as db:
            keys = KeyStore(db)
            keys.recover()
            names = {int(model, 16): name for name, model in settings.models.items()}
            page = MarketPage(chain, Deployment(settings.registry), market, pool, wallet.address, names)
            page.flow_watcher = FlowWatcher(chain, page.watched, poll_sec=settings.poll_sec)
            archive = ReceiptArchive(db, keep_days=settings.keep_receipts_days)
            context = Context(
                market, keys, archive, metrics, lambda: watcher.banner, settings.http, page_key=settings.page_key
            )
            async with (
                in_background(page.flow_watcher.run(), _watch_wallet(chain, wallet, page, settings)),
                listening(make_app(context, page), settings.host, settings.port) as base_url,
            ):
                yield Gateway(base_url, watcher.banner, keys, market, pool)


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
