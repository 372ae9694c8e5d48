"""What the gateway knows of the network: workers and rules, read with proofs, refreshed block by block."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass

from pytoniq_core import Address

from ..chain.base import Chain
from ..deployment import Deployment
from ..errors import ChainError, ClientError, WireError
from ..wire.common import ModelTerms
from ..wire.registry import RegistryStorage
from ..wire.worker import WorkerStatus, WorkerStorage
from .errors import GatewayError

__all__ = ["Facts", "FactsWatcher", "WorkerFacts", "read_registry"]

log = logging.getLogger(__name__)
_AT_ONCE = 8


@dataclass(frozen=True, slots=True)
class WorkerFacts:
    """A worker as the chain proves it. Amounts in nanoTON, times unix seconds. endpoint: where its owner says it
    listens; None if nobody says.
    """

    index: int
    address: Address
    owner: Address
    status: int
    lease_end: int
    notice_end: int
    key_epoch: int
    measurement: int
    stake_nano: int
    bond_nano: int
    min_bond_nano: int
    jobs: int
    misses: int
    rejections: int
    key_losses: int
    volume_nano: int
    models: Mapping[int, ModelTerms]
    endpoint: str | None

    @property
    def status_name(self) -> str:
        try:
            return WorkerStatus(self.status).name.lower()
        except ValueError:
            return f"status {self.status}"


@dataclass(frozen=True, slots=True)
class Facts:
    """time: of the block these are of, by the network's clock; read_at: when it was read, by this machine's."""

    time: int
    read_at: float
    attestation_required: bool
    listed: frozenset[int]
    denied: frozenset[int]
    workers: tuple[WorkerFacts, ...]

    def worker(self, index: int) -> WorkerFacts | None:
        return next((worker for worker in self.workers if worker.index == index), None)


class FactsWatcher:
    """`current` is None until the first reading. endpoints: what the gateway's owner says, which goes before the chain.

    A network that goes away leaves the last facts standing; `Facts.read_at` tells their age.
    """

    def __init__(self, chain: Chain, deployment: Deployment, endpoints: Mapping[int, str], *, poll_sec: float) -> None:
        self._chain, self._deployment, self._endpoints, self._poll_sec = chain, deployment, endpoints, poll_sec
        self.current: Facts | None = None

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            try:
                await self.refresh()
            except (ChainError, GatewayError) as error:
                log.warning("the network can't be read, the last facts stand: %s", error)
            await asyncio.sleep(self._poll_sec)

    async def refresh(self) -> Facts:
        """Read everything again. ChainError; GatewayError if there is no registry."""
        registry = await read_registry(self._chain, self._deployment)
        gate = asyncio.Semaphore(_AT_ONCE)

        async def one(index: int) -> WorkerFacts | None:
            async with gate:
                return await self._worker(index)

        try:
            async with asyncio.TaskGroup() as group:
                reading = [group.create_task(one(index)) for index in range(registry.next_index)]
        except ExceptionGroup as failed:
            raise failed.exceptions[0] from failed
        found = tuple(worker for task in reading if (worker := task.result()) is not None)
        known = registry.measurements
        self.current = Facts(
            await self._chain.time(),
            time.time(),
            registry.attestation_required,
            frozenset(known.listed),
            frozenset(known.denied),
            found,
        )
        return self.current

    async def _worker(self, index: int) -> WorkerFacts | None:
        address = self._deployment.worker(index)
        account = await self._chain.account(address)
        if account.data is None or not account.data.refs:
            return None  # withdrawn, or not initialised yet
        try:
            return worker_facts(index, address, WorkerStorage.from_cell(account.data), self._endpoints.get(index))
        except (WireError, ClientError) as error:
            log.warning("worker %d can't be read: %s", index, error)
            return None


def worker_facts(index: int, address: Address, state: WorkerStorage, endpoint: str | None) -> WorkerFacts:
    return WorkerFacts(
        index=index,
        address=address,
        owner=state.people.owner,
        status=state.status,
        lease_end=state.lease_end,
        notice_end=state.notice_end,
        key_epoch=state.key_epoch,
        measurement=state.people.keys.measurement,
        stake_nano=state.stake_nano,
        bond_nano=state.bond_nano,
        min_bond_nano=state.policy.min_bond_nano,
        jobs=state.jobs,
        misses=state.misses,
        rejections=state.rejections,
        key_losses=state.key_losses,
        volume_nano=state.volume_nano,
        models=dict(state.models),
        endpoint=endpoint,
    )


async def read_registry(chain: Chain, deployment: Deployment) -> RegistryStorage:
    """The registry's proven state. GatewayError if there is none."""
    account = await chain.account(deployment.registry)
    if account.data is None:
        name = deployment.registry.to_str(is_user_friendly=False)
        raise GatewayError(f"there is no registry {name} on this network (it is {account.status}); check the settings")
    try:
        return RegistryStorage.from_cell(account.data)
    except WireError as error:
        raise GatewayError(f"the account named as registry holds something else: {error}") from error
