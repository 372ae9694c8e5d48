"""Channels whose worker did not answer the handshake. One that answers after all is taken up; of the others the deposit
is taken back after their deadline, tried until the chain shows that they are gone.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass

from pytoniq_core import Address

from ..chain.wallet import format_ton
from ..client.channel import Channel
from ..errors import CocoonError
from ..wire.escrow import EscrowStorage

__all__ = ["Answered", "Unanswered"]

log = logging.getLogger(__name__)
_LONGEST_SEC = 600.0


@dataclass(frozen=True, slots=True)
class Answered:
    """A channel that is bound by now. worker_index: None if the worker is gone."""

    channel: Channel
    worker_index: int | None
    state: EscrowStorage


@dataclass(slots=True)
class _Waiting:
    """not_before: seconds of time.monotonic; pause_sec: what the next failure adds to it."""

    channel: Channel
    worker_index: int | None
    deposit_nano: int
    pause_sec: float
    not_before: float = 0.0


class Unanswered:
    """retry_sec: after a first failure; twice as long after each further one, up to ten minutes."""

    def __init__(self, retry_sec: float) -> None:
        self._retry_sec = retry_sec
        self._waiting: dict[Address, _Waiting] = {}

    @property
    def locked_nano(self) -> int:
        """In deposits."""
        return sum(waiting.deposit_nano for waiting in self._waiting.values())

    def add(self, channel: Channel, worker_index: int | None, deposit_nano: int) -> None:
        log.warning("%r was never answered by its worker; its deposit is taken back after its deadline", channel)
        self._waiting[channel.address] = _Waiting(channel, worker_index, deposit_nano, self._retry_sec)

    async def look(self) -> list[Answered]:
        """What was answered since; of the rest, deposits that can be taken back now are. Failures are for later."""
        found: list[Answered] = []
        for waiting in list(self._waiting.values()):
            if time.monotonic() < waiting.not_before:
                continue
            try:
                found += await self._decided(waiting)
            except (CocoonError, OSError, TimeoutError) as error:
                log.warning("%r: %s; tried again in %g s", waiting.channel, error, waiting.pause_sec)
                waiting.not_before = time.monotonic() + waiting.pause_sec
                waiting.pause_sec = min(2 * waiting.pause_sec, _LONGEST_SEC)
        return found

    async def _decided(self, waiting: _Waiting) -> list[Answered]:
        channel = waiting.channel
        if not await channel.is_open():  # refused late, which refunds, or cancelled by what seemed to fail
            channel.store.forget_channel(channel.address)
            del self._waiting[channel.address]
            return []
        state = await channel.state()
        if state.binding is not None:
            del self._waiting[channel.address]
            return [Answered(channel, waiting.worker_index, state)]
        if await channel.chain.time() >= state.deadline:
            done = await channel.cancel_open()
            del self._waiting[channel.address]
            log.info("cancelled %r; %s came back", channel, format_ton(done.received_nano))
        return []
