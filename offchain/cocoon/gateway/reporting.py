"""A worker that signed two receipts with one number is reported to Slashing, once, by whoever caught it.

The evidence is in the client's store before anything is sent, and a start goes on with what an earlier one could not
report: only the chain's word ends it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping

from ..client.channel import Channel
from ..client.client import Client
from ..client.evidence import EvidenceRefused, keep_evidence
from ..client.store import Evidence
from ..crypto.errors import CryptoError
from ..errors import CocoonError

__all__ = ["Reporter"]

log = logging.getLogger(__name__)
_RETRY_SEC = 5.0
_LONGEST_SEC = 600.0


class Reporter:
    """enabled: False reports nobody. `reported` are the workers whose evidence the chain has judged, by index.

    A report that does not get through is tried again after retry_sec, then ever less often, until it does.
    """

    def __init__(self, *, enabled: bool, retry_sec: float = _RETRY_SEC) -> None:
        self._enabled, self._retry_sec = enabled, retry_sec
        self._tasks: set[asyncio.Task[None]] = set()
        self._under_way: set[int] = set()
        self.reported: set[int] = set()

    def resume(self, client: Client, workers: Mapping[str, int]) -> None:
        """Report what an earlier run caught and could not report. workers: address -> index."""
        for evidence in client.store.unsent_evidence():
            index = workers.get(evidence.channel.worker.to_str(is_user_friendly=False))
            if index is not None:  # else it is gone, and its stake with it
                self.report(index, Channel(client, evidence.channel), evidence)

    def report(self, worker_index: int, channel: Channel, evidence: Evidence) -> None:
        """Report in the background, unless it is being done or has been."""
        if not self._enabled:
            return
        keep_evidence(channel.store, evidence)
        if worker_index in self.reported | self._under_way:
            return
        self._under_way.add(worker_index)
        task = asyncio.create_task(self._report(worker_index, channel, evidence))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """A report that is not done is left to the next start."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _report(self, worker_index: int, channel: Channel, evidence: Evidence) -> None:
        try:
            await self._until_judged(worker_index, channel, evidence)
            self.reported.add(worker_index)
        finally:
            self._under_way.discard(worker_index)

    async def _until_judged(self, worker_index: int, channel: Channel, evidence: Evidence) -> None:
        first, second, wait_sec = evidence.first, evidence.second, self._retry_sec
        while True:
            try:
                done = await channel.report_equivocation(first, second, session_key=evidence.session_key)
            except (EvidenceRefused, CryptoError) as error:
                log.warning("worker %d lied, and could not be slashed: %s", worker_index, error)
                return
            except (CocoonError, OSError, TimeoutError) as error:
                log.warning("the report on worker %d has to wait %g s: %s", worker_index, wait_sec, error)
                await asyncio.sleep(wait_sec)
                wait_sec = min(2 * wait_sec, _LONGEST_SEC)
            else:
                log.warning(
                    "worker %d signed two receipts with number %d: %d nanoTON of its stake were slashed",
                    worker_index, first.receipt.seq, done.slashed_nano,
                )  # fmt: skip
                return
