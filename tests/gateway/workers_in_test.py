"""Facts about made-up workers, and connections to them that do what a test says."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from prometheus_client import CollectorRegistry
from pytoniq_core import Address
from scripted import MODEL, TERMS, make_proof

from cocoon.client.stream import Delta, Finished
from cocoon.crypto.usage import Usage
from cocoon.gateway.choice import ChoicePolicy
from cocoon.gateway.facts import Facts, WorkerFacts
from cocoon.gateway.market import Market
from cocoon.gateway.metrics import MarketMetrics
from cocoon.gateway.race import MarketSettings
from cocoon.wire.common import ModelTerms
from cocoon.wire.worker import WorkerStatus

NUMBER = int(MODEL, 16)
NOW = 1_800_000_000
LISTED, DENIED = 0x11, 0x66
POLICY = ChoicePolicy(ModelTerms(10**10, 10**10, 10**11, 10**9, 0))


def worker(index: int, **changes: Any) -> WorkerFacts:
    facts: dict[str, Any] = {
        "index": index, "address": Address((0, bytes([index]) * 32)), "owner": Address((0, bytes([100 + index]) * 32)),
        "status": int(WorkerStatus.ACTIVE), "lease_end": NOW + 86400, "notice_end": 0, "key_epoch": 1,
        "measurement": LISTED, "stake_nano": 10**10, "bond_nano": 2 * 10**9, "min_bond_nano": 10**9, "jobs": 0,
        "misses": 0, "rejections": 0, "key_losses": 0, "volume_nano": 0, "models": {NUMBER: TERMS},
        "endpoint": f"ws://worker{index}",
    }  # fmt: skip
    return WorkerFacts(**{**facts, **changes})


def facts(*workers: WorkerFacts) -> Facts:
    return Facts(NOW, time.time(), True, frozenset({LISTED}), frozenset({DENIED}), workers)


@dataclass
class FastInTest:
    """says: what a stream yields; an exception is raised, a number waited for in seconds."""

    says: list[Any]
    asked: int = 0
    left: int = 0
    available_nano: int = 10**12
    alive: bool = True

    async def stream(self, body: dict[str, Any], *, max_fee: int) -> AsyncIterator[Delta | Finished]:
        self.asked += 1
        ended = False
        try:
            for said in self.says:
                if isinstance(said, Exception):
                    raise said
                if isinstance(said, int | float):
                    await asyncio.sleep(said)
                    continue
                ended = isinstance(said, Finished)
                yield said
        finally:
            self.left += not ended


@dataclass
class PoolInTest:
    """Connections by worker index; `retired` are those closed for good."""

    fast: Mapping[int, FastInTest]
    retired: list[int] = field(default_factory=list)
    registry: Address = field(default_factory=lambda: Address((0, b"\1" * 32)))

    def terms(self, model_id: int) -> dict[int, ModelTerms]:
        return {}

    def retire(self, index: int) -> None:
        self.retired.append(index)

    @asynccontextmanager
    async def use(self, worker: WorkerFacts, model_id: int, *, need_nano: int) -> AsyncIterator[Any]:
        keys = SimpleNamespace(session_key=1, measurement=worker.measurement)
        held = SimpleNamespace(fast=self.fast[worker.index], binding=SimpleNamespace(keys=keys, terms=TERMS))
        yield SimpleNamespace(held=held, sent=lambda: None)


def finished(tokens: int = 2) -> Finished:
    usage = Usage(4, 0, tokens)
    proof = make_proof(usage)
    return Finished("stop", {"text": ""}, usage, proof.fee_nano, proof.signed, proof.channel)


def market(says: dict[int, list[Any]], **settings: Any) -> tuple[Market, PoolInTest]:
    """Workers 0, 1, … with these streams; the first is the cheapest."""
    pool = PoolInTest({index: FastInTest(script) for index, script in says.items()})
    known = [worker(index, models={NUMBER: ModelTerms(10**9 + index, 0, 4 * 10**9, 0, 1)}) for index in says]
    watcher = SimpleNamespace(current=facts(*known))
    made = Market(
        watcher, pool, POLICY, MarketSettings(**settings), {"m": MODEL}, MarketMetrics(CollectorRegistry()),  # type: ignore[arg-type]
        simulated_tee=True,
    )  # fmt: skip
    return made, pool
