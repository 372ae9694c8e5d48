"""The agent: one loop over blocks, one task per job, one outbox.

Whatever fails at the edges (lite server, signer, kernel) is tried again with growing pauses. A journal that can't be
relied on ends the agent, before it signs or sends anything more.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from dataclasses import dataclass, field

from pytoniq_core import Address

from ..chain.base import Chain
from ..chain.wallet import Wallet
from ..deployment import Deployment
from ..errors import ChainError, WireError
from ..fees import Fees, Prices
from ..signer.client import Signer
from ..signer.errors import SignerError
from ..wire.blob import bytes_to_cell
from ..wire.escrow import DeliverJob, RejectJob, SignedReceipt
from .attesting import Attester
from .claiming import Claimer
from .compute import Limits
from .errors import KernelFailure, SetupError
from .jobs import UNSIGNED, Job, JobState
from .journal import Journal
from .kernel import Kernel, StreamKernel
from .outbox import Outbox
from .parcels import Parcel
from .platform import Platform
from .runner import JobRunner
from .serving import StreamServer, StreamSettings
from .upkeep import Offer, Upkeep
from .vouchers import VoucherBook
from .watcher import Watcher

__all__ = ["Agent", "Pace", "Streaming"]

_log = logging.getLogger(__name__)
# Attached to each message; what is not used comes back. More is attached after a refusal for want of it.
_CARRIED_GAS = 50_000


@dataclass(frozen=True, slots=True)
class Pace:
    """Pauses between tries, in seconds: the first, doubling up to the longest. concurrency: models running at once."""

    first_pause: float = 0.5
    longest_pause: float = 30.0
    concurrency: int = 1


@dataclass(frozen=True, slots=True)
class Streaming:
    """The fast path. listen: `host:port`, port 0 for any; None serves nothing, but vouchers in the book are claimed."""

    book: VoucherBook
    listen: str | None = None
    settings: StreamSettings = field(default_factory=StreamSettings)


@dataclass(slots=True)
class _Retry:
    """A job that failed, and when it may be tried again (event loop time)."""

    pause: float
    at: float


@dataclass(slots=True)
class Agent:
    """A worker's agent. Everything it depends on is handed in; nothing is opened or closed here."""

    chain: Chain
    wallet: Wallet
    signer: Signer
    journal: Journal
    kernel: Kernel
    registry: Address
    worker_index: int
    offer: Offer
    platform: Platform
    limits: Limits = field(default_factory=Limits)
    pace: Pace = field(default_factory=Pace)
    streaming: Streaming | None = None
    server: StreamServer | None = field(default=None, init=False)
    _stopping: asyncio.Event = field(default_factory=asyncio.Event, init=False)

    def drain(self) -> None:
        """No new streams: those under way end, what is worth claiming is claimed, then `run` returns. Forced jobs that
        are open go on at the next start.
        """
        self._stopping.set()

    async def run(self) -> None:
        """Until cancelled or drained. Raises SetupError or a JournalError, alone or in an exception group."""
        deployment = Deployment(self.registry)
        worker = deployment.worker(self.worker_index)
        index = self.worker_index
        attester = Attester(self.chain, self.signer, self.journal, deployment, index, self.platform)
        upkeep = Upkeep(self.chain, self.signer, worker, index, self.wallet.address, self.offer, attester)
        prices = await self._patiently(upkeep)
        if prices is None:
            return
        # not before: a mistyped worker must not get the journal
        self.journal.claim(worker, self.chain.global_id)
        watcher = Watcher(self.chain, deployment, worker, self.journal)
        outbox = Outbox(self.chain, self.wallet, self.journal, prices)
        turns = asyncio.Semaphore(self.pace.concurrency)
        runner = JobRunner(self.chain, self.signer, self.journal, self.kernel, worker, self.limits, turns)
        claimer = None
        if self.streaming is not None:
            claimer = Claimer(self.chain, self.streaming.book, Fees(prices))
        self.server = self._server(deployment, worker)
        async with asyncio.TaskGroup() as tasks:
            serving = None if self.server is None else tasks.create_task(self.server.run())
            attesting = tasks.create_task(attester.serve())
            desk = _Desk(tasks, runner, self.journal, self.pace)
            working = tasks.create_task(self._work(watcher, desk, upkeep, outbox, claimer, prices))
            await self._stopping.wait()
            if self.server is not None:
                await self.server.drain()
            working.cancel()
            await asyncio.wait([working])  # the outbox is for one task at a time
            if claimer is not None:
                await self._last_claims(outbox, claimer, prices)
            desk.stop()
            attesting.cancel()
            if serving is not None:
                serving.cancel()

    async def _work(
        self,
        watcher: Watcher,
        desk: _Desk,
        upkeep: Upkeep,
        outbox: Outbox,
        claimer: Claimer | None,
        prices: Prices,
    ) -> None:
        """Block after block, until cancelled."""
        pause = self.pace.first_pause
        while True:
            try:
                await watcher.sync()
                desk.open()
                claims = [] if claimer is None else await claimer.wanted()
                await outbox.pump([*await self._upkeep(upkeep, prices), *self._deliveries(prices), *claims])
                await self.chain.next_block()
                pause = self.pace.first_pause
            except (ChainError, SignerError, WireError) as error:
                _log.warning("trying again in %.1f s: %s", pause, error)
                await asyncio.sleep(pause)
                pause = min(2 * pause, self.pace.longest_pause)

    async def _last_claims(self, outbox: Outbox, claimer: Claimer, prices: Prices) -> None:
        """What is worth claiming now, until it has arrived. What can't be sent in time is claimed at the next start."""
        assert self.streaming is not None
        claimer.look_now()
        try:
            async with asyncio.timeout(self.streaming.settings.drain_sec):
                while True:
                    claims = await claimer.wanted()
                    await outbox.pump([*self._deliveries(prices), *claims])
                    if not claims and self.journal.open_sending() is None:
                        return
                    await self.chain.next_block()
        except (TimeoutError, ChainError, WireError) as error:
            _log.warning("stopping before everything was claimed: %s", error or "it took too long")

    async def _patiently(self, upkeep: Upkeep) -> Prices | None:
        """Checks the setup once the network is there. None if told to stop before."""
        pause = self.pace.first_pause
        while not self._stopping.is_set():
            try:
                await upkeep.check()
                return await Prices.of(self.chain)
            except (ChainError, SignerError) as error:
                _log.warning("trying again in %.1f s: %s", pause, error)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._stopping.wait(), pause)
                pause = min(2 * pause, self.pace.longest_pause)
        return None

    def _server(self, deployment: Deployment, worker: Address) -> StreamServer | None:
        if self.streaming is None or self.streaming.listen is None:
            return None
        if not isinstance(self.kernel, StreamKernel):
            raise SetupError("this kernel can't stream its answers: leave out `listen`, or give the kernel a `start`")
        return StreamServer(
            self.chain,
            self.signer,
            self.streaming.book,
            self.kernel,
            deployment,
            worker,
            self.limits,
            listen=self.streaming.listen,
            settings=self.streaming.settings,
        )

    async def _upkeep(self, upkeep: Upkeep, prices: Prices) -> list[Parcel]:
        """What the worker's contract lacks. What is signed already must not wait for a signer that is away."""
        try:
            return await upkeep.wanted(prices.gas_fee(_CARRIED_GAS), Fees(prices))
        except SignerError as error:
            _log.warning("can't compare the worker's keys with the signer's: %s", error)
            return []

    def _deliveries(self, prices: Prices) -> list[Parcel]:
        return [_delivery(job, prices.gas_fee(_CARRIED_GAS)) for job in self.journal.jobs(JobState.SIGNED)]


def _delivery(job: Job, value_nano: int) -> Parcel:
    """The message that ends a signed job."""
    if job.signature is None:
        raise ValueError(f"{job} is signed without a signature")
    if job.receipt is not None and job.response is not None:
        signed = SignedReceipt(job.receipt, job.signature)
        body = DeliverJob(job.id, False, signed, bytes_to_cell(job.response)).to_cell()
    elif job.reason is not None:
        body = RejectJob(job.id, job.key.seq, job.reason, job.signature).to_cell()
    else:
        raise ValueError(f"{job} is signed without a statement")
    purpose = f"job {job.key.escrow.hash_part.hex()} {job.key.epoch} {job.key.seq}"
    return Parcel(purpose, job.key.escrow, value_nano, body, job.id)


class _Desk:
    """The jobs being worked on: one task each."""

    def __init__(self, tasks: asyncio.TaskGroup, runner: JobRunner, journal: Journal, pace: Pace) -> None:
        self._tasks = tasks
        self._runner = runner
        self._journal = journal
        self._pace = pace
        self._running: dict[int, asyncio.Task[None]] = {}
        self._retries: dict[int, _Retry] = {}

    def open(self) -> None:
        """Takes up every job that is not signed yet, unless it is being worked on or has to wait."""
        now = asyncio.get_running_loop().time()
        for job in self._journal.jobs(*UNSIGNED):
            retry = self._retries.get(job.id)
            if job.id not in self._running and (retry is None or retry.at <= now):
                self._running[job.id] = self._tasks.create_task(self._work(job))

    def stop(self) -> None:
        """Breaks off what is being worked on; it is taken up at the next start."""
        for task in self._running.values():
            task.cancel()

    async def _work(self, job: Job) -> None:
        try:
            await self._runner.advance(job.id)
            self._retries.pop(job.id, None)
        except (ChainError, SignerError, KernelFailure, WireError) as error:
            earlier = self._retries.get(job.id)
            pause = self._pace.first_pause if earlier is None else min(2 * earlier.pause, self._pace.longest_pause)
            self._retries[job.id] = _Retry(pause, asyncio.get_running_loop().time() + pause)
            _log.warning("%s: trying again in %.1f s: %s", job, pause, error)
        finally:
            del self._running[job.id]
