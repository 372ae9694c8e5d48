"""What the gateway knows of the network: its trust, workers and rules, read with proofs, refreshed block by block."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from pytoniq_core import Address

from ..attestation.errors import SimulatedTeeRefused
from ..chain.base import Chain
from ..client.trust import NetworkTrust, check_network
from ..client.workers import find_endpoint
from ..deployment import Deployment
from ..errors import ChainError, ClientError, WireError
from ..wire.common import ModelTerms
from ..wire.registry import RegistryStorage
from ..wire.worker import WorkerStatus, WorkerStorage
from .endpoints import usable_endpoint

__all__ = ["Facts", "FactsWatcher", "WorkerFacts"]

log = logging.getLogger(__name__)
_AT_ONCE = 8


@dataclass(frozen=True, slots=True)
class WorkerFacts:
    """A worker as the chain proves it. endpoint: where it is asked, None if nowhere; announced: what its operator wrote
    on the chain, whatever that is.
    """

    index: int
    address: Address
    state: WorkerStorage = field(repr=False)
    endpoint: str | None
    announced: str | None = None

    @property
    def owner(self) -> Address:
        return self.state.people.owner

    @property
    def measurement(self) -> int:
        return self.state.people.keys.measurement

    @property
    def key_epoch(self) -> int:
        return self.state.key_epoch

    @property
    def models(self) -> Mapping[int, ModelTerms]:
        return self.state.models

    @property
    def status_name(self) -> str:
        try:
            return WorkerStatus(self.state.status).name.lower()
        except ValueError:
            return f"status {self.state.status}"


@dataclass(frozen=True, slots=True)
class Facts:
    """time: of the block these are of, by the network's clock; read_at: when it was read, by this machine's."""

    time: int
    read_at: float
    trust: NetworkTrust
    workers: tuple[WorkerFacts, ...]

    @property
    def now(self) -> int:
        """The network's time, as far as it can be told since the last reading: a lease goes on lapsing."""
        return self.time + max(0, int(time.time() - self.read_at))

    def worker(self, index: int) -> WorkerFacts | None:
        return next((worker for worker in self.workers if worker.index == index), None)


class FactsWatcher:
    """`current` is None until the first reading, and while the network can't be trusted; `refused` then says why.

    endpoints: what the gateway's owner says, which goes before the chain. private_endpoints: whether a worker may
    announce an address that is this machine's or a private network's. A network that goes away leaves the last facts
    standing; `Facts.read_at` tells their age.
    """

    def __init__(
        self,
        chain: Chain,
        deployment: Deployment,
        endpoints: Mapping[int, str],
        *,
        poll_sec: float,
        allow_simulated_tee: bool = False,
        private_endpoints: bool = False,
    ) -> None:
        self._chain, self._deployment, self._endpoints, self._poll_sec = chain, deployment, endpoints, poll_sec
        self._allow_simulated_tee, self._private = allow_simulated_tee, private_endpoints
        self._announced: dict[int, tuple[object, str | None]] = {}
        self.current: Facts | None = None
        self.refused: str | None = None
        self.banner: str | None = None

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            try:
                await self.refresh()
            except ChainError as error:
                log.warning("the network can't be read, the last facts stand: %s", error)
            except (ClientError, SimulatedTeeRefused, WireError) as error:
                log.critical("nothing is asked of this network any more: %s", error)
            await asyncio.sleep(self._poll_sec)

    async def refresh(self) -> Facts:
        """Read everything again. ChainError; what `check_network` raises, after which nothing is `current`."""
        try:
            # every time: governance may have decided otherwise about whom to trust
            trust = await check_network(self._chain, self._deployment, allow_simulated_tee=self._allow_simulated_tee)
        except (ClientError, SimulatedTeeRefused, WireError) as error:
            self.current, self.refused = None, str(error)
            raise
        if trust.banner is not None and self.banner is None:
            log.warning(trust.banner)
        self.refused, self.banner = None, trust.banner
        gate = asyncio.Semaphore(_AT_ONCE)

        async def one(index: int) -> WorkerFacts | None:
            async with gate:
                return await self._worker(index)

        count = await _worker_count(self._chain, self._deployment)
        try:
            async with asyncio.TaskGroup() as group:
                reading = [group.create_task(one(index)) for index in range(count)]
        except ExceptionGroup as failed:
            raise failed.exceptions[0] from failed
        found = tuple(worker for task in reading if (worker := task.result()) is not None)
        self.current = Facts(await self._chain.time(), time.time(), trust, found)
        return self.current

    async def _worker(self, index: int) -> WorkerFacts | None:
        address = self._deployment.worker(index)
        account = await self._chain.account(address)
        if account.data is None or not account.data.refs:
            return None  # withdrawn, or not initialised yet
        try:
            state = WorkerStorage.from_cell(account.data)
            announced = await self._said(index, address, state)
        except (WireError, ClientError) as error:
            log.warning("worker %d can't be read: %s", index, error)
            return None
        endpoint = self._endpoints.get(index) or usable_endpoint(announced, private=self._private)
        return WorkerFacts(index, address, state, endpoint, announced)

    async def _said(self, index: int, address: Address, state: WorkerStorage) -> str | None:
        """The announced endpoint; looked for once for each attestation."""
        if state.people.keys.session_key == 0:
            return None
        attested = (state.people.attest_seq, state.key_epoch, state.lease_end)
        known = self._announced.get(index)
        if known is None or known[0] != attested:
            known = attested, await find_endpoint(self._chain, address)
            self._announced[index] = known
        return known[1]


async def _worker_count(chain: Chain, deployment: Deployment) -> int:
    """How many were ever registered."""
    account = await chain.account(deployment.registry)
    if account.data is None:
        raise ChainError("the registry is gone; try again later")
    return RegistryStorage.from_cell(account.data).next_index
