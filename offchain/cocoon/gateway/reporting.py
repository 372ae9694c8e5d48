"""A worker that signed two receipts with one number is reported to Slashing, once, by whoever caught it."""

from __future__ import annotations

import asyncio
import logging

from ..errors import ChainError, CocoonError
from ..wire.escrow import SignedReceipt
from .held import Held

__all__ = ["Reporter"]

log = logging.getLogger(__name__)
_RETRY_SEC = 5.0
_RETRIES = 60


class Reporter:
    """enabled: False reports nobody. `reported` are the workers that evidence was sent against, by index."""

    def __init__(self, *, enabled: bool, retry_sec: float = _RETRY_SEC) -> None:
        self._enabled, self._retry_sec = enabled, retry_sec
        self._tasks: set[asyncio.Task[None]] = set()
        self.reported: set[int] = set()

    def caught(self, held: Held, receipts: tuple[SignedReceipt, ...]) -> None:
        """Report in the background if `receipts` are evidence, and nobody has been told of this worker yet."""
        if not self._enabled or held.worker_index in self.reported or not _is_evidence(receipts):
            return
        self.reported.add(held.worker_index)
        task = asyncio.create_task(self._report(held, receipts[0], receipts[1]))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """A report on its way ends; one that waits for the network is given up, and the evidence with it."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _report(self, held: Held, first: SignedReceipt, second: SignedReceipt) -> None:
        key = held.binding.keys.session_key
        for _ in range(_RETRIES):
            try:
                done = await held.channel.report_equivocation(first, second, session_key=key)
                log.warning(
                    "worker %d signed two receipts with number %d: %d nanoTON of its stake were slashed",
                    held.worker_index, first.receipt.seq, done.slashed_nano,
                )  # fmt: skip
                return
            except ChainError as error:
                log.warning("the report on worker %d has to wait for the network: %s", held.worker_index, error)
                await asyncio.sleep(self._retry_sec)
            except CocoonError as error:
                log.warning("worker %d lied, and could not be slashed: %s", held.worker_index, error)
                return


def _is_evidence(receipts: tuple[SignedReceipt, ...]) -> bool:
    if len(receipts) != 2:
        return False
    first, second = (signed.receipt for signed in receipts)
    return first != second and (first.domain, first.seq) == (second.domain, second.seq)
