"""The gateway's hop under measurement: its HTTP server, keys, choice, race and archive, over one connection.

All of the gateway but what it reads from the chain, which is simply there: one worker that may be asked.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from aiohttp import ClientSession
from pytoniq_core import Address

from ..attestation.trust import INTEL_ROOT
from ..client.channel import Channel
from ..client.stream import FastChannel
from ..client.trust import NetworkTrust
from ..deployment import Rules, registry_data
from ..gateway.archive import ReceiptArchive
from ..gateway.choice import ChoicePolicy
from ..gateway.context import Context, HttpLimits
from ..gateway.database import open_database
from ..gateway.facts import Facts, FactsWatcher, WorkerFacts
from ..gateway.held import Held, Lease
from ..gateway.http_server import listening
from ..gateway.keys import KeyStore
from ..gateway.market import Market
from ..gateway.metrics import GatewayMetrics
from ..gateway.page_api import PageData
from ..gateway.pool import ChannelPool
from ..gateway.race import MarketSettings
from ..gateway.reporting import Reporter
from ..gateway.server import make_app
from ..wire.common import AttestedKeys, ModelTerms
from ..wire.escrow import Binding
from ..wire.registry import RegistryStorage
from ..wire.worker import SlashableKeys, WorkerPeople, WorkerStatus, WorkerStorage

__all__ = ["Hop", "gateway_client", "gateway_serving"]

_NOBODY = Address((0, bytes(32)))
_MEASUREMENT = 1
_LONG_SEC = 10**6
_RULES = Rules(_NOBODY, measurements=(_MEASUREMENT,))
_DEAREST = ModelTerms(10**12, 10**12, 10**12, 10**12, 0)


@dataclass(frozen=True, slots=True)
class Hop:
    """A client of a gateway over HTTP."""

    session: ClientSession
    base_url: str
    model: str

    async def ask(self, body: dict[str, Any]) -> tuple[float, float, int]:
        """(seconds to the first text, to the last, tokens), read off the stream of events as any SDK does."""
        path = "chat/completions" if "messages" in body else "completions"
        began, first, last, tokens = time.perf_counter(), 0.0, 0.0, 0
        asked = {**body, "model": self.model, "stream": True, "stream_options": {"include_usage": True}}
        async with self.session.post(f"{self.base_url}/{path}", json=asked) as response:
            response.raise_for_status()
            async for line in response.content:
                if not line.startswith(b"data: {"):
                    continue
                document = json.loads(line[6:])
                if "error" in document:
                    raise RuntimeError(f"the gateway failed: {document['error']}")
                if any(_has_text(choice) for choice in document["choices"]):
                    last = time.perf_counter()
                    first = first or last
                if document.get("usage"):  # a token need not end a character: not every one makes a piece
                    tokens = document["usage"]["completion_tokens"]
        return first - began, last - began, tokens


def _has_text(choice: dict[str, Any]) -> bool:
    return bool(choice.get("text") or choice.get("delta", {}).get("content"))


@dataclass(slots=True)
class _Watcher:
    current: Facts
    refused: str | None = None
    banner: str | None = None


@dataclass(slots=True)
class _Pool:
    held: Held
    registry: Address = field(default_factory=lambda: _NOBODY)

    def terms(self, model_id: int) -> dict[int, ModelTerms]:
        return {0: self.held.binding.terms}

    def retire(self, worker_index: int) -> None:
        raise RuntimeError("the measured worker lied")

    @contextlib.asynccontextmanager
    async def use(self, worker: WorkerFacts, model_id: int, *, need_nano: int) -> AsyncIterator[Lease]:
        self.held.reserved_nano += need_nano
        self.held.streams += 1
        lease = Lease(self.held, need_nano)
        try:
            yield lease
        finally:
            lease.sent()
            self.held.streams -= 1


@contextlib.asynccontextmanager
async def gateway_serving(
    channel: Channel, binding: Binding, url: str, directory: Path
) -> AsyncIterator[tuple[str, str]]:
    """(base URL, API key) of a gateway on this machine, whose only connection leads to the worker at `url`."""
    fast = await FastChannel.connect(channel, url)
    held = Held(channel, 0, binding, 0, fast=fast)
    network = RegistryStorage.from_cell(registry_data(_RULES))
    now = int(time.time())
    facts = Facts(
        now, time.time() + _LONG_SEC, NetworkTrust(INTEL_ROOT, network.measurements, _NOBODY), (_worker(network, held),)
    )
    metrics = GatewayMetrics()
    market = Market(
        cast(FactsWatcher, _Watcher(facts)), cast(ChannelPool, _Pool(held)), ChoicePolicy(_DEAREST),
        MarketSettings(hedge_sec=0), {"measured": f"{binding.model_id:064x}"}, metrics.market, Reporter(enabled=False),
    )  # fmt: skip
    with contextlib.closing(open_database(directory / "gateway.sqlite")) as db:
        keys = KeyStore(db)
        limits = HttpLimits(at_once=1024, at_once_per_key=1024)
        context = Context(market, keys, ReceiptArchive(db, keep_days=1), metrics, lambda: None, limits)
        key = keys.add("bench", None)
        try:
            async with listening(make_app(context, cast(PageData, None)), "127.0.0.1", 0) as base_url:
                yield base_url, key
        finally:
            await fast.close()


@contextlib.asynccontextmanager
async def gateway_client(base_url: str, key: str) -> AsyncIterator[Hop]:
    """A client of the gateway at `base_url`."""
    async with ClientSession(headers={"Authorization": f"Bearer {key}"}) as session:
        yield Hop(session, base_url, "measured")


def _worker(network: RegistryStorage, held: Held) -> WorkerFacts:
    keys = AttestedKeys(held.binding.keys.session_key, held.binding.keys.hpke_key_hash, _MEASUREMENT)
    people = WorkerPeople(
        0, _NOBODY, _NOBODY, _NOBODY, 1, 0, 0, keys, None, SlashableKeys(_NOBODY, _MEASUREMENT, None, {})
    )
    state = WorkerStorage(
        open_jobs={}, open_count=0, jobs=0, bond_nano=1 << 62, misses=0, rejections=0, key_losses=0, volume_nano=0,
        status=WorkerStatus.ACTIVE, forced_slots=1, lease_end=(1 << 32) - 1, key_epoch=held.binding.key_epoch,
        stake_nano=1 << 62, notice_end=0, unbond_at=0, models={held.model_id: held.binding.terms},
        policy=network.policy, people=people, registry=_NOBODY, escrow_code_hash=0, escrow_code_depth=0,
    )  # fmt: skip
    return WorkerFacts(0, held.channel.stored.worker, state, "measured")
