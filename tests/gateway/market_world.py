"""A gateway's market over the real contracts on a ledger, with connections that a test speaks for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from ledger_chain import LedgerChain
from prometheus_client import CollectorRegistry
from protocol_world import MODEL, TON, World, make_world, named_key

from cocoon.chain.wallet import Wallet
from cocoon.client import Client
from cocoon.client.channel import Channel
from cocoon.client.stream import Delta
from cocoon.errors import ClientError
from cocoon.gateway.backend import Finished
from cocoon.gateway.choice import ChoicePolicy
from cocoon.gateway.facts import FactsWatcher
from cocoon.gateway.held import PoolLimits
from cocoon.gateway.market import Market
from cocoon.gateway.metrics import MarketMetrics
from cocoon.gateway.pool import ChannelPool
from cocoon.gateway.race import MarketSettings
from cocoon.gateway.reporting import Reporter
from cocoon.stream.asked import Asked
from cocoon.wire.common import ModelTerms
from cocoon_sandbox.config import SANDBOX_GLOBAL_ID
from cocoon_sandbox.ledger import Ledger

MODEL_ID = f"{MODEL:064x}"
BODY = {"prompt": "one two", "max_tokens": 10}
POLICY = ChoicePolicy(ModelTerms(10**10, 10**10, 10**11, 10**9, 0))


@dataclass
class Spoken:
    """A connection: `says` is yielded, an exception raised, an event waited for."""

    channel: Channel
    says: list[Any]
    available_nano: int = TON // 2
    alive: bool = True
    lied: None = None

    async def stream(self, body: Asked, *, max_fee: int) -> AsyncIterator[Any]:
        for said in self.says:
            if isinstance(said, Exception):
                raise said
            if isinstance(said, asyncio.Event):
                await said.wait()
                continue
            yield said

    def deposited(self, deposit_nano: int) -> None:
        self.available_nano = deposit_nano

    async def end_channel(self) -> Any:
        raise ClientError("the worker does not agree")

    async def close(self) -> None:
        self.alive = False


@dataclass
class MarketWorld:
    """`says` is what the worker's next connections say."""

    world: World
    client: Client
    watcher: FactsWatcher
    pool: ChannelPool
    reporter: Reporter
    market: Market
    says: list[Any] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    async def answer(self) -> tuple[str, Finished | None]:
        text, end = "", None
        async for event in self.market.run(self.market.quote(BODY, MODEL_ID)):
            if isinstance(event, Finished):
                end = event
            else:
                text += event.text
        return text, end


def make_market(
    ledger: Ledger, world: World, *, report: bool = True, endpoints: Mapping[int, str] | None = None
) -> MarketWorld:
    client = Client(world.chain, world.client, world.deployment, allow_simulated_tee=True)
    watcher = FactsWatcher(world.chain, world.deployment, endpoints or {}, poll_sec=0.01, allow_simulated_tee=True)
    made: MarketWorld

    async def connect(channel: Channel, endpoint: str) -> Any:
        made.asked.append(endpoint)
        return Spoken(channel, made.says)

    pool = ChannelPool(client, connect, PoolLimits(term_sec=5 * 86400))
    reporter = Reporter(enabled=report, retry_sec=0.01)
    metrics = MarketMetrics(CollectorRegistry())
    market = Market(watcher, pool, POLICY, MarketSettings(rest_sec=0), {"m": MODEL_ID}, metrics, reporter)
    made = MarketWorld(world, client, watcher, pool, reporter, market)
    return made


async def ledger_world(ledger: Ledger) -> World:
    wallets = [Wallet(named_key(name)) for name in ("owner", "operator", "client")]
    for wallet in wallets:
        ledger.credit(wallet.address, 100 * TON)
    return await make_world(LedgerChain(ledger, global_id=SANDBOX_GLOBAL_ID, block_sec=5, pause=0), *wallets)


__all__ = ["BODY", "MODEL_ID", "Delta", "MarketWorld", "Spoken", "ledger_world", "make_market"]
