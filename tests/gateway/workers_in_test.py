"""Facts about made-up workers, and connections to them that do what a test says."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any

from prometheus_client import CollectorRegistry
from pytoniq_core import Address
from scripted import MODEL, TERMS, make_proof

from cocoon.attestation.trust import INTEL_ROOT, SIMULATED_BANNER
from cocoon.client.stream import Delta, Finished
from cocoon.client.trust import NetworkTrust
from cocoon.crypto.usage import Usage
from cocoon.deployment import Rules, registry_data
from cocoon.gateway.choice import ChoicePolicy
from cocoon.gateway.facts import Facts, WorkerFacts
from cocoon.gateway.market import Market
from cocoon.gateway.metrics import MarketMetrics
from cocoon.gateway.race import MarketSettings
from cocoon.gateway.reporting import Reporter
from cocoon.stream.asked import Asked
from cocoon.wire.common import AttestedKeys, ModelTerms
from cocoon.wire.registry import RegistryStorage
from cocoon.wire.worker import SlashableKeys, WorkerPeople, WorkerStatus, WorkerStorage

NUMBER = int(MODEL, 16)
NOW = 1_800_000_000
LISTED, DENIED = 0x11, 0x66
POLICY = ChoicePolicy(ModelTerms(10**10, 10**10, 10**11, 10**9, 0))


NOBODY = Address((0, bytes(32)))
NETWORK = RegistryStorage.from_cell(registry_data(Rules(NOBODY, measurements=(LISTED,))))


def worker(index: int, *, endpoint: str | None = "", announced: str | None = None, **changes: Any) -> WorkerFacts:
    """changes: fields of the worker's state, its owner, its measurement, or `attestation_code`."""
    policy = replace(NETWORK.policy, min_bond_nano=10**9)
    if "attestation_code" in changes:
        children = replace(policy.children, attestation_code_hash=changes.pop("attestation_code"))
        policy = replace(policy, children=children)
    people = WorkerPeople(
        index, changes.pop("owner", Address((0, bytes([100 + index]) * 32))), NOBODY, NOBODY, 1, 7, NOW - 86400,
        AttestedKeys(1, 2, changes.pop("measurement", LISTED)), None, SlashableKeys(NOBODY, LISTED, None, {}),
    )  # fmt: skip
    known: dict[str, Any] = {
        "open_jobs": {}, "open_count": 0, "jobs": 0, "bond_nano": 2 * 10**9, "misses": 0, "rejections": 0,
        "key_losses": 0, "volume_nano": 0, "status": int(WorkerStatus.ACTIVE), "forced_slots": 1,
        "lease_end": NOW + 86400, "key_epoch": 1, "stake_nano": 10**10, "notice_end": 0, "unbond_at": 0,
        "models": {NUMBER: TERMS}, "policy": policy, "people": people, "registry": NOBODY, "escrow_code_hash": 0,
        "escrow_code_depth": 0,
    }  # fmt: skip
    state = WorkerStorage(**{**known, **changes})
    where = f"ws://worker{index}" if endpoint == "" else endpoint
    return WorkerFacts(index, Address((0, bytes([index]) * 32)), state, where, announced)


def facts(*workers: WorkerFacts) -> Facts:
    known = replace(NETWORK.measurements, denied={DENIED: None}, denied_count=1)
    return Facts(NOW, time.time(), NetworkTrust(INTEL_ROOT, known, NOBODY), workers)


@dataclass
class FastInTest:
    """says: what a stream yields; an exception is raised, a number waited for in seconds."""

    says: list[Any]
    asked: int = 0
    left: int = 0
    available_nano: int = 10**12
    alive: bool = True
    lied: None = None

    async def stream(self, body: Asked, *, max_fee: int) -> AsyncIterator[Delta | Finished]:
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
        held.worker_index = worker.index
        yield SimpleNamespace(held=held, sent=lambda: None)


def finished(tokens: int = 2) -> Finished:
    usage = Usage(4, 0, tokens)
    proof = make_proof(usage)
    return Finished("stop", {"text": ""}, usage, proof.fee_nano, proof.signed, proof.channel)


def market(says: dict[int, list[Any]], **settings: Any) -> tuple[Market, PoolInTest]:
    """Workers 0, 1, … with these streams; the first is the cheapest."""
    pool = PoolInTest({index: FastInTest(script) for index, script in says.items()})
    known = [worker(index, models={NUMBER: ModelTerms(10**9 + index, 0, 4 * 10**9, 0, 1)}) for index in says]
    watcher = SimpleNamespace(current=facts(*known), refused=None, banner=SIMULATED_BANNER)
    made = Market(
        watcher, pool, POLICY, MarketSettings(**settings), {"m": MODEL}, MarketMetrics(CollectorRegistry()),  # type: ignore[arg-type]
        Reporter(enabled=True, retry_sec=0.01),
    )  # fmt: skip
    return made, pool
