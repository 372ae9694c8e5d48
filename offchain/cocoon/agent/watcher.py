"""Following the Worker's own transactions: every job it admits and every end of one passes through there."""

from __future__ import annotations

import logging

from pytoniq_core import Address

from ..chain.base import Chain
from ..deployment import Deployment
from .jobs import JobKey
from .journal import Journal
from .views import read_escrow, read_worker, read_worker_transaction

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
        while True:
            cursor = self._journal.cursor(self._worker)
            page = await self._chain.transactions(self._worker, after_lt=cursor, limit=_PAGE)
            if not page:
                return
            said = [read_worker_transaction(transaction, self._deployment, self._worker) for transaction in page]
            events = [event for event in said if event is not None]
            self._journal.record(self._worker, page[-1].lt, events)
            for event in events:
                what = "admitted" if isinstance(event, JobKey) else event.outcome
                _log.info("escrow %s, seq %d: %s", event.escrow.hash_part.hex()[:8], event.seq, what)

    async def _begin(self) -> None:
        """A new journal starts with what is open now: the worker's past may be long, and servers forget it."""
        account = await self._chain.account(self._worker)
        view = read_worker(account)
        if view is None:
            return
        events = []
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
        _log.info("new journal: %d jobs are open", len(events))
