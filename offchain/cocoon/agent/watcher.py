"""Following the Worker's own transactions: every job it admits and every end of one passes through there."""

from __future__ import annotations

import logging

from pytoniq_core import Address

from ..chain.base import Chain, ChainTransaction
from ..deployment import Deployment
from ..errors import ChainError, ChainUnavailable, LyingServer
from .jobs import OPEN, JobKey, Outcome
from .journal import Ended, Journal
from .views import WorkerView, read_escrow, read_worker, read_worker_transaction

__all__ = ["Watcher"]

_log = logging.getLogger(__name__)
_PAGE = 64


class Watcher:
    """Brings the journal up to date with the chain. No escrow has to be known in advance and none can be overlooked."""

    def __init__(self, chain: Chain, deployment: Deployment, worker: Address, journal: Journal) -> None:
        self._chain = chain
        self._deployment = deployment
        self._worker = worker
        self._journal = journal

    async def sync(self) -> None:
        """Records all new transactions, a page at a time; a crash between pages repeats at most one."""
        if self._journal.cursor(self._worker) == 0:
            await self._begin()
        while page := await self._next_page():
            said = [read_worker_transaction(transaction, self._deployment, self._worker) for transaction in page]
            events = [event for event in said if event is not None]
            self._journal.record(self._worker, page[-1].lt, events)
            for event in events:
                what = "admitted" if isinstance(event, JobKey) else event.outcome
                _log.info("escrow %s, seq %d: %s", event.escrow.hash_part.hex()[:8], event.seq, what)

    async def _next_page(self) -> list[ChainTransaction]:
        cursor = self._journal.cursor(self._worker)
        try:
            return await self._chain.transactions(self._worker, after_lt=cursor, limit=_PAGE)
        except (ChainUnavailable, LyingServer):
            raise
        except ChainError as error:
            _log.warning("starting again from what is open now: %s", error)
            await self._begin()
            return []

    async def _begin(self) -> None:
        """Starts with what is open now: the worker's past may be long, and servers forget it."""
        account = await self._chain.account(self._worker)
        view = read_worker(account)
        if view is None:
            return
        events: list[JobKey | Ended] = [
            Ended(job.key.escrow, job.key.epoch, job.key.seq, Outcome.UNSEEN)
            for job in self._journal.jobs(*OPEN)
            if not _holds(view, job.key)
        ]
        for account_id, job in view.open_jobs.items():
            address = Address((0, account_id.to_bytes(32, "big")))
            escrow = read_escrow(await self._chain.account(address))
            if escrow is None:
                continue
            known = escrow.identity
            if (
                known.worker == self._worker
                and self._deployment.escrow(known.client, self._worker, known.salt) == address
            ):
                events.append(JobKey(address, job.epoch, job.seq, posted_lt=job.epoch))
        self._journal.record(self._worker, account.last_lt, events)
        _log.info("%d jobs are open at the worker", len(view.open_jobs))


def _holds(view: WorkerView, key: JobKey) -> bool:
    held = view.open_jobs.get(int.from_bytes(key.escrow.hash_part, "big"))
    return held is not None and (held.epoch, held.seq) == (key.epoch, key.seq)
